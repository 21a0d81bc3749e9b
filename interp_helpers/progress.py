"""One way to show progress."""

import os

from tqdm.auto import tqdm


def progress(items, unit):
    """The items, with a bar that counts them in `unit`; none where the environment has TQDM_DISABLE.

    In a notebook, tqdm does not look at that variable by itself.
    """
    return tqdm(items, unit=unit, disable=bool(os.environ.get("TQDM_DISABLE")))
