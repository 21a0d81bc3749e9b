"""The environment of all tests, and nbval made to compare floats and to refuse cells that were never executed."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "tools"))
import environment  # noqa: F401 - before anything that reads it

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # "0" for pytest -m hub
for name in ("INTERP_MODEL", "INTERP_SENTENCES", "INTERP_UNTRAINED", "INTERP_CLAIMS"):  # stored outputs are storybook's
    os.environ.pop(name, None)


def pytest_configure(config):
    if config.pluginmanager.hasplugin("nbval"):
        from nbval.plugin import IPyNbCell
        from stored_outputs import with_tolerance

        IPyNbCell.compare_outputs = with_tolerance(IPyNbCell.compare_outputs)


def pytest_collection_modifyitems(items):
    """nbval passes a cell that was never executed, unchecked: refuse it."""
    from nbval.plugin import IPyNbCell

    blank = [
        item.nodeid
        for item in items
        if isinstance(item, IPyNbCell) and item.cell.source.strip() and item.cell.execution_count is None
    ]
    if blank:
        raise pytest.UsageError(f"cells without stored outputs (run `make notebooks`): {', '.join(blank)}")
