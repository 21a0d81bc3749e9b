"""Small models of each family, with random weights and LayerNorms that are not the default ones; every test's seed."""

import os
import random
import sys

import pytest


@pytest.fixture(autouse=True)
def seeded(request, monkeypatch):
    """Random numbers are the same in every run, whatever ran before: a failure in CI is one that all can repeat.

    That holds for torch's and for those that checkers of exercises draw. Another SEED draws others: see `make seeds`.
    """
    drawn = random.Random(f"{os.environ.get('SEED', 0)} {request.node.nodeid}")
    if torch := sys.modules.get("torch"):
        torch.manual_seed(drawn.getrandbits(63))
    if judging := sys.modules.get("interp_helpers.exercises.judging"):
        monkeypatch.setattr(judging, "_seed", lambda: drawn.getrandbits(63))
        monkeypatch.setattr(judging, "SEARCH", 0.1)  # thousands of wrong answers are tried


def build(family):
    # Here, not above: the process that hands out tests reads this file too, and needs none of it.
    import torch
    from tiny import configuration
    from transformers import AutoModelForCausalLM, BertConfig, BertForMaskedLM

    torch.manual_seed(7)
    if family == "bert":
        sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}
        model = BertForMaskedLM(BertConfig(vocab_size=8192, **sizes))
    else:
        model = AutoModelForCausalLM.from_config(configuration(family, width=32, context=64))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name.lower() or "ln_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """{family: a folder as save_pretrained makes it}, for gpt2, gpt-neo, llama and bert (which is not causal)."""
    from transformers import AutoTokenizer

    from interp_helpers.hub import STORYBOOK

    made = {}
    for family in ["gpt2", "gpt-neo", "llama", "bert"]:
        made[family] = tmp_path_factory.mktemp(family)
        build(family).save_pretrained(made[family])
        AutoTokenizer.from_pretrained(STORYBOOK).save_pretrained(made[family])
    return made


@pytest.fixture(scope="session")
def storybook():
    """(model, tokenizer), for reading only."""
    from interp_helpers import load_model

    return load_model("storybook", device="cpu")


@pytest.fixture(scope="session")
def storybook_bridge():
    """(bridge, tokenizer), for reading only."""
    from interp_helpers import load_bridge

    return load_bridge("storybook", device="cpu")


@pytest.fixture(scope="session")
def playground_folder(tmp_path_factory):
    """The folder of the playground, built once for all processes; None where Node is missing."""
    import playground
    from filelock import FileLock

    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with FileLock(shared / "playground.lock"):
        if playground.why_not():
            return None
        if not (shared / "playground/app.js").exists():  # what is written last
            playground.build(shared / "playground")
    return shared / "playground"


@pytest.fixture(autouse=True)
def keeps_no_record(monkeypatch):
    """No test writes progress.json where it runs."""
    monkeypatch.setenv("INTERP_PROGRESS", "")


@pytest.fixture
def says(capsys, monkeypatch):
    """What the card of an answer says as text, when nobody grades: `says(exercise, answer, **context)`."""
    from interp_helpers import exercises

    monkeypatch.delenv("INTERP_GRADING", raising=False)

    def say(exercise, answer, **context):
        exercises.check(exercise, answer, **context)
        return capsys.readouterr().out

    return say
