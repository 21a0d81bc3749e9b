"""The log that storybook kept while it was trained."""

from interp_helpers import training_log


def test_the_training_log_is_complete_and_in_order():
    measures, scores = training_log()
    assert measures["tokens"].is_monotonic_increasing
    assert measures["tokens"].is_unique
    assert not measures.isna().any().any()
    assert {each.shape for each in scores.values()} == {(len(measures), 6, 8)}
    assert all(each.min() >= 0 and each.max() <= 1 for each in scores.values())
    assert list(scores) == ["previous_token", "first_token", "induction", "duplicate_token"]


def test_repetition_helps_the_trained_model_and_by_as_much_as_the_file_says():
    """The file keeps the second copy's loss minus the first's; the table says how much less it surprises."""
    import json

    from interp_helpers.models import STORYBOOK

    kept = json.loads((STORYBOOK / "training_log.json").read_text(encoding="utf-8"))
    gains = training_log()[0]["repeat_gain"].tolist()
    assert gains == [-each["repeat_gain"] for each in kept]
    assert gains[-1] > 0
