"""What a page that lists the notebooks says of each: its title, its question, its minutes, and a picture."""

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import nbformat
from frames import About, about
from pictures import smaller
from PIL import Image

SMALL = 320, 240  # the most pixels of a small picture
COVER = "cover"  # the tag of the cell whose figure stands for the notebook


@dataclass(frozen=True)
class Card(About):
    """A notebook on such a page. picture: a PNG, None where the notebook has no figure; alt: the picture in words."""

    picture: bytes | None
    alt: str


def pictures(cell):
    """[(PNG, its words)] of a cell's outputs."""
    found = []
    for output in cell.get("outputs", []):
        if encoded := output.get("data", {}).get("image/png"):
            alt = output.metadata.get("image/png", {}).get("alt") or cell.metadata.get("alt", "")
            found.append((base64.b64decode(encoded), alt))
    return found


def card(name, notebook):
    """The Card of a notebook: its picture is the first figure of the cell tagged `cover`, or else its first."""
    cells = sorted(notebook.cells, key=lambda cell: COVER not in cell.metadata.get("tags", []))
    picture, alt = next((each for cell in cells for each in pictures(cell)), (None, ""))
    return Card(**vars(about(name, notebook)), picture=picture, alt=alt)


def cards(paths):
    """[Card] of some notebooks, in their order."""
    return [card(Path(path).name, nbformat.read(path, 4)) for path in paths]


def small(png):
    """A picture's PNG in few pixels and bytes."""
    image, file = Image.open(BytesIO(png)).convert("RGBA"), BytesIO()
    image.thumbnail(SMALL)
    image.save(file, "PNG")
    return smaller(file.getvalue())
