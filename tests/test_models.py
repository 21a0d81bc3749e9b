import math
import shutil
import time
from contextlib import nullcontext
from copy import deepcopy

import numpy as np
import pytest
import torch
from data import repeated_random
from hypothesis import strategies as st
from measure import losses, patterns, shifted_score
from properties import cases
from tiny import CONTEXT, VOCABULARY, bridge, tiny, tokenizer
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CTRLConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MptConfig,
)

from interp_helpers import (
    ArgumentError,
    Batch,
    ModelError,
    TextError,
    context_length,
    empty_model,
    load_bridge,
    load_model,
    models,
)
from interp_helpers.hub import STORYBOOK
from interp_helpers.models import prepare


def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "model")


def test_storybook_is_ready_for_looking_inside(storybook):
    model, tokenizer = storybook
    assert isinstance(model, GPT2LMHeadModel)
    assert not model.training
    assert model.dtype == torch.float32
    out = model(torch.tensor([tokenizer("Once upon a time")["input_ids"]]), output_attentions=True)
    assert len(out.attentions) == model.config.num_hidden_layers


def test_storybook_loads_with_plain_transformers(storybook):
    model, tokenizer = storybook
    plain = AutoModelForCausalLM.from_pretrained(STORYBOOK)
    tokens = torch.tensor([tokenizer("The old man looked at the sea and said")["input_ids"]])
    assert plain.dtype == torch.float32
    torch.testing.assert_close(plain(tokens).logits, model(tokens).logits, atol=1e-4, rtol=1e-4)


def test_storybook_is_small_and_has_the_heads_that_its_card_states(storybook):
    """On tokens drawn evenly from the vocabulary, which no training window held."""
    model, _ = storybook
    assert (STORYBOOK / "model.safetensors").stat().st_size < 40e6
    tokens, half = repeated_random(np.arange(1, 8192), sequences=16, context=128)
    with torch.no_grad():
        pattern, loss = patterns(model, tokens), losses(model, tokens)
    for score in [
        shifted_score(pattern, 1, 1),  # previous token
        shifted_score(pattern, half - 1, 1 + half),  # induction
        shifted_score(pattern, half, 1 + half),  # duplicate token
    ]:
        assert score.max() > 0.5  # a head is of a kind when most of its attention is
    assert loss[:, half:].mean() < loss[:, :half].mean() - 5


@pytest.mark.parametrize("family", ["gpt2", "gpt-neo", "llama"])
def test_a_local_folder_equals_transformers(folders, family):
    model, _ = load_model(str(folders[family]), device="cpu")
    reference = AutoModelForCausalLM.from_pretrained(folders[family], attn_implementation="eager").eval()
    tokens = torch.arange(1, 21)[None]
    with torch.no_grad():
        found, expected = (each(tokens, output_attentions=True) for each in (model, reference))
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)
    assert found.attentions[0].shape == (1, 4, 20, 20)


@pytest.mark.parametrize(
    ("problem", "full"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:75] . DefaultCPUAllocator: not enough memory"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("shapes do not fit"), False),
        (OSError(5, "Input/output error"), False),
    ],
    ids=repr,
)
def test_a_model_that_does_not_fit_is_not_called_damaged(problem, full, folders, monkeypatch):
    def fail(*given, **options):
        raise problem

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(ModelError) as error:
        load_model(str(folders["gpt2"]), device="cpu")
    assert ("does not fit into memory" in str(error.value)) == full
    assert ("damaged" in str(error.value)) == (not full)
    assert ("Take a smaller model" in str(error.value) and "device_map='auto'" in str(error.value)) == full


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_cut_short_is_one_clear_error(tmp_path, folders, file):
    path = copy(folders["gpt2"], tmp_path) / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelError, match="cut short or damaged"):
        load_model(str(path.parent))


def test_weights_that_are_incomplete_are_not_filled_with_random_ones(tmp_path, folders):
    from safetensors.torch import load_file, save_file

    folder = copy(folders["gpt2"], tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.h.1.attn.c_attn.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 .*transformer\.h\.1\.attn\.c_attn\.weight"):
        load_model(str(folder))


def test_a_model_that_is_not_causal(folders):
    with pytest.raises(ModelError, match=r"is not a causal language model: it is stated to be BertForMaskedLM"):
        load_model(str(folders["bert"]))


def test_loading_is_quick_and_quiet(capfd):
    began = time.monotonic()
    load_model("storybook", device="cpu")
    assert time.monotonic() - began < 10
    assert capfd.readouterr() == ("", "")


def test_an_encoder_that_calls_itself_causal_is_refused(folders, tmp_path):
    from transformers import AutoTokenizer, BertConfig, BertLMHeadModel

    config = BertConfig(vocab_size=64, num_hidden_layers=1, num_attention_heads=2, hidden_size=16, intermediate_size=32)
    torch.manual_seed(0)
    model = BertLMHeadModel(config)
    for parameter in model.parameters():  # fresh weights are too small to show it
        parameter.data.mul_(10)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folders["gpt2"]).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is not a causal language model"):
        load_model(str(tmp_path), device="cpu")


def test_a_model_of_the_pythia_family_loads(folders, tmp_path):
    from transformers import AutoTokenizer, GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=64, num_hidden_layers=1, num_attention_heads=2, hidden_size=16, intermediate_size=32
    )
    GPTNeoXForCausalLM(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folders["gpt2"]).save_pretrained(tmp_path)
    model, _ = load_model(str(tmp_path), device="cpu")
    assert model.config.model_type == "gpt_neox"


def test_weights_that_are_not_numbers_are_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copy(folders["gpt2"], tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.ln_f.bias"][3] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="NaN or infinity"):
        load_model(str(folder), device="cpu")


@pytest.mark.parametrize(("built", "best"), [("cuda", "cuda"), ("mps", "mps"), ("cuda", "cpu")])
def test_without_a_device_the_best_one_is_taken(monkeypatch, built, best):
    """A build for CUDA names it as its accelerator also where there is none."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: best != "cpu")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(built))
    assert models._best_device() == torch.device(best)


@pytest.fixture
def a_device(monkeypatch):
    """`a_device(off)`: from now on there is an accelerator, on which logits are off by a share of their size.

    It is the device "meta" to whoever asks; what is moved there stays on the processor.
    """
    move = torch.nn.Module.to

    def fake(off):
        def to(model, device, *rest, **options):
            if torch.device(device).type != "meta":
                for hook in list(model._forward_hooks):
                    del model._forward_hooks[hook]
                return move(model, device, *rest, **options)

            def spoil(module, inputs, out):
                return type(out)(**{**out, "logits": out.logits * (1 + off)})

            model.register_forward_hook(spoil)
            return model

        monkeypatch.setattr(models, "_best_device", lambda: torch.device("meta"))
        monkeypatch.setattr(torch.nn.Module, "to", to)

    return fake


@pytest.mark.parametrize("untrained", [False, True])
@pytest.mark.parametrize("off", [0.01, torch.nan])
def test_a_device_that_nobody_asked_for_and_that_computes_something_else_is_left(off, untrained, folders, a_device):
    wanted = load_model(str(folders["gpt2"]), device="cpu", untrained=untrained)[0](torch.tensor([[5, 9, 3]])).logits
    a_device(off)
    problem = r"On 'meta', .* other logits than .*stays on the processor.*device='meta'"
    with pytest.warns(UserWarning, match=problem) as said:
        model, _ = load_model(str(folders["gpt2"]), untrained=untrained)
    assert said[0].filename == __file__, "it points at who loaded the model"
    torch.testing.assert_close(model(torch.tensor([[5, 9, 3]])).logits, wanted)
    assert not model._forward_hooks


@pytest.mark.parametrize("asked", [False, True])
def test_a_device_is_kept_that_agrees_or_that_was_asked_for(asked, folders, a_device, recwarn):
    a_device(0.01 if asked else 1e-5)
    model, _ = load_model(str(folders["gpt2"]), device="meta" if asked else None)
    assert len(model._forward_hooks) == 1
    assert not [each for each in recwarn if "processor" in str(each.message)]


def test_a_map_of_devices_takes_the_place_of_one(folders):
    model, _ = load_model(str(folders["gpt2"]), device="meta", device_map={"": "cpu"})
    assert (model.training, model.device.type) == (False, "cpu")


def test_loading_leaves_progress_bars_as_they_are(folders):
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    try:
        for switch, wanted in [(logging.disable_progress_bar, False), (logging.enable_progress_bar, True)]:
            switch()
            load_model(str(folders["gpt2"]), device="cpu")
            assert logging.is_progress_bar_enabled() == wanted
    finally:
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()


@pytest.mark.parametrize("ahead", [0.0, 0.01])
def test_looking_ahead_a_little_is_looking_ahead(ahead, folders, monkeypatch):
    logits = torch.ones(2, 2, 8)
    logits[1] += ahead
    monkeypatch.setattr(models, "_first_logits", lambda model: logits)
    with pytest.raises(ModelError, match="must not change with the next token") if ahead else nullcontext():
        load_model(str(folders["gpt2"]), device="cpu")


# The untrained twin.
def test_the_twin_is_the_one_that_seed_0_gives(storybook):
    torch.manual_seed(0)
    wanted = AutoModelForCausalLM.from_config(storybook[0].config).state_dict()
    twin, _ = load_model("storybook", device="cpu", untrained=True)
    assert twin.config.to_dict() == storybook[0].config.to_dict()
    for name, weight in twin.state_dict().items():
        assert torch.equal(weight, wanted[name])
        assert weight.ndim < 2 or not torch.equal(weight, storybook[0].state_dict()[name])


def test_loading_the_twin_leaves_the_random_numbers_of_every_device_alone(folders, monkeypatch):
    """Seeding seeds CUDA too: the state of all its devices is put aside, not only that of the processor."""
    real, asked = torch.random.fork_rng, []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: asked.append(list(devices)) or real(devices=[]))
    before = torch.random.get_rng_state()
    load_model(str(folders["gpt2"]), device="cpu", untrained=True)
    assert asked == [[0, 1]]
    assert torch.equal(before, torch.random.get_rng_state())


# What a model reads.
@pytest.mark.parametrize("untrained", [False, True])
def test_a_model_that_states_no_longest_text_reads_any(untrained, tmp_path):
    """BLOOM's attention falls with distance. It was given a context once, and an error told it as a fact."""
    config = BloomConfig(n_layer=1, n_head=2, hidden_size=8, vocab_size=VOCABULARY)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    model, _ = load_model(str(tmp_path), device="cpu", untrained=untrained)
    assert context_length(model) == math.inf
    assert not hasattr(model.config, "max_position_embeddings")
    batch = prepare(model, torch.arange(1100)[None])
    with torch.no_grad():
        assert model(batch.tokens).logits.shape == (1, 1100, VOCABULARY)


@pytest.mark.parametrize("family", ["gpt2", "gpt-neo", "llama"])
def test_the_longest_text_is_the_one_that_the_configuration_states(family):
    assert context_length(tiny(family)) == context_length(bridge(family)) == CONTEXT
    config = MptConfig(n_layers=1, n_heads=2, d_model=8, max_seq_len=48)
    assert context_length(AutoModelForCausalLM.from_config(config)) == 48


rows = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=CONTEXT)


@cases(family=st.sampled_from(["gpt2", "gpt-neo", "llama"]), bridged=st.booleans(),
       rows=st.lists(rows, min_size=1, max_size=3))  # fmt: skip
def test_a_batch_is_prepared_as_it_is(family, bridged, rows):
    batch = Batch.from_rows(rows)
    prepared = prepare(bridge(family) if bridged else tiny(family), batch)
    assert torch.equal(prepared.tokens, batch.tokens)
    assert torch.equal(prepared.mask, batch.mask)


@pytest.mark.parametrize("load", [tiny, bridge])
def test_what_a_model_cannot_read_is_refused(load):
    model = load("gpt2")
    for foreign in [VOCABULARY, -1]:
        with pytest.raises(ArgumentError, match=f"ids go from 0 to {VOCABULARY - 1}"):
            prepare(model, torch.tensor([[1, foreign]]))
    with pytest.raises(TextError, match=f"longest text has {CONTEXT + 1} tokens; the model reads {CONTEXT}"):
        prepare(model, torch.zeros(1, CONTEXT + 1, dtype=torch.long))
    with pytest.raises(ModelError, match=r"in train mode.*model\.eval\(\)"):
        prepare(deepcopy(tiny("gpt2")).train(), torch.tensor([[1, 2]]))


# Bridges, devices, and models without weights.
@pytest.mark.parametrize("family", ["gpt2", "gpt-neo", "llama"])
@pytest.mark.parametrize("compatibility", [False, True], ids=["raw", "processed"])
def test_a_bridge_says_what_the_model_says(family, compatibility, folders):
    tokens = torch.tensor([[5, 9, 2, 9]])
    for untrained in [False, True]:
        options = {"device": "cpu", "untrained": untrained}
        loaded, _ = load_bridge(str(folders[family]), compatibility=compatibility, **options)
        with torch.no_grad():
            said, wanted = loaded(tokens), load_model(str(folders[family]), **options)[0](tokens).logits
        torch.testing.assert_close(said.log_softmax(-1), wanted.log_softmax(-1), atol=1e-3, rtol=1e-3)
        assert compatibility or torch.allclose(said, wanted, atol=1e-4)
        assert (loaded.compatibility_mode, loaded.training) == (compatibility, False)


def test_a_model_that_transformerlens_does_not_know(tmp_path):
    config = CTRLConfig(vocab_size=VOCABULARY, n_positions=16, n_embd=8, dff=16, n_layer=1, n_head=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"TransformerLens cannot use .* \(CTRLLMHeadModel\).* load_model opens it"):
        load_bridge(str(tmp_path), device="cpu")


def test_a_device_that_does_not_exist():
    for load in [load_model, load_bridge]:
        with pytest.raises(ModelError, match=r"device type.*abacus"):
            load("storybook", device="abacus")


def test_an_empty_model_counts_what_the_configuration_says():
    model = empty_model(GPT2Config(n_layer=3, n_head=2, n_embd=8, vocab_size=11, n_positions=5))
    block = 12 * 8**2 + 13 * 8  # matrices of attention and MLP, their biases, two LayerNorms
    assert sum(weight.numel() for weight in model.parameters()) == (11 + 5) * 8 + 3 * block + 2 * 8
    assert all(weight.is_meta for weight in model.parameters())
