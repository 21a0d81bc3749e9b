"""How many students one machine holds: a real JupyterHub, and as many simulated students as are asked for.

python dev/classroom/jupyterhub_load.py NOTEBOOK --students 30 [--proxy path/to/configurable-http-proxy]

Needs jupyterhub (pip) and configurable-http-proxy (npm) beside the course's own packages. Every student logs in, gets a
server, uploads the notebook, starts a kernel, and runs all cells as the browser would, one request a cell, over the
hub's proxy. All press Run All at the same moment, which is the worst that a class can do. The settings are those of
jupyterhub_config.py; only here anyone may log in, nothing is encrypted, and all are one user of the machine.
"""

import argparse
import json
import os
import secrets
import socket
import statistics
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
import requests
import websocket

CLASS = Path(__file__).resolve().parent / "jupyterhub_config.py"
CONFIG = """
c = get_config()
load_subconfig({config!r})
c.JupyterHub.ssl_cert = c.JupyterHub.ssl_key = c.Spawner.notebook_dir = ""
c.JupyterHub.active_server_limit = 0
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub_port}
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie"
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.services = [dict(name="load", api_token="{token}")]
allowed = ["admin:users", "admin:servers", "access:servers"]
c.JupyterHub.load_roles = [dict(name="load", services=["load"], scopes=allowed)]
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/home/{{username}}"
c.Spawner.args = ["--allow-root"]
c.ConfigurableHTTPProxy.command = [{proxy!r}]
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
"""
ALLOWED_S = 3600  # for a whole notebook


def free_port():
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return each.getsockname()[1]


class Student:
    """One simulated student of a hub at an address."""

    def __init__(self, name, url, token):
        self.name, self.url, self.session = name, url, requests.Session()
        self.session.headers["Authorization"] = f"token {token}"

    def ask(self, method, path, **given):
        reply = self.session.request(method, self.url + path, timeout=300, **given)
        reply.raise_for_status()
        return reply.json() if reply.content else None

    def log_in(self, notebook):
        """Get a server, upload the notebook, and start its kernel."""
        self.ask("POST", f"/hub/api/users/{self.name}")
        self.ask("POST", f"/hub/api/users/{self.name}/server")
        while not self.ask("GET", f"/hub/api/users/{self.name}")["servers"].get("", {}).get("ready"):
            time.sleep(1)
        self.ask("PUT", f"/user/{self.name}/api/contents/lesson.ipynb", json={"type": "notebook", "content": notebook})
        wanted = {"path": "lesson.ipynb", "type": "notebook", "name": "", "kernel": {"name": "python3"}}
        kernel = self.ask("POST", f"/user/{self.name}/api/sessions", json=wanted)["kernel"]["id"]
        self.socket = websocket.create_connection(
            f"{self.url.replace('http', 'ws', 1)}/user/{self.name}/api/kernels/{kernel}/channels",
            header=[f"Authorization: {self.session.headers['Authorization']}"],
            timeout=ALLOWED_S,
        )

    def run(self, source):
        """Execute a cell. Returns None, or what it raised."""
        sent = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": "", "session": self.name,
                "date": "", "version": "5.3"}  # fmt: skip
        content = {"code": source, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": True}
        self.socket.send(json.dumps({"header": sent, "parent_header": {}, "metadata": {}, "content": content,
                                     "channel": "shell", "buffers": []}))  # fmt: skip
        while True:
            message = json.loads(self.socket.recv())
            if message["msg_type"] == "execute_reply" and message["parent_header"].get("msg_id") == sent["msg_id"]:
                reply = message["content"]
                return None if reply["status"] == "ok" else f"{reply.get('ename')}: {reply.get('evalue')}"

    def run_all(self, cells):
        """Execute all cells. Returns (seconds, what failed or None)."""
        began = time.monotonic()
        for cell in cells:
            if problem := self.run(cell):
                return time.monotonic() - began, problem
        return time.monotonic() - began, None


def memory(hub):
    """MiB that the hub and all below it hold, shared pages divided among those that share them."""
    total = 0
    for process in [hub, *hub.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, AttributeError):  # ended meanwhile; no pss outside of Linux
            continue
    return total / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--students", type=int, default=30)
    parser.add_argument("--proxy", default="configurable-http-proxy")
    given = parser.parse_args()
    notebook = nbformat.read(given.notebook, 4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    port, token = free_port(), secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "jupyterhub_config.py"
        config.write_text(CONFIG.format(port=port, hub_port=free_port(), proxy_port=free_port(), token=token,
                                        folder=folder, proxy=given.proxy, config=str(CLASS)))  # fmt: skip
        path = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
        with open(Path(folder) / "hub.log", "w") as log:
            started = psutil.Popen([sys.executable, "-m", "jupyterhub", "-f", str(config)], cwd=folder, stdout=log,
                                   stderr=log, env={**os.environ, "PATH": path})  # fmt: skip
        try:
            students = [
                Student(f"student{each:02}", f"http://127.0.0.1:{port}", token) for each in range(given.students)
            ]
            for _ in range(120):
                try:
                    students[0].ask("GET", "/hub/api/")
                    break
                except requests.RequestException:
                    time.sleep(0.5)
            else:
                sys.exit("The hub did not start:\n" + (Path(folder) / "hub.log").read_text()[-2000:])
            with ThreadPoolExecutor(given.students) as pool:
                began = time.monotonic()
                list(pool.map(lambda student: student.log_in(notebook), students))
                print(f"{given.students} students logged in, kernels started: {time.monotonic() - began:.0f} s, "
                      f"{memory(started):.0f} MiB in all", flush=True)  # fmt: skip
                peak, done = [0.0], threading.Event()

                def watch():
                    while not done.wait(3):
                        peak[0] = max(peak[0], memory(started))

                watcher = threading.Thread(target=watch)
                watcher.start()
                results = list(pool.map(lambda student: student.run_all(cells), students))
                done.set()
                watcher.join()
            seconds = sorted(each for each, _ in results)
            problems = [f"{student.name}: {problem}" for student, (_, problem) in zip(students, results) if problem]
            print(f"{given.notebook.name}: fastest {seconds[0]:.0f} s, median {statistics.median(seconds):.0f} s, "
                  f"slowest {seconds[-1]:.0f} s; {len(problems)} failed")  # fmt: skip
            print(f"memory at most {peak[0]:.0f} MiB, {peak[0] / given.students:.0f} MiB a student; "
                  f"{os.cpu_count()} processors")  # fmt: skip
            print(*problems, sep="\n")
        finally:
            for process in [*started.children(recursive=True), started]:
                process.terminate()
            psutil.wait_procs([started], timeout=20)


if __name__ == "__main__":
    main()
