"""Take the pictures of the playground, for browsers that cannot run it: python dev/tools/photographs.py

They lie in docs/playground/pictures. Chromium is needed, and the built page: make playground.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pictures import smaller

ROOT = Path(__file__).parent.parent.parent
PICTURES = ROOT / "docs/playground/pictures"
NAMES = "text=Mr%20Quilp%20Zander%20met%20Miss%20Olga%20Brant.%20Later%20Mr%20Quilp%20Zander%20met%20Miss"
SHOWN = {  # name -> what stands in the address
    "next": "",
    "heads": f"view=heads&head=L4H3&{NAMES}",
    "depth": "view=depth",
    "break": f"view=break&off=L3H1,L4H3,L4H4&{NAMES}",
    "patch": "view=patch&map=1&cells=3.12",
    "steer": "view=steer&steer=question&dose=2&text=%22Where%20have%20you%20been%20all%20day%22",
    "twin": f"view=heads&model=twin&{NAMES}",
}
MILLISECONDS = 60_000  # of the page's own clock, which runs ahead while nothing happens


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=ROOT / "build/playground", help="the folder of the built page")
    page = parser.parse_args().page / "index.html"
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium or not page.is_file():
        sys.exit(f"photographs: {page if chromium else 'Chromium'} is missing. Get Chromium, and run make playground.")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, hash_ in SHOWN.items():
            file = Path(folder) / f"{name}.png"
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1280,900"]
            options += [
                f"--virtual-time-budget={MILLISECONDS}",
                f"--screenshot={file}",
                f"--user-data-dir={folder}/data",
            ]
            subprocess.run([chromium, *options, f"{page.as_uri()}#{hash_}"], check=True, capture_output=True)
            (PICTURES / f"{name}.png").write_bytes(smaller(file.read_bytes()))


if __name__ == "__main__":
    main()
