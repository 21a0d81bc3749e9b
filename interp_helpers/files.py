"""Files that are written whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path

from .errors import FileError, explained


def write_whole(path, write):
    """Write a file so that it is there whole, or else as it was before; two processes may write it at once.

    write: the text itself, or a function that is called with a path beside `path`, and writes there.
    Raises FileError when that cannot be: a full disk, a folder that is for reading only.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with explained(FileError, f"{path} cannot be written", "Make room, or take a folder that you may write to."):
            part.write_text(write, encoding="utf-8", newline="\n") if isinstance(write, str) else write(part)
            os.replace(part, path)
    finally:
        with suppress(OSError):  # where the folder itself is closed, the first error says so
            part.unlink(missing_ok=True)
