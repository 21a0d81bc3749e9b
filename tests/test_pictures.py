"""Figures in fewer bytes: the same to the eye, and never more bytes than before."""

import base64
from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_notebook, new_output
from pictures import CLOSE, FAR, smaller
from PIL import Image
from regenerate import shrink

from interp_helpers import plots


def drawn(draw, **options):
    """The bytes of a figure that `draw` draws into axes."""
    figure, file = Figure(figsize=(4, 3), facecolor="none"), BytesIO()
    draw(figure.subplots())
    figure.savefig(file, format="png", **options)
    return file.getvalue()


def png(pixels):
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def seen(png, page):
    """What a page of a grey shows, `(row, column, 3)`."""
    rgba = np.array(Image.open(BytesIO(png)).convert("RGBA")).astype(float)
    opaque = rgba[..., 3:] / 255
    return rgba[..., :3] * opaque + page * (1 - opaque)


def gradients(ax):
    ax.set_facecolor("none")
    ax.imshow(np.linspace(-1, 1, 300).reshape(15, 20), cmap=plots.DIVERGING)
    ax.plot([0, 19], [0, 14], color=plots.COLOURS[1], alpha=0.6)


@pytest.mark.parametrize(
    "draw", [gradients, lambda ax: ax.bar("abc", [1, 3, 2]), lambda ax: ax.scatter(*np.random.rand(2, 300), alpha=0.3)]
)
@pytest.mark.parametrize("page", [0, 20, 255])
def test_a_figure_looks_the_same_on_every_page_in_half_the_bytes(draw, page):
    before = drawn(draw)
    after = smaller(before)
    assert len(after) < 0.6 * len(before)
    off = abs(seen(before, page) - seen(after, page))
    assert off.max() <= FAR
    assert off.mean() < 1


def test_no_pixel_is_off_by_more_than_nobody_sees_where_the_palette_has_room():
    before = drawn(lambda ax: ax.bar("abc", [1, 3, 2], color=plots.COLOURS[:3]))
    after = smaller(before)
    assert max(abs(seen(before, page) - seen(after, page)).max() for page in (0, 255)) <= CLOSE


def test_what_is_transparent_stays_so():
    after = Image.open(BytesIO(smaller(drawn(gradients)))).convert("RGBA")
    assert after.getpixel((0, 0))[3] == 0
    assert after.getextrema()[3] == (0, 255)


def test_the_same_picture_gives_the_same_bytes():
    before = drawn(gradients)
    assert smaller(before) == smaller(before)
    assert len(smaller(smaller(before))) <= len(smaller(before))


def test_a_picture_that_a_palette_would_change_or_enlarge_stays_as_it_is():
    noise = png(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    assert smaller(noise) == noise
    tiny = png(np.zeros((1, 1), np.uint8))
    assert smaller(tiny) == tiny


def test_all_figures_of_a_notebook_are_stored_smaller():
    before = drawn(gradients)
    figure = new_output("display_data", {"image/png": base64.b64encode(before).decode(), "text/plain": "<Figure>"})
    text = new_output("stream", text="no picture")
    notebook = new_notebook(cells=[new_code_cell("", outputs=[text, figure])])
    shrink(notebook)
    assert base64.b64decode(notebook.cells[0].outputs[1].data["image/png"]) == smaller(before)
    assert notebook.cells[0].outputs[1].data["text/plain"] == "<Figure>"
