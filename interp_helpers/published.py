"""Published figures of well-known models, to print beside what a notebook measures on them."""

import json
from pathlib import Path

from .hub import checked_name

FIGURES = Path(__file__).parent / "data" / "published.json"


def published_figures(name):
    """What has been published about the model called `name`, as a dict; empty when nothing is kept here.

    >>> published_figures("gpt2")["config"]["parameters"]
    124439808
    >>> published_figures("storybook")
    {}
    """
    return json.loads(FIGURES.read_text(encoding="utf-8")).get(checked_name("published_figures", name), {})
