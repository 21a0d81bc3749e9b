"""Checkers of notebook 05: tables, blocks and circuits, read off the disk."""

import torch

from .. import weights
from ..errors import ModelError
from ..hooks import layout
from .judging import Wrong, as_tensor, choose, compare, fresh, require, same

MOST_VARIANCE = 10  # how many dimensions of a layer count as those with large rows, in 5d


def what_a_checkpoint_weighs(footprint, model=None):
    """What a checkpoint weighs.

    footprint: {name: tensor} -> bytes, tied tensors counted once. model: the model in use; its state dict is weighed
    as well.
    """
    generator = fresh()
    words, width = (int(each) for each in torch.randint(5, 12, (2,), generator=generator))
    table = torch.randn(words + 12, width, generator=generator)
    bias = torch.zeros(width)
    plain = {"words": table, "mlp": torch.randn(words + 12, width, generator=generator), "bias": bias}
    mixed = plain | {
        "norm": torch.zeros(width),
        "half": torch.randn(4, width, generator=generator).half(),
        "small": torch.ones(3, width, dtype=torch.int8),
    }
    examples = {
        "tensors of several types, the table of words under two names": mixed | {"unembedding": table.detach()},
        "tensors of several types, the table's transpose as another name": mixed | {"unembedding": table.detach().T},
        "tensors of which none is tied": mixed,
    }
    for given, tensors in examples.items():
        compare(footprint(tensors), _bytes(tensors.values()), _footprint_mistakes(tensors), given=given)
    if model is None or any(each.is_meta for each in model.parameters()):
        return "tied tables once, each type by its own size."
    state = model.state_dict()
    wanted = _bytes(state.values())
    twice = {"in the model's state dict you count a tied table twice.": sum(map(_size, state.values()))}
    compare(footprint(state), wanted, twice, given="the model's state dict")
    listed = sum(map(_size, state.values()))
    tied = (
        f"with every name counted they would seem to take {listed / 2**20:.3f}" if listed > wanted else "none is tied"
    )
    return f"the model's tensors take {wanted / 2**20:.3f} MiB; {tied}."


def _size(tensor):
    return tensor.numel() * tensor.element_size()


def _bytes(tensors):
    """By a slow loop: a tensor is left out when an earlier one begins at the same place."""
    seen, total = [], 0
    for tensor in tensors:
        if tensor.data_ptr() not in seen:
            total += _size(tensor)
        seen.append(tensor.data_ptr())
    return total


def _footprint_mistakes(tensors):
    listed = list(tensors.values())
    once = list({each.data_ptr(): each for each in listed}.values())
    by_value = [
        each
        for index, each in enumerate(listed)
        if not any(each.shape == other.shape and each.eq(other).all() for other in listed[:index])
    ]
    return {
        "you count the tied table twice where one of its names is turned round: the same memory has another shape "
        "there.": sum(_size(each) for each in {(each.data_ptr(), each.shape): each for each in listed}.values()),
        "you count the tied table twice. Two names stand for one piece of memory; `state_dict()` makes a new tensor "
        "object for each name, so `is`, `id` and the name itself do not show it.": sum(map(_size, listed)),
        "you take tensors of one shape for one tensor. Two matrices may have the same shape and nothing else in "
        "common.": sum(_size(each) for each in {each.shape: each for each in listed}.values()),
        "you take equal numbers for one tensor. Two biases that both are zero still take memory for both; what is tied "
        "is *stored* once.": sum(map(_size, by_value)),
        "you count every number as four bytes. Tensors of other types take less, or more: ask each for its "
        "element_size().": 4 * sum(each.numel() for each in once),
        "that is how many numbers there are. How many bytes do they take?": sum(each.numel() for each in once),
        "you leave out tied tensors altogether: one of the two names has to count.": sum(
            _size(each) for each in listed if sum(each.data_ptr() == other.data_ptr() for other in listed) == 1
        ),
    }


def which_position_is_most_alike(prediction, positions):
    """Which position is most alike?

    prediction: "next", "next but one", "far" or "none". positions: the position embedding, `(position, d_model)`; the
    cosines are measured here, after taking away the mean over positions.
    """
    centred = positions - positions.mean(0)
    unit = centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-12)
    apart = {"next": 1, "next but one": 2, "far": len(positions) // 2}
    chosen = choose(prediction, [*apart, "none"])
    found = {name: (unit[lag:] * unit[:-lag]).sum(1).mean().item() for name, lag in apart.items()}
    right = max(found, key=found.get) if max(found.values()) - min(found.values()) > 0.05 else "none"
    measured = ", ".join(f"{each:.3f} ({apart[name]} apart)" for name, each in found.items())
    reasons = {
        "next": "the vectors change slowly, and the step from one to the next is the smallest.",
        "next but one": "there is a fast wave on top of the slow ones, of about two positions a period: up, down, up. "
        "It sets a position apart from its neighbours and brings it near the next but one. It is the fine texture of "
        "the cosines, and the right end of the spectrum, which rises again.",
        "far": "a wave of half the table's length brings positions together again after one period.",
        "none": "without what all share, no distance stands out: these are unrelated vectors.",
    }
    require(
        chosen == right,
        f"you said {chosen!r}. The mean cosines are {measured}: {reasons[right]} Where in the correlations and "
        "in the spectrum could you have seen it?",
    )
    return f"mean cosines {measured}; {reasons[right]}"


def tails_that_are_a_mixture(kurtosis, matrices=None, width=None):
    """Tails that are a mixture.

    kurtosis: (matrix, width) -> the excess kurtosis of the matrix after every block of `width` columns was put on a
    scale of its own. matrices: `(layer, d_model, columns)`, width: a head's columns; for these it is measured too.
    """
    generator = fresh()
    for rows, columns, size in [(8, 12, 4), (30, 10, 5), (9, 6, 6)]:
        matrix = torch.randn(rows, columns, generator=generator, dtype=torch.float64) ** 3
        scale = 1 + 4 * torch.rand(columns // size, generator=generator).double()
        matrix = matrix * scale.repeat_interleave(size) + torch.arange(columns // size).repeat_interleave(size)
        given = f"a matrix of shape {(rows, columns)} with blocks of {size} columns"
        found, right = as_tensor(kurtosis(matrix, size)), _by_blocks(matrix, size)
        if not same(found, right):  # standard deviations with n - 1, torch's default, are as good
            right_too, *wrong = _with_deviations(matrix, size, correction=1)
            if same(found, right_too):
                continue
            for message, value in zip(TAILS, wrong):
                require(not same(found, value), message)
        _, *wrong = _with_deviations(matrix, size, correction=0)
        compare(found, right, dict(zip(TAILS, wrong)), given=given)
    if matrices is None:
        return "each block by its own scale."
    pairs = [(_kurtosis(each).item(), _by_blocks(each.double(), width).item()) for each in matrices]
    listed = ", ".join(f"{index}: {whole:.3f} to {own:.3f}" for index, (whole, own) in enumerate(pairs))
    tails = [(whole, own) for whole, own in pairs if whole > 3 * (24 / matrices[0].numel()) ** 0.5]  # beyond chance
    fallen = sum(own < whole / 2 for whole, own in tails)
    verdict = (
        f"Of {len(tails)} layers with long tails, {fallen} keep less than half of their kurtosis: that much of the "
        "tails was heads of different scales in one histogram."
        if tails
        else "No layer had tails longer than chance would make them, so there was nothing to take apart."
    )
    return f"by layer the kurtosis changes from {listed}. {verdict}"


def _kurtosis(values):
    values = values.double() - values.double().mean()
    return values.pow(4).mean() / values.square().mean().square() - 3


def _by_blocks(matrix, width):
    """By a slow loop: with blocks of one size, mean 0 and variance 1 each, the mean of the blocks' own kurtoses."""
    blocks = [matrix[:, start : start + width] for start in range(0, matrix.shape[1], width)]
    return torch.stack([_kurtosis(each) for each in blocks]).mean()


TAILS = [  # what each of the wrong numbers of _with_deviations comes from
    "that is the kurtosis of the whole matrix on one scale: blocks of large and small weights still lie in one pile. "
    "Divide every block by its own standard deviation first.",
    "you left the 3 in. Excess kurtosis is counted from a normal's, which is 3.",
    "you put every column on a scale of its own. A block has one mean and one standard deviation, over all of its rows "
    "and columns.",
    "you put every row on a scale of its own. A block is made of columns: `width` of them, all rows.",
    "the reshape mixed the blocks: it takes whole rows one after the other, so each of your pieces holds columns of "
    "every block. Keep rows and columns apart: `unflatten` the columns only.",
    "the blocks keep their own means. Take each block's mean away before you divide.",
    "that is the skewness, the third power. Tails on both sides show in the fourth.",
    "you cut blocks of rows. A block is made of columns: `width` of them, all rows.",
]


def _with_deviations(matrix, width, correction):
    """The right number, and those of TAILS, when standard deviations divide by n less `correction`."""

    def scaled(values, dims, centre=True):
        centred = values - values.mean(dims, keepdim=True)
        return (centred if centre else values) / values.std(dims, keepdim=True, correction=correction)

    def excess(values):
        return values.pow(4).mean() - 3

    blocks = matrix.unflatten(1, (-1, width))
    right = scaled(blocks, (0, 2))
    not_centred = scaled(blocks, (0, 2), centre=False)
    found = [right, scaled(matrix, (0, 1)), right, scaled(matrix, 0), scaled(matrix, 1)]
    found.append(scaled(matrix.reshape(blocks.shape[1], -1), 1))
    found = [excess(each) for each in found]
    found[2] += 3
    found += [excess(not_centred), right.pow(3).mean()]
    if len(matrix) % width == 0:
        found.append(excess(scaled(matrix.unflatten(0, (-1, width)), (1, 2))))
    return found


def what_the_norm_hides(answer, matrices, norms):
    """What the norm hides.

    answer: {"layer": ..., "dimension": ...}. matrices: of every layer `(d_model, columns)`, inputs as rows; norms: the
    weight of the norm in front of it, `(layer, d_model)`.
    """
    if not isinstance(answer, dict) or not {"layer", "dimension"} <= set(answer):
        raise Wrong('the answer is a dictionary with a "layer" and a "dimension".')
    layers, dimensions = norms.shape
    numbers = [as_tensor(answer[name], f"the {name}") for name in ("layer", "dimension")]
    whole = all(each.numel() == 1 and each.item() == round(each.item()) for each in numbers if each.isfinite().all())
    require(whole and all(each.isfinite().all() for each in numbers), "layer and dimension are whole numbers.")
    layer, dimension = (round(each.item()) for each in numbers)
    require(0 <= layer < layers, f"there is no layer {layer}; they count from 0 to {layers - 1}.")
    require(0 <= dimension < dimensions, f"there is no dimension {dimension}; they count from 0 to {dimensions - 1}.")
    row = matrices[layer].double().cpu()
    bare = row.var(1)
    read = (row * norms[layer].double().cpu()[:, None]).var(1)
    before, after = ((each > each[dimension]).sum().item() for each in (bare, read))
    require(
        before < MOST_VARIANCE,
        f"in layer {layer}, {before} rows have a larger variance than row {dimension}; look among the {MOST_VARIANCE} "
        "largest. A row is an input dimension, and it is the first axis of the matrix.",
    )
    require(
        after >= dimensions / 2,
        f"row {dimension} of layer {layer} is large, and it stays large: with the norm's weight only {after} of "
        f"{dimensions} dimensions are read more strongly. Look for one whose weight in the norm is small.",
    )
    return (
        f"in layer {layer}, row {dimension} is number {before + 1} of {dimensions} by variance, and number {after + 1} "
        f"once the norm's weight is in: the norm multiplies it by {norms[layer, dimension].item():.3f}, and a median "
        f"one by {norms[layer].abs().median().item():.3f}. Large rows behind small weights read little."
    )


def one_heads_ov_circuit(circuit):
    """One head's OV circuit, from fused matrices.

    circuit: (c_attn, c_proj, head, heads) -> `(d_model, d_model)`, what the head writes for what it reads.
    """
    generator = fresh()
    for d_model, heads, d_head in [(12, 3, 4), (10, 3, 4), (9, 5, 2)]:
        width = heads * d_head
        c_attn = torch.randn(d_model, 3 * width, generator=generator, dtype=torch.float64)
        c_proj = torch.randn(width, d_model, generator=generator, dtype=torch.float64)
        for head in range(1, heads):
            right = _all_others_silent(c_attn, c_proj, head, heads)
            mistakes = _ov_mistakes(c_attn, c_proj, head, heads)
            given = f"head {head} of {heads}, d_model {d_model} and d_head {d_head},"
            compare(circuit(c_attn, c_proj, head, heads), right, mistakes, given=given)
        every = sum(as_tensor(circuit(c_attn, c_proj, head, heads)) for head in range(heads))
        compare(every, c_attn[:, 2 * width :] @ c_proj, {}, given="the sum over all heads")
    return "each head as if all others were silent, and all heads together as if they had never been cut."


def _all_others_silent(c_attn, c_proj, head, heads):
    """By definition: what comes out for each unit vector when the values of all other heads are set to zero."""
    width = len(c_proj)
    values = c_attn[:, 2 * width :].clone()
    for column in range(width):
        if column // (width // heads) != head:
            values[:, column] = 0
    return values @ c_proj


def _ov_mistakes(c_attn, c_proj, head, heads):
    width, d_model = c_proj.shape
    d_head = width // heads
    here = slice(head * d_head, (head + 1) * d_head)
    Q, K, V = c_attn.split(width, 1)
    right = V[:, here] @ c_proj[here]
    before = slice((head - 1) * d_head, head * d_head)
    mixed = c_attn.reshape(d_model, heads, 3, d_head)[:, head, 2]
    strided = V.reshape(d_model, d_head, heads)[:, :, head]
    found = {
        "you cut Q, not V. The fused matrix holds three blocks, Q, K and V in this order; what a head moves is made by "
        "V.": Q[:, here] @ c_proj[here],
        "you cut K, not V: the values are the third block.": K[:, here] @ c_proj[here],
        "the reshape mixes Q, K and V: it takes each head's Q, K and V to lie next to each other. Here all of "
        "Q comes first, then all of K.": mixed @ c_proj[here],
        "the columns of V are taken in strides, one of every so many. A head's columns lie side by side.": strided
        @ c_proj[here],
        "that is the head before: heads count from 0.": V[:, before] @ c_proj[before],
        "V comes from this head and O from another: the rows of c_proj are cut as the columns of V are.": V[:, here]
        @ c_proj[before],
        "that is all heads at once. Only this head's columns of V, and only its rows of c_proj.": V @ c_proj,
        "your matrix is transposed: rows should be what is read, columns what is written.": right.T,
    }
    if width == d_model:
        found[
            "you cut c_proj by columns. It is a Conv1D: its rows are inputs, the heads' outputs side by side, so a "
            "head owns rows; nothing is to be turned."
        ] = V[:, here] @ c_proj[:, here].T
    return found


def other_numbers_same_head(disguise, model):
    """Other numbers, the same head.

    disguise: (W_Q, b_Q, W_K, b_K) of a head -> the same four with other numbers; W `(d_model, d_head)`, b `(d_head,)`.
    The new ones are judged on a random head; then the model runs with them in place of its own. A model that rotates
    queries and keys, or shares keys, is replaced by a small random one that does neither.
    """
    generator = fresh()
    shapes = [(40, 16), (16,), (40, 16), (16,)]
    old = [torch.randn(*shape, generator=generator) for shape in shapes]
    _judge_disguise(old, _four(disguise, old))
    stage = model if _plain(model) else _stand_in()
    modules = layout(stage).attentions
    heads = stage.config.num_attention_heads
    tokens = torch.randint(stage.config.vocab_size, (2, 24), generator=generator).to(stage.device)
    with torch.no_grad():
        wanted = stage(tokens).logits.double()
        for layer, head in [(0, heads - 1), (len(modules) - 1, 0)]:
            cuts = [_cut(modules[layer], heads, head, which) for which in (0, 1)]
            old = [each.float().cpu() for module, columns in cuts for each in _affine(module, columns)]
            new = _four(disguise, old)
            handles = [
                module.register_forward_hook(_with(columns, new[2 * which], new[2 * which + 1]))
                for which, (module, columns) in enumerate(cuts)
            ]
            try:
                found = stage(tokens).logits.double()
            finally:
                for handle in handles:
                    handle.remove()
            gap = (found - wanted).abs().max() / wanted.abs().max()
            require(
                gap < 0.01,
                "the head's scores stay what they are on a small random head, but the model's logits change. Is your "
                "change one that holds for any size of matrix, and for 32-bit numbers? Very large and very small "
                "factors lose digits.",
            )
    return (
        "two heads of the model were given other numbers for Q and K, and its logits stay the same. What a single "
        "column of W_Q looks like tells nothing about the head; the product of Q and K is what counts."
    )


def _four(disguise, old):
    found = disguise(*old)
    require(isinstance(found, (tuple, list)) and len(found) == 4, "return four tensors: W_Q, b_Q, W_K and b_K.")
    new = [as_tensor(each, name) for each, name in zip(found, ("W_Q", "b_Q", "W_K", "b_K"))]
    for each, before, name in zip(new, old, ("W_Q", "b_Q", "W_K", "b_K")):
        require(each.shape == before.shape, f"{name} came as {tuple(before.shape)} and returns as {tuple(each.shape)}.")
        require(each.isfinite().all(), f"{name} holds NaN or infinity.")
    return new


def _judge_disguise(old, new):
    (Q, b, K, _), (new_Q, new_b, new_K, _) = [each.double() for each in old], new
    require(not same(new_Q, Q), "W_Q is the same as before: nothing is disguised yet.")
    turn, turn_K = (torch.linalg.lstsq(before, after).solution for before, after in ((Q, new_Q), (K, new_K)))
    one = torch.eye(len(turn), dtype=torch.float64)
    inside = same(Q @ turn, new_Q, 0.01) and same(K @ turn_K, new_K, 0.01)
    require(
        inside,
        "the new columns are not made of the head's old ones, so it reads other directions of the stream. Mix the "
        "d_head columns among each other: W_Q @ something.",
    )
    if not same(turn @ turn_K.T, one, 0.01):
        require(not same(new_K, K), "you changed the queries and left the keys. Their product has to stay what it was.")
        require(
            not same(turn, turn_K, 0.01),
            "queries and keys were mixed by one matrix R, so that scores now hold R times its transpose. That leaves "
            "them alone when R is a rotation; yours is none.",
        )
        require(
            not same(turn @ turn_K, one, 0.01),
            "the keys were mixed by the inverse, and yet the scores change: W_K stands transposed in the product, and "
            "the inverse must be, too.",
        )
        raise Wrong(
            "W_Q times W_K transposed is another matrix than before: the head scores its keys in another way. What you "
            "do to the queries, the keys must undo."
        )
    require(
        same(new_b @ new_K.T, b @ K.T, 0.01),
        "the product of the matrices stays, but not the part of b_Q: a query is x @ W_Q + b_Q. Mix its bias as you mix "
        "its columns.",
    )
    cosines = torch.nn.functional.normalize(new_Q.T, dim=1) @ torch.nn.functional.normalize(Q, dim=0)
    require(
        cosines.abs().max() < 0.99,
        "the head is the same, but at least one column of W_Q is an old one, perhaps at another place, turned round or "
        "scaled. Mix them, so that none is left.",
    )


def _named(attention):
    return {name.split(".")[-1]: module for name, module in attention.named_modules() if hasattr(module, "weight")}


def _plain(model):
    """Whether a head's scores are its queries times its keys: no rotation by position, and a key for every query."""
    try:
        weights.position_embedding(model)
    except ModelError:
        return False
    found = _named(layout(model).attentions[0])
    return "c_attn" in found or ("q_proj" in found and found["q_proj"].weight.shape == found["k_proj"].weight.shape)


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


def who_looks_back(score, model, measured):
    """Who looks back, by position alone?

    score: (positions, norm, W_Q, b_Q, W_K, b_K) -> `(head,)`, higher for heads that look at the position before.
    positions `(position, d_model)`, norm: the layer's, a function of vectors; W `(head, d_model, d_head)`, b
    `(head, d_head)`. measured: how much the heads of the model look at the token before, on text, `(layer, head)`.
    Tried on heads that were built to look somewhere; then the first layer's heads are to be ordered as `measured` is.
    """
    from scipy.stats import spearmanr

    generator = fresh()
    with torch.no_grad():
        _judge_built_heads(score, torch.nn.Identity(), generator)
        try:
            for _ in range(8):  # a score that forgets the norm may be lucky with one
                _judge_built_heads(score, _bent(generator), generator)
        except Wrong:
            raise Wrong(
                "all is well while the norm does nothing, but with a norm that does something the heads built to look "
                "back are not found. Attention never sees the position embedding itself: what does the layer do to it "
                "first?"
            ) from None
        try:
            positions = weights.position_embedding(model)
        except ModelError:
            raise Wrong(
                "your score knows the heads that were built to look back. The model in use learns no position "
                "embedding, so it has nothing to read: do the project with 'storybook' or 'gpt2'."
            ) from None
        heads, attention = model.config.num_attention_heads, layout(model).attentions[0]
        norm = next(each for each in layout(model).layers[0].modules() if type(each).__name__.endswith("Norm"))
        given = []
        for which in (0, 1):
            weight, bias = _affine(*_cut(attention, heads, None, which))
            given += [weight.unflatten(1, (heads, -1)).transpose(0, 1), bias.unflatten(0, (heads, -1))]
        found = _of_heads(score(positions, norm, *given), heads)
    measured = as_tensor(measured, "measured")[0]
    ordered = all(each.unique().numel() > 1 for each in (found, measured))
    agreement = spearmanr(found, measured).statistic if ordered else 0.0
    best = found.argmax().item()
    require(
        agreement >= 0.6,
        "your score knows the heads that were built to look back, but in the first layer of the model in use it orders "
        f"the heads differently from what they do on text (rank correlation {agreement:.3f}; 0.6 is asked for). Do "
        "its largest and smallest scores mean what you think they mean?",
    )
    return (
        f"from positions alone, your order of the first layer's heads has a rank correlation of {agreement:.3f} with "
        f"what they do on text. There they give the token before {measured.min():.3f} to {measured.max():.3f} of their "
        f"attention, and your first, L0H{best}, {measured[best]:.3f}. Ranks do not see sizes: look at both."
    )


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
        f"one number a head, please: there are {heads} heads, and the answer has shape {tuple(found.shape)}.",
    )
    require(
        found.isfinite().all(), "some scores are NaN or infinite. Which rows of the pattern have no position before?"
    )
    return found


def _judge_built_heads(score, norm, generator):
    names, given = _built_heads(norm, generator)
    found = dict(zip(names, _of_heads(score(*given), len(names)).tolist()))
    others = {
        "itself": "a head built to look at its own position comes first. That is the main diagonal; the position "
        "before is the diagonal below it.",
        "ahead": "a head whose queries ask for the position *ahead*, where they may not look, comes first. Are "
        "queries and keys exchanged, or the diagonal above the main one taken?",
        "two back": "a head built to look two positions back comes first: one step too far.",
        "nowhere": "a head with no preference at all comes before the one that looks back.",
    }
    worst, reach = max(others, key=found.get), max(found.values()) - min(found.values())
    lowest = found["back"] - min(found.values()) < reach / 20
    if lowest and min(found["itself"], found["two back"]) - found["back"] > reach / 2:
        raise Wrong("the head built to look back comes last of all. Higher should be better in your score.")
    require(found["back"] > found[worst], others[worst])
    require(
        found["back"] > found["first"] + 1e-9,
        "a head that would look back, were it not for b_Q, which sends all its queries to the first position, comes as "
        "high as one that does look back. Add the biases, and let a softmax weigh the keys against each other.",
    )
    require(
        found["hidden"] >= found["half"] - 1e-9,
        "a head that looks back for certain, since it may not look where it would like to most, ahead, comes after one "
        "that looks back by half. Mask what lies ahead before the softmax.",
    )


CHECKERS = [
    what_a_checkpoint_weighs,
    which_position_is_most_alike,
    tails_that_are_a_mixture,
    what_the_norm_hides,
    one_heads_ov_circuit,
    other_numbers_same_head,
    who_looks_back,
]
