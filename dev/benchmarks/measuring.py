"""What the benchmarks share: clocks, processes of their own, and the machine in words."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


def fastest(work, rounds=5):
    """(seconds of the fastest of some rounds, the result)."""
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - began)
    return min(seconds), result


def peak():
    """Peak memory of this process so far, in MiB."""
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def alone(file, *arguments):
    """What `python file arguments` prints as the last line, JSON: a process of its own has a peak memory of its own."""
    command = [sys.executable, file, *map(str, arguments)]
    ran = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def table(rows):
    """A Markdown table of dicts with the same keys."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(map(str, row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def machine():
    """Processor, memory, system and versions, in a line."""
    from importlib.metadata import version

    name, memory = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), name)
        memory = f", {int(Path('/proc/meminfo').read_text().split()[1]) / 2**20:.0f} GiB of memory"
    versions = ", ".join(f"{each} {version(each)}" for each in ("torch", "transformers", "transformer-lens"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} processors{memory}; {platform.system()}, Python {platform.python_version()}, {versions}"
