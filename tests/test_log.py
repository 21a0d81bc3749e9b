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
