"""Execute a notebook the way all tools do it: offline, on one thread, with clean and repeatable outputs."""

import json
import os
import re
import tempfile
import time
from pathlib import Path

import environment  # noqa: F401 - sets it, for the kernels
import nbformat
from editions import mark
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbclient.util import run_sync

METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python"},
}
VARIABLES = ["INTERP_MODEL", "INTERP_UNTRAINED", "INTERP_SENTENCES", "INTERP_CLAIMS"]  # what notebooks read
PEAK = (  # of the kernel, in MiB: Linux counts in KiB, macOS in bytes, Windows has no resource module
    "(lambda r, p: r.getrusage(r.RUSAGE_SELF).ru_maxrss / (2**20 if p == 'darwin' else 2**10))"
    "(__import__('resource'), __import__('sys').platform)"
    if os.name == "posix"
    else "__import__('psutil').Process().memory_info().peak_wset / 2**20"
)


def execute(path, allow_errors=False, timeout=600):
    """Run all cells of the notebook at `path` in its folder, in a fresh kernel.

    Returns (notebook with new outputs, seconds, peak memory of the kernel in MiB). The notebook holds nothing
    that differs from run to run: no times, no widget state, no version of Python. Raises nbclient's
    CellExecutionError at the first cell that fails, unless `allow_errors`.
    """
    notebook = nbformat.read(path, 4)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=timeout,
        allow_errors=allow_errors,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    began = time.monotonic()
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index, execution_count=None)
        seconds = time.monotonic() - began
        reply = run_sync(client.kc.execute_interactive)("", user_expressions={"peak": PEAK}, timeout=30)
    peak = float(reply["content"]["user_expressions"]["peak"]["data"]["text/plain"])
    clean(notebook)
    return notebook, seconds, peak


def measure(path, variables, timeout=600):
    """Run the notebook at `path` with these environment variables, and keep its claims.

    Returns (record, the executed notebook or None, the error or None). The record: {"claims": {claim: {"mark", "value",
    "because"}}, as the notebook prints them, "stopped": what kept it from its end, or "", "seconds", "MiB"}.
    """
    record, notebook, problem = {"claims": {}, "stopped": "", "seconds": None, "MiB": None}, None, None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "claims.jsonl"
        before = {name: os.environ.pop(name, None) for name in VARIABLES}
        os.environ.update(variables, INTERP_CLAIMS=str(file))
        try:
            notebook, seconds, peak = execute(path, timeout=timeout)
            record |= {"seconds": round(seconds, 1), "MiB": round(peak)}
        except CellExecutionError as error:
            problem, record["stopped"] = error, f"{error.ename}: {error.evalue}"
        except DeadKernelError as error:
            problem, record["stopped"] = error, "the kernel died, for want of memory perhaps"
        finally:
            for name in VARIABLES:
                os.environ.pop(name, None)
            os.environ.update({name: value for name, value in before.items() if value is not None})
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for each in map(json.loads, lines):
        mark, value = "✓" if each["holds"] else "✗", f"{each['value']:.3g}"
        record["claims"][each["claim"]] = {"mark": mark, "value": value, "because": each["because"]}
    return record, notebook, problem


def edition(path, model):
    """The notebook to run: on another model than storybook, for which the answers are written, the blank one."""
    blank = path.parent / "student" / path.name
    return path if model in (None, "storybook") or not blank.is_file() else blank


def absolute(name):
    """A name as it is; a path here as a notebook, which runs in a folder of its own, can find it."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def clean(notebook):
    """Keep tags only, mark exercises, and give every figure the alt text that the next markdown cell states."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell, following in zip(notebook.cells, [*notebook.cells[1:], None]):
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
            if "image/png" in output.get("data", {}):
                output.metadata = {"image/png": {"alt": alt_text(following)}} if alt_text(following) else {}
    mark(notebook)


def alt_text(cell):
    """The sentence after 'Figure:' in italics, at the start of a markdown cell; '' when there is none."""
    found = re.match(r"\*Figure: (.+?)\*(\n\n|$)", cell.source, re.S) if cell else None
    return " ".join(found[1].split()) if found else ""
