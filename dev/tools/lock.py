"""Write requirements.lock from pyproject.toml, and its versions into environment.yml and binder/.

What only a teacher needs goes into a second lock, dev/classroom/requirements.lock, which `make grading` installs beside
the first: the extension nbgrader adds a menu and a button to JupyterLab, which students have no use for.

Needs uv, only to find versions that fit Python 3.10 to 3.13 on every system; pip installs them. One torch for all,
given with --torch, since a torch without exact pin may bring several GB of CUDA packages.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from packaging.markers import Marker

HEADER = """\
# Exact versions for CI, Binder and `make`, for Python 3.10 to 3.13; made from pyproject.toml by `make lock`.
# No nvidia or triton packages: a CUDA build of torch brings its own.
"""
GRADING_HEADER = """\
# nbgrader and what only nbgrader needs, on top of requirements.lock; made by `make lock`, installed by `make grading`.
"""
GRADING = Path("dev/classroom/requirements.lock")
PYTHON = "3.11"  # of environment.yml and Binder
CPU_WHEELS = "--extra-index-url https://download.pytorch.org/whl/cpu\n"


def pins(lock, python):
    """{name: version} of the lines of a lock that hold for a Python on Linux."""
    there = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": "linux",
        "os_name": "posix",
    }
    found = {}
    for line in lock.splitlines():
        requirement, _, marker = line.partition(" ; ")
        if "==" in requirement and not line.startswith("#") and (not marker or Marker(marker).evaluate(there)):
            name, version = requirement.strip().split("==")
            found[name] = version
    return found


def resolve(extras, constraints):
    """The lines of a lock for some of the extras, as uv finds them. constraints: versions to stay with, as lines."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "pyproject.toml",
        "--universal",
        "--python-version",
        "3.10",
    ]
    command += [*(f"--extra={each}" for each in extras), "--no-header", "--no-annotate", "--constraints", "-"]
    found = subprocess.run(command, input=constraints, text=True, capture_output=True, check=True).stdout
    return "".join(line for line in found.splitlines(True) if not re.match(r"nvidia-|cuda-|triton", line))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", default=pins(Path("requirements.lock").read_text(), PYTHON)["torch"])
    student = ["lab", "test", "site"]
    lock = HEADER + resolve(student, f"torch=={parser.parse_args().torch}\n")
    Path("requirements.lock").write_text(lock, encoding="utf-8")
    teacher = resolve([*student, "grading"], lock).splitlines(True)
    added = [line for line in teacher if line not in lock.splitlines(True)]
    GRADING.write_text(GRADING_HEADER + "".join(added), encoding="utf-8")
    small = pins(resolve(["lab"], lock), PYTHON)  # a student needs no tests, no site
    Path("binder/requirements.txt").write_text(
        HEADER + CPU_WHEELS + "".join(f"{name}=={version}\n" for name, version in small.items()),
        encoding="utf-8",
    )
    environment = Path("environment.yml")
    text = environment.read_text(encoding="utf-8")
    for name, version in pins(lock, PYTHON).items():
        text = re.sub(rf"- {re.escape(name)}==[^\s#]+", f"- {name}=={version}", text)
    environment.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
