"""Binder and Colab, simulated: clean environments as those services make them, and every notebook run in them.

Off by default, for it installs several GB: pytest -m launch
"""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from checkout import listed
from lock import CPU_WHEELS, PYTHON, pins

pytestmark = [pytest.mark.launch, pytest.mark.skipif(os.name != "posix", reason="memory limits are POSIX's")]
ROOT = Path(__file__).parent.parent
STUDENT = sorted((ROOT / "notebooks" / "student").glob("0*.ipynb"))
BINDER_BYTES = 2 * 2**30  # what mybinder.org gives a session


def environment(folder, *arguments):
    """A clean virtual environment with what pip installs for `arguments`. Returns its bin folder."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip(folder / "bin", *arguments)
    return folder / "bin"


def cpu_wheels():
    """The arguments that name the index of small torch wheels; none where it cannot be reached: pip asks long."""
    try:
        socket.getaddrinfo(CPU_WHEELS.split("/")[2], 443)
    except OSError:
        return []
    return CPU_WHEELS.split()


def pip(place, *arguments):
    subprocess.run([place / "python", "-m", "pip", "install", "--quiet", *arguments], check=True)


def variables(place, **more):
    """The environment variables of a process in an environment: nothing of this one's but where to find things."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("HOME", "LANG", "PIP_", "SSL_"))}
    return {**kept, "PATH": f"{place}{os.pathsep}/usr/bin:/bin", **more}


def run(place, notebook, limit=None, **more):
    """Execute a notebook with an environment's own tools, each process within `limit` bytes of data."""

    def within():
        import resource

        if limit:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    done = subprocess.run(
        [place / "jupyter-execute", "--timeout=600", "--inplace", notebook.name],
        cwd=notebook.parent,
        env=variables(place, **more),
        preexec_fn=within,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = [output for cell in nbformat.read(notebook, 4).cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs)
    assert "not attempted" in printed
    assert "✗" not in printed


@pytest.fixture(scope="module")
def binder(tmp_path_factory):
    """(bin folder, checkout): what Binder builds from binder/, with the Python of runtime.txt."""
    if f"python-{sys.version_info[0]}.{sys.version_info[1]}\n" != (ROOT / "binder" / "runtime.txt").read_text():
        pytest.skip("another Python than Binder's")
    checkout = tmp_path_factory.mktemp("checkout")
    for path in listed():
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, checkout / path)
    listed_there = checkout / "binder" / "requirements.txt"
    if not cpu_wheels():
        listed_there.write_text(listed_there.read_text().replace(CPU_WHEELS, ""))
    place = environment(tmp_path_factory.mktemp("binder") / "env", "-r", listed_there)
    subprocess.run(["sh", checkout / "binder" / "postBuild"], cwd=checkout, env=variables(place), check=True)
    return place, checkout


@pytest.mark.parametrize("path", STUDENT, ids=lambda path: path.stem)
def test_binder_runs_every_notebook_in_its_memory(binder, path):
    place, checkout = binder
    run(place, checkout / "work" / path.name, BINDER_BYTES)


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """(bin folder, empty folder, wheel): torch and Jupyter are there, nothing else of the course."""
    wheels = tmp_path_factory.mktemp("wheels")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", wheels, ROOT],
        check=True,
    )
    torch = pins((ROOT / "requirements.lock").read_text(encoding="utf-8"), PYTHON)["torch"]
    there = [f"torch=={torch}", "numpy", "pandas", "matplotlib", "ipykernel", "nbclient", *cpu_wheels()]
    place = environment(tmp_path_factory.mktemp("colab") / "env", *there)
    return place, tmp_path_factory.mktemp("content"), next(wheels.glob("*.whl"))


@pytest.mark.parametrize("path", STUDENT, ids=lambda path: path.stem)
def test_colab_installs_the_wheel_and_keeps_its_torch(colab, path):
    place, content, wheel = colab

    def torch():
        return subprocess.run(
            [place / "python", "-c", "import torch; print(torch.__version__, torch.__file__)"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    before = torch()
    shutil.copy(path, content)
    run(place, content / path.name, INTERP_WHEEL=str(wheel))
    assert torch() == before
