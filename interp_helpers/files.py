"""Files that are written whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path

from .errors import FileError


def write_whole(path, write):
    """Write a file so that it is there whole, or else as it was before.

    path: where; write: a function that is called with a path beside it, and writes there, or the text itself. Two
    processes may write the same file at once: it is the last one's then.
    Raises FileError when that cannot be: a full disk, a folder that is for reading only.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "scores.txt"
    >>> write_whole(path, "0.75")
    >>> path.read_text()
    '0.75'
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(write, encoding="utf-8") if isinstance(write, str) else write(part)
        os.replace(part, path)
    except (OSError, RuntimeError) as problem:  # torch.save has RuntimeErrors for a full disk
        raise FileError(
            f"write_whole: {path} cannot be written: {problem}. What was there before is as it was. Make room, or take "
            "a folder that you may write to."
        ) from problem
    finally:
        with suppress(OSError):  # where the folder itself is closed, the first error says so
            part.unlink(missing_ok=True)
