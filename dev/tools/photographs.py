"""Take the pictures of the playground, for browsers that cannot run it: python dev/tools/photographs.py

They lie in docs/playground/pictures. Chromium is needed, and the built page: make playground.
"""

import argparse
import base64
import sys
import tempfile
import time
from pathlib import Path

from pictures import smaller

ROOT = Path(__file__).parent.parent.parent
sys.path.append(str(ROOT / "tests"))
from browser import CHROMIUM, browser  # noqa: E402

PICTURES = ROOT / "docs/playground/pictures"
WIDTH, HEIGHT = 1280, 900
NAMES = "text=Mr%20Quilp%20Zander%20met%20Miss%20Olga%20Brant.%20Later%20Mr%20Quilp%20Zander%20met%20Miss"
SHOWN = {  # name -> what stands in the address
    "next": "",
    "heads": f"view=heads&head=L4H3&{NAMES}",
    "depth": "view=depth",
    "break": f"view=break&off=L3H1,L4H3,L4H4&{NAMES}",
    "patch": "view=patch&map=1&cells=3.2",
    "steer": "view=steer&steer=question&dose=2&text=%22Where%20have%20you%20been%20all%20day",
    "twin": f"view=heads&head=L4H3&model=twin&{NAMES}",
}
SECONDS = 3  # for what is painted cell by cell


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=ROOT / "build/playground", help="the folder of the built page")
    page = parser.parse_args().page / "index.html"
    if not CHROMIUM or not page.is_file():
        sys.exit(f"photographs: {page if CHROMIUM else 'Chromium'} is missing. Get Chromium, and run make playground.")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder)) as tab:
        tab.width(WIDTH, HEIGHT)
        for name, hash_ in SHOWN.items():
            tab.open("about:blank")
            tab.open(f"{page.as_uri()}#{hash_}")
            tab.run("playground.ready.then(() => playground.settled())")
            time.sleep(SECONDS)
            shot = tab.call("Page.captureScreenshot", format="png")
            (PICTURES / f"{name}.png").write_bytes(smaller(base64.b64decode(shot["data"])))


if __name__ == "__main__":
    main()
