import json

import numpy as np
import pytest
import torch

from interp_helpers import ArgumentError, ClaimError, Claims


def test_a_claim_that_fails_on_storybook_raises():
    claim = Claims("storybook")
    claim("00.true", "Two is two", 2, True, learned=False)
    with pytest.raises(ClaimError, match=r"'00\.false' does not hold on storybook"):
        claim("00.false", "Two is three", 2, False, learned=False)


@pytest.mark.parametrize(("model", "untrained"), [("gpt2", False), ("storybook", True)])
def test_elsewhere_it_prints_a_cross(capsys, model, untrained):
    Claims(model, untrained=untrained)("00.false", "Two is three", 2.34567, False, learned=True)
    assert capsys.readouterr().out == "✗ 00.false  Two is three  [2.35]\n"


def test_a_claim_rests_on_a_finite_number_and_a_name_of_its_own():
    claim = Claims("gpt2")
    claim("00.a", "One", 1, True, learned=False)
    with pytest.raises(ArgumentError, match="made before"):
        claim("00.a", "One again", 1, True, learned=False)
    for bad in [float("nan"), float("inf")]:
        with pytest.raises(ArgumentError, match="finite"):
            claim("00.b", "Not a number", bad, True, learned=False)


def test_a_cell_that_is_run_again_makes_its_claim_anew():
    claim = Claims("gpt2")
    for value, holds in [(1, False), (3, True)]:
        claim("00.a", "Over two", value, holds, learned=False)
        claim("00.b", "Another", 0, True, learned=False)
    table = claim.table()
    assert table.index.tolist() == ["00.a", "00.b"]
    assert table.loc["00.a", ["value", "holds"]].tolist() == [3, "✓"]


def test_the_table_and_the_file_say_what_was_claimed(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERP_CLAIMS", str(tmp_path / "claims.jsonl"))
    claim = Claims("gpt2", untrained=True)
    claim("00.a", "One", 1, True, learned=False)
    claim("00.b", "Two", 2.00049, False, learned=True)
    table = claim.table()
    assert table.index.tolist() == ["00.a", "00.b"]
    assert table["holds"].tolist() == ["✓", "✗"]
    assert table["needs training"].tolist() == ["no", "yes"]
    lines = [json.loads(line) for line in (tmp_path / "claims.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(each["claim"], each["value"], each["holds"], each["model"], each["untrained"]) for each in lines] == [
        ("00.a", 1.0, True, "gpt2", True),
        ("00.b", 2.0, False, "gpt2", True),
    ]


@pytest.mark.parametrize("blank", ["", " ", None, 7])
def test_a_claim_has_a_name_and_a_sentence(blank):
    for wrong in [{"name": blank, "sentence": "One"}, {"name": "00.a", "sentence": blank}]:
        with pytest.raises(ArgumentError, match=r"(name|sentence) must be a string"):
            Claims("gpt2")(**wrong, value=1, holds=True, learned=False)


@pytest.mark.parametrize(
    "given", ["False", 1, None, float("nan"), torch.ones(1, dtype=bool), np.array([True])], ids=repr
)
def test_a_verdict_is_true_or_false(given):
    for wrong in [{"holds": given, "learned": False}, {"holds": True, "learned": given}]:
        with pytest.raises(ArgumentError, match=r"(holds|learned) of '00\.a' must be True or False"):
            Claims("gpt2")("00.a", "One", 1, **wrong)
    Claims("gpt2")("00.a", "One", 1, torch.tensor(True), learned=np.True_)


@pytest.mark.parametrize("value", ["7", b"7", "seven", None, [1], torch.ones(2), 1j], ids=repr)
def test_a_value_is_one_number(value):
    with pytest.raises(ArgumentError, match=r"the value of '00\.a' must be one number"):
        Claims("gpt2")("00.a", "One", value, True, learned=False)
