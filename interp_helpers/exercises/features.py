"""Exercises of notebook 08: the loss of a toy, a sparse autoencoder by hand, and features that are put on trial."""

import operator
from itertools import combinations
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch

from ..errors import TextError
from .judging import Exercise, Wrong, choose, fresh, not_expected, parts, require, shown, turned_out, watched

# 8a: the loss of the toy. Answers: W (feature, dimension), b (feature,), x (sample, feature), importance (feature,) ->
# a number.


def _toys(generator):
    """A toy and samples, in which half of the features are above 0. A ReLU would cut something off at each place."""
    for samples, features, dimensions in [(20, 6, 3), (15, 8, 2), (20, 5, 4)]:
        least = torch.zeros(())
        while least >= 0:
            W, b = (torch.randn(*shape, generator=generator) for shape in [(features, dimensions), (features,)])
            x, drawn = torch.rand(2, samples, features, generator=generator)
            x = x * (drawn < 0.5)
            least = max((x @ W).min(), (x @ W @ W.T).min(), (x @ W @ W.T + b).min())
        yield W, b, x, 0.5 + torch.rand(features, generator=generator)


def _toy_slowly(W, b, x, importance):
    total = 0
    for sample in x:
        hidden = sum(value * row for value, row in zip(sample, W))
        for value, row, bias, weight in zip(sample, W, b, importance):
            back = max(hidden @ row + bias, 0)
            total = total + weight * (value - back) ** 2
    return total / x.numel()


def _read_back(W, b, x):
    return (x @ W @ W.T + b).relu()


def _toy(error=torch.square, back=_read_back, mean=torch.mean):
    """The answer, with another error of (sample, feature), way of reading back, or mean."""
    return lambda W, b, x, importance: mean(importance * error(x - back(W, b, x)))


TOY_LOSS = Exercise(
    "8a",
    "The loss of the toy",
    kind="Build",
    difficulty=2,
    points=2,
    reference=_toy_slowly,
    inputs=_toys,
    mistakes={
        "you left out the ReLU. Without it, what is read back can be below zero, and the interference between features "
        "cannot be cut off.": _toy(back=lambda W, b, x: x @ W @ W.T + b),
        "you took the ReLU of the hidden vector and not of what is read back. The hidden vector may point anywhere, so "
        "it stays as it is.": _toy(back=lambda W, b, x: (x @ W).relu() @ W.T + b),
        "you took the ReLU of the hidden vector as well. This vector may point anywhere, so take the ReLU of what is "
        "read back only.": _toy(back=lambda W, b, x: ((x @ W).relu() @ W.T + b).relu()),
        "you added the bias after the ReLU. Add it before, because a bias below zero is what cuts small interference "
        "off.": _toy(back=lambda W, b, x: (x @ W @ W.T).relu() + b),
        "you left out the bias. It is added to what is read back, before the ReLU.": _toy(
            back=lambda W, b, x: _read_back(W, 0, x)
        ),
        "you left out the importance. Multiply each feature's squared error by it.": (
            lambda W, b, x, importance: _toy_slowly(W, b, x, torch.ones_like(b))
        ),
        "the importance stands inside the square, so it is squared too. Multiply the squared error by it.": (
            lambda W, b, x, importance: _toy_slowly(W, b, x, importance**2)
        ),
        "your loss is the sum over samples and features. Take their mean, so that batches of other sizes can be "
        "compared.": _toy(mean=torch.sum),
        "you added up over features and took the mean over samples only. Take the mean over both.": _toy(
            mean=lambda losses: losses.sum(1).mean()
        ),
        "you added up over samples and took the mean over features only. Take the mean over both.": _toy(
            mean=lambda losses: losses.sum(0).mean()
        ),
        "you kept the samples apart. Take the mean over them too, so that the loss is one number.": _toy(
            mean=lambda losses: losses.mean(1)
        ),
        "you kept the features apart. Take the mean over them too, so that the loss is one number.": _toy(
            mean=lambda losses: losses.mean(0)
        ),
        "you divided by the sum of the importances. Take the plain mean over samples and features.": (
            lambda W, b, x, importance: _toy_slowly(W, b, x, importance / importance.mean())
        ),
        "you used the absolute error. Square it, so that a large error counts for more than several small ones.": _toy(
            torch.abs
        ),
        "you took the square root at the end. The loss is the mean of the squares itself.": _toy(
            mean=lambda losses: losses.mean().sqrt()
        ),
    },
    praise="your loss is right, whatever the numbers of samples, features and dimensions are.",
)


# 8b: encode, keep the strongest, decode. Answers: x (token, d_model), W_enc (d_model, feature), b_enc (feature,), W_dec
# (feature, d_model), k -> a number.


def _autoencoders(generator):
    """An autoencoder and tokens. Some have more than k features above 0, and some have fewer."""
    for tokens, width, features, k in [(20, 3, 7, 3), (15, 5, 9, 4), (20, 8, 5, 2)]:
        fires = torch.zeros(1)
        while not fires.min() < k < fires.max() - 1:  # otherwise k + 1 scores would be all that are above 0
            x, W_enc, W_dec = (
                torch.randn(*shape, generator=generator)
                for shape in [(tokens, width), (width, features), (features, width)]
            )
            b_enc = torch.randn(features, generator=generator)
            fires = (x @ W_enc + b_enc > 0).sum(1)
        yield x, W_enc, b_enc, W_dec, k


def _autoencoder_slowly(x, W_enc, b_enc, W_dec, k):
    total = 0
    for stream in x:
        scores = [(stream @ W_enc[:, feature] + b_enc[feature]).item() for feature in range(len(b_enc))]
        back = torch.zeros_like(stream)
        for feature in sorted(range(len(scores)), key=scores.__getitem__)[-k:]:
            back = back + max(scores[feature], 0) * W_dec[feature]
        total += ((stream - back) ** 2).sum()
    return total / x.numel()


def _strongest(scores, k, dim=-1, by=lambda scores: scores, set_to=None):
    """Scores (token, feature), 0 but for the k largest along an axis. set_to: a number in the place of all of these."""
    kept = torch.zeros_like(scores).scatter(dim, by(scores).topk(k, dim).indices, 1)
    return kept * (scores if set_to is None else set_to)


def _autoencoder(keep=_strongest, act=torch.relu, error=torch.square, mean=torch.mean):
    """The answer, with another choice of scores, activation, error or mean."""

    def loss(x, W_enc, b_enc, W_dec, k):
        return mean(error(x - act(keep(x @ W_enc + b_enc, k)) @ W_dec))

    return loss


AUTOENCODER_LOSS = Exercise(
    "8b",
    "Encode, keep the strongest, decode",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_autoencoder_slowly,
    inputs=_autoencoders,
    mistakes={
        "you kept the k largest scores of every feature, over tokens. Every token keeps k of its own features, so "
        "choose along the last axis.": _autoencoder(lambda scores, k: _strongest(scores, k, dim=0)),
        "you chose the scores that are largest without their sign, so a score far below zero takes the place of a "
        "positive one. Take the k largest as they are.": _autoencoder(
            lambda scores, k: _strongest(scores, k, by=torch.abs)
        ),
        "you left out the ReLU. When a token has fewer than k scores above zero, some of the k largest are negative, "
        "and they should become 0.": _autoencoder(act=lambda kept: kept),
        "you kept all scores above zero. Keep only the k largest of each token, and of these what is above "
        "zero.": _autoencoder(lambda scores, k: scores),
        "you kept the k smallest scores. Keep the k largest.": _autoencoder(
            lambda scores, k: _strongest(scores, k, by=torch.neg)
        ),
        "you kept k + 1 scores of each token.": _autoencoder(lambda scores, k: _strongest(scores, k + 1)),
        "you kept k - 1 scores of each token.": _autoencoder(lambda scores, k: _strongest(scores, k - 1)),
        "you set the kept scores to 1. How strongly a feature fires is part of what the decoder needs, so keep the "
        "scores themselves.": _autoencoder(lambda scores, k: _strongest(scores, k, set_to=1)),
        "you set what is kept and above zero to 1. How strongly a feature fires is part of what the decoder needs, so "
        "keep the scores themselves.": _autoencoder(act=lambda kept: (kept > 0).float()),
        "you left out the bias `b_enc`. Add it to the scores, before you choose the largest.": (
            lambda x, W_enc, b_enc, *rest: _autoencoder_slowly(x, W_enc, 0 * b_enc, *rest)
        ),
        "you decoded with the transpose of `W_enc`. The directions of the features are the rows of `W_dec`.": (
            lambda x, W_enc, b_enc, W_dec, k: _autoencoder_slowly(x, W_enc, b_enc, W_enc.T, k)
        ),
        "your loss is the sum over tokens and dimensions. Take their mean.": _autoencoder(mean=torch.sum),
        "you added up over dimensions and took the mean over tokens only. Take the mean over both.": _autoencoder(
            mean=lambda losses: losses.sum(1).mean()
        ),
        "you used the absolute error. Square it.": _autoencoder(error=torch.abs),
        "you took the square root at the end. The loss is the mean of the squares itself.": _autoencoder(
            mean=lambda losses: losses.mean().sqrt()
        ),
    },
    praise="your loss is right, also for tokens at which fewer than k features are above zero.",
)


# 8c: what training adds. Answers: "far less", "less", "the same" or "more".

ALIKE = 0.05  # shares of variance that differ by no more count as the same


def _beside_the_twin(prediction, explained):
    """explained: {"storybook", "untrained twin": the explained variance of its autoencoder, on held-out text}."""
    said = choose(prediction, list(_TAUGHT))
    own, twin = float(explained["storybook"]), float(explained["untrained twin"])
    right = "far less" if twin < own / 2 else "less" if twin < own else "more"
    return SimpleNamespace(said=said, right="the same" if abs(twin - own) <= ALIKE else right, own=own, twin=twin)


_EXPLAINED = "the autoencoder explains {own:.3f} of the variance of storybook's streams, and {twin:.3f} of the twin's"
_HIGH = (
    " Here, the structure that random weights give is enough. So a high explained variance alone does not show that "
    "features mean something that training has put there. (Section 12 of the notebook has a twin for which it is not "
    "enough.) What the structure of this twin's stream is comes next."
)
_LOW = (
    " Some of the difference may come from training, but explained variance alone does not say what it is. An "
    "autoencoder compresses whatever has structure, and the embeddings of tokens and positions are structure too, "
    "whether a model was trained or not."
)
_TAUGHT = {
    "far less": ". So less than half of the share is left without training." + _LOW,
    "less": ". So the twin has less, but more than half of it." + _LOW,
    "the same": f". So the two differ by {ALIKE} at most." + _HIGH,
    "more": ". So the twin has even more." + _HIGH,
}


BESIDE_THE_TWIN = Exercise(
    "8c",
    "What training adds",
    kind="Read",
    difficulty=1,
    points=1,
    measure=_beside_the_twin,
    mistakes={f"you expected {{said!r}}, but {_EXPLAINED}{why}": not_expected(name) for name, why in _TAUGHT.items()},
    praise={_EXPLAINED + why: turned_out(name) for name, why in _TAUGHT.items()},
)


# 8d: a rule on trial. Answers: fired (firing,), labels (token,), learning (token,) bool -> F1.


def _trials(generator):
    """A unit that likes some labels more than others, and not quite the same ones where the rule is learned as
    elsewhere. No mistake gives the right score, nor that of another mistake.

    How often the unit fires at a label is different for all labels, and so is the F1 of every number of labels. So it
    does not matter how ties are broken.
    """
    for tokens, labels in [(400, 10), (500, 14)]:
        trial = None
        while trial is None or not _tells_apart(*trial):
            names = torch.randperm(8192, generator=generator)[:labels]  # as ids are, with gaps between them
            frequent, liked, *here = torch.rand(4, labels, generator=generator)
            chances = ((liked + torch.stack(here)) / 2) ** 2  # (part, label)
            drawn = torch.multinomial(frequent**2, tokens, replacement=True, generator=generator)
            learning, fires = torch.rand(2, tokens, generator=generator)
            learning = learning < 0.5
            fired = (fires < chances[learning.long(), drawn]).nonzero()[:, 0]
            trial = fired, names[drawn], learning
        yield trial


def _tells_apart(fired, labels, learning):
    chosen = _in_order(fired, labels, learning)
    return all(
        len({round(number, 4) for number in numbers}) == len(numbers)
        for numbers in (
            [_share(fired, labels, learning, label) for label in chosen],
            [_f1(*_counts(fired, labels, learning, chosen[:count])) for count in range(1, len(chosen) + 1)],
            [score(fired, labels, learning) for score in [_rule_slowly, *RULE_ON_TRIAL.mistakes.values()]],
        )
    )


def _counts(fired, labels, among, rule):
    """How many tokens, of those `among`, are fired at and in the rule; fired at; in the rule."""
    among = among.tolist()
    firing = {token for token in fired.tolist() if among[token]}
    predicted = {token for token, label in enumerate(labels.tolist()) if among[token] and label in rule}
    return len(firing & predicted), len(firing), len(predicted)


def _f1(both, firing, predicted):
    return 2 * both / (firing + predicted)


def _share(fired, labels, among, label):
    """The share of a label's tokens at which the unit fires."""
    both, _, tokens = _counts(fired, labels, among, [label])
    return both / tokens


def _in_order(fired, labels, learning, by=_share):
    """The labels at which the unit fires while learning, those with most of it first."""
    seen = {labels[token].item() for token in fired.tolist() if learning[token]}
    return sorted(seen, key=lambda label: by(fired, labels, learning, label), reverse=True)


def _learned(fired, labels, learning, by=_share):
    """The first labels in this order, as many as are best where they are learned."""
    ordered = _in_order(fired, labels, learning, by)
    rules = [ordered[:count] for count in range(1, len(ordered) + 1)]
    return max(rules, key=lambda rule: _f1(*_counts(fired, labels, learning, rule)))


def _rule_slowly(fired, labels, learning):
    return _f1(*_counts(fired, labels, ~learning, _learned(fired, labels, learning)))


def _hits(*given):
    return _counts(*given[:-1], given[-1:])[0]


def _tested(measure):
    """The answer with another measure on the other tokens."""
    return lambda *given: measure(*_counts(*given[:2], ~given[2], _learned(*given)))


def _with_rule(rule):
    """The answer with another rule: (fired, labels, learning) -> labels."""
    return lambda fired, labels, learning: _f1(*_counts(fired, labels, ~learning, rule(fired, labels, learning)))


RULE_ON_TRIAL = Exercise(
    "8d",
    "A rule on trial",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_rule_slowly,
    inputs=_trials,
    mistakes={
        "you scored the rule on the tokens from which it was learned. There it also fits chance, so its score is too "
        "high. Score it on the other tokens.": lambda fired, labels, learning: _f1(
            *_counts(fired, labels, learning, _learned(fired, labels, learning))
        ),
        "you scored the rule on all tokens, and from some of them it was learned. Score it on the other tokens "
        "only.": lambda fired, labels, learning: _f1(
            *_counts(fired, labels, learning | True, _learned(fired, labels, learning))
        ),
        "you learned the rule from all tokens, so it knows those on which it is scored. Learn it from the tokens at "
        "which `learning` is True.": _with_rule(
            lambda fired, labels, learning: _learned(fired, labels, learning | True)
        ),
        "you have exchanged the two parts: your rule is learned where `learning` is False, and scored where it is "
        "True.": lambda fired, labels, learning: _rule_slowly(fired, labels, ~learning),
        "you returned the precision, which is the share of the rule's tokens at which the unit fires. A rule of one "
        "sure token has a high one although it misses almost everything. Return F1.": _tested(
            lambda both, firing, predicted: both / max(predicted, 1)
        ),
        "you returned the recall, which is the share of the firings that the rule predicts. A rule that fires "
        "everywhere has a recall of 1. Return F1.": _tested(lambda both, firing, predicted: both / firing),
        "you took the mean of precision and recall. F1 is their harmonic mean: 2 * both / (firings + "
        "predicted).": _tested(lambda both, firing, predicted: (both / max(predicted, 1) + both / firing) / 2),
        "you put the labels in the order of how many firings they have. So a frequent label comes early although the "
        "unit is silent at most of its tokens. Divide by how many tokens have the label.": _with_rule(
            lambda *given: _learned(*given, by=_hits)
        ),
        "you took the single best label. Take as many labels as give the best F1 on the learning tokens.": _with_rule(
            lambda *given: _in_order(*given)[:1]
        ),
        "you took all labels at which the unit ever fires. Take as many, in their order, as give the best F1 on the "
        "learning tokens.": _with_rule(_in_order),
        "you chose the number of labels by the F1 on the other tokens. They are for the score only, so choose it on "
        "the learning tokens.": lambda fired, labels, learning: max(
            _f1(*_counts(fired, labels, ~learning, _in_order(fired, labels, learning)[:count]))
            for count in range(1, len(labels.unique()) + 1)
        ),
    },
    praise="your score is right. It is an F1 on tokens that the rule has not seen, so remembering does not help it.",
)


# 8e: the same token, another feature. Answers: {"feature": a number, "fires", "silent": three texts each}, all of which
# end with the same token.

EACH = 3  # texts that a list has


def _feature_of(answer, features):
    """The number of a feature; Wrong when there is none with this number."""
    try:
        feature = operator.index(answer)
    except TypeError:
        raise Wrong(f"`feature` should be a whole number, such as 12; it is {shown(answer)}.") from None
    require(
        0 <= feature < features and not isinstance(answer, bool),
        f"there is no feature {answer}: they go from 0 to {features - 1}.",
    )
    return feature


class _Read(NamedTuple):
    """A text, the ids of its tokens, and how strongly the feature fires at the last of them."""

    text: str
    ids: list[int]
    value: float


def _by_context(answer, encode, features):
    """encode: text -> (ids of its tokens, Firings at all of them). features: how many the autoencoder has."""
    feature, *lists = parts(answer, ["feature", "fires", "silent"])
    feature = _feature_of(feature, features)
    for name, texts in zip(["fires", "silent"], lists):
        require(
            isinstance(texts, (list, tuple)) and len(texts) == EACH and all(isinstance(each, str) for each in texts),
            f"`{name}` should be a list of {EACH} texts in quotes; it is {shown(texts)}.",
        )
    fires, silent = ([_read(text, encode, feature) for text in texts] for texts in lists)
    pairs = [pair for texts in (fires, silent) for pair in combinations(texts, 2)]
    return SimpleNamespace(
        feature=feature,
        first=fires[0].text,
        other=next((each.text for each in [*fires, *silent] if each.ids[-1] != fires[0].ids[-1]), None),
        alike=next((f"{one.text!r} and {two.text!r}" for one, two in pairs if one.ids[-3] == two.ids[-3]), None),
        missed=next((each.text for each in fires if each.value <= 0), None),
        heard=next((f"{each.text!r} too, with {each.value:.3f}" for each in silent if each.value > 0), None),
        values=", ".join(f"{each.value:.3f}" for each in fires),
    )


def _read(text, encode, feature):
    try:
        ids, firings = encode(text)
    except TextError as problem:
        raise Wrong(f"the text {text!r} cannot be read: {problem}") from problem
    ids = torch.as_tensor(ids).flatten().tolist()
    require(len(ids) >= 3, f"the text {text!r} is too short. Give it three tokens or more.")
    return _Read(text, ids, firings.of(feature)[-1].item())


BY_CONTEXT = Exercise(
    "8e",
    "The same token, another feature",
    kind="Investigate",
    difficulty=4,
    points=4,
    measure=_by_context,
    mistakes={
        "{other!r} does not end with the same token as {first!r}. A space belongs to the token that follows it, "
        "and a long word may be several tokens.": lambda facts: facts.other is not None,
        "{alike} are too much alike, because the token two places before the last one is the same. Within "
        "a list it should differ.": lambda facts: facts.alike is not None,
        "feature {feature} is silent at the end of {missed!r}. It should fire at the last token of all texts in "
        "`fires`.": lambda facts: facts.missed is not None,
        "feature {feature} fires at the end of {heard}. It should not fire at the last token of any text "
        "in `silent`.": lambda facts: facts.heard is not None,
    },
    praise="feature {feature} fires at the end of the three texts in `fires` ({values}), and not at all at the end of "
    "those in `silent`, although all six end with the same token. So it depends on what came before. Six texts do not "
    "show on what: which shorter or other beginnings keep it, and which take it away?",
)


# 8f: what would the answer lose? Answers: features (k,), values (k,), directions (feature, d_model), gradient
# (d_model,) -> (k,).


def _switched_off(features, values, directions, gradient):
    losses = []
    for feature, value in zip(features.tolist(), values):
        losses.append(sum(value * direction * slope for direction, slope in zip(directions[feature], gradient)))
    return torch.stack(losses)


def _firing_features(generator):
    """Features of a token, in any order, some for the answer and some against it. The last one does not fire, as when
    fewer than k do."""
    for k, features, width in [(4, 11, 3), (5, 20, 6)]:
        slopes = torch.zeros(1)
        while not slopes.min() < 0 < slopes.max():
            chosen = k + torch.randperm(features - k, generator=generator)[:k]  # not the first k
            directions = 2 * torch.randn(features, width, generator=generator)
            gradient = 2 * torch.randn(width, generator=generator)
            slopes = (directions[chosen] @ gradient)[:-1]
        values = 1 + torch.rand(k, generator=generator)
        values[-1] = 0
        yield chosen, values, directions, gradient


ATTRIBUTIONS = Exercise(
    "8f",
    "What would the answer lose?",
    kind="Build",
    difficulty=2,
    points=2,
    reference=_switched_off,
    inputs=_firing_features,
    mistakes={
        "you left out how strongly each feature fires. Switching it off takes its whole activation away, so multiply "
        "by the value.": lambda features, values, *rest: _switched_off(features, torch.ones_like(values), *rest),
        "your signs are turned. Wanted is by how much the difference *falls*, so a feature that raises it has a number "
        "above zero.": lambda *given: -_switched_off(*given),
        "you gave a number to every feature of the autoencoder. Take the directions of the features that fire: "
        "`directions[features]`.": lambda features, values, directions, gradient: directions @ gradient,
        "you gave a number to every feature of the autoencoder, 0 to those that do not fire. Return only those of the "
        "features in `features`, in their order.": lambda features, values, directions, gradient: (
            torch.zeros(len(directions)).scatter(0, features, values) * (directions @ gradient)
        ),
        "you took the first rows of `directions`. Take those of the features that fire: `directions[features]`.": (
            lambda features, values, directions, gradient: values * (directions[: len(values)] @ gradient)
        ),
        "you divided the gradient by its length. Its length says how fast the difference changes, so leave it as it "
        "is.": lambda *given: _switched_off(*given) / given[-1].norm(),
        "you divided the directions by their lengths. A length says how much one unit of activation adds to the "
        "stream, so leave it as it is.": lambda features, values, directions, gradient: _switched_off(
            features, values, directions / directions.norm(dim=1, keepdim=True), gradient
        ),
        "you returned absolute values. The sign says whether a feature is for the answer or against it.": (
            lambda *given: _switched_off(*given).abs()
        ),
        "you squared the values. Switching a feature off takes its activation away once.": (
            lambda features, values, *rest: _switched_off(features, values**2, *rest)
        ),
        "you kept the dimensions apart. Add up over them, so that every feature has one number.": (
            lambda features, values, directions, gradient: values[:, None] * directions[features] * gradient
        ),
        "you added up over the features. Return one number for each of them.": lambda *given: _switched_off(
            *given
        ).sum(),
    },
    praise="your numbers are right, also for a feature that is listed without firing. They take the difference for a "
    "straight line in the stream, so compare some of them with features that are really switched off.",
)


# 8g: name a feature, and try to prove yourself wrong. Answers: {"feature": a number, "fires_at": (labels up to and with
# a position, the position) -> bool}.

GOOD, BETTER = 0.5, 0.1  # F1 that a function should reach, and by how much it should be above the rule by one token
ENOUGH, SHOWN, AROUND = 20, 3, 5  # firings that a feature needs; examples of mistakes, and tokens before each
AGAIN = 50  # tokens that are asked about twice, in another order


def _named(answer, texts, fired, rules):
    """texts: labels of texts of one length. fired: for every feature, the sorted tokens at which it fires, where token
    (text, position) has the number text * (length - 1) + position - 1: positions count from 1. rules: (feature,), the
    F1 on these texts of the best rule by the token itself."""
    feature, fires_at = parts(answer, ["feature", "fires_at"])
    feature = _feature_of(feature, len(fired))
    require(callable(fires_at), f"`fires_at` should be a function of (labels, position); it is {shown(fires_at)}.")
    firing = set(torch.as_tensor(fired[feature]).tolist())
    facts = SimpleNamespace(feature=feature, firings=len(firing), rule=float(rules[feature]))
    if len(firing) < ENOUGH:
        return facts
    ask, predicted, places = watched(fires_at), set(), []
    for labels in texts:
        for position in range(1, len(labels)):
            found = ask(list(labels[: position + 1]), position)
            require(
                isinstance(found, (bool, np.bool_)),
                f"`fires_at` should return True or False; for position {position} it returned {shown(found)}.",
            )
            if found:
                predicted.add(len(places))
            places.append((labels, position))
    for token in torch.randint(len(places), (AGAIN,), generator=fresh()).tolist() if predicted else []:
        labels, position = places[token]
        require(
            ask(list(labels[: position + 1]), position) == (token in predicted),
            f"`fires_at` said something else when it was asked again about position {position} of a text. It should go "
            "by `labels` and `position` alone.",
        )
    both = len(firing & predicted)
    facts.tokens, facts.predicted, facts.f1 = len(places), len(predicted), _f1(both, len(firing), len(predicted))
    facts.precision, facts.recall = both / max(len(predicted), 1), both / len(firing)
    facts.wrongly = _examples(predicted - firing, places)
    facts.missed = _examples(firing - predicted, places)
    return facts


def _examples(tokens, places):
    """A few of the tokens, far from one another, as text: the token in brackets after what came before it."""
    tokens = sorted(tokens)
    chosen = tokens[:: max(1, -(-len(tokens) // SHOWN))]
    if not chosen:
        return "nowhere"
    return " | ".join(_in_context(*places[token]) for token in chosen)


def _in_context(labels, position):
    before = "".join(labels[max(0, position - AROUND) : position])
    return f"{before}[{labels[position]}]".replace("[·", "·[").replace("·", " ").strip()


_TRIED = (
    "your function says where feature {feature} fires with an F1 of {f1:.3f} (precision {precision:.3f}, recall "
    "{recall:.3f}, {firings} firings)"
)
_MISTAKEN = "It expects the feature wrongly at: {wrongly}. It misses it at: {missed}."
NAMED = Exercise(
    "8g",
    "Name a feature, and try to prove yourself wrong",
    kind="Project",
    difficulty=5,
    points=5,
    measure=_named,
    mistakes={
        f"feature {{feature}} fires at {{firings}} tokens of these texts, and {ENOUGH} are needed, because with so few "
        "a good score could be luck. Choose another feature.": lambda facts: facts.firings < ENOUGH,
        "your function says False at every token of these texts, and feature {feature} fires at {firings} of them. "
        "Labels have · for a leading space: '·took' is not 'took'.": lambda facts: facts.predicted == 0,
        "your function says True at every token of these texts, and feature {feature} fires at {firings} of {tokens}. "
        "Where should it be silent?": lambda facts: facts.predicted == facts.tokens,
        _TRIED + f", and {GOOD} is needed. " + _MISTAKEN: lambda facts: facts.f1 < GOOD,
        _TRIED + f". But the best rule by the token itself has {{rule:.3f}}, and yours should be better by {BETTER}. "
        "So for this feature the token says nearly as much as your function does. Choose a feature that depends on "
        "what came before, or say more about the context. " + _MISTAKEN: lambda facts: facts.f1 < facts.rule + BETTER,
    },
    praise=_TRIED
    + ", and the best rule by the token itself has {rule:.3f}. "
    + _MISTAKEN
    + " Now write what you predicted, where you were wrong, and what would change your mind.",
)

EXERCISES = [TOY_LOSS, AUTOENCODER_LOSS, BESIDE_THE_TWIN, RULE_ON_TRIAL, BY_CONTEXT, ATTRIBUTIONS, NAMED]
