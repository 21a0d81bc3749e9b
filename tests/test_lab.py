"""JupyterLab as a student meets it after `make lab`: what opens, what it asks, where the links lead."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import copies
import pytest
from browser import CHROMIUM, browser

ROOT = Path(__file__).parent.parent
LAB = Path(sys.executable).parent / "jupyter-lab"
SETTINGS = Path(sys.prefix) / "share/jupyter/lab/settings/overrides.json"
FIRST, SECOND = "01_baseline.ipynb", "02_head_specialization.ipynb"
TITLE = "document.querySelector('.jp-Notebook .jp-MarkdownOutput h1')?.textContent || ''"
KERNEL_IS_IDLE = "document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')"
CHANGED = "document.querySelectorAll('.lm-TabBar-tab.jp-mod-dirty').length"
ASKED = "[...document.querySelectorAll('.jp-Dialog, .Toastify__toast')].map((each) => each.textContent)"
# Cells are drawn when they come into view: scroll to the end, and note what is wider than its box on the way.
WIDE = """(async () => {
  const found = new Set(), view = document.querySelector(".jp-WindowedPanel-outer");
  for (let before = -1; view.scrollTop !== before; ) {
    for (const box of document.querySelectorAll(".cm-scroller, .jp-OutputArea-output, .jp-MarkdownOutput"))
      if (box.scrollWidth > box.clientWidth + 1) found.add(box.textContent.slice(0, 80));
    before = view.scrollTop;
    view.scrollTop += 600;
    await new Promise((done) => setTimeout(done, 60));
  }
  return [...found];
})()"""

pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(CHROMIUM is None or not LAB.exists(), reason="no Chromium or no JupyterLab"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab that serves a student's copies, and nothing of this user's settings."""
    course = tmp_path_factory.mktemp("course")
    shutil.copytree(ROOT / "notebooks" / "student", course / copies.STUDENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(course)
        patch.setattr(sys, "argv", ["copies.py"])
        copies.main()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"JUPYTER_{name}_DIR": str(course / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(course / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(course / "spaces")}
    command = [LAB, "--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token=", "--notebook-dir=."]
    with open(course / "lab.log", "w") as log:
        server = subprocess.Popen(command, cwd=course, env={**os.environ, **own}, stdout=log, stderr=log)
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + 60
    local = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        while True:
            try:
                local.open(f"{address}/api").close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > end:
                    raise RuntimeError((course / "lab.log").read_text()) from None
                time.sleep(0.3)
        yield f"{address}/lab/tree/work/"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def tab(lab, tmp_path):
    """A browser in which the first notebook is open and its kernel waits."""
    with browser(tmp_path) as page:
        page.width(1280, 800)
        page.open(lab + FIRST + "?reset")
        assert page.wait(TITLE)
        assert page.wait(KERNEL_IS_IDLE), page.run("document.body.innerText")
        yield page


def test_the_settings_of_the_course_are_there():
    """`make` puts them beside JupyterLab, and Binder's set-up does."""
    assert SETTINGS.read_text(encoding="utf-8") == (ROOT / "dev/classroom/overrides.json").read_text(encoding="utf-8")
    assert "dev/classroom/overrides.json" in (ROOT / "binder" / "postBuild").read_text(encoding="utf-8")


def test_a_notebook_opens_unchanged_and_nothing_is_asked_or_hides_at_the_side(tab):
    assert tab.run(TITLE).startswith("1 · Baseline")
    assert tab.run("document.querySelector('.jp-Notebook').innerText.includes('Student edition.')")
    assert tab.wait("document.querySelector('.jp-InputPlaceholder')", 20), "the installer is folded"
    assert tab.run(WIDE) == []
    time.sleep(3)  # what JupyterLab learns from the kernel it writes into the notebook after a while
    assert tab.run(CHANGED) == 0
    assert tab.run(ASKED) == []


def test_the_links_lead_to_the_contents_as_a_page_and_to_the_next_notebook(tab):
    def click(text):
        links = "[...document.querySelectorAll('.jp-MainAreaWidget:not(.lm-mod-hidden) .jp-RenderedHTMLCommon a')]"
        link = f"{links}.find((each) => each.textContent.includes('{text}'))"
        assert tab.wait(link)
        tab.run(f"{link}.click()")

    click("2 · Head specialization")
    assert tab.wait("[...document.querySelectorAll('h1')].some((each) => each.textContent.startsWith('2 · Head'))")
    click("Contents")
    assert tab.wait("[...document.querySelectorAll('.jp-MarkdownViewer h1')].some((each) => each.innerText)")
    assert tab.run("document.querySelectorAll('.jp-MarkdownViewer table tr').length") == 10
