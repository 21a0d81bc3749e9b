"""Exercises of notebook 01: answers written in other ways than their entries have them, and what findings are told."""

import math

import pytest
import torch

from interp_helpers import exercises, load_model
from interp_helpers.exercises import judging
from interp_helpers.exercises.judging import fresh


def entry(exercise):
    return exercises.checkers(1)[exercise]


def on_every_draw(monkeypatch):
    """25 draws for an answer, without looking for a small input on which it is wrong."""
    monkeypatch.setattr(judging, "SEARCH", 0)
    return range(25)


@pytest.mark.parametrize("exercise", ["1a", "1b", "1c", "1d"])
def test_mistakes_are_told_apart_on_every_draw(exercise, says, monkeypatch):
    for _ in on_every_draw(monkeypatch):
        for message, mistake in entry(exercise).mistakes.items():
            assert says(exercise, mistake).startswith(f"✗ {exercise} not yet: {message}\n")


# 1a


def by_sorting(logits, temperature, top_p):
    ordered, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    kept = ordered * (ordered.cumsum(-1) - ordered < top_p)
    return torch.zeros_like(logits).scatter(-1, order, kept / kept.sum(-1, keepdim=True))


def by_masking_logits(logits, temperature, top_p):
    scaled = logits / temperature
    ordered, order = scaled.sort(-1, descending=True)
    beyond = ordered.softmax(-1).cumsum(-1) >= top_p
    beyond = beyond.roll(1, -1)
    beyond[..., 0] = False
    return scaled.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf).softmax(-1)


@pytest.mark.parametrize("answer", [by_sorting, by_masking_logits])
def test_1a_takes_right_answers(answer, says):
    assert says("1a", answer).startswith("✓ 1a passed")


def test_1a_by_hand():
    logits = torch.tensor([[0.05, 0.4, 0.25, 0.3], [0.7, 0.1, 0.1, 0.1]]).log()
    reference = entry("1a").reference
    halves = reference(logits, 1.0, 0.5)  # 0.4 + 0.3 is the first sum of 0.5 or more, and 0.7 needs no other
    torch.testing.assert_close(halves, torch.tensor([[0, 4 / 7, 0, 3 / 7], [1, 0, 0, 0]]))
    torch.testing.assert_close(reference(logits, 1.0, 1.0), logits.exp())
    cold = torch.tensor([0.05, 0.4, 0.25, 0.3]).square()  # a temperature of one half squares the odds
    torch.testing.assert_close(reference(logits, 0.5, 1.0)[0], cold / cold.sum())


def test_1a_tries_a_row_of_which_nothing_is_left_without_the_crossing_token():
    for _ in range(25):
        *_, (logits, temperature, top_p) = entry("1a").inputs(fresh())
        assert top_p < (logits / temperature).softmax(-1).max() < 0.95  # so that 1 is not taken for its rounding


def without_top_p(logits, temperature, top_p):
    return (logits / temperature).softmax(-1)


def probabilities_divided(logits, temperature, top_p):
    return by_sorting(torch.log(logits.softmax(-1) / temperature), 1, top_p)


def cut_after(count):
    """The answer that cuts all rows behind one token. count: which are kept, in sorted order -> how many in each."""

    def answer(logits, temperature, top_p):
        ordered, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
        number = int(count(ordered.cumsum(-1) - ordered < top_p))
        kept = ordered * (torch.arange(ordered.shape[-1]) < number)
        return torch.zeros_like(logits).scatter(-1, order, kept / kept.sum(-1, keepdim=True))

    return answer


def one_limit(logits, temperature, top_p):
    ordered = (logits / temperature).softmax(-1)
    limit = ordered[by_sorting(logits, temperature, top_p) > 0].min()
    kept = ordered.where(ordered >= limit, 0)
    return kept / kept.sum(-1, keepdim=True)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (without_top_p, "you kept every token, so top_p changes nothing."),
        (cut_after(torch.sum), "In each row by itself, keep the most probable tokens"),  # more than there are
        (cut_after(lambda kept: kept.sum(-1).max()), "you kept equally many tokens in every row."),
        (one_limit, "Every row needs its own limit."),
        (probabilities_divided, "it is unused, or you divided probabilities by it"),
        (lambda logits, temperature, top_p: by_sorting(logits, 1, top_p), "it is unused, or you divided"),
    ],
)
def test_1a_names_the_mistake_on_every_draw(answer, message, says, monkeypatch):
    for _ in on_every_draw(monkeypatch):
        assert message in says("1a", answer)


# 1b


def head_by_einsum(q, k, v, W_O, scale):
    scores = torch.einsum("...qd,...kd->...qk", q, k) / scale
    position = torch.arange(q.shape[-2])
    scores = torch.where(position[:, None] >= position, scores, -1e9)
    return torch.einsum("...qk,...kd,dm->...qm", scores.softmax(-1), v, W_O)


def head_by_torch(q, k, v, W_O, scale):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1 / scale) @ W_O


@pytest.mark.parametrize("answer", [head_by_einsum, head_by_torch])
def test_1b_takes_right_answers(answer, says):
    assert says("1b", answer).startswith("✓ 1b passed")


def test_1b_by_hand():
    """The second query fits the second key by log 3 more than the first, so it takes a quarter and three quarters."""
    q, k = torch.tensor([[5.0], [math.log(3)]]), torch.tensor([[0.0], [2.0]])
    v, out = torch.tensor([[4.0], [8.0]]), torch.tensor([[1.0, 10.0]])
    written = entry("1b").reference(q, k, v, out, 2.0)
    torch.testing.assert_close(written, torch.tensor([[4.0, 40], [7, 70]]))


def test_1b_shows_a_wrong_head_of_two_or_three_positions():
    small = [(q.shape, scale) for q, *_, scale in entry("1b").inputs(fresh())][-2:]
    assert small == [((3, 2), 1), ((2, 2), 2**0.5)]


def test_1b_is_tried_on_the_heads_of_the_notebook(says):
    mine = (*torch.randn(3, 4, 6), torch.randn(6, 7), 1.0)

    def only_random(q, k, v, W_O, scale):
        return head_by_torch(q, k, v, W_O, scale) if W_O.shape[1] != 7 else head_by_torch(q, k, v, W_O, scale * 6**0.5)

    assert says("1b", head_by_torch, heads=[mine]).startswith("✓ 1b passed")
    assert says("1b", only_random).startswith("✓ 1b passed")
    assert "GPT-Neo does not scale" in says("1b", only_random, heads=[mine])


def test_1b_agrees_with_a_model(storybook, says):
    """What the heads of a layer write, by the reference, adds up to what its attention writes, without its bias."""
    model, tokenizer = storybook
    attention, seen = model.base_model.h[1].attn, {}
    with torch.no_grad():
        handle = attention.register_forward_hook(lambda _, inputs, out: seen.update(x=inputs[0], out=out[0]))
        model(torch.tensor([tokenizer("The king had a son, and the son had a horse.")["input_ids"]]))
        handle.remove()
        size = attention.head_dim
        q, k, v = (each.unflatten(-1, (-1, size))[0] for each in attention.c_attn(seen["x"]).chunk(3, -1))
        heads = [
            (q[:, head], k[:, head], v[:, head], attention.c_proj.weight[head * size : (head + 1) * size], size**0.5)
            for head in range(q.shape[1])
        ]
        written = sum(entry("1b").reference(*head) for head in heads) + attention.c_proj.bias
        torch.testing.assert_close(written, seen["out"][0], atol=1e-4, rtol=1e-4)
        assert says("1b", head_by_einsum, heads=heads).startswith("✓ 1b passed")


# 1c


def bits(pattern):
    return torch.special.entr(pattern).sum(-1) / math.log(2)


def focus(pattern, visible):
    keys = visible.sum(-1)
    return (bits(pattern)[..., keys > 1] / keys[keys > 1].log2()).mean(-1)


def with_room_for_three(pattern, visible):
    keys = visible.sum(-1)
    return (bits(pattern) / keys.clamp(min=3).log2())[..., keys > 1].mean(-1)


def by_weight_if_square(pattern, visible):
    used = (pattern > 0).sum(-1).clamp(min=2)
    shares = (bits(pattern) / used.log2())[..., visible.sum(-1) > 1].mean(-1)
    return shares if visible.shape[0] == visible.shape[1] else focus(pattern, visible)


def share_of_each_query(pattern, visible):
    keys = visible.sum(-1)
    return bits(pattern)[..., keys > 1] / keys[keys > 1].log2()


@pytest.mark.parametrize("answer", [focus, lambda p, v: focus(p.double(), v).tolist()])
def test_1c_takes_right_answers(answer, says):
    assert says("1c", answer).startswith("✓ 1c passed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda p, v: (-(p * p.log2()).sum(-1) / v.sum(-1).log2()).mean(-1), "0 times log 0"),
        (lambda p, v: p.sum(-1)[99], "IndexError"),
        (by_weight_if_square, "got some weight"),
        (with_room_for_three, "where it should be"),
        (share_of_each_query, "you returned one share for each query; take their mean."),
    ],
)
def test_1c_names_the_mistake(answer, message, says):
    printed = says("1c", answer)
    assert printed.startswith("✗ 1c not yet: ")
    assert message in printed


def test_1c_by_hand():
    """A row that sees one key does not count; two keys evenly are all of 1 bit; half and two quarters, 1.5 of 2."""
    pattern = torch.tensor([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.5, 0.25, 0.25, 0]])
    visible = torch.tensor([[True, False, False, False], [True, True, False, False], [True] * 4])
    assert entry("1c").reference(pattern, visible).item() == pytest.approx((1 + 0.75) / 2)


# 1d


def by_diagonals(rows, prompt_length):
    first = prompt_length - 1
    return torch.stack([rows.diagonal(first - distance).mean() for distance in range(first)])


def by_gathering(rows, prompt_length):
    query = torch.arange(len(rows))[:, None] + prompt_length - 1
    return rows.gather(1, query - torch.arange(prompt_length - 1)).mean(0)


@pytest.mark.parametrize("answer", [by_diagonals, by_gathering])
def test_1d_takes_right_answers(answer, says):
    assert says("1d", answer).startswith("✓ 1d passed")


def from_one(rows, prompt_length):
    return torch.stack([rows.diagonal(prompt_length - 1 - d).mean() for d in range(1, prompt_length)])


def one_further_left(rows, prompt_length):
    query = torch.arange(len(rows))[:, None] + prompt_length - 2
    return rows.gather(1, query - torch.arange(prompt_length - 1)).mean(0)


@pytest.mark.parametrize("answer", [from_one, one_further_left])
def test_1d_says_that_distances_begin_with_0(answer, says, monkeypatch):
    for _ in on_every_draw(monkeypatch):
        assert "your first number is for distance 1. Begin with 0, the query itself" in says("1d", answer)


def test_1d_by_hand():
    """Three tokens and two steps: the query at position 2, then the one at position 3. Key 0 is left out."""
    rows = torch.tensor([[0.5, 0.3, 0.2, 0], [0.1, 0.2, 0.3, 0.4]])
    torch.testing.assert_close(entry("1d").reference(rows, 3), torch.tensor([0.3, 0.3]))


def test_1d_has_a_mean_over_all_steps_at_each_of_its_distances_and_at_no_other():
    for rows, prompt_length in entry("1d").inputs(fresh()):
        steps, keys = rows.shape
        assert keys == prompt_length - 1 + steps
        torch.testing.assert_close(rows.sum(-1), torch.ones(steps))
        of_all_steps = [
            distance for distance in range(keys) if all(prompt_length - 1 + s - distance >= 1 for s in range(steps))
        ]
        assert of_all_steps == list(range(len(entry("1d").reference(rows, prompt_length))))


# 1f


def by_pre_hook(module, run):
    seen = []
    handle = module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        run()
    finally:
        handle.remove()
    return seen[-1]


def by_hook(module, run):
    seen = {}

    def hook(module, inputs, output):
        seen["input"] = inputs[0].detach().clone()

    with module.register_forward_hook(hook):
        run()
    return seen["input"]


def hooking(record, *, hook="register_forward_pre_hook", give=lambda seen: seen[-1], keep=False, always=False, runs=1):
    """An answer with a mistake. record: the hook's arguments but the module -> what to keep. keep: not removed at all;
    always: removed only when nothing is raised."""

    def answer(module, run):
        seen = []
        handle = getattr(module, hook)(lambda module, *given: seen.append(record(*given)))
        try:
            for _ in range(runs):
                run()
        except RuntimeError:
            if not always:
                handle.remove()
            raise
        if not keep:
            handle.remove()
        return give(seen)

    return answer


def changing(module, run):
    seen = []
    with module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]) or inputs[0] + 1):
        run()
    return seen[-1]


def replacing_the_output(module, run):
    seen = []
    with module.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]) or inputs):
        run()
    return seen[-1]


def wrapping(module, run):
    seen, forward = [], module.forward
    module.forward = lambda *inputs: seen.append(inputs[0]) or forward(*inputs)
    run()
    return seen[-1]


def hiding(module, run):
    try:
        return by_pre_hook(module, run)
    except RuntimeError:
        return torch.zeros(1)


def other_error(module, run):
    try:
        return by_pre_hook(module, run)
    except RuntimeError as problem:
        raise ValueError("no input") from problem


def first(inputs):
    return inputs[0]


@pytest.mark.parametrize("answer", [by_pre_hook, by_hook])
def test_1f_takes_right_answers(answer, says):
    assert says("1f", answer) == f"✓ 1f passed: {entry('1f').praise}\n"


NOT_THE_INPUT = [
    (lambda module, run: torch.zeros(3), "you never called run()"),
    (hooking(first, runs=2), "Call it once"),
    (changing, "the module computed something else"),
    (replacing_the_output, "the module computed something else"),
    (lambda module, run: run(), "what run() returned"),
    (hooking(lambda inputs: inputs), "gets the positional inputs as a tuple"),
    (hooking(first, give=lambda seen: seen), "it may be called several times"),
    (hooking(first, give=lambda seen: "input"), "of the module, which is a tensor"),
    (hooking(lambda inputs, output: output, hook="register_forward_hook"), "you returned the output of the module"),
    (hooking(first, give=lambda seen: seen[0]), "the input of its first call"),
    (hooking(lambda inputs: inputs[-1]), "the second positional input"),
    (hooking(lambda inputs: inputs[0][0]), "the first row"),
    (hooking(lambda inputs: inputs[0].sum(0)), "and it is not the first positional input"),
    (hooking(first, keep=True), "after your function returned"),
    (wrapping, "after your function returned"),
    (hooking(first, always=True), "under `finally`"),
    (hiding, "your function hid it"),
    (other_error, "your function hid it"),
]


@pytest.mark.parametrize(("answer", "message"), NOT_THE_INPUT)
def test_1f_names_the_mistake(answer, message, says):
    printed = says("1f", answer)
    assert printed.startswith("✗ 1f not yet: ")
    assert message in printed


def test_every_mistake_of_1f_was_made_above():
    said = [message for _, message in NOT_THE_INPUT]
    assert all(any(words in message for words in said) for message in entry("1f").mistakes)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (hooking(first, runs=3), "you called run() 3 times"),
        (hooking(lambda inputs: inputs), "you returned a tuple"),
        (hooking(lambda inputs: inputs[0].T), "you returned a tensor of shape (4, 3), and it is not"),
        (lambda module, run: module.no_such_thing, "your function raised AttributeError when given `module` = a Mixer"),
        (lambda module, run: [][0], "list index out of range (It had not called run() before that.)"),
        (hooking(lambda: None), "your function raised TypeError"),
        (lambda module, run: run() and None, "Does it end with `return`?"),
        ("hook", "the exercise asks for a function"),
    ],
)
def test_1f_shows_what_an_answer_did(answer, message, says):
    printed = says("1f", answer)
    assert printed.startswith("✗ 1f not yet: ")
    assert message in printed


def test_1f_leaves_the_notebooks_random_numbers_alone(says):
    before = torch.get_rng_state()
    says("1f", by_pre_hook)
    assert torch.equal(before, torch.get_rng_state())


# 1g


@pytest.fixture
def reader(storybook):
    return dict(zip(["model", "tokenizer"], storybook))


GIRL = "Once upon a time there was a little girl who lived with her grandmother, and she was very fond of the"


@pytest.mark.parametrize(
    "text", [GIRL + " electric.", "He put his hands in his pockets and looked at her with his eyes full of bishops."]
)
def test_1g_takes_right_answers(text, reader, says):
    printed = says("1g", text, **reader)
    assert printed.startswith("✓ 1g passed: the most surprising token, '·")
    assert "where uniform guessing costs 9.01; the mean of the text is" in printed


EASY_OR_HARD = [
    ("The bishop ran.", "It should have 12 or more"),
    (GIRL + " girl.", "nearly sure that it would not come"),
    ("Once upon a time there was a little girl who lived with her of", "You are near"),
    (
        "Bishops potatoes electric Congress quickly of of the bananas seven wherefore the Japan",
        "text is hard",
    ),
    ("", "cannot be read"),
    ("word " * 200, "Shorten the text"),
    ("a", "a single token"),
    (["a list"], "a text in quotes"),
]


@pytest.mark.parametrize(("text", "message"), EASY_OR_HARD)
def test_1g_names_the_mistake(text, message, reader, says):
    printed = says("1g", text, **reader)
    assert printed.startswith("✗ 1g not yet: ")
    assert message in printed


def test_every_mistake_of_1g_was_made_above():
    said = [message for _, message in EASY_OR_HARD]
    assert all(any(words in message for words in said) for message in entry("1g").mistakes)


# 1h

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
def test_1h_takes_right_answers(change, measured, reader, says):
    printed = says("1h", {"pairs": PAIRS, "gain": change(average(measured, last))}, **reader)
    assert printed.startswith("✓ 1h passed: you have 4 controlled pairs")
    assert "above 0 in 3 of 4" in printed


NOT_THE_GAIN = [
    (lambda measured: -average(measured, last), "the wrong way round"),
    (lambda measured: 4 * average(measured, last), "the sum over pairs"),
    (lambda measured: average(measured, last) / math.log(2), "in bits"),
    (lambda measured: average(measured, lambda read: read[0].mean()), "mean losses of the whole texts"),
    (
        lambda measured: average(measured, lambda read: -read[1][-1].log_softmax(-1)[read[2][-1]]),
        "those predict the token after it",
    ),
    (lambda measured: average(measured, lambda read: -(-read[0][-1]).exp()), "difference of probabilities"),
    (lambda measured: 99.0, "find out first why"),
    (lambda measured: math.nan, "find out first why"),
    (lambda measured: [1.0, 2.0], "should be one number"),
    (lambda measured: "much", "should be a number"),
    (lambda measured: None, "'gain' is still None"),
]


@pytest.mark.parametrize(("wrong", "message"), NOT_THE_GAIN)
def test_1h_names_what_is_wrong_with_the_gain(wrong, message, measured, reader, says):
    printed = says("1h", {"pairs": PAIRS, "gain": wrong(measured)}, **reader)
    assert printed.startswith("✗ 1h not yet: ")
    assert message in printed


def test_every_mistake_of_1h_was_made_above():
    said = [message for _, message in NOT_THE_GAIN]
    assert all(any(words in message for words in said) for message in entry("1h").mistakes)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("The cat saw the cat", "The elderly grandmother saw the cat")], "in pair 1, the texts have"),
        (
            [*PAIRS[:2], ("The cat saw the cat", "The cat saw the dog")],
            "in pair 3, the texts end with '·cat' and '·dog'",
        ),
        ([("The bird saw the cat", "The dog saw the cat")], "does not occur in it before"),
        ([("Cat and dog saw the cat", "Man and dog saw the cat")], "does not occur in it before"),
        ([PAIRS[0][::-1]], "does not occur in it before"),
        ([("The cat saw the cat", "The cat saw the cat")], "occurs earlier in the second text too"),
        ([("The cat saw the cat", "The dog heard the cat")], "the texts differ at token 2 too ('·saw' and '·heard')"),
        (PAIRS[:3], "the number of different last tokens is 3"),
        (PAIRS[:3] + PAIRS[:3], "your pairs is 6, and the number of different last tokens is 3"),
        ([("The cat saw the cat", "")], "cannot be read"),
        (["The cat saw the cat"], "a list of pairs of texts"),
        ([("The cat saw the cat", 3)], "a list of pairs of texts"),
        ("The cat", "a list of pairs of texts"),
    ],
)
def test_1h_names_what_is_wrong_with_the_pairs(pairs, message, reader, says):
    printed = says("1h", {"pairs": pairs, "gain": 1.0}, **reader)
    assert printed.startswith("✗ 1h not yet: ")
    assert message in printed


def test_1h_wants_pairs_and_gain(reader, says):
    assert "the answer is a dictionary, {'pairs'" in says("1h", {"pairs": PAIRS}, **reader)
    assert "the answer is a dictionary, {'pairs'" in says("1h", 1.2, **reader)


def test_other_models_get_a_verdict_too(folders, says):
    for model, tokenizer in [load_model(folders["llama"]), load_model("storybook", untrained=True)]:
        reader = {"model": model, "tokenizer": tokenizer}
        assert "1g not yet" in says("1g", GIRL, **reader)
        gain = average([[read_text(text, model, tokenizer) for text in pair] for pair in PAIRS], last)
        assert says("1h", {"pairs": PAIRS, "gain": gain}, **reader).startswith("✓ 1h passed")
