"""Execute a notebook the way all tools do it: offline, on one thread, with clean and repeatable outputs."""

import os
import re
import time

import environment  # noqa: F401 - sets it, for the kernels
import nbformat
from editions import mark
from nbclient import NotebookClient
from nbclient.util import run_sync

METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python"},
}
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
