"""A log of training made from stored checkpoints equals what is measured of each checkpoint alone."""

import gc
import shutil
import weakref

import numpy as np
import pytest
import torch
from tiny import configuration, tokenizer
from transformers import AutoModelForCausalLM

from interp_helpers import (
    ArgumentError,
    ModelError,
    attention,
    checkpoint_log,
    interventions,
    load_model,
    passages,
    repeated_random_tokens,
    token_batches,
    training_log,
)
from interp_helpers.hub import STORYBOOK

STEPS, CONTEXT = [0, 10, 20], 48


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder with folders step0, step10 and step20: GPT-2 with other random weights in each."""
    parent = tmp_path_factory.mktemp("checkpoints")
    for step in STEPS:
        torch.manual_seed(step)
        model = AutoModelForCausalLM.from_config(configuration("gpt2", context=CONTEXT))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        model.save_pretrained(parent / f"step{step}")
        tokenizer().save_pretrained(parent / f"step{step}")
    return parent


def test_the_log_equals_a_direct_survey_of_each_checkpoint(stored):
    """On the passages, cut at 48 tokens, which the model reads, and on two copies of 24 random tokens."""
    measures, scores = checkpoint_log(lambda step: load_model(stored / f"step{step}", device="cpu"), STEPS)
    assert list(measures) == ["step", "validation_loss", "second_copy_drop"]
    assert measures["step"].tolist() == STEPS
    assert list(scores) == ["previous_token", "first_token", "induction", "duplicate_token"]
    for number, step in enumerate(STEPS):
        model, its_tokenizer = load_model(stored / f"step{step}", device="cpu")
        (batch,) = token_batches(its_tokenizer, passages(), context=CONTEXT, cut=True, size=64)
        repeated = repeated_random_tokens(its_tokenizer, CONTEXT // 2)
        on_text, on_copies = attention.survey(model, [batch]), attention.survey(model, [repeated])
        for name, found in scores.items():
            wanted = (on_text if name in ("previous_token", "first_token") else on_copies)[name]
            assert found.shape == (3, *wanted.shape)
            np.testing.assert_allclose(found[number], wanted, atol=1e-6)
        losses = [  # token by token, as the mean over texts weighs short ones more
            -model(row[None, :length]).logits[0, :-1].log_softmax(-1)[range(length - 1), row[1:length]].detach()
            for row, length in zip(batch.tokens, batch.lengths)
        ]
        assert measures["validation_loss"][number] == pytest.approx(torch.cat(losses).mean().item(), abs=1e-5)
        drop = interventions.second_copy_drop(model, repeated).mean().item()
        assert measures["second_copy_drop"][number] == pytest.approx(drop, abs=1e-5)
    assert measures["validation_loss"].nunique() == 3, "every checkpoint is another model"


def test_it_has_the_form_of_the_log_that_was_written_while_training(stored):
    measures, scores = checkpoint_log(lambda step: load_model(stored / f"step{step}", device="cpu"), [0, 20])
    written, its_scores = training_log()
    for column in measures:
        assert measures[column].dtype == written[column].dtype
    assert list(scores) == list(its_scores)
    for name, array in scores.items():
        assert type(array) is type(its_scores[name])
        assert array.dtype == its_scores[name].dtype
        assert array.ndim == its_scores[name].ndim


def test_storybook_stands_out_from_its_untrained_twin():
    def load(step):
        return load_model(STORYBOOK, device="cpu", untrained=step == 0)

    measures, scores = checkpoint_log(load, [0, 8000])
    assert measures["validation_loss"][0] == pytest.approx(np.log(8192), abs=0.5), "an untrained model guesses"
    assert measures["validation_loss"][1] < 5
    assert abs(measures["second_copy_drop"][0]) < 0.5
    assert measures["second_copy_drop"][1] > 5
    for name in ("induction", "duplicate_token", "previous_token"):
        assert scores[name][0].max() < 0.2
        assert scores[name][1].max() > 0.5


def test_one_model_is_in_memory_at_a_time(stored):
    seen = []

    def load(step):
        gc.collect()  # as load_model does
        assert [each() for each in seen] == [None] * len(seen)
        loaded = load_model(stored / f"step{step}", device="cpu")
        seen.append(weakref.ref(loaded[0]))
        return loaded

    checkpoint_log(load, STEPS)
    assert len(seen) == 3


@pytest.mark.parametrize("steps", [[], [10, 0], [0, 10, 10]])
def test_steps_that_do_not_increase_are_refused_before_anything_is_loaded(steps):
    with pytest.raises(ArgumentError, match=r"steps must increase, such as \[0, 512, 1000\]; got \["):
        checkpoint_log(lambda step: pytest.fail("it was loaded"), steps)


def test_a_checkpoint_that_is_not_there_is_the_error_of_loading(stored, tmp_path):
    shutil.copytree(stored / "step0", tmp_path / "step0")
    with pytest.raises(ModelError, match=r"There is no folder '.*/step10'"):
        checkpoint_log(lambda step: load_model(tmp_path / f"step{step}", device="cpu"), [0, 10])


# The real checkpoints.
@pytest.mark.hub
def test_pythia_has_its_checkpoints_as_revisions():
    def load(step):
        return load_model("EleutherAI/pythia-70m", revision=f"step{step}", device="cpu")

    measures, scores = checkpoint_log(load, [0, 143000])
    model, its_tokenizer = load_model("EleutherAI/pythia-70m", device="cpu")
    assert measures["validation_loss"][0] == pytest.approx(np.log(model.config.vocab_size), abs=0.5)
    assert measures["validation_loss"][1] < 5
    assert measures["second_copy_drop"][1] > measures["second_copy_drop"][0] + 3
    assert scores["induction"].shape == (2, 6, 8)
    assert scores["induction"][0].max() < 0.2
    assert scores["induction"][1].max() > 0.5
    batches = token_batches(its_tokenizer, passages())
    main = attention.survey(model, batches)["previous_token"]
    np.testing.assert_allclose(scores["previous_token"][1], main, atol=1e-6, err_msg="the last checkpoint is the model")
