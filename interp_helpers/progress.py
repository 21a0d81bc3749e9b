"""One way to show progress."""

import os

from tqdm.auto import tqdm


def progress(items, unit):
    """The items, with a bar that counts them and vanishes at the end.

    There is none where TQDM_DISABLE is set, which tqdm by itself ignores in a notebook.
    """
    return tqdm(items, unit=unit, leave=False, disable=bool(os.environ.get("TQDM_DISABLE")))
