"""Properties of hooks, replacements, metrics and sweeps: the right answer, or an error that names the argument."""

from contextlib import contextmanager
from functools import partial

import pytest
import torch
from hypothesis import strategies as st
from properties import cases, faults, refused, seeded, sizes
from tiny import (
    HEADS,
    LAYERS,
    MASKS,
    MODELS,
    PATHS,
    SIZE,
    TOKENS,
    VOCABULARY,
    WIDTH,
    added,
    alone,
    close,
    families,
    losses,
    matrix,
    spoilt,
    texts,
    tiny,
)

import interp_helpers as ih
from interp_helpers import capture, patching
from interp_helpers.texts import pad


@cases(family=families, rows=texts(2), noise=seeded(), fault=faults("one token", *TOKENS, *MASKS, *MODELS))
def test_text_loss(family, rows, noise, fault):
    model, (tokens, mask) = tiny(family), pad(rows)
    if fault == "one token":
        assert refused(patching.text_loss, model, *pad([*rows, [3]]), naming="tokens")
    elif fault:
        *given, name = spoilt(fault, model, tokens, mask)
        assert refused(patching.text_loss, *given, naming=name)
    else:
        tokens = torch.where(mask, tokens, torch.randint(VOCABULARY, tokens.shape, generator=noise))
        close(patching.text_loss(model, tokens, mask), torch.stack([losses(family, row).mean() for row in rows]))


@contextmanager
def nothing_left_behind(model):
    """No hook stays, and the model says what it said before."""

    def state():
        return sum(len(each._forward_pre_hooks) + len(each._forward_hooks) for each in model.modules())

    before = state()
    yield
    assert state() == before


def within(context, *arguments, body=lambda: None):
    """A context manager as a function, so that `refused` can call it: enters, runs the body, leaves."""

    def run():
        with context(*arguments):
            body()

    run.__name__ = context.__name__
    return run


@cases(
    family=families, rows=texts(), chosen=st.sets(st.integers(0, LAYERS), min_size=1),
    fault=faults("a string", "nothing", "unknown", "number in the list", "not called", *MODELS),
)  # fmt: skip
@torch.no_grad()
def test_record_inputs(family, rows, chosen, fault):
    model, (tokens, _) = tiny(family), pad(rows[:1])
    names = [*(f"{PATHS[family][0]}.{layer}" for layer in range(LAYERS)), PATHS[family][3]]
    names = [names[each] for each in chosen]
    run = partial(model, tokens)
    with nothing_left_behind(model):
        if fault == "not called":
            assert refused(within(ih.record_inputs, model, names), naming=names)
        elif fault in MODELS:
            assert refused(within(ih.record_inputs, MODELS[fault], names, body=run), naming="model")
        elif fault:
            bad = {
                "a string": names[0],
                "nothing": None,
                "unknown": [*names, "no.such"],
                "number in the list": [*names, 3],
            }
            assert refused(within(ih.record_inputs, model, bad[fault], body=run), naming=["names", "module"])
        else:
            with ih.record_inputs(model, names) as seen:
                run()
            wanted = ih.read_streams(model, tokens)
            assert list(seen) == sorted(names, key=list(dict(model.named_modules())).index)
            for each, name in zip(sorted(chosen), sorted(names, key=list(seen).index)):
                assert torch.equal(seen[name], wanted[each])


@pytest.mark.parametrize("function", [capture.visit_attention, capture.visit_attention_outputs])
@torch.no_grad()
def test_visitors(function):
    @cases(family=families, row=texts(), fault=faults("visit: nothing", "visit: a string", "no cache", *MODELS))
    def holds(family, row, fault):
        model, row, seen = tiny(family), row[0], []
        tokens = torch.tensor([row])
        run = partial(model.base_model, tokens, use_cache=fault != "no cache")
        with nothing_left_behind(model):
            if fault in MODELS:
                assert refused(within(function, MODELS[fault], print), naming="model")
            elif fault in ("visit: nothing", "visit: a string"):
                bad = {"visit: nothing": None, "visit: a string": "print"}[fault]
                assert refused(within(function, model, bad, body=run), naming="visit")
            elif fault and function is capture.visit_attention:
                assert refused(within(function, model, lambda *given: None, body=run), naming="model")
            else:
                with function(model, lambda *given: seen.append(given)):
                    run()
                assert [each[0] for each in seen] == list(range(LAYERS))
                out, wanted = alone(family, row), added(family, row)
                for layer, *given in seen:
                    if function is capture.visit_attention:
                        close(given[0], out.attentions[layer])
                        close(given[1], out.values[layer : layer + 1])
                    else:
                        close(given[0][0], wanted[layer])

    holds()


# Replacing.
NO_HEADS = {
    "heads: too large a layer": ["0.0", f"{LAYERS}.0"],
    "heads: too large a head": [f"0.{HEADS}"],
    "heads: negative": ["-1.0"],
    "heads: negative head": ["1.-1"],
    "heads: words": ["a.b"],
    "heads: a layer alone": [1],
    "heads: none": [],
    "heads: nothing": None,
    "heads: a string": "1.0",
    "heads: a number": 3,
    "heads: tuples": [(0, 1)],
    "heads: three numbers": ["0.1.2"],
}
NO_REPLACEMENTS = {
    "NaN": lambda old: old * torch.nan,
    "infinity": lambda old: old + torch.inf,
    "empty": lambda old: old[:0],
    "complex": lambda old: old.to(torch.complex64),
    "other device": lambda old: old.to("meta"),
    "string": lambda old: "zeros",
    "nothing": lambda old: None,
    "longer": lambda old: torch.cat([old, old], 1),
    "wider": lambda old: torch.cat([old, old], -1),
}


@cases(
    family=families, rows=texts(), names=st.sets(st.tuples(sizes(0, LAYERS - 1), sizes(0, HEADS - 1)), min_size=1),
    seed=seeded(), fault=faults(*NO_HEADS, *NO_REPLACEMENTS, "replacement: nothing", "not run", *MODELS),
)  # fmt: skip
@torch.no_grad()
def test_replace_heads(family, rows, names, seed, fault):
    model, (tokens, mask) = tiny(family), pad(rows)
    given = [f"{layer}.{head}" for layer, head in names]
    new = torch.randn(LAYERS, HEADS, *tokens.shape, SIZE, generator=seed)
    run = partial(model, tokens, attention_mask=mask.long())
    with nothing_left_behind(model):
        if fault in MODELS:
            assert refused(within(ih.replace_heads, MODELS[fault], given, ih.zeros, body=run), naming="model")
        elif fault in NO_HEADS:
            assert refused(
                within(ih.replace_heads, model, NO_HEADS[fault], ih.zeros, body=run), naming=["head", "layer"]
            )
        elif fault == "not run":
            assert refused(within(ih.replace_heads, model, given, ih.zeros), naming="layer")
        elif fault:
            bad = NO_REPLACEMENTS.get(fault)
            bad = bad and (lambda old, layer, head: NO_REPLACEMENTS[fault](old))
            assert refused(within(ih.replace_heads, model, given, bad, body=run), naming="replacement")
        else:
            old, before = ih.head_outputs(model, tokens, mask), ih.attention_outputs(model, tokens, mask)
            with ih.replace_heads(model, given, ih.taken_from(new)) as yielded:
                after = ih.attention_outputs(model, tokens, mask)
                inside = ih.head_outputs(model, tokens, mask)
            assert yielded == given
            first = min(layer for layer, _ in names)  # later layers read what has changed
            change = 0
            for layer, head in names:
                assert torch.equal(inside[layer, head], new[layer, head])
                if layer == first:
                    weight, _ = matrix(family, layer)
                    change += (new - old)[layer, head] @ weight[head * SIZE : (head + 1) * SIZE]
            close(after[first], before[first] + change)
            assert torch.equal(after[:first], before[:first])


@cases(
    family=families, rows=texts(), layer=sizes(0, LAYERS), seed=seeded(), places=st.lists(sizes(-7, 6), min_size=1),
    fault=faults(
        *NO_REPLACEMENTS, "layer: too large", "layer: negative", "layer: a string", "layer: half", "layer: nothing",
        "positions: beyond", "positions: half", "positions: none", "positions: strings", "positions: booleans",
        "positions: meta", "not run", *MODELS,
    ),
)  # fmt: skip
@torch.no_grad()
def test_replace_stream(family, rows, layer, seed, places, fault):
    model, (tokens, mask) = tiny(family), pad(rows)
    length = tokens.shape[1]
    places = [each for each in places if -length <= each < length] or None
    new = torch.randn(*tokens.shape, WIDTH, generator=seed)
    run = partial(model, tokens, attention_mask=mask.long())
    layers = {"too large": LAYERS + 1, "negative": -1, "a string": "1", "half": 0.5, "nothing": None}
    positions = {
        "beyond": [0, length], "half": 0.5, "none": [], "strings": ["0"], "booleans": [True],
        "meta": torch.ones(1).long().to("meta"),
    }  # fmt: skip
    with nothing_left_behind(model):
        if fault in MODELS:
            assert refused(within(ih.replace_stream, MODELS[fault], layer, new, places, body=run), naming="model")
        elif fault == "not run":
            assert refused(within(ih.replace_stream, model, layer, new), naming="model")
        elif fault in NO_REPLACEMENTS:
            bad = NO_REPLACEMENTS[fault](new)
            assert refused(within(ih.replace_stream, model, layer, bad, places, body=run), naming="vectors")
        elif fault:
            name, kind = fault.split(": ")
            bad = (layers[kind], new, places) if name == "layer" else (layer, new, positions[kind])
            assert refused(within(ih.replace_stream, model, *bad, body=run), naming=name)
        else:
            before = ih.read_streams(model, tokens, mask)
            with ih.replace_stream(model, layer, new, places) as yielded:
                after, logits = ih.read_streams(model, tokens, mask), run().logits
            assert yielded == (layer, places)
            wanted = before[layer].clone()
            for position in range(length) if places is None else places:
                wanted[:, position] = new[:, position]
            assert torch.equal(after[layer], wanted)
            assert torch.equal(after[:layer], before[:layer])
            norm = model.get_submodule(ih.final_norm_name(model))
            close(logits, model.lm_head(norm(after[LAYERS])))


@cases(shape=st.lists(st.integers(1, 4), max_size=4), seed=seeded(), layer=sizes(0, 9), head=sizes(0, 9),
       fault=faults("empty", "string", "nothing", "list", "booleans", "meta"))  # fmt: skip
def test_zeros(shape, seed, layer, head, fault):
    values = torch.randn(shape, generator=seed)
    if fault:
        bad = {"empty": values[None][:0], "string": "a", "nothing": None, "list": [1.0], "booleans": values > 0}
        assert refused(ih.zeros, bad.get(fault, values.to("meta")), layer, head, naming="values")
    else:
        found = ih.zeros(values, layer, head)
        assert (found.shape, found.dtype, found.count_nonzero().item()) == (values.shape, values.dtype, 0)


@cases(
    shape=st.tuples(*[st.integers(1, 3)] * 5), whole=st.booleans(), seed=seeded(), place=st.integers(0, 99),
    fault=faults("NaN", "infinity", "empty", "string", "nothing", "list", "whole numbers", "two axes", "meta", "layer",
                 "head", "negative layer"),
)  # fmt: skip
def test_taken_from(shape, whole, seed, place, fault):
    outputs = torch.randn(shape if whole else (*shape[:2], shape[-1]), generator=seed)
    layer, head = place % shape[0], place % shape[1]
    bad = {
        "NaN": outputs * torch.nan, "infinity": outputs / 0, "empty": outputs[:0], "string": "a", "nothing": None,
        "list": outputs.tolist(), "whole numbers": outputs.long(), "two axes": outputs.flatten(1),
        "meta": outputs.to("meta"),
    }  # fmt: skip
    if fault in bad:
        assert refused(ih.taken_from, bad[fault], naming="outputs")
    elif fault:
        no = {"layer": (shape[0], head), "head": (layer, shape[1]), "negative layer": (-1, head)}[fault]
        assert refused(ih.taken_from(outputs), None, *no, naming="outputs")
    else:
        flat = outputs.reshape(shape[0] * shape[1], -1)[layer * shape[1] + head]
        assert torch.equal(ih.taken_from(outputs)(None, layer, head).flatten(), flat)


# Metrics and sweeps.
@cases(
    family=families, rows=st.lists(st.lists(sizes(1, 6), min_size=2, max_size=2), min_size=1, max_size=3),
    more=sizes(0, 4), fault=faults(*TOKENS, *MODELS, "not the same again", "one token"),
)  # fmt: skip
def test_repeat_gain(family, rows, more, fault):
    rows = [(row + [number + 1] * more) * 2 for number, row in enumerate(rows)]
    model, tokens = tiny(family), torch.tensor(rows)
    if fault == "one token":
        assert refused(patching.repeat_gain, model, tokens[:, :1].repeat(1, 2), naming="tokens")
    elif fault == "not the same again":
        tokens[0, -1] += 1
        assert refused(patching.repeat_gain, model, tokens, naming="tokens")
    elif fault:
        model, tokens, _, name = spoilt(fault, model, tokens, tokens > 0)
        assert refused(patching.repeat_gain, model, tokens, naming=name)
    else:
        wanted = []
        for row in rows:
            loss, length = losses(family, row), len(row) // 2
            wanted.append(loss[: length - 1].mean() - loss[length:].mean())
        close(patching.repeat_gain(model, tokens), torch.stack(wanted))


NO_WORDS = {
    "below 0": -1,
    "beyond the vocabulary": VOCABULARY,
    "half": 0.5,
    "a word": " leg",
    "nothing": None,
    "floats": torch.ones(9),
    "other shape": torch.ones(9).long(),
    "other device": torch.ones(()).long().to("meta"),
    "empty": torch.ones(0).long(),
    "a truth": True,
}


@cases(
    family=families, rows=texts(), words=st.tuples(st.integers(0, VOCABULARY - 1), st.integers(0, VOCABULARY - 1)),
    swap=st.booleans(), fault=faults(*TOKENS, *MODELS, *(f"word: {each}" for each in NO_WORDS)),
)  # fmt: skip
def test_logit_difference(family, rows, words, swap, fault):
    rows = [row[: min(map(len, rows))] for row in rows]
    model, tokens = tiny(family), torch.tensor(rows)
    right, wrong = words[0], torch.full((len(rows),), words[1])
    if swap:
        right, wrong = wrong, right
    if fault and fault.startswith("word: "):
        bad = NO_WORDS[fault.removeprefix("word: ")]
        given, name = ((bad, wrong), "right") if swap else ((right, bad), "wrong")
        assert refused(patching.logit_difference, model, tokens, *given, naming=name)
    elif fault:
        model, tokens, _, name = spoilt(fault, model, tokens, tokens > 0)
        assert refused(patching.logit_difference, model, tokens, right, wrong, naming=name)
    else:
        last = torch.stack([alone(family, row).logits[0, -1] for row in rows])
        sign = -1 if swap else 1
        close(patching.logit_difference(model, tokens, right, wrong), sign * (last[:, words[0]] - last[:, words[1]]))
        close(patching.logit_difference(model, tokens, wrong, right), sign * (last[:, words[1]] - last[:, words[0]]))


@cases(
    family=families, row=texts(2), names=st.none() | st.lists(st.sampled_from(["0.0", "0.3", "1.2"]), min_size=1),
    fault=faults(*NO_HEADS, "metric: nothing", "metric: a word", "metric: returns nothing", "replacement: nothing",
                 "replacement: NaN", *MODELS),
)  # fmt: skip
def test_sweep_heads(family, row, names, fault):
    model, tokens = tiny(family), torch.tensor(row[:1])
    metric = partial(patching.text_loss, tokens=tokens)
    if fault in MODELS:
        assert refused(patching.sweep_heads, MODELS[fault], metric, ih.zeros, names, naming="model")
    elif fault in NO_HEADS and NO_HEADS[fault] is not None:  # None is all of them
        assert refused(patching.sweep_heads, model, metric, ih.zeros, NO_HEADS[fault], naming=["head", "layer"])
    elif fault and fault.startswith("metric"):
        bad = {"metric: nothing": None, "metric: a word": "loss", "metric: returns nothing": lambda model: None}[fault]
        assert refused(patching.sweep_heads, model, bad, ih.zeros, names, naming="metric")
    elif fault and fault.startswith("replacement"):
        bad = None if fault == "replacement: nothing" else lambda values, layer, head: values * torch.nan
        assert refused(patching.sweep_heads, model, metric, bad, names, naming="replacement")
    else:
        found, swept = patching.sweep_heads(model, metric, ih.zeros, names), names or ["0.0", "1.2"]
        assert found.shape == (LAYERS, HEADS, 1)
        assert int(found.isnan().sum()) == (LAYERS * HEADS - len(set(names)) if names else 0)
        for name in swept:
            with ih.replace_heads(model, [name], lambda values, layer, head: 0.0):
                assert torch.equal(found[tuple(map(int, name.split(".")))], metric(model))


@cases(
    family=families, row=texts(2), other=seeded(),
    fault=faults("NaN", "infinity", "empty", "string", "nothing", "list", "whole numbers", "three axes",
                 "a layer too many", "a layer too few", "other text", "meta", "metric: nothing",
                 "metric: returns words", *MODELS),
)  # fmt: skip
def test_sweep_stream(family, row, other, fault):
    model, row = tiny(family), row[0]
    tokens = torch.tensor([row, row])
    streams = ih.read_streams(model, torch.randint(VOCABULARY, tokens.shape, generator=other))
    metric = partial(patching.logit_difference, tokens=tokens, right=5, wrong=6)
    bad = {
        "NaN": streams * torch.nan, "infinity": streams / 0, "empty": streams[:, :0], "string": "a", "nothing": None,
        "list": [streams], "whole numbers": streams.long(), "three axes": streams[0], "meta": streams.to("meta"),
        "a layer too many": torch.cat([streams, streams[:1]]), "a layer too few": streams[1:],
        "other text": streams.repeat(1, 2, 1, 1),
    }  # fmt: skip
    if fault in MODELS:
        assert refused(patching.sweep_stream, MODELS[fault], metric, streams, naming="model")
    elif fault in bad:
        assert refused(patching.sweep_stream, model, metric, bad[fault], naming=["streams", "vectors"])
    elif fault:
        wrong = None if fault == "metric: nothing" else lambda model: "a word"
        assert refused(patching.sweep_stream, model, wrong, streams, naming="metric")
    else:
        found = patching.sweep_stream(model, metric, streams)
        assert found.shape == (LAYERS + 1, len(row), 2)
        last = model.lm_head(model.get_submodule(ih.final_norm_name(model))(streams[LAYERS, :, -1])).detach()
        close(found[LAYERS, -1], last[:, 5] - last[:, 6])  # the last token's stream decides alone after the last layer
        close(found[LAYERS, :-1], metric(model).expand(len(row) - 1, 2))
