"""Properties of loading a model: what was saved, or an error that names what is wrong with it."""

import hashlib
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch
from disk import NO_MODEL, OFFLINE, flipped, new, shown
from hypothesis import strategies as st
from properties import cases, faults, refused, sizes
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, LAYERS, tiny, tokenizer

import interp_helpers as ih


@cache
def saved(family):
    """A folder as save_pretrained makes it, with a list of checksums aside. It goes with the process."""
    made = tempfile.TemporaryDirectory()
    tiny(family).save_pretrained(made.name)
    tokenizer().save_pretrained(made.name)
    return made


def linked(family, folder):
    """A copy that costs nothing: to change a file, unlink it first."""
    return Path(shutil.copytree(saved(family).name, new(folder), copy_function=os.link))


def rewrite(path, content):
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def without(path, name):
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    save_file({each: value for each, value in tensors.items() if name not in each}, path / "model.safetensors")


def poisoned(path, place):
    tensors = load_file(path / "model.safetensors")
    next(each for name, each in sorted(tensors.items()) if "ln_f" in name or "norm" in name).view(-1)[place % 8] = (
        torch.nan
    )
    (path / "model.safetensors").unlink()
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


def with_sums(path, place):
    """A flipped bit of any file, among checksums that know how it was."""
    names = ["config.json", "model.safetensors", "tokenizer.json"]
    sums = [f"{hashlib.sha256((path / name).read_bytes()).hexdigest()}  {name}" for name in names]
    (path / "SHA256SUMS").write_text("\n".join(sums))
    name = names[place % len(names)]
    rewrite(path / name, flipped((path / name).read_bytes(), place))


def cut(name):
    def damage(path, place):
        content = (path / name).read_bytes()
        rewrite(path / name, content[: place % (len(content) - 2)])

    return damage


def gone(name):
    return lambda path, place: (path / name).unlink()


def random_file(name):
    def damage(path, place):
        content = torch.randint(256, (1 + place % 99,), generator=torch.Generator().manual_seed(place)).tolist()
        rewrite(path / name, bytes(content))

    return damage


DAMAGE = {
    "config cut short": cut("config.json"),
    "weights cut short": cut("model.safetensors"),
    "tokenizer cut short": cut("tokenizer.json"),
    "config gone": gone("config.json"),
    "weights gone": gone("model.safetensors"),
    "tokenizer gone": gone("tokenizer.json"),
    "random config": random_file("config.json"),
    "random weights": random_file("model.safetensors"),
    "random tokenizer": random_file("tokenizer.json"),
    "random index": random_file("model.safetensors.index.json"),
    "index of nothing": lambda path, place: (path / "model.safetensors.index.json").write_text("[]"),
    "random checksums": random_file("SHA256SUMS"),
    "a bit against checksums": with_sums,
    "a layer gone": lambda path, place: without(path, f".{place % LAYERS}."),
    "NaN": poisoned,
    "a list for a config": lambda path, place: rewrite(path / "config.json", b"[]"),
}
NO_DEVICE = {
    "unknown": "abacus",
    "meta": "meta",
    "empty": "",
    "a list": [],
    "a number": 99,
    "not here": "cuda:99",
    "half": 0.5,
}
FAULTS = [*DAMAGE, *(f"name: {each}" for each in NO_MODEL), *(f"device: {each}" for each in NO_DEVICE)]
TOKENS = torch.tensor([[5, 9, 2, 9]])


def refuses_model(function, fault, folder, family, place):
    if fault in DAMAGE:
        path = linked(family, folder)
        DAMAGE[fault](path, place)
        answer = refused(function, path, device="cpu", naming=path.name)
        shutil.rmtree(path)
        return answer
    name, kind = fault.split(": ")
    given = {"name": saved(family).name, "device": "cpu", name: (NO_MODEL if name == "name" else NO_DEVICE)[kind]}
    return refused(function, **given, naming=[name, *shown(given[name])])


def test_load_model(tmp_path, monkeypatch):
    monkeypatch.setattr(*OFFLINE)

    @cases(
        family=st.sampled_from(FAMILIES), place=sizes(0, 10**6), path=st.sampled_from([str, Path]),
        untrained=st.booleans(),
        device=st.sampled_from([None, "cpu", torch.device("cpu"), {"": "cpu"}]),
        fault=faults(*FAULTS, "both devices"),
    )  # fmt: skip
    def holds(family, place, path, untrained, device, fault):
        if fault == "both devices":
            assert refused(ih.load_model, saved(family).name, device="cpu", device_map="auto", naming="device")
        elif fault:
            assert refuses_model(ih.load_model, fault, tmp_path, family, place)
        else:
            where = {"device_map": device} if isinstance(device, dict) else {"device": device, "untrained": untrained}
            model, tokens = ih.load_model(path(saved(family).name), **where)
            assert (model.training, model.dtype, model.device.type) == (False, torch.float32, "cpu")
            assert tokens("the king")["input_ids"] == tokenizer()("the king")["input_ids"]
            with torch.no_grad():
                same = torch.allclose(model(TOKENS).logits, tiny(family)(TOKENS).logits, atol=1e-5)
            assert same == ("untrained" not in where or not untrained)
            if not same:
                assert torch.equal(model(TOKENS).logits, twin(family))

    holds()


@cache
def twin(family):
    with torch.no_grad():
        return ih.load_model(saved(family).name, untrained=True)[0](TOKENS).logits


def test_load_bridge(tmp_path, monkeypatch):
    monkeypatch.setattr(*OFFLINE)

    @cases(
        family=st.sampled_from(FAMILIES), place=sizes(0, 10**6), compatibility=st.booleans(), untrained=st.booleans(),
        fault=st.sampled_from([None] * (len(FAULTS) // 2) + FAULTS),  # a bridge takes 0.2 s: no more than a third
    )  # fmt: skip
    def holds(family, place, compatibility, untrained, fault):
        if fault:
            assert refuses_model(ih.load_bridge, fault, tmp_path, family, place)
            return
        name = saved(family).name
        bridge, _ = ih.load_bridge(name, compatibility=compatibility, untrained=untrained, device="cpu")
        with torch.no_grad():
            wanted = twin(family) if untrained else tiny(family)(TOKENS).logits
            found = bridge(TOKENS)
        torch.testing.assert_close(found.log_softmax(-1), wanted.log_softmax(-1), atol=1e-3, rtol=1e-3)
        assert compatibility or torch.allclose(found, wanted, atol=1e-4)
        assert bridge.compatibility_mode == compatibility

    holds()
