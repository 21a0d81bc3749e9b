"""Figures as PNGs of fewer bytes, which look the same."""

from io import BytesIO

import numpy as np
from PIL import Image

CLOSE, FAR = 2, 24  # how far, of 255, a pixel may be off: where the palette has room, and at most


def smaller(png: bytes) -> bytes:
    """The picture with a palette of at most 256 colours, transparent ones among them; `png` itself if that is not
    smaller, or if a pixel would be off by more than FAR.

    matplotlib draws few colours, but many shades of them at the edges of letters and lines. The palette begins with the
    most frequent colour, and then takes again and again the one that it shows worst, on a black or on a white page,
    until none is off by more than CLOSE. The same bytes always give the same bytes, with the same version of Pillow.
    """
    pixels = np.array(Image.open(BytesIO(png)).convert("RGBA"))
    colours, places, counts = np.unique(pixels.view(np.uint32), return_inverse=True, return_counts=True)
    rgba = colours.view(np.uint8).reshape(-1, 4)
    opaque = rgba[:, 3:] / 255
    on_black = rgba[:, :3] * opaque
    seen = np.hstack([on_black, on_black + 255 * (1 - opaque)])  # on both pages
    palette, off, shown_by = [], np.full(len(colours), np.inf), np.zeros(len(colours), np.uint8)
    while off.max() > CLOSE and len(palette) < 256:
        new = off.argmax() if palette else counts.argmax()
        distance = abs(seen - seen[new]).max(1)
        shown_by[distance < off] = len(palette)
        off = np.minimum(off, distance)
        palette.append(new)
    if off.max() > FAR:
        return png
    image, file = Image.fromarray(shown_by[places].reshape(pixels.shape[:2])), BytesIO()
    image.putpalette(rgba[palette].tobytes(), "RGBA")
    image.save(file, "PNG", optimize=True)
    return min(file.getvalue(), png, key=len)
