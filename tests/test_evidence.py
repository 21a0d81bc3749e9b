"""What the course quotes: published figures, and the log that storybook kept while it was trained."""

import json

from interp_helpers import published_figures, training_log
from interp_helpers.hub import STORYBOOK


def test_figures_are_those_of_the_model_asked_for():
    figures = published_figures("gpt2")
    assert figures["config"]["parameters"] == 124439808
    assert figures["prompt"]
    assert published_figures("gpt2-large") != figures
    assert published_figures("a model that nobody published") == {}


def test_the_training_log_is_complete_and_in_order():
    measures, scores = training_log()
    assert list(measures) == ["step", "tokens", "validation_loss", "second_copy_drop", "loop_share"]
    assert measures["tokens"].is_monotonic_increasing
    assert measures["tokens"].is_unique
    assert not measures.isna().any().any()
    assert list(scores) == ["previous_token", "first_token", "induction", "duplicate_token"]
    for values in scores.values():
        assert values.shape == (len(measures), 6, 8)
        assert values.min() >= 0
        assert values.max() <= 1


def test_the_log_has_the_numbers_of_the_file_and_repetition_helps_in_the_end():
    """The file keeps the second copy's loss minus the first's; the table says by how much it is lower."""
    log = json.loads((STORYBOOK / "training_log.json").read_text(encoding="utf-8"))
    measures, scores = training_log()
    drops = measures["second_copy_drop"].tolist()
    assert drops == [-entry["repeat_gain"] for entry in log]
    assert drops[-1] > 1
    assert scores["induction"][-1].tolist() == log[-1]["scores"]["induction"]
