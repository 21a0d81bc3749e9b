"""Progress bars: they count, and nothing of them is left."""

import re

import tqdm

from interp_helpers.progress import progress


def drawn(monkeypatch, capsys, off):
    """What a terminal is told while three things are counted."""
    monkeypatch.setenv("TQDM_DISABLE", off)
    monkeypatch.setattr("interp_helpers.progress.tqdm", tqdm.tqdm)
    assert list(progress(range(3), "head")) == [0, 1, 2]
    return capsys.readouterr().err


def test_a_bar_is_drawn_and_wiped_out_at_the_end(monkeypatch, capsys):
    told = drawn(monkeypatch, capsys, "")
    assert "0/3" in told
    assert re.search(r"\r +\r$", told)


def test_it_can_be_switched_off(monkeypatch, capsys):
    assert drawn(monkeypatch, capsys, "1") == ""
