import os

import pytest
import torch

from interp_helpers import FileError
from interp_helpers.files import write_whole


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path):
    path = tmp_path / "scores.pt"
    write_whole(path, "first")
    assert path.read_text() == "first"
    write_whole(path, lambda part: torch.save({"a": 1}, part))
    assert torch.load(path) == {"a": 1}

    def fails(part):
        part.write_text("half of")
        raise OSError("no space left")

    with pytest.raises(FileError, match=f"{path} cannot be written: no space left.*Make room"):
        write_whole(path, fails)
    assert torch.load(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["scores.pt"], "nothing is left over"


def test_an_interruption_leaves_nothing_behind(tmp_path):
    def interrupted(part):
        part.write_text("half of")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.txt", interrupted)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(FileError, match=r"cannot be written: .*No such file"):
        write_whole(tmp_path / "nowhere" / "a.txt", "text")
    with pytest.raises(FileError, match="cannot be written"):  # torch.save raises RuntimeError for it
        write_whole(tmp_path / "nowhere" / "a.pt", lambda part: torch.save({}, part))
