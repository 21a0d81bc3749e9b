import hashlib
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from data import repeated_random
from measure import losses, patterns, shifted_score
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

from interp_helpers import ModelError, empty_model, load_bridge, load_model
from interp_helpers.models import STORYBOOK


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


def test_the_twin_has_the_same_shape_other_weights_and_is_always_the_same(storybook):
    model, _ = storybook
    before = torch.random.get_rng_state()
    twin, _ = load_model("storybook", device="cpu", untrained=True)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(1)  # the same weights come from another state
    again, _ = load_model("storybook", device="cpu", untrained=True)
    assert twin.config.to_dict() == again.config.to_dict()
    for (name, a), (_, b), (_, trained) in zip(
        twin.named_parameters(), again.named_parameters(), model.named_parameters()
    ):
        assert torch.equal(a, b)
        assert a.shape == trained.shape
        if a.ndim == 2:
            assert not torch.equal(a, trained), name


def test_an_unknown_name_gets_the_nearest_known_one():
    with pytest.raises(ModelError, match=r"^load_model: '\w+' \(did you mean 'storybook'\?\)"):
        load_model("storybok")
    with pytest.raises(ModelError, match="did you mean 'EleutherAI/gpt-neo-125M'"):
        load_model("gpt-neo-125m")


def test_a_name_that_no_hub_could_have():
    with pytest.raises(ModelError, match="not a model name"):
        load_model("gpt 2!")
    with pytest.raises(ModelError, match="there is no folder"):
        load_model("./nowhere/at/all")


@pytest.mark.parametrize("offline", ["1", "0"])
def test_a_hub_that_cannot_be_reached_is_one_error_at_once(tmp_path, offline):
    """In a process of its own, with an empty cache and a hub address where nothing listens."""
    code = (
        "import time, interp_helpers as ih; ih.load_model; import transformers, huggingface_hub; t = time.monotonic()\n"
        "try: ih.load_model('gpt2')\n"
        "except ih.ModelError as error: print(error); print(time.monotonic() - t)"
    )
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": offline}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60)
    message, seconds = ran.stdout.splitlines()
    assert "cannot be reached" in message
    assert "load_model('storybook')" in message
    assert float(seconds) < 6


def test_a_hub_model_in_the_cache_needs_no_network(folders, tmp_path, monkeypatch):
    snapshot = tmp_path / "models--someone--tiny" / "snapshots" / "abc"
    shutil.copytree(folders["gpt2"], snapshot)
    (tmp_path / "models--someone--tiny" / "refs").mkdir()
    (tmp_path / "models--someone--tiny" / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model, _ = load_model("someone/tiny", device="cpu")
    assert model.config.n_embd == 32
    (snapshot / "model.safetensors").unlink()  # as an interrupted download leaves it
    with pytest.raises(ModelError, match="cannot be reached"):
        load_model("someone/tiny", device="cpu")


def test_a_folder_without_a_model(tmp_path, folders):
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        load_model(str(tmp_path))
    folder = copy(folders["gpt2"], tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        load_model(str(folder))
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    both = r"pytorch_model\.bin may run code .* model\.save_pretrained\(folder\), and tokenizer\.save_pretrained"
    with pytest.raises(ModelError, match=both):
        load_model(str(folder))


def test_a_folder_without_a_tokenizer(tmp_path, folders):
    """As `model.save_pretrained(folder)` alone leaves it; transformers would make a tokenizer of one word."""
    AutoModelForCausalLM.from_pretrained(folders["gpt2"]).save_pretrained(tmp_path)
    for file in [None, "tokenizer_config.json", "vocab.json"]:
        if file:
            (tmp_path / file).write_text("{}", encoding="utf-8")
        with pytest.raises(ModelError, match=r"tokenizer is missing .* tokenizer\.save_pretrained\(folder\)"):
            load_model(str(tmp_path))


@pytest.mark.parametrize(
    "files",
    [["tokenizer.json"], ["tokenizer.model"], ["spiece.model"], ["vocab.txt"], ["vocab.json", "merges.txt"]],
    ids="+".join,
)
def test_forms_in_which_tokenizers_are_saved(files, tmp_path):
    from interp_helpers.models import NO_TOKENIZER, _missing_part

    for file in ["config.json", "model.safetensors", "generation_config.json", "tokenizer_config.json"]:
        (tmp_path / file).touch()
    for file in files:
        assert _missing_part(tmp_path) == NO_TOKENIZER
        (tmp_path / file).touch()
    assert _missing_part(tmp_path) is None


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
    assert ("Take a smaller model" in str(error.value) and 'device_map="auto"' in str(error.value)) == full


def test_a_shard_that_is_missing_is_named(tmp_path, folders):
    folder = copy(folders["gpt2"], tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="300KB")
    loaded, _ = load_model(str(folder), device="cpu")
    torch.testing.assert_close(loaded.lm_head.weight, model.lm_head.weight)
    shard = sorted(folder.glob("model-*.safetensors"))[0]
    shard.unlink()
    with pytest.raises(ModelError, match=f"{shard.name} missing"):
        load_model(str(folder))


def test_one_flipped_byte_of_the_weights_is_one_clear_error(tmp_path):
    folder = copy(STORYBOOK, tmp_path)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors .* is damaged: its sha256 is"):
        load_model(str(folder))


def test_the_checksums_cover_every_file_and_are_right():
    sums = dict(reversed(line.split()) for line in (STORYBOOK / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {path.name for path in STORYBOOK.iterdir()} - {"SHA256SUMS"}
    for name, expected in sums.items():
        assert hashlib.sha256((STORYBOOK / name).read_bytes()).hexdigest() == expected


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
    with pytest.raises(ModelError, match=r"not a causal language model .*BertForMaskedLM"):
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
    with pytest.raises(ModelError, match="is not causal"):
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


@pytest.mark.parametrize("untrained", [False, True])
def test_a_model_that_states_no_longest_text_gets_one(untrained, folders, tmp_path):
    """BLOOM's attention falls with distance: it has no position embedding, and takes any text."""
    from transformers import AutoTokenizer, BloomConfig, BloomForCausalLM

    BloomForCausalLM(BloomConfig(n_layer=1, n_head=2, hidden_size=8, vocab_size=8192)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folders["gpt2"]).save_pretrained(tmp_path)
    model, _ = load_model(str(tmp_path), device="cpu", untrained=untrained)
    assert model.config.max_position_embeddings == 1024
    assert load_model(str(folders["gpt2"]), device="cpu")[0].config.max_position_embeddings == 64


def test_the_longest_text_of_an_mpt_is_its_own(folders, tmp_path):
    from transformers import AutoTokenizer, MptConfig, MptForCausalLM

    config = MptConfig(n_layers=1, n_heads=2, d_model=8, vocab_size=8192, max_seq_len=48)
    MptForCausalLM(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folders["gpt2"]).save_pretrained(tmp_path)
    assert load_model(str(tmp_path), device="cpu")[0].config.max_position_embeddings == 48


def test_weights_that_are_not_numbers_are_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copy(folders["gpt2"], tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.ln_f.bias"][3] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="NaN or infinity"):
        load_model(str(folder), device="cpu")


def test_a_device_that_does_not_exist():
    for load in [load_model, load_bridge]:
        with pytest.raises(ModelError, match=f"^{load.__name__}: there is no device 'abacus'"):
            load("storybook", device="abacus")


def test_an_empty_model_of_numbers_that_do_not_go_together():
    from transformers import BertConfig, GPT2Config

    with pytest.raises(ModelError, match="no model can be built from this GPT2Config"):
        empty_model(GPT2Config(n_embd=10, n_head=3))
    with pytest.raises(ModelError, match="not the configuration of a causal language model"):
        empty_model(type("Other", (BertConfig,), {})())


@pytest.mark.parametrize(("cuda", "mps", "best"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_without_a_device_the_best_one_is_taken(monkeypatch, cuda, mps, best):
    from interp_helpers.models import _pick_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert _pick_device(None) == torch.device(best)
    assert _pick_device("cpu") == torch.device("cpu")


def test_a_map_of_devices_takes_the_place_of_one(folders):
    name = str(folders["gpt2"])
    model, _ = load_model(name, device_map={"": "cpu"})
    assert not model.training
    for more in [{"device": "cpu"}, {"untrained": True}]:
        with pytest.raises(ModelError, match="takes the place of a device"):
            load_model(name, device_map={"": "cpu"}, **more)


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


def test_the_twin_is_the_one_that_seed_0_gives(storybook):
    torch.manual_seed(0)
    wanted = AutoModelForCausalLM.from_config(storybook[0].config).state_dict()
    found = load_model("storybook", device="cpu", untrained=True)[0].state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_model_is_proposed_also_without_its_owner():
    with pytest.raises(
        ModelError,
        match=r"^load_model: there is no folder '.*' \(did you mean 'HuggingFaceTB/SmolLM2-135M'\?\)\. Check",
    ):
        load_model("./smollm2")


def test_the_name_of_a_summed_file_may_hold_spaces(folders, tmp_path):
    folder = copy(folders["gpt2"], tmp_path)
    (folder / "my own notes.txt").write_text("kept", encoding="utf-8")
    digest = hashlib.sha256(b"kept").hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  my own notes.txt\n", encoding="utf-8")
    load_model(str(folder), device="cpu")
    (folder / "my own notes.txt").write_text("lost", encoding="utf-8")
    with pytest.raises(ModelError, match=r"my own notes\.txt .* is damaged"):
        load_model(str(folder), device="cpu")


@pytest.mark.parametrize("ahead", [0.0, 0.01])
def test_looking_ahead_a_little_is_looking_ahead(ahead):
    from types import SimpleNamespace

    from interp_helpers.models import _check_looks_back

    class Model:
        device, config = "cpu", SimpleNamespace(vocab_size=8)

        def __call__(self, tokens):
            logits = torch.nn.functional.one_hot(tokens, 8).float()
            return SimpleNamespace(logits=logits + ahead * logits.flip(1))

    if ahead:
        with pytest.raises(ModelError, match="is not causal"):
            _check_looks_back(Model(), "a model")
    else:
        _check_looks_back(Model(), "a model")


def test_copies_in_other_formats_are_fetched_of_a_data_set_only(monkeypatch, tmp_path):
    import huggingface_hub

    from interp_helpers import hub

    asked = {}

    def cached(name, *, repo_type, **options):
        asked[repo_type] = options.get("ignore_patterns")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    for kind in ["model", "dataset"]:
        found = hub.fetch(
            "someone/something", kind=kind, patterns=["*"], missing=lambda folder: None, operation="here",
            bundled="storybook", error=ModelError,
        )  # fmt: skip
        assert found == tmp_path
    assert asked == {"model": ["*/*"], "dataset": None}, "of a model the top folder is enough"


def test_a_download_that_breaks_off_is_one_error(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def full(name, *, local_files_only=False, **options):
        raise LocalEntryNotFoundError("not here") if local_files_only else OSError("no space left")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", lambda *_, **__: None)
    with pytest.raises(ModelError, match=r"broke off \(OSError: no space left\)"):
        load_model("someone/something", device="cpu")


@pytest.mark.parametrize(("name", "path"), [("gpt2", False), ("a/b", False), ("a/b/c", True), ("./a", True)])
def test_a_hub_name_has_one_slash_at_most(name, path):
    from interp_helpers.hub import looks_like_path

    assert looks_like_path(name) == path
