"""While a student's code runs: a limit on its time, the line that failed, and whether its cell was ever run."""

import _thread
import ast
import contextlib
import linecache
import re
import signal
import sys
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb

from IPython import get_ipython

from .feedback import Code

# Seconds that one call of a student's function may take. The slowest solution (7a) takes 1 second of one core, and a
# class server may give each of thirty students an eighth of one.
LIMIT = 20
# Where a student's function has ended already.
_OURS = (__file__, str(Path(__file__).with_name("judging.py")), contextlib.__file__)


class TooLong(BaseException):
    """Raised inside a student's function that does not end. follow: called with a frame when somebody has caught it."""

    def __init__(self, follow=None):
        super().__init__()
        self.follow = follow

    def __del__(self):  # when the `except` that caught it is left
        if self.follow:
            self.follow(sys._getframe(1))


@contextmanager
def limited():
    """Raise TooLong when what happens inside takes more than LIMIT seconds; only in the main thread.

    It is raised between two of Python's instructions. One call into a library is waited for.
    """
    if threading.current_thread() is not threading.main_thread():  # no other thread can be interrupted
        yield
    elif hasattr(signal, "setitimer"):
        with _alarm():
            yield
    else:
        with _interrupt():
            yield


@contextmanager
def _alarm():
    handler = signal.signal(signal.SIGALRM, lambda number, frame: stopping(frame))
    # Again each second: Python ignores what is raised in a finalizer, for example.
    with _stopping() as stopping:
        earlier = signal.setitimer(signal.ITIMER_REAL, LIMIT, 1)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, *earlier)


@contextmanager
def _stopping():
    """A function of a frame that raises TooLong in it, and, until this is left, wherever that is caught.

    `while True` with an `except:` in it catches everything. But then the next line is followed by none of its `try`, or
    the one after that, so it is raised again at each line that begins.
    """
    tracing, over = sys.gettrace(), []

    def trace(frame, event, argument):
        if frame.f_code.co_filename in _OURS:
            return None
        if event == "line":
            raise TooLong(follow)  # which ends the tracing, until `follow` begins it again
        return trace

    def follow(frame):
        if over:
            return
        sys.settrace(trace)
        while frame and frame.f_code.co_filename not in _OURS:
            frame.f_trace, frame = trace, frame.f_back

    def stopping(frame):
        if frame.f_code.co_filename not in _OURS:
            follow(frame)
            raise TooLong(follow)

    try:
        yield stopping
    finally:
        over.append(True)
        sys.settrace(tracing)


@contextmanager
def _interrupt():
    """As `_alarm`, on Windows: from another thread, as if somebody had interrupted the kernel."""
    late, done = threading.Event(), threading.Event()

    def interrupted(number, frame):
        if not late.is_set():
            raise KeyboardInterrupt
        stopping(frame)

    def watch():
        seconds = LIMIT
        while not done.wait(seconds):
            late.set()
            _thread.interrupt_main()
            seconds = 1  # again each second, as above

    handler = signal.signal(signal.SIGINT, interrupted)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        with _stopping() as stopping:
            try:
                yield
            finally:
                done.set()
                watcher.join()  # an interrupt that is on its way arrives here
    finally:
        signal.signal(signal.SIGINT, handler)


def failing_line(problem, function, caption="It failed in"):
    """The innermost line of the function's own file that an error passed, as details of a card: one Code or none."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    numbers = [line for frame, line in walk_tb(problem.__traceback__) if frame.f_code.co_filename == file]
    code = linecache.getline(file, numbers[-1]).strip() if numbers else ""
    return [Code(f"{caption} line {numbers[-1]} of {_place(file)}:", code)] if code else []


def _place(file):
    """What to call a file of code: "cell [4]", as JupyterLab numbers cells, or its name."""
    shell = get_ipython()
    kind_and_name = shell.compile.format_code_name(file) if shell else None
    return f"cell {kind_and_name[1].removeprefix('In')}" if kind_and_name else Path(file).name


def never_run(exercise):
    """What is wrong when the newest definition of what an exercise's check is given has a syntax error; else None.

    Such a cell was never run, so the name still has an older value. What the check is given is read from the cell that
    runs now, which IPython keeps like all others.
    """
    history = getattr(get_ipython(), "history_manager", None)
    if not history:
        return None
    # Raw, and with IPython's own syntax, such as %time, made into Python's.
    cells = list(zip(history.input_hist_raw, history.input_hist_parsed))[::-1]
    names = _checked_names(cells[0][1], exercise) if cells else set()
    for raw, source in cells if names else []:
        try:
            tree = _parsed(source)
        except SyntaxError as problem:
            if _defines(raw, names):
                where = f"in line {problem.lineno}: {problem.msg}"
                return (
                    f"your last definition was never run, because it has a syntax error {where}; so this check would "
                    "judge an older one. Correct that cell and run it."
                )
        else:
            if _defines(raw, names) or any(_is_set(node, names) for node in ast.walk(tree)):
                return None
    return None


def _parsed(source):
    """A cell as a tree. Raises SyntaxError for all that keeps it from running, `return` outside of a function too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were shown when the cell was run
        compile(source, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        return ast.parse(source)


def _checked_names(source, exercise):
    """The names in the answer that a cell gives to `check(exercise, answer)`, where it names the exercise itself."""
    try:
        calls = [node for node in ast.walk(_parsed(source)) if isinstance(node, ast.Call) and node.args]
    except SyntaxError:  # of an older cell: whoever called check was not in one that IPython keeps
        return set()
    calls = [call for call in calls if getattr(call.args[0], "value", None) == exercise]
    given = [each for call in calls for each in call.args[1:2]]
    given += [each.value for call in calls for each in call.keywords if each.arg == "answer"]
    return {node.id for answer in given for node in ast.walk(answer) if isinstance(node, ast.Name)}


def _defines(raw, names):
    """Whether a cell seems to define one of the names, as far as its text alone can say."""
    any_name = f"(?:{'|'.join(map(re.escape, names))})"
    return bool(re.search(rf"(?m)^[ \t]*(?:async +)?(?:def|class) +{any_name}\b|^{any_name}\s*(?::|=[^=])", raw))


def _is_set(node, names):
    """Whether a piece of a cell gives one of the names a value, by assignment or by import."""
    if isinstance(node, ast.alias):
        return (node.asname or node.name) in names
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in names
