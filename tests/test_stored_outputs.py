"""How nbval is told to compare: exactly, within rounding elsewhere."""

from types import SimpleNamespace

import pytest
from nbformat import from_dict
from stored_outputs import arithmetic, with_tolerance

STORED = "loss 0.31\n✓ 07.gone  It is gone  [0.3]\n"
OTHER = "loss 0.52\n✓ 07.gone  It is gone  [0.4]\n"
FAILED = "loss 0.31\n✗ 07.gone  It is gone  [0.3]\n"
ROUNDED = "loss 0.32\n✓ 07.gone  It is gone  [0.3]\n"


def equal(digest, found, stored):
    """Whether a cell's output `found` passes for `stored`, in the notebook of a machine with that digest."""
    notebook = SimpleNamespace(nb=from_dict({"metadata": {"stored_with": {"arithmetic": digest}}}))
    cell = SimpleNamespace(parent=notebook)
    stream, data = ([from_dict(make(text)) for text in (found, stored)] for make in (as_stream, as_data))
    compare = with_tolerance(lambda cell, test, ref, skip: test == ref)
    results = {compare(cell, [new], [old]) for new, old in (stream, data)}
    assert len(results) == 1, "printed or displayed, a text is compared alike"
    return results.pop()


def as_stream(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def as_data(text):
    return {"output_type": "execute_result", "data": {"text/plain": text}, "metadata": {}}


@pytest.mark.parametrize(
    ("elsewhere", "found", "passes"),
    [
        (False, STORED, True),
        (False, ROUNDED, False),
        (True, ROUNDED, True),
        (True, OTHER, False),
        (True, FAILED, False),
    ],
)
def test_what_passes_for_a_stored_output(elsewhere, found, passes):
    digest = "of another machine" if elsewhere else arithmetic()
    assert equal(digest, found, STORED) is passes
