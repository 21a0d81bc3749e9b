"""What it takes to begin: importing, loading, every notebook, and the way from a clone to the first figure.

Notebooks run on one thread on storybook. SmolLM2's figures are those of the last `make real` (dev/claims/SmolLM2.json),
on whatever machine and as many cores as that had; they are not measured again here.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import ENVIRONMENT, ROOT, fastest

sys.path.insert(0, str(ROOT / "dev/tools"))

STEPS = {
    "python -c pass": "pass",
    "import interp_helpers": "import interp_helpers",
    "import transformer_lens": "import transformer_lens",
    "load_model('storybook')": "import interp_helpers; interp_helpers.load_model('storybook')",
    "load_bridge('storybook')": "import interp_helpers; interp_helpers.load_bridge('storybook')",
}
FIGURE = "from execution import execute; execute(__import__('pathlib').Path(sys.argv[1]))"


def imports():
    """A fresh process for each, the fastest of five."""
    rows = []
    for name, code in STEPS.items():
        command = [sys.executable, "-c", code]
        env = {**os.environ, **ENVIRONMENT}
        seconds, _ = fastest(lambda: subprocess.run(command, env=env, check=True, capture_output=True))  # noqa: B023
        rows.append({"a process that does": name, "seconds": f"{seconds:.2f}"})
    return rows


def notebooks():
    from claims import REAL, records
    from execution import measure

    rows, real = [], records().get(REAL, {})
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        ours, _, problem = measure(path, {})
        if problem:
            raise problem
        row = {"notebook": path.stem}
        for name, record in {"storybook": ours, REAL: real.get(path.stem, {"stopped": "not run"})}.items():
            for heading, what in {"seconds": "seconds", "peak MiB": "MiB"}.items():
                row[f"{name}: {heading}"] = "–" if record["stopped"] else record[what]
        rows.append(row)
    return rows


def clone():
    """Seconds from `git clone` to the first figure of the first notebook, packages from the network or pip's cache."""
    import nbformat

    steps = {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "course"

        def timed(name, *command):
            began = time.perf_counter()
            ran = subprocess.run(command, cwd=copy if copy.is_dir() else folder, capture_output=True, text=True)
            steps[name] = f"{time.perf_counter() - began:.1f}" if ran.returncode == 0 else "not measured: it failed"
            return ran.returncode == 0

        if timed("git clone", "git", "clone", "--quiet", str(ROOT), str(copy)) and timed(
            "install", "make", ".venv/ready"
        ):
            notebook = nbformat.read(copy / "notebooks" / "01_baseline.ipynb", 4)
            figure = next(n for n, cell in enumerate(notebook.cells) if "plt.show()" in cell.source)
            notebook.cells = notebook.cells[: figure + 1]
            nbformat.write(notebook, copy / "notebooks" / "first.ipynb")
            script = "import sys; sys.path.insert(0, 'dev/tools'); " + FIGURE
            timed("notebook 01 to its first figure", copy / ".venv/bin/python", "-c", script, "notebooks/first.ipynb")
    return [{"step": name, "seconds": value} for name, value in steps.items()]


def tables():
    return {
        "From clone to first figure": clone(),
        "Processes": imports(),
        "Notebooks": notebooks(),
    }


if __name__ == "__main__":
    print(json.dumps(tables(), indent=1))
