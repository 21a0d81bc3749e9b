"""Headless Chromium over its DevTools protocol: as much of it as the tests of the site need."""

import json
import shutil
import subprocess
import tarfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-port=0", "--remote-allow-origins=*",
]  # fmt: skip

# The codes without which Chromium neither moves the focus nor a slider, nor presses a button.
KEYS = {
    "Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "End": 35, "Home": 36,
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
}  # fmt: skip


def axe_core():
    """axe-core's source, from a copy in build/ or from npm; None where there is neither."""
    kept = Path(__file__).parent.parent / "build/axe"
    if not list(kept.glob("axe-core-*.tgz")) and shutil.which("npm"):
        kept.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", "axe-core@4"], cwd=kept, capture_output=True, timeout=120)
    packed = next(kept.glob("axe-core-*.tgz"), None)
    if packed is None:
        return None
    with tarfile.open(packed) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


class Page:
    """A tab. `events` holds what it reported since it was last sent somewhere."""

    def __init__(self, address):
        import websocket

        self.socket = websocket.create_connection(address, timeout=120)
        self.number, self.events = 0, []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def receive(self):
        message = json.loads(self.socket.recv())
        if "method" in message:
            self.events.append(message)
        return message

    def call(self, method, **parameters):
        """A command's result."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while (message := self.receive()).get("id") != self.number:
            pass
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def open(self, address):
        """Go to an address and wait until the page says that it is loaded."""
        self.events = []
        self.call("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.receive()

    def run(self, script):
        """The value of a JavaScript expression, awaited."""
        given = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in given:
            raise RuntimeError(given["exceptionDetails"]["exception"]["description"])
        return given["result"].get("value")

    def wait(self, condition, seconds=60):
        """Whether a JavaScript expression became true in time."""
        end = time.monotonic() + seconds
        while not (holds := self.run(f"Boolean({condition})")) and time.monotonic() < end:
            time.sleep(0.1)
        return holds

    def press(self, key):
        """Press a key and let it go."""
        text = {"text": {"Enter": "\r", " ": " "}[key]} if key in ("Enter", " ") else {}
        for kind, more in [("keyDown", text), ("keyUp", {})]:
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=KEYS[key], **more)

    def width(self, pixels, height=900):
        self.call("Emulation.setDeviceMetricsOverride", width=pixels, height=height, deviceScaleFactor=1, mobile=False)

    def after(self, method):
        """What the events of one kind hold."""
        return [event["params"] for event in self.events if event["method"] == method]


@contextmanager
def browser(profile):
    """A Page of a new Chromium with its profile in the folder `profile`, which goes away with the block."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port, end = profile / "DevToolsActivePort", time.monotonic() + 60
        while not port.is_file() or not port.read_text().strip():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("Chromium did not start")
            time.sleep(0.1)
        local = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with local.open(f"http://127.0.0.1:{port.read_text().split()[0]}/json") as answer:
            targets = json.load(answer)
        yield Page(next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page"))
    finally:
        process.terminate()
        process.wait(30)
