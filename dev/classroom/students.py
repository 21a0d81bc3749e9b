"""Execute notebooks where they stand, as a student's Run All does: python dev/classroom/students.py NOTEBOOK ...

For the published images of Colab and Binder, in a weekly job: it needs nothing but the Jupyter that is there. A
notebook that fails stops no other. The last line names those that failed, and the exit status is then 1.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TIMEOUT = 1200  # seconds that one cell may take on a shared runner


def failure(path):
    """Why a notebook cannot be executed, in a line; None when it can. Blank exercises are no failure."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["nbconvert", "--to", "notebook", "--execute", f"--ExecutePreprocessor.timeout={TIMEOUT}"]
        command += ["--output-dir", folder, str(path)]
        variables = {**os.environ, "INTERP_PROGRESS": ""}  # nothing is written beside the notebooks
        command = [sys.executable, "-m", "jupyter", *command]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr).strip().splitlines()  # without colours
    return (said or ["Jupyter says nothing"])[-1] if done.returncode else None


def main(paths):
    failed = {}
    for path in map(Path, paths):
        reason = failure(path)
        print(f"{path.name}: {reason or 'runs'}", flush=True)
        failed |= {path.name: reason} if reason else {}
    print(f"{len(failed)} of {len(paths)} notebooks failed: {', '.join(failed) or 'none'}")
    return bool(failed) or not paths


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
