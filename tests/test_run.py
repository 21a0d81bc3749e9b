"""`make run`: what a notebook of the run sees, what is left of it, and how it ends. And the table of what it costs."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import claims
import course
import editions
import execution
import flips
import nbformat
import pytest
import reading
import regenerate
import repeat
import run

ROOT = Path(__file__).parent.parent


def write(path, *sources):
    """A notebook with these code cells, and one of text before them."""
    cells = [nbformat.v4.new_markdown_cell("# Small"), *map(nbformat.v4.new_code_cell, sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """A notebook that prints its environment, in a folder of its own, and an empty build folder."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "BUILD", tmp_path / "build")
    for name in ("INTERP_UNTRAINED", "INTERP_SENTENCES", "INTERP_MODEL", "INTERP_CLAIMS"):
        monkeypatch.delenv(name, raising=False)
    source = "import os\nprint({k: v for k, v in os.environ.items() if k in ('INTERP_MODEL', 'INTERP_SENTENCES')})"
    return write(tmp_path / "notebooks" / "01_small.ipynb", source)


def test_a_file_is_found_from_the_notebooks_folder(notebook, monkeypatch, capsys):
    (notebook.parent.parent / "mine.csv").write_text("text\nhello", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["run.py", "--model", "some/name", "--sentences", "mine.csv", str(notebook)])
    with pytest.raises(SystemExit) as end:
        run.main()
    assert end.value.code is None
    shown = nbformat.read(run.BUILD / "01_small.ipynb", 4).cells[1].outputs[0].text
    assert eval(shown) == {
        "INTERP_MODEL": "some/name",
        "INTERP_SENTENCES": str(notebook.parent.parent / "mine.csv"),
    }
    assert 'href="01_small.html"' in (run.BUILD / "index.html").read_text(encoding="utf-8")


ENDS = {  # what a first cell does -> what is said of it
    "02_slow": ("while True: pass", "it took longer than 2 seconds. Allow more with TIMEOUT=seconds."),
    "03_dead": ("import os; os._exit(1)", "the kernel died, perhaps because the memory was full."),
    "04_wrong": ("{}['key']", "KeyError: 'key'."),
}


def test_however_a_notebook_ends_it_is_one_line_and_a_sentence_and_the_others_still_run(notebook, monkeypatch, capfd):
    paths = [write(notebook.with_name(f"{name}.ipynb"), "1", source, "2") for name, (source, _) in ENDS.items()]
    paths.append(notebook.with_name("05_no_notebook.ipynb"))
    paths[-1].write_text("{", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["run.py", "--timeout", "2", *map(str, paths), str(notebook)])
    with pytest.raises(SystemExit) as end:
        run.main()
    out, errors = capfd.readouterr()
    assert errors == "", "of kernels"
    table = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    page = (run.BUILD / "index.html").read_text(encoding="utf-8")
    for path in paths:
        seconds, failed = table[path.stem]
        assert float(seconds) >= (2 if path.stem == "02_slow" else 0)
        assert failed == "failed"
        assert f"<h2>{path.stem}</h2><p>failed; the reason stands in the terminal</p>" in page
    assert table["01_small"][-1] == "0"
    assert '<h2><a href="01_small.html">01_small</a></h2>' in page
    assert page.count("href") == 1
    assert sorted(path.name for path in run.BUILD.iterdir()) == ["01_small.html", "01_small.ipynb", "index.html"]
    said = end.value.code.split("\n\n" + str(notebook.parent))
    for path, text in zip(paths, said, strict=True):
        first, *below = text.split(".ipynb: ")[1].splitlines()
        if path.stem in ENDS:
            source, why = ENDS[path.stem]
            assert first == f"code cell 2 (`{source}`): {why}"
        else:
            assert first.startswith("it is no notebook, or it is damaged: Expecting property name")
        assert bool(below) == (path.stem == "04_wrong"), "an error of the student's own keeps its traceback"


def named(notebook):
    """{path: what is said of it} of paths that are no notebooks, beside one that is."""
    folder = notebook.parent
    empty = {"metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    written = {
        "text.md": ("# A text", "it is no notebook, or it is damaged: Expecting value"),
        "cut.ipynb": ('{"cells": [', "it is no notebook, or it is damaged"),
        "bytes.ipynb": (b"\xff\xfe\x00", "it is no notebook, or it is damaged: 'utf-8' codec"),
        "list.ipynb": ("[1]", "it is no notebook: it does not say of which format it is"),
        "no_cells.ipynb": (json.dumps(empty | {"cells": [{"a": 1}]}), "its cells cannot be read"),
        "new.ipynb": (json.dumps({"nbformat": 9, "cells": []}), "it is of format 9, and this reads up to 4."),
        "r.ipynb": (
            json.dumps(empty | {"cells": [], "metadata": {"kernelspec": {"name": "ir", "language": "R"}}}),
            "it is written in R, and only Python is run",
        ),
    }
    for name, (content, _) in written.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    said = {folder / name: said for name, (_, said) in written.items()}
    said |= {folder: "it is a folder; name the notebooks in it", folder / "none": "there is no such file."}
    return said | {folder / "01": f"there is no such file (did you mean {notebook}?)."}


def test_what_is_no_notebook_is_called_so_and_the_others_still_run(notebook, monkeypatch, capsys):
    said = named(notebook)
    monkeypatch.setattr("sys.argv", ["run.py", *map(str, said), str(notebook)])
    with pytest.raises(SystemExit) as end:
        run.main()
    assert capsys.readouterr().out.count("failed") == len(said)
    assert (run.BUILD / "01_small.ipynb").is_file()
    for (path, words), line in zip(said.items(), end.value.code.split("\n\n"), strict=True):
        assert line.startswith(f"{path}: {words}")
        assert line[-1] == "."


@pytest.mark.parametrize(
    "main",
    [
        lambda paths: editions.main(paths),
        lambda paths: regenerate.main(paths),
        lambda paths: course.main("course", paths),
        lambda paths: flips.main(),
        lambda paths: repeat.main(),
        lambda paths: claims.main(),
    ],
    ids=["editions", "regenerate", "course", "flips", "repeat", "claims"],
)
def test_the_other_tools_say_what_is_no_notebook_and_do_nothing(main, notebook, monkeypatch):
    said = named(notebook)
    monkeypatch.setattr("sys.argv", ["a tool", *map(str, said), str(notebook)])
    with pytest.raises(SystemExit) as end:
        main([*said, notebook])
    for (path, words), line in zip(said.items(), end.value.code.splitlines(), strict=True):
        assert line.startswith(f"{path}: {words}")
    assert sorted(each.name for each in notebook.parent.parent.iterdir()) == ["notebooks"]


def test_a_notebook_of_an_old_format_is_run(notebook):
    cell = {"cell_type": "code", "language": "python", "input": ["print(1)"], "outputs": [], "collapsed": False}
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"cells": [cell]}]}
    notebook.write_text(json.dumps(old), encoding="utf-8")
    assert reading.read(notebook).cells[0].source == "print(1)"


def test_sentences_that_are_not_there_are_said_before_anything_is_run(notebook, monkeypatch):
    monkeypatch.setattr("sys.argv", ["run.py", "--sentences", "mine.csv", str(notebook)])
    with pytest.raises(SystemExit, match=r"^run: There is no file or folder 'mine\.csv' with sentences\. Check"):
        run.main()
    assert not (run.BUILD / "01_small.ipynb").exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(notebook, monkeypatch):
    run.BUILD.write_text("a file", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["run.py", str(notebook)])
    with pytest.raises(SystemExit, match=r"^run: .*build cannot be made: File exists\. Copy the course"):
        run.main()
    run.BUILD.unlink()
    (run.BUILD / "index.html").mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"^run: .*index\.html"):
        run.main()


def test_the_index_shows_what_a_notebook_asks_and_its_page_leads_back(notebook, monkeypatch):
    drawing = nbformat.v4.new_code_cell(
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);", metadata={"tags": ["cover"], "alt": "A <line>."}
    )
    first = "# 1 · Small: why is it small?\n\n[Contents](README.md) · [2 · Next →](02_next.ipynb)\n\n"
    first += "**Time** 60 minutes, and 125 for the exercises.\n\n<img src='elsewhere.png'>"
    install = nbformat.v4.new_code_cell("installed = True", id="install")
    cells = [nbformat.v4.new_markdown_cell(first + "\n\nand $x_0$"), install, drawing]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    monkeypatch.setattr("sys.argv", ["run.py", str(notebook)])
    with pytest.raises(SystemExit) as end:
        run.main()
    assert end.value.code is None
    page = (run.BUILD / "index.html").read_text(encoding="utf-8")
    assert '<h2><a href="01_small.html">1 · Small</a></h2><p>Why is it small?</p>' in page
    assert "60 minutes to read, 125 for the exercises<br>" in page
    assert re.search(r'<img src="data:image/png;base64,[^"]+" alt="A &lt;line&gt;\.">', page)
    own = (run.BUILD / "01_small.html").read_text(encoding="utf-8")
    assert 'href="index.html"' in own
    assert 'href="02_next.html"' in own
    assert own.count('<img alt="A &lt;line&gt;."') == 1
    assert "installed" not in own
    assert "$x_0$" not in own
    assert "<math" in own
    assert re.search(r'<style media="\(prefers-color-scheme: dark\)">.*--jp-layout-color0', own, re.S)


def test_a_page_that_cannot_be_made_is_a_sentence(notebook, monkeypatch):
    def fail(*_):
        raise ValueError("no template\nat all")

    monkeypatch.setattr(run, "render", fail)
    monkeypatch.setattr("sys.argv", ["run.py", str(notebook)])
    with pytest.raises(SystemExit, match=rf"^{notebook}: its page cannot be made: ValueError: no template at all\.$"):
        run.main()


@pytest.mark.deep
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_an_interruption_ends_the_run(notebook):
    write(notebook, "open('begun', 'w').close()", "while True: pass")
    command = [sys.executable, ROOT / "dev/tools/run.py", notebook, notebook]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A shell starts what it runs in the background with SIGINT ignored, and children inherit that.
    ran = subprocess.Popen(command, **pipes, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    end = time.monotonic() + 60
    while not notebook.with_name("begun").exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    ran.send_signal(signal.SIGINT)
    out, problems = ran.communicate(timeout=60)
    assert ran.returncode != 0
    assert "KeyboardInterrupt" in problems
    assert "failed" not in out


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({}, "1"),
        ({"INTERP_UNTRAINED": "1"}, "1"),
        ({"INTERP_MODEL": "storybook"}, "1"),
        ({"INTERP_MODEL": "smollm2"}, None),
        ({"INTERP_MODEL": "gpt2", "INTERP_UNTRAINED": "1"}, None),
    ],
)
def test_storybook_has_one_thread_and_every_other_model_all_cores(variables, threads, notebook, monkeypatch):
    """And a notebook sees those variables alone that it is given, whatever this process has."""
    seen = []

    def execute(path, timeout, env):
        seen.append(env)
        raise execution.NotebookError("not run", 0)

    monkeypatch.setattr(execution, "execute", execute)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ["INTERP_MODEL", "INTERP_SENTENCES", "INTERP_EVIDENCE", "INTERP_CLAIMS"]:
        monkeypatch.setenv(name, "another's")
    execution.measure(notebook, variables)
    (env,) = seen
    assert env.get("OMP_NUM_THREADS") == threads
    monkeypatch.setenv("INTERP_STRICT", "1")
    own = {"INTERP_CLAIMS", "INTERP_PROGRESS"}
    assert {name: env[name] for name in env if name.startswith("INTERP_") and name not in own} == variables
    assert env["INTERP_PROGRESS"] == ""
    assert env["INTERP_CLAIMS"] != "another's"


def test_the_environment_reaches_the_kernel(notebook):
    write(notebook, "import os", "print(os.environ.get('OMP_NUM_THREADS'), os.environ['INTERP_MODEL'])")
    _, executed, _ = execution.measure(notebook, {"INTERP_MODEL": "gpt2"})
    assert executed.cells[-1].outputs[0].text == "None gpt2\n"


def stops(notebook, monkeypatch, capsys, source):
    """(What the run says at its end when a first notebook has this cell, whether the second one was run)."""
    broken = write(notebook.with_name("00_broken.ipynb"), source)
    monkeypatch.setattr("sys.argv", ["run.py", str(broken), str(notebook)])
    with pytest.raises(SystemExit) as end:
        run.main()
    assert "00_broken" in capsys.readouterr().out
    return end.value.code.removeprefix(f"{broken}: "), (run.BUILD / "01_small.ipynb").is_file()


def test_a_model_that_cannot_be_loaded_is_one_line_and_ends_the_run(notebook, monkeypatch, capsys):
    source = "import interp_helpers as ih\nih.load_model('./nowhere')"
    said, others = stops(notebook, monkeypatch, capsys, source)
    assert said.startswith("ModelError: There is no folder './nowhere'.")
    assert "\n" not in said
    assert not others


def test_another_error_of_the_package_is_one_line_and_the_others_still_run(notebook, monkeypatch, capsys):
    source = "import interp_helpers as ih\nraise ih.ModelError('This model has no position embedding.')"
    said, others = stops(notebook, monkeypatch, capsys, source)
    assert said == "ModelError: This model has no position embedding."
    assert others


def test_any_other_error_keeps_its_traceback_without_colours(notebook, monkeypatch, capsys):
    said, others = stops(notebook, monkeypatch, capsys, "1 / 0")
    assert said.startswith("code cell 1 (`1 / 0`): ZeroDivisionError: division by zero.\n")
    assert "Traceback" in said
    assert "\x1b" not in said
    assert others


def test_the_page_of_costs_has_storybooks_and_the_real_models(notebook, monkeypatch):
    """Those of the real model from its record: it is not run again. A notebook that stopped on it has none."""
    monkeypatch.syspath_prepend(ROOT / "dev" / "benchmarks")
    import start
    from measuring import table

    for name in ["02_stopped", "03_new"]:
        write(notebook.with_name(f"{name}.ipynb"), "1")
    of = {"claims": {}, "stopped": "", "seconds": 61.5, "MiB": 2100}
    record = {"01_small": of, "02_stopped": of | {"stopped": "it was too slow", "MiB": None}}
    monkeypatch.setattr(start, "ROOT", notebook.parent.parent)
    monkeypatch.setattr(claims, "records", lambda: {claims.REAL: record})
    measured = {"stopped": "", "seconds": 9.5, "MiB": 600}
    monkeypatch.setattr(execution, "measure", lambda path, variables: (measured, None, None))
    head, _, *lines = table(start.notebooks()).splitlines()
    assert head == ("| notebook | storybook: seconds | storybook: peak MiB | SmolLM2: seconds | SmolLM2: peak MiB |")
    assert lines == [
        "| 01_small | 9.5 | 600 | 61.5 | 2100 |",
        "| 02_stopped | 9.5 | 600 | – | – |",
        "| 03_new | 9.5 | 600 | – | – |",
    ]
    said = " ".join(start.__doc__.split())
    assert "one thread on storybook" in said
    assert "as many cores as that had" in said
