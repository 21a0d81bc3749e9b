"""Names become folders without a network; and what was published of the real models, which needs one.

The second half is off by default: HF_HUB_OFFLINE=0 pytest -m hub
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from scipy.stats import kstest, zscore
from transformers import AutoModelForCausalLM

from interp_helpers import (
    ArgumentError,
    ModelError,
    adjustments,
    attention,
    hub,
    load_model,
    load_sentences,
    passages,
    published_figures,
    record_generation,
    repeated_random_tokens,
    token_batches,
    weights,
)
from interp_helpers.attention import head_label, scores_table, survey
from interp_helpers.hooks import layout, record_inputs
from interp_helpers.hub import STORYBOOK, _defect_of_model, find_folder, looks_like_path


def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "model")


def test_an_unknown_name_gets_the_nearest_known_one():
    with pytest.raises(ModelError, match=r"^'storybok' \(did you mean 'storybook'\?\)"):
        load_model("storybok")
    with pytest.raises(ModelError, match="did you mean 'EleutherAI/gpt-neo-125M'"):
        load_model("gpt-neo-125m")


def test_a_name_that_no_hub_could_have():
    with pytest.raises(ModelError, match=r"no model 'gpt 2!' \(did you mean 'gpt2'"):
        load_model("gpt 2!")
    with pytest.raises(ModelError, match="There is no folder"):
        load_model("./nowhere/at/all")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("./smollm2-135m", "HuggingFaceTB/SmolLM2-135M"),
        ("./smollm2", "smollm2"),
        ("smollm", "smollm2"),
        ("SmolLM2", "smollm2"),
        ("smollm2-135m", "HuggingFaceTB/SmolLM2-135M"),
    ],
)
def test_a_model_is_proposed_also_without_its_owner_or_with_other_letters(name, known):
    with pytest.raises(ModelError, match=rf"'{name}' \(did you mean '{known}'\?\)"):
        load_model(name)


@pytest.mark.parametrize("offline", ["1", "0"])
def test_a_hub_that_cannot_be_reached_is_one_error_at_once(tmp_path, offline):
    """In a process of its own, with an empty cache and a hub address where nothing listens."""
    code = (
        "import time, huggingface_hub; from interp_helpers import ModelError, hub\n"
        "hub.TIMEOUT = 0.5; t = time.monotonic()\n"
        "try: hub.find_folder('gpt2')\n"
        "except ModelError as error: print(error); print(time.monotonic() - t)"
    )
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": offline}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60)
    message, seconds = ran.stdout.splitlines()
    assert "cannot be reached" in message
    assert "load_model('storybook')" in message
    assert float(seconds) < 2


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


def test_a_copy_in_the_cache_without_a_tokenizer_is_called_so(folders, tmp_path, monkeypatch):
    snapshot = tmp_path / "models--someone--tiny" / "snapshots" / "abc"
    AutoModelForCausalLM.from_pretrained(folders["gpt2"]).save_pretrained(snapshot)
    (tmp_path / "models--someone--tiny" / "refs").mkdir()
    (tmp_path / "models--someone--tiny" / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    what = r"^The copy of 'someone/tiny' on this machine is not whole \(its tokenizer is missing\), and .* be reached"
    with pytest.raises(ModelError, match=rf"{what} \(\w+\)\. Try again with a network, which fetches the rest"):
        load_model("someone/tiny", device="cpu")


KINDS = {  # what config.json says -> what is said of it
    "T5ForConditionalGeneration": ({"model_type": "t5"}, "not a causal language model: it is stated to be T5For"),
    "Gemma3ForConditionalGeneration": (
        {"model_type": "gemma3", "text_config": {}, "vision_config": {}},
        r"it \(Gemma3ForConditionalGeneration\) reads images beside text; take a model of its family",
    ),
    "Qwen2AudioForConditionalGeneration": (
        {"model_type": "qwen2_audio", "audio_config": {}},
        "reads sound beside text",
    ),
    "GPT9ForCausalLM": ({"model_type": "gpt9"}, r"transformers [\d.]+ does not know the model type 'gpt9' \(GPT9For"),
    "OwnForCausalLM": ({"model_type": "own", "auto_map": {"AutoConfig": "a.B"}}, "needs code of its own, and no code"),
    "GPT2LMHeadModel": (
        {"model_type": "gpt2", "quantization_config": {"quant_method": "gptq", "bits": 4}},
        r"its weights are quantized \(gptq\); take the model with the weights",
    ),
    "OldForCausalLM": ({}, "states no model type"),
}


@pytest.mark.parametrize("stated", KINDS)
def test_a_model_that_the_course_cannot_open_is_called_what_it_is(stated, folders, tmp_path):
    """Before transformers sees it, which would ask in the terminal whether to run a model's code."""
    config, said = KINDS[stated]
    folder = copy(folders["gpt2"], tmp_path)
    (folder / "config.json").write_text(json.dumps({"architectures": [stated], **config}), encoding="utf-8")
    with pytest.raises(ModelError, match=said) as error:
        load_model(str(folder), device="cpu")
    assert "damaged" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("adapter_config.json", "missing; it is an adapter to another model"),
        ("model-Q4_K_M.gguf", "missing; GGUF is read by llama.cpp alone"),
        ("pytorch_model-00001-of-00002.bin", "missing; save it .* because reading its .bin may run code"),
        ("model.onnx", r"missing; save it with model\.save_pretrained\(folder\), other formats"),
    ],
)
def test_a_folder_of_another_format_is_called_what_it_is(file, said, tmp_path):
    (tmp_path / file).write_text("{}", encoding="utf-8")
    (tmp_path / "tokenizer.json").touch()
    with pytest.raises(ModelError, match=rf"config\.json, model\.safetensors {said}"):
        load_model(str(tmp_path))


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "a.gguf").touch()
    with pytest.raises(ModelError, match=r"a\.gguf' is a file\. A model is a folder"):
        load_model(str(tmp_path / "a.gguf"))
    with pytest.raises(ModelError, match=r"There is no folder 'b\.gguf'"):
        load_model("b.gguf")


def test_a_revision_in_the_cache_is_the_one_that_is_asked_for(folders, tmp_path, monkeypatch):
    cached = tmp_path / "models--someone--tiny"
    (cached / "refs").mkdir(parents=True)
    for revision, family in [("main", "gpt2"), ("step10", "llama")]:
        shutil.copytree(folders[family], cached / "snapshots" / f"commit{revision}")
        (cached / "refs" / revision).write_text(f"commit{revision}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    kinds = [load_model("someone/tiny", revision=each, device="cpu")[0].config.model_type for each in (None, "step10")]
    assert kinds == ["gpt2", "llama"]
    with pytest.raises(ModelError, match=r"^revision '20' of 'someone/tiny' is not on this machine"):
        load_model("someone/tiny", revision=20, device="cpu")


def test_a_revision_is_asked_of_the_cache_then_of_the_hub_then_fetched(monkeypatch, folders):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def fetch(name, *, revision, local_files_only=False, **options):
        asked.append((("cache" if local_files_only else "fetched"), name, revision))
        if local_files_only:
            raise LocalEntryNotFoundError("not here")
        return str(folders["gpt2"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "repo_info", lambda self, name, *, revision, **_: asked.append(("hub", name, revision))
    )
    load_model("someone/tiny", revision="step10", device="cpu")
    load_model("someone/tiny", device="cpu")
    places = ["cache", "hub", "fetched"]
    assert asked == [(place, "someone/tiny", revision) for revision in ("step10", None) for place in places]


def test_a_revision_that_the_hub_does_not_have(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError, RevisionNotFoundError

    def refuse(error):
        def call(*given, **options):
            raise error

        return call

    unknown = RevisionNotFoundError.__new__(RevisionNotFoundError, "no such revision")  # it wants a whole response
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse(LocalEntryNotFoundError("not here")))
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", refuse(unknown))
    with pytest.raises(ModelError, match=r"^'someone/tiny' has no revision 'step3'\. See its branches"):
        load_model("someone/tiny", revision="step3", device="cpu")


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_only_a_hub_repository_has_revisions(kind, folders):
    names = ["storybook", "smollm2"] if kind == "model" else []
    for name in [*names, str(folders["gpt2"])]:
        with pytest.raises(
            ArgumentError, match=rf"^Only hub repositories .* '{name}' .*'step1'\. Leave it out, or take"
        ):
            find_folder(name, kind, revision="step1")
    with pytest.raises(ArgumentError, match="Only hub repositories have revisions"):
        load_model(revision="step1")


def test_copies_in_other_formats_are_fetched_of_a_data_set_only(monkeypatch, tmp_path):
    import huggingface_hub

    asked = {}

    def cached(name, *, repo_type, **options):
        asked[repo_type] = options.get("ignore_patterns")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    monkeypatch.setattr(hub, "_defect_of_model", lambda folder: None)
    monkeypatch.setattr(hub, "_defect_of_data_set", lambda folder: None)
    for kind in ["model", "dataset"]:
        assert find_folder("someone/something", kind) == tmp_path
    assert asked == {"model": ["*/*"], "dataset": None}, "of a model the top folder is enough"


def test_a_download_that_breaks_off_is_one_error(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def full(name, *, local_files_only=False, **options):
        raise LocalEntryNotFoundError("not here") if local_files_only else OSError("no space left")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", lambda *_, **__: None)
    with pytest.raises(ModelError, match=r"broke off: no space left \(OSError\)\. Try again"):
        load_model("someone/something", device="cpu")


@pytest.mark.parametrize(("name", "path"), [("gpt2", False), ("a/b", False), ("a/b/c", True), ("./a", True)])
def test_a_hub_name_has_one_slash_at_most(name, path):
    assert looks_like_path(name) == path


def test_a_folder_without_a_model(tmp_path, folders):
    with pytest.raises(ModelError, match=r"config\.json, model\.safetensors missing"):
        load_model(str(tmp_path))
    folder = copy(folders["gpt2"], tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"a pickle, which may run code when it is read")
    with pytest.raises(
        ModelError, match=r"used: model\.safetensors missing; save it with model\.save_pretrained.* run code"
    ):
        load_model(str(folder))


def test_a_folder_without_a_tokenizer(tmp_path, folders):
    """As `model.save_pretrained(folder)` alone leaves it; transformers would make a tokenizer of one word."""
    AutoModelForCausalLM.from_pretrained(folders["gpt2"]).save_pretrained(tmp_path)
    for file in [None, "tokenizer_config.json", "vocab.json"]:
        if file:
            (tmp_path / file).write_text("{}", encoding="utf-8")
        with pytest.raises(ModelError, match=r"tokenizer is missing; .* tokenizer\.save_pretrained\(folder\)"):
            load_model(str(tmp_path))


@pytest.mark.parametrize(
    "files",
    [["tokenizer.json"], ["tokenizer.model"], ["spiece.model"], ["vocab.txt"], ["vocab.json", "merges.txt"]],
    ids="+".join,
)
def test_forms_in_which_tokenizers_are_saved(files, tmp_path):
    for file in ["config.json", "model.safetensors", "generation_config.json", "tokenizer_config.json"]:
        (tmp_path / file).touch()
    for file in files:
        assert "tokenizer is missing" in _defect_of_model(tmp_path)
        (tmp_path / file).touch()
    assert _defect_of_model(tmp_path) is None


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
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged, its sha256 is not"):
        load_model(str(folder))


def test_the_checksums_cover_every_file_and_are_right():
    sums = dict(reversed(line.split()) for line in (STORYBOOK / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {path.name for path in STORYBOOK.iterdir()} - {"SHA256SUMS"}
    for name, expected in sums.items():
        assert hashlib.sha256((STORYBOOK / name).read_bytes()).hexdigest() == expected


def test_the_name_of_a_summed_file_may_hold_spaces(folders, tmp_path):
    folder = copy(folders["gpt2"], tmp_path)
    (folder / "my own notes.txt").write_text("kept", encoding="utf-8")
    digest = hashlib.sha256(b"kept").hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  my own notes.txt\n", encoding="utf-8")
    load_model(str(folder), device="cpu")
    (folder / "my own notes.txt").write_text("lost", encoding="utf-8")
    with pytest.raises(ModelError, match=r"my own notes\.txt is damaged"):
        load_model(str(folder), device="cpu")


# The real models.
@pytest.fixture(scope="module")
def gpt2():
    return load_model("gpt2", device="cpu")


@pytest.mark.hub
@pytest.mark.parametrize("name", ["gpt2", "EleutherAI/gpt-neo-125M", "gpt2-large"])
def test_sizes(name):
    model, _ = load_model(name, device="cpu")
    known, config = published_figures(name)["config"], model.config
    assert sum(p.numel() for p in model.parameters()) == known["parameters"]
    found = (config.num_hidden_layers, config.num_attention_heads, config.hidden_size)
    assert found == (known["layers"], known["heads"], known["hidden_size"])


def heads(names):
    """{label: what stands behind it} of heads that are published as "5.8"."""
    labels = {head_label(*map(int, re.findall(r"\d+", name))): name for name in names}
    return {label: names[name] for label, name in labels.items()} if isinstance(names, dict) else set(labels)


def best(scores, name, count):
    return set(scores_table(scores)[name].nlargest(count).index)


@pytest.mark.hub
def test_gpt2_has_the_heads_that_were_published(gpt2):
    """Names were found by other people with other texts: each must be among the best of the 144, not at one rank."""
    model, tokenizer = gpt2
    known = published_figures("gpt2")["heads"]
    on_text = survey(model, token_batches(tokenizer, passages(), context=1024))
    assert heads(known["previous_token"]) <= best(on_text, "previous_token", 5)
    repeated = survey(model, repeated_random_tokens(tokenizer, 50, start=tokenizer.bos_token_id).split(4))
    induction = heads(known["induction_on_repeated_random_tokens"])
    assert induction.keys() <= best(repeated, "induction", 10)
    measured = scores_table(repeated)["induction"]
    for label, score in induction.items():
        assert measured[label] == pytest.approx(score, abs=0.1), label  # other random tokens, another length
    assert heads(known["duplicate_token"]) <= best(repeated, "duplicate_token", 10)


@pytest.mark.hub
@torch.no_grad()
def test_gpt2_keeps_one_large_number_at_its_first_token(gpt2):
    model, tokenizer = gpt2
    batch = token_batches(tokenizer, passages()[:1], start=tokenizer.bos_token_id)[0]
    streams = model(batch.tokens, output_hidden_states=True).hidden_states  # the last one through the final norm
    with record_inputs([layout(model).final_norm]) as last:
        model(batch.tokens)
    first = torch.stack([*streams[:-1], last[0]])[:, 0, 0]  # row n is the residual stream after layer n - 1
    dimension = published_figures("gpt2")["attention_sink"]["dimension"]
    assert set(first[3:12].abs().argmax(-1).tolist()) == {dimension}
    assert first[3:12].norm(dim=-1).tolist() == pytest.approx([3000] * 9, rel=0.2)  # "about"
    assert first[12].norm() < first[11].norm() / 2


@pytest.mark.hub
def test_the_weights_of_gpt2(gpt2):
    known = published_figures("gpt2")["weights"]
    matrix = gpt2[0].transformer.h[0].attn.c_attn.weight.detach()
    ks = kstest(zscore(matrix.double().numpy().ravel()), "norm").statistic
    assert ks == pytest.approx(known["layer0_c_attn_ks_against_normal"], abs=5e-4)
    variance = weights.position_embedding(gpt2[0]).var(0)
    assert variance.argmax().item() == known["position_dimension_with_most_variance"]


@pytest.mark.hub
def test_adjustments_of_gpt2_large_on_the_published_batch():
    """Sixty-four sentences from the start of the test split; what is published of it is the model and the batch."""
    figures = published_figures("gpt2-large")
    model, tokenizer = load_model("gpt2-large")
    sentences = load_sentences(figures["dataset"].split(",")[0])["text"][:64]
    norms, mask = adjustments.attention_output_norms(model, token_batches(tokenizer, sentences, context=1024, size=4))
    assert norms.shape == (figures["config"]["layers"], *mask.shape)
    assert len(mask) == 64
    assert (norms[:, mask] > 0).all()


@pytest.mark.hub
def test_gpt_neo_writes_and_holds_what_was_published():
    name = "EleutherAI/gpt-neo-125M"
    published = published_figures(name)
    model, tokenizer = load_model(name, device="cpu")
    wanted = published["generation"]
    record = record_generation(
        model, tokenizer, published["prompt"], wanted["max_new_tokens"], wanted["repetition_penalty"]
    )
    assert record.prompt_length == published["prompt_tokens"]
    assert record.text.strip().startswith(wanted["text_begins"])
    assert len(record.attentions) == wanted["steps"]

    reading, known = record.attentions[0], published["layer0_attention"]
    found = [reading[0].min().item(), reading[0].max().item(), reading[0].mean().item()]
    assert found == pytest.approx([known["min"], known["max"], known["mean"]], abs=1e-6)
    ((name, score),) = published["heads"]["previous_token"].items()
    layer, head = map(int, re.findall(r"\d+", name))
    tokens = record.tokens[: record.prompt_length]
    previous = attention.target_score(reading, attention.previous_token_target(tokens))
    assert previous[layer, head].item() == pytest.approx(score, abs=5e-4)
    first = attention.first_token_target(tokens)
    most = attention.target_score(reading, first).mean(1).argmax().item()
    assert most == published["heads"]["layer_with_most_first_token_attention"]

    states, statistics = record.hidden_states[0], published["hidden_state_statistics"]
    for layer in ("0", "3", "6", "9"):
        each = states[int(layer)].double()
        found = [each.mean(), each.std(), each.min(), each.max()]
        torch.testing.assert_close(
            torch.stack(found), torch.tensor(statistics[layer], dtype=torch.float64),
            rtol=statistics["tolerance_relative"], atol=5e-5,
        )  # fmt: skip

    last = published["last_token"]
    start, end = states[0, -1], states[-1, -1]
    found = {"norm_embedding": start.norm(), "norm_after_final_layernorm": end.norm()}
    for key, value in found.items():
        assert value.item() == pytest.approx(last[key], rel=last["tolerance_relative"])
    assert torch.cosine_similarity(start, end, dim=0).item() == pytest.approx(last["cosine"], abs=5e-4)


@pytest.mark.hub
def test_the_published_sentences_are_there():
    name = published_figures("gpt2-large")["dataset"].split(",")[0]
    table = load_sentences(name)
    assert len(table) == 1066  # its test split
    assert set(table["label"]) == {0, 1}
