import numpy as np
import pytest
import torch

from interp_helpers import ArgumentError, ModelError, heads, load_model, passages, token_batches
from interp_helpers.capture import attention_modules, visit_attention
from interp_helpers.survey import SCORES, survey, table


@pytest.fixture(params=["gpt2", "gpt-neo", "llama"])
def model(request, folders):
    return load_model(str(folders[request.param]), device="cpu")[0]


def some_batches(seed=0):
    """Two batches of texts with few different tokens, so that duplicates occur, and with padding."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for lengths in [[12, 9, 5], [20, 7]]:
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        batches.append((torch.randint(1, 6, mask.shape, generator=generator) * mask, mask))
    return batches


def values_of(model, tokens):
    """Value vectors of every layer, `(layer, text, head, key, size)`, read from the weights' side."""
    with torch.no_grad():
        cache = model(tokens, use_cache=True).past_key_values
    count = model.config.num_attention_heads
    return [layer.values.repeat_interleave(count // layer.values.shape[1], 1) for layer in cache.layers]


def test_it_equals_scoring_each_text_by_itself(model):
    """Every text alone, without padding, pattern by pattern; then means over all queries of all texts."""
    sums, counts = 0, 0
    for tokens, mask in some_batches():
        for row, length in zip(tokens, mask.sum(1)):
            text = row[None, :length]
            with torch.no_grad():
                pattern = torch.cat(model(text, output_attentions=True).attentions).double()
            targets = [make(text) for make in heads.TARGETS.values()]
            moved = heads.value_weighted(pattern, torch.cat(values_of(model, text)).double().norm(dim=-1))
            found = [(pattern * target).sum((-2, -1)) for target in targets]
            found += [moved[:, :, 1:, 0].sum(-1), heads.entropy_shares(pattern)[:, :, 1:].sum(-1)]
            sums = sums + torch.stack(found)
            counts = counts + torch.tensor([*(target.any(-1).sum() for target in targets), length - 1, length - 1])
    expected = sums / counts[:, None, None]
    scores = survey(model, some_batches())
    assert list(scores) == SCORES
    for name, value in zip(SCORES, expected):
        torch.testing.assert_close(scores[name], value, atol=1e-6, rtol=1e-5)


def test_batches_texts_and_generators_make_no_difference(model):
    whole = survey(model, some_batches())
    single = [(tokens[i : i + 1], mask[i : i + 1]) for tokens, mask in some_batches() for i in range(len(tokens))]
    for batches in [single, iter(single)]:
        for name, value in survey(model, batches).items():
            torch.testing.assert_close(value, whole[name], atol=1e-6, rtol=1e-5)


def test_scores_of_texts_average_to_those_of_all(model):
    tokens = torch.randint(1, 5, (6, 15), generator=torch.Generator().manual_seed(3))
    whole, each = survey(model, [tokens]), survey(model, [tokens[:2], tokens[2:]], per_text=True)
    for name in ["previous_token", "first_token", "entropy_share"]:  # equally many queries in every text
        assert each[name].shape == (6, 2, 4)
        torch.testing.assert_close(each[name].mean(0), whole[name], atol=1e-6, rtol=1e-5)


def test_scores_without_a_target_are_left_out(model):
    scores = survey(model, [torch.arange(1, 9)[None]])
    assert set(SCORES) - set(scores) == {"duplicate_token", "induction"}


def test_it_works_on_a_single_head_and_layer(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(
        GPT2Config(n_layer=1, n_head=1, n_embd=8, n_positions=16, vocab_size=20, attn_implementation="eager")
    ).eval()
    assert survey(model, [torch.arange(1, 9)[None]])["previous_token"].shape == (1, 1)


def test_memory_holds_one_layer_of_patterns(model):
    """The pattern of a layer is freed before that of the next is made."""
    import weakref

    alive, tokens = [], torch.randint(1, 9, (2, 16))

    def visit(layer, pattern, values):
        assert not [each for each in alive if each() is not None]
        alive.append(weakref.ref(pattern))

    with torch.no_grad(), visit_attention(model, visit):
        model.base_model(tokens, use_cache=True)
    assert len(alive) == 2


def test_hooks_are_gone_also_after_an_exception(model):
    def hooks():
        return sum(len(module._forward_hooks) for module in model.modules())

    before = hooks()
    survey(model, [torch.arange(1, 9)[None]])
    assert hooks() == before
    with pytest.raises(ZeroDivisionError), visit_attention(model, lambda *seen: 1 / 0):
        model(torch.arange(1, 9)[None], use_cache=True)
    assert hooks() == before


def test_bad_input_is_refused(model):
    tokens, mask = some_batches()[0]
    for batches, message in [
        ([], "there are no texts"),
        ([(tokens, mask & False)], "all padding"),
        ([(tokens.flip(1), mask.flip(1))], "on the right"),
        ([(tokens, mask[:, :3])], r"must both be \(text, position\)"),
        ([tokens[0]], r"must be \(text, position\), .* give tokens\[None\]"),
        ([tokens[:1, :1], (tokens[:2], torch.arange(12) < torch.ones(2, 1))], "every text is of one token"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            survey(model, batches)


def test_nan_is_an_error_that_names_the_layer(folders):
    model = load_model(str(folders["gpt2"]), device="cpu")[0]
    with torch.no_grad():
        model.transformer.h[1].attn.c_attn.weight[0, 0] = torch.nan
    with pytest.raises(ArgumentError, match="layer 1 holds NaN"):
        survey(model, [torch.arange(1, 9)[None]])


def test_a_model_that_hides_its_attention_is_an_error(folders):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folders["gpt2"], attn_implementation="sdpa").eval()
    with pytest.raises(ModelError, match=r'no attention pattern.*attn_implementation="eager"'):
        survey(model, [torch.arange(1, 9)[None]])


def test_dropout_is_refused(folders):
    model = load_model(str(folders["gpt2"]), device="cpu")[0].train()
    with pytest.raises(ModelError, match=r"survey: the model is in train mode, .* call model\.eval\(\)"):
        survey(model, [torch.arange(1, 9)[None]])


def test_attention_is_found_by_structure(model):
    assert len(attention_modules(model)) == 2
    model.config.num_hidden_layers, count = 3, model.config.num_hidden_layers
    with pytest.raises(ModelError, match="no list of 3 layers"):
        attention_modules(model)
    model.config.num_hidden_layers = count


def test_the_table_names_heads_by_layer_and_head():
    scores = {"a": torch.arange(6.0).reshape(2, 3), "b": np.zeros((2, 3))}
    assert table(scores).index.tolist() == ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]
    assert table(scores).loc["1.1", "a"] == 4


def test_storybook_has_heads_that_the_passages_show(storybook):
    model, tokenizer = storybook
    scores = survey(model, token_batches(tokenizer, passages()[:16], context=128))
    assert scores["previous_token"].max() > 0.5


def test_a_score_that_is_missing_stays_missing_in_the_table():
    found = table({"previous_token": [[0.5, float("nan")]], "induction": [[0.25, 1.0]]})
    assert found.loc["0.0"].tolist() == [0.5, 0.25]
    assert np.isnan(found.loc["0.1", "previous_token"])


def test_scores_carry_no_gradients(model):
    """Else the first batch's activations would stay in memory to the last."""
    assert not any(score.requires_grad for score in survey(model, [torch.arange(6).repeat(1, 2)]).values())
