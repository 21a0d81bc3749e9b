"""README's picture: what it shows is what notebook 07 trains."""

import json
from pathlib import Path

import animation
import nbformat
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent


def test_the_readme_shows_both_pictures_and_the_still_one_is_the_end_of_the_other():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f'srcset="{animation.STILL.as_posix()}"' in readme
    assert f'src="{animation.MOVING.as_posix()}"' in readme
    moving, still = Image.open(ROOT / animation.MOVING), Image.open(ROOT / animation.STILL)
    moving.seek(moving.n_frames - 1)
    assert moving.convert("RGBA").tobytes() == still.convert("RGBA").tobytes()


@pytest.mark.deep
def test_it_is_the_training_of_notebook_07():
    """The notebook's view holds the best head's score at every step, rounded; the picture follows one head."""
    tokens, steps, patterns, scores = animation.training()
    notebook = nbformat.read(ROOT / "notebooks/07_training_dynamics.ipynb", 4)
    (view,) = (cell for cell in notebook.cells if "views.training_view(" in cell.source)
    page = view.outputs[0].data["text/html"]
    shown, _ = json.JSONDecoder().raw_decode(page[page.index('{"tokens"') :])
    assert shown["tokens"] == [animation.LETTERS[token] for token in tokens]
    assert shown["steps"] == steps
    assert patterns.shape == (len(steps), len(tokens), len(tokens))
    best = next(curve["values"] for curve in shown["curves"] if curve["name"] == "best induction score")
    assert all(score <= highest + 0.005 for score, highest in zip(scores, best))  # the best head changes on the way
    assert abs(scores[-1] - best[-1]) <= 0.005
