"""Exercises of notebook 05: ranks read off the weights, products of factors, a fair p-value, and heads in disguise."""

from types import SimpleNamespace

import torch

from .. import weights
from ..hooks import layout
from .judging import Exercise, as_tensor, choose, fresh, parts, require, require_function, same

# 5a and 5c: for each token, the share of the other tokens that get more than the token itself. Ranks are judged on a
# table (token, token) whose diagonal holds what each token gets itself.


def _share_above(table):
    """(token,), cell by cell."""
    others = len(table) - 1
    return torch.tensor([sum((value > row[token]).item() for value in row) / others for token, row in enumerate(table)])


def _places(table):
    """For each token, the place at which it stands when its row is sorted, where equal numbers get different places."""
    return table.argsort(dim=1, descending=True, stable=True).argsort(dim=1).diagonal()


def _count_as_high(table):
    """How many tokens get as much as the token itself or more; the token itself is one of them."""
    return (table >= table.diagonal()[:, None]).sum(1)


def _rank_mistakes(table_of, number):
    """{message: a function that makes the mistake}, for ranks in table_of(*arguments); number: what it holds."""
    slips = {
        "you counted tokens. Divide the count by the number of other tokens, to make it a share.": lambda table: (
            _share_above(table) * (len(table) - 1)
        ),
        "you divided by the number of all tokens. Divide by the number of the others, because a token is not compared "
        "with itself.": lambda table: _share_above(table) * (1 - 1 / len(table)),
        f"you counted the others that get a lower {number}. Count those that get a higher one, so that 0 is the best "
        "rank.": lambda table: _share_above(-table),
        "you counted the token itself. It is as high as itself, so `>=` counts it; use `>`.": lambda table: (
            _count_as_high(table) / (len(table) - 1)
        ),
        f"you counted an equal {number} as higher. Use `>` where you have `>=`.": lambda table: (
            (_count_as_high(table) - 1) / (len(table) - 1)
        ),
        "you took a number out of `argsort` as the rank. `argsort` says which token stands at each place, and not at "
        "which place a token stands.": lambda table: (
            table.argsort(dim=1, descending=True, stable=True).diagonal() / (len(table) - 1)
        ),
        f"you sorted to get the ranks. Sorting puts one of two equal {number}s before the other, but neither of them "
        "is higher. Compare with `>` and count.": lambda table: _places(table) / (len(table) - 1),
        "you averaged over the tokens. Return one number for each token.": lambda table: _share_above(table).mean(),
    }

    def on_its_table(slip):
        return lambda *given: slip(table_of(*given))

    return {message: on_its_table(slip) for message, slip in slips.items()}


def _multiples(generator, steps, *shape):
    """Random multiples of 1 / steps from -1 to 1. For powers of two up to 1024, 64-bit floats hold sums of products of
    four such numbers exactly, so equal ones stay equal, however an answer computes them."""
    return torch.randint(-steps, steps + 1, shape, generator=generator).double() / steps


# 5a: how high a word ranks itself. Answers: vectors (token, d_model), W_V (d_model, d_head), W_O (d_head, d_model) and
# W_U (d_model, token) -> (token,).


def _circuits(generator):
    """Small heads. In the first, all matrices are square, so that confused ones fit. In the last, many logits are
    equal."""
    for tokens, d_model, d_head, steps in [(8, 8, 8, 1024), (9, 5, 3, 1024), (40, 4, 2, 1)]:
        shapes = (tokens, d_model), (d_model, d_head), (d_head, d_model), (d_model, tokens)
        yield tuple(_multiples(generator, steps, *shape) for shape in shapes)


def _raised(vectors, W_V, W_O, W_U):
    return vectors @ W_V @ W_O @ W_U


OWN_RANK = Exercise(
    "5a",
    "How high does a word rank itself?",
    kind="Build",
    difficulty=3,
    points=3,
    reference=lambda *given: _share_above(_raised(*given)),
    inputs=_circuits,
    mistakes={
        **_rank_mistakes(_raised, "logit"),
        "you compared inside a column. A row of the logits belongs to the token that is read, and a column to the "
        "token whose logit is raised, so compare inside a row.": lambda *given: _share_above(_raised(*given).T),
        "you used W_O before W_V. A head reads with W_V and then writes with W_O.": lambda x, W_V, W_O, W_U: (
            _share_above(_raised(x, W_O, W_V, W_U))
        ),
        "you transposed W_V and W_O. Rows are inputs, so write `vectors @ W_V @ W_O`.": (
            lambda x, W_V, W_O, W_U: _share_above(_raised(x, W_V.T, W_O.T, W_U))
        ),
        "you left out W_O. W_V makes the value of the head, and W_O writes it into the stream, where W_U reads it.": (
            lambda x, W_V, W_O, W_U: _share_above(x @ W_V @ W_U)
        ),
        "you left out the head. What it reads goes through W_V and W_O before W_U turns it into logits.": (
            lambda x, W_V, W_O, W_U: _share_above(x @ W_U)
        ),
    },
    praise="your function compares each word's own logit with those of the other words, and it counts no equal logit "
    "as higher.",
)


# 5b: what the OV circuit is read on. Answers: {"raw": ..., "first layer": ...}.

RANKS = ["the word itself", "chance", "anything but", "between"]


def _named_rank(ranks):
    median = ranks.median()
    if median < 0.1:
        return "the word itself"
    if 0.25 <= median <= 0.75:
        return "chance"
    return "anything but" if median > 0.75 else "between"


def _in_numbers(ranks):
    low, high = ranks.median(dim=1).values.aminmax()
    return f"{ranks.median():.3f} ({low:.3f} to {high:.3f} for single heads)"


def _two_inputs(prediction, raw, effective):
    """What was said of each input, and its median own rank in words and in numbers. raw, effective: (head, token)."""
    said = [choose(each, RANKS) for each in parts(prediction, ["raw", "first layer"])]
    require(len(raw) > 0, "this model has no induction heads, so there is nothing to predict. Use 'storybook'.")
    facts = SimpleNamespace(said_raw=said[0], is_raw=_named_rank(raw), raw=_in_numbers(raw))
    facts.said_first, facts.is_first, facts.first = said[1], _named_rank(effective), _in_numbers(effective)
    return facts


_RAW = "on raw embeddings, the median own rank is {raw}, which is {is_raw!r}. "
_FIRST = "on what the first layer makes of each word, the median own rank is {first}, which is {is_first!r}. "
_BOTH = "the median own rank is {raw} on raw embeddings and {first} on what the first layer makes of each word. "
WHICH_INPUT = Exercise(
    "5b",
    "Which input?",
    kind="Read",
    difficulty=2,
    points=2,
    measure=_two_inputs,
    mistakes={
        _RAW
        + "An induction head does copy, but a head in a late layer never reads a raw embedding, because earlier layers "
        "have added to the stream. What its matrices do to vectors that it never gets says little about the head.": (
            lambda facts: facts.said_raw == "the word itself" != facts.is_raw
        ),
        _RAW + "Training makes a head fit what it reads, and a head in a late layer never reads a raw embedding.": (
            lambda facts: facts.said_raw != facts.is_raw
        ),
        _FIRST + "This is nearer to what the head reads, and copying means that the word's own logit is raised most.": (
            lambda facts: facts.said_first != facts.is_first == "the word itself"
        ),
        _FIRST + "In this model, the heads do not copy what the first layer makes of a word.": (
            lambda facts: facts.said_first != facts.is_first
        ),
    },
    praise={
        _BOTH + "The matrices are the same in both cases. A circuit says something about a head only when you give it "
        "vectors like those that the head reads.": lambda facts: facts.is_raw != facts.is_first == "the word itself",
        _BOTH + "In this model, the first layer is not what makes the heads copy.": lambda facts: True,
    },
)


# 5c: the keys after a word. Answers: queries and keys (token, d_model), W_Q (d_model, d_head), b_Q (d_head,), W_K and
# b_K alike -> (token,).


def _matches(generator):
    """Small heads with large biases. In the last, many scores are equal."""
    for tokens, d_model, d_head, steps in [(16, 6, 4, 1024), (14, 3, 5, 1024), (40, 6, 3, 1)]:
        shapes = [(tokens, d_model)] * 2 + [(d_model, d_head), (d_head,)] * 2
        yield tuple(_multiples(generator, steps, *shape) for shape in shapes)


def _scores(queries, keys, W_Q, b_Q, W_K, b_K):
    return (queries @ W_Q + b_Q) @ (keys @ W_K + b_K).T


PREFIX_RANK = Exercise(
    "5c",
    "Keys after a word",
    kind="Build",
    difficulty=4,
    points=4,
    reference=lambda *given: _share_above(_scores(*given)),
    inputs=_matches,
    mistakes={
        **_rank_mistakes(_scores, "score"),
        "you left out b_Q. A query is `queries @ W_Q + b_Q`, and what its bias adds to a score differs from key to "
        "key. (b_K adds the same to all scores of a query, so it changes no rank.)": lambda q, k, W_Q, b, W_K, c: (
            _share_above(_scores(q, k, W_Q, 0, W_K, c))
        ),
        "you compared queries. For one query, compare the scores of the keys, because a head chooses among keys.": (
            lambda *given: _share_above(_scores(*given).T)
        ),
        "you exchanged queries and keys. W_Q is for the word itself, and W_K for the position right after it.": (
            lambda queries, keys, *head: _share_above(_scores(keys, queries, *head))
        ),
        "you gave W_Q and b_Q to the keys, and W_K and b_K to the queries.": lambda q, k, W_Q, b, W_K, c: _share_above(
            _scores(q, k, W_K, c, W_Q, b)
        ),
        "you made the keys from the words themselves. That asks whether a word looks for its own copies. An induction "
        "head looks at the position right after a copy, so take the keys from `keys`.": lambda queries, keys, *head: (
            _share_above(_scores(queries, queries, *head))
        ),
    },
    praise="your function compares the keys right after each word for every query. The bias of the keys made no "
    "difference, because it adds the same to all scores of a query.",
)


# 5d: singular values from two factors. Answers: A (n, r) and B (r, m) -> (r,), the largest first.

# A product of this size in 64-bit numbers would take more than the 2^47 bytes that a process can have at all, so it
# fails at once on any machine and fills no memory.
LARGE = 4_300_000


def _factors(generator):
    """The first product is square, so that B @ A has a meaning too."""
    for n, r, m in [(7, 3, 7), (9, 4, 6), (5, 1, 8), (LARGE, 2, LARGE)]:
        yield tuple(torch.randn(*shape, generator=generator, dtype=torch.double) for shape in [(n, r), (r, m)])


def _triangle(matrix):
    return torch.linalg.qr(matrix, mode="r").R


def _by_triangles(A, B):
    """Columns of Q are orthonormal, so neither Q of the two changes a singular value."""
    return torch.linalg.svdvals(_triangle(A) @ _triangle(B.T).T)


def _values(A, B):
    return torch.linalg.svdvals(A), torch.linalg.svdvals(B)


FROM_FACTORS = Exercise(
    "5d",
    "Singular values from two factors",
    kind="Build",
    difficulty=4,
    points=4,
    reference=_by_triangles,
    inputs=_factors,
    mistakes={
        "you multiplied the singular values of A and of B. This is right only when the directions that A puts out are "
        "those that B takes in, one by one.": lambda A, B: torch.mul(*_values(A, B)),
        "you returned the sizes of eigenvalues, which B @ A has in common with A @ B. Singular values are other "
        "numbers unless the matrix is symmetric.": lambda A, B: (
            torch.linalg.eigvals(B @ A).abs().sort(descending=True).values
        ),
        "you returned squares. Singular values are the square roots of the eigenvalues of M.T @ M.": lambda A, B: (
            _by_triangles(A, B) ** 2
        ),
        "you took one square root too many. `svdvals` gives singular values already.": lambda A, B: (
            _by_triangles(A, B) ** 0.5
        ),
        "you returned the singular values of A alone. B changes them.": lambda A, B: _values(A, B)[0],
        "you returned the singular values of B alone. A changes them.": lambda A, B: _values(A, B)[1],
        "you multiplied by the triangle of B.T as it is. Transpose it, because B is the transpose of Q @ R, which is "
        "R.T @ Q.T.": lambda A, B: torch.linalg.svdvals(_triangle(A) @ _triangle(B.T)),
        "you decomposed B, whose Q stands on its left, between the two factors, where it changes the product. "
        "Decompose B.T, so that Q stands outside.": lambda A, B: torch.linalg.svdvals(_triangle(A) @ _triangle(B)),
        "your values are in another order. Return the largest first.": lambda A, B: _by_triangles(A, B).flip(0),
        "you returned as many values as the whole product has. Only r of them are not 0: return these.": lambda A, B: (
            torch.linalg.svdvals(A @ B)
        ),
    },
    praise=f"your function gives the singular values of a {LARGE:,} × {LARGE:,} matrix, which would take "
    f"{8 * LARGE**2 / 1e12:.0f} TB of memory.",
)


# 5e: a p-value that knows the fit. Answers: sample (n,) and simulated (draw, n) -> a number.


def _own_scale(values, correction=1):
    """Each sample less its own mean, over its own standard deviation."""
    return (values - values.mean(-1, keepdim=True)) / values.std(-1, keepdim=True, correction=correction)


def _above(ordered):
    """For each number in a row, how far the share of the row up to this number is above the normal's."""
    count = ordered.shape[-1]
    return torch.arange(1, count + 1) / count - torch.special.ndtr(ordered)


def _below(ordered):
    """The same just before the number, where the share is one step lower, and how far it is below the normal's."""
    return 1 / ordered.shape[-1] - _above(ordered)


def _ordered(values):
    return values.sort(dim=-1).values


def _gap(values):
    """The Kolmogorov-Smirnov statistic: the largest distance from the normal distribution function."""
    ordered = _ordered(values)
    return torch.maximum(_above(ordered), _below(ordered)).amax(-1)


def _as_far(sample, simulated, gap=_gap):
    return gap(simulated) >= gap(sample)


def _lilliefors(sample, simulated, gap=_gap):
    return _as_far(_own_scale(sample), _own_scale(simulated), gap).double().mean()


def _by_gap(gap):
    return lambda sample, simulated: _lilliefors(sample, simulated, gap)


def _share_as_far(sample, simulated):
    return _as_far(sample, simulated).double().mean()


def _ordinary(sample, simulated):
    from scipy.stats import kstest

    return kstest(_own_scale(sample), "norm").pvalue


P_MISTAKES = {
    "you did not standardise the simulated samples. The gap of the sample is small because its own mean and spread "
    "were used, so use those of each simulated sample as well. Otherwise p is too large.": lambda sample, simulated: (
        _share_as_far(_own_scale(sample), simulated)
    ),
    "you did not standardise the sample. Subtract its mean and divide by its standard deviation.": (
        lambda sample, simulated: _share_as_far(sample, _own_scale(simulated))
    ),
    "you standardised nothing. Subtract each sample's own mean and divide by its own standard deviation, in the "
    "simulated samples too.": _share_as_far,
    "you standardised the simulated samples with the mean and spread of the sample. Each has its own.": (
        lambda sample, simulated: _share_as_far(_own_scale(sample), (simulated - sample.mean()) / sample.std())
    ),
    "you standardised all simulated samples with one mean and one spread. Each has its own, so take them over the last "
    "axis.": lambda sample, simulated: _share_as_far(
        _own_scale(sample), _own_scale(simulated.flatten()).view_as(simulated)
    ),
    "you measured only i/n − F, how far the sample's distribution is above the normal's. It may also be below it, most "
    "of all just before each number, so measure F − (i−1)/n too.": _by_gap(
        lambda values: _above(_ordered(values)).amax(-1)
    ),
    "you measured only F − (i−1)/n, how far the sample's distribution is below the normal's. Measure i/n − F "
    "too.": _by_gap(lambda values: _below(_ordered(values)).amax(-1)),
    "you measured |i/n − F| only. The sample's distribution jumps at each number, and just before the jump it is "
    "(i−1)/n, so measure F − (i−1)/n too.": _by_gap(lambda values: _above(_ordered(values)).abs().amax(-1)),
    "you did not sort. i/n is the share of the sample up to the i-th smallest number.": _by_gap(
        lambda values: torch.maximum(_above(values), _below(values)).amax(-1)
    ),
    "you returned the share of simulated samples that are nearer to the normal. Count those that are at least as far "
    "away as the sample.": lambda *given: 1 - _lilliefors(*given),
    "you counted simulated samples. Divide by their number.": lambda sample, simulated: (
        _lilliefors(sample, simulated) * len(simulated)
    ),
    "you counted the sample as one of the simulated ones. Some books do so, but here p is the share of the simulated "
    "ones alone.": lambda sample, simulated: (
        (_lilliefors(sample, simulated) * len(simulated) + 1) / (len(simulated) + 1)
    ),
    "you returned the largest gap. Return the share of the simulated samples whose gap is at least as large.": (
        lambda sample, simulated: _gap(_own_scale(sample))
    ),
    "you returned the ordinary p-value. It is for a normal distribution that was chosen before the sample was seen.": (
        _ordinary
    ),
}


def _samples(generator):
    """Samples and simulated ones, drawn until every mistake gives a number of its own.

    Simulated samples are left out when it depends on the standard deviation, which may divide by n - 1 or by n, whether
    they are as far away as the sample. So both are right.
    """
    for size, draws in [(15, 250), (25, 250), (12, 200)]:
        found = []
        while len({round(float(each), 4) for each in found}) <= len(P_MISTAKES):
            simulated = torch.randn(draws, size, generator=generator, dtype=torch.double)
            sample = 0.4 + 1.3 * torch.randn(size, generator=generator, dtype=torch.double)
            either, other = (_as_far(_own_scale(sample, by), _own_scale(simulated, by)) for by in (0, 1))
            simulated = simulated[either == other]
            found = [slip(sample, simulated) for slip in [_lilliefors, *P_MISTAKES.values()]]
        yield sample, simulated


FAIR_P = Exercise(
    "5e",
    "A p-value that knows the fit",
    kind="Build",
    difficulty=4,
    points=4,
    reference=_lilliefors,
    inputs=_samples,
    mistakes=P_MISTAKES,
    praise="your p-value compares the sample with simulated ones that were fitted as it was, and it looks at both "
    "sides of every step.",
)


# 5f: other numbers, the same head. Answers: W_Q (d_model, d_head), b_Q (d_head,), W_K and b_K -> the same four,
# changed.


def _disguised(disguise, model):
    """What the change does to a random head, and by how much it changes the logits, as a share of the largest.

    The model is used when a score is the product of a query and a key of the head's own, and else a small random one.
    """
    require_function(disguise)
    generator = fresh()
    stage = model if _plain(model) else _stand_in()
    shapes = [(40, 16), (16,), (40, 16), (16,)]
    old = [torch.randn(*shape, generator=generator) for shape in shapes]
    new_Q, new_b, new_K, _ = _four(disguise, old)
    Q, b, K, _ = (each.double() for each in old)
    turn, turn_K = (torch.linalg.lstsq(before, after).solution for before, after in ((Q, new_Q), (K, new_K)))
    one = torch.eye(len(turn), dtype=torch.double)
    unit, new_unit = (torch.nn.functional.normalize(each, dim=0) for each in (Q, new_Q))
    return SimpleNamespace(
        unchanged=same(new_Q, Q),
        inside=same(Q @ turn, new_Q, 0.01) and same(K @ turn_K, new_K, 0.01),
        undone=same(turn @ turn_K.T, one, 0.01),
        keys_left=same(new_K, K),
        one_matrix=same(turn, turn_K, 0.01),
        not_turned=same(turn @ turn_K, one, 0.01),
        bias=same(new_b @ new_K.T, b @ K.T, 0.01),
        cosine=(new_unit.T @ unit).abs().max().item(),
        gap=_change_of_logits(disguise, stage, generator),
    )


@torch.no_grad()
def _change_of_logits(disguise, model, generator):
    """The largest change of a logit when two heads get other numbers, one after the other."""
    modules, heads = layout(model).attentions, model.config.num_attention_heads
    tokens = torch.randint(model.config.vocab_size, (2, 24), generator=generator).to(model.device)
    wanted, gaps = model(tokens).logits.double(), []
    for layer, head in [(0, heads - 1), (len(modules) - 1, 0)]:
        cuts = [_cut(modules[layer], heads, head, which) for which in (0, 1)]
        old = [each.float().cpu() for module, columns in cuts for each in _affine(module, columns)]
        new = _four(disguise, old)
        handles = [
            module.register_forward_hook(_with(columns, *new[2 * which : 2 * which + 2]))
            for which, (module, columns) in enumerate(cuts)
        ]
        try:
            gaps.append((model(tokens).logits.double() - wanted).abs().max() / wanted.abs().max())
        finally:
            for handle in handles:
                handle.remove()
    return max(gaps).item()


def _four(disguise, old):
    found, names = disguise(*old), ["W_Q", "b_Q", "W_K", "b_K"]
    four = isinstance(found, (tuple, list)) and len(found) == 4
    require(four, "your function should return four tensors: W_Q, b_Q, W_K and b_K.")
    new = [as_tensor(each, f"the new {name}") for each, name in zip(found, names)]
    for each, before, name in zip(new, old, names):
        require(
            each.shape == before.shape,
            f"{name} has shape {tuple(before.shape)}, but your new one has {tuple(each.shape)}.",
        )
        require(each.isfinite().all(), f"your new {name} holds NaN or infinity.")
    return new


def _plain(model):
    """Whether a head's scores are its queries times its keys: no rotation by position, and a key for every query."""
    modules = layout(model)
    if modules.positions is None:
        return False
    found = _named(modules.attentions[0])
    return "c_attn" in found or ("q_proj" in found and found["q_proj"].weight.shape == found["k_proj"].weight.shape)


def _named(attention):
    return {name.split(".")[-1]: module for name, module in attention.named_modules() if hasattr(module, "weight")}


def _stand_in():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_layer=2, n_head=2, n_embd=64, n_positions=32, vocab_size=100, bos_token_id=0, eos_token_id=0)
    with torch.random.fork_rng(devices=[]):
        model = GPT2LMHeadModel(config).eval()
        for block in model.transformer.h:
            block.attn.c_attn.weight.data.mul_(10)
            block.attn.c_attn.bias.data.normal_()
    return model


def _cut(attention, heads, head, which):
    """(module, columns) of a head's Q (which = 0) or K (1); of all heads together when head is None."""
    found = _named(attention)
    fused = "c_attn" in found
    module = found["c_attn"] if fused else found[("q_proj", "k_proj")[which]]
    width = module.weight.shape[1] // 3 if fused else module.weight.shape[0]
    start, size = (which * width if fused else 0), width // heads
    return module, slice(start, start + width) if head is None else slice(
        start + head * size, start + (head + 1) * size
    )


def _affine(module, columns):
    """(W, b) of some columns of a module, inputs as rows, whatever class it is; zeros for a bias that it lacks."""
    weight = module.weight if type(module).__name__ == "Conv1D" else module.weight.T
    weight = weight.detach()[:, columns]
    bias = getattr(module, "bias", None)
    return weight, torch.zeros_like(weight[0]) if bias is None else bias.detach()[columns]


def _with(columns, weight, bias):
    """A hook that puts other numbers into some columns of what a module gives."""

    def hook(module, inputs, output):
        output = output.clone()
        output[..., columns] = (inputs[0].double() @ weight.to(output.device) + bias.to(output.device)).to(output.dtype)
        return output

    return hook


DISGUISE = Exercise(
    "5f",
    "Other numbers, the same head",
    kind="Investigate",
    difficulty=4,
    points=4,
    measure=_disguised,
    mistakes={
        "W_Q is the same as before, so nothing is disguised yet.": lambda facts: facts.unchanged,
        "your new columns are not made of the head's old ones, so the head reads other directions of the stream. Mix "
        "its d_head columns with each other: W_Q @ something.": lambda facts: not facts.inside,
        "you changed the queries and left the keys as they were. The product of queries and keys has to stay the "
        "same.": lambda facts: not facts.undone and facts.keys_left,
        "you mixed queries and keys with one matrix R, so their product now holds R @ R.T. This changes nothing when R "
        "is a rotation, but your R is not one.": lambda facts: not facts.undone and facts.one_matrix,
        "you mixed the keys with the inverse of what mixed the queries, but W_K is transposed in the product, so the "
        "inverse has to be transposed too.": lambda facts: not facts.undone and facts.not_turned,
        "W_Q @ W_K.T is another matrix than before, so the head scores its keys in another way. The keys must undo "
        "what you do to the queries.": lambda facts: not facts.undone,
        "W_Q @ W_K.T is the same as before, but what b_Q adds to the scores is not. A query is x @ W_Q + b_Q, so mix "
        "the bias as you mix the columns.": lambda facts: not facts.bias,
        "the head does what it did, but at least one column of your W_Q is an old one, perhaps at another place, "
        "scaled, or with another sign. Mix the columns, so that no old one is left.": lambda facts: facts.cosine > 0.99,
        "the scores of a small random head stay what they are, but the logits of a model change by {gap:.3f} of the "
        "largest. Does your change work for any size of matrix, and with 32-bit numbers? Very large and very small "
        "factors lose digits.": lambda facts: facts.gap > 0.01,
    },
    # Without {gap}, which depends on the numbers drawn: notebooks store what a pass prints.
    praise="two heads got other numbers for Q and K, and the model has the same logits as before, up to a hundredth of "
    "the largest. A single column of W_Q says little about a head, because only the product of W_Q and W_K counts.",
)


# 5g: who looks back, by position alone. Answers: positions (position, d_model), norm: the layer's, a function of
# vectors, W_Q (head, d_model, d_head), b_Q (head, d_head), W_K and b_K -> (head,), higher for heads that look at the
# position before.


@torch.no_grad()
def _looked_back(score, model, measured):
    """What is wrong with the score, and how its order of the first layer's heads agrees with what they do on text.

    It is tried on heads that were built to look somewhere, without a norm and with one, and then on the first layer.
    measured: how much the heads of the model look at the token before on text, (layer, head).
    """
    from scipy.stats import spearmanr

    require_function(score)
    modules, generator = layout(model), fresh()
    low, high = (each.item() for each in measured[0].aminmax())
    facts = SimpleNamespace(fault=None, agreement=0.0, low=low, high=high, best=0, attention=0.0)
    facts.fault = _fault(score, torch.nn.Identity(), generator)
    # A score that forgets the norm may be lucky with one.
    if facts.fault is None and any(_fault(score, _bent(generator), generator) for _ in range(8)):
        facts.fault = "norm"
    if facts.fault is None and modules.positions is None:
        facts.fault = "no positions"
    if facts.fault:
        return facts
    heads = model.config.num_attention_heads
    norm = next(each for each in modules.layers[0].modules() if type(each).__name__.endswith("Norm"))
    given = []
    for which in (0, 1):
        weight, bias = _affine(*_cut(modules.attentions[0], heads, None, which))
        given += [weight.unflatten(1, (heads, -1)).transpose(0, 1), bias.unflatten(0, (heads, -1))]
    found = _of_heads(score(weights.position_embedding(model), norm, *given), heads)
    facts.best = found.argmax().item()
    facts.attention = measured[0, facts.best].item()
    if all(each.unique().numel() > 1 for each in (found, measured[0])):  # a rank correlation needs an order
        facts.agreement = float(spearmanr(found, measured[0].cpu()).statistic)
    facts.fault = None if facts.agreement >= 0.6 else "order"
    return facts


def _bent(generator):
    """A LayerNorm of size 32 that turns some dimensions round."""
    norm = torch.nn.LayerNorm(32)
    norm.weight.copy_((torch.rand(32, generator=generator) * 2 + 0.3) * torch.randn(32, generator=generator).sign())
    norm.bias.copy_(torch.randn(32, generator=generator))
    return norm


def _built_heads(norm, generator):
    """(names, positions, W_Q, b_Q, W_K, b_K): heads whose keys name their position and whose queries name another."""
    places, d_model, d_head = 12, 32, 14
    positions = torch.randn(places, d_model, generator=generator)
    inverse = torch.linalg.pinv(norm(positions))  # so that norm(positions) @ inverse is the unit matrix
    one = torch.eye(places)
    sharp, half = 8 * d_head**0.5, 2 * d_head**0.5
    towards = {lag: one.roll(-lag, 1).tril(-lag) if lag > 0 else one.roll(-lag, 1).triu(-lag) for lag in (0, 1, 2, -1)}
    wishes = {
        "back": sharp * towards[1],
        "itself": sharp * one,
        "two back": sharp * towards[2],
        "ahead": sharp * towards[-1],
        "nowhere": 0 * one,
        "first": sharp * towards[1],
        "hidden": sharp * (towards[1] + 2 * towards[-1]),
        "half": half * towards[1],
    }
    pad = torch.zeros(places, d_head - places)
    order = torch.randperm(len(wishes), generator=generator).tolist()
    names = [list(wishes)[each] for each in order]
    W_Q = torch.stack([inverse @ torch.cat([wishes[name], pad], 1) for name in names])
    W_K = (inverse @ torch.cat([one, pad], 1)).expand(len(names), -1, -1).clone()
    b_Q = torch.zeros(len(names), d_head)
    b_Q[names.index("first"), 0] = 3 * sharp  # every query likes the first key, whatever else it asks for
    return names, (positions, norm, W_Q, b_Q, W_K, torch.zeros_like(b_Q))


def _of_heads(found, heads):
    found = as_tensor(found)
    require(
        found.shape == (heads,),
        f"your function should return one number for each head. There are {heads} heads, and your answer has shape "
        f"{tuple(found.shape)}.",
    )
    require(
        found.isfinite().all(), "some of your scores are NaN or infinite. Which query has no position before its own?"
    )
    return found


def _fault(score, norm, generator):
    """Which of the built heads should not come before the one that looks back, but does; None when all is well."""
    names, given = _built_heads(norm, generator)
    found = dict(zip(names, _of_heads(score(*given), len(names)).tolist()))
    lowest, reach = min(found.values()), max(found.values()) - min(found.values())
    apart = min(found["itself"], found["two back"]) - found["back"]
    if found["back"] - lowest < reach / 20 and apart > reach / 2:
        return "last"
    worst = max(["nowhere", "itself", "ahead", "two back"], key=found.get)  # of equals the first
    if found["back"] <= found[worst]:
        return worst
    if found["back"] <= found["first"] + 1e-9:
        return "first"
    return None if found["hidden"] >= found["half"] - 1e-9 else "hidden"


def _fault_is(name):
    return lambda facts: facts.fault == name


LOOKS_BACK = Exercise(
    "5g",
    "Who looks back, by position alone?",
    kind="Project",
    difficulty=5,
    points=5,
    measure=_looked_back,
    mistakes={
        "the head that was built to look back gets the lowest score. A higher score should mean that a head looks back "
        "more.": _fault_is("last"),
        "a head that was built to look at its own position gets the highest score. The main diagonal is a query's own "
        "position, and the diagonal below it is the position before.": _fault_is("itself"),
        "a head whose queries ask for the position *ahead*, where they may not look, gets the highest score. Did you "
        "exchange queries and keys, or take the diagonal above the main one?": _fault_is("ahead"),
        "a head that was built to look two positions back gets the highest score. That is one too far.": _fault_is(
            "two back"
        ),
        "a head that prefers no position gets as high a score as the one that looks back, or a higher one.": _fault_is(
            "nowhere"
        ),
        "a head gets as high a score as the one that looks back, although its b_Q sends all queries to the first "
        "position. Add the biases, and let a softmax weigh the keys against each other.": _fault_is("first"),
        "a head would look ahead most of all, but it may not, so it looks back with all of its attention. It gets a "
        "lower score than one that looks back with half of it. Mask what lies ahead before the softmax.": _fault_is(
            "hidden"
        ),
        "your score finds the heads that were built to look back when the norm does nothing, but not when it does "
        "something. Attention never sees the position embedding itself. What does the layer do to it first?": _fault_is(
            "norm"
        ),
        "your score finds the heads that were built to look back. But this model learns no position embedding, so "
        "there is nothing to read. Do the project with 'storybook' or 'gpt2'.": _fault_is("no positions"),
        "your score finds the heads that were built to look back. But in the first layer of the model, it orders the "
        "heads in another way than what they do on text (rank correlation {agreement:.3f}; at least 0.6 is needed). Do "
        "its largest and smallest scores mean what you think they mean?": _fault_is("order"),
    },
    praise="from positions alone, your order of the first layer's heads has a rank correlation of {agreement:.3f} with "
    "what they do on text. There they give {low:.3f} to {high:.3f} of their attention to the token before, and your "
    "first one, L0H{best}, gives {attention:.3f}. A rank correlation does not see sizes, so look at both.",
)

EXERCISES = [OWN_RANK, WHICH_INPUT, PREFIX_RANK, FROM_FACTORS, FAIR_P, DISGUISE, LOOKS_BACK]
