"""What tests of exercises ask of a printed judgement."""


def is_wrong(printed, exercise, message):
    """The answer is refused, with this message, and the fault is not the check's own."""
    assert printed.startswith(f"✗ {exercise} not yet: ")
    assert message in printed
    assert "cannot be checked" not in printed
