"""Figures with matplotlib. Every function draws numbers, in a list, an array or a tensor, into an `ax`."""

from itertools import product

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from .errors import ArgumentError

# Figures have no background of their own, so every colour here can be read on a white page and on a dark one. Lines and
# dots have a contrast of at least 3 with both, as WCAG asks. Text in INK has 4, where WCAG asks for 4.5, which no grey
# has with both. The other colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart.
# Three of them are darker here, and so closer to the others: let no meaning rest on colour alone.
INK = "#7C7C7C"
FAINT = f"{INK}40"  # for what stands behind the rest: light grey on white, and dark grey on a dark page
COLOURS = ["#0072B2", "#C65300", "#009E73", "#CC79A7", "#C58800", "#3A9AD3", INK]
KIND_COLOURS = ["#C65300", "#C58800", "#0072B2", "#3A9AD3", "#009E73", "#CC79A7", FAINT, INK]
CHANNEL_COLOURS = {"Q": "#0072B2", "K": "#009E73", "V": "#CC79A7", "out": INK, "in": "#C58800"}

# Colour maps. The first two show the page where a number is 0; the third, for lines and dots, can be read everywhere.
BLUES = LinearSegmentedColormap.from_list("blues", ["#2389C900", "#2389C9"])
DIVERGING = LinearSegmentedColormap.from_list(
    "diverging", [(0, "#C65300"), (0.5, "#C6530000"), (0.5, "#8B68BE00"), (1, "#8B68BE")]
)
DEPTHS = LinearSegmentedColormap.from_list("depths", ["#C58800", "#C45A8B", "#2389C9"])

# For plt.rcParams.update. A figure counts as white, and only its picture has no background: JupyterLab would put white
# behind a figure that says that it is transparent.
STYLE = {
    "figure.facecolor": "white",
    "figure.dpi": 90,
    "figure.constrained_layout.use": True,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": f"cycler('color', {COLOURS})",
    **dict.fromkeys(
        [
            "text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color",
            "legend.edgecolor", "boxplot.boxprops.color", "boxplot.whiskerprops.color", "boxplot.capprops.color",
            "boxplot.flierprops.color", "boxplot.flierprops.markeredgecolor",
        ],
        INK,
    ),
}  # fmt: skip


def set_style():
    """Take STYLE for all figures of a notebook, drawn with twice the pixels, so that they are sharp on any screen."""
    import matplotlib.pyplot as plt
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    plt.rcParams.update(STYLE)
    set_matplotlib_formats("retina", facecolor="none")


def _array(values):
    """Numbers as an array, also those of a tensor on another device or with a gradient."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.dtype.itemsize == 2 else values  # numpy has no bfloat16
    return np.asarray(values)


def heatmap(values, ax, *, xlabel, ylabel, label, xticks=None, yticks=None, limits=(None, None), cmap=None):
    """An image of a matrix `(row, column)`, the first row on top, with a colour bar that is labelled `label`.

    xticks, yticks: a label for every column or row; without them matplotlib numbers them.
    limits: (lowest, highest) value of the colour scale; None takes it from the values.
    cmap: a colour map other than viridis, such as DIVERGING for numbers of both signs.
    """
    values = _array(values)
    image = ax.imshow(values, aspect="auto", interpolation="nearest", vmin=limits[0], vmax=limits[1], cmap=cmap)
    ax.figure.colorbar(image, ax=ax, label=label)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if xticks is not None:
        ax.set_xticks(range(len(xticks)), xticks, rotation=90, fontsize=8)
    if yticks is not None:
        ax.set_yticks(range(len(yticks)), yticks, fontsize=8)
    ax.spines[:].set_visible(False)


def generation_map(rows, tokens, ax):
    """What each new token attended to: rows `(step, key)`, as a Generation's `attention_by_step` gives them.

    tokens: a label for every token, prompt first: one more than there are keys. Where a key did not exist yet,
    the cell is empty. The colour scale ends where 97 in 100 weights outside the first column lie below it: the first
    column is often an attention sink, and the newest tokens get so much that the rest would be dark beside them.
    """
    rows, prompt = _array(rows), len(tokens) - len(rows)
    exists = np.arange(rows.shape[1]) < np.arange(prompt, len(tokens))[:, None]
    labels = {"xlabel": "token attended to", "ylabel": "token written", "label": "attention weight"}
    outside = rows[:, 1:][exists[:, 1:]]
    limits = (0, np.percentile(outside, 97) if outside.size else None)
    heatmap(np.where(exists, rows, np.nan), ax, **labels, xticks=tokens[:-1], yticks=tokens[prompt:], limits=limits)


def token_bars(values, tokens, ax, *, ylabel):
    """A bar for every token, `(position,)`, with the tokens written below."""
    ax.bar(range(len(tokens)), _array(values))
    ax.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=8)
    ax.set(ylabel=ylabel)
    ax.margins(x=0.01)


def by_layer(values, ax, *, ylabel):
    """Something for every layer, in several kinds side by side. values: kind, which the legend names, -> `(layer,)`,
    drawn as bars, or `(layer, 3)`, drawn as points with intervals: value, low and high."""
    for place, (name, numbers) in enumerate(values.items()):
        numbers = _array(numbers).astype(float)
        width = 0.8 / len(values) if numbers.ndim == 1 else 0.2
        at = np.arange(len(numbers)) + (place - (len(values) - 1) / 2) * width
        if numbers.ndim == 1:
            ax.bar(at, numbers, width, label=name)
        else:
            value, low, high = numbers.T
            ax.errorbar(at, value, [value - low, high - value], fmt="o", markersize=4, capsize=3, label=name)
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set_xticks(range(len(numbers)))
    ax.set(xlabel="layer", ylabel=ylabel)
    ax.legend(frameon=False)


def dumbbells(before, after, low, high, names, ax, *, xlabel, labels):
    """Two dots for each part, joined by a line, with the interval of the second one: `(part,)` each, the first on top.

    before, after: numbers in two conditions, which `labels` names. low, high: the interval of `after`.
    """
    before, after, low, high = (_array(values).astype(float) for values in (before, after, low, high))
    rows = np.arange(len(before))
    ax.hlines(rows, before, after, color=FAINT, linewidth=2, zorder=0)
    ax.scatter(before, rows, s=30, color=INK, label=labels[0])
    ax.errorbar(after, rows, xerr=[after - low, high - after], fmt="o", markersize=6, capsize=3, label=labels[1])
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.set_yticks(rows, names)
    ax.set(xlabel=xlabel, ylim=(len(rows) - 0.4, -0.6))
    ax.legend(frameon=False)


def areas(x, values, ax, *, xlabel, ylabel):
    """What adds up over x `(point,)`, as areas on top of each other: name -> `(point,)`, the first one at the bottom.
    A name stands in its area where that is highest, or in a legend where the area is too thin for it. Negative numbers
    would overlap, so they are drawn as 0. Raises ArgumentError for more than four: there are no more colours."""
    heights = np.stack([np.maximum(_array(points).astype(float), 0) for points in values.values()])
    tops, x = heights.cumsum(0), _array(x)
    colours = {"#0072B2": "white", "#009E73": "black", "#C58800": "black", "#949494": "black"}  # of area: of its name
    if len(heights) > len(colours):
        raise ArgumentError(
            f"areas: there are colours for {len(colours)} areas; got {len(heights)}. Add some up first."
        )
    drawn = ax.stackplot(x, heights, colors=list(colours)[: len(heights)], labels=list(values))
    thin = []
    for area, name, height, top, colour in zip(drawn, values, heights, tops, colours.values()):
        place = height.argmax()
        side = "left" if place < len(x) / 6 else "right" if place > len(x) * 5 / 6 else "center"  # not cut at an end
        if height[place] > 0.12 * tops.max():
            ax.text(
                x[place], top[place] - 0.6 * height[place], f" {name} ", ha=side, va="center", fontsize=8, color=colour
            )
        else:
            thin.append(area)
    if thin:
        ax.legend(handles=thin, frameon=False, fontsize=8, loc="upper right")
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(x[0], x[-1]))


def bands(values, ax, *, xlabel, ylabel, first=0):
    """A line with its interval for each of `values`, name -> `(3, point)`: value, low and high. first: the first x."""
    for name, numbers in values.items():
        value, low, high = _array(numbers).astype(float)
        x = range(first, first + len(value))
        ax.plot(x, value, "o-", markersize=4 if len(value) < 10 else 2, label=name)
        ax.fill_between(x, low, high, alpha=0.2, linewidth=0)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(frameon=False)


def class_map(kinds, order, ax):
    """Layers by heads, coloured by class. kinds: strings `(layer, head)`; order: all classes, as in the legend."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    colours = ListedColormap(KIND_COLOURS[: len(order)])
    codes, last = np.vectorize(list(order).index)(kinds), len(order) - 1
    ax.imshow(codes, aspect="auto", interpolation="nearest", cmap=colours, vmin=-0.5, vmax=last + 0.5)
    handles = [Patch(color=colour, label=kind.replace("_", " ")) for colour, kind in zip(KIND_COLOURS, order)]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    ax.set(xlabel="head", ylabel="layer")
    ax.spines[:].set_visible(False)


def strips(values, ax, *, xlabel):
    """One row of dots for each of `values`, name -> numbers of any shape, such as one number for every head.

    Dots that would lie on each other are moved up and down a little, always in the same way. The first row is on top.
    """
    for row, numbers in enumerate(values.values()):
        numbers = np.sort(_array(numbers).ravel())
        shift = 0.3 * np.sin(2.4 * np.arange(len(numbers)))  # 2.4 is nearly the golden angle: neighbours lie far apart
        ax.scatter(numbers, row + shift, s=16, alpha=0.9, linewidths=0, color="#0072B2")
    ax.set_yticks(range(len(values)), values)
    ax.set(xlabel=xlabel, ylim=(len(values) - 0.4, -0.6))


def head_scatter(x, y, ax, *, xlabel, ylabel, named=(), ringed=(), line=True):
    """A dot for every head, x against y, both `(layer, head)`. The colour says how deep the layer is.

    named: heads `(layer, head)` whose labels are written beside them. ringed: heads that get a ring, for when labels
    would lie on each other. line: draw where both are equal, which means something when they are the same score in two
    conditions.
    """
    x, y = _array(x), _array(y)
    layer = np.indices(x.shape)[0].ravel()
    dots = ax.scatter(x.ravel(), y.ravel(), c=layer, s=18, alpha=0.9, linewidths=0, cmap=DEPTHS)
    if line:
        ax.axline((0, 0), slope=1, color=INK, linewidth=0.8, zorder=0)
    for place in ringed:
        ax.scatter(x[place], y[place], s=90, facecolors="none", edgecolors=INK)
    for place in named:
        ax.annotate("L{}H{}".format(*place), (x[place], y[place]), (4, 3), textcoords="offset points", fontsize=8)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.figure.colorbar(dots, ax=ax, label="layer", ticks=range(0, len(x), max(1, len(x) // 6)))


def circuit(nodes, edges, ax, *, label, format=".2f"):
    """A circuit as a graph: boxes with names, the first layer at the bottom, and arrows that have a number each.

    nodes: name -> (x, layer). x is a place from left to right, in units of your own. Layer -1 is the tokens, and an MLP
    can stand at a half. Layers have equal distances, and those without nodes take no room.
    edges: (source, target, channel, weight) each. The channel says how the target reads: a head by "Q", "K" or "V", an
    MLP by "in", and the prediction by "out". It is written before the number, and it gives the colour. The width of an
    arrow is proportional to the size of its weight, of either sign; the widest has 5 points.
    label: what the weights are, written below the graph. format: how the numbers are written.
    Arrows bend around boxes and around each other where they can. Without nodes, nothing is drawn.
    Raises ArgumentError for an edge with a node or a channel that does not exist.

    >>> from matplotlib.figure import Figure
    >>> ax = Figure(figsize=(6, 4)).subplots()
    >>> nodes = {"L0H3": (0, 0), "L4H3": (0, 4), "second copy": (1, 6)}
    >>> edges = [("L0H3", "L4H3", "K", 0.41), ("L4H3", "second copy", "out", -1)]
    >>> circuit(nodes, edges, ax, label="change of the logit")
    >>> [text.get_text() for text in ax.texts]
    ['L0H3', 'L4H3', 'second copy', 'K 0.41', 'out −1.00']
    """
    from matplotlib.patches import FancyArrowPatch

    for source, target, channel, _ in edges:
        for name, known in [(source, nodes), (target, nodes), (channel, CHANNEL_COLOURS)]:
            if name not in known:
                raise ArgumentError(
                    f"There is no {name!r} for the edge from {source!r} to {target!r} by {channel!r}; choose from "
                    f"{', '.join(known)}."
                )
    if not nodes:
        return
    x = np.array([place for place, _ in nodes.values()], float)
    levels, rows = np.unique([layer for _, layer in nodes.values()], return_inverse=True)
    names = {-1: "tokens"} | {level: f"{level:.0f}" for level in levels if level >= 0 and level % 1 == 0}
    if any(channel == "out" and nodes[target][1] == levels[-1] for _, target, channel, _ in edges):
        names[levels[-1]] = "prediction"
    ax.set(xlim=(x.min() - 0.5, x.max() + 0.5), ylim=(-0.5, len(levels) - 0.5), xticks=[], xlabel=label, ylabel="layer")
    ax.set_yticks(range(len(levels)), [names.get(level, "") for level in levels])
    ax.tick_params(length=0)
    ax.grid(axis="y", color=FAINT)
    ax.spines[:].set_visible(False)

    ax.figure.draw_without_rendering()  # because the layout gives the axes their size only then
    points = ax.get_window_extent().size * 72 / ax.figure.dpi
    ax.set_box_aspect(points[1] / points[0])  # keeps their form, and with it that of the arrows
    scale = points / [np.ptp(x) + 1, len(levels)]
    places = np.stack([x, rows], 1) * scale
    style = {"ha": "center", "va": "center"}
    box = {"boxstyle": "round,pad=0.35", "facecolor": "0.36", "edgecolor": "none"}
    boxes = [
        ax.text(*place, name, fontsize=10, color="white", bbox=box, **style)
        for name, place in zip(nodes, places / scale)
    ]
    order, largest = list(nodes), max((abs(weight) for *_, weight in edges), default=0) or 1
    ends = [(order.index(source), order.index(target)) for source, target, *_ in edges]
    words = [f"{channel} {weight:{format}}".replace("-", "−") for *_, channel, weight in edges]
    room = [(3.1 * len(name) + 5, 10) for name in nodes], [(2.7 * len(text) + 2, 7) for text in words]
    routes = _routes(places, ends, *map(np.array, room), np.array(ax.get_xlim()) * scale[0])
    for (start, end), text, (*_, channel, weight), (bend, spot) in zip(ends, words, edges, routes):
        colour, width = CHANNEL_COLOURS[channel], 5 * float(abs(weight) / largest)
        ax.add_patch(
            FancyArrowPatch(
                *places[[start, end]] / scale, connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", color=colour,
                linewidth=width, mutation_scale=7 + 2 * width, shrinkA=2, shrinkB=2, zorder=4,
                patchA=boxes[start].get_bbox_patch(), patchB=boxes[end].get_bbox_patch(),
            )
        )  # fmt: skip
        ground = {"boxstyle": "round,pad=0.15", "facecolor": colour, "edgecolor": "none"}
        letters = "white" if channel == "Q" else "black"  # whichever stands out more from the colour
        ax.text(*spot / scale, text, fontsize=9, color=letters, bbox=ground, zorder=5, **style)


def _arc(start, end, bend, at):
    """Points of matplotlib's "arc3" between two points: at is 0 at the start and 1 at the end."""
    at, (across, up) = np.reshape(at, (-1, 1)), end - start
    control = (start + end) / 2 + bend * np.array([up, -across])
    return (1 - at) ** 2 * start + 2 * at * (1 - at) * control + at**2 * end


def _routes(places, ends, boxes, labels, edges):
    """For each edge how much its arrow bends and where its label stands, so that all keep clear of each other.

    places: `(node, 2)`, in points. ends: the two nodes of each edge. boxes, labels: `(number, 2)`, halves of their
    sizes. edges: the left and the right end of the picture. Every arrow takes what costs least beside the others, and
    does so again when the later ones have come.
    """
    arcs, spots, bends = {}, {}, {}
    for edge, (start, end) in [*enumerate(ends)] * 2:
        others = [other for other in bends if other != edge]
        drawn, written = (np.reshape([found[other] for other in others], (-1, 2)) for found in (arcs, spots))
        passed, half, least = np.delete(np.arange(len(places)), [start, end]), labels[edge], np.inf
        for bend in [sign * size for size in (0.1, 0.2, 0.3, 0.45, 0.65, 0.9, 1.2) for sign in (1, -1)]:
            arc = _arc(places[start], places[end], bend, np.linspace(0.05, 0.95, 25))
            seen = arc[~_inside(arc, places[[start, end]], boxes[[start, end]]).any(1)]
            through = _inside(arc, places[passed], boxes[passed] + 3).sum()
            through += ((arc[:, 0] < edges[0] + 20) | (arc[:, 0] > edges[1] - 20)).sum()
            over = _inside(arc, written, labels[others]).sum()
            beside = _inside(seen, drawn, 6).sum()
            for at, side in product([0.5, 0.4, 0.6], [0, 1, -1]):
                spot = _arc(places[start], places[end], bend, at) + np.array([side * (half[0] + 5), 0])
                hidden = _inside(spot, places, boxes + half).sum() + _inside(spot, written, labels[others] + half).sum()
                covered = _inside(drawn, spot, half).sum() + 4 * _inside(seen, spot, half).sum() / (len(seen) or 1)
                cost = 5 * hidden + 3 * through + over + covered + 0.3 * beside
                cost += 3 * abs(bend) + 3 * abs(at - 0.5) + 1.5 * abs(side)
                if cost < least:
                    least, arcs[edge], spots[edge], bends[edge] = cost, arc, spot[0], bend
    return [(bends[edge], spots[edge]) for edge in range(len(ends))]


def _inside(points, middles, halves):
    """`(point, box)`: whether a point lies in a box."""
    return (abs(points[:, None] - middles) < halves).all(-1)


def normal_histogram(values, ax, *, xlabel, bins=100):
    """How numbers of any shape are distributed, and in grey the normal curve with their mean and standard deviation.
    Both are densities: their areas are 1."""
    values = _array(values).astype(float).ravel()
    mean, std = values.mean(), values.std()
    _, edges, _ = ax.hist(values, bins=bins, density=True, alpha=0.5)
    x = np.linspace(edges[0], edges[-1], 200)
    ax.plot(x, np.exp(-(((x - mean) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi)), color=INK, label="normal")
    ax.set(xlabel=xlabel, ylabel="density")
    ax.locator_params(axis="x", nbins=5)
    ax.legend(frameon=False)


def layer_distributions(rows, ax, *, ylabel):
    """One violin a layer, with a box inside. rows: `(layer, number)`. The box ends at the quartiles, its line is the
    median, and its whiskers reach the smallest and the largest number."""
    rows = [*_array(rows).astype(float)]
    places = range(len(rows))
    ax.violinplot(rows, places, widths=0.9, showextrema=False)
    ax.boxplot(rows, positions=places, widths=0.15, whis=(0, 100), medianprops={"color": KIND_COLOURS[0]})
    ax.set_xticks(places, places)
    ax.set(xlabel="layer", ylabel=ylabel)


def dendrogram(links, names, kinds, order, ax):
    """A tree of heads, each name in the colour of its class; heads of diffuse attention are grey.

    links: of `scipy.cluster.hierarchy.linkage`; names, kinds: a string a head; order: all classes, as in `class_map`.
    """
    from scipy.cluster.hierarchy import dendrogram

    colours = dict(zip(order, KIND_COLOURS)) | {"diffuse": INK}
    kind_of = dict(zip(names, kinds))
    dendrogram(links, ax=ax, labels=list(names), color_threshold=0, above_threshold_color=INK, leaf_font_size=9)
    for label in ax.get_xticklabels():
        label.set(color=colours[kind_of[label.get_text()]], rotation=90)
        label.set_fontweight("normal" if label.get_color() == INK else "bold")
    ax.set(ylabel="distance")


def lines(x, values, ax, *, xlabel, ylabel, log=False):
    """A line for each of `values`, name -> `(point,)`, over x `(point,)`, named in the legend; log: x is logarithmic.
    What stood in `ax` goes first, so that a figure can be drawn again while its numbers come in."""
    ax.clear()
    for name, points in values.items():
        ax.plot(_array(x), _array(points), label=name)
    if log:
        ax.set_xscale("log", nonpositive="mask")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(frameon=False)
