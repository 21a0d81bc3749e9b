"""The environment of all tests, and nbval made to compare floats and to refuse cells that were never executed."""

import os
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "dev" / "tools"))
for name in [name for name in os.environ if name.startswith("INTERP_")]:  # stored outputs are storybook's
    os.environ.pop(name)
import environment  # noqa: E402, F401 - before anything that reads it

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # "0" for pytest -m hub


def pytest_configure(config):
    if config.pluginmanager.hasplugin("nbval"):
        from nbval.plugin import IPyNbCell
        from stored_outputs import with_tolerance

        IPyNbCell.compare_outputs = with_tolerance(IPyNbCell.compare_outputs)


RUNS_A_NOTEBOOK = re.compile(r"::test_(on_the_untrained_twin|every_cell_of_it_run_again|a_notebook_runs_to_its_end)")


@pytest.hookimpl(optionalhook=True)  # without xdist there is no such hook
def pytest_xdist_make_scheduler(config, log):
    """A core gets a file at a time, because tests of a file share fixtures; and of tests that run a notebook, one."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return nodeid if RUNS_A_NOTEBOOK.search(nodeid) else super()._split_scope(nodeid)

    return Scheduling(config, log)


def rank(item):
    """xdist hands out files in this order. What takes longest begins first, so that no core waits for it at the end:
    notebooks, of which the later ones take longer, then the tests that run notebooks."""
    if item.path.suffix == ".ipynb":
        return 0, -int(item.path.name[:2])
    return 1, item.path.name != "test_notebooks.py"


def pytest_collection_modifyitems(items):
    """Put the files in order. And nbval passes a cell that was never executed, unchecked: refuse it."""
    from nbval.plugin import IPyNbCell

    items.sort(key=rank)
    blank = [
        item.nodeid
        for item in items
        if isinstance(item, IPyNbCell) and item.cell.source.strip() and item.cell.execution_count is None
    ]
    if blank:
        raise pytest.UsageError(f"cells without stored outputs (run `make notebooks`): {', '.join(blank)}")
