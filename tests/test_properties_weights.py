"""Properties of weights and adjustments: three hundred drawn cases a function, as in test_properties_tensors."""

import copy
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from properties import BOOLEANS, IDS, SPOILT, cases, elsewhere, one_spoilt, refused, refuses, seeded, sizes, without

from conftest import build
from interp_helpers import adjustments, empty_model, weights

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
FAMILIES = st.sampled_from(["gpt2", "gpt-neo", "llama"])
WHOLE = {
    "negative": lambda number: -1 - number,
    "half": lambda number: number + 0.5,
    "NaN": lambda number: math.nan,
    "truth": bool,
    "string": str,
    "nothing": lambda number: None,
    "list": lambda number: [number],
}
PRECISE = {**SPOILT, "half": lambda tensor: tensor.half()}


def draw(generator, *shape):
    return torch.randn(*shape, generator=generator)


def ids(generator, high, *shape):
    return torch.randint(high, shape, generator=generator)


def twice(tensor):
    return torch.cat([tensor, tensor])


# Models, built once. What a case writes into the weights, the next one writes anew.


@pytest.fixture(scope="module")
def models():
    return {family: build(family).eval() for family in ["gpt2", "gpt-neo", "llama"]}


MODELS = {
    "string": lambda model: "gpt2",
    "nothing": lambda model: None,
    "a layer": lambda model: torch.nn.Linear(2, 2),
    "a tensor": lambda model: model.get_input_embeddings().weight,
    "a configuration": lambda model: model.config,
}


def smaller(generator, family):
    """A model of drawn sizes."""
    from transformers import GPT2Config, LlamaConfig

    vocabulary, width, layers, positions = (int(ids(generator, 3, 1)) + 1 for _ in range(4))
    if family == "llama":
        return LlamaConfig(
            vocab_size=vocabulary, hidden_size=8 * width, intermediate_size=3, num_hidden_layers=layers,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=positions,
            tie_word_embeddings=False, pad_token_id=None, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
    return GPT2Config(
        vocab_size=vocabulary, n_embd=2 * width, n_layer=layers, n_head=2, n_positions=positions, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip


@cases(generator=seeded(), family=st.sampled_from(["gpt2", "llama"]), fault=one_spoilt(model=MODELS))
def test_inventory(models, generator, family, fault):
    if fault:
        assert refuses(fault, weights.inventory, model=models[family])
        return
    config = smaller(generator, family)
    table = weights.inventory(empty_model(config)).set_index("tensor")
    d, v, layers = config.hidden_size, config.vocab_size, config.num_hidden_layers
    if family == "llama":
        head = d // 4
        counts = {
            "token embedding": v * d,
            "attention": layers * (2 * d * d + 2 * d * 2 * head),
            "mlp": layers * 3 * d * config.intermediate_size,
            "norm": (2 * layers + 1) * d,
            "unembedding": v * d,
        }
    else:
        counts = {
            "token embedding": v * d,
            "position embedding": config.n_positions * d,
            "attention": layers * (4 * d * d + 4 * d),
            "mlp": layers * (8 * d * d + 5 * d),
            "norm": (2 * layers + 1) * 2 * d,
        }
    own = table[table["tied to"] == ""]
    assert own.groupby("category")["parameters"].sum().to_dict() == counts
    assert (table["bytes"] == 4 * table["parameters"]).all()
    assert [math.prod(shape) for shape in table["shape"]] == table["parameters"].tolist()
    in_layers = own[own["layer"].notna()].groupby("layer")["parameters"].sum()
    assert in_layers.index.tolist() == list(range(layers))
    assert in_layers.nunique() == 1  # all layers are alike


@cases(generator=seeded(), family=FAMILIES, fault=one_spoilt(model=MODELS))
def test_position_embedding(models, generator, family, fault):
    model = models[family]
    if fault or family == "llama":
        wrong = fault or ("model", {"rotates": lambda model: model})
        assert refuses(wrong, weights.position_embedding, ["model", "LlamaForCausalLM"], model=model)
        return
    rows = draw(generator, 64, 32)
    with torch.no_grad():
        model.transformer.wpe.weight.copy_(rows)
    found = weights.position_embedding(model)
    assert torch.equal(found, rows)
    assert not found.requires_grad


@cases(generator=seeded(), family=FAMILIES, fault=one_spoilt(model=MODELS))
def test_head_weights(models, generator, family, fault):
    """What a head computes, by its cut and by the model's own matrices, on drawn vectors."""
    model = models[family]
    if fault:
        assert refuses(fault, weights.head_weights, model=model)
        return
    layer, head, x = int(ids(generator, 2, 1)), int(ids(generator, 4, 1)), draw(generator, 32)
    attention = weights.attention_modules(model)[layer]
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(draw(generator, *parameter.shape) * (parameter.ndim > 1))  # no biases
        cut = weights.head_weights(model)
        if family == "gpt2":
            q, k, v = attention.c_attn(x).split(32)
            output = attention.c_proj
        else:
            inner = attention if family == "llama" else attention.attention
            q, k, v = inner.q_proj(x), inner.k_proj(x), inner.v_proj(x)
            output = inner.o_proj if family == "llama" else inner.out_proj
        theirs = head // 2 if family == "llama" else head  # two queries share a key
        for whole, matrix, number in [(q, cut.W_Q, head), (k, cut.W_K, theirs), (v, cut.W_V, theirs)]:
            torch.testing.assert_close(x @ matrix[layer, number], whole[8 * number : 8 * number + 8], **CLOSE)
        z = torch.zeros(32)
        z[8 * head : 8 * head + 8] = x[:8]
        torch.testing.assert_close(x[:8] @ cut.W_O[layer, head], output(z), **CLOSE)


def with_weight(model, value):
    spoilt = copy.deepcopy(model)
    with torch.no_grad():
        spoilt.get_input_embeddings().weight[3, 3] = value
    return spoilt


@cases(
    generator=seeded(),
    family=FAMILIES,
    count=sizes(1, 4),
    dtype=st.sampled_from([torch.int64, torch.int32]),
    fault=one_spoilt(
        model={
            **MODELS,
            "NaN": lambda model: with_weight(model, torch.nan),
            "infinity": lambda model: with_weight(model, torch.inf),
            "empty": lambda model: empty_model(model.config),
            "no unembedding": lambda model: model.base_model,
        },
        tokens={
            **without(IDS, "nothing"),  # None: the whole vocabulary
            "one": lambda tokens: 3,
            "pairs": lambda tokens: tokens[None],
            "negative": lambda tokens: -1 - tokens,
            "too large": lambda tokens: tokens + 8192,
        },
    ),
)
def test_token_ends(models, generator, family, count, dtype, fault):
    model, tokens = models[family], ids(generator, 8192, count).to(dtype)
    if fault:
        assert refuses(fault, weights.token_ends, model=model, tokens=tokens)
        return
    norm = model.model.norm if family == "llama" else model.transformer.ln_f
    with torch.no_grad():
        norm.weight.copy_(draw(generator, 32))
        reads, writes = weights.token_ends(model, tokens)
        embedding, unembedding = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        torch.testing.assert_close(reads, embedding[tokens] - embedding.mean(0), **CLOSE)
        # Logits of a stream of length 1, by the norm's definition and without its bias: but for a number that all
        # tokens share, they are x @ writes.
        x = draw(generator, 32)
        x = x - x.mean() if family != "llama" else x
        x = x / x.square().mean().sqrt()
        logits = unembedding @ (x * norm.weight)
        torch.testing.assert_close(x @ writes, logits[tokens] - logits.mean(), atol=1e-3, rtol=1e-3)
        if family != "llama":  # a LayerNorm subtracts the mean: what all entries share changes nothing
            torch.testing.assert_close(writes.sum(0), torch.zeros(count), atol=1e-4, rtol=0)


# Heads and their circuits


def drawn_cut(generator, layers=2, shared=1, times=2, d_model=4, d_head=2):
    heads = shared * times
    return weights.HeadWeights(
        draw(generator, layers, heads, d_model, d_head),
        draw(generator, layers, shared, d_model, d_head),
        draw(generator, layers, shared, d_model, d_head),
        draw(generator, layers, heads, d_head, d_model),
    )


def field(name, how):
    return lambda tuple_: tuple_._replace(**{name: how(getattr(tuple_, name))})


# To put numbers beside each other is right whatever they are: NaN and infinity stay where they stood.
CUTS = {
    f"{name} {kind}": field(name, how)
    for name in weights.HeadWeights._fields
    for kind, how in without(SPOILT, "NaN", "infinity").items()
} | {
    "a tuple": tuple,
    "string": str,
    "nothing": lambda cut: None,
    "second device": field("W_Q", elsewhere),
    "other layers": field("W_K", twice),
    "other heads": field("W_O", lambda matrix: torch.cat([matrix, matrix], 1)),
    "heads that do not share": field("W_K", lambda matrix: torch.cat([matrix] * 9, 1)),
    "turned": field("W_O", lambda matrix: torch.cat([matrix.mT, matrix.mT], -1)),
    "one layer": field("W_V", lambda matrix: matrix[0]),
}
CUT = {
    "layers": sizes(1, 2),
    "shared": sizes(1, 2),
    "times": sizes(1, 3),
    "d_model": sizes(2, 4),
    "d_head": sizes(1, 3),
}


@cases(generator=seeded(), fault=one_spoilt(cut=CUTS), **CUT)
def test_side_by_side(generator, fault, **shape):
    cut = drawn_cut(generator, **shape)
    if fault:
        assert refuses(fault, weights.side_by_side, cut=cut)
        return
    found = weights.side_by_side(cut)
    for layer in range(shape["layers"]):
        columns = [matrix[layer, head, :, column] for matrix in cut[:3] for head in range(matrix.shape[1])
                   for column in range(shape["d_head"])]  # fmt: skip
        assert torch.equal(found[layer], torch.stack(columns, 1))
    spoilt = cut._replace(W_K=cut.W_K * torch.nan)
    assert weights.side_by_side(spoilt).isnan().sum() == cut.W_K.numel()


@pytest.mark.parametrize("name", ["qk_circuit", "ov_circuit"])
@cases(generator=seeded(), fault=one_spoilt(cut=CUTS), **CUT)
def test_circuits(name, generator, fault, **shape):
    cut = drawn_cut(generator, **shape)
    if fault:
        assert refuses(fault, getattr(weights, name), cut=cut)
        return
    found = getattr(weights, name)(cut)
    for layer, head in np.ndindex(*cut.W_Q.shape[:2]):
        theirs = head // shape["times"]
        if name == "qk_circuit":
            wanted = cut.W_Q[layer, head] @ cut.W_K[layer, theirs].T
        else:
            wanted = cut.W_V[layer, theirs] @ cut.W_O[layer, head]
        torch.testing.assert_close(found.left[layer, head] @ found.right[layer, head], wanted, **CLOSE)


CIRCUITS = {f"{name} {kind}": field(name, how) for name in weights.Circuit._fields for kind, how in PRECISE.items()} | {
    "a pair": tuple,
    "string": str,
    "nothing": lambda circuit: None,
    "whole": lambda circuit: circuit.left @ circuit.right,
    "float64": field("left", torch.Tensor.double),
    "second device": field("right", elsewhere),
    "other rank": field("left", lambda left: torch.cat([left, left], -1)),
    "other heads": field("right", lambda right: right.new_ones(7, *right.shape[-2:])),
    "a row": field("left", lambda left: left.flatten()),
}


def drawn_circuit(generator, *heads, rows=4, columns=4, rank=2):
    return weights.Circuit(draw(generator, *heads, rows, rank), draw(generator, *heads, rank, columns))


@cases(
    generator=seeded(),
    heads=sizes(2, 3),
    kind=st.sampled_from(["Q", "K"]),
    fault=one_spoilt(
        ov={
            **CIRCUITS,
            "zero": field("left", torch.zeros_like),
            "another model's": field("left", lambda m: m[..., 1:, :]),
        },
        reads={
            **without(CIRCUITS, "other heads"),
            "other heads": field("right", lambda right: right.new_ones(7, 7, *right.shape[-2:])),
            "zero": field("right", torch.zeros_like),
            "another model's": field("right", lambda right: right[..., 1:]),
            "all float64": lambda circuit: weights.Circuit(*(each.double() for each in circuit)),
            "all on a second device": lambda circuit: weights.Circuit(*map(elsewhere, circuit)),
        },
        layer={"negative": lambda _: -1, "too large": lambda _: 2, "half": lambda _: 0.5, "string": str, "truth": bool},
        head={
            "negative": lambda _: -1,
            "too large": lambda _: 3,
            "half": lambda _: 0.5,
            "string": str,
            "list": lambda _: [0],
        },
        kind={"V": lambda _: "V", "lower": str.lower, "nothing": lambda _: None, "number": len, "list": list},
    ),
)
def test_composition(generator, heads, kind, fault):
    ov, reads = drawn_circuit(generator, 2, heads), drawn_circuit(generator, 2, heads, rank=3)
    layer, head = int(ids(generator, 2, 1)), int(ids(generator, heads, 1))
    if fault:
        given = {"ov": ov, "reads": reads, "layer": layer, "head": head, "kind": kind}
        assert refuses(fault, weights.composition, **given)
        return
    found = weights.composition(ov, reads, layer, head, kind)
    reader = reads.left[layer, head] @ reads.right[layer, head]
    reader = reader if kind == "Q" else reader.T
    for each in np.ndindex(2, heads):
        writer = ov.left[each] @ ov.right[each]
        wanted = (writer @ reader).norm() / writer.norm() / reader.norm()
        assert found[each].item() == pytest.approx(wanted.item(), abs=1e-4)
    scaled = weights.composition(ov._replace(left=3 * ov.left), reads, layer, head, kind)
    torch.testing.assert_close(scaled, found, **CLOSE)  # how much is written does not matter


@cases(
    generator=seeded(),
    seed=sizes(0, 99),
    pairs=sizes(1, 4),
    d_model=sizes(2, 5),
    d_head=sizes(1, 3),
    fault=one_spoilt(
        cut=CUTS,
        pairs={
            "0": lambda _: 0,
            "negative": lambda n: -n,
            "half": lambda _: 0.5,
            "string": str,
            "nothing": lambda _: None,
        },
        seed={"negative": lambda seed: -1 - seed, "half": lambda _: 0.5, "string": str, "nothing": lambda _: None},
    ),
)
def test_random_composition(generator, seed, pairs, d_model, d_head, fault):
    cut = drawn_cut(generator, d_model=d_model, d_head=d_head)
    if fault:
        assert refuses(fault, weights.random_composition, cut=cut, pairs=pairs, seed=seed)
        return
    found = weights.random_composition(cut, pairs=pairs, seed=seed)
    assert found.shape == (pairs,)
    assert ((found > 0) & (found <= 1 + 1e-4)).all()  # no product is larger than its factors
    more = weights.random_composition(drawn_cut(generator, d_model=d_model, d_head=d_head), pairs + 2, seed)
    assert torch.equal(more[:pairs], found)  # the shapes and the seed say it all
    if d_head >= d_model == 2:  # nothing else is left when a circuit has the full rank of one
        assert len(set(found.tolist())) == pairs


@cases(
    generator=seeded(),
    heads=st.lists(sizes(1, 2), max_size=2),
    rows=sizes(1, 5),
    columns=sizes(1, 5),
    rank=sizes(1, 4),
    fault=one_spoilt(circuit=without(CIRCUITS, "other heads")),
)
def test_singular_values(generator, heads, rows, columns, rank, fault):
    circuit = drawn_circuit(generator, *heads, rows=rows, columns=columns, rank=rank)
    if fault:
        assert refuses(fault, weights.singular_values, circuit=circuit)
        return
    found = weights.singular_values(circuit)
    wanted = torch.linalg.svdvals(circuit.left @ circuit.right)[..., : min(rows, columns, rank)]
    torch.testing.assert_close(found, wanted, **CLOSE)
    # squares add up to the product's size
    size = (circuit.left @ circuit.right).square().sum((-2, -1))
    torch.testing.assert_close(found.square().sum(-1), size, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(weights.singular_values(circuit._replace(left=-2 * circuit.left)), 2 * found, **CLOSE)


@cases(
    generator=seeded(),
    rank=sizes(1, 5),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
    fault=one_spoilt(singular_values={**PRECISE, "one number": lambda values: values[0, 0]}),
)
def test_participation_ratio(generator, rank, scale, fault):
    values = torch.rand(2, rank, generator=generator) * scale + scale / 10
    if fault:
        assert refuses(fault, weights.participation_ratio, singular_values=values)
        return
    found = weights.participation_ratio(values)
    for row, ratio in zip(values.tolist(), found.tolist()):
        shares = [each**2 / sum(value**2 for value in row) for each in row]
        assert ratio == pytest.approx(1 / sum(share**2 for share in shares), rel=1e-4)
    assert ((found > 1 - 1e-4) & (found < rank + 1e-4)).all()
    torch.testing.assert_close(weights.participation_ratio(torch.full((rank,), scale)), torch.tensor(float(rank)))
    padded = torch.cat([values, torch.zeros(2, 1)], 1)
    torch.testing.assert_close(weights.participation_ratio(padded), found)


ENDS = {
    **SPOILT,
    "float64": lambda each: each.double(),
    "one axis": lambda each: each[0],
    "other tokens or width": lambda each: torch.cat([each, each], -1),
    "more": lambda each: twice(each),
    "second device": elsewhere,
}


@cases(
    generator=seeded(),
    heads=st.lists(sizes(1, 2), max_size=2),
    tokens=sizes(2, 6),
    rank=sizes(1, 3),
    fault=one_spoilt(
        circuit=without(CIRCUITS, "other heads"),
        reads={**ENDS, "turned": lambda each: each.T.contiguous()},
        writes=ENDS,
    ),
)
def test_token_eigenvalues(generator, heads, tokens, rank, fault):
    circuit = drawn_circuit(generator, *heads, rows=4, columns=5, rank=rank)
    reads, writes = draw(generator, tokens if tokens != 4 else 3, 4), draw(generator, 5, tokens if tokens != 4 else 3)
    if fault:
        assert refuses(fault, weights.token_eigenvalues, circuit=circuit, reads=reads, writes=writes)
        return
    found = weights.token_eigenvalues(circuit, reads, writes)
    whole = reads @ circuit.left @ circuit.right @ writes
    power = whole
    for exponent in (1, 2, 3):  # the sums of powers of all eigenvalues are the traces of the powers
        trace = power.diagonal(dim1=-2, dim2=-1).sum(-1)
        size = whole.norm(dim=(-2, -1)) ** exponent
        sums = (found**exponent).sum(-1)
        assert ((sums.real - trace).abs() < 1e-3 * (1 + size)).all()
        assert (sums.imag.abs() < 1e-3 * (1 + size)).all()
        power = power @ whole


@cases(
    generator=seeded(),
    rank=sizes(1, 4),
    real=st.booleans(),
    fault=one_spoilt(
        eigenvalues={**without(SPOILT, "complex"), "half": torch.Tensor.half, "one number": lambda each: each[0, 0]}
    ),
)
def test_positive_share(generator, rank, real, fault):
    values = draw(generator, 2, rank)
    if fault:
        assert refuses(fault, weights.positive_share, eigenvalues=values)
        return
    imaginary = draw(generator, 2, rank)
    values = values if real else torch.complex(torch.cat([values, values], 1), torch.cat([imaginary, -imaginary], 1))
    found = weights.positive_share(values)
    for row, share in zip(values.tolist(), found.tolist()):
        assert share == pytest.approx(sum(each.real for each in row) / sum(abs(each) for each in row), abs=1e-5)
    assert (found.abs() <= 1 + 1e-6).all()
    torch.testing.assert_close(weights.positive_share(-values), -found)
    torch.testing.assert_close(weights.positive_share(values.abs()), torch.ones(2))
    assert (weights.positive_share(torch.zeros(2, rank)) == 0).all()


@cases(
    generator=seeded(),
    heads=st.lists(sizes(1, 2), max_size=2),
    count=sizes(1, 3),
    dtype=st.sampled_from([torch.int64, torch.int32]),
    fault=one_spoilt(
        circuit=without(CIRCUITS, "other heads"),
        reads=ENDS,
        writes=ENDS,
        tokens={
            **IDS,
            "one": lambda tokens: 3,
            "pairs": lambda tokens: tokens[None],
            "negative": lambda tokens: -1 - tokens,
            "too large": lambda tokens: tokens + 6,
        },
    ),
)
def test_own_ranks(generator, heads, count, dtype, fault):
    circuit = drawn_circuit(generator, *heads)
    reads, writes, tokens = draw(generator, 6, 4), draw(generator, 4, 6), ids(generator, 6, count).to(dtype)
    if fault:
        assert refuses(fault, weights.own_ranks, circuit=circuit, reads=reads, writes=writes, tokens=tokens)
        return
    found = weights.own_ranks(circuit, reads, writes, tokens)
    assert found.shape == (*heads, count)
    logits = reads @ circuit.left @ circuit.right @ writes
    for head in np.ndindex(*heads):
        for place, token in enumerate(tokens.tolist()):
            above = [other for other in range(6) if logits[head][token, other] > logits[head][token, token]]
            assert found[head][place] == len(above)
    circuit = circuit._replace(left=-circuit.left)  # what was last is first
    assert torch.equal(weights.own_ranks(circuit, reads, writes, tokens), 5 - found)


# Rows


ROWS = {
    **PRECISE,
    "one axis": lambda rows: rows[:, 0],
    "batch": lambda rows: rows[None],
    "one row": lambda rows: rows[:1],
    "all the same": lambda rows: torch.full_like(rows, 0.1),
}


@cases(generator=seeded(), count=sizes(2, 6), d_model=sizes(1, 5), fault=one_spoilt(rows=ROWS))
def test_principal_components(generator, count, d_model, fault):
    rows = draw(generator, count, d_model) * torch.linspace(1, 3, d_model) + 5
    if fault:
        assert refuses(fault, weights.principal_components, rows=rows)
        return
    shares, places = weights.principal_components(rows)
    centred = (rows - rows.mean(0)).double()
    variances, directions = torch.linalg.eigh(centred.T @ centred)  # the covariance's eigenvectors
    variances, directions = variances.flip(0).clamp_min(0), directions.flip(1)
    wanted = (variances / variances.sum())[: len(shares)]
    torch.testing.assert_close(shares.double(), wanted, atol=1e-4, rtol=1e-3)
    assert shares.sum().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(places.square().sum(0) / places.square().sum(), shares, atol=1e-4, rtol=1e-3)
    along, sizes_of = centred @ directions[:, 0], directions[:, 0].abs().sort(descending=True).values
    sure = len(shares) == 1 or shares[0] > 1.2 * shares[1]  # one direction, and one entry that is its largest
    if sure and (d_model == 1 or sizes_of[0] > 1.01 * sizes_of[1]):
        along = along * directions[directions[:, 0].abs().argmax(), 0].sign()
        torch.testing.assert_close(places[:, 0].double(), along, atol=1e-3, rtol=1e-3)
    moved = weights.principal_components(rows * 2 - 7)
    torch.testing.assert_close(moved.shares, shares, atol=1e-4, rtol=1e-3)


@cases(
    positions=sizes(1, 9),
    d_model=sizes(1, 9),
    fault=one_spoilt(
        **{
            name: {"0": lambda _: 0, "negative": lambda n: -n, "half": lambda _: 2.5, "string": str}
            | {"nothing": lambda _: None, "NaN": lambda _: math.nan, "list": lambda n: [n], "truth": bool}
            for name in ["positions", "d_model"]
        }
    ),
)
def test_sinusoids(positions, d_model, fault):
    if fault:
        assert refuses(fault, weights.sinusoids, positions=positions, d_model=d_model)
        return
    found = weights.sinusoids(positions, d_model)
    assert found.shape == (positions, d_model)
    for position, index in np.ndindex(positions, d_model):
        angle = position / 10000 ** ((index - index % 2) / d_model)
        assert found[position, index].item() == pytest.approx([math.sin, math.cos][index % 2](angle), abs=1e-5)


@cases(generator=seeded(), count=sizes(2, 7), d_model=sizes(1, 4), fault=one_spoilt(rows=ROWS))
def test_power_spectrum(generator, count, d_model, fault):
    rows = draw(generator, count, d_model)
    if fault:
        assert refuses(fault, weights.power_spectrum, rows=rows)
        return
    found = weights.power_spectrum(rows)
    power = []
    for periods in range(1, count):  # the sum of squares along every wave, written out; mirror images are the last ones
        angle = 2 * math.pi * periods * torch.arange(count) / count
        power.append(sum(float((rows.T @ wave).square().sum()) for wave in (angle.cos(), angle.sin())))
    wanted = [power[f] + (power[count - 2 - f] if f != count - 2 - f else 0) for f in range(count // 2)]
    assert found.tolist() == pytest.approx([each / sum(power) for each in wanted], abs=1e-4)
    turned = rows.roll(1, 0) * 3 + 2  # where it begins, how large and around what does not matter
    torch.testing.assert_close(weights.power_spectrum(turned), found, atol=1e-4, rtol=1e-3)


# Numbers of any kind, and lists of them, are fine for what is read as an array.
ARRAYS = without(SPOILT, "whole numbers", "booleans", "list")
MAKES = st.sampled_from([lambda each: each, lambda each: each.numpy(), lambda each: each.tolist()])


@cases(
    generator=seeded(),
    shape=st.lists(sizes(2, 4), min_size=1, max_size=2),
    make=MAKES,
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64]),
    fault=one_spoilt(
        values={
            **ARRAYS,
            "the same": lambda values: torch.full_like(values, 0.1),
            "one": lambda values: values.flatten()[:1],
            "ragged": lambda values: [[1.0], [2.0, 3.0]],
            "words": lambda values: ["a", "b"],
        }
    ),
)
def test_normality(generator, shape, make, dtype, fault):
    values = (draw(generator, *shape) * 9).to(dtype)
    values.view(-1)[0] = 30  # not all the same
    if fault:
        assert refuses(fault, weights.normality, values=values.float())
        return
    before = values.clone()
    found = weights.normality(values if dtype == torch.bfloat16 else make(values))
    assert torch.equal(values, before)
    numbers = sorted(values.double().flatten().tolist())
    count, mean = len(numbers), sum(numbers) / len(numbers)
    moments = [sum((each - mean) ** power for each in numbers) / count for power in (2, 3, 4)]
    std = math.sqrt(moments[0])
    assert found.mean == pytest.approx(mean, abs=1e-9)
    assert found.std == pytest.approx(std, abs=1e-9)
    assert found.skewness == pytest.approx(moments[1] / std**3, abs=1e-6)
    assert found.kurtosis == pytest.approx(moments[2] / std**4 - 3, abs=1e-6)
    below = [0.5 * (1 + math.erf((each - mean) / std / math.sqrt(2))) for each in numbers]
    gaps = [max(place / count - share, share - (place - 1) / count) for place, share in enumerate(below, 1)]
    assert found.ks == pytest.approx(max(gaps), abs=1e-9)
    assert 0 <= found.p <= 1


@cases(
    generator=seeded(),
    heads=sizes(2, 6),
    width=sizes(1, 3),
    count=sizes(1, 7),
    method=st.sampled_from(["average", "single", "complete", "ward"]),
    make=MAKES,
    fault=one_spoilt(
        features={
            **ARRAYS,
            "one head": lambda features: features[:1],
            "one axis": lambda features: features[:, 0],
            "batch": lambda features: features[None],
            "words": lambda features: [["a"], ["b"]],
        },
        count={
            "0": lambda _: 0,
            "negative": lambda n: -n,
            "half": lambda _: 1.5,
            "string": str,
            "nothing": lambda _: None,
        },
        method={"other": lambda _: "sideways", "nothing": lambda _: None, "number": len, "list": list},
    ),
)
def test_cluster(generator, heads, width, count, method, make, fault):
    features = draw(generator, heads, width)
    if fault:
        assert refuses(fault, weights.cluster, features=features, count=count, method=method)
        return
    links, labels = weights.cluster(make(features), count, method)
    assert links.shape == (heads - 1, 4)
    assert sorted(set(labels.tolist())) == list(range(1, min(heads, count) + 1))
    scaled = features.double()
    scaled = ((scaled - scaled.mean(0)) / scaled.std(0, unbiased=False)).numpy()
    nearest = min(np.linalg.norm(scaled[a] - scaled[b]) for a in range(heads) for b in range(a))
    assert links[0, 2] == pytest.approx(nearest, abs=1e-5)
    if method == "single":  # two heads are of one cluster when steps shorter than the cut lead from one to the other
        height = links[max(heads - count - 1, 0), 2] + 1e-9 if count < heads else -1
        reach = np.linalg.norm(scaled[:, None] - scaled, axis=-1) <= height
        for _ in range(heads):
            reach = reach | (reach.astype(int) @ reach.astype(int) > 0)
        assert ((labels[:, None] == labels) == (reach | np.eye(heads, dtype=bool))).all()
    units = features * torch.tensor([10.0, 0.1, 3.0])[:width] + 4  # of what a feature is measured in
    np.testing.assert_allclose(weights.cluster(units, count, method)[0][:, 2], links[:, 2], atol=1e-3)


def rand_index(labels, classes):
    """The adjusted Rand index from pairs of heads."""
    pairs = [(labels[a] == labels[b], classes[a] == classes[b]) for a in range(len(labels)) for b in range(a)]
    count = Counter(pairs)
    both, one, other = count[True, True], count[True, False], count[False, True]
    chance = (both + one) * (both + other) / len(pairs)
    most = (both + one + both + other) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


NAMES = {
    "string": lambda names: "a string",
    "nothing": lambda names: None,
    "number": len,
    "one more": lambda names: [*names, names[0]],
    "one head": lambda names: names[:1],
    "empty": lambda names: [],
    "NaN": lambda names: [*names[1:], math.nan],
    "pairs": lambda names: [[each, each] for each in names],
    "things": lambda names: [object() for _ in names],
    "other device": lambda names: torch.zeros(len(names), device="meta"),
}


@cases(
    generator=seeded(),
    heads=sizes(2, 7),
    shuffles=sizes(0, 9),
    make=st.sampled_from([list, np.array, torch.tensor, lambda labels: [f"cluster {each}" for each in labels]]),
    grouped=st.booleans(),
    fault=one_spoilt(
        labels=NAMES,
        classes=NAMES,
        groups=without(NAMES, "nothing"),
        shuffles=WHOLE,
        seed=WHOLE,
    ),
)
def test_agreement(generator, heads, shuffles, make, grouped, fault):
    labels, classes, groups = ids(generator, 3, 3, heads).tolist()
    given = {"labels": labels, "classes": classes, "groups": groups, "shuffles": shuffles, "seed": 5}
    if fault:
        assert refuses(fault, weights.agreement, **given)
        return
    given = {"groups": groups if grouped else None, "shuffles": shuffles, "seed": 5}
    found = weights.agreement(make(labels), np.array(["x", "y", "z"])[classes], **given)
    assert found.index == pytest.approx(rand_index(labels, classes), abs=1e-9)
    assert len(found.null) == shuffles
    reached = sum(each >= found.index - 1e-9 for each in found.null)
    assert found.p == pytest.approx((1 + reached) / (1 + shuffles))
    renamed = weights.agreement([-each for each in labels], classes, **given)
    assert renamed.index == pytest.approx(found.index)
    np.testing.assert_allclose(renamed.null, found.null)
    alone = weights.agreement(labels, classes, groups=range(heads), shuffles=shuffles)  # nothing to shuffle
    assert alone.p == 1


# Adjustments


def drawn_values(generator, layers, sentences, positions):
    """(values, mask): NaN where there is no token, as attention_output_norms leaves it."""
    mask = torch.arange(positions) < ids(generator, positions, sentences, 1) + 1
    mask[0] = True  # one is long
    values = draw(generator, layers, sentences, positions).double()
    return values.masked_fill(~mask, torch.nan), mask


def nan_that_counts(values):
    spoilt = values.clone()
    spoilt[..., 0, 0] = torch.nan
    return spoilt


VALUES = {
    **without(SPOILT, "NaN", "infinity", "whole numbers", "booleans"),
    "whole numbers": lambda values: values.nan_to_num().long(),
    "booleans": lambda values: values > 0,
    "NaN that counts": nan_that_counts,
    "infinity that counts": lambda values: nan_that_counts(values) * 0 + torch.inf,
    "one axis": lambda values: values.flatten(),
    "other sentences": lambda values: torch.cat([values, values], -2),
    "second device": elsewhere,
}
MASKS = {
    **BOOLEANS,
    "padding on the left": lambda mask: torch.cat([~mask.any(1, keepdim=True), mask[:, 1:] | True], 1),
    "other sentences": twice,
    "one axis": lambda mask: mask[0],
    "layers": lambda mask: mask[None],
}
LAYERS = {"two axes": lambda values: values[0], "four axes": lambda values: values[None]}
TEXT = {"layers": sizes(1, 2), "sentences": sizes(1, 4), "positions": sizes(2, 5)}


def others_do_not_count(generator, values, mask):
    """The same values with anything where there is no token."""
    return torch.where(mask, values, draw(generator, *values.shape).double() * 1e6)


@cases(generator=seeded(), fault=one_spoilt(values=VALUES, mask=MASKS), **TEXT)
def test_mean_by_position(generator, layers, sentences, positions, fault):
    values, mask = drawn_values(generator, layers, sentences, positions)
    if fault:
        assert refuses(fault, adjustments.mean_by_position, values=values, mask=mask)
        return
    mask = mask & (torch.arange(positions) < positions - 1)  # nobody reaches the last
    found = adjustments.mean_by_position(values, mask)
    for layer, position in np.ndindex(layers, positions - 1):
        there = [values[layer, each, position].item() for each in range(sentences) if mask[each, position]]
        assert found[layer, position].item() == pytest.approx(sum(there) / len(there))
    assert found[:, -1].isnan().all()
    torch.testing.assert_close(
        adjustments.mean_by_position(others_do_not_count(generator, values, mask), mask), found, equal_nan=True
    )
    torch.testing.assert_close(adjustments.mean_by_position(values[0], mask), found[0], equal_nan=True)


def same_rows(rows, others):
    return all(torch.equal(one, other) for one, other in zip(rows[:4], others[:4])) and rows.names == others.names


@cases(
    generator=seeded(),
    first=sizes(0, 1),
    last=sizes(2, 6),
    fault=one_spoilt(
        values=VALUES | LAYERS,
        mask=MASKS,
        first=WHOLE | {"too late": lambda _: 9},
        last=WHOLE | {"too early": lambda _: 0},
    ),
    **TEXT,
)
def test_position_rows(generator, layers, sentences, positions, first, last, fault):
    values, mask = drawn_values(generator, layers, sentences, positions)
    given = {"values": values, "mask": mask, "first": first, "last": last}
    if fault:
        assert refuses(fault, adjustments.position_rows, **given)
        return
    rows = adjustments.position_rows(**given)
    slow = [(s, p) for s in range(sentences) for p in range(positions) if mask[s, p] and first <= p < last]
    assert list(zip(rows.sentence.tolist(), rows.position.tolist())) == slow
    for layer in range(layers):
        assert rows.y[layer].tolist() == [values[layer, s, p].item() for s, p in slow]
        assert rows.X[layer].tolist() == [[p] for _, p in slow]
    given["values"] = others_do_not_count(generator, values, mask)
    assert same_rows(adjustments.position_rows(**given), rows)


@cases(
    generator=seeded(),
    first=sizes(0, 1),
    lags=sizes(1, 3),
    fault=one_spoilt(
        values=VALUES | LAYERS,
        mask=MASKS,
        first=WHOLE | {"too late": lambda _: 9},
        lags=WHOLE | {"0": lambda lags: 0, "too many": lambda lags: 9},
    ),
    **TEXT,
)
def test_lag_rows(generator, layers, sentences, positions, first, lags, fault):
    values, mask = drawn_values(generator, layers, sentences, positions)
    given = {"values": values, "mask": mask, "first": first, "lags": lags}
    if fault:
        assert refuses(fault, adjustments.lag_rows, **given)
        return
    slow = [(s, p) for s in range(sentences) for p in range(positions) if mask[s, p] and p - lags >= first]
    if not slow:
        assert refused(adjustments.lag_rows, **given, naming="lags", operation="lag_rows")
        return
    rows = adjustments.lag_rows(**given)
    assert list(zip(rows.sentence.tolist(), rows.position.tolist())) == slow
    for layer in range(layers):
        assert rows.y[layer].tolist() == [values[layer, s, p].item() for s, p in slow]
        assert rows.X[layer].tolist() == [
            [values[layer, s, p - lag].item() for lag in range(1, lags + 1)] for s, p in slow
        ]
    given["values"] = others_do_not_count(generator, values, mask)
    assert same_rows(adjustments.lag_rows(**given), rows)


def drawn_rows(generator, layers, sentences, predictors):
    """Rows of sentences of three to five tokens."""
    sentence = torch.arange(sentences).repeat_interleave(ids(generator, 3, sentences) + 3)
    X = draw(generator, layers, len(sentence), predictors).double()
    y = draw(generator, layers, len(sentence)).double() + X.sum(-1)
    return adjustments.Rows(y, X, sentence, torch.arange(len(sentence)), [f"x{each}" for each in range(predictors)])


ALL_ROWS = {
    "a tuple": tuple,
    "string": str,
    "nothing": lambda rows: None,
    "a tensor": lambda rows: rows.y,
    "a name too few": field("names", lambda names: names[1:]),
    "a row too few": field("X", lambda X: X[:, 1:]),
    "a layer more": field("X", twice),
    "sentences too few": field("sentence", lambda sentence: sentence[1:]),
    "no layers": field("y", lambda y: y[0]),
    "second device": field("sentence", elsewhere),
    **{f"y {kind}": field("y", how) for kind, how in SPOILT.items()},
    **{f"X {kind}": field("X", how) for kind, how in SPOILT.items()},
    **{f"sentence {kind}": field("sentence", how) for kind, how in IDS.items()},
}
SENTENCES = {"layers": sizes(1, 2), "sentences": sizes(3, 5), "predictors": sizes(1, 2)}
REGRESSIONS = {
    **ALL_ROWS,
    "y half": field("y", torch.Tensor.half),
    "one sentence": field("sentence", torch.zeros_like),
    "values the same": field("y", lambda y: torch.full_like(y, 0.1)),
    "a predictor the same": field("X", lambda X: torch.full_like(X, 0.1)),
    "predictors alike": lambda rows: rows._replace(X=torch.cat([rows.X, rows.X], -1), names=rows.names * 2),
    "two rows": lambda rows: rows._replace(y=rows.y[:, ::13], X=rows.X[:, ::13], sentence=rows.sentence[::13]),
}


@cases(
    generator=seeded(),
    fault=one_spoilt(
        rows=ALL_ROWS,
        groups={
            **IDS,
            "too few": lambda g: g[1:],
            "pairs": lambda g: g[:, None],
            "all alone": lambda g: torch.arange(len(g)),
        },
    ),
    **SENTENCES,
)
def test_within(generator, layers, sentences, predictors, fault):
    rows = drawn_rows(generator, layers, sentences, predictors)
    groups = ids(generator, 4, len(rows.sentence))
    if fault:
        assert refuses(fault, adjustments.within, rows=rows, groups=groups)
        return
    found = adjustments.within(rows, groups)
    kept = [row for row, group in enumerate(groups.tolist()) if (groups == group).sum() > 1]
    assert found.position.tolist() == kept
    assert found.sentence.tolist() == rows.sentence[kept].tolist()
    for layer in range(layers):
        for place, row in enumerate(kept):
            own = groups == groups[row]
            assert found.y[layer, place].item() == pytest.approx(
                (rows.y[layer, row] - rows.y[layer, own].mean()).item()
            )
            torch.testing.assert_close(found.X[layer, place], rows.X[layer, row] - rows.X[layer, own].mean(0))
    again = adjustments.within(found, groups[kept])  # what has no mean loses none
    torch.testing.assert_close(again.y, found.y)
    assert same_rows(adjustments.within(rows, 7 - groups), found)  # what the groups are called does not matter


@cases(generator=seeded(), fault=one_spoilt(rows=REGRESSIONS), **SENTENCES)
def test_regress(generator, layers, sentences, predictors, fault):
    from scipy.stats import t

    rows = drawn_rows(generator, layers, sentences, predictors)
    if fault:
        assert refuses(fault, adjustments.regress, ["rows", "predictors", "values"], rows=rows)
        return
    table, r2 = adjustments.regress(rows)
    for layer in range(layers):
        y, design = rows.y[layer].numpy(), np.column_stack([np.ones(len(rows.sentence)), rows.X[layer].numpy()])
        bread = np.linalg.inv(design.T @ design)
        coefficients = bread @ design.T @ y
        left = y - design @ coefficients
        np.testing.assert_allclose(table.loc[layer, "coefficient"], coefficients, atol=1e-6)
        assert r2[layer] == pytest.approx(1 - left @ left / ((y - y.mean()) ** 2).sum(), abs=1e-6)
        n, k = design.shape
        half = np.sqrt(np.diag(bread) * (left @ left) / (n - k)) * t.ppf(0.975, n - k)
        np.testing.assert_allclose(table.loc[layer, "high"] - coefficients, half, atol=1e-6)
        scores = [design[rows.sentence == each].T @ left[rows.sentence == each] for each in range(sentences)]
        meat = sum(np.outer(score, score) for score in scores) * sentences / (sentences - 1) * (n - 1) / (n - k)
        half = np.sqrt(np.diag(bread @ meat @ bread)) * t.ppf(0.975, sentences - 1)
        np.testing.assert_allclose(table.loc[layer, "clustered high"] - coefficients, half, atol=1e-6)
    tripled = adjustments.regress(rows._replace(y=3 * rows.y - 5))
    np.testing.assert_allclose(tripled.r2, r2, atol=1e-6)


@cases(
    generator=seeded(),
    folds=sizes(2, 3),
    fault=one_spoilt(
        rows=REGRESSIONS,
        folds={**WHOLE, "1": lambda folds: 1, "more than sentences": lambda folds: 6},
    ),
    **SENTENCES,
)
def test_held_out_r2(generator, layers, sentences, predictors, folds, fault):
    from sklearn.model_selection import GroupKFold

    rows = drawn_rows(generator, layers, sentences, predictors)
    if fault:
        naming = ["rows", "predictors", "values"] if fault[0] == "rows" else ["folds", "sentences"]
        assert refuses(fault, adjustments.held_out_r2, naming, rows=rows, folds=folds)
        return
    found = adjustments.held_out_r2(rows, folds)
    for layer in range(layers):
        y, X = rows.y[layer].numpy(), rows.X[layer].numpy()
        predicted = np.empty_like(y)
        for train, test in GroupKFold(folds).split(X, y, rows.sentence.numpy()):
            mean, middle = y[train].mean(), X[train].mean(0)
            line = np.linalg.pinv(X[train] - middle) @ (y[train] - mean)
            predicted[test] = mean + (X[test] - middle) @ line
        wanted = 1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        assert found[layer] == pytest.approx(wanted, abs=1e-6, rel=1e-6)
