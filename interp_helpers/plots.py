"""Figures with matplotlib. Every function draws numbers, in a list, an array or a tensor, into an `ax`."""

import numpy as np

# For plt.rcParams.update: colours of Okabe and Ito (2008), which colour-blind readers can tell apart, on a
# white card, so that a figure reads the same on a light and on a dark page.
STYLE = {
    "figure.facecolor": "white",
    "figure.dpi": 90,
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": "cycler('color', ['0072B2', 'D55E00', '009E73', 'CC79A7', 'E69F00', '56B4E9', '000000'])",
}


def set_style():
    """Take STYLE for all figures of a notebook, drawn with twice the pixels, so that they are sharp on any screen."""
    import matplotlib.pyplot as plt
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    plt.rcParams.update(STYLE)
    set_matplotlib_formats("retina")


KIND_COLOURS = ["#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#DDDDDD", "#000000"]


def _array(values):
    """Numbers as an array, also those of a tensor on another device or with a gradient."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def heatmap(values, ax, *, xlabel, ylabel, label, xticks=None, yticks=None, limits=(None, None), cmap=None):
    """An image of a matrix `(row, column)`, the first row on top, with a colour bar that is labelled `label`.

    xticks, yticks: a label for every column or row; without them matplotlib numbers them.
    limits: (lowest, highest) value of the colour scale; None takes it from the values.
    cmap: a colour map other than viridis, such as "PuOr" for numbers of both signs.
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

    tokens: a label for every token, prompt first: one more than there are keys. Keys that did not exist yet are white.
    The colour scale ends where 97 in 100 weights outside the first column lie below it: the first column is often an
    attention sink, and the newest tokens get so much that the rest would be dark beside them.
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
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(range(len(numbers)))
    ax.set(xlabel="layer", ylabel=ylabel)
    ax.legend(frameon=False)


def dumbbells(before, after, low, high, names, ax, *, xlabel, labels):
    """Two dots for each part, joined by a line, with the interval of the second one: `(part,)` each, the first on top.

    before, after: numbers in two conditions, which `labels` names. low, high: the interval of `after`.
    """
    before, after, low, high = (_array(values).astype(float) for values in (before, after, low, high))
    rows = np.arange(len(before))
    ax.hlines(rows, before, after, color="0.75", linewidth=2, zorder=0)
    ax.scatter(before, rows, s=30, facecolors="white", edgecolors="0.3", label=labels[0])
    ax.errorbar(after, rows, xerr=[after - low, high - after], fmt="o", markersize=6, capsize=3, label=labels[1])
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(rows, names)
    ax.set(xlabel=xlabel, ylim=(len(rows) - 0.4, -0.6))
    ax.legend(frameon=False)


def areas(x, values, ax, *, xlabel, ylabel):
    """What adds up over x `(point,)`, as areas on top of each other: name -> `(point,)`, the first one at the bottom.
    A name stands in its area where that is highest, or in a legend where the area is too thin for it. Negative numbers
    would overlap, so they are drawn as 0."""
    heights = np.stack([np.maximum(_array(points).astype(float), 0) for points in values.values()])
    tops, x = heights.cumsum(0), _array(x)
    colours = {"#0072B2": "white", "#009E73": "white", "#E69F00": "black", "#CCCCCC": "black"}  # of area: of its name
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


def waterfall(values, names, ax, *, ylabel):
    """Contributions that add up, `(part,)`: each bar starts where the one before it ended. Up is blue and down is
    orange; the last bar is the total, in grey."""
    values = _array(values).astype(float)
    ends = values.cumsum()
    colours = np.where(values < 0, KIND_COLOURS[0], KIND_COLOURS[2])
    ax.bar(range(len(values)), values, bottom=ends - values, color=colours)
    ax.bar(len(values), ends[-1], color="0.5")
    ax.use_sticky_edges = False  # room above the highest bar
    ax.autoscale_view()
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(range(len(values) + 1), [*names, "total"], rotation=90, fontsize=8)
    ax.set(ylabel=ylabel)


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
        ax.scatter(numbers, row + shift, s=16, alpha=0.6, linewidths=0, color="#0072B2")
    ax.set_yticks(range(len(values)), values)
    ax.set(xlabel=xlabel, ylim=(len(values) - 0.4, -0.6))


def head_scatter(x, y, ax, *, xlabel, ylabel, named=(), line=True):
    """A dot for every head, x against y, both `(layer, head)`. The colour says how deep the layer is.

    named: heads `(layer, head)` whose labels are written beside them. line: draw where both are equal, which means
    something when they are the same score in two conditions.
    """
    x, y = _array(x), _array(y)
    layer = np.indices(x.shape)[0].ravel()
    dots = ax.scatter(
        x.ravel(), y.ravel(), c=layer, s=18, alpha=0.8, linewidths=0, cmap="viridis_r"
    )  # late layers dark
    if line:
        ax.axline((0, 0), slope=1, color="0.7", linewidth=0.8, zorder=0)
    for place in named:
        ax.annotate("L{}H{}".format(*place), (x[place], y[place]), (4, 3), textcoords="offset points", fontsize=8)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.figure.colorbar(dots, ax=ax, label="layer", ticks=range(0, len(x), max(1, len(x) // 6)))


def normal_histogram(values, ax, *, xlabel, bins=100):
    """How numbers of any shape are distributed, and in black the normal curve with their mean and standard deviation.
    Both are densities: their areas are 1."""
    values = _array(values).astype(float).ravel()
    mean, std = values.mean(), values.std()
    _, edges, _ = ax.hist(values, bins=bins, density=True)
    x = np.linspace(edges[0], edges[-1], 200)
    ax.plot(x, np.exp(-(((x - mean) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi)), color="black", label="normal")
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
    """A tree of heads, each name in the colour of its class; heads of diffuse attention are black.

    links: of `scipy.cluster.hierarchy.linkage`; names, kinds: a string a head; order: all classes, as in `class_map`.
    """
    from scipy.cluster.hierarchy import dendrogram

    colours = dict(zip(order, KIND_COLOURS)) | {"diffuse": "black"}
    kind_of = dict(zip(names, kinds))
    dendrogram(links, ax=ax, labels=list(names), color_threshold=0, above_threshold_color="0.4", leaf_font_size=9)
    for label in ax.get_xticklabels():
        label.set(color=colours[kind_of[label.get_text()]], rotation=90)
        label.set_fontweight("normal" if label.get_color() == "black" else "bold")
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
