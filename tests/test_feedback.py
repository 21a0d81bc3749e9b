"""What a check shows: the card, a small input, the line that failed, what is empty, endless loops, old cells."""

import dataclasses
import json
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch

from interp_helpers import exercises
from interp_helpers.exercises import feedback, judging, running
from interp_helpers.exercises.feedback import BLANK, PASSED, WRONG, Card, Code, Note, table


def right(ids):
    earlier = (ids[..., :, None] == ids[..., None, :]).tril(-1)
    return earlier.roll(1, -1)


def swapped(ids):
    return right(ids).mT


def twice(x):
    return 2 * x


@pytest.fixture
def shown(monkeypatch):
    """The cards that a check shows, in order."""
    cards = []
    monkeypatch.setattr(exercises, "display", cards.append)
    monkeypatch.setattr(exercises, "_results", {})
    return cards


def card_of(shown, exercise, answer, **context):
    exercises.check(exercise, answer, **context)
    return shown.pop()


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(*colours):
    dark, light = sorted(map(luminance, colours))
    return (light + 0.05) / (dark + 0.05)


# The card.


def test_a_card_as_text_begins_with_its_line():
    assert repr(Card("2b", PASSED, "right.")) == "✓ 2b passed: right."
    assert repr(Card("2b", BLANK)) == "○ 2b not attempted"
    card = Card("2b", WRONG, "no.", (Note("a note"), Code("Line 3:", "x = 1")))
    assert repr(card).splitlines() == ["✗ 2b not yet: no.", "a note", "Line 3:", "    x = 1"]


class Tags(HTMLParser):
    """Every tag with its attributes, and the text between them."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_a_card_as_html_says_the_same_and_escapes_it():
    card = Card("2b", WRONG, "is `a < b`\nor <script>?", (Note("<b>"), Code("Line `3`:", "x < '1'")))
    read = Tags(card._repr_html_())
    assert read.text == "✗2b not yet: is a < bor <script>?<b>Line 3:x < '1'"
    assert [tag for tag, _ in read.tags if tag in ("script", "b", "style")] == []
    assert [tag for tag, _ in read.tags].count("code") == 3
    assert "<br>" in card._repr_html_()


@pytest.mark.parametrize("result", [PASSED, WRONG, BLANK])
def test_colours_can_be_seen_on_white_and_on_black(result):
    sign, colour = feedback.SIGNS[result]
    assert contrast(colour, "#ffffff") >= 4.5  # the sign is white on it
    assert contrast(colour, "#111111") >= 3 <= contrast(colour, "#121212")
    card = Card("2b", result)._repr_html_()
    assert colour in card
    assert sign in card
    assert result in card


def test_a_passed_card_is_the_same_in_every_run(shown, monkeypatch):
    monkeypatch.setattr(judging, "_seed", lambda: secrets.randbits(63))  # as outside of the tests
    for _ in range(2):
        exercises.check("2b", right)
    assert len({(repr(card), card._repr_html_()) for card in shown}) == 1


def test_a_kernel_gets_both_forms():
    cell = "from interp_helpers import exercises; exercises.check('2b', None)"
    script = f"""
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.display_pub.publish = lambda data, *more, **options: print(data)
shell.run_cell({cell!r})
"""
    printed = run_python(script)
    assert "'text/plain': '○ 2b not attempted'" in printed
    assert "'text/html': '<div " in printed


# Tables.


def test_a_small_table_shows_all_of_a_tensor():
    whole = str(table("x", torch.tensor([[1.0, -2.5], [0.0, torch.nan]]), (1, 0), marked=True))
    assert whole.splitlines() == [
        "x:",
        "             0:      1:",
        "    0:    1.000  -2.500",
        "    1:  [0.000]     nan",
    ]


def test_a_table_of_a_large_tensor_shows_where_the_place_is():
    values = torch.arange(2 * 3 * 20 * 30).reshape(2, 3, 20, 30)
    part = table("x", values, (1, 2, 19, 15), marked=True)
    assert part.caption == "x[1, 2], of shape (2, 3, 20, 30), rows 12 to 19 and columns 11 to 18 only:"
    row, column = part.marked
    assert part.rows[row][column] == str(values[1, 2, 19, 15].item())
    assert (len(part.rows), len(part.rows[0])) == (8, 8)
    assert f"[{values[1, 2, 19, 15].item()}]" in str(part)


@pytest.mark.parametrize(
    ("shape", "size"), [((), (1, 1)), ((3,), (1, 3)), ((16,), (1, 16)), ((17,), (1, 16)), ((9, 2), (8, 2))]
)
def test_a_table_has_eight_rows_and_columns_at_most_and_a_vector_is_one_row(shape, size):
    part = table("x", torch.ones(shape), (8,) * len(shape), marked=True)
    assert (len(part.rows), len(part.rows[0])) == size
    assert str(part).count("[1.000]") == 1


def test_a_place_in_another_tensor_is_used_as_far_as_it_fits():
    values = torch.arange(6).reshape(2, 1, 3)
    assert table("x", values, (1, 4, 2)).rows == [["3", "4", "5"]]
    assert table("x", values, (5, 0, 2)).rows == [["0", "1", "2"]]


def test_a_table_as_html_has_headings_with_a_scope_and_marks_a_cell_by_more_than_colour():
    read = Tags(table("x", torch.eye(2), (1, 0), marked=True)._repr_html_())
    assert [each["scope"] for tag, each in read.tags if tag == "th"] == ["col", "col", "row", "row"]
    marked = [each["style"] for tag, each in read.tags if tag == "td" and "outline" in each["style"]]
    assert len(marked) == 1
    assert "font-weight:700" in marked[0]


# A small input on which an answer is wrong.


def descending(generator):
    for count in range(20, 0, -1):
        yield torch.randn(count, generator=generator), 0.5, torch.nn.Identity()


DOUBLE = judging.Exercise(
    "2b", "Twice", kind="Build", difficulty=1, points=1, mistakes={"you halved.": lambda x, *_: x / 2},
    praise="right.", reference=lambda x, *_: 2 * x, inputs=descending,
)  # fmt: skip


def test_the_smallest_input_is_shown_with_both_results():
    def wrong_from_three_on(x, share, module):
        return 2 * x + (torch.arange(len(x)) == 2)

    with pytest.raises(judging.Wrong, match=r"^for `x` = tensor\(\[.+\]\), `share` = 0\.500, ") as caught:
        DOUBLE(judging.watched(wrong_from_three_on))
    assert str(caught.value).endswith("(at [2]).")  # no longer the first input, which has 20 numbers
    note, share, x, both, mine, rights = caught.value.details
    assert note.text == "A small input on which your answer differs from the right one:"
    assert x.caption == "`x`:"
    assert len(x.rows[0]) == 3
    assert share.text == "`share` is 0.500"
    assert both.text == "Both answers, with the largest difference marked:"
    assert (mine.caption, rights.caption) == ("yours:", "right:")
    assert mine.marked == rights.marked == (0, 2)
    assert float(mine.rows[0][2]) == pytest.approx(float(rights.rows[0][2]) + 1, abs=0.002)


def test_a_known_mistake_keeps_its_message():
    with pytest.raises(judging.Wrong, match=r"^you halved\.$") as caught:
        DOUBLE(lambda x, share, module: x / 2)
    assert len(caught.value.details[2].rows[0]) == 1


def test_an_input_on_which_the_difference_shows_comes_before_a_smaller_one():
    def hardly_wrong_below_three(x, share, module):
        return 2 * x + (1e-3 if len(x) < 3 else 1)

    with pytest.raises(judging.Wrong) as caught:
        DOUBLE(judging.watched(hardly_wrong_below_three))
    assert len(caught.value.details[2].rows[0]) == 3


def test_what_a_function_prints_is_not_printed_again_for_every_input_that_is_tried(capsys):
    def says(x, share, module):
        print("called")
        return x

    with pytest.raises(judging.Wrong):
        DOUBLE(judging.watched(says))
    assert capsys.readouterr().out == "called\n"


def test_more_than_two_inputs_are_folded_and_an_empty_answer_is_said_to_be_empty():
    tensors = [torch.ones(2), torch.ones(3), torch.ones(4)]
    details = judging._case(lambda q, k, v: None, tensors, torch.ones(0, 2), torch.ones(1))
    folded, mine = details[1], details[3]
    assert str(folded) == "The input: `q`; `k`; `v`"
    assert folded._repr_html_().count("<table") == 3
    assert folded._repr_html_().startswith("<details")
    assert mine.text == "yours: empty, of shape (0, 2)"


def test_whole_numbers_are_said_without_decimals():
    marks = torch.eye(2) > 0
    assert "your answer is 1 where it should be 0 (at [0, 1])" in str(
        judging.difference(marks | True, marks, given="x")
    )
    assert table("x", marks).rows == [["1", "0"], ["0", "1"]]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: x, "your function takes 1 input; the exercise gives it 3: `x`, `share`, `module`."),
        (torch.nn.Softmax(-1), "takes 1 input; the exercise gives it 3"),
    ],
)
def test_a_function_of_other_inputs_is_told_which_it_gets(answer, said):
    exercise = dataclasses.replace(DOUBLE, reference=lambda x, share, module: 2 * x)
    with pytest.raises(judging.Wrong, match=re.escape(said)):
        exercise(judging.watched(answer))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda ids: pd.DataFrame(["a word"]), "it is a DataFrame of shape (1, 1)."),
        (lambda ids: np.array(["a word"]), "it is an array of shape (1,)."),
        (lambda ids: ids.float().softmax(-1).long().softmax(-1), "your function raised NotImplementedError when given"),
    ],
)
def test_an_odd_answer_is_told_what_it_is(shown, answer, said):
    assert said in card_of(shown, "2b", answer).message


@pytest.mark.parametrize(
    "odd", [lambda target: target.to_sparse(), lambda target: target.numpy()[..., ::-1][..., ::-1]]
)
def test_numbers_in_another_form_are_numbers(shown, odd):
    assert card_of(shown, "2b", lambda ids: odd(right(ids).float())).result == PASSED


def test_an_input_on_which_the_answer_raises_is_not_a_smaller_one():
    def raises_below_five(x, share, module):
        if len(x) < 5:
            raise ValueError
        return x

    with pytest.raises(judging.Wrong) as caught:
        DOUBLE(judging.watched(raises_below_five))
    assert len(caught.value.details[2].rows[0]) == 5


def test_the_search_for_a_smaller_input_ends(monkeypatch):
    calls = []

    def slow(x, *more):
        calls.append(len(x))
        time.sleep(0.05)
        return x

    monkeypatch.setattr(judging, "SEARCH", 0.02)
    with pytest.raises(judging.Wrong):
        DOUBLE(slow)
    assert len(calls) <= 3


def test_results_of_another_shape_are_shown_without_a_mark():
    with pytest.raises(judging.Wrong, match="the answer has shape") as caught:
        DOUBLE(lambda x, *more: x[None])
    assert [each.marked for each in caught.value.details[-2:]] == [None, None]


def test_numbers_that_differ_little_are_shown_with_more_decimals():
    with pytest.raises(judging.Wrong, match=r"is 2\.000\d* where") as caught:
        DOUBLE.__class__(**vars(DOUBLE) | {"inputs": lambda generator: [(torch.ones(2),)]})(lambda x: 2.00004 * x)
    assert "2.000040 where it should be 2.000000" in str(caught.value)
    assert caught.value.details[-2].rows == [["2.000040", "2.000040"]]


def test_a_finding_gets_nothing_but_its_message(shown):
    card = card_of(shown, "2c", "vanishes", before=0.6, after=0.6)
    assert (card.result, card.details) == (WRONG, ())


def test_a_functions_card_has_the_tables(shown):
    card = card_of(shown, "2b", swapped)
    assert [each.caption for each in card.details[1:2]] == ["`ids`:"]
    assert "<table" in card._repr_html_()


# The line that failed.


def test_the_line_of_the_answer_that_failed_is_shown(shown):
    def of_names(names):
        return torch.nn.functional.softmax(names, "no axis")  # here

    card = card_of(shown, "2b", lambda ids: of_names(ids.double()))
    (code,) = card.details
    assert code.code == 'return torch.nn.functional.softmax(names, "no axis")  # here'
    number = of_names.__code__.co_firstlineno + 1
    assert code.caption == f"It failed in line {number} of test_feedback.py:"
    assert card.message.startswith("your function raised TypeError when given a tensor of shape (14,): ")


def test_a_function_without_python_code_has_no_line(shown):
    assert card_of(shown, "2b", torch.linalg.det).details == ()


def test_the_line_of_a_hook_is_shown():
    def hook(value, hook):
        return value[99]

    with pytest.raises(judging.Wrong, match="A hook is called as") as caught:
        judging.call_hook(hook, torch.zeros(2), None)
    assert caught.value.details[0].code == "return value[99]"


def test_an_answer_that_wants_to_leave_is_told_so(shown):
    def leaves(ids):
        sys.exit(3)

    assert "raised SystemExit" in card_of(shown, "2b", leaves).message


def test_an_interrupt_still_interrupts(shown):
    def interrupted(ids):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exercises.check("2b", interrupted)


# A loop that does not end.


def loops(ids):
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            continue


@pytest.mark.parametrize("windows", [False, True])
def test_a_loop_that_does_not_end_is_stopped(windows, shown, monkeypatch):
    monkeypatch.setattr(running, "LIMIT", 0.3)
    if windows:
        monkeypatch.delattr(signal, "setitimer", raising=False)
    card = card_of(shown, "2b", loops)
    assert card.message == (
        "your function did not finish within 0.3 seconds when given a tensor of shape (14,). Is there a loop that "
        "never ends?"
    )
    (code,) = card.details
    assert code.caption.startswith("It was at work in line ")
    assert code.code in ("while True:", "try:", "time.sleep(0.01)", "except Exception:")
    time.sleep(0.4)  # nothing comes late
    assert card_of(shown, "2b", right).result == PASSED


@pytest.mark.parametrize("windows", [False, True])
def test_an_interrupt_is_not_taken_for_a_loop(windows, monkeypatch):
    if windows:
        monkeypatch.delattr(signal, "setitimer", raising=False)
    with pytest.raises(KeyboardInterrupt), running.limited():
        raise KeyboardInterrupt


def test_a_hook_that_does_not_end_is_stopped(monkeypatch):
    monkeypatch.setattr(running, "LIMIT", 0.2)
    with pytest.raises(judging.Wrong, match="your hook did not finish"):
        judging.call_hook(lambda value, hook: loops(value), torch.zeros(2), None)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no alarms here")
def test_somebody_elses_alarm_is_set_again():
    def theirs(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGALRM, theirs)
    signal.setitimer(signal.ITIMER_REAL, 50)
    try:
        with running.limited():
            assert signal.getsignal(signal.SIGALRM) is not theirs
        assert signal.getsignal(signal.SIGALRM) is theirs
        assert 40 < signal.setitimer(signal.ITIMER_REAL, 0)[0] <= 50
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_check_in_another_thread_has_no_limit(shown):
    thread = threading.Thread(target=exercises.check, args=("2b", right))
    thread.start()
    thread.join()
    assert shown[0].result == PASSED


# Half filled in.


@pytest.mark.parametrize(
    ("answer", "empty"),
    [
        ({"better": True, "both": None}, "`both`"),
        ({"better": [], "both": 3, 7: ...}, "`better`, `7`"),
        ((None, 3), "entry 1 of 2"),
        ({"dates": (20, None), "draw": right}, "`dates` (entry 2 of 2)"),
        ({"dates": 1, "draw": judging._blank}, "`draw`"),
        ({"hooks": [("a place", lambda value, hook: None)], "layer": None}, "`layer`"),
    ],
)
def test_half_filled_in_names_what_is_empty(answer, empty, shown):
    card = card_of(shown, "3a", answer, correct=None, asked_first=None, sentence=None)
    assert repr(card) == f"✗ 3a not yet: half filled in; still empty: {empty}."


def test_a_function_that_was_not_written_is_empty():
    def dots(ids):
        """What it does."""
        ...

    def documented(ids):
        """What it does."""
        raise NotImplementedError("your code")

    def partly(ids):
        if ids is None:
            raise NotImplementedError
        return 1

    assert judging.is_blank(dots)
    assert judging.is_blank(documented)
    assert not judging.is_blank(partly)
    assert not judging.is_blank(right)


# A definition with a syntax error.


def run_python(script):
    given = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", timeout=300)
    assert given.returncode == 0, given.stderr
    return given.stdout


def first_lines(*cells):
    """The first lines of what IPython prints for some cells, run one after the other."""
    script = f"""
import contextlib, io, json
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
said = []
shell.display_pub.publish = lambda data, *more, **options: said.append(data["text/plain"])
with contextlib.redirect_stdout(io.StringIO()):
    for cell in {list(cells)!r}:
        shell.run_cell(cell, store_history=True)
print(json.dumps(said))
"""
    return [text.splitlines() for text in json.loads(run_python(script).splitlines()[-1])]


BLANK_CELL = 'from interp_helpers import exercises\ndef induction_target(ids):\n    """Blank."""'
GOOD = "def induction_target(ids):\n    return (ids[..., :, None] == ids[..., None, :]).tril(-1).roll(1, -1)"
BAD = "import torch\ndef induction_target(ids)\n    return ids"
CHECK = 'exercises.check("2b", induction_target)'


def test_a_definition_with_a_syntax_error_was_never_run():
    blank, stale, good, magic, unpacked, in_check, other = first_lines(
        BLANK_CELL, CHECK,
        BAD, CHECK,
        GOOD, CHECK,
        BAD, f"%%capture\n{GOOD}", CHECK,
        BAD, f"a, induction_target = 1, lambda ids: None\n{GOOD.replace('induction_target', 'b')}", CHECK,
        BAD, f"{GOOD}\n{CHECK}",
        BAD.replace("induction_target", "other"), f"answer = 3\n{CHECK}",
    )  # fmt: skip
    assert blank == ["○ 2b not attempted"]
    (line,) = stale
    assert re.fullmatch(
        r"✗ 2b not yet: your last definition was never run, because it has a syntax error in line 2: .+; so this check "
        r"would judge an older one\. Correct that cell and run it\.",
        line,
    )
    assert good[0].startswith("✓ 2b passed")
    assert magic[0].startswith("✓ 2b passed")
    assert unpacked[0].startswith("✗ 2b not yet: your function returned None")
    assert in_check[0].startswith("✓ 2b passed")
    assert other[0].startswith("✓ 2b passed")


def test_all_that_keeps_a_cell_from_running_is_seen_and_a_name_that_comes_by_import_is_none_of_it():
    outside, imported, named, by_name = first_lines(
        BLANK_CELL, GOOD, "def induction_target(ids):\n    x = 1\nreturn x", CHECK,
        BAD, "from interp_helpers.attention import induction_target", CHECK,
        BAD, 'exercises.check("2b", answer=induction_target)',
        GOOD, 'exercises.check("2b", answer=induction_target)',
    )  # fmt: skip
    assert "a syntax error in line 3: 'return' outside function" in outside[0]
    assert imported[0].startswith("✓ 2b passed")
    assert "never run" in named[0]
    assert by_name[0].startswith("✓ 2b passed")


def test_a_blank_with_a_syntax_error_after_it_is_no_blank_and_a_cell_is_named():
    broken, failed = first_lines(
        BLANK_CELL, "%time\ninduction_target = (1,", CHECK,
        "def induction_target(ids):\n    x = 1\n    return ids[99]", CHECK,
    )  # fmt: skip
    assert "syntax error in line 2" in broken[0]
    assert failed[1:] == ["It failed in line 3 of cell [4]:", "    return ids[99]"]
