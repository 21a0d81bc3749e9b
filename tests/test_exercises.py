"""The driver of the exercises, and every entry: its mistakes are fed back, its reference passes, blanks are blanks.

What is particular to a notebook is in test_exercises_<topic>.py, and to 02 here.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from interp_helpers import (
    ArgumentError,
    Batch,
    CheckError,
    ModelError,
    adjustments,
    attention,
    exercises,
    load_model,
    passages,
    residual,
    shuffled,
    token_batches,
)
from interp_helpers.exercises import (
    judging,
)
from interp_helpers.exercises.head_specialization import (
    DRAWS,
    EXERCISES,
    _counted,
    _named_panels,
    _own_kind,
    _own_targets,
    _slow_share,
)
from interp_helpers.visits import output_matrices


def right(ids):
    earlier = (ids[..., :, None] == ids[..., None, :]).tril(-1)
    return earlier.roll(1, -1)


def blank(ids):
    """Not written yet."""


@pytest.fixture(autouse=True)
def no_results(monkeypatch):
    monkeypatch.setattr(exercises, "_results", {})
    monkeypatch.delenv("INTERP_GRADING", raising=False)


@pytest.mark.parametrize("answer", [blank, None, ..., {"layer": None}, (None, None), []])
def test_no_answer_is_not_attempted(answer, capsys):
    exercises.check("2b", answer)
    assert capsys.readouterr().out == "○ 2b not attempted\n"


def test_nbgraders_own_stub_is_not_attempted(capsys):
    def stub(ids):
        raise NotImplementedError()

    exercises.check("2b", stub)
    assert capsys.readouterr().out == "○ 2b not attempted\n"


def test_a_function_that_forgets_to_return_is_told_so(capsys):
    def forgets(ids):
        ids.sum()

    exercises.check("2b", forgets)
    assert "returned None when given a tensor of shape (14,). Does it end with `return`?" in capsys.readouterr().out


def test_an_error_in_the_answer_is_shown_and_stops_nothing(capsys):
    exercises.check("2b", lambda ids: ids[..., 99])
    printed = capsys.readouterr().out
    assert printed.startswith("✗ 2b not yet: your function raised IndexError when given a tensor of shape (14,)")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda ids: "a word", "should be a number or a tensor"),
        (lambda ids: torch.where(right(ids), torch.nan, 0), "holds NaN"),
        (lambda ids: right(ids)[..., None], "has shape"),
        (lambda ids: right(ids) + 1e-3, "where it should be"),
    ],
)
def test_what_no_mistake_explains_gets_the_difference(answer, message, capsys):
    exercises.check("2b", answer)
    printed = capsys.readouterr().out
    assert printed.startswith("✗ 2b not yet: ")
    assert message in printed


@pytest.mark.parametrize("answer", [3, "a word", [1, 2], torch.zeros(3)])
def test_an_answer_of_another_kind_stops_nothing(answer, capsys):
    exercises.check("2b", answer)
    assert "cannot be checked" in capsys.readouterr().out


def test_an_answer_cannot_change_what_it_is_compared_with(capsys):
    def in_place(ids):
        target = right(ids)
        ids.zero_()
        return ~target

    exercises.check("2b", in_place)
    assert capsys.readouterr().out.startswith("✗")


def test_grading_makes_what_did_not_pass_raise(monkeypatch, capsys):
    monkeypatch.setenv("INTERP_GRADING", "1")
    exercises.check("2b", right)
    for answer in (blank, lambda ids: ids.sum()):
        with pytest.raises(CheckError, match="2b"):
            exercises.check("2b", answer)


@pytest.mark.parametrize("name", ["2z", "", "10a", "0a", None, 2, "a"])
def test_an_unknown_exercise_gets_an_error(name):
    with pytest.raises(ArgumentError):
        exercises.check(name, right)


def test_random_inputs_differ_from_call_to_call_and_leave_the_global_seed_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = (judging.random_pattern(4, 4, generator=judging.fresh()) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(first.sum(-1), torch.ones(4))
    assert first.triu(1).eq(0).all()


def test_nobody_knows_the_seeds_of_random_inputs(monkeypatch):
    monkeypatch.undo()  # the tests' own seeds
    assert len({judging.fresh().initial_seed() for _ in range(9)}) == 9


def test_options_are_named_when_an_answer_is_none_of_them():
    assert judging.choose(" Rises", ["rises", "falls"]) == "rises"
    with pytest.raises(judging.Wrong, match="'rises', 'falls'; got 'up'"):
        judging.choose("up", ["rises", "falls"])


def test_equal_is_equal_to_a_share_of_the_largest_number():
    nan, inf = float("nan"), float("inf")
    for found, wanted, equal in [
        ([1000.005, 1], [1000, 1], True),
        ([1000.02, 1], [1000, 1], False),
        (0.100009, 0.1, True),  # of small numbers, a share of 1
        (0.100015, 0.1, False),
        ([nan, 1, inf], [nan, 1, inf], True),
        ([nan, 1, inf], [nan, 1, -inf], False),
        ([nan, 1], [0, 1], False),
    ]:
        assert judging.same(found, wanted) == equal, (found, wanted)


def test_the_largest_difference_is_the_one_that_is_told():
    with pytest.raises(judging.Wrong, match=r"your answer is 2\.000 where it should be 1\.000 \(at \[0\]\)"):
        judging.compare([2.0, 5.5], [1.0, 5.0], {}, given="two numbers")


def test_a_mistake_that_gives_nearly_the_same_number_is_not_named_in_the_place_of_the_right_one():
    mistakes = {"the first": 1.00005, "the second": 1.0}
    for found, message in [(1.0, "the second"), (1.00005, "the first"), (1.00009, "the first")]:
        with pytest.raises(judging.Wrong, match=message):
            judging.compare(found, 5.0, mistakes, given="a number", tolerance=1e-4)


def test_small_tensors_are_shown_whole():
    assert judging.shown(torch.tensor([1.0, 2, 3, 4])) == "tensor([1.000, 2.000, 3.000, 4.000])"
    assert judging.shown(torch.zeros(5)) == "a tensor of shape (5,)"


@pytest.mark.parametrize("notebook", [0, 10, "2"])
def test_there_are_nine_notebooks(notebook):
    with pytest.raises(ArgumentError, match="There is no notebook"):
        exercises.checkers(notebook)


@pytest.mark.parametrize(
    ("exercise", "context", "message"),
    [
        ("2d", {}, r"exercise 2d needs model, batch. Call it as check\('2d', answer, model=..., batch=...\)"),
        ("2b", {"model": 1}, "exercise 2b does not take model"),
        ("2c", {"before": 1.0}, "exercise 2c needs after"),
    ],
)
def test_a_context_that_is_missing_or_foreign_is_the_callers_mistake(exercise, context, message, capsys):
    with pytest.raises(ArgumentError, match=message):
        exercises.check(exercise, right, **context)
    assert capsys.readouterr().out == ""  # not a word about the answer


def test_what_is_no_model_is_the_callers_mistake_too(capsys):
    with pytest.raises(ModelError, match="load_model"):
        exercises.check("2d", _slow_share, model=None, batch=torch.tensor([[1, 2]]))
    assert capsys.readouterr().out == ""


# Every entry. What an exercise needs beside the answer is made once from storybook and a few passages.

ENTRIES = [each for number in range(1, len(exercises.TOPICS) + 1) for each in exercises.checkers(number).values()]
FUNCTIONS = [exercise for exercise in ENTRIES if exercise.reference]


def says(capsys, exercise, answer, **context):
    exercises.check(exercise, answer, **context)
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def contexts(storybook, storybook_bridge):
    """{exercise: what its cell in the notebook gives to check}."""
    model, tokenizer = storybook
    batches = token_batches(tokenizer, passages()[:8], context=512)
    in_order, mixed = (
        [row[mask] for batch in each for row, mask in zip(batch.tokens, batch.mask)]
        for each in (batches, shuffled(batches))
    )
    kinds = attention.classify(attention.survey(model, batches))
    bridge, _ = storybook_bridge
    with torch.no_grad():
        _, cache = bridge.run_with_cache(batches[0].tokens[:2, :9])
    streams, (names, vectors) = cache.accumulated_resid()[:, :, -1], residual.parts(cache)
    vectors, unembedding = vectors[:, :, -1], residual.Unembedding.of(bridge)
    pairs = {"token": torch.tensor([5, 6]), "other": torch.tensor([7, 8])}
    norms, mask = adjustments.attention_output_norms(model, batches)
    rows = adjustments.position_rows(norms.log(), mask)
    return {
        "1e": SINK,
        "1g": {"model": model, "tokenizer": tokenizer},
        "1h": {"model": model, "tokenizer": tokenizer},
        "2a": PANELS,
        "2c": {"before": 0.6, "after": 0.35},
        "2d": {"model": model, "batch": batches[0]},
        "2f": {"model": model, "tokenizer": tokenizer, "kinds": kinds},
        "2g": SHARP,
        "2h": {"model": model, "texts": in_order[:6], "mixed": mixed[:6]},
        "3a": dict.fromkeys(["correct", "asked_first", "sentence"]),
        "3b": {"streams": streams, "unembedding": unembedding},
        "3c": {"bridge": bridge, "tokenizer": tokenizer},
        "3d": {"vectors": vectors, "stream": streams[-1], "unembedding": unembedding, **pairs},
        "3e": {"vectors": vectors[:, 0], "names": names, "unembedding": unembedding, "token": 5, "other": 7},
        "3g": {"bridge": bridge, "tokenizer": tokenizer, "used": []},
        "4a": {"model": model, "modules": output_matrices(model), "tokens": batches[0].tokens[:2, :20]},
        "4c": {"rows": rows, "layer": 1},
        # Of what follows, all but 6a are only left blank here.
        "4d": dict.fromkeys(["once", "twice", "renamed", "layer"]),
        "4g": dict.fromkeys(["model", "tokenizer", "layer", "slope"]),
        "4h": dict.fromkeys(["bridge", "batches", "layer"]),
        "5b": dict.fromkeys(["raw", "effective"]),
        "5f": {"model": model},
        "5g": {"model": model, "measured": torch.ones(6, 8)},
        "6b": dict.fromkeys(["zero", "mean", "third"]),
        "6a": {"bridge": bridge, "tokens": batches[0].tokens[:2, :9]},
        "6e": dict.fromkeys(["bridge", "tokenizer", "repeated", "z", "limit", "most"]),
        "6g": dict.fromkeys(["bridge", "tokenizer", "known"]),
        "7c": dict.fromkeys(["losses", "trained", "asked"]),
        "7d": {"baseline": None},
        "7g": dict.fromkeys(["trained", "means"]),
        "8c": {"explained": None},
        "8e": dict.fromkeys(["encode", "features"]),
        "8g": {"texts": [["a"] * 40], "fired": [torch.arange(30)], "rules": torch.zeros(1)},
        "9c": dict.fromkeys(["probe", "words"]),
        "9f": dict.fromkeys(["measure", "streams", "ids"]),
        "9g": {"training": [["a"] * 4], "held_out": [["a"] * 4], "compare": None},
    }


@pytest.mark.parametrize("exercise", ENTRIES, ids=lambda exercise: exercise.id)
def test_an_entry_says_what_its_notebook_says(exercise):
    path = next(Path("notebooks").glob(f"0{exercise.id[0]}_*.ipynb"))
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = {cell["id"]: cell for cell in notebook["cells"]}
    source = "".join(cells[f"exercise-{exercise.id}"]["source"])
    assert source.startswith(f"### Exercise {exercise.id} · {exercise.title}\n")
    assert f"*{exercise.kind} · difficulty {exercise.difficulty} of 5 ·" in source
    assert cells[f"check-{exercise.id}"]["metadata"]["nbgrader"]["points"] == exercise.points


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=lambda exercise: exercise.id)
def test_the_reference_passes(exercise, contexts, capsys):
    printed = says(capsys, exercise.id, exercise.reference, **contexts.get(exercise.id, {}))
    assert printed == f"✓ {exercise.id} passed: {exercise.praise}\n"


@pytest.mark.parametrize(
    ("exercise", "message"),
    [(exercise, message) for exercise in FUNCTIONS for message in exercise.mistakes],
    ids=lambda each: each.id if isinstance(each, judging.Exercise) else each[:40],
)
def test_every_mistake_gets_its_own_message(exercise, message, contexts, capsys):
    printed = says(capsys, exercise.id, exercise.mistakes[message], **contexts.get(exercise.id, {}))
    assert printed.startswith(f"✗ {exercise.id} not yet: {message}\n")


@pytest.mark.parametrize("exercise", ENTRIES, ids=lambda exercise: exercise.id)
def test_a_blank_is_not_attempted(exercise, contexts, capsys):
    def stub(*arguments):
        raise NotImplementedError

    blanks = {
        "1e": [replaced(None, None, None)],
        "1f": [blank, stub],
        "1h": [{"pairs": None, "gain": None}],
        "2a": [dict.fromkeys(NAMES)],
        "2f": [{"head": None, "text": None}],
        "2g": [{"focused": None, "named": None}],
        "2h": [{"target": blank, "head": None, "score": None, "chance": None, "shuffled": None}],
        "3a": [{"better": None, "both": None}],
        "3c": [{"early": None, "late": None}],
        "3e": [blank, stub],
        "3g": [{"prompts": [], "controls": [], "answers": [], "rivals": [], "part": None}],
        "4d": [{"ordinary": None, "clustered": None, "renamed": None}],
        "4h": [{"layer": None, "hooks": None, "verdict": None}],
        "5b": [{"raw": None, "first layer": None}],
        "5f": [blank, stub],
        "5g": [blank, stub],
        "6e": [[]],
        "6g": [{"clean": None, "right": None, "head": None}],
        "7d": [(None, None)],
        "7e": [{"draw": blank, "dates": None}, {"draw": blank, "dates": (None, None)}],
        "7g": [{2: None, 7: None}, {2: {"off": None, "control": None}}],
        "8e": [{"feature": None, "fires": [], "silent": []}],
        "8g": [{"feature": None, "fires_at": blank}],
        "9a": [blank, stub],
        "9f": [{"toward": [], "away": [], "dose": None, "words": []}],
        "9g": [blank, stub],
    }
    for answer in [None, ..., *([blank, stub] if exercise.reference else blanks.get(exercise.id, []))]:
        printed = says(capsys, exercise.id, answer, **contexts.get(exercise.id, {}))
        assert printed == f"○ {exercise.id} not attempted\n"


# Functions, written in other ways than the entry has them.


def latest_only(ids):
    target = right(ids)
    return target & (target.flip(-1).cumsum(-1).flip(-1) == 1)


def by_masking(pattern, values, mask):
    moved = pattern * values.norm(dim=-1)[..., None, :]
    shares = moved[..., 0] / moved.sum(-1)
    counts = mask[:, None, 1:]
    return (shares[..., 1:] * counts).sum(-1) / counts.sum(-1)


def norms_on_queries(pattern, values, mask):
    moved = pattern * values.norm(dim=-1)[..., None]
    return by_masking(moved / moved.sum(-1, keepdim=True), torch.ones_like(values), mask)


def one_norm(pattern, values, mask):
    return by_masking(pattern, torch.full_like(values, values.norm()), mask)


def by_normal(values, draws):
    means = values.mean(1)
    half = 1.96 * means.std() / len(means) ** 0.5
    return means.mean() - half, means.mean() + half


def one_by_one(values, draws):
    means = sorted(values[torch.randint(len(values), (len(values),))].mean().item() for _ in range(draws))
    return means[round(0.025 * draws)], means[round(0.975 * draws)]


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("2b", right),
        ("2b", attention.induction_target),
        ("2d", by_masking),
        ("2e", by_normal),
        ("2e", one_by_one),
        ("2e", lambda values, draws: attention.bootstrap_interval(values.mean(1), resamples=draws)),
    ],
)
def test_right_answers_pass_however_they_are_written(exercise, answer, contexts, capsys):
    assert says(capsys, exercise, answer, **contexts.get(exercise, {})).startswith(f"✓ {exercise} passed")


@pytest.mark.parametrize(
    ("exercise", "answer", "message"),
    [
        ("2b", attention.duplicate_token_target, "duplicate-token target"),
        ("2b", latest_only, "the latest occurrence only"),
        ("2b", lambda ids: ids[..., :, None] == ids[..., None, :], "First keep the earlier ones."),
        ("2b", lambda ids: torch.nn.functional.pad(right(ids).roll(-1, -1), (1, 0)), "drop the last one"),
        ("2b", lambda ids: ids, "has shape (4, 4); yours has (4,)"),  # of the smallest input
        ("2b", lambda ids: right(ids[:1]) if ids.ndim == 2 else right(ids), "a tensor of shape (2, 4)"),
        ("2d", norms_on_queries, "the norms cancel"),
        ("2d", one_norm, "the same for all keys"),
        ("2d", lambda p, v, m: by_masking(p, v, m) * (1 if p.shape[-1] < 10 else 0.9), "where it should be"),
        ("2e", lambda values, draws: 0.5, "the answer has shape (2,); yours has ()"),
        ("2e", lambda values, draws: torch.zeros(2), "where it should be"),
    ],
)
def test_wrong_answers_are_told_apart_however_they_are_written(exercise, answer, message, contexts, capsys):
    printed = says(capsys, exercise, answer, **contexts.get(exercise, {}))
    assert printed.startswith(f"✗ {exercise} not yet: ")
    assert message in printed


def test_2b_tells_mistakes_apart_on_every_draw(monkeypatch, capsys):
    monkeypatch.setattr(judging, "SEARCH", 0)
    for _ in range(25):
        for message, mistake in EXERCISES[1].mistakes.items():
            assert says(capsys, "2b", mistake).startswith(f"✗ 2b not yet: {message}\n")


def test_2b_shows_every_mistake_on_a_text_of_four_or_five_tokens(monkeypatch):
    monkeypatch.setattr(judging, "DRAWS", 1)
    monkeypatch.setattr(judging, "SEARCH", 60)
    for mistake in EXERCISES[1].mistakes.values():
        with pytest.raises(judging.Wrong) as wrong:
            EXERCISES[1](mistake)
        assert len(wrong.value.details[-1].rows) in (4, 5)


def test_what_2d_asks_for_is_what_the_survey_measures(contexts):
    batch, model = contexts["2d"]["batch"][:2], contexts["2d"]["model"]
    per_text = attention.survey(model, [batch], per_text=True)["value_weighted_first_token"]
    *_, (pattern, values, mask) = EXERCISES[3].inputs(torch.Generator(), model, batch)
    torch.testing.assert_close(_slow_share(pattern, values, mask), per_text[:, -1].float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["gpt-neo", "llama"])
def test_2d_works_with_local_windows_and_shared_values(family, folders, contexts, capsys):
    model, _ = load_model(str(folders[family]), device="cpu")
    batch = Batch(contexts["2d"]["batch"].tokens[:, :60])
    assert says(capsys, "2d", by_masking, model=model, batch=batch).startswith("✓ 2d passed")


# Findings: (exercise, answer, what its context has beyond the usual one, what is said to it).

IDS = torch.tensor([5, 6, 7, 8, 5, 6, 7, 8, 5, 6])


def panel(name, share):
    """A pattern on IDS that gives a share to one kind of key, where there is one, and looks at all keys alike for the
    rest."""
    target, even = attention.TARGETS[name](IDS).double(), torch.ones(len(IDS), len(IDS)).tril()
    even = even / even.sum(-1, keepdim=True)
    marked = target.sum(-1, keepdim=True)
    return torch.where(marked > 0, share * target / marked.clamp_min(1) + (1 - share) * even, even)


PANELS = {
    "tokens": IDS,
    "patterns": {
        "A": panel("previous_token", 0.9),
        "B": panel("first_token", 0.8),
        "C": panel("induction", 0.7),
        "D": panel("current_token", 0.9),
        "E": panel("duplicate_token", 0.6),
        "F": panel("previous_token", 0.3),
    },
}
NAMES = dict(zip("ABCDEF", ["previous_token", "first_token", "induction", "current_token", "duplicate_token", "none"]))
UNREPEATED = {"tokens": torch.arange(len(IDS))}
# In "a b" the previous token is the first one; in "a b a" it is also what followed the earlier a.
TWO = {"tokens": torch.tensor([5, 6]), "patterns": {"A": torch.tensor([[1, 0], [0.9, 0.1]])}}
THREE = {"tokens": torch.tensor([5, 6, 5]), "patterns": {"A": torch.tensor([[1, 0, 0], [0.6, 0.4, 0], [0.2, 0.8, 0]])}}


def heads(*kinds):
    """Scores of a model of one layer with heads of these kinds; those with a name are focused too."""
    scores = {name: torch.tensor([[0.9 if kind == name else 0.1 for kind in kinds]]) for name in attention.TARGETS}
    return scores | {"entropy_share": torch.tensor([[0.9 if kind == "diffuse" else 0.3 for kind in kinds]])}


SHARP = {
    "model_scores": heads("previous_token", "induction", "induction", "focused", "diffuse"),
    "control_scores": heads("focused", "focused", "diffuse", "diffuse", "diffuse"),
}
DIFFUSE = heads(*["diffuse"] * 5)
BOTH_DIFFUSE = {"model_scores": DIFFUSE, "control_scores": DIFFUSE}


def control(*kinds):
    return {"control_scores": heads(*kinds)}


def predicted(focused, named):
    return {"focused": focused, "named": named}


CAPITALS = "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG AND RUNS AWAY FROM THE HUNTER"
COUNTING = "one two three four five six seven eight nine ten "
WORDS = (
    "lamp river seven yellow before kitchen of run which soft the glass under nine paper once slowly green horse did "
    "my bread window and stone above left spoon tall winter open salt "
)
TEN_AGAIN, ELEVEN_AGAIN = (WORDS + " ".join(WORDS.split()[:count]) for count in (10, 11))
NO_NAMES = {"kinds": np.full((6, 8), "diffuse")}


def kept(after, before=0.6):
    return {"before": before, "after": after}


def on_text(head, text):
    return {"head": head, "text": text}


SINK = {"before": 0.8, "after": {"one dimension": 0.75, "all others": 0.2, "the whole vector": 0.1}}
NUMBER_MATTERS = {"after": {"one dimension": 0.3, "all others": 0.7, "the whole vector": 0.1}}


def replaced(*expected):
    return dict(zip(SINK["after"], expected))


RIGHT = [
    ("1e", replaced("stays", "falls", " Falls"), {}, "Before you believe that it does not need this number"),
    ("1e", replaced("falls", "stays", "falls"), NUMBER_MATTERS, "the head looks away when the largest number"),
    ("2a", NAMES, {}, "0.92 in A"),
    ("2a", {"A": " Previous_token"}, TWO, "0.90 in A"),
    ("2a", NAMES | {"A": "Previous token", "C": "INDUCTION", "E": "duplicate-token"}, {}, "0.92 in A"),
    ("2a", {"A": "first_token"}, TWO, "0.90 in A"),
    ("2a", {"A": "induction"}, THREE, "gets 0.80 in A"),
    ("2a", {"A": "previous_token"}, THREE, "gets 0.80 in A"),
    ("2c", "stays", kept(0.02, before=0.02), "nothing to lose"),
    ("2c", "stays", kept(0.0, before=0.0), "nothing to lose"),
    ("2c", " Weakens", kept(0.1), "0.600 became 0.100"),
    ("2c", "weakens", kept(0.35), "does not say which"),
    ("2c", "stays", kept(0.58), "The head uses the token, because it finds"),
    ("2c", "vanishes", kept(0.02), "not enough to name it"),
    ("2f", on_text((5, 2), CAPITALS), {}, "head L5H2 is diffuse on the passages, but on your text it gives 0.6"),
    ("2f", on_text([1, 5], COUNTING * 4), {}, "over 40 queries"),
    ("2f", on_text((1, 5), (COUNTING * 3).strip()), {}, "over 29 queries"),
    ("2g", predicted("as many", "none"), {}, "below one half is 4 in the model and 2 in the control, and the number"),
    ("2g", predicted("as many", "none"), {}, "Focus alone needs only large scores"),
    ("2g", predicted(" Fewer", "none"), control("focused", "diffuse"), "is 3 in the model and 0 in the control"),
    ("2g", predicted("none", "none"), control("diffuse"), "control. These names need queries and keys that fit. So"),
    ("2g", predicted("none", "none"), BOTH_DIFFUSE, "no names that this control could test"),
    ("2g", predicted("as many", "as many"), BOTH_DIFFUSE, "no names that this control could test"),
    ("2g", predicted("fewer", "fewer"), control("induction"), "have a name (induction) although"),
]
WRONG = [
    (
        "1e",
        replaced("falls", "falls", "falls"),
        {},
        "with one dimension replaced, the attention goes from 0.800 to 0.750",
    ),
    ("1e", replaced("falls", "falls", "falls"), {}, "so more than half of it stays"),
    ("1e", replaced("stays", "stays", "falls"), {}, "with all others replaced, the attention goes from 0.800 to 0.200"),
    ("1e", replaced("stays", "falls", "stays"), {}, "so more than half of it is gone"),
    ("1e", replaced("stays", "falls", "rises"), {}, "the options are 'stays', 'falls'; got 'rises'"),
    ("1e", replaced("stays", "falls", None), {}, "still empty: `the whole vector`"),
    ("2a", NAMES | {"B": "none"}, {}, "to one of the five kinds of key. That is more than one half"),
    ("2a", NAMES | {"B": "none"}, {}, "panel B gives 0.84"),
    ("2a", NAMES | {"B": "none"}, {}, "a column, or a second line in the lower half?"),
    ("2a", NAMES | {"C": "duplicate_token"}, UNREPEATED, "But in this text no query has such a key"),
    ("2a", NAMES | {"F": "previous_token"}, {}, "No other kind of key gets more"),
    ("2a", NAMES | {"F": "previous_token"}, {}, "panel F gives 0.45 of its attention to the previous token"),
    ("2a", {"A": "first_token"}, THREE, "it gets 0.40 of the attention"),
    ("2a", NAMES | {"E": "induction", "F": "induction"}, {}, "Panel E is different"),
    ("2a", NAMES | {"E": "induction"}, {}, "where there is such a key, it gets"),
    ("2a", NAMES | {"F": None}, {}, 'still empty: `F`. If a head looks nowhere in particular, write "none", in'),
    ("2a", NAMES | {"E": ..., "F": None}, {}, "still empty: `E`, `F`."),
    ("2a", {letter.lower(): name for letter, name in NAMES.items()}, {}, "A, B, C, D, E, F; yours are a, b, c, d, e,"),
    ("2a", {"A": "none"}, {}, "still missing from the dictionary: B, C, D, E, F"),
    ("2a", NAMES | {"A": "sink"}, {}, "'induction', 'none'; got 'sink'"),
    ("2a", "none", {}, "the answer is a dictionary with A, B, C, D, E, F"),
    ("2c", "vanishes", kept(0.02, before=0.02), "No head of this model does induction"),
    ("2c", "stays", kept(0.35), "more than the one token agrees"),
    ("2c", "vanishes", kept(0.35), "would keep almost nothing"),
    ("2c", "weakens", kept(0.6), "needs neither the equal distance"),
    ("2c", "vanishes", kept(0.6), "does not count positions back"),
    ("2c", "stays", kept(0.02), "something that depends on the order"),
    ("2c", "weakens", kept(0.02), "used the order alone"),
    ("2c", "rises", kept(0.02), "the options are 'stays', 'weakens', 'vanishes'; got 'rises'"),
    ("2c", True, kept(0.02), "the options are"),
    ("2f", on_text((0, 0), CAPITALS), {}, "has a name already"),
    ("2f", on_text((5, 2), passages()[0]), {}, "A name needs more than one half, so the head is"),
    ("2f", on_text((2, 6), "very " * 40), {}, "Every head would get this name"),
    ("2f", on_text((5, 7), TEN_AGAIN), NO_NAMES, "queries have such a key, so the score may be luck"),
    ("2f", on_text((5, 7), ELEVEN_AGAIN), NO_NAMES, "a similar text may give another result"),
    ("2f", "L5H2", {}, "the answer is a dictionary with head, text"),
    ("2f", {"head": (5, 2)}, {}, "still missing from the dictionary: text"),
    ("2f", on_text((9, 9), CAPITALS), {}, "there is no head L9H9: layers go from 0 to 5"),
    ("2f", on_text("5.2", CAPITALS), {}, "a pair of numbers, (layer, head)"),
    ("2f", on_text((5, 2), ["many"]), {}, "should be a string"),
    ("2f", on_text((5, 2), " "), {}, "give a string of one word"),
    ("2f", on_text((5, 2), CAPITALS * 20), {}, "reads 128 at most"),
    ("2f", on_text((5, 2), CAPITALS[:40]), {}, "In a short text"),
    ("2g", predicted("fewer", "none"), BOTH_DIFFUSE, "no focus to lose"),
    ("2g", predicted("none", "none"), {}, "Focus alone needs only large scores, because"),
    ("2g", predicted("fewer", "none"), {}, "Focus alone needs only large scores, because"),
    ("2g", predicted("none", "none"), control("focused"), "Focus alone needs only large scores, because"),
    ("2g", predicted("as many", "none"), control("focused"), "not as many fall below one half"),
    ("2g", predicted("fewer", "none"), control("diffuse"), "not as many fall below one half"),
    ("2g", predicted("none", "fewer"), BOTH_DIFFUSE, "no name to lose"),
    ("2g", predicted("as many", "as many"), {}, "The permuted queries do not fit the keys"),
    ("2g", predicted("as many", "fewer"), {}, "first token is 3 in the model and 0 in the control"),
    ("2g", predicted("fewer", "none"), control("induction"), "But some remain"),
    ("2g", predicted("fewer", "as many"), control("induction"), "But some remain (induction), so"),
    ("2g", predicted("as many", "none"), control("induction", "previous_token"), "does not yet show"),
    (
        "2g",
        predicted("as many", "fewer"),
        control("induction", "previous_token"),
        "have names (induction, previous token)",
    ),
    ("2g", predicted("none", None), {}, "still empty: `named`"),
    ("2g", predicted("none", 3), {}, "the options are 'none', 'fewer', 'as many'; got 3"),
]


@pytest.mark.parametrize(("exercise", "answer", "context", "words"), RIGHT)
def test_right_findings_pass(exercise, answer, context, words, contexts, capsys):
    printed = says(capsys, exercise, answer, **contexts[exercise] | context)
    assert printed.startswith(f"✓ {exercise} passed: ")
    assert words in printed


@pytest.mark.parametrize(("exercise", "answer", "context", "words"), WRONG)
def test_wrong_findings_are_told_why(exercise, answer, context, words, contexts, capsys):
    printed = says(capsys, exercise, answer, **contexts[exercise] | context)
    assert printed.startswith(f"✗ {exercise} not yet: ")
    assert words in printed


@pytest.mark.parametrize("exercise", [exercise for exercise in EXERCISES if exercise.id in ("2a", "2c", "2f", "2g")])
def test_every_mistake_of_a_finding_was_made_above(exercise):
    said = [words for name, _, _, words in WRONG if name == exercise.id]
    assert all(any(words in message for words in said) for message in exercise.mistakes)


def test_2a_says_where_copies_are_in_the_picture():
    """What the messages say of the notebook's text, 12 tokens that come twice."""
    twice = torch.arange(12).repeat(2)
    for name, below in [("duplicate_token", 12), ("induction", 11)]:
        queries, keys = attention.TARGETS[name](twice).nonzero().T
        assert (queries - keys).unique().tolist() == [below]
        assert queries.min() == 12
        assert f"a line {below} below the diagonal, from row 12 on" in DRAWS[name]


def test_2a_tells_what_the_survey_measures(contexts):
    """Attention to what a wrong name stands for, on the heads of a model, with every name for every head."""
    model, tokens = contexts["2f"]["model"], contexts["2d"]["batch"].tokens[:1, :60]
    scores = attention.survey(model, [tokens])
    with torch.no_grad():
        patterns = model.base_model(tokens, output_attentions=True).attentions
    for layer, head in [(0, 0), (2, 6), (4, 3)]:
        measured = {name: scores[name][layer, head].item() for name in attention.TARGETS}
        for name in attention.TARGETS:
            facts = _named_panels({"A": name}, patterns={"A": patterns[layer][0, head]}, tokens=tokens[0])
            assert facts.share == pytest.approx(measured[name], abs=1e-5)
            assert facts.right == (measured[name] == max(measured.values()) and measured[name] > 0.5)


def test_2g_counts_focus_and_names_apart():
    """By hand: a head may have a name and wide attention, and a focused head need not have a name."""
    wide = heads("previous_token", "induction", "focused") | {"entropy_share": torch.tensor([[0.8, 0.3, 0.3]])}
    facts = _counted(predicted("none", "fewer"), model_scores=wide, control_scores=heads("induction", "diffuse"))
    assert facts.model == {"focused": 2, "named": 2}
    assert facts.control == {"focused": 1, "named": 1}  # half as many, which counts as many
    assert facts.right == {"focused": False, "named": False}
    with pytest.raises(ArgumentError, match="no scores of"):
        _counted(predicted("none", "none"), model_scores={}, control_scores=wide)


# The project.


def two_back(ids):
    return torch.ones(len(ids), len(ids)).bool().tril(-2).triu(-2)


def the_comma_before(tokenizer):
    def target(ids):
        position, comma = torch.arange(len(ids)), tokenizer(",")["input_ids"][-1]
        earlier = (ids == comma) & (position < position[:, None])
        return position == ((earlier * (position + 1)).amax(-1) - 1)[:, None]

    return target


@torch.no_grad()
def project(target, model, texts, mixed):
    """A right answer, measured text by text with the course's own score."""

    def mean(patterns_of, texts):
        having = [ids for ids in texts if target(ids).any()]
        return torch.stack([attention.target_score(patterns_of(ids), target(ids)) for ids in having]).mean(0)

    def patterns(ids):
        return torch.cat(model(ids[None], output_attentions=True).attentions)

    def even(ids):
        return torch.ones(len(ids), len(ids)).tril() / torch.arange(1, len(ids) + 1)[:, None]

    scores = mean(patterns, texts)
    head = attention.top_head(scores)
    numbers = {"score": scores[head], "chance": mean(even, texts), "shuffled": mean(patterns, mixed)[head]}
    return {"target": target, "head": head, **{name: number.item() for name, number in numbers.items()}}


@pytest.fixture(scope="module")
def commas(contexts, storybook):
    """(context, a right answer, its facts)."""
    context = contexts["2h"]
    answer = project(the_comma_before(storybook[1]), **context)
    return context, answer, _own_kind(answer, **context)


def test_2h_takes_right_answers(commas, storybook, folders, capsys):
    def capital(ids):  # the first token of a passage is always one
        large = torch.tensor([storybook[1].decode(token).strip()[:1].isupper() for token in ids.tolist()])
        return large.expand(len(ids), -1).tril(-1)

    context, answer, _ = commas
    blind, _ = load_model(str(folders["gpt2"]), device="cpu", untrained=True)
    short = {name: [ids[:60] for ids in context[name]] for name in ("texts", "mixed")} | {"model": blind}
    rounded = {name: round(part, 3) if isinstance(part, float) else part for name, part in answer.items()}
    for project_, given, words in [
        (answer, context, "its score changes when the tokens are shuffled"),
        (rounded, context, "that none of the five names covers"),
        (project(two_back, **context), context, "the head does the same when the tokens are shuffled"),
        (project(capital, **context), context, "say what your name adds"),
        (project(two_back, **short), short, "no head stands out"),
    ]:
        printed = says(capsys, "2h", project_, **given)
        assert printed.startswith("✓ 2h passed")
        assert words in printed


def test_2h_names_wrong_numbers(commas, storybook, capsys):
    context, answer, facts = commas
    # Texts of unlike lengths: a mean over queries is then another than one over texts. Commas everywhere: then the head
    # that is best on the shuffled texts is another one.
    unlike = context | {"texts": [ids[: 5 + 12 * i] for i, ids in enumerate(context["texts"])]}
    back = project(two_back, **unlike)
    listed = context | {"mixed": [torch.tensor(storybook[1]("yes, " * 20 + "no. " * 10)["input_ids"])]}
    other = project(answer["target"], **listed)
    mistaken = [
        (answer | {"head": (0, 0)}, context),
        (answer | {"score": facts.mean_score}, context),
        (answer | {"score": answer["shuffled"]}, context),
        (answer | {"chance": facts.chance_all_keys}, context),
        (answer | {"chance": facts.chance_all_queries}, context),
        (back | {"chance": _own_kind(back, **unlike).chance_all_texts}, unlike),
        (other | {"shuffled": _own_kind(other, **listed).top_shuffled}, listed),
        (answer | {"shuffled": answer["score"]}, context),
        *((answer | {name: 0.9}, context) for name in ("score", "chance", "shuffled")),
    ]
    for (wrong, given), message in zip(mistaken, EXERCISES[7].mistakes, strict=True):
        assert message.split("{")[0].split(" of ")[0] in says(capsys, "2h", wrong, **given)


def test_2h_measures_chance_in_the_ways_that_its_messages_name(commas):
    """By hand, for two back: a query q has one such key from q = 2 on, and sees q + 1 keys."""
    context = commas[0] | {"texts": [ids[: 5 + 12 * i] for i, ids in enumerate(commas[0]["texts"])]}
    facts = _own_kind(project(two_back, **context), **context)
    rows = [[1 / (query + 1) for query in range(2, len(ids))] for ids in context["texts"]]
    for number, by_hand in [
        (facts.chance, np.mean([np.mean(row) for row in rows])),
        (facts.chance_all_texts, np.mean(np.concatenate(rows))),
        (facts.chance_all_queries, np.mean([sum(row) / (len(row) + 2) for row in rows])),
        (facts.chance_all_keys, np.mean([1 / (len(row) + 2) for row in rows])),
    ]:
        assert float(number) == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"head": (6, 0)}, "layers go from 0 to 5"),
        ({"shuffled": "none"}, "should be a number"),
        ({"chance": None}, "still empty: `chance`"),
        ({"target": "commas"}, "should be a function"),
        ({"target": lambda ids: [].clear()}, "returned None"),
        ({"target": lambda ids: [[True]]}, "a row for each query"),
        ({"target": lambda ids: two_back(ids).float()}, "yes or no, so it holds torch.bool"),
        ({"target": lambda ids: two_back(ids).T}, "after the query"),
        ({"target": lambda ids: torch.rand(len(ids), len(ids)).tril() > 0.5}, "differs from call to call"),
        ({"target": lambda ids: two_back(ids) & False}, "only 0 of 6 texts"),
        ({"target": attention.previous_token_target}, "previous token target, which the course has"),
        ({"target": attention.induction_target}, "induction target, which the course has"),
        ({"target": lambda ids: torch.ones(len(ids), len(ids)).tril().bool()}, "so many keys"),
    ],
)
def test_2h_refuses_what_is_no_target_of_ones_own(change, words, commas, capsys):
    context, answer, _ = commas
    printed = says(capsys, "2h", answer | change, **context)
    assert printed.startswith("✗ 2h not yet: ")
    assert words in printed


def test_2h_wants_eight_texts_with_a_target():
    texts = [torch.arange(9)] * 8 + [torch.arange(2)] * 2  # two tokens: nothing is two back
    assert len(_own_targets(two_back, texts)) == 8
    with pytest.raises(judging.Wrong, match="only 7 of 10 texts"):
        _own_targets(two_back, [texts[-1], *texts[1:]])
