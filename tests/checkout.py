"""The files of the course, as git knows them."""

import subprocess
from pathlib import Path


def listed():
    """Those of the folder that tests run in: tracked ones, and new ones that are not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return [Path(each) for each in found if Path(each).is_file()]
