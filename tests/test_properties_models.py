"""Properties of what reads a model: the right answer, or an error that names the argument."""

import pytest
import torch
from hypothesis import strategies as st
from properties import cases, faults, refused, seeded, sizes
from tiny import (
    CONTEXT,
    LAYERS,
    MASKS,
    MODELS,
    PATHS,
    TOKENS,
    VOCABULARY,
    added,
    alone,
    close,
    configuration,
    families,
    spoilt,
    texts,
    tiny,
    tokenizer,
)

import interp_helpers as ih
from interp_helpers import capture
from interp_helpers.survey import SCORES, mean_scores, survey, survey_sums
from interp_helpers.texts import pad


def streams_are_hidden_states(family, row, found):
    hidden = alone(family, row).hidden_states
    close(found[:LAYERS], torch.cat(hidden[:LAYERS]))
    norm = tiny(family).get_submodule(ih.final_norm_name(tiny(family)))
    close(norm(found[LAYERS]), hidden[-1][0])


# function -> what it must find for one text: (family, ids, what it found for that text's tokens).
READERS = {
    ih.attention_outputs: lambda family, row, found: close(found, added(family, row)),
    ih.head_outputs: lambda family, row, found: close(found, alone(family, row).z),
    ih.read_streams: streams_are_hidden_states,
}


@pytest.mark.parametrize("function", READERS)
@torch.no_grad()
def test_what_reads_texts(function):
    @cases(family=families, rows=texts(), noise=seeded(), fault=faults(*TOKENS, *MASKS, *MODELS))
    def holds(family, rows, noise, fault):
        model, (tokens, mask) = tiny(family), pad(rows)
        if fault:
            *given, name = spoilt(fault, model, tokens, mask)
            assert refused(function, *given, naming=name)
            return
        tokens = torch.where(mask, tokens, torch.randint(VOCABULARY, tokens.shape, generator=noise))
        found = function(model, tokens, mask)
        for number, row in enumerate(rows):
            READERS[function](family, row, found[..., number, : len(row), :])
        if mask.all():
            close(function(model, tokens), found)

    holds()


# What takes batches of texts: a list of (tokens, mask).
def norms_are_those_of_each_text(family, rows, found):
    norms, mask = found
    assert mask.sum(1).tolist() == [len(row) for row in rows]
    assert torch.equal(norms.isnan(), ~mask.expand_as(norms))
    for number, row in enumerate(rows):
        close(norms[:, number, : len(row)].float(), added(family, row).norm(dim=-1))


def means_are_over_all_tokens(family, rows, found):
    close(found, torch.cat([alone(family, row).z for row in rows], 2).mean(2))


def slow_scores(family, rows):
    """{name: (layer, head)}, every text alone, query by query."""
    total, count = dict.fromkeys(SCORES, 0), dict.fromkeys(SCORES, 0)
    for row in rows:
        out = alone(family, row)
        pattern, norms = torch.cat(out.attentions).double(), out.values.double().norm(dim=-1)
        for query in range(1, len(row)):
            weights = pattern[:, :, query, : query + 1]
            earlier = [key for key in range(query) if row[key] == row[query]]
            targets = {
                "previous_token": [query - 1],
                "first_token": [0],
                "current_token": [query],
                "duplicate_token": earlier,
                "induction": [key + 1 for key in earlier],
            }
            for name, keys in targets.items():
                if keys:
                    total[name], count[name] = total[name] + weights[..., keys].sum(-1), count[name] + 1
            moved = weights * norms[:, :, : query + 1]
            bits = -(weights * weights.clamp_min(1e-300).log2()).sum(-1) / torch.tensor(query + 1.0).log2()
            for name, value in [("value_weighted_first_token", moved[..., 0] / moved.sum(-1)), ("entropy_share", bits)]:
                total[name], count[name] = total[name] + value, count[name] + 1
    return {name: total[name] / count[name] for name in SCORES if count[name]}


def scores_are_slow_ones(family, rows, found):
    wanted = slow_scores(family, rows)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        close(found[name], value)


def sums_add_up(family, rows, found):
    """Those of all texts are the sum of those of single ones, and they hold the survey's means."""
    sums, counts = found
    parts = [survey_sums(tiny(family), [torch.tensor([row])]) for row in rows]
    close(sums, sum(each for each, _ in parts))
    assert torch.equal(counts, sum(each for _, each in parts))
    scores_are_slow_ones(family, rows, {name: each[0] for name, each in mean_scores(sums, counts).items()})


BATCHED = {
    ih.attention_output_norms: norms_are_those_of_each_text,
    ih.mean_head_outputs: means_are_over_all_tokens,
    survey: scores_are_slow_ones,
    survey_sums: sums_add_up,
}
NO_BATCHES = {"batches: a string": "a string", "batches: nothing": None, "batches: a number": 3, "batches: none": []}


@pytest.mark.parametrize("function", BATCHED)
def test_what_reads_batches(function):
    @cases(
        family=families,
        rows=texts(),
        size=sizes(1, 3),
        fault=faults(*TOKENS, *MASKS, *MODELS, *NO_BATCHES, "three things"),
    )
    def holds(family, rows, size, fault):
        model, (tokens, mask) = tiny(family), pad(rows)
        if fault == "three things":
            assert refused(function, model, [(tokens, mask, mask)], naming="batch")
        elif fault in NO_BATCHES:
            assert refused(function, model, NO_BATCHES[fault], naming=["batch", "texts"])
        elif fault:
            model, tokens, mask, name = spoilt(fault, model, tokens, mask)
            assert refused(function, model, [(tokens, mask)], naming=name)
        elif function is survey and all(len(row) == 1 for row in rows):  # nothing is left to score
            assert refused(survey, model, [(tokens, mask)], naming="text")
        else:
            BATCHED[function](
                family, rows, function(model, [pad(rows[i : i + size]) for i in range(0, len(rows), size)])
            )

    holds()


@cases(family=families, rows=texts(2))
def test_a_survey_by_text(family, rows):
    """Texts are scored as if each were alone, also where they stand in one batch with others."""
    found = survey(tiny(family), [pad(rows)], per_text=True)
    for number, row in enumerate(rows):
        single = survey(tiny(family), [torch.tensor([row])])
        for name, score in found.items():
            if name in single:
                close(score[number], single[name])
            else:
                assert score[number].isnan().all()


# Structure: models of any size, without weights.
def where(function, family, layers):
    stack, attention, mixing, norm = PATHS[family]
    ending = {
        capture.layer_modules: "",
        ih.attention_modules: f".{attention}",
        capture.output_projections: f".{mixing}",
    }
    return norm if function is ih.final_norm_name else [f"{stack}.{each}{ending[function]}" for each in range(layers)]


@pytest.mark.parametrize(
    "function", [ih.final_norm_name, capture.layer_modules, ih.attention_modules, capture.output_projections]
)
def test_structure(function):
    @cases(
        family=families, layers=sizes(1, 4), heads=st.sampled_from([1, 2, 4]), width=sizes(1, 9),
        vocabulary=sizes(1, 99),
        fault=faults(*MODELS, "model: its configuration", "model: no list of layers", "model: too few layers"),
    )  # fmt: skip
    def holds(family, layers, heads, width, vocabulary, fault):
        model = ih.empty_model(configuration(family, layers, heads, 8 * width, vocab_size=vocabulary))
        if fault == "model: too few layers":
            model.config.num_hidden_layers += 1
            assert refused(function, model, naming=type(model).__name__)
        elif fault == "model: no list of layers":
            (model.transformer if family != "llama" else model.model).h = None
            (model.transformer if family != "llama" else model.model).layers = None
            assert refused(function, model, naming=type(model).__name__)
        elif fault:
            given = model.config if fault == "model: its configuration" else MODELS[fault]
            assert refused(function, given, naming="model")
        else:
            found, wanted = function(model), where(function, family, layers)
            names = {module: name for name, module in model.named_modules()}
            assert found == wanted if isinstance(found, str) else [names[each] for each in found] == wanted

    holds()


@cases(
    layers=sizes(1, 5), heads=sizes(1, 4), size=sizes(1, 9), vocabulary=sizes(1, 99), context=sizes(1, 99),
    fault=faults("string", "nothing", "class", "a model", "heads that do not divide", "no width", "a list"),
)  # fmt: skip
def test_empty_model(layers, heads, size, vocabulary, context, fault):
    from transformers import GPT2Config

    width = heads * size
    config = GPT2Config(n_layer=layers, n_head=heads, n_embd=width, vocab_size=vocabulary, n_positions=context)
    if fault == "heads that do not divide":
        config.n_head = width + 1
    elif fault == "no width":
        config.n_embd = -width
    if fault:
        other = {"string": "gpt2", "nothing": None, "class": GPT2Config, "a model": tiny("gpt2"), "a list": [config]}
        assert refused(ih.empty_model, other.get(fault, config), naming="config")
    else:
        model = ih.empty_model(config)
        block = 12 * width**2 + 13 * width  # matrices of attention and MLP, their biases, two LayerNorms
        assert sum(each.numel() for each in model.parameters()) == (
            (vocabulary + context) * width + layers * block + 2 * width
        )
        assert all(each.is_meta for each in model.parameters())


# Generating.
@cases(
    prompt=st.lists(st.sampled_from(["the", "king", "and", "a", "goose", "."]), min_size=1, max_size=6).map(" ".join),
    family=families, count=sizes(1, 4), penalty=st.sampled_from([1, 1.0, 1.5, 3]),
    fault=faults("prompt: empty", "prompt: space", "prompt: nothing", "prompt: a number", "prompt: too long",
                 "prompt: half a letter", "max_new_tokens: 0", "max_new_tokens: half", "max_new_tokens: a word",
                 "repetition_penalty: 0", "repetition_penalty: NaN", "repetition_penalty: negative",
                 "repetition_penalty: infinite", "repetition_penalty: a word", "tokenizer: nothing",
                 "tokenizer: a name", *MODELS),
)  # fmt: skip
@torch.no_grad()
def test_record_generation(prompt, family, count, penalty, fault):
    given = {"model": tiny(family), "tokenizer": tokenizer(), "prompt": prompt, "max_new_tokens": count}
    given["repetition_penalty"] = penalty
    if fault:
        values = {
            "empty": "", "space": " ", "nothing": None, "a number": 3, "too long": "the " * CONTEXT,
            "half a letter": "a \ud800", "0": 0, "half": 0.5, "a word": "many", "NaN": torch.nan, "negative": -1.5,
            "infinite": torch.inf, "a name": "gpt2", "its name": "gpt2", "its class": torch.nn.Linear,
        }  # fmt: skip
        name, kind = fault.split(": ")
        wanted = "text" if name == "prompt" else name  # the sentence is that of `encode`
        assert refused(ih.record_generation, **{**given, name: values[kind]}, naming=wanted)
        return
    record, model = ih.record_generation(**given), given["model"]
    start, new = record.prompt_length, record.tokens[record.prompt_length :]
    assert record.tokens[:start].tolist() == tokenizer()(prompt)["input_ids"]
    assert len(new) == count or new[-1] == 0, "as many as asked for, or the end of the text"
    out = model(record.tokens[None, :-1], output_attentions=True, output_hidden_states=True)
    close(record.logits, out.logits[0, start - 1 :])
    close(record.attention_by_step(), torch.cat(out.attentions)[:, :, start - 1 :])
    close(torch.cat(record.hidden_states, 1), torch.cat(out.hidden_states))
    for step, (logits, scores) in enumerate(zip(record.logits, record.scores)):
        before = record.tokens[: start + step].unique()
        expected = logits.clone()
        expected[before] = torch.where(logits[before] > 0, logits[before] / penalty, logits[before] * penalty)
        close(scores, expected)
        assert new[step] == scores.argmax()


@cases(
    prompt=sizes(1, 4), layers=sizes(1, 3), count=sizes(1, 3), new=sizes(1, 4), seed=seeded(),
    fault=faults("none", "NaN", "a string", "a list", "three axes", "meta"),
)  # fmt: skip
def test_attention_by_step(prompt, layers, count, new, seed, fault):
    shapes = [(prompt, prompt), *((1, prompt + step) for step in range(1, new))]
    attentions = [torch.rand(layers, count, *shape, generator=seed) for shape in shapes]
    if fault == "none":
        attentions = []
    elif fault:
        last = attentions[-1]
        attentions[-1] = {
            "NaN": last * torch.nan, "a string": "a", "a list": last.tolist(), "three axes": last[0],
            "meta": last.to("meta"),
        }[fault]  # fmt: skip
    nothing = torch.empty(0)
    record = ih.Generation(torch.arange(prompt + new), prompt, "", attentions, [], nothing, nothing)
    if fault:
        assert refused(record.attention_by_step, naming="attentions")
        return
    found = record.attention_by_step()
    assert found.shape == (layers, count, new, prompt + new - 1)
    for step, each in enumerate(attentions):
        for key in range(prompt + new - 1):
            wanted = each[:, :, -1, key] if key < prompt + step else torch.zeros(layers, count)
            assert torch.equal(found[:, :, step, key], wanted)
