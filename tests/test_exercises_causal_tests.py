"""What the checkers of notebook 06 say to right answers, to known mistakes, and to blanks."""

import pytest
import torch

import interp_helpers as ih
from interp_helpers import exercises
from interp_helpers.interventions import head_z, logit_difference, mean_z, patch_heads


@pytest.fixture(autouse=True)
def no_results(monkeypatch):
    monkeypatch.setattr(exercises, "_results", {})
    monkeypatch.delenv("INTERP_GRADING", raising=False)


@pytest.fixture(scope="module")
def storybook():
    """(bridge, tokenizer), for reading only."""
    return ih.load_bridge("storybook", device="cpu")


@pytest.fixture(scope="module")
def batch(storybook):
    _, tokenizer = storybook
    return ih.token_batches(tokenizer, ih.passages()[16:20])[0]


@pytest.fixture(scope="module")
def pair(storybook):
    _, tokenizer = storybook
    clean, corrupted, right, wrong = ih.pair_for("storybook", tokenizer)
    clean, corrupted = ih.encode_pair(tokenizer, clean, corrupted)
    right, wrong = (ih.encode(tokenizer, word)[0, 0].item() for word in (right, wrong))
    return {"clean": clean, "corrupted": corrupted, "right": right, "wrong": wrong}


@pytest.fixture(scope="module")
def repeated(storybook):
    return ih.repeated_random_tokens(storybook[1], 30, sequences=8)


@pytest.fixture(scope="module")
def means(storybook):
    bridge, tokenizer = storybook
    return mean_z(bridge, ih.token_batches(tokenizer, ih.passages()[16:24]))


def says(capsys, exercise, answer, **context):
    exercises.check(exercise, answer, **context)
    return capsys.readouterr().out


def is_wrong(printed, exercise, message):
    assert printed.startswith(f"✗ {exercise} not yet: ")
    assert message in printed
    assert "cannot be checked" not in printed


def no_body(*given):
    """Not written yet."""


@pytest.mark.parametrize(
    ("exercise", "answer", "context"),
    [
        ("6a", None, "zero mean third"),
        ("6b", no_body, "bridge batch"),
        ("6c", no_body, ""),
        ("6d", no_body, "bridge clean corrupted right wrong heads"),
        ("6e", no_body, "bridge reader writers"),
        ("6f", {"looks": None, "other": None}, "bridge tokenizer repeated z"),
        ("6g", None, "bridge tokenizer known"),
    ],
)
def test_a_blank_is_not_attempted(exercise, answer, context, capsys):
    assert says(capsys, exercise, answer, **dict.fromkeys(context.split(), 1)) == f"○ {exercise} not attempted\n"


# 6a


@pytest.mark.parametrize(
    ("third", "right"), [(0.1, "mean"), (-0.2, "mean"), (2.1, "zero"), (3.0, "zero"), (1.0, "between")]
)
def test_6a_takes_what_was_measured(third, right, capsys):
    for answer in ("mean", "zero", "between"):
        printed = says(capsys, "6a", answer, zero=2.2, mean=0.2, third=third)
        assert printed.startswith("✓ 6a passed" if answer == right else "✗ 6a not yet")
        assert f"zeros cost 2.200, the mean 0.200, another sequence's values {third:.3f}" in printed
    assert says(capsys, "6a", f" {right.upper()}", zero=2.2, mean=0.2, third=third).startswith("✓")


def test_6a_explains_each_outcome(capsys):
    context = {"zero": torch.tensor(2.0), "mean": 0.0}
    assert "the constant that was missed" in says(capsys, "6a", "mean", third=0.1, **context)
    assert "zeros were not at fault" in says(capsys, "6a", "zero", third=1.9, **context)
    assert "some of the harm remains" in says(capsys, "6a", "between", third=1.0, **context)
    is_wrong(says(capsys, "6a", "none", third=1.0, **context), "6a", "the options are 'zero', 'mean', 'between'")
    is_wrong(says(capsys, "6a", "mean", zero=0.01, mean=0.0, third=0.0), "6a", "nothing to tell apart")


# 6b


def mean_by_index(z, mask):
    return z[:, :, mask].mean(2)


def mean_by_weights(z, mask):
    weight = mask.to(z.dtype)
    return torch.einsum("lhtps,tp->lhs", z, weight) / weight.sum()


@pytest.mark.parametrize("answer", [mean_by_index, mean_by_weights])
def test_6b_takes_right_answers(answer, storybook, batch, capsys):
    assert says(capsys, "6b", answer, bridge=storybook[0], batch=batch).startswith("✓ 6b passed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda z, mask: z.mean((2, 3)), "averaged over padding too"),
        (lambda z, mask: (z * mask[..., None]).mean((2, 3)), "divided by all positions"),
        (lambda z, mask: (z * mask[..., None]).sum((2, 3)), "the sum over tokens"),
        (
            lambda z, mask: ((z * mask[..., None]).sum(3) / mask.sum(1)[:, None]).mean(2),
            "averaged each text first",
        ),
        (lambda z, mask: (z * mask[..., None]).sum(3) / mask.sum(1)[:, None], "one mean a text"),
        (
            lambda z, mask: (z * mask[..., None]).sum(2) / mask.sum(0)[:, None].clamp(min=1),
            "one mean a position",
        ),
        (lambda z, mask: mean_by_index(z, mask).mean(-1), "keep the last axis"),
        (lambda z, mask: mean_by_index(z, mask).mean(1), "averaged over heads too"),
        (lambda z, mask: mean_by_index(z, mask).mean(0), "averaged over layers too"),
        (lambda z, mask: z[:, :, mask.long()].flatten(2, -2).mean(2), "a mask of whole numbers"),
        (lambda z, mask: mean_by_index(z, mask)[None], "has shape"),
        (lambda z, mask: z[:, mask], "raised IndexError"),
        (lambda z, mask: None, "returned None"),
    ],
)
def test_6b_names_the_mistake(answer, message, storybook, batch, capsys):
    is_wrong(says(capsys, "6b", answer, bridge=storybook[0], batch=batch), "6b", message)


# 6c


def share_of_means(patched, clean, corrupted):
    return (patched - corrupted).mean(-1) / (clean - corrupted).mean()


def share_by_loop(patched, clean, corrupted):
    went = sum(patched[..., each] - corrupted[each] for each in range(len(clean)))
    return went / sum(clean[each] - corrupted[each] for each in range(len(clean)))


@pytest.mark.parametrize("answer", [share_of_means, share_by_loop])
def test_6c_takes_right_answers(answer, capsys):
    assert says(capsys, "6c", answer).startswith("✓ 6c passed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda p, clean, c: ((p - c) / (clean - c)).mean(-1), "the mean of each pair's share"),
        (lambda p, clean, c: ((p - c) / (clean - c)).median(-1).values, "the median of each pair's share"),
        (lambda p, clean, c: (p - c) / (clean - c), "one share a pair"),
        (lambda p, clean, c: (clean - p).mean(-1) / (clean - c).mean(), "what is still missing"),
        (lambda p, clean, c: (c - p).mean(-1) / (clean - c).mean(), "the sign is wrong"),
        (lambda p, clean, c: (p - c).mean(-1) / clean.mean(), "divided by the clean logit difference"),
        (lambda p, clean, c: (p - c).mean(-1) / c.mean(), "divided by the corrupted logit difference"),
        (lambda p, clean, c: p.mean(-1) / clean.mean(), "the patched logit difference over the clean one"),
        (lambda p, clean, c: (p - c).abs().mean(-1) / (clean - c).abs().mean(), "you took sizes"),
        (lambda p, clean, c: (p - c).mean(-1), "the way itself, in logits"),
        (lambda p, clean, c: share_of_means(p, clean, c).mean(), "one number for all patches"),
        (lambda p, clean, c: share_of_means(p, clean, c) + 0.01, "where it should be"),
        (lambda p, clean, c: "half", "a number or a tensor"),
    ],
)
def test_6c_names_the_mistake(answer, message, capsys):
    for _ in range(5):  # whatever the random numbers are
        is_wrong(says(capsys, "6c", answer), "6c", message)


# 6d


def at_position(z, layer, head, position):
    def put(values, hook):
        changed = values.clone()
        changed[:, position, head] = z[layer, head][:, position]
        return changed

    return put


def at_position_by_mask(z, layer, head, position):
    def put(values, hook):
        here = torch.zeros(values.shape[1:3], dtype=torch.bool)
        here[position, head] = True
        return torch.where(here[..., None].to(values.device), z[layer].movedim(0, 2).to(values.device), values)

    return put


def at_position_in_place(z, layer, head, position):
    def put(values, hook):
        values[:, position, head] = z[layer, head, :, position]
        return values

    return put


def changing(change):
    """An answer to 6d of which a change (values, z of the layer, head, position) -> what is given back is known."""

    def answer(z, layer, head, position):
        return lambda values, hook: change(values.clone(), z[layer].clone(), head, position)

    return answer


def assigned(where):
    """An answer to 6d that replaces what an index (head, position) -> of values, with all heads' z there."""

    def change(values, z, head, position):
        values[where(head, position)] = z.movedim(0, 2)[where(head, position)]
        return values

    return changing(change)


ALL = slice(None)


@pytest.mark.parametrize("answer", [at_position, at_position_by_mask, at_position_in_place])
def test_6d_takes_right_answers(answer, storybook, pair, capsys):
    printed = says(capsys, "6d", answer, bridge=storybook[0], heads=[(0, 3), (4, 3)], **pair)
    assert printed.startswith("✓ 6d passed")
    assert "L0H3 0.549 and -0.002; L4H3 0.245 and 0.271" in printed


def all_but_one(values, z, head, position):
    kept = values[:, position, head].clone()
    values[:, :, head] = z[head]
    values[:, position, head] = kept
    return values


def zero_elsewhere(values, z, head, position):
    changed = torch.zeros_like(values)
    changed[:, position, head] = z[head][:, position]
    return changed


def for_all_heads(values, z, head, position):
    values[:, position] = z[head][:, position, None]
    return values


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (assigned(lambda head, position: (ALL, ALL, head)), "replaced all positions, as"),
        (changing(lambda values, z, head, position: z[head]), "of one head alone"),
        (changing(lambda values, z, head, position: values), "nothing was replaced"),
        (changing(all_but_one), "all positions but the one"),
        (changing(zero_elsewhere), "all other values are zero"),
        (changing(for_all_heads), "to all heads"),
        (assigned(lambda head, position: (ALL, position)), "all heads at that position"),
        (assigned(lambda head, position: (ALL, slice(position, None), head)), "all behind it"),
        (assigned(lambda head, position: (ALL, slice(None, position + 1), head)), "all before it"),
        (assigned(lambda head, position: (position, ALL, head)), "replaced a whole text"),
        (lambda z, layer, head, position: z[0, 0][:, position], "should give back a function"),
        (lambda z, layer, head, position: lambda values, hook: None, "returned None"),
        (
            lambda z, layer, head, position: (
                lambda values, hook: at_position(z.transpose(0, 1), layer, head, position)(values, hook)
            ),
            "The layer comes first",
        ),
        (lambda z, layer, head, position: lambda values: values, "raised TypeError"),
    ],
)
def test_6d_names_the_mistake(answer, message, storybook, pair, capsys):
    is_wrong(says(capsys, "6d", answer, bridge=storybook[0], heads=[(4, 3)], **pair), "6d", message)


# 6e


def k_composition(W_V, W_O, W_Q, W_K):
    writes, reads = W_V @ W_O, W_K @ W_Q.mT
    return (writes @ reads).norm(dim=(-2, -1)) / (writes.norm(dim=(-2, -1)) * reads.norm(dim=(-2, -1)))


def k_composition_transposed(W_V, W_O, W_Q, W_K):
    qk = W_Q @ W_K.transpose(-1, -2)
    ov = torch.einsum("...dh,...he->...ed", W_V, W_O)

    def size(matrix):
        return matrix.pow(2).flatten(-2).sum(-1).pow(0.5)

    return size(qk @ ov) / size(ov) / size(qk)


def composed(product, writes=None, reads=None):
    """An answer to 6e of which the product, and what it is divided by, are known."""

    def answer(W_V, W_O, W_Q, W_K):
        given = (W_V, W_O, W_Q, W_K)
        first = writes(*given) if writes else W_V @ W_O
        second = reads(*given) if reads else W_K @ W_Q.mT
        sizes = [each.norm(dim=(-2, -1)) for each in (product(*given), first, second)]
        return sizes[0] / (sizes[1] * sizes[2])

    return answer


@pytest.mark.parametrize("answer", [k_composition, k_composition_transposed])
def test_6e_takes_right_answers(answer, storybook, capsys):
    printed = says(capsys, "6e", answer, bridge=storybook[0], reader=(4, 3), writers=[(0, 0), (3, 1)])
    assert printed.startswith("✓ 6e passed")
    assert "for L4H3 of the model" in printed


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (composed(lambda V, O, Q, K: V @ O @ Q @ K.mT), "that is Q-composition"),  # noqa: E741
        (composed(lambda V, O, Q, K: K @ Q.mT @ V @ O), "the order is turned round"),  # noqa: E741
        (composed(lambda V, O, Q, K: O @ K @ Q.mT, writes=lambda V, O, Q, K: O), "W_V is missing"),  # noqa: E741
        (composed(lambda V, O, Q, K: V @ O @ K, reads=lambda V, O, Q, K: K), "W_Q is missing"),  # noqa: E741
        (lambda V, O, Q, K: (V @ O @ K @ Q.mT).norm(dim=(-2, -1)), "the size of the product alone"),  # noqa: E741
        (
            lambda V, O, Q, K: (  # noqa: E741
                (V @ O @ K @ Q.mT).norm(dim=(-2, -1))
                / (V.norm(dim=(-2, -1)) * O.norm(dim=(-2, -1)) * Q.norm(dim=(-2, -1)) * K.norm(dim=(-2, -1)))
            ),
            "the sizes of the four matrices",
        ),
        (
            lambda V, O, Q, K: (  # noqa: E741
                torch.linalg.matrix_norm(V @ O @ K @ Q.mT, 2)
                / (torch.linalg.matrix_norm(V @ O, 2) * torch.linalg.matrix_norm(K @ Q.mT, 2))
            ),
            "the largest singular value",
        ),
        (lambda *given: k_composition(*given) ** 2, "the square of the score"),
        (lambda V, O, Q, K: (V @ O @ K @ Q.mT).norm() / ((V @ O).norm() * (K @ Q.mT).norm()), "one number for all heads"),  # noqa: E501, E741
        (lambda V, O, Q, K: V @ O @ K @ Q, "raised RuntimeError"),  # noqa: E741
        (lambda *given: k_composition(*given) / (1 if given[0].shape[-2] < 10 else 2), "for heads L0H0 and L4H3"),
    ],
)  # fmt: skip
def test_6e_names_the_mistake(answer, message, storybook, capsys):
    is_wrong(says(capsys, "6e", answer, bridge=storybook[0], reader=(4, 3), writers=[(0, 0)]), "6e", message)


def test_6e_takes_a_writer_that_is_not_earlier(storybook, capsys):
    """In a model of one layer there is no other."""
    assert says(capsys, "6e", k_composition, bridge=storybook[0], reader=(0, 3), writers=[(0, 2)]).startswith("✓")


def test_6e_knows_shared_keys(folders, capsys):
    bridge, _ = ih.load_bridge(str(folders["llama"]), device="cpu")
    assert says(capsys, "6e", k_composition, bridge=bridge, reader=(1, 3), writers=[(0, 2)]).startswith("✓")


# 6f


@pytest.mark.parametrize("answer", [{"looks": (4, 3), "other": (0, 2)}, {"looks": (4, 4), "other": (5, 0)}])
def test_6f_takes_more_than_one_answer(answer, storybook, repeated, means, capsys):
    bridge, tokenizer = storybook
    printed = says(capsys, "6f", answer, bridge=bridge, tokenizer=tokenizer, repeated=repeated, z=means)
    assert printed.startswith("✓ 6f passed")
    assert says(capsys, "6f", answer, bridge=bridge, tokenizer=tokenizer, repeated=repeated, z=means) == printed


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"looks": (4, 3), "other": (4, 4)}, "may well be a stand-in"),
        ({"looks": (0, 2), "other": (4, 3)}, '"looks" should be an induction head'),
        ({"looks": (4, 3), "other": (0, 0)}, "less than the sum"),
        ({"looks": (4, 3), "other": (3, 1)}, "more, but not clearly"),
        ({"looks": (4, 3), "other": (4, 3)}, "these are one head"),
        ({"looks": (4, 3), "other": (9, 1)}, "there is no head L9H1"),
        ({"looks": "0.10", "other": (0, 2)}, "a head is a pair of numbers"),
        ({"looks": (4, 3)}, "missing from the dictionary: other"),
        ({"looks": 0.10, "other": (0, 2)}, "a head is a pair of numbers"),
        ([(4, 3), (0, 2)], "the answer is a dictionary"),
    ],
)
def test_6f_names_the_mistake(answer, message, storybook, repeated, means, capsys):
    bridge, tokenizer = storybook
    printed = says(capsys, "6f", answer, bridge=bridge, tokenizer=tokenizer, repeated=repeated, z=means)
    is_wrong(printed, "6f", message)


# 6g

ORDER = ["corrupted", "clean", "control"]


def trace(bridge, tokenizer, head, **texts):
    """An answer to 6g with what is measured for one head."""
    ids = {name: ih.encode(tokenizer, texts[name]) for name in ORDER}
    words = [ih.encode(tokenizer, texts[name])[0, 0].item() for name in ("right", "wrong")]
    low, high, other = (logit_difference(bridge, ids[name], *words).item() for name in ORDER)
    found = {}
    for key, source in {"share": "clean", "control_share": "control"}.items():
        with bridge.hooks(fwd_hooks=patch_heads(bridge, [head], head_z(bridge, ids[source]))):
            found[key] = (logit_difference(bridge, ids["corrupted"], *words).item() - low) / (high - low)
    for_tests = {"gap": high - low, "clean_difference": high, "text_share": (other - low) / (high - low)}
    return {**texts, **found, "head": head, **for_tests}


BOYS = {
    "clean": "The boys in the garden",
    "corrupted": "The boy in the garden",
    "control": "The boy in the gardens",
    "right": " were",
    "wrong": " was",
}
WOMAN = {
    "clean": "The old woman put on a hat and took",
    "corrupted": "The old man put on a hat and took",
    "control": "The young man put on a hat and took",
    "right": " her",
    "wrong": " his",
}


@pytest.fixture(scope="module")
def boys(storybook):
    return trace(*storybook, (4, 0), **BOYS)


def says_6g(capsys, traced, storybook):
    bridge, tokenizer = storybook
    return says(capsys, "6g", traced, bridge=bridge, tokenizer=tokenizer, known=ih.pair_for("storybook", tokenizer)[:2])


def test_6g_takes_more_than_one_answer(storybook, boys, capsys):
    rounded = boys | {"share": round(boys["share"], 3), "control_share": torch.tensor(boys["control_share"])}
    for traced in (boys, rounded, trace(*storybook, (5, 3), **WOMAN)):
        assert says_6g(capsys, traced, storybook).startswith("✓ 6g passed: logit differences clean ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda each: {"share": 1 - each["share"]}, "what is still missing"),
        (lambda each: {"share": each["share"] * each["gap"]}, "`share` is in logits"),
        (
            lambda each: {"share": each["share"] * each["gap"] / each["clean_difference"]},
            "the clean logit difference below the line",
        ),
        (
            lambda each: {"share": each["control_share"], "control_share": each["share"]},
            "have changed places",
        ),
        (lambda each: {"share": 0.5}, "where it should be"),
        (lambda each: {"control_share": each["control_share"] * each["gap"]}, "`control_share` is in logits"),
        (lambda each: {"control_share": each["text_share"]}, "the logit difference of the control text itself"),
        (lambda each: {"head": (0, 3)}, "stands in layer 0"),
        (lambda each: {"head": "the best"}, "a head is a pair of numbers"),
        (lambda each: {"control": "The boys in the gardens"}, "a word that the clean text changes too"),
        (lambda each: {"control": each["corrupted"]}, "the same tokens"),
        (lambda each: {"control": "The boy in the big garden"}, "Choose words of equally many tokens"),
        (lambda each: {"right": " was", "wrong": " were"}, "should prefer the right word"),
        (lambda each: {"right": " extraordinarily"}, "compares single ones"),
        (lambda each: {"right": " was"}, "are the same"),
        (lambda each: {"clean": 7}, "'clean' should be a string"),
        (lambda each: {"share": None}, "missing from the dictionary: share"),
    ],
)
def test_6g_names_the_mistake(change, message, storybook, boys, capsys):
    is_wrong(says_6g(capsys, {**boys, **change(boys)}, storybook), "6g", message)


def test_6g_wants_the_best_head_another_behaviour_and_a_control_that_controls(storybook, capsys):
    bridge, tokenizer = storybook
    for head in ((5, 0), (1, 0)):
        weaker = trace(bridge, tokenizer, head, **BOYS)
        is_wrong(says_6g(capsys, weaker, storybook), "6g", "Take the one that recovers most")
    clean, corrupted, right, wrong = ih.pair_for("storybook", tokenizer)
    names = {"clean": clean, "corrupted": corrupted, "right": right, "wrong": wrong}
    names["control"] = corrupted.replace("house", "town")
    known = trace(bridge, tokenizer, (5, 7), **names)
    is_wrong(says_6g(capsys, known, storybook), "6g", "the notebook's own pair")
    for name in ("clean", "corrupted", "control"):
        names[name] = names[name].replace("small", "large")
    copied = trace(bridge, tokenizer, (5, 7), **names)
    is_wrong(says_6g(capsys, copied, storybook), "6g", "copying it would do")
    for control, message in [("The boy and the garden", "should ask for"), ("The boy or the garden", "So near to it")]:
        traced = trace(bridge, tokenizer, (4, 0), **{**BOYS, "control": control})
        is_wrong(says_6g(capsys, traced, storybook), "6g", message)


@pytest.mark.parametrize("answer", [True, 3, "4.3", [], {}, lambda *given: 1, torch.ones(2)])
def test_no_answer_of_another_kind_stops_a_check(answer, storybook, batch, pair, repeated, means, capsys):
    bridge, tokenizer = storybook
    contexts = {
        "6a": {"zero": 2.0, "mean": 0.1, "third": 0.1},
        "6b": {"bridge": bridge, "batch": batch},
        "6c": {},
        "6d": {"bridge": bridge, "heads": [(4, 3)], **pair},
        "6e": {"bridge": bridge, "reader": (4, 3), "writers": [(0, 0)]},
        "6f": {"bridge": bridge, "tokenizer": tokenizer, "repeated": repeated, "z": means},
        "6g": {"bridge": bridge, "tokenizer": tokenizer, "known": []},
    }
    for exercise, context in contexts.items():
        assert says(capsys, exercise, answer, **context)[0] in "✗○"


def test_on_another_model_nothing_crashes(folders, capsys):
    bridge, tokenizer = ih.load_bridge(str(folders["llama"]), device="cpu")
    repeated = ih.repeated_random_tokens(tokenizer, 10, sequences=2)
    context = {"bridge": bridge, "tokenizer": tokenizer}
    found = {"looks": (1, 3), "other": (0, 2)}
    printed = says(capsys, "6f", found, repeated=repeated, z=0.0, **context)
    is_wrong(printed, "6f", "should be an induction head")
    traced = {**BOYS, "head": (1, 1), "share": 0.5, "control_share": 0.0}
    is_wrong(says(capsys, "6g", traced, known=[], **context), "6g", "should prefer the right word")
    assert says(capsys, "6b", mean_by_index, bridge=bridge, batch=ih.Batch(repeated)).startswith("✓")
    clean, corrupted = repeated[:1], repeated[1:2]
    ends = {"clean": clean, "corrupted": corrupted, "right": 5, "wrong": 6}
    assert says(capsys, "6d", at_position, bridge=bridge, heads=[(0, 3), (1, 0)], **ends).startswith("✓")


def test_6d_has_the_mistakes_that_a_position_allows():
    """Old values are 0 and new ones are 1, for two texts of five positions and a head of three numbers."""
    from interp_helpers.exercises.causal_tests import _other_patches

    old, new = torch.zeros(2, 5, 1, 3), torch.ones(1, 1, 2, 5, 3)

    def mistakes(position, words):
        found = _other_patches(old, new, 0, 0, position)
        return [value for message, value in found.items() if words in message]

    (zero,) = mistakes(-1, "all other values are zero")
    assert zero[:, :, 0, 0].tolist() == [[0, 0, 0, 0, 1]] * 2
    (but_one,) = mistakes(-1, "but the one")
    assert but_one[:, :, 0, 0].tolist() == [[1, 1, 1, 1, 0]] * 2
    (behind,) = mistakes(0, "all behind it")
    (before,) = mistakes(0, "all before it")
    assert behind.eq(1).all()
    assert before[:, :, 0, 0].tolist() == [[1, 0, 0, 0, 0]] * 2
    assert mistakes(-1, "all behind it") == []
    (text,) = mistakes(-2, "a whole text")
    assert text[:, 0, 0, 0].tolist() == [1, 0]
    assert mistakes(-3, "a whole text") == mistakes(2, "a whole text") == [], "there are two texts"
