"""One way to show progress."""

import os

from tqdm.auto import tqdm


def progress(items, unit):
    """The items, with a bar that counts them; none where TQDM_DISABLE is set, which tqdm ignores in a notebook."""
    return tqdm(items, unit=unit, disable=bool(os.environ.get("TQDM_DISABLE")))
