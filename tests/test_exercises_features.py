"""Exercises of notebook 08: answers written in other ways than their entries have them, and what findings are told."""

import numpy as np
import pytest
import torch
from judged import is_wrong

from interp_helpers import book_excerpts, encode, equal_length, exercises, features, token_labels
from interp_helpers.errors import TextError
from interp_helpers.exercises.features import EXERCISES, _examples
from interp_helpers.features import Firings


def entry(exercise):
    return exercises.checkers(8)[exercise]


# 8a


def of_many_models(W, b, x, importance):
    """The formula with a leading axis for models, as the notebook has it."""
    W, b = W[None], b[None]
    hidden = torch.einsum("sf,mfd->msd", x, W)
    back = (torch.einsum("msd,mfd->msf", hidden, W) + b[:, None]).relu()
    return (importance * (x - back) ** 2).mean((1, 2))[0]


def by_matrix_of_weights(W, b, x, importance):
    errors = x - torch.nn.functional.relu(torch.nn.functional.linear(x, W @ W.T, b))
    return ((errors**2) @ importance / len(importance)).mean().item()


@pytest.mark.parametrize("answer", [of_many_models, by_matrix_of_weights])
def test_8a_takes_right_answers(answer, says):
    assert says("8a", answer).startswith("✓ 8a passed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda W, b, x, importance: x @ W.T, "your function raised RuntimeError"),
        (lambda W, b, x, importance: x, "the answer has shape (); yours has ("),
        (lambda W, b, x, importance: of_many_models(W, b, x, importance) + 0.01, "where it should be"),
    ],
)
def test_8a_names_the_mistake(answer, message, says):
    is_wrong(says("8a", answer), "8a", message)


def test_8a_by_hand():
    """One dimension for two features. What is read back of (1, 0) is (1, -1 + 0.5), and of (0, 1) it is (-1, 1 + 0.5);
    the ReLU leaves (1, 0) and (0, 1.5)."""
    W, b = torch.tensor([[1.0], [-1.0]]), torch.tensor([0.0, 0.5])
    loss = entry("8a").reference(W, b, torch.eye(2), torch.tensor([3.0, 2.0]))
    assert loss == pytest.approx((3 * 0 + 2 * 0 + 3 * 0 + 2 * 0.5**2) / 4)


# 8b


def by_threshold(x, W_enc, b_enc, W_dec, k):
    scores = x @ W_enc + b_enc
    least = scores.sort(-1).values[:, [-k]]
    return torch.nn.functional.mse_loss((scores * (scores >= least)).clamp(min=0) @ W_dec, x)


def with_the_library(x, W_enc, b_enc, W_dec, k):
    """The loss of `features.train`, of an autoencoder with these weights."""
    autoencoder = features.SparseAutoencoder(torch.zeros(x.shape[1]), 1.0, len(b_enc), k=k)
    with torch.no_grad():
        for weights, value in zip([autoencoder.W_enc, autoencoder.b_enc, autoencoder.W_dec], [W_enc, b_enc, W_dec]):
            weights.copy_(value)
        return (x - autoencoder.activations(x) @ autoencoder.W_dec).square().mean()


@pytest.mark.parametrize("answer", [by_threshold, with_the_library])
def test_8b_takes_right_answers(answer, says):
    assert says("8b", answer).startswith("✓ 8b passed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, W_enc, b_enc, W_dec, k: x @ W_dec, "your function raised RuntimeError"),
        (lambda x, W_enc, b_enc, W_dec, k: x @ W_enc, "the answer has shape (); yours has ("),
        (lambda *given: 1.01 * by_threshold(*given), "where it should be"),
    ],
)
def test_8b_names_the_mistake(answer, message, says):
    is_wrong(says("8b", answer), "8b", message)


def test_8b_by_hand():
    """Scores (1, 2, 3): the two largest are kept and decoded to 2 * 10 + 3 * 100. Scores (-1, -2, 3): of the two
    largest, one is below zero."""
    x, W_enc = torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0, 2, 0]])
    b_enc, W_dec = torch.tensor([0.0, 0, 3]), torch.tensor([[1.0], [10], [100]])
    loss = entry("8b").reference(x, W_enc, b_enc, W_dec, 2)
    assert loss == pytest.approx(((1 - 320) ** 2 + (-1 - 300) ** 2) / 2)


# 8c

TWINS = [
    ("far less", 0.85, 0.3, "So less than half of the share is left without training"),
    ("less", 0.85, 0.6, "So the twin has less, but more than half of it"),
    ("the same", 0.85, 0.86, "So the two differ by 0.05 at most"),
    ("the same", 0.85, 0.81, "explains 0.850 of the variance of storybook's streams, and 0.810 of the twin's"),
    ("more", 0.75, 0.86, "So the twin has even more"),
]


@pytest.mark.parametrize(("right", "own", "twin", "words"), TWINS)
def test_8c_is_told_what_was_measured(right, own, twin, words, says):
    for prediction in ["far less", "less", "the same", "more"]:
        printed = says("8c", prediction.upper(), explained={"storybook": own, "untrained twin": twin})
        assert words in printed
        if prediction == right:
            assert printed.startswith("✓ 8c passed: the autoencoder explains")
        else:
            is_wrong(printed, "8c", f"you expected '{prediction}', but the autoencoder explains {own:.3f}")


@pytest.mark.parametrize("answer", ["lower", 3, {}, 0.86])
def test_8c_has_four_options(answer, says):
    explained = {"storybook": 0.85, "untrained twin": 0.86}
    printed = says("8c", answer, explained=explained)
    assert printed.startswith("○" if answer == {} else "✗ 8c not yet: the options are 'far less', 'less', 'the same'")


# 8d


def by_counting(fired, labels, learning):
    """With counts of every label, in 64-bit floats, and the number of labels by hand."""
    fires = torch.zeros(len(labels), dtype=torch.bool)
    fires[fired] = True
    names = labels.unique().tolist()
    tokens = {name: ((labels == name) & learning).sum().item() for name in names}
    hits = {name: ((labels == name) & learning & fires).sum().item() for name in names}
    ordered = sorted((name for name in names if hits[name]), key=lambda name: -hits[name] / tokens[name])
    best, rule = 0, set()
    for count in range(1, len(ordered) + 1):
        chosen = set(ordered[:count])
        f1 = 2 * sum(hits[name] for name in chosen) / (sum(tokens[name] for name in chosen) + sum(hits.values()))
        if f1 > best:
            best, rule = f1, chosen
    said = torch.tensor([label in rule for label in labels.tolist()]) & ~learning
    precision = (said & fires).sum() / said.sum()
    recall = (said & fires).sum() / (fires & ~learning).sum()
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("answer", [features.rule_score, by_counting])
def test_8d_takes_right_answers(answer, says):
    assert says("8d", answer).startswith("✓ 8d passed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda fired, labels, learning: labels[learning[fired]], "your function raised IndexError"),
        (lambda fired, labels, learning: learning, "the answer has shape (); yours has ("),
        (lambda *given: features.rule_score(*given) / 2, "where it should be"),
    ],
)
def test_8d_names_the_mistake(answer, message, says):
    is_wrong(says("8d", answer), "8d", message)


def test_8d_by_hand():
    """Learned on the first six tokens: the unit fires at all tokens 5, at one of two 6, and at none of 7. Label 5 alone
    has an F1 of 2 * 2 / (2 + 3), and with 6 it is 2 * 3 / (4 + 3), so the rule is 5 and 6. On the others it is right
    once, where the unit fires twice and the rule is true at two tokens."""
    labels, learning = torch.tensor([5, 5, 6, 6, 7, 7, 5, 6, 7]), torch.arange(9) < 6
    assert entry("8d").reference(torch.tensor([0, 1, 2, 6, 8]), labels, learning) == 2 * 1 / (2 + 2)


# 8e


def encode_words(text):
    """Feature 7 fires at a token after "the", and 8 at everything; a token is a word."""
    words = text.split()
    if len(words) > 6:
        raise TextError("The text has more than 6 tokens.")
    values = [[float(before == "the") / 2, 1.5] for before in ["", *words][:-1]]
    ids = [sum(map(ord, word)) for word in words]
    return torch.tensor([ids]), Firings(torch.tensor([[7, 8]] * len(words)), torch.tensor(values))


SIX = {
    "feature": 7,
    "fires": ["of the old", "in the old", "for the old"],
    "silent": ["in an old", "of an old", "a a old"],
}
NOT_BY_CONTEXT = [
    ({"silent": ["in an old", "of an elder", "a a old"]}, "'of an elder' does not end with the same token as 'of the"),
    ({"fires": ["of the old", "in the new", "by the old"]}, "'in the new' does not end with the same token as 'of the"),
    ({"fires": ["of the old", "so in the old", "in the old"]}, "'so in the old' and 'in the old' are too much alike"),
    ({"silent": ["in an old", "of an old", "in a old"]}, "'in an old' and 'in a old' are too much alike"),
    ({"feature": 9}, "feature 9 is silent at the end of 'of the old'"),
    ({"fires": ["of the old", "in an old", "by the old"]}, "feature 7 is silent at the end of 'in an old'"),
    ({"silent": ["in an old", "of the old", "a a old"]}, "feature 7 fires at the end of 'of the old' too, with 0.500"),
    ({"feature": 8}, "feature 8 fires at the end of 'in an old' too, with 1.500"),
    ({"fires": ["of the old", "in the new", "by the old"]}, "A space belongs to the token that follows it"),
    ({"silent": ["in an old", "of an old", "in a old"]}, "Within a list it should differ"),
    ({"feature": 9}, "It should fire at the last token of all texts in `fires`"),
    ({"feature": 8}, "It should not fire at the last token of any text in `silent`"),
    ({"feature": 10}, "there is no feature 10: they go from 0 to 9"),
    ({"feature": -1}, "there is no feature -1"),
    ({"feature": "7"}, "`feature` should be a whole number, such as 12; it is '7'"),
    ({"feature": 7.0}, "`feature` should be a whole number"),
    ({"feature": None}, "still empty: `feature`"),
    ({"fires": ["of the old", "in the old"]}, "`fires` should be a list of 3 texts in quotes; it is a list"),
    ({"silent": "in an old"}, "`silent` should be a list of 3 texts in quotes; it is 'in an old'"),
    ({"silent": ["in an old", "of an old", 3]}, "`silent` should be a list of 3 texts"),
    ({"silent": ["in an old", "of an old", "an old"]}, "the text 'an old' is too short"),
    ({"silent": ["in an old", "of an old", "a b c d e f old"]}, "cannot be read: The text has more than 6 tokens"),
]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"feature": np.int64(7)},
        {"feature": torch.tensor(7)},
        {"fires": ("of the old", "in the old", "in of the the old")},
    ],
)
def test_8e_takes_six_texts(change, says):
    answer = SIX | {"fires": ["on the old", "in the old", "for the old"]} | change
    printed = says("8e", answer, encode=encode_words, features=10)
    assert printed.startswith(
        "✓ 8e passed: feature 7 fires at the end of the three texts in `fires` (0.500, 0.500, 0.500)"
    )


@pytest.mark.parametrize(("change", "message"), NOT_BY_CONTEXT)
def test_8e_names_the_mistake(change, message, says):
    is_wrong(says("8e", SIX | change, encode=encode_words, features=10), "8e", message)


# 8f


@pytest.mark.parametrize(
    "answer",
    [
        lambda features, values, directions, gradient: values * (directions[features] @ gradient),
        lambda features, values, directions, gradient: (directions @ gradient)[features] * values,
        lambda features, values, directions, gradient: np.einsum("k,kd,d->k", values, directions[features], gradient),
    ],
)
def test_8f_takes_right_answers(answer, says):
    assert says("8f", answer).startswith("✓ 8f passed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda features, values, directions, gradient: values * (directions @ gradient), "raised RuntimeError"),
        (lambda features, values, directions, gradient: values, "where it should be"),
    ],
)
def test_8f_names_the_mistake(answer, message, says):
    is_wrong(says("8f", answer), "8f", message)


def test_8f_is_what_a_linear_difference_loses():
    """For a difference that is a straight line in the stream, each feature's number is exact."""
    draw = torch.Generator().manual_seed(5)
    directions, gradient, rest = torch.randn(6, 4, generator=draw), *torch.randn(2, 4, generator=draw)
    chosen, values = torch.tensor([4, 1, 5]), torch.tensor([2.0, 0.5, 0.0])

    def difference(values):
        return (rest + values @ directions[chosen]) @ gradient

    loses = [difference(values) - difference(values * (torch.arange(3) != off)) for off in range(3)]
    torch.testing.assert_close(entry("8f").reference(chosen, values, directions, gradient), torch.stack(loses))


# 8g

# Feature 0 fires after "·the", feature 1 at "·old" alone, feature 2 twice, feature 3 everywhere.
WORDS = ["·the", "·old", "·man", "·saw", "·the", "·king", ",", "·an", "·old", "·fool"]
TEXTS = [WORDS[start:] + WORDS[:start] for start in range(10)] * 2


def tokens_where(applies):
    """Numbers of tokens, counted from position 1 of every text."""
    return torch.tensor([text * 9 + at - 1 for text in range(20) for at in range(1, 10) if applies(TEXTS[text], at)])


CONTEXT = {
    "texts": TEXTS,
    "fired": [
        tokens_where(lambda labels, at: labels[at - 1] == "·the"),
        tokens_where(lambda labels, at: labels[at] == "·old"),
        torch.tensor([3, 4]),
        tokens_where(lambda labels, at: True),
    ],
    "rules": torch.tensor([0.6, 1.0, 0.1, 0.9]),
}


def after_the(labels, position):
    return labels[position - 1] == "·the"


def never(labels, position):
    return False


def always(labels, position):
    return True


def at_old(labels, position):
    return labels[-1] == "·old"


def at_king(labels, position):
    return labels[-1] == "·king"


def breaks(labels, position):
    return labels[position + 1] == "·the"


def falls_through(labels, position):
    if after_the(labels, position):
        return True


NOT_NAMED = [
    (2, after_the, "feature 2 fires at 2 tokens of these texts, and 20 are needed"),
    (0, never, "your function says False at every token of these texts, and feature 0 fires at 36 of them"),
    (0, always, "your function says True at every token of these texts, and feature 0 fires at 36 of 180"),
    (0, always, "Where should it be silent?"),
    (0, never, "'·took' is not 'took'"),
    (2, after_the, "because with so few a good score could be luck"),
    (1, at_king, "an F1 of 0.000 (precision 0.000, recall 0.000, 36 firings), and 0.5 is needed. It expects the"),
    (1, at_king, ", and 0.5 is needed. It expects"),
    (1, at_king, "It expects the feature wrongly at: the old man saw the [king] | "),
    (1, at_king, "It misses it at: the [old] | "),
    (0, at_king, "(precision 1.000, recall 0.500, 36 firings). But"),
    (
        1,
        at_old,
        "an F1 of 1.000 (precision 1.000, recall 1.000, 36 firings). But the best rule by the token itself has",
    ),
    (1, at_old, ". So for this feature the token says nearly as much as your function does"),
    (1, at_old, "the token itself has 1.000, and yours should be better by 0.1"),
    (1, at_old, "It expects the feature wrongly at: nowhere. It misses it at: nowhere."),
    (4, after_the, "there is no feature 4: they go from 0 to 3"),
    ("the", after_the, "`feature` should be a whole number"),
    (None, after_the, "still empty: `feature`"),
    (0, None, "still empty: `fires_at`"),
    (0, "after the", "`fires_at` should be a function of (labels, position); it is 'after the'"),
    (0, lambda labels, position: labels[0], "should return True or False; for position 1 it returned '·the'"),
    (0, lambda labels, position: 0.3, "should return True or False; for position 1 it returned 0.300"),
    (0, breaks, "your function raised IndexError when given `labels` = a list, `position` = 1"),
    (0, falls_through, "your function returned None when given `labels` = a list, `position` = 2"),
]


@pytest.mark.parametrize(
    "fires_at",
    [
        after_the,
        lambda labels, position: np.array(labels)[-2] == "·the",
        lambda labels, position: labels.pop() and labels.pop() == "·the",
    ],
)
def test_8g_takes_a_function_that_knows_the_context(fires_at, says):
    printed = says("8g", {"feature": 0, "fires_at": fires_at}, **CONTEXT)
    assert printed.startswith(
        "✓ 8g passed: your function says where feature 0 fires with an F1 of 1.000 (precision 1.0"
    )
    assert "and the best rule by the token itself has 0.600. It expects the feature wrongly at: nowhere." in printed


@pytest.mark.parametrize(("feature", "fires_at", "message"), NOT_NAMED)
def test_8g_names_the_mistake(feature, fires_at, message, says):
    is_wrong(says("8g", {"feature": feature, "fires_at": fires_at}, **CONTEXT), "8g", message)


def test_8g_gives_no_token_that_comes_later(says):
    seen = []
    says("8g", {"feature": 0, "fires_at": lambda labels, at: seen.append((labels, at)) or False}, **CONTEXT)
    assert seen == [(TEXTS[text][: at + 1], at) for text in range(20) for at in range(1, 10)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 30])
def test_8g_shows_a_few_examples_of_a_mistake(count):
    places = [(["·a", str(number)], 1) for number in range(99)]
    said = _examples({3 * number for number in range(count)}, places).split(" | ")
    assert min(count, 2) <= len(said) <= 3
    assert said[0] == "a[0]"


# The stored autoencoder has features that pass. They were chosen by looking at the training excerpts.


def after_a_verb_of_saying(labels, position):
    verbs = "said say says saying cried replied answered added continued exclaimed whispered remarked repeated"
    return labels[position - 1].strip("·").lower() in verbs.split()


@pytest.fixture(scope="module")
def stored(storybook_bridge):
    return *storybook_bridge, features.load_autoencoder()


def test_8e_has_an_answer(stored, says):
    bridge, tokenizer, autoencoder = stored

    def fires_in(text):
        ids = encode(tokenizer, text)
        return ids, autoencoder.encode(features.capture(bridge, ids)[0])

    verbs = {"fires": ["heard", "saw", "found"], "silent": ["opened", "lost", "cut"]}
    texts = {kind: [f"{who} {verb} the" for who, verb in zip(["He", "I", "They"], verbs[kind])] for kind in verbs}
    printed = says("8e", {"feature": 651, **texts}, encode=fires_in, features=2048)
    assert printed.startswith("✓ 8e passed: feature 651 fires")
    printed = says("8e", {"feature": 651, **texts, "fires": texts["silent"]}, encode=fires_in, features=2048)
    is_wrong(printed, "8e", "feature 651 is silent at the end of 'He opened the'")


def test_8g_has_an_answer(stored, says):
    bridge, tokenizer, autoencoder = stored
    tokens = equal_length(tokenizer, book_excerpts()["text"][::4])
    firings = autoencoder.encode(features.capture(bridge, tokens)[:, 1:].flatten(0, 1))
    fired, ids = firings.strongest(1.0, 2048), tokens[:, 1:].flatten()
    rules = torch.tensor([features.rule_score(each, ids, torch.arange(len(ids)) % 2 == 0) for each in fired])
    context = {"texts": [token_labels(tokenizer, row) for row in tokens], "fired": fired, "rules": rules}
    printed = says("8g", {"feature": 1404, "fires_at": after_a_verb_of_saying}, **context)
    assert printed.startswith("✓ 8g passed: your function says where feature 1404 fires with an F1 of 0.7")
    printed = says("8g", {"feature": 651, "fires_at": after_a_verb_of_saying}, **context)
    is_wrong(printed, "8g", "and 0.5 is needed")


# All


@pytest.mark.parametrize(
    ("exercise", "said"),
    [
        ("8c", [words for *_, words in TWINS]),
        ("8e", [words for *_, words in NOT_BY_CONTEXT]),
        ("8g", [words for *_, words in NOT_NAMED]),
    ],
)
def test_every_mistake_of_a_finding_was_made_above(exercise, said):
    assert all(any(words in message for words in said) for message in entry(exercise).mistakes)


CONTEXTS = {
    "8c": {"explained": {"storybook": 0.85, "untrained twin": 0.86}},
    "8e": {"encode": encode_words, "features": 10},
    "8g": CONTEXT,
}


@pytest.mark.parametrize("answer", [True, 3, "4.3", {}, lambda *given: 1, torch.ones(2), [(0, 0)], {"feature": 1}])
def test_no_answer_of_another_kind_stops_a_check(answer, says):
    for exercise in EXERCISES:
        assert says(exercise.id, answer, **CONTEXTS.get(exercise.id, {}))[0] in "✗○"
