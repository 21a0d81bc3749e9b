"""Execute a notebook the way all tools do it: offline, storybook on one thread, with clean and repeatable outputs."""

import json
import os
import tempfile
import time
from pathlib import Path

import environment  # noqa: F401 - sets it, for the kernels
import nbformat
from editions import mark
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbclient.util import run_sync
from reading import UnreadableError, read

METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python"},
}
# What notebooks read.
VARIABLES = ["INTERP_MODEL", "INTERP_UNTRAINED", "INTERP_SENTENCES", "INTERP_CLAIMS", "INTERP_EVIDENCE"]
STRICT = "INTERP_STRICT"  # where it is set, a claim that fails on storybook ends the notebook
COLUMNS = ["notebook", "cells", "seconds", "peak MiB", "claims held"]  # of the table that the tools print
PEAK = (  # of the kernel, in MiB: Linux counts in KiB, macOS in bytes, Windows has no resource module
    "(lambda r, p: r.getrusage(r.RUSAGE_SELF).ru_maxrss / (2**20 if p == 'darwin' else 2**10))"
    "(__import__('resource'), __import__('sys').platform)"
    if os.name == "posix"
    else "__import__('psutil').Process().memory_info().peak_wset / 2**20"
)


class NotebookError(Exception):
    """A notebook did not reach its end: in which cell and why, without a full stop. What was raised is the cause."""

    def __init__(self, why, seconds):
        super().__init__(why)
        self.seconds = seconds  # until then


def execute(path, allow_errors=False, timeout=600, env=None):
    """Run all cells of the notebook at `path` in its folder, in a fresh kernel.

    timeout: the seconds that one cell may take; env: the kernel's environment variables instead of this process's.

    Returns (notebook with new outputs, seconds, peak memory of the kernel in MiB). The notebook holds nothing
    that differs from run to run: no times, no widget state, no version of Python. Raises NotebookError at the first
    cell that fails, unless `allow_errors`, and for whatever else ends the notebook.
    """
    began, number, place = time.monotonic(), 0, "before its first cell"
    try:
        notebook = read(path)
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
        with client.setup_kernel(env=os.environ if env is None else env):
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type == "code" and (lines := cell.source.strip().splitlines()):
                    number += 1  # as Jupyter counts: what stands in its brackets
                    place = f"code cell {number} (`{shorten(lines[0], 60)}`)"
                try:
                    client.execute_cell(cell, index, execution_count=None)
                except CellTimeoutError:
                    client.shutdown_kernel = "immediate"  # a busy kernel that is asked to end complains
                    raise
            seconds, place = time.monotonic() - began, "after its last cell"
            reply = run_sync(client.kc.execute_interactive)("", user_expressions={"peak": PEAK}, timeout=30)
        peak = float(reply["content"]["user_expressions"]["peak"]["data"]["text/plain"])
        clean(notebook)
    except UnreadableError as problem:
        raise NotebookError(str(problem).rstrip("."), time.monotonic() - began) from problem
    except Exception as problem:
        raise NotebookError(f"{place}: {reason(problem, timeout)}", time.monotonic() - began) from problem
    return notebook, seconds, peak


def reason(problem, timeout=None):
    """What an error says, in one line without a full stop."""
    if isinstance(problem, CellTimeoutError):
        return f"it took longer than {timeout} seconds"
    if isinstance(problem, DeadKernelError):
        return "the kernel died, perhaps because the memory was full"
    name, said = getattr(problem, "ename", type(problem).__name__), getattr(problem, "evalue", str(problem))
    return f"{name}: {shorten(said, 300)}".rstrip(":. ")


def shorten(text, width):
    """A text in one line of at most this many characters."""
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def measure(path, variables, timeout=600):
    """Run the notebook at `path` with these environment variables, and keep its claims, of which none ends it.

    The kernel works on one thread on storybook and its twin, whose outputs are compared, and elsewhere on all cores.

    Returns (record, the executed notebook or None, the NotebookError or None). The record: {"claims": {claim: {"mark",
    "value", "because"}}, as the notebook prints them, "stopped": what kept it from its end, or "", "seconds", "MiB"}.
    """
    record, notebook, problem = {"claims": {}, "stopped": "", "seconds": None, "MiB": None}, None, None
    threads = [] if variables.get("INTERP_MODEL", "storybook") == "storybook" else ["OMP_NUM_THREADS"]
    env = {name: value for name, value in os.environ.items() if name not in [*VARIABLES, STRICT, *threads]} | variables
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "claims.jsonl"
        try:
            notebook, seconds, peak = execute(path, timeout=timeout, env=env | {"INTERP_CLAIMS": str(file)})
            record |= {"seconds": round(seconds, 1), "MiB": round(peak)}
        except NotebookError as error:
            problem = error
            record |= {"stopped": str(error), "seconds": round(error.seconds, 1)}
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for each in map(json.loads, lines):
        mark = "✓" if each["holds"] else "✗"
        record["claims"][each["claim"]] = {"mark": mark, "value": each["shown"], "because": each["because"]}
    return record, notebook, problem


def row(path, record, notebook):
    """The row of a notebook in the table that the tools print; "failed" stands for the claims of one that stopped."""
    cells = str(sum(cell.cell_type == "code" for cell in notebook.cells)) if notebook else ""
    held = [each["mark"] for each in record["claims"].values()]
    claims = "failed" if record["stopped"] else f"{held.count('✓')} of {len(held)}"
    return [path.stem, cells, f"{record['seconds']:.1f}", str(record["MiB"] or ""), claims]


def show(row, longest):
    """Print a row of the table as soon as it is known. longest: the width of its first column."""
    columns = zip(row[1:], COLUMNS[1:])
    print(row[0].ljust(longest), *(value.rjust(len(column)) for value, column in columns), sep="  ", flush=True)


def edition(path, model):
    """The notebook to run: on another model than storybook, for which the answers are written, the blank one."""
    blank = path.parent / "student" / path.name
    return path if model in (None, "storybook") or not blank.is_file() else blank


def absolute(name):
    """A name as it is; a path here as a notebook, which runs in a folder of its own, can find it."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def clean(notebook):
    """Keep tags and alt texts only, fold and mark cells, and give every figure the alt text in its cell's metadata."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        cell.metadata = {name: cell.metadata[name] for name in ("tags", "alt") if cell.metadata.get(name)}
        tags = cell.metadata.get("tags", [])
        if "hide-input" in tags and "BEGIN SOLUTION" not in cell.source:  # folded in JupyterLab as on the site
            cell.metadata["jupyter"] = {"source_hidden": True}
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
            if "image/png" in output.get("data", {}):
                sizes = output.metadata.get("image/png", {})  # of figures with twice the pixels
                output.metadata = {"image/png": {**sizes, "alt": cell.metadata.get("alt", "")}}
    mark(notebook)
