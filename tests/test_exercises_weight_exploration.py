"""What the checkers of notebook 05 say to right answers, to known mistakes, and to blanks."""

import pytest
import torch
from scipy.stats import spearmanr

from interp_helpers import attention, exercises, load_bridge, load_model, weights


def says(capsys, exercise, answer, **context):
    exercises.check(exercise, answer, **context)
    return capsys.readouterr().out


def named(capsys, exercise, answer, message, **context):
    printed = says(capsys, exercise, answer, **context)
    assert printed.startswith(f"✗ {exercise} not yet: "), printed
    assert message in printed


@pytest.fixture(scope="module")
def read(storybook):
    """What the notebook's cells hand to the checkers."""
    model = storybook[0]
    matrices = torch.stack([block.attn.c_attn.weight.detach() for block in model.transformer.h])
    norms = torch.stack([block.ln_1.weight.detach() for block in model.transformer.h])
    return {"matrices": matrices, "norms": norms, "positions": weights.position_embedding(model)}


def not_begun(*given):
    """Whatever the function is given."""


@pytest.mark.parametrize(
    ("exercise", "answer", "context"),
    [
        ("5a", not_begun, {}),
        ("5b", None, {"positions": torch.eye(4)}),
        ("5c", not_begun, {}),
        ("5d", {"layer": None, "dimension": None}, {"matrices": None, "norms": None}),
        ("5e", not_begun, {}),
        ("5f", not_begun, {"model": None}),
        ("5g", not_begun, {"model": None, "measured": None}),
    ],
)
def test_blanks_are_not_attempted(exercise, answer, context, capsys):
    assert says(capsys, exercise, answer, **context) == f"○ {exercise} not attempted\n"


# 5a


def footprint(tensors):
    stored = {tensor.data_ptr(): tensor for tensor in tensors.values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in stored.values())


def footprint_by_storage(tensors):
    return sum(
        {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors.values()}.values()
    )


@pytest.mark.parametrize("answer", [footprint, footprint_by_storage])
def test_5a_takes_right_answers(answer, capsys, storybook):
    assert says(capsys, "5a", answer).startswith("✓ 5a passed")
    assert "26.203 MiB" in says(capsys, "5a", answer, model=storybook[0])


def size(tensors):
    return sum(each.numel() * each.element_size() for each in tensors)


def by_value(tensors):
    kept = []
    for each in tensors.values():
        if not any(each.shape == other.shape and torch.equal(each.float(), other.float()) for other in kept):
            kept.append(each)
    return size(kept)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda tensors: size(tensors.values()), "makes a new tensor object"),
        (lambda tensors: size({id(each): each for each in tensors.values()}.values()), "makes a new tensor object"),
        (lambda tensors: size({(t.data_ptr(), t.shape): t for t in tensors.values()}.values()), "turned round"),
        (lambda tensors: size({each.shape: each for each in tensors.values()}.values()), "of one shape"),
        (by_value, "equal numbers"),
        (lambda tensors: 4 * sum({t.data_ptr(): t.numel() for t in tensors.values()}.values()), "four bytes"),
        (lambda tensors: sum({t.data_ptr(): t.numel() for t in tensors.values()}.values()), "How many bytes"),
        (lambda tensors: footprint(tensors) - size([tensors["words"]]), "altogether"),
        (lambda tensors: "much", "should be a number"),
    ],
)
def test_5a_names_the_mistake(answer, message, capsys):
    named(capsys, "5a", answer, message)


# 5b


@pytest.mark.parametrize("answer", ["next but one", "Next but one "])
def test_5b_takes_right_answers(answer, capsys, read):
    printed = says(capsys, "5b", answer, positions=read["positions"])
    assert printed.startswith("✓ 5b passed: mean cosines 0.492 (1 apart), 0.534 (2 apart)")


@pytest.mark.parametrize(
    ("answer", "message"),
    [("next", "said 'next'. The"), ("far", "said 'far'. The"), ("none", "up, down, up"), (2, "the options are 'next'")],
)
def test_5b_names_the_mistake(answer, message, capsys, read):
    named(capsys, "5b", answer, message, positions=read["positions"])


def test_5b_measures_whatever_table_it_is_given(capsys):
    noise = torch.randn(64, 500, generator=torch.Generator().manual_seed(0))
    wave = torch.randn(32, 50, generator=torch.Generator().manual_seed(0)).tile(2, 1)
    angles = torch.arange(64)[:, None] / 10000 ** (torch.arange(0, 32, 2) / 32)
    sinusoids = torch.cat([angles.sin(), angles.cos()], 1)
    for right, positions in {"next": sinusoids, "none": noise, "far": wave}.items():
        assert says(capsys, "5b", right, positions=positions).startswith("✓ 5b passed")
        assert says(capsys, "5b", "next but one", positions=positions).startswith("✗ 5b not yet")


# 5c


def kurtosis(matrix, width, correction=0, centre=True):
    blocks = matrix.unflatten(1, (-1, width))
    blocks = blocks - blocks.mean((0, 2), keepdim=True) if centre else blocks
    return (blocks / blocks.std((0, 2), keepdim=True, correction=correction)).pow(4).mean() - 3


def kurtosis_by_scipy(matrix, width):
    from scipy import stats

    found = [stats.kurtosis(block.flatten().numpy()) for block in matrix.split(width, 1)]
    return sum(found) / len(found)


@pytest.mark.parametrize("answer", [kurtosis, kurtosis_by_scipy, lambda *given: kurtosis(*given, correction=1)])
def test_5c_takes_right_answers(answer, capsys, read):
    assert says(capsys, "5c", answer).startswith("✓ 5c passed")
    printed = says(capsys, "5c", answer, matrices=read["matrices"], width=32)
    assert "0: 0.704 to 0.136" in printed
    assert "Of 6 layers with long tails, 5 keep less than half" in printed


@pytest.mark.parametrize(("count", "message"), [(716, "Of 1 layers with long tails"), (738, "No layer had tails")])
def test_5c_calls_tails_long_beyond_three_standard_errors(count, message, capsys):
    """Of 2400 numbers, `count` are 1 or -1: a kurtosis of 3.5 times its standard error, 0.1, or of 2.5 times."""
    matrix = (torch.arange(2400) < count).double() * (1 - torch.arange(2400) % 2 * 2)
    assert message in says(capsys, "5c", kurtosis, matrices=matrix.view(1, 40, 60), width=30)


def fourth(values, dims, correction):
    values = values - values.mean(dims, keepdim=True)
    return (values / values.std(dims, keepdim=True, correction=correction)).pow(4).mean() - 3


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda m, width, c: fourth(m, (0, 1), c), "whole matrix on one scale"),
        (lambda m, width, c: kurtosis(m, width, c) + 3, "left the 3 in"),
        (lambda m, width, c: fourth(m, 0, c), "every column on a scale"),
        (lambda m, width, c: fourth(m, 1, c), "every row on a scale"),
        (lambda m, width, c: fourth(m.reshape(m.shape[1] // width, -1), 1, c), "reshape mixed"),
        (lambda m, width, c: fourth(m.unflatten(0, (-1, width)), (1, 2), c), "blocks of rows"),
    ],
)
def test_5c_names_the_mistake(answer, message, correction, capsys):
    named(capsys, "5c", lambda matrix, width: answer(matrix, width, correction), message)


def test_5c_names_means_and_powers(capsys):
    def not_centred(matrix, width):
        blocks = matrix.unflatten(1, (-1, width))
        return (blocks / blocks.std((0, 2), keepdim=True)).pow(4).mean() - 3

    def skewness(matrix, width):
        blocks = matrix.unflatten(1, (-1, width))
        blocks = blocks - blocks.mean((0, 2), keepdim=True)
        return (blocks / blocks.std((0, 2), keepdim=True)).pow(3).mean()

    named(capsys, "5c", not_centred, "keep their own means")
    named(capsys, "5c", skewness, "skewness")


# 5d


def hidden(read):
    """All right answers: (layer, dimension)."""
    bare = read["matrices"].var(2)
    scaled = (read["matrices"] * read["norms"][:, :, None]).var(2)
    for layer in range(len(bare)):
        for dimension in bare[layer].topk(10).indices.tolist():
            if (scaled[layer] > scaled[layer, dimension]).sum() >= len(scaled[layer]) / 2:
                yield layer, dimension


def test_5d_takes_all_right_answers(capsys, read):
    context = {name: read[name] for name in ("matrices", "norms")}
    found = list(hidden(read))
    assert len(found) > 1
    for layer, dimension in found:
        answer = {"layer": torch.tensor(layer), "dimension": dimension}
        assert says(capsys, "5d", answer, **context).startswith("✓ 5d passed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"layer": 0, "dimension": 181}, "it stays large"),
        ({"layer": 3, "dimension": 0}, "look among the 10 largest"),
        ({"layer": 6, "dimension": 0}, "no layer 6"),
        ({"layer": 0, "dimension": 256}, "no dimension 256"),
        ({"layer": 0, "dimension": -1}, "no dimension -1"),
        ({"layer": -1, "dimension": 0}, "no layer -1"),
        ({"layer": 0.5, "dimension": 1}, "whole numbers"),
        ({"layer": torch.nan, "dimension": 1}, "whole numbers"),
        ({"layer": "first", "dimension": 1}, "the layer should be a number"),
        ((3, 137), "is a dictionary"),
    ],
)
def test_5d_names_the_mistake(answer, message, capsys, read):
    named(capsys, "5d", answer, message, matrices=read["matrices"], norms=read["norms"])


def test_5d_an_untrained_models_norms_hide_nothing(capsys, read):
    for layer, dimension in hidden(read):
        answer = {"layer": layer, "dimension": dimension}
        named(capsys, "5d", answer, "it stays large", matrices=read["matrices"], norms=torch.ones(6, 256))


# 5e


def circuit(c_attn, c_proj, head, heads):
    d_head = len(c_proj) // heads
    here = slice(head * d_head, (head + 1) * d_head)
    return c_attn.chunk(3, dim=1)[2][:, here] @ c_proj[here]


def circuit_by_silence(c_attn, c_proj, head, heads):
    silent = torch.zeros(heads, len(c_proj) // heads, dtype=c_attn.dtype)
    silent[head] = 1
    return (c_attn[:, 2 * len(c_proj) :] * silent.flatten()) @ c_proj


@pytest.mark.parametrize("answer", [circuit, circuit_by_silence])
def test_5e_takes_right_answers(answer, capsys):
    assert says(capsys, "5e", answer).startswith("✓ 5e passed")


def cut(c_attn, head, heads, block):
    width = c_attn.shape[1] // 3
    d_head = width // heads
    return c_attn[:, block * width + head * d_head : block * width + (head + 1) * d_head]


def rows(c_proj, head, heads):
    return c_proj.unflatten(0, (heads, -1))[head]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda a, p, head, heads: cut(a, head, heads, 0) @ rows(p, head, heads), "you cut Q, not V"),
        (lambda a, p, head, heads: cut(a, head, heads, 1) @ rows(p, head, heads), "you cut K, not V"),
        (
            lambda a, p, head, heads: a.reshape(len(a), heads, 3, len(p) // heads)[:, head, 2] @ rows(p, head, heads),
            "the reshape mixes Q, K and V",
        ),
        (
            lambda a, p, head, heads: a.chunk(3, 1)[2].reshape(len(a), -1, heads)[:, :, head] @ rows(p, head, heads),
            "in strides",
        ),
        (lambda a, p, head, heads: circuit(a, p, head - 1, heads), "heads count from 0"),
        (lambda a, p, head, heads: cut(a, head, heads, 2) @ rows(p, head - 1, heads), "O from another"),
        (lambda a, p, head, heads: a.chunk(3, 1)[2] @ p, "all heads at once"),
        (lambda a, p, head, heads: circuit(a, p, head, heads).T, "your matrix is transposed"),
        (lambda a, p, head, heads: cut(a, head, heads, 2) @ rows(p.T, head, heads), "nothing is to be turned"),
        (
            lambda a, p, head, heads: cut(a, head, heads, 2) @ p.unflatten(1, (heads, -1))[:, head].T,
            "you cut c_proj by columns",
        ),
    ],
)
def test_5e_names_the_mistake(answer, message, capsys):
    named(capsys, "5e", answer, message)


# 5f


def turned(W_Q, b_Q, W_K, b_K):
    turn = torch.linalg.qr(torch.randn(len(b_Q), len(b_Q))).Q
    return W_Q @ turn, b_Q @ turn, W_K @ turn, b_K @ turn


def skewed(W_Q, b_Q, W_K, b_K):
    """No rotation; and the bias of the keys is left alone, which adds the same to all scores of a query."""
    skew = torch.ones(len(b_Q), len(b_Q)) + torch.eye(len(b_Q)).cumsum(0).T
    return W_Q @ skew, b_Q @ skew, W_K @ skew.inverse().T, b_K


@pytest.mark.parametrize("answer", [turned, skewed])
def test_5f_takes_right_answers(answer, capsys, storybook, folders):
    assert says(capsys, "5f", answer, model=storybook[0]).startswith("✓ 5f passed")
    for family in ("gpt2", "gpt-neo", "llama"):
        model = load_model(str(folders[family]), device="cpu")[0]
        before = {name: each.clone() for name, each in model.state_dict().items()}
        assert says(capsys, "5f", answer, model=model).startswith("✓ 5f passed")
        assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
        assert not any(module._forward_hooks for module in model.modules())


def skew_of(b):
    return torch.ones(len(b), len(b)).tril() + torch.eye(len(b))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda Q, b, K, c: (Q, b, K, c), "nothing is disguised yet"),
        (lambda Q, b, K, c: (2 * Q, 2 * b, K / 2, c / 2), "none is left"),
        (lambda Q, b, K, c: (-Q, -b, -K, -c), "none is left"),
        (lambda Q, b, K, c: (Q.flip(1), b.flip(0), K.flip(1), c.flip(0)), "none is left"),
        (lambda Q, b, K, c: (Q @ skew_of(b), b @ skew_of(b), K, c), "left the keys"),
        (lambda Q, b, K, c: (Q @ skew_of(b), b @ skew_of(b), K @ skew_of(b), c), "yours is none"),
        (lambda Q, b, K, c: (Q @ skew_of(b), b @ skew_of(b), K @ skew_of(b).inverse(), c), "stands transposed"),
        (lambda Q, b, K, c: (Q @ skew_of(b), b, K @ skew_of(b).inverse().T, c), "x @ W_Q + b_Q"),
        (lambda Q, b, K, c: (Q @ skew_of(b), b, K @ skew_of(b).T, c), "scores its keys in another way"),
        (lambda Q, b, K, c: (torch.randn_like(Q), b, K, c), "not made of the head's old ones"),
        (lambda Q, b, K, c: (*turned(Q, b, K, c)[:2], torch.randn_like(K), c), "not made of the head's old ones"),
        (lambda Q, b, K, c: (Q.T, b, K.T, c), "W_Q came as (40, 16)"),
        (lambda Q, b, K, c: Q, "return four tensors"),
        (lambda Q, b, K, c: (Q * torch.nan, b, K, c), "W_Q holds NaN"),
    ],
)
def test_5f_names_the_mistake(answer, message, capsys, storybook):
    named(capsys, "5f", answer, message, model=storybook[0])


def test_5f_an_answer_for_one_size_only_is_told_so(capsys, storybook):
    def sixteen(W_Q, b_Q, W_K, b_K):
        return turned(W_Q, b_Q, W_K, b_K) if len(b_Q) == 16 else (W_Q.flip(1), b_Q, W_K, b_K)

    named(capsys, "5f", sixteen, "any size of matrix", model=storybook[0])


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
    import interp_helpers as ih

    model, tokenizer = storybook
    batches = ih.token_batches(tokenizer, ih.passages()[:8], context=model.config.max_position_embeddings, size=1)
    return {"model": model, "measured": attention.survey(model, batches)["previous_token"]}


@pytest.mark.parametrize("answer", [looks_back, is_first_choice])
def test_5g_takes_right_answers(answer, capsys, behaviour):
    for _ in range(5):
        assert says(capsys, "5g", answer, **behaviour).startswith("✓ 5g passed")


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


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *given: pattern(*given).diagonal(0, 1, 2).mean(-1), "the main diagonal"),
        (lambda *given: pattern(*given).diagonal(-2, 1, 2).mean(-1), "one step too far"),
        (lambda p, norm, Q, b, K, c: looks_back(p, norm, K, c, Q, b), "queries and keys exchanged"),
        (lambda *given: pattern(*given, masked=False).diagonal(1, 1, 2).mean(-1), "queries and keys exchanged"),
        (lambda *given: -looks_back(*given), "Higher should be better"),
        (itself_and_two_back, " comes first"),
        (lambda *given: pattern(*given, masked=False).diagonal(-1, 1, 2).mean(-1), "Mask what lies ahead"),
        (without(b_Q=torch.zeros_like), "were it not for b_Q"),
        (without(norm=lambda norm: lambda x: x), "what does the layer do to it first"),
        (lambda *given: looks_back(*given).mean(), "one number a head"),
        (lambda *given: looks_back(*given) / 0 * 0, "NaN or infinite"),
    ],
)
def test_5g_names_the_mistake(answer, message, capsys, behaviour):
    for _ in range(3):
        named(capsys, "5g", answer, message, **behaviour)


def test_5g_holds_the_order_against_behaviour_where_there_are_positions(capsys, behaviour, folders):
    upside_down = 1 - behaviour["measured"]
    named(capsys, "5g", looks_back, "differently from what they do", model=behaviour["model"], measured=upside_down)
    model = load_model(str(folders["llama"]), device="cpu")[0]
    named(capsys, "5g", looks_back, "learns no position embedding", model=model, measured=torch.ones(2, 4))


def test_5g_ranks_are_spearmans(capsys, behaviour):
    scores = []

    def kept(*given):
        scores.append(looks_back(*given))
        return scores[-1]

    measured = behaviour["measured"].round(decimals=1)  # some heads tie
    printed = says(capsys, "5g", kept, model=behaviour["model"], measured=measured)
    assert f"rank correlation of {spearmanr(scores[-1], measured[0]).statistic:.3f}" in printed


def test_5g_an_order_of_heads_that_all_tie_agrees_with_none(capsys, behaviour):
    places = behaviour["model"].config.max_position_embeddings
    named(capsys, "5g", lambda *g: looks_back(*g) * (len(g[0]) < places), "rank correlation 0.000", **behaviour)


def test_5g_reads_models_whose_queries_have_a_matrix_of_their_own(capsys, folders):
    scores, model = [], load_model(str(folders["gpt-neo"]), device="cpu")[0]

    def kept(*given):
        scores.append(looks_back(*given))
        return scores[-1]

    says(capsys, "5g", kept, model=model, measured=torch.ones(2, 4))
    bridge, norm = load_bridge(str(folders["gpt-neo"]), device="cpu")[0], model.transformer.h[0].ln_1
    none = torch.zeros(4, bridge.cfg.d_head)  # GPT-Neo's queries and keys have no bias
    with torch.no_grad():
        own = looks_back(weights.position_embedding(model), norm, bridge.W_Q[0], none, bridge.W_K[0], none)
    torch.testing.assert_close(scores[-1], own, atol=1e-5, rtol=1e-5)


def test_no_checker_fails_on_an_untrained_model(capsys):
    model = load_model("storybook", device="cpu", untrained=True)[0]
    matrices = torch.stack([block.attn.c_attn.weight.detach() for block in model.transformer.h])
    assert says(capsys, "5a", footprint, model=model).startswith("✓")
    assert says(capsys, "5b", "none", positions=weights.position_embedding(model)).startswith("✓")
    assert "nothing to take apart" in says(capsys, "5c", kurtosis, matrices=matrices, width=32)
    assert says(capsys, "5f", turned, model=model).startswith("✓")
    assert says(capsys, "5g", looks_back, model=model, measured=torch.ones(6, 8)).startswith("✗")
