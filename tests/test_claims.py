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


def test_a_claim_has_a_name_of_its_own_and_is_made_anew_when_its_cell_is_run_again():
    claim = Claims("gpt2")
    for value, holds in [(1, False), (3, True)]:
        claim("00.a", "Over two", value, holds, learned=False)
        claim("00.b", "Another", 0, True, learned=False)
    table = claim.table()
    assert table.index.tolist() == ["00.a", "00.b"]
    assert table.loc["00.a", ["value", "holds"]].tolist() == [3, "✓"]


@pytest.mark.parametrize(("value", "holds"), [(np.nan, True), (np.inf, True), (np.inf, False), (np.nan, False)])
def test_a_value_is_finite(value, holds):
    with pytest.raises(ArgumentError, match=r"value of '00\.a' is (nan|inf)"):
        Claims("gpt2")("00.a", "One", value, holds, learned=False, because={"a reason": False})


def test_a_claim_that_fails_for_a_known_reason_may_have_measured_nothing(capsys):
    claim, because = Claims("gpt2"), {"first": True, "second": False, "third": True}
    claim("00.a", "One", np.nan, False, learned=False, because=because)
    assert capsys.readouterr().out == "✗ 00.a  One  [nan]  (first and third)\n"
    with pytest.raises(ArgumentError, match="is nan"):  # what holds was measured
        claim("00.a", "One", np.nan, True, learned=False, because=because)


@pytest.mark.parametrize("verdict", ["False", 1, None, float("nan"), np.array(1.0)], ids=repr)
def test_a_verdict_is_true_or_false(verdict):
    with pytest.raises(ArgumentError, match="holds must be bool"):
        Claims("gpt2")("00.a", "One", 1, verdict, learned=False)
    Claims("gpt2")("00.a", "One", torch.tensor(1), torch.tensor(True), learned=np.True_)


def test_the_table_and_the_file_say_what_was_claimed(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERP_CLAIMS", str(tmp_path / "claims.jsonl"))
    claim = Claims("gpt2", untrained=True)
    assert claim.table().columns.tolist() == ["sentence", "value", "holds", "needs training"]
    claim("00.a", "One", 1, True, learned=False)
    claim("00.b", "Two", 2.00049, np.False_, learned=True)
    table = claim.table()
    assert table.index.tolist() == ["00.a", "00.b"]
    assert table["holds"].tolist() == ["✓", "✗"]
    assert table["needs training"].tolist() == ["no", "yes"]
    lines = [json.loads(line) for line in (tmp_path / "claims.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(each["claim"], each["value"], each["holds"], each["model"], each["untrained"]) for each in lines] == [
        ("00.a", 1.0, True, "gpt2", True),
        ("00.b", 2.0, False, "gpt2", True),
    ]
