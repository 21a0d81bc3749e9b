"""Exercises of notebook 03: answers written in other ways than their entries have them, and what findings are told."""

from itertools import product

import numpy as np
import pytest
import torch

from interp_helpers import encode, exercises, load_bridge, residual
from interp_helpers.attention import bootstrap_interval
from interp_helpers.exercises import residual_stream


@pytest.fixture(scope="module")
def bridges(folders):
    """{name: (bridge, tokenizer)}: the course's model, and one with an RMSNorm and random weights."""
    return {
        name: load_bridge(path, device="cpu")
        for name, path in [("storybook", "storybook"), ("llama", folders["llama"])]
    }


@pytest.fixture(scope="module")
def reader(bridges):
    return dict(zip(["bridge", "tokenizer"], bridges["storybook"]))


def entry(exercise):
    return exercises.checkers(3)[exercise]


def refuses(says, exercise, answer, message, **context):
    printed = says(exercise, answer, **context)
    assert printed.startswith(f"✗ {exercise} not yet: ")
    assert message in printed


WOODEN = "The soldier had a wooden leg and a brass button. The dog bit his wooden"
GOLDEN = "The king had a golden crown and a silver ring. The thief took his golden"


@pytest.fixture(scope="module", params=["storybook", "llama"])
def measured(request, bridges):
    """What the notebook's cells give to check, from two prompts."""
    bridge, tokenizer = bridges[request.param]
    with torch.no_grad():
        rows = [bridge.run_with_cache(encode(tokenizer, text)) for text in (WOODEN, GOLDEN)]
    last = [residual.parts(cache) for _, cache in rows]
    token, other = (
        torch.tensor([encode(tokenizer, word)[0, 0].item() for word in words])
        for words in [(" leg", " crown"), (" button", " ring")]
    )
    vectors, read = torch.stack([each[:, 0, -1] for _, each in last], 1), residual.Unembedding.of(bridge)
    streams = torch.stack([cache.accumulated_resid()[:, 0, -1] for _, cache in rows], 1)
    of_first = {"token": token[0].item(), "other": other[0].item()}
    return {
        "logits": torch.stack([logits[0, -1] for logits, _ in rows]),
        "3b": {"streams": streams, "unembedding": read},
        "3d": {"vectors": vectors, "stream": vectors.sum(0), "unembedding": read, "token": token, "other": other},
        "3e": {"vectors": vectors[:, 0], "names": last[0][0], "unembedding": read, **of_first},
    }


# 3a

# Four sentences, each with a prompt about its first pair and one about its second.
ASKED_FIRST, SENTENCE = torch.tensor([True, False] * 4), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])


def answered(*right):
    return {"correct": torch.tensor(right) == 1, "asked_first": ASKED_FIRST, "sentence": SENTENCE}


ALWAYS_FIRST = answered(1, 0, 1, 0, 1, 0, 1, 0)
MOSTLY = answered(1, 1, 0, 1, 1, 1, 1, 1)
ONCE_EACH = answered(1, 0, 0, 1, 0, 0, 0, 0)
HALF = answered(1, 1, 1, 1, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("better", "both", "context", "words"),
    [
        (
            "first",
            "less than half",
            ALWAYS_FIRST,
            "first pair 1.000 are answered right, of the others 0.000, and in 0.",
        ),
        (" Second", "more than half", MOSTLY, "in 0.750 of the sentences both questions"),
        ("alike", "less than half", ONCE_EACH, "of the others 0.250, and in 0.000 of the sentences"),
        ("second", "less than half", HALF, "in 0.500 of the sentences"),
        ("second", "more than half", HALF, "does not show that the model remembers that pair"),
    ],
)
def test_3a_takes_right_answers(better, both, context, words, says):
    printed = says("3a", {"better": better, "both": both}, **context)
    assert printed.startswith("✓ 3a passed: of the prompts that ask")
    assert words in printed


WRONG_PAIR = [
    ("first", "less than half", ONCE_EACH, "which counts as alike here"),
    ("alike", "less than half", ALWAYS_FIRST, "so they are not alike"),
    ("first", "more than half", MOSTLY, "So it is the other pair"),
    ("first", "more than half", ALWAYS_FIRST, "Group the prompts by sentence"),
]


@pytest.mark.parametrize(
    ("better", "both", "context", "message"),
    [
        *WRONG_PAIR,
        (
            "second",
            "less than half",
            MOSTLY,
            "in 0.750 of the sentences both questions are answered right, which is not",
        ),
        ("both", "less than half", MOSTLY, "the options are 'first', 'second', 'alike'; got 'both'"),
        ("first", None, MOSTLY, "still empty: `both`"),
    ],
)
def test_3a_names_the_mistake(better, both, context, message, says):
    refuses(says, "3a", {"better": better, "both": both}, message, **context)


# 3b


def lens_by_library(streams, unembedding):
    return residual.to_logits(streams, unembedding)


def lens_by_torch(streams, unembedding):
    size, weight, bias, epsilon = streams.shape[-1:], unembedding.weight, unembedding.bias, unembedding.epsilon
    if unembedding.centred:
        normed = torch.nn.functional.layer_norm(streams, size, weight, bias, epsilon)
    else:
        normed = torch.nn.functional.rms_norm(streams, size, weight, epsilon) + bias
    return torch.einsum("...m,mv->...v", normed, unembedding.W_U) + unembedding.b_U


@pytest.mark.parametrize("answer", [lens_by_library, lens_by_torch])
def test_3b_takes_right_answers(answer, measured, says):
    assert says("3b", answer, **measured["3b"]) == f"✓ 3b passed: {entry('3b').praise}\n"


def test_3b_by_hand():
    """Less its mean of 2 and divided by its deviation of 1, (1, 3) is (-1, 1); without either it stays (1, 3)."""
    fields = torch.tensor([2.0, 1]), torch.tensor([0.0, 5]), torch.eye(2), torch.tensor([10.0, 0])
    for centred, epsilon, wanted in [(True, 0.0, [8.0, 6]), (False, 4.0, [2 / 3 + 10, 6])]:
        read = residual.Unembedding(*fields[:2], epsilon, centred, *fields[2:])
        torch.testing.assert_close(entry("3b").reference(torch.tensor([1.0, 3]), read), torch.tensor(wanted))


def test_3b_is_the_models_own_last_logits_and_its_praise_is_true(measured):
    streams, read = measured["3b"].values()
    logits = entry("3b").reference(streams, read)
    torch.testing.assert_close(logits[-1], measured["logits"], atol=1e-4, rtol=1e-4)
    changes = (entry("3b").reference(10 * streams, read) - logits).abs().amax(-1) / logits.abs().amax(-1)
    assert 0 < changes.max() < 0.02


# 3c

EARLY = "He knew every door in the quarter by the sound"
LATE = "The old queen tapped her stick upon the floor, and put her hands behind"
OVERTAKEN = '"Sing us the one about the'


@pytest.mark.parametrize("late", [LATE, "She stood at the end of the quay with her shawl over"])
@pytest.mark.parametrize("early", [EARLY, "The king went out into the middle"])
def test_3c_takes_right_answers(early, late, reader, says):
    printed = says("3c", {"late": late, "early": early}, **reader)
    assert printed.startswith("✓ 3c passed: '·of' is first from ")
    assert "'·her' only after all 6" in printed


UNSETTLED = [
    ({"early": LATE, "late": EARLY}, "you have exchanged them"),
    ({"early": OVERTAKEN, "late": LATE}, "layers, but then another token comes before it"),
    ({"early": WOODEN, "late": LATE}, "Which tokens could a model predict"),
    ({"early": EARLY, "late": EARLY}, "layers already. It should be"),
]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        *UNSETTLED,
        ({"early": LATE, "late": EARLY}, "is settled after 6 of 6 layers, and your late text after 3."),
        ({"early": OVERTAKEN, "late": LATE}, "'·other' comes first after 1 of 6 layers"),
        ({"early": WOODEN, "late": LATE}, "the early text is settled on '·leg' after 4 of 6 layers. It should be 3"),
        ({"early": EARLY, "late": EARLY}, "the late text is settled on '·of' after 3 of 6 layers already"),
        ({"early": "The girl was as white as", "late": LATE}, "with a probability of 0.261"),
        ({"early": EARLY + " ", "late": LATE}, "the early text ends with a space"),
        ({"early": "She sat in front", "late": LATE}, "the early text has 4 tokens; it should have 5"),
        ({"early": EARLY, "late": ""}, "the late text cannot be read"),
        ({"early": EARLY, "late": "so " * 300}, "the late text cannot be read"),
        ({"early": EARLY, "late": 3}, "the late text should be a text"),
        ({"early": EARLY, "late": None}, "still empty: `late`"),
        ([EARLY, LATE], "the answer is a dictionary with early, late"),
    ],
)
def test_3c_names_the_mistake(texts, message, reader, says):
    refuses(says, "3c", texts, message, **reader)


# 3d


def by_library(vectors, stream, unembedding, token, other):
    return residual.logit_attribution(vectors, stream, unembedding, token, other)[:-1]


def by_gradient(vectors, stream, unembedding, token, other):
    """Hold the scale, and differentiate the logit difference by a factor on every part."""
    centred = stream - stream.mean(-1, keepdim=True) if unembedding.centred else stream
    scale = (centred.square().mean(-1, keepdim=True) + unembedding.epsilon).sqrt()
    with torch.enable_grad():
        factors = torch.ones(vectors.shape[:-1], requires_grad=True)
        total = (vectors * factors[..., None]).sum(0)
        total = total - total.mean(-1, keepdim=True) if unembedding.centred else total
        logits = (total / scale * unembedding.weight) @ unembedding.W_U
        pair = logits.gather(-1, torch.stack([token, other], -1))
        (pair[..., 0] - pair[..., 1]).sum().backward()
    return factors.grad


@pytest.mark.parametrize("answer", [by_library, by_gradient])
def test_3d_takes_right_answers(answer, measured, says):
    assert says("3d", answer, **measured["3d"]) == f"✓ 3d passed: {entry('3d').praise}\n"


def test_3d_sums_to_the_logit_difference_with_its_constant(measured):
    """The reference against the model's own logits, for two prompts at once."""
    given, pair = measured["3d"], torch.stack([measured["3d"]["token"], measured["3d"]["other"]], 1)
    constant = residual.logit_attribution(*given.values())[-1]
    logits = measured["logits"].gather(1, pair)
    total = entry("3d").reference(*given.values()).sum(0) + constant
    torch.testing.assert_close(total, logits[:, 0] - logits[:, 1], atol=1e-4, rtol=1e-4)


# 3e


def direction_of(stream, unembedding, token, other):
    found = (unembedding.W_U[:, token] - unembedding.W_U[:, other]) * unembedding.weight
    if unembedding.centred:
        found, stream = found - found.mean(), stream - stream.mean(-1, keepdim=True)
    return found / (stream.square().mean(-1, keepdim=True) + unembedding.epsilon).sqrt()


def direction_by_gradient(stream, unembedding, token, other):
    """Differentiate what a part adds, when the scale is held, by the part."""
    with torch.enable_grad():
        part = torch.zeros_like(stream, requires_grad=True)
        shape = stream.shape[:-1]
        given = part[None], stream, unembedding, torch.full(shape, token), torch.full(shape, other)
        residual_stream._attributed(*given).sum().backward()
    return part.grad


@pytest.mark.parametrize("answer", [direction_of, direction_by_gradient, residual_stream._DIRECTION.reference])
def test_3e_takes_right_answers(answer, measured, says):
    printed = says("3e", answer, **measured["3e"])
    assert printed.startswith("✓ 3e passed: the longest part is ")
    assert "logits" in printed


@pytest.mark.parametrize("message", residual_stream._DIRECTION.mistakes)
def test_3e_names_the_mistake(message, measured, says):
    printed = says("3e", residual_stream._DIRECTION.mistakes[message], **measured["3e"])
    assert printed.startswith(f"✗ 3e not yet: {message}\n")


@pytest.mark.parametrize(("answer", "message"), [
    (torch.zeros(3), "the exercise asks for a function"),
    (lambda stream, *rest: stream.mean(), "; yours has ()"),
])  # fmt: skip
def test_3e_says_what_was_given(answer, message, measured, says):
    refuses(says, "3e", answer, message, **measured["3e"])


def test_3e_multiplied_by_the_parts_is_3d(measured):
    vectors, _, read, token, other = measured["3e"].values()
    one = [torch.tensor([each]) for each in (token, other)]
    attributed = entry("3d").reference(vectors[:, None], vectors.sum(0)[None], read, *one)[:, 0]
    direction = residual_stream._DIRECTION.reference(vectors.sum(0), read, token, other)
    torch.testing.assert_close(vectors @ direction, attributed, atol=1e-4, rtol=1e-4)


def test_3e_compares_length_and_aim(says):
    """By hand. The longest part need not add most: here one is long and across, and one short and along."""
    plain = residual.Unembedding(torch.ones(2), torch.zeros(2), 0.0, False, torch.eye(2), torch.zeros(2))
    for vectors, told in [
        (
            [[1.0, 1.0], [0.5, -0.5]],
            "the longest part is long. Its length is 1.41 and its cosine to your direction is 0.0",
        ),
        ([[1.0, 1.0], [0.5, -0.5]], "aimed adds most: with a length of 0.71 and a cosine of 1.000"),
        ([[3.0, 0.0], [0.0, 1.0]], "and it adds most of all parts: 1.342 logits"),
    ]:
        given = {"vectors": torch.tensor(vectors), "names": ["long", "aimed"], "unembedding": plain}
        assert told in says("3e", direction_of, **given, token=0, other=1)


# 3f


def by_einsum(pattern, values, W_O, direction):
    return torch.einsum("pk,pkh,hm,pm->pk", pattern, values, W_O, direction)


def by_reading_values(pattern, values, W_O, direction):
    return pattern * (values @ (direction @ W_O.T)[..., None])[..., 0]


@pytest.mark.parametrize("answer", [by_einsum, by_reading_values])
def test_3f_takes_right_answers(answer, says):
    assert says("3f", answer) == f"✓ 3f passed: {entry('3f').praise}\n"


def test_3f_by_hand():
    """Half of 2 and half of 6, written with -10 into the one number that is read with 0.5."""
    given = [[0.5, 0.5]], [[[2.0], [6.0]]], [[0.0, -10.0]], [[7.0, 0.5]]
    torch.testing.assert_close(entry("3f").reference(*map(torch.tensor, given)), torch.tensor([[-5.0, -15]]))


@pytest.mark.parametrize("name", ["storybook", "llama"])
def test_3f_sums_to_what_the_head_adds(name, bridges):
    bridge, tokenizer = bridges[name]
    with torch.no_grad():
        _, cache = bridge.run_with_cache(encode(tokenizer, GOLDEN))
    names, vectors = residual.parts(cache, heads=True)
    vectors, read, pair = vectors[:, 0, -1], residual.Unembedding.of(bridge), (5, 9)
    direction = residual_stream._DIRECTION.reference(vectors.sum(0), read, *pair)[None]
    pattern, values = cache["pattern", 1][:, 1, -1], cache["v", 1][:, :, 1 if name == "storybook" else 0]
    taken = entry("3f").reference(pattern, values, bridge.W_O[1, 1].detach(), direction)
    added = residual.logit_attribution(vectors, vectors.sum(0), read, *pair)[names.index("L1H1")]
    torch.testing.assert_close(taken.sum(), added, atol=1e-5, rtol=1e-4)


# 3g. Full names: the last name that follows an asked first name, and a control with another first name in its place.

WORDS = [(" Brown", " Green"), (" White", " Black"), (" King", " Wood"), (" Smith", " Gray")]
LETTER = "The letter was for Tom{} and not for Mary{}. The postman gave it to"


def experiment(part="L4H3", words=WORDS, frames=(LETTER,)):
    found = {name: [] for name in residual_stream.LISTS}
    for frame, (one, other), asked in product(frames, words + [pair[::-1] for pair in words], ["Tom", "Mary"]):
        prompt = f"{frame.format(one, other)} {asked}"
        found["prompts"].append(prompt)
        found["controls"].append(prompt.replace(asked, "John", 1))
        found["answers"].append(one if asked == "Tom" else other)
        found["rivals"].append(other if asked == "Tom" else one)
    return found | {"part": part}


NAMES = experiment()
OTHER_FRAMES = (
    LETTER,
    "The guests were Tom{} and Mary{}. The first to arrive was",
    "There were Tom{} and Mary{}. He saw",
)
UNEVEN = experiment(words=WORDS[:2], frames=OTHER_FRAMES)  # frames of other lengths, and too few pairs of words


def test_3g_takes_right_answers(reader, says):
    printed = says("3g", NAMES, **reader, used=[GOLDEN])
    assert printed.startswith("✓ 3g passed: with the cue the answer is ahead of its rival in 0.812 of 16 prompts")
    assert "(95% interval over 4 pairs of words: " in printed
    assert "L4H3 carries 0." in printed
    assert "over 24 prompts: " in says("3g", UNEVEN, **reader, used=[])


def test_3g_measures_what_the_model_does(reader):
    """Each prompt by itself, by the model's own logits; heads by the library's attribution."""
    bridge, tokenizer = reader["bridge"], reader["tokenizer"]
    ids = [[encode(tokenizer, word)[0, 0].item() for word in UNEVEN[name]] for name in ("answers", "rivals")]
    differences, heads = [], []
    for name in ("prompts", "controls"):
        for text, answer, rival in zip(UNEVEN[name], *ids):
            with torch.no_grad():
                logits, cache = bridge.run_with_cache(encode(tokenizer, text))
            names, vectors = residual.parts(cache, heads=True)
            vectors = vectors[:, 0, -1]
            added = by_library(vectors, vectors.sum(0), residual.Unembedding.of(bridge), answer, rival)
            differences.append((logits[0, -1, answer] - logits[0, -1, rival]).item())
            heads.append(added[names.index("L4H3")].item())
    prompts, controls = np.array(differences).reshape(2, -1)
    facts = residual_stream._experiment(UNEVEN, **reader, used=[])
    assert facts.right == (prompts > 0).mean()
    assert facts.right_without == (controls > 0).mean()
    assert facts.gain == pytest.approx((prompts - controls).mean(), abs=1e-4)
    assert (facts.low, facts.high) == pytest.approx(bootstrap_interval(prompts - controls), abs=1e-4)
    with_cue, without = np.array(heads).reshape(2, -1).mean(1)
    assert (facts.part_adds, facts.part_adds_without) == pytest.approx((with_cue, without), abs=1e-4)
    assert facts.share == pytest.approx((with_cue - without) / facts.gain, abs=1e-4)


def of_all_parts(answer, reader):
    """Names of all parts, and what they add in the prompts and in the controls, `(part, prompt)` each."""
    bridge, tokenizer = reader["bridge"], reader["tokenizer"]
    firsts = [[encode(tokenizer, word)[0, 0].item() for word in answer[name]] for name in ("answers", "rivals")]
    sides = [[encode(tokenizer, text)[0].tolist() for text in answer[name]] for name in ("prompts", "controls")]
    (names, prompts), (_, controls) = (residual_stream._last_attributions(bridge, side, *firsts) for side in sides)
    return names, prompts, controls


def test_3g_takes_an_interval_over_pairs_of_words(reader):
    """All prompts of a pair of words count as one, whichever of the words is the answer."""
    facts = residual_stream._experiment(NAMES, **reader, used=[])
    _, prompts, controls = of_all_parts(NAMES, reader)
    by_pair = (prompts - controls).sum(0).reshape(2, 4, 2).mean((0, 2))  # exchanged, pair of words, asked first name
    assert (facts.units, facts.unit) == (4, "pairs of words")
    assert (facts.low, facts.high) == pytest.approx(bootstrap_interval(by_pair), abs=1e-6)


def test_3g_counts_pairs_of_words_in_either_order():
    pairs = [(1, 2), (2, 1), (3, 4), (5, 6), (7, 8), (4, 3)]
    words = [[[pair[side]] for pair in pairs] for side in (0, 1)]
    assert residual_stream._units(words) == ([[0, 1], [2, 5], [3], [4]], "pairs of words")
    assert residual_stream._units([each[:4] for each in words]) == ([[0], [1], [2], [3]], "prompts")


def exchanged():
    return NAMES | {"prompts": NAMES["controls"], "controls": NAMES["prompts"]}


def no_cue():
    """The control replaces a word that has nothing to do with the question."""
    return NAMES | {"controls": [text.replace("letter", "lady") for text in NAMES["prompts"]]}


def loser(reader):
    names, prompts, controls = of_all_parts(NAMES, reader)
    return NAMES | {"part": names[(prompts - controls)[:-1].mean(1).argmin()]}


MORE_WORDS = [(" Hill", " Bell"), (" Carter", " Winter"), (" Long", " Day"), (" Bird", " Snow")]
NO_GAIN = [
    (lambda reader: exchanged(), "the logit difference is higher in the controls"),
    (lambda reader: no_cue(), "so the cue makes no difference that can be told from chance"),
    (loser, "It loses most of all parts"),
    (lambda reader: experiment("L4H3", MORE_WORDS), "No part adds more in the prompts, but another part gains more"),
    (lambda reader: NAMES | {"part": None}, "'part' is still missing"),
    (lambda reader: NAMES | {"part": "L9H7"}, "a part is named as `residual.parts(cache, heads=True)`"),
    (lambda reader: NAMES | {"part": "mlp 5"}, ". Another part gains more."),
]


@pytest.mark.parametrize(("answer", "message"), NO_GAIN)
def test_3g_names_what_was_measured(answer, message, reader, says):
    refuses(says, "3g", answer(reader), message, **reader, used=[])


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("mlp 5", "mlp 5 adds 0.168 logits in the prompts and 0.085 in the controls, a gain of 0.083. Another"),
        ("mlp 5", "the cue raises the logit difference by 3.347 on average (95% interval over 4 pairs of words: 2."),
        ("L9H7", "such as 'L0H0' or 'mlp 0'; yours is 'L9H7'"),
        ((5, 7), "yours is a tuple"),
        ("constant", "yours is 'constant'"),
    ],
)
def test_3g_tells_about_the_part(part, message, reader, says):
    refuses(says, "3g", NAMES | {"part": part}, message, **reader, used=[])


def with_one(name, change, number=2):
    """NAMES, with one entry of a list changed."""
    return NAMES | {name: [*NAMES[name][:number], change(NAMES[name][number]), *NAMES[name][number + 1 :]]}


def in_both(old, new):
    """NAMES, with some words of every prompt and control changed."""
    return NAMES | {name: [text.replace(old, new) for text in NAMES[name]] for name in ("prompts", "controls")}


def first_only(name, change):
    return with_one(name, change, 0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("an experiment", "the answer is a dictionary with prompts, controls, answers, rivals"),
        (NAMES | {"rivals": None}, "still empty: `rivals`"),
        (NAMES | {"rivals": " Green"}, "'rivals' should be a list of texts; it is ' Green'"),
        (NAMES | {"rivals": NAMES["rivals"][:-1]}, "you have 16 prompts, 16 controls, 16 answers, 15 rivals"),
        ({name: texts[:8] for name, texts in NAMES.items()}, "you have 8 prompts, and 8 of them are different"),
        (NAMES | {"prompts": NAMES["prompts"][:8] * 2}, "you have 16 prompts, and 8 of them are different"),
        (with_one("controls", lambda text: 3), "controls[2] should be a text; it is 3"),
        (with_one("prompts", lambda text: ""), "prompts[2] cannot be read"),
        (with_one("prompts", lambda text: text * 20), "prompts[2] cannot be read"),
        (with_one("prompts", lambda text: text + " "), "prompts[2] ends with a space"),
        (with_one("rivals", lambda word: NAMES["answers"][2]), "answers[2] and rivals[2] cannot be compared: No token"),
        (with_one("rivals", lambda word: " Green"), "' Green' is the answer of 2 prompts and the rival of 3"),
        (
            NAMES | {name: [word.strip() for word in NAMES[name]] for name in ("answers", "rivals")},
            "answers[0], 'Brown', does not occur in prompts[0] before its last token",
        ),
        (
            with_one("prompts", lambda text: text.replace("Black", "Hall")),
            "rivals[2], '·Black', does not occur in prom",
        ),
        (
            with_one("controls", lambda text: text.replace("White", "Hall")),
            "answers[2], '·White', does not occur in con",
        ),
        (
            with_one("controls", lambda text: text.replace("letter", "long letter")),
            "prompts[2] and controls[2] have 19 and 20 tokens",
        ),
        (with_one("controls", lambda text: text.replace("it to Tom", "it to John")), "end with different tokens"),
        (NAMES | {"controls": NAMES["prompts"]}, "prompts[0] and controls[0] have the same tokens"),
        (first_only("controls", lambda text: GOLDEN), "answers[0], '·Brown', does not occur in controls[0]"),
        (
            with_one(
                "controls", lambda text: text.replace("White", "X").replace("Black", "White").replace("X", "Black")
            ),
            "answers[2] stands at other places in controls[2] than in prompts[2]",
        ),
    ],
)
def test_3g_names_what_is_wrong_with_the_design(answer, message, reader, says):
    refuses(says, "3g", answer, message, **reader, used=[])


def test_3g_refuses_the_notebooks_own_prompts(reader, says):
    for name, number in [("prompts", 3), ("controls", 5)]:
        used = [GOLDEN, NAMES[name][number]]
        refuses(says, "3g", NAMES, f"{name}[{number}] is one of the notebook's prompts", **reader, used=used)


def test_a_model_that_knows_nothing_is_told_apart_from_one_that_knows(bridges, says):
    bridge, tokenizer = bridges["llama"]
    refuses(says, "3c", {"early": EARLY, "late": LATE}, "Take a text after which", bridge=bridge, tokenizer=tokenizer)
    refuses(says, "3g", NAMES, "difference that can be told from chance", bridge=bridge, tokenizer=tokenizer, used=[])


@pytest.mark.parametrize(("exercise", "made"), [("3a", WRONG_PAIR), ("3c", UNSETTLED), ("3g", NO_GAIN)])
def test_every_mistake_of_a_finding_was_made_above(exercise, made):
    mistakes = entry(exercise).mistakes
    assert all(any(each[-1] in message for each in made) for message in mistakes)
