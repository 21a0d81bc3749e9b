"""What goes wrong around the course: a kill, a full disk, a network that breaks off, two runs at once, no HOME.

Tools run as processes of their own, in a folder whose name has spaces and accents, on a notebook of one cell.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pytest

from interp_helpers.files import write_whole

resource = pytest.importorskip("resource", reason="signals and limits of POSIX")
pytestmark = pytest.mark.deep
TOOLS = Path(__file__).parent.parent / "dev" / "tools"
CLAIM = """\
import os, time
from interp_helpers import Claims
Claims("gpt2")("01.small", "One is one", 1, True, learned=False)
open(f"../begun-{os.getpid()}", "w").close()
while os.path.exists("../wait"):
    time.sleep(0.05)"""


@pytest.fixture
def course(tmp_path):
    """A folder with a notebook that runs until the file `wait` is gone."""
    folder = tmp_path / "un été à la mer"
    (folder / "notebooks").mkdir(parents=True)
    cell = nbformat.v4.new_code_cell(CLAIM)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "notebooks" / "01_small.ipynb")
    return folder


def start(tool, folder, env=None, **options):
    command = [sys.executable, str(TOOLS / tool), "notebooks/01_small.ipynb"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=env or dict(os.environ), **pipes, **options)


def until(found, seconds=60):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def begun(folder):
    """The files, named after their processes, of the kernels that have begun."""
    return list(folder.glob("begun-*"))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("tool", ["run.py", "regenerate.py"])
def test_a_tool_killed_in_the_middle_leaves_what_was_there_and_can_begin_again(course, tool):
    before = files(course)
    (course / "wait").touch()
    ran = start(tool, course)
    until(lambda: begun(course))
    ran.send_signal(signal.SIGKILL)
    ran.communicate()
    (course / "wait").unlink()
    (kernel,) = begun(course)
    kernel.unlink()
    assert files(course) == before
    if Path("/proc").is_dir():
        until(lambda: not alive(kernel.name.partition("-")[2]))  # no kernel is left behind
    out, problems = (ran := start(tool, course)).communicate()
    assert ran.returncode == 0, problems
    there = set(files(course))
    assert not [name for name in there if name.endswith(".part")]
    assert ("build/01_small.html" in there) == (tool == "run.py"), out


def test_a_full_disk_is_one_sentence_and_the_old_page_stays(course):
    """The page of a notebook is larger than any file may be: that stands in for a disk without room for it."""
    (course / "build").mkdir()
    (course / "build" / "01_small.html").write_text("the old page")
    room = 100_000
    ran = start("run.py", course, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)))
    _, problems = ran.communicate()
    assert ran.returncode == 1
    assert "01_small.html cannot be written" in problems
    assert "Make room" in problems
    assert "Traceback" not in problems
    assert (course / "build" / "01_small.html").read_text() == "the old page"
    assert not list(course.rglob("*.part"))


def test_two_runs_at_once_in_one_folder_do_not_mix(course):
    (course / "wait").touch()
    both = [start("run.py", course) for _ in range(2)]
    until(lambda: len(begun(course)) == 2)
    (course / "wait").unlink()
    for ran in both:
        out, problems = ran.communicate()
        assert ran.returncode == 0, problems
        assert "1 of 1" in out  # each counts its own claims
    assert sorted(path.name for path in (course / "build").iterdir()) == [
        "01_small.html",
        "01_small.ipynb",
        "index.html",
    ]
    nbformat.read(course / "build" / "01_small.ipynb", 4)


@pytest.mark.parametrize("home", [None, "/nonexistent/home"])
def test_no_home_is_needed(course, home):
    env = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME", "HF_HOME")}
    _, problems = (ran := start("run.py", course, env if home is None else {**env, "HOME": home})).communicate()
    assert ran.returncode == 0, problems
    assert (course / "build" / "01_small.html").is_file()


def test_who_reads_a_file_while_it_is_written_again_reads_the_old_one_whole(tmp_path):
    """The new one takes the old one's name in one step: nothing is ever written into a file that has its name."""
    path = tmp_path / "scores.txt"
    write_whole(path, "0.75\n" * 3)
    with open(path, encoding="utf-8") as opened:
        assert opened.readline() == "0.75\n"
        write_whole(path, "0.25\n")
        opened.seek(0)
        assert opened.read() == "0.75\n" * 3
    assert files(tmp_path) == {"scores.txt": b"0.25\n"}


REVISION = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as a download needs: one model. `cut` breaks off its weights half-way."""

    protocol_version = "HTTP/1.1"
    folder, cut, sent = None, True, 0

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        names = sorted(each.name for each in self.folder.iterdir())
        file = self.folder / self.path.rpartition("/")[2]
        headers, start = {}, 0
        if "/tree/" in self.path:
            sizes = {name: (self.folder / name).stat().st_size for name in names}
            about = [{"type": "file", "path": name, "size": sizes[name], "oid": "1" * 40} for name in names]
        else:
            about = {"id": "me/tiny", "sha": REVISION, "siblings": [{"rfilename": name} for name in names]}
        if "/resolve/" in self.path:
            content = file.read_bytes()
            start = int(self.headers.get("Range", "bytes=0-").partition("=")[2].partition("-")[0])
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": REVISION}
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        else:
            content = json.dumps(about).encode()
        content = content[start:]
        self.send_response(206 if start else 200)
        for name, value in {**headers, "Content-Length": len(content)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if body and self.cut and file.name == "model.safetensors":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif body:
            self.wfile.write(content)
            type(self).sent += len(content)


def load(home, port, offline="0"):
    """What comes of load_model("me/tiny") in a fresh process, with a cache of its own."""
    code = (
        "import interp_helpers as ih\n"
        "try: print('layers', ih.load_model('me/tiny', device='cpu')[0].config.n_layer)\n"
        "except ih.ModelError as problem: print(problem)"
    )
    hub = {"HF_HOME": str(home), "HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HUB_OFFLINE": offline}
    ran = subprocess.run([sys.executable, "-c", code], env={**os.environ, **hub}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_download_that_breaks_off_is_no_model_and_goes_on_when_asked_again(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(Hub, "folder", folders["gpt2"])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        said = load(tmp_path, server.server_port)
        assert said.startswith("The download of 'me/tiny' broke off")
        assert "cannot be reached" in load(tmp_path, server.server_port, offline="1")  # half a model is none
        monkeypatch.setattr(Hub, "cut", False)
        monkeypatch.setattr(Hub, "sent", 0)
        assert load(tmp_path, server.server_port) == "layers 2\n"
        assert Hub.sent < 1.1 * (folders["gpt2"] / "model.safetensors").stat().st_size  # the rest was there
    finally:
        server.shutdown()
    assert load(tmp_path, server.server_port, offline="1") == "layers 2\n"  # and now it is
