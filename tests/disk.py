"""Names of files, data sets and models that are none, for the property tests of what reads them."""

import itertools

NO_PATH = {"nothing": None, "a number": 3, "a list": ["a"], "bytes": b"a"}
NO_MODEL = {
    **NO_PATH, "empty": "", "space": " ", "null": "a\0b", "too long": "x" * 5000, "no such home": "~nobody-at-all/a",
    "no such folder": "./nowhere", "no such hub name": "a b!", "not in the cache": "someone/something",
    "three parts": "a/b/c",
}  # fmt: skip


OFFLINE = ("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # a name that is drawn at random is asked for nowhere
fresh = itertools.count()


def new(folder, ending=""):
    return folder / f"{next(fresh)}{ending}"


def shown(name):
    """How a message may show a name instead of calling it one."""
    said = repr(name)[1:].strip("~./ '")[:9]
    return [said] if said else []


def flipped(content, place):
    changed = bytearray(content)
    changed[place % len(changed)] ^= 1 << place % 8
    return bytes(changed)
