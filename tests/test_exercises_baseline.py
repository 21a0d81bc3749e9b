"""What the checkers of notebook 01 say to right answers, to known mistakes, and to blanks."""

import math

import pytest
import torch

from interp_helpers import exercises, load_model
from interp_helpers.exercises.judging import fresh, random_pattern


@pytest.fixture(autouse=True)
def not_graded(monkeypatch):
    monkeypatch.delenv("INTERP_GRADING", raising=False)


@pytest.fixture
def says(capsys):
    def say(exercise, answer, **context):
        exercises.check(exercise, answer, **context)
        return capsys.readouterr().out

    return say


def docstring_only(*given):
    """Not written yet."""


@pytest.mark.parametrize(
    ("exercise", "blank", "context"),
    [
        ("1a", {"backwards": None, "doubled": None}, ["before", "backwards", "doubled"]),
        ("1b", docstring_only, []),
        ("1c", None, ["before", "after"]),
        ("1d", docstring_only, []),
        ("1e", docstring_only, []),
        ("1f", None, ["model", "tokenizer"]),
        ("1g", {"pairs": None, "gain": None}, ["model", "tokenizer"]),
    ],
)
def test_a_blank_is_not_attempted(exercise, blank, context, says):
    assert says(exercise, blank, **dict.fromkeys(context)) == f"○ {exercise} not attempted\n"


# 1a


@pytest.fixture(scope="module")
def read():
    """Patterns that any model could have: of five tokens, of five others, of ten."""
    sizes = {"before": 5, "backwards": 5, "doubled": 10}
    return {name: random_pattern(2, 3, size, size, generator=fresh()) for name, size in sizes.items()}


@pytest.mark.parametrize("lower", ["lower", " Lower"])
def test_1a_takes_right_answers(lower, read, says):
    assert says("1a", {"backwards": "same", "doubled": lower}, **read).startswith("✓ 1a passed: 0.200 as it was")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"backwards": "lower", "doubled": "lower"}, "backwards, the mean went from 0.200 to 0.200, and you said 'low"),
        ({"backwards": "higher", "doubled": "lower"}, "Another order moves weights about within a row"),
        ({"backwards": "same", "doubled": "same"}, "twice as many columns"),
        ({"backwards": "same", "doubled": "higher"}, "still has a 1 to give away"),
        ({"backwards": "same", "doubled": "half"}, "the options are 'lower', 'same', 'higher'; got 'half'"),
        ({"backwards": "same", "doubled": None}, "the options are"),
        ({"backwards": "same"}, "fill in both"),
        ("same", "fill in both"),
    ],
)
def test_1a_names_the_mistake(answer, message, read, says):
    printed = says("1a", answer, **read)
    assert printed.startswith("✗ 1a not yet: ")
    assert message in printed


def test_1a_judges_by_what_was_measured(read, says):
    turned = read | {"before": read["doubled"], "doubled": read["before"], "backwards": read["doubled"]}
    assert "✓" in says("1a", {"backwards": "same", "doubled": "higher"}, **turned)
    assert "✗" in says("1a", {"backwards": "same", "doubled": "lower"}, **turned)


# 1b


def bits(pattern, axis=-1):
    return torch.special.entr(pattern).sum(axis) / math.log(2)


def focus(pattern, visible):
    keys = visible.sum(-1)
    return (bits(pattern)[..., keys > 1] / keys[keys > 1].log2()).mean(-1)


def focus_by_loop(pattern, visible):
    heads = []
    for head in pattern.reshape(-1, *visible.shape).tolist():
        shares = []
        for row, sees in zip(head, visible.tolist()):
            if sum(sees) > 1:
                shares.append(-sum(a * math.log(a) for a in row if a > 0) / math.log(sum(sees)))
        heads.append(sum(shares) / len(shares))
    return torch.tensor(heads).reshape(pattern.shape[:-2])


def with_nan_at_zeros(pattern, visible):
    keys = visible.sum(-1)
    entropy = -(pattern * pattern.log2()).sum(-1)
    return (entropy[..., keys > 1] / keys[keys > 1].log2()).mean(-1)


def as_in_the_notebook(pattern, visible):
    most = torch.arange(1, pattern.shape[-1] + 1).log2()
    return (bits(pattern)[..., 1:] / most[1:]).mean(-1)


def without_the_first(pattern, visible):
    return focus(pattern[..., 1:, :], visible[1:])


def by_weight(pattern, visible):
    used = (pattern > 0).sum(-1).clamp(min=2)
    return (bits(pattern) / used.log2())[..., visible.sum(-1) > 1].mean(-1)


def with_room_for_three(pattern, visible):
    keys = visible.sum(-1)
    return (bits(pattern) / keys.clamp(min=3).log2())[..., keys > 1].mean(-1)


def by_column(pattern, visible):
    keys = visible.sum(-1)
    return (bits(pattern, -2)[..., keys > 1] / keys[keys > 1].log2()).mean(-1)


def by_sums(pattern, visible):
    chooses = visible.sum(-1) > 1
    return bits(pattern)[..., chooses].sum(-1) / visible.sum(-1)[chooses].log2().sum()


@pytest.mark.parametrize("answer", [focus, focus_by_loop, lambda p, v: focus(p.double(), v).tolist()])
def test_1b_takes_right_answers(answer, says):
    assert says("1b", answer).startswith("✓ 1b passed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (with_nan_at_zeros, "0 times log 0"),
        (lambda p, v: (bits(p) / v.sum(-1).log2()).mean(-1), "a row sees a single key"),
        (lambda p, v: (bits(p) / v.sum(-1).log2()).nan_to_num().mean(-1), "counted rows that see a single key"),
        (as_in_the_notebook, "you divided row q by log2(q + 1)"),
        (without_the_first, "you left the first row out"),
        (lambda p, v: bits(p)[..., v.sum(-1) > 1].mean(-1), "the entropy itself"),
        (lambda p, v: bits(p)[..., v.sum(-1) > 1].mean(-1) / math.log2(v.shape[-1]), "the logarithm of all keys"),
        (lambda p, v: -focus(p, v), "share is negative"),
        (lambda p, v: focus(p, v) * math.log(2), "in nats and its maximum in bits"),
        (lambda p, v: focus(p, v) / math.log(2), "in bits and its maximum in nats"),
        (by_weight, "got some weight"),
        (by_column, "down a column"),
        (by_sums, "so long rows count more"),
        (lambda p, v: focus(p, v).mean(), "one number for all heads"),
        (lambda p, v: focus(p, v) + 0.01, "where it should be"),
        (lambda p, v: p.sum(-1)[99], "IndexError"),
        (lambda p, v: (by_weight if v.shape[0] == v.shape[1] else focus)(p, v), "got some weight"),
        (with_room_for_three, "where it should be"),
    ],
)
def test_1b_names_the_mistake(answer, message, says):
    printed = says("1b", answer)
    assert printed.startswith("✗ 1b not yet: ")
    assert message in printed


# 1c


def moved(place, word):
    """(before, after): one head looks at the first token, and at either of two once another stands in front."""
    before, after = torch.full((2, 2, 4, 4), 0.1), torch.full((3, 2, 2, 5, 5), 0.1)
    before[1, 0, :, 0] = 0.9
    after[:, 1, 0, 2:, 0], after[:, 1, 0, 2:, 1] = place, word
    return {"before": before, "after": after}


@pytest.mark.parametrize(
    ("answer", "weights", "message"),
    [
        ("place", (0.9, 0.0), "✓ 1c passed: head L1H0 gives 0.900 to the token that now stands in front"),
        ("Word", (0.1, 0.8), "✓ 1c passed: head L1H0 gives 0.100"),
        ("neither", (0.3, 0.3), "no sink that survives"),
        ("word", (0.9, 0.0), "lost the attention"),
        ("neither", (0.9, 0.0), "whatever the token is"),
        ("place", (0.1, 0.8), "moved along with the word"),
        ("neither", (0.1, 0.8), "and it moved along"),
        ("place", (0.3, 0.3), "nothing here deserves to be called a sink"),
        ("first", (0.9, 0.0), "the options are 'place', 'word', 'neither'"),
        (0, (0.9, 0.0), "the options are"),
    ],
)
def test_1c_judges_by_what_was_measured(answer, weights, message, says):
    printed = says("1c", answer, **moved(*weights))
    assert message in printed
    assert printed.startswith(("✓ 1c passed", "✗ 1c not yet: "))


def test_1c_reads_every_token_but_the_first(says):
    given = moved(0.9, 0.0)
    given["before"][0, 1, :, 0] = torch.tensor([1, 0, 1, 1])
    assert "✓ 1c passed: head L1H0" in says("1c", "place", **given)


# 1d


def normal(stream, eps):
    return torch.nn.functional.layer_norm(stream, stream.shape[-1:], eps=eps)


def logits_by_steps(stream, weight, bias, eps, unembedding):
    centred = stream - stream.mean(-1, keepdim=True)
    return ((centred / (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt()) * weight + bias) @ unembedding.T


def logits_in_one(stream, weight, bias, eps, unembedding):
    normed = torch.nn.functional.layer_norm(stream.double(), weight.shape, weight.double(), bias.double(), eps)
    return torch.einsum("...d,vd->...v", normed, unembedding.double())


@pytest.fixture(scope="module")
def families(folders):
    """{family: what a check of 1d gets, for a small model of it}."""
    tokens = torch.tensor([[5, 99, 7, 1234, 99]])
    return {each: {"model": load_model(folders[each])[0], "tokens": tokens} for each in ["gpt2", "gpt-neo", "llama"]}


@pytest.mark.parametrize("answer", [logits_by_steps, logits_in_one])
def test_1d_takes_right_answers(answer, families, storybook, says):
    model, tokens = storybook[0], families["gpt2"]["tokens"]
    assert "the ones it gives" in says("1d", answer, model=model, tokens=tokens)
    assert "the ones it gives" in says("1d", answer, **families["gpt2"])
    assert "the ones it gives" in says("1d", answer, **families["gpt-neo"])
    assert "✓ 1d passed" in (printed := says("1d", answer, **families["llama"]))
    assert "ends in another norm, LlamaRMSNorm" in printed
    assert says("1d", answer).startswith("✓ 1d passed")


def variance(stream, **options):
    return stream.var(-1, keepdim=True, **options)


def centred(stream):
    return stream - stream.mean(-1, keepdim=True)


@pytest.mark.parametrize(
    ("before", "message"),
    [
        (lambda s, w, b, eps: s, "did not normalise"),
        (lambda s, w, b, eps: s * w + b, "did not subtract its mean and divide"),
        (lambda s, w, b, eps: normal(s, eps), "weight and bias are forgotten"),
        (lambda s, w, b, eps: normal(s, eps) * w, "LayerNorm's bias is forgotten"),
        (lambda s, w, b, eps: normal(s, eps) + b, "LayerNorm's weight is forgotten"),
        (lambda s, w, b, eps: (normal(s, eps) + b) * w, "added the bias before"),
        (lambda s, w, b, eps: s / (s.pow(2).mean(-1, keepdim=True) + eps).sqrt() * w + b, "RMSNorm"),
        (lambda s, w, b, eps: s / (variance(s, correction=0) + eps).sqrt() * w + b, "without subtracting the mean"),
        (lambda s, w, b, eps: centred(s) / (variance(s, correction=0) + eps) * w + b, "divided by the variance"),
        (lambda s, w, b, eps: centred(s) / (variance(s) + eps).sqrt() * w + b, "correction=0"),
        (lambda s, w, b, eps: centred(s) / variance(s, correction=0).sqrt() * w + b, "eps is forgotten"),
        (lambda s, w, b, eps: centred(s) / (variance(s, correction=0).sqrt() + eps) * w + b, "under the root"),
        (lambda s, w, b, eps: normal(s.mT, eps).mT * w + b, "over the positions"),
        (lambda s, w, b, eps: (normal(s.T, eps).T if s.dim() == 2 else normal(s, eps)) * w + b, "over the positions"),
    ],
)
def test_1d_names_the_mistake(before, message, says):
    printed = says("1d", lambda s, w, b, eps, u: before(s, w, b, eps) @ u.T)
    assert printed.startswith("✗ 1d not yet: ")
    assert message in printed


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda s, w, b, eps, u: normal(s, eps) * w + b, "that is the normalised stream"),
        (lambda s, w, b, eps, u: logits_by_steps(s, w, b, eps, u).softmax(-1), "those are probabilities"),
        (lambda s, w, b, eps, u: logits_by_steps(s, w, b, eps, u.T), "raised RuntimeError"),
    ],
)
def test_1d_names_what_went_wrong_after_the_norm(answer, message, says):
    assert message in says("1d", answer)


def test_1d_is_about_the_model_in_use(families, says):
    def only_random(stream, weight, bias, eps, unembedding):
        right = logits_by_steps(stream, weight, bias, eps, unembedding)
        return right if len(weight) == 12 else normal(stream, eps) @ unembedding.T

    assert "weight and bias are forgotten" in says("1d", only_random, **families["gpt2"])


# 1e


def loss(logits, tokens):
    return -logits.gather(-1, tokens[..., None])[..., 0]


def losses(logits, tokens):
    return loss(logits[:, :-1].log_softmax(-1), tokens[:, 1:])


def mean(values, mask):
    return (values * mask).sum(1) / mask.sum(1)


def text_losses(logits, tokens, mask):
    return mean(losses(logits, tokens), mask[:, 1:])


def by_cross_entropy(logits, tokens, mask):
    found = []
    for said, wanted, real in zip(logits, tokens, mask):
        length = int(real.sum())
        found.append(torch.nn.functional.cross_entropy(said[: length - 1], wanted[1:length]))
    return torch.stack(found)


def unshifted(logits, tokens, mask):
    return mean(loss(logits.log_softmax(-1), tokens), mask)


def unshifted_cut(logits, tokens, mask):
    return mean(loss(logits.log_softmax(-1), tokens)[:, 1:], mask[:, 1:])


def shifted_back(logits, tokens, mask):
    return mean(loss(logits[:, 1:].log_softmax(-1), tokens[:, :-1]), mask[:, 1:])


def over_positions_of_one_text(logits, tokens, mask):
    said = logits.log_softmax(-1 if len(tokens) > 1 else 1)
    return mean(loss(said[:, :-1], tokens[:, 1:]), mask[:, 1:])


@pytest.mark.parametrize("answer", [text_losses, by_cross_entropy])
def test_1e_takes_right_answers(answer, says):
    assert says("1e", answer).startswith("✓ 1e passed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (unshifted, "against the token that stands there"),
        (unshifted_cut, "against the token that stands there"),
        (shifted_back, "the wrong way"),
        (lambda g, t, m: mean(loss(g[:, :-1].log_softmax(1), t[:, 1:]), m[:, 1:]), "runs over the positions"),
        (lambda g, t, m: mean(loss(g.log_softmax(1)[:, :-1], t[:, 1:]), m[:, 1:]), "runs over the positions"),
        (over_positions_of_one_text, "runs over the positions"),
        (lambda g, t, m: mean(loss(g[:, :-1], t[:, 1:]), m[:, 1:]), "the logits as they are"),
        (lambda g, t, m: -text_losses(g, t, m), "the sign is missing"),
        (lambda g, t, m: text_losses(g, t, m) / math.log(2), "in bits"),
        (lambda g, t, m: losses(g, t).mean(1), "counted the padding"),
        (lambda g, t, m: (losses(g, t) * m[:, 1:]).mean(1), "the width of the batch"),
        (lambda g, t, m: (losses(g, t) * m[:, 1:]).sum(1) / m.sum(1), "divide by one less"),
        (lambda g, t, m: mean(losses(g, t), m[:, :-1]), "shift the mask"),
        (lambda g, t, m: (losses(g, t) * m[:, 1:]).sum(1), "those are sums"),
        (lambda g, t, m: losses(g, t)[m[:, 1:]].mean(), "one number for all texts"),
        (lambda g, t, m: text_losses(g, t, m).mean(), "one number for all texts"),
        (lambda g, t, m: -mean((-losses(g, t)).exp(), m[:, 1:]).log(), "averaged the probabilities"),
        (lambda g, t, m: text_losses(g, t, m) + 0.01, "where it should be"),
    ],
)
def test_1e_names_the_mistake(answer, message, says):
    printed = says("1e", answer)
    assert printed.startswith("✗ 1e not yet: ")
    assert message in printed


# 1f


@pytest.fixture
def reader(storybook):
    return dict(zip(["model", "tokenizer"], storybook))


GIRL = "Once upon a time there was a little girl who lived with her grandmother, and she was very fond of the"


@pytest.mark.parametrize(
    "text", [GIRL + " electric.", "He put his hands in his pockets and looked at her with his eyes full of bishops."]
)
def test_1f_takes_right_answers(text, reader, says):
    printed = says("1f", text, **reader)
    assert printed.startswith("✓ 1f passed")
    assert "even guessing costs 9.01" in printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("The bishop ran.", "it should have 12 or more"),
        (GIRL + " girl.", "must have ruled the token out"),
        ("Once upon a time there was a little girl who lived with her of", "Almost."),
        ("Bishops potatoes electric Congress quickly of of the bananas seven wherefore the Japan", "hard all over"),
        ("", "cannot be read"),
        ("word " * 200, "Shorten the text"),
        ("a", "a single token"),
        ("The bishop", "it should have 12 or more"),
        (["a list"], "a text in quotes"),
    ],
)
def test_1f_names_the_mistake(text, message, reader, says):
    printed = says("1f", text, **reader)
    assert printed.startswith("✗ 1f not yet: ")
    assert message in printed


# 1g

FRAMES = [
    ("The {} sat by the fire. The girl was fond of the cat", "cat", "dog"),
    ("They found a {} on the shore, and they went away in the boat", "boat", "box"),
    ("The {} stood at the door. The boy ran to the captain", "captain", "doctor"),
    ("A {} came out of the wood. They were afraid of the bear", "bear", "wolf"),
]
PAIRS = [(frame.format(word), frame.format(other)) for frame, word, other in FRAMES]


def read_text(text, model, tokenizer):
    """Losses of all tokens but the first, by transformers' own arithmetic."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.no_grad():
        logits = model(ids).logits[0]
    return torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="none"), logits, ids[0]


@pytest.fixture(scope="module")
def measured(storybook):
    return [[read_text(text, *storybook) for text in pair] for pair in PAIRS]


def last(read):
    return read[0][-1].item()


def average(measured, value):
    return sum(float(value(unseen)) - float(value(seen)) for seen, unseen in measured) / len(measured)


@pytest.mark.parametrize("change", [float, lambda gain: round(gain, 2), torch.tensor, lambda gain: [gain]])
def test_1g_takes_right_answers(change, measured, reader, says):
    printed = says("1g", {"pairs": PAIRS, "gain": change(average(measured, last))}, **reader)
    assert printed.startswith("✓ 1g passed: 4 pairs")
    assert "above 0 in 3 of 4" in printed


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda measured: -average(measured, last), "the sign is turned"),
        (lambda measured: 4 * average(measured, last), "the sum over pairs"),
        (lambda measured: average(measured, last) / math.log(2), "in bits"),
        (lambda measured: average(measured, lambda read: read[0].mean()), "whole texts' mean losses"),
        (
            lambda measured: average(measured, lambda read: -read[1][-1].log_softmax(-1)[read[2][-1]]),
            "about the token after it",
        ),
        (lambda measured: average(measured, lambda read: -(-read[0][-1]).exp()), "difference of probabilities"),
        (lambda measured: 99.0, "begin there"),
        (lambda measured: math.nan, "begin there"),
        (lambda measured: [1.0, 2.0], "should be one number"),
        (lambda measured: "much", "should be a number"),
        (lambda measured: None, "'gain' is still None"),
    ],
)
def test_1g_names_what_is_wrong_with_the_gain(wrong, message, measured, reader, says):
    printed = says("1g", {"pairs": PAIRS, "gain": wrong(measured)}, **reader)
    assert printed.startswith("✗ 1g not yet: ")
    assert message in printed


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("The cat saw the cat", "The elderly grandmother saw the cat")], "pair 1: the texts have"),
        ([*PAIRS[:2], ("The cat saw the cat", "The cat saw the dog")], "pair 3: they end with '·cat' and '·dog'"),
        ([("The bird saw the cat", "The dog saw the cat")], "does not occur in it before"),
        ([("Cat and dog saw the cat", "Man and dog saw the cat")], "does not occur in it before"),
        ([PAIRS[0][::-1]], "does not occur in it before"),
        ([("The cat saw the cat", "The cat saw the cat")], "occurs earlier in the second text, too"),
        ([("The cat saw the cat", "The dog heard the cat")], "they differ at token 2, too ('·saw' and '·heard')"),
        (PAIRS[:3], "3 different last tokens"),
        (PAIRS[:3] + PAIRS[:3], "6 pairs with 3 different last tokens"),
        ([("The cat saw the cat", "")], "cannot be read"),
        (["The cat saw the cat"], "a list of pairs of texts"),
        ([("The cat saw the cat", 3)], "a list of pairs of texts"),
        ("The cat", "a list of pairs of texts"),
    ],
)
def test_1g_names_what_is_wrong_with_the_pairs(pairs, message, reader, says):
    printed = says("1g", {"pairs": pairs, "gain": 1.0}, **reader)
    assert printed.startswith("✗ 1g not yet: ")
    assert message in printed


def test_1g_wants_pairs_and_gain(reader, says):
    assert "the answer is {'pairs'" in says("1g", {"pairs": PAIRS}, **reader)
    assert "the answer is {'pairs'" in says("1g", 1.2, **reader)


def test_other_models_get_a_verdict_too(folders, says):
    for model, tokenizer in [load_model(folders["llama"]), load_model("storybook", untrained=True)]:
        reader = {"model": model, "tokenizer": tokenizer}
        assert "1f not yet" in says("1f", GIRL, **reader)
        gain = average([[read_text(text, model, tokenizer) for text in pair] for pair in PAIRS], last)
        assert says("1g", {"pairs": PAIRS, "gain": gain}, **reader).startswith("✓ 1g passed")
