"""Exercises of notebook 06: answers written in other ways than their entries have them, and what findings are told."""

import pytest
import torch
from judged import is_wrong

import interp_helpers as ih
from interp_helpers import exercises
from interp_helpers.exercises import causal_tests
from interp_helpers.interventions import (
    copy_losses,
    head_z,
    log_odds,
    logit_difference,
    mean_z,
    patch_heads,
    second_copy_drop,
    text_loss,
    token_losses,
    z_gradient,
)


def entry(exercise):
    return exercises.checkers(6)[exercise]


# 6b

COSTS = {"zero": 2.2, "mean": 0.2}
THIRD = [
    ("zero", {"third": 0.3}, "you expected 'zero', but zeros cost 2.200 nats"),
    ("zero", {"third": 0.3}, "So real values do little harm"),
    ("mean", {"third": 2.0}, "So real values do as much harm as zeros"),
    ("mean", {"third": 1.2}, "came from zeros being strange"),
    ("none", {"third": 1.2}, "the options are 'zero', 'mean', 'between'"),
]


@pytest.mark.parametrize(
    ("third", "near", "words"),
    [
        (0.3, "mean", "zeros lack this part"),
        (-0.2, " Mean", "zeros lack this part"),
        (torch.tensor(2.1), "zero", "misleads them"),
        (3.0, "zero", "misleads them"),
        (1.2, "between", "came from zeros being strange"),
    ],
)
def test_6b_takes_the_prediction_that_came_true(third, near, words, says):
    printed = says("6b", near, third=third, **COSTS)
    assert printed.startswith("✓ 6b passed: zeros cost 2.200 nats of the drop in loss, the mean costs 0.200, and")
    assert words in printed


def test_6b_blames_nobody_where_the_two_ways_agree(says):
    for prediction in ("zero", "mean", "between"):
        printed = says("6b", prediction, zero=0.01, mean=0.0, third=0.0)
        assert printed.startswith("✓ 6b passed")
        assert "every prediction passes" in printed


@pytest.mark.parametrize(("answer", "context", "message"), THIRD)
def test_6b_names_the_mistake(answer, context, message, says):
    is_wrong(says("6b", answer, **COSTS, **context), "6b", message)


# 6a


@pytest.fixture(scope="module")
def texts(storybook_bridge):
    bridge, tokenizer = storybook_bridge
    return {"bridge": bridge, "tokens": ih.token_batches(tokenizer, ih.passages()[:2])[0].tokens[:, :12]}


def by_mask(head, new):
    def hook_of_answer(z, hook):
        chosen = torch.arange(z.shape[2]) == head
        return torch.where(chosen[:, None], new[..., None, :], z)

    return hook_of_answer


def by_parts(head, new):
    return lambda z, hook: torch.cat(
        [z[:, :, :head], new.expand(z[:, :, head].shape)[:, :, None], z[:, :, head + 1 :]], 2
    )


@pytest.mark.parametrize("answer", [by_mask, by_parts])
def test_6a_takes_right_answers(answer, texts, says):
    assert says("6a", answer, **texts).startswith("✓ 6a passed")


@pytest.mark.parametrize("family", ["llama", "gpt-neo"])
def test_6a_works_in_other_models(family, folders, says):
    bridge, _ = ih.load_bridge(str(folders[family]), device="cpu")
    tokens = torch.arange(20).reshape(2, 10)
    assert says("6a", entry("6a").reference, bridge=bridge, tokens=tokens).startswith("✓ 6a passed")


def in_place_and_nothing(head, new):
    def hook_of_answer(z, hook):
        z[:, :, head] = new

    return hook_of_answer


def except_in_a_model(head, new):
    return lambda z, hook: z.clone() if hook else by_mask(head, new)(z, hook)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (in_place_and_nothing, "your hook returned nothing"),
        (lambda head, new: new, "It should return a hook"),
        (lambda head, new: lambda z: z, "your hook raised TypeError when given a tensor of shape (3, 4, 4, 4)"),
        (lambda head, new: lambda z, hook: z[:, :, 99], "your hook raised IndexError"),
        (lambda head, new: None, "returned None"),
        (except_in_a_model, "it gives other logits than `interventions.patch_heads`"),
        (7, "the exercise asks for a function"),
    ],
)
def test_6a_names_the_mistake(answer, message, texts, says):
    printed = says("6a", answer, **texts)
    assert printed.startswith("✗ 6a not yet: ")
    assert message in printed


# 6d


def with_a_table(x, other, W_Q, b_Q, W_K, b_K):
    scores = torch.einsum("bqd,bkd->bqk", x @ W_Q + b_Q, other @ W_K + b_K) * W_Q.shape[1] ** -0.5
    seen = torch.ones(scores.shape[1:]).tril()
    weights = (scores - scores.amax(-1, keepdim=True)).exp() * seen
    return weights / weights.sum(-1, keepdim=True)


def without_the_keys_bias(x, other, W_Q, b_Q, W_K, b_K):
    return with_a_table(x, other, W_Q, b_Q, W_K, 0)


@pytest.mark.parametrize("answer", [with_a_table, without_the_keys_bias])
def test_6d_takes_right_answers(answer, says):
    assert says("6d", answer).startswith("✓ 6d passed")


def test_6d_by_hand():
    """One dimension, no biases: scores are products. The second query, 2, sees keys 0 and ln 3 / 2: weights 1 to 3."""
    x, one = torch.tensor([[[5.0], [2.0], [1.0]]]), torch.ones(1, 1)
    other = torch.tensor([[[0.0], [torch.tensor(3.0).log() / 2], [0.0]]])
    pattern = entry("6d").reference(x, other, one, torch.zeros(1), one, torch.zeros(1))
    third = torch.tensor([1, 3**0.5, 1]) / (2 + 3**0.5)
    torch.testing.assert_close(pattern[0], torch.stack([torch.eye(3)[0], torch.tensor([0.25, 0.75, 0]), third]))


@torch.no_grad()
def test_6d_is_the_models_pattern_when_both_streams_are_its_own(storybook_bridge, texts):
    bridge, layer, head = storybook_bridge[0], 4, 3
    names = [f"blocks.{layer}.attn.hook_in", f"blocks.{layer}.attn.hook_pattern"]
    _, cache = bridge.run_with_cache(texts["tokens"], names_filter=names)
    normed, pattern = (cache[name] for name in names)
    attn = bridge.blocks[layer].attn
    weights = [each[head] for each in (attn.W_Q, attn.b_Q.reshape(8, -1), attn.W_K, attn.b_K.reshape(8, -1))]
    torch.testing.assert_close(entry("6d").reference(normed, normed, *weights), pattern[:, head])


# 6c


def by_mask_of_others(logits, token):
    is_token = torch.arange(logits.shape[-1]) == token[..., None]
    return (logits * is_token).sum(-1) - logits.masked_fill(is_token, -torch.inf).logsumexp(-1)


def by_removing(logits, token):
    flat, ids = logits.reshape(-1, logits.shape[-1]), token.reshape(-1)
    rows = [row[i] - torch.cat([row[:i], row[i + 1 :]]).exp().sum().log() for row, i in zip(flat, ids)]
    return torch.stack(rows).reshape(token.shape)


@pytest.mark.parametrize("answer", [by_mask_of_others, by_removing])
def test_6c_takes_right_answers(answer, says):
    assert says("6c", answer).startswith("✓ 6c passed")


def probability(logits, token):
    return logits.softmax(-1).gather(-1, token[..., None])[..., 0]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *given: probability(*given).log() - (1 - probability(*given)).log(), "goes through the probability"),
        (lambda *given: probability(*given).log() - (-probability(*given)).log1p(), "goes through the probability"),
        (
            lambda logits, token: (
                logits.gather(-1, token[..., None])[..., 0]
                - (logits.exp().sum(-1) - logits.gather(-1, token[..., None])[..., 0].exp()).log()
            ),
            "goes through the probability",
        ),
        (lambda *given: probability(*given).clamp(max=1 - 1e-6).logit(), "where it should be"),
        (lambda logits, token: logits[..., 99], "your function raised IndexError"),
    ],
)
def test_6c_names_the_mistake(answer, message, says):
    is_wrong(says("6c", answer), "6c", message)


@torch.no_grad()
def test_6c_is_the_log_odds_of_the_models_loss(storybook_bridge, texts):
    """Even odds by hand; and of a model, where no token is certain, what its losses give, and the library."""
    assert entry("6c").reference(torch.tensor([0.0, 0.0]), torch.tensor(1)).item() == 0
    bridge, tokens = storybook_bridge[0], texts["tokens"]
    logits, following = bridge(tokens)[:, :-1], tokens[:, 1:]
    found = entry("6c").reference(logits, following)
    p = (-token_losses(bridge, tokens).double()).exp()
    torch.testing.assert_close(found, p.logit(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.float(), log_odds(logits, following))


# 6f


def by_einsum(gradient, clean, corrupted):
    return torch.einsum("lhbps,lhbps->lh", gradient, clean - corrupted) / gradient.shape[2]


@pytest.mark.parametrize("answer", [by_einsum, lambda g, a, b: (g * a - g * b).mean(2).sum((-2, -1))])
def test_6f_takes_right_answers(answer, says):
    assert says("6f", answer).startswith("✓ 6f passed")


def test_6f_by_hand():
    """One head, two texts of two positions: the first text's metric changes by 2 * 1 + 3 * 1, the second's by -1."""
    gradient = torch.tensor([[2.0, 3], [1, 7]])[None, None, ..., None]
    change = torch.tensor([[1.0, 1], [-1, 0]])[None, None, ..., None]
    assert entry("6f").reference(gradient, change, torch.zeros_like(change)).tolist() == [[2.0]]


def test_6f_estimates_what_a_small_patch_does(storybook_bridge, texts):
    bridge, tokens, right, wrong = storybook_bridge[0], texts["tokens"], 5, 6

    def of_all_texts(bridge):  # their sum, so that each text has the gradient of its own logit difference
        logits = bridge(tokens)[:, -1]
        return (logits[:, right] - logits[:, wrong]).sum()

    gradient, corrupted = z_gradient(bridge, of_all_texts), head_z(bridge, tokens)
    near = corrupted + 0.01 * (head_z(bridge, tokens.roll(1, dims=1)) - corrupted)
    estimates = entry("6f").reference(gradient, near, corrupted)
    start = logit_difference(bridge, tokens, right, wrong).mean()
    for layer, head in [(0, 3), (3, 1), (5, 7)]:
        with bridge.hooks(fwd_hooks=patch_heads(bridge, [(layer, head)], near)):
            exact = logit_difference(bridge, tokens, right, wrong).mean() - start
        assert estimates[layer, head].item() == pytest.approx(exact.item(), rel=0.1, abs=1e-4)


# 6e

SIX = [(3, 1), (4, 3), (4, 4), (5, 1), (5, 5), (5, 7)]
FEW = [(0, 0), (0, 2), (0, 3), (0, 6), *((1, head) for head in range(8)), *SIX]
GREEDY = [(0, 0), (0, 2), (0, 3), (0, 6), (1, 1), (1, 2), (1, 3), (1, 6), (1, 7), (3, 1), (3, 7), (4, 3), (4, 4)]
GREEDY += [(5, 0), (5, 5), (5, 7)]


@pytest.fixture(scope="module")
def repetition(storybook_bridge):
    bridge, tokenizer = storybook_bridge
    means = mean_z(bridge, ih.token_batches(tokenizer, ih.passages()[16:48]))
    repeated = ih.repeated_random_tokens(tokenizer, 30, sequences=8)
    return {"bridge": bridge, "tokenizer": tokenizer, "repeated": repeated, "z": means, "limit": 3.0, "most": 18}


NOT_KEPT = [
    (FEW, {"limit": 0.5}, "So no set of heads can be found here"),
    (
        [*((layer, head) for layer in (0, 1) for head in range(8)), *SIX],
        {},
        "Which of them can go with the least harm",
    ),
    ([(0, 0), (0, 3), *((5, head) for head in range(8))], {}, "so these heads do not use the repetition at all"),
    ([(0, 0), (0, 3), *SIX], {}, "Which head lowers the loss most when you add it?"),
    # Sequences that the model copies better than others.
    (FEW, {"chosen": 2, "limit": 0.8}, "But on other random tokens"),
    ([*FEW[:-1], (0, 0)], {}, "L0H0 stands in your list twice"),
    ([(0, 0), (6, 0)], {}, "there is no head L6H0"),
    ((0, 3), {}, "a head is a pair of numbers"),
    ("L0H0", {}, "the answer is a list of heads"),
]


@pytest.mark.parametrize("kept", [FEW, set(GREEDY)])
def test_6e_takes_more_than_one_answer(kept, repetition, says):
    printed = says("6e", kept, **repetition)
    assert printed.startswith(f"✓ 6e passed: with {len(kept)} of 48 heads, the loss is 12.")
    assert "Enough is not the same as needed" in printed
    assert says("6e", kept, **repetition) == printed  # whatever was drawn


@pytest.mark.parametrize(("answer", "context", "message"), NOT_KEPT)
def test_6e_names_the_mistake(answer, context, message, repetition, says):
    context = dict(context)
    if chosen := context.pop("chosen", None):
        easiest = token_losses(repetition["bridge"], repetition["repeated"])[:, 30:].mean(1).argsort()[:chosen]
        context["repeated"] = repetition["repeated"][easiest]
    is_wrong(says("6e", answer, **repetition | context), "6e", message)


def test_6e_measures_what_the_library_measures(repetition):
    bridge, repeated = repetition["bridge"], repetition["repeated"]
    facts = entry("6e").measure(FEW, **repetition)
    others = [(layer, head) for layer in range(6) for head in range(8) if (layer, head) not in FEW]
    with bridge.hooks(fwd_hooks=patch_heads(bridge, others, repetition["z"])):
        drop = second_copy_drop(bridge, repeated).mean().item()
    assert facts.first - facts.second == pytest.approx(drop, abs=1e-4)
    assert facts.again == pytest.approx(facts.second, abs=0.8)
    assert facts.own == pytest.approx(copy_losses(bridge, repeated)[1].mean().item(), abs=1e-5)
    batch = ih.token_batches(repetition["tokenizer"], ih.passages()[:6])[0]
    assert facts.own_text == pytest.approx(text_loss(bridge, batch).mean().item(), abs=1e-4)


# 6g

ORDER = ["corrupted", "clean", "control"]


def trace(bridge, tokenizer, head, **texts):
    """An answer to 6g with what is measured for one head, and three numbers for the tests."""
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


# Texts that the notebook itself has compared, and the words that they ask for.
HOUSE = "Little Tom {} lived in a small house. One day little Tom"
KNOWN = HOUSE.format("Brown"), HOUSE.format("White"), " Brown", " White"


@pytest.fixture(scope="module")
def boys(storybook_bridge):
    return trace(*storybook_bridge, (4, 0), **BOYS)


@pytest.fixture
def says_6g(storybook_bridge, says):
    bridge, tokenizer = storybook_bridge
    known = KNOWN[:2]
    return lambda traced: says("6g", traced, bridge=bridge, tokenizer=tokenizer, known=known)


def test_6g_takes_more_than_one_answer(storybook_bridge, boys, says_6g):
    rounded = boys | {"share": round(boys["share"], 3), "control_share": torch.tensor(boys["control_share"])}
    for traced in (boys, rounded, trace(*storybook_bridge, (5, 3), **WOMAN)):
        assert says_6g(traced).startswith("✓ 6g passed: the logit differences are ")


CHANGES = [
    (lambda each: {"share": 1 - each["share"]}, "what is still missing"),
    (lambda each: {"share": each["share"] * each["gap"]}, "`share` is in logits"),
    (lambda each: {"share": each["share"] * each["gap"] / each["clean_difference"]}, "by the clean logit difference"),
    (lambda each: {"share": each["control_share"]}, "`share` was measured with the control"),
    (lambda each: {"share": 0.5}, "for `share` your answer is "),
    (lambda each: {"share": torch.nan}, "for `share` your answer is nan"),
    (lambda each: {"share": "half"}, "`share` should be a number"),
    (lambda each: {"share": [0.5, 0.5]}, "`share` should be one number"),
    (lambda each: {"control_share": each["control_share"] * each["gap"]}, "`control_share` is in logits"),
    (lambda each: {"control_share": each["text_share"]}, "the logit difference of the control text itself"),
    (lambda each: {"control_share": 0.5}, "for `control_share` your answer is "),
    (lambda each: {"head": (0, 3)}, "stands in layer 0"),
    (lambda each: {"head": "the best"}, "a head is a pair of numbers"),
    (lambda each: {"control": "The boys in the gardens"}, "a word that the clean text changes too"),
    (lambda each: {"control": each["corrupted"]}, "the same tokens"),
    (lambda each: {"control": "The boy in the big garden"}, "Choose words of equally many tokens"),
    (lambda each: {"right": " was", "wrong": " were"}, "should prefer the right word"),
    (lambda each: {"right": " extraordinarily"}, "compares single tokens"),
    (lambda each: {"right": " was"}, "are the same"),
    (lambda each: {"clean": 7}, "'clean' should be a text in quotes"),
    (lambda each: {"share": None}, "still empty: `share`"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_6g_names_the_mistake(change, message, boys, says_6g):
    is_wrong(says_6g({**boys, **change(boys)}), "6g", message)


# Whole experiments: what changes in BOYS or WOMAN, the head, and what is said.
EXPERIMENTS = [
    (BOYS, (5, 0), "Take the head that recovers most"),
    (BOYS | {"control": "The boy and the garden"}, (4, 0), "as the corrupted text does, because only something else"),
    (BOYS | {"control": "The boy or the garden"}, (4, 0), "with the control, which should be less than a third"),
]
TOO_LITTLE = "is needed. Try other texts"


@pytest.mark.parametrize(("texts", "head", "message"), EXPERIMENTS)
def test_6g_measures_the_whole_experiment(texts, head, message, storybook_bridge, says_6g):
    is_wrong(says_6g(trace(*storybook_bridge, head, **texts)), "6g", message)


def test_6g_wants_a_head_that_carries_something(boys, says_6g, monkeypatch):
    monkeypatch.setattr(causal_tests, "CARRIES", boys["share"] + 0.01)
    is_wrong(says_6g(boys), "6g", TOO_LITTLE)


def test_6g_wants_another_behaviour_than_the_notebooks(storybook_bridge, says_6g):
    bridge, tokenizer = storybook_bridge
    clean, corrupted, right, wrong = KNOWN
    names = {"clean": clean, "corrupted": corrupted, "right": right, "wrong": wrong}
    names["control"] = corrupted.replace("house", "town")
    is_wrong(says_6g(trace(bridge, tokenizer, (5, 7), **names)), "6g", "the notebook's own pair")
    copied = {name: text.replace("small", "large") for name, text in names.items()}
    is_wrong(says_6g(trace(bridge, tokenizer, (5, 7), **copied)), "6g", "the model could copy it")


# All


@pytest.mark.parametrize(
    ("exercise", "said"),
    [
        ("6b", [words for *_, words in THIRD]),
        ("6e", [words for *_, words in NOT_KEPT]),
        ("6g", [words for *_, words in [*CHANGES, *EXPERIMENTS]] + [TOO_LITTLE]),
    ],
)
def test_every_mistake_of_a_finding_was_made_above(exercise, said):
    assert all(any(words in message for words in said) for message in entry(exercise).mistakes)


@pytest.mark.parametrize("answer", [True, 3, "4.3", {}, lambda *given: 1, torch.ones(2), [(0, 0)], {"share": 1}])
def test_no_answer_of_another_kind_stops_a_check(answer, repetition, texts, says):
    bridge, tokenizer = repetition["bridge"], repetition["tokenizer"]
    contexts = {
        "6b": {"zero": 2.0, "mean": 0.1, "third": 0.1},
        "6a": texts,
        "6e": repetition,
        "6g": {"bridge": bridge, "tokenizer": tokenizer, "known": []},
    }
    for exercise in exercises.checkers(6):
        assert says(exercise, answer, **contexts.get(exercise, {}))[0] in "✗○"


def test_on_another_model_nothing_crashes(folders, says):
    bridge, tokenizer = ih.load_bridge(str(folders["llama"]), device="cpu")
    context = {"bridge": bridge, "tokenizer": tokenizer}
    repeated = ih.repeated_random_tokens(tokenizer, 10, sequences=2)
    printed = says("6e", [(0, 1)], repeated=repeated, z=0.0, limit=3.0, most=4, **context)
    is_wrong(printed, "6e", "So no set of heads can be found here")
    traced = {**BOYS, "head": (1, 1), "share": 0.5, "control_share": 0.0}
    is_wrong(says("6g", traced, known=[], **context), "6g", "should prefer the right word")
