"""Exercises of notebook 05: answers written in other ways than their entries have them, and what findings are told."""

import numpy as np
import pytest
import torch
from scipy.stats import goodness_of_fit, kstest, norm, spearmanr
from transformer_lens import FactoredMatrix

import interp_helpers as ih
from interp_helpers import ModelError, attention, exercises, load_bridge, load_model, weights
from interp_helpers.exercises.judging import fresh


def entry(exercise):
    return exercises.checkers(5)[exercise]


def refuses(says, exercise, answer, message, **context):
    printed = says(exercise, answer, **context)
    assert printed.startswith(f"✗ {exercise} not yet: ")
    assert message in printed


def drawn(*shapes):
    generator = fresh()
    return [torch.randn(*shape, generator=generator) for shape in shapes]


# 5a and 5c


def in_table(table):
    own = table.diagonal()[:, None]
    return (table > own).sum(1) / (len(table) - 1)


def one_at_a_time(table):
    others = ~torch.eye(len(table)).bool()
    return [(row[keep] > row[~keep]).double().mean() for row, keep in zip(table, others)]


def by_softmax(table):
    return in_table(table.softmax(1))


def before(ranks):
    return lambda vectors, W_V, W_O, W_U: ranks(vectors @ (W_V @ W_O) @ W_U)


def behind(ranks):
    def answer(queries, keys, W_Q, b_Q, W_K, b_K):  # no b_K, because it changes no rank
        return ranks((queries @ W_Q + b_Q) @ (keys @ W_K).T / len(b_Q) ** 0.5)

    return answer


@pytest.mark.parametrize("ranks", [in_table, one_at_a_time, by_softmax])
def test_ranks_may_be_written_in_other_ways(ranks, says):
    for _ in range(5):
        assert says("5a", before(ranks)).startswith("✓ 5a passed")
        assert says("5c", behind(ranks)).startswith("✓ 5c passed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (before(lambda table: in_table(table) * (len(table) - 1)), "you counted tokens"),
        (before(lambda table: (table > table.diagonal()[:, None]).float().mean(1)), "divided by the number of all"),
        (before(lambda table: in_table(table) + 1), "where it should be"),
        (before(lambda table: in_table(table)[:-1]), ",); yours has ("),
    ],
)
def test_wrong_ranks_are_told_apart(answer, message, says):
    refuses(says, "5a", answer, message)


def test_ranks_by_hand():
    """The first word is highest, the second lowest, and the third ties with another and is below a third."""
    table, one = torch.tensor([[3.0, 1, 2], [4, 0, 4], [2, 9, 2]]), torch.eye(3)
    wanted = torch.tensor([0, 1, 0.5])
    torch.testing.assert_close(entry("5a").reference(one, one, one, table), wanted)
    torch.testing.assert_close(entry("5c").reference(one, table.T, one, torch.zeros(3), one, torch.ones(3)), wanted)


def test_5a_and_5c_ask_for_what_the_library_counts():
    vectors, W_V, W_O, W_U = drawn((30, 8), (8, 4), (4, 8), (8, 30))
    torch.testing.assert_close(
        entry("5a").reference(vectors, W_V, W_O, W_U), weights.own_rank(vectors @ W_V @ W_O @ W_U)
    )
    queries, keys, W_Q, b_Q, W_K, b_K = drawn((30, 8), (30, 8), (8, 4), (4,), (8, 4), (4,))
    scores = (queries @ W_Q + b_Q) @ (keys @ W_K + b_K).T
    torch.testing.assert_close(entry("5c").reference(queries, keys, W_Q, b_Q, W_K, b_K), weights.own_rank(scores))


# 5b

CHANCE, HIGH, LOW = torch.linspace(0, 1, 11), torch.linspace(0.7, 1, 11), torch.linspace(0, 0.1, 11)
COPIES = {"raw": torch.stack([CHANCE, CHANCE]), "effective": torch.stack([LOW, LOW / 10])}
UNTRAINED = {"raw": torch.stack([CHANCE]), "effective": torch.stack([CHANCE])}
AGAINST = {"raw": torch.stack([HIGH]), "effective": torch.stack([2 * LOW + 0.1])}


def predicted(raw, first):
    return {"raw": raw, "first layer": first}


@pytest.mark.parametrize(
    ("answer", "context", "words"),
    [
        (
            predicted("chance", "The word itself"),
            COPIES,
            "only when you give it vectors like those that the head reads",
        ),
        (predicted("chance", "the word itself"), COPIES, "and 0.009 (0.005 to 0.050 for single heads) on what"),
        (predicted("chance", "chance"), UNTRAINED, "is not what makes the heads copy"),
        (predicted("anything but", "between"), AGAINST, "is 0.850 (0.850 to 0.850 for single heads) on raw"),
    ],
)
def test_5b_takes_right_answers(answer, context, words, says):
    printed = says("5b", answer, **context)
    assert printed.startswith("✓ 5b passed: ")
    assert words in printed


PREDICTED = [
    (predicted("the word itself", "the word itself"), COPIES, "never reads a raw embedding, because earlier layers"),
    (predicted("anything but", "the word itself"), COPIES, "Training makes a head fit what it reads"),
    (predicted("the word itself", "chance"), AGAINST, "the median own rank is 0.850"),
    (predicted("chance", "chance"), COPIES, "This is nearer to what the head reads"),
    (predicted("chance", "the word itself"), UNTRAINED, "do not copy what the first layer makes"),
    (predicted("low", "chance"), COPIES, "the options are 'the word itself', 'chance', 'anything but', 'between'"),
    (predicted("chance", None), COPIES, "still empty: `first layer`"),
    (predicted("chance", "chance"), {"raw": torch.zeros(0, 9), "effective": torch.zeros(0, 9)}, "no induction heads"),
]


@pytest.mark.parametrize(("answer", "context", "message"), PREDICTED)
def test_5b_names_the_mistake(answer, context, message, says):
    refuses(says, "5b", answer, message, **context)


# 5d


def by_one_decomposition(A, B):
    _, sizes, directions = torch.linalg.svd(A, full_matrices=False)
    return torch.linalg.svdvals(sizes[:, None] * directions @ B)


def by_eigenvalues(A, B):
    return torch.linalg.eigvals(A.T @ A @ B @ B.T).real.sqrt().sort(descending=True).values


def from_the_product(A, B):
    return torch.linalg.svdvals(A @ B)[: len(B)]


@pytest.mark.parametrize("answer", [by_one_decomposition, by_eigenvalues])
def test_5d_takes_right_answers(answer, says):
    assert says("5d", answer).startswith("✓ 5d passed")


def test_5d_makes_no_product(says):
    refuses(says, "5d", from_the_product, "raised RuntimeError when given `A` = a tensor of shape (4300000, 2)")


def test_5d_asks_for_the_products_own_values():
    A, B = drawn((9, 3), (3, 6))
    found = entry("5d").reference(A, B)
    for wanted in (from_the_product(A, B), FactoredMatrix(A, B).S[:3]):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


# 5e


def with_numpy(sample, simulated):
    """Standard deviations divide by n here, and scipy measures the gaps."""

    def gap(values):
        return kstest((values - values.mean()) / values.std(), "norm").statistic

    sample, simulated = np.asarray(sample), np.asarray(simulated)
    return np.mean([gap(each) >= gap(sample) for each in simulated])


def in_one_table(sample, simulated):
    table = torch.cat([sample[None], simulated])
    table = ((table - table.mean(1, keepdim=True)) / table.std(1, keepdim=True)).sort(1).values
    normal, steps = torch.special.ndtr(table), torch.arange(table.shape[1] + 1) / table.shape[1]
    gaps = torch.maximum((steps[1:] - normal).amax(1), (normal - steps[:-1]).amax(1))
    return (gaps[1:] > gaps[0]).float().mean()


@pytest.mark.parametrize("answer", [with_numpy, in_one_table])
def test_5e_takes_right_answers(answer, says):
    for _ in range(2):
        assert says("5e", answer).startswith("✓ 5e passed")


def test_5e_is_right_where_the_ordinary_p_is_not():
    """Of normal samples a tenth has p below 0.1; the ordinary p-value is hardly ever so low. A skewed sample has 0."""
    simulated, samples = drawn((400, 20), (300, 20))
    found = torch.stack([entry("5e").reference(sample, simulated) for sample in samples])
    ordinary = [kstest((sample - sample.mean()) / sample.std(), "norm").pvalue for sample in samples]
    assert 0.04 < (found < 0.1).double().mean() < 0.18
    assert np.mean(np.array(ordinary) < 0.1) < 0.02
    assert entry("5e").reference((2 * samples[0]).exp(), simulated) < 0.01


def test_5e_is_scipys_monte_carlo():
    sample, simulated = drawn((15,), (2000, 15))
    scipys = goodness_of_fit(norm, sample.numpy(), statistic="ks", n_mc_samples=2000, rng=np.random.default_rng(3))
    assert entry("5e").reference(sample, simulated).item() == pytest.approx(scipys.pvalue, abs=0.05)


# 5f


def turned(W_Q, b_Q, W_K, b_K):
    turn = torch.linalg.qr(torch.randn(len(b_Q), len(b_Q))).Q
    return W_Q @ turn, b_Q @ turn, W_K @ turn, b_K @ turn


def skew_of(b):
    return torch.ones(len(b), len(b)).tril() + torch.eye(len(b))


def skewed(W_Q, b_Q, W_K, b_K):
    """No rotation; and the bias of the keys is left alone, which adds the same to all scores of a query."""
    skew = torch.ones(len(b_Q), len(b_Q)) + torch.eye(len(b_Q)).cumsum(0).T
    return W_Q @ skew, b_Q @ skew, W_K @ skew.inverse().T, b_K


@pytest.mark.parametrize("answer", [turned, skewed])
def test_5f_takes_right_answers(answer, says, storybook, folders):
    printed = says("5f", answer, model=storybook[0])
    assert printed.startswith("✓ 5f passed: two heads got other numbers")
    assert says("5f", answer, model=storybook[0]) == printed  # whatever was drawn
    for family in ("gpt2", "gpt-neo", "llama"):
        model = load_model(str(folders[family]), device="cpu")[0]
        state = {name: each.clone() for name, each in model.state_dict().items()}
        assert says("5f", answer, model=model).startswith("✓ 5f passed")
        assert all(torch.equal(each, state[name]) for name, each in model.state_dict().items())
        assert not any(module._forward_hooks for module in model.modules())


def for_16_columns_only(Q, b, K, c):
    return turned(Q, b, K, c) if len(b) == 16 else (Q.flip(1), b, K, c)


UNDISGUISED = [
    (lambda Q, b, K, c: (Q, b, K, c), "nothing is disguised yet"),
    (lambda Q, b, K, c: (2 * Q, 2 * b, K / 2, c / 2), "no old one is left"),
    (lambda Q, b, K, c: (-Q, -b, -K, -c), "no old one is left"),
    (lambda Q, b, K, c: (Q.flip(1), b.flip(0), K.flip(1), c.flip(0)), "no old one is left"),
    (lambda Q, b, K, c: (Q @ skew_of(b), b @ skew_of(b), K, c), "left the keys as they were"),
    (lambda Q, b, K, c: (Q @ skew_of(b), b @ skew_of(b), K @ skew_of(b), c), "but your R is not one"),
    (lambda Q, b, K, c: (Q @ skew_of(b), b @ skew_of(b), K @ skew_of(b).inverse(), c), "the inverse has to be"),
    (lambda Q, b, K, c: (Q @ skew_of(b), b, K @ skew_of(b).inverse().T, c), "what b_Q adds to the scores is not"),
    (lambda Q, b, K, c: (Q @ skew_of(b), b, K @ skew_of(b).T, c), "scores its keys in another way"),
    (lambda Q, b, K, c: (torch.randn_like(Q), b, K, c), "not made of the head's old ones"),
    (lambda Q, b, K, c: (*turned(Q, b, K, c)[:2], torch.randn_like(K), c), "not made of the head's old ones"),
    (for_16_columns_only, "Does your change work for any size of matrix"),
    (lambda Q, b, K, c: (Q.T, b, K.T, c), "W_Q has shape (40, 16), but your new one has (16, 40)"),
    (lambda Q, b, K, c: Q, "should return four tensors"),
    (lambda Q, b, K, c: (Q, b, K, "none"), "the new b_K should be a number or a tensor"),
    (lambda Q, b, K, c: (Q * torch.nan, b, K, c), "your new W_Q holds NaN"),
]


@pytest.mark.parametrize(("answer", "message"), UNDISGUISED)
def test_5f_names_the_mistake(answer, message, says, storybook):
    refuses(says, "5f", answer, message, model=storybook[0])


@pytest.mark.parametrize(("exercise", "more"), [("5f", {}), ("5g", {"measured": torch.ones(2, 4)})])
def test_a_bridge_in_place_of_a_model_is_the_callers_mistake(exercise, more, says, folders):
    bridge, _ = load_bridge(str(folders["gpt2"]), device="cpu")
    with pytest.raises(ModelError, match="and not a bridge"):
        says(exercise, turned, model=bridge, **more)


# 5g


def pattern(positions, norm, W_Q, b_Q, W_K, b_K, masked=True):
    x = norm(positions)
    q, k = (x @ W + b[:, None] for W, b in ((W_Q, b_Q), (W_K, b_K)))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    ahead = torch.ones_like(scores).triu(1).bool()
    return scores.masked_fill(ahead, -torch.inf).softmax(-1) if masked else scores.softmax(-1)


def looks_back(*given):
    return pattern(*given).diagonal(-1, 1, 2).mean(-1)


def is_first_choice(*given):
    """How many positions look at the one before more than anywhere else, and by how much on average: an own score."""
    found = pattern(*given)
    places = torch.arange(1, found.shape[-1])
    wins = (found[:, 1:].argmax(-1) == places - 1).double().mean(-1)
    return wins + found.diagonal(-1, 1, 2).log().clamp_min(-50).mean(-1) / 100


@pytest.fixture(scope="module")
def behaviour(storybook):
    model, tokenizer = storybook
    batches = ih.token_batches(tokenizer, ih.passages()[:8], context=model.config.max_position_embeddings, size=1)
    return {"model": model, "measured": attention.survey(model, batches)["previous_token"]}


@pytest.mark.parametrize("answer", [looks_back, is_first_choice])
def test_5g_takes_right_answers(answer, says, behaviour):
    for _ in range(5):
        assert says("5g", answer, **behaviour).startswith("✓ 5g passed")


def itself_and_two_back(*given):
    """Heads that look back come after both, and before those that look nowhere."""
    found = pattern(*given)
    return sum(part * found.diagonal(lag, 1, 2).mean(-1) for lag, part in [(0, 1), (-2, 1), (-1, 0.3)])


def without(**left_out):
    """looks_back with some of its inputs replaced."""

    def answer(positions, norm, W_Q, b_Q, W_K, b_K):
        given = {"positions": positions, "norm": norm, "W_Q": W_Q, "b_Q": b_Q, "W_K": W_K, "b_K": b_K}
        given |= {name: change(given[name]) for name, change in left_out.items()}
        return looks_back(*given.values())

    return answer


NOT_BACK = [
    (lambda *given: pattern(*given).diagonal(0, 1, 2).mean(-1), "the diagonal below it is the position before"),
    (lambda *given: pattern(*given).diagonal(-2, 1, 2).mean(-1), "one too far"),
    (lambda p, norm, Q, b, K, c: looks_back(p, norm, K, c, Q, b), "exchange queries and keys"),
    (lambda *given: pattern(*given, masked=False).diagonal(1, 1, 2).mean(-1), "the diagonal above the main one"),
    (lambda *given: -looks_back(*given), "A higher score should mean"),
    (itself_and_two_back, " gets the highest score"),
    (lambda *given: 0 * looks_back(*given), "a head that prefers no position gets as high"),
    (lambda *given: pattern(*given, masked=False).diagonal(-1, 1, 2).mean(-1), "Mask what lies ahead"),
    (without(b_Q=torch.zeros_like), "although its b_Q sends"),
    (without(norm=lambda norm: lambda x: x), "What does the layer do to it first"),
    (lambda *given: looks_back(*given).mean(), "one number for each head"),
    (lambda *given: looks_back(*given) / 0 * 0, "NaN or infinite"),
]


@pytest.mark.parametrize(("answer", "message"), NOT_BACK)
def test_5g_names_the_mistake(answer, message, says, behaviour):
    for _ in range(3):
        refuses(says, "5g", answer, message, **behaviour)


ELSEWHERE = ["orders the heads in another way", "learns no position embedding"]


def test_5g_holds_the_order_against_behaviour_where_there_are_positions(says, behaviour, folders):
    opposite = {"model": behaviour["model"], "measured": 1 - behaviour["measured"]}
    refuses(says, "5g", looks_back, ELSEWHERE[0], **opposite)
    model = load_model(str(folders["llama"]), device="cpu")[0]
    refuses(says, "5g", looks_back, ELSEWHERE[1], model=model, measured=torch.ones(2, 4))


def kept(scores):
    def answer(*given):
        scores.append(looks_back(*given))
        return scores[-1]

    return answer


def test_5g_ranks_are_spearmans(says, behaviour):
    scores, measured = [], behaviour["measured"].round(decimals=1)  # some heads tie
    printed = says("5g", kept(scores), model=behaviour["model"], measured=measured)
    assert f"rank correlation of {spearmanr(scores[-1], measured[0]).statistic:.3f}" in printed


def test_5g_an_order_of_heads_that_all_tie_agrees_with_none(says, behaviour):
    places = behaviour["model"].config.max_position_embeddings
    refuses(says, "5g", lambda *g: looks_back(*g) * (len(g[0]) < places), "rank correlation 0.000", **behaviour)


def test_5g_reads_models_whose_queries_have_a_matrix_of_their_own(says, folders):
    scores, model = [], load_model(str(folders["gpt-neo"]), device="cpu")[0]
    says("5g", kept(scores), model=model, measured=torch.ones(2, 4))
    bridge, layer_norm = load_bridge(str(folders["gpt-neo"]), device="cpu")[0], model.transformer.h[0].ln_1
    none = torch.zeros(4, bridge.cfg.d_head)  # GPT-Neo's queries and keys have no bias
    with torch.no_grad():
        own = looks_back(weights.position_embedding(model), layer_norm, bridge.W_Q[0], none, bridge.W_K[0], none)
    torch.testing.assert_close(scores[-1], own, atol=1e-5, rtol=1e-5)


def test_findings_of_an_untrained_model_blame_nobody(says):
    model = load_model("storybook", device="cpu", untrained=True)[0]
    assert says("5f", turned, model=model).startswith("✓")
    assert "orders the heads in another way" in says("5g", looks_back, model=model, measured=torch.ones(6, 8))


SAID = {
    "5b": [words for *_, words in PREDICTED],
    "5f": [words for _, words in UNDISGUISED],
    "5g": [*(words for _, words in NOT_BACK), *ELSEWHERE],
}


@pytest.mark.parametrize("exercise", SAID)
def test_every_mistake_of_a_finding_was_made_above(exercise):
    assert all(any(words in message for words in SAID[exercise]) for message in entry(exercise).mistakes)
