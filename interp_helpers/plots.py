"""Figures with matplotlib. Every function takes numbers and an `ax`, draws, and returns the `ax`."""

from collections.abc import Iterable, Mapping

import numpy as np

from .errors import ArgumentError, check_whole, checked_array

# For plt.rcParams.update: colours of Okabe and Ito (2008), which colour-blind readers can tell apart, on a
# white card, so that a figure reads the same on a light and on a dark page.
STYLE = {
    "figure.facecolor": "white",
    "figure.dpi": 90,
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.prop_cycle": ("cycler('color', ['0072B2', 'D55E00', '009E73', 'CC79A7', 'E69F00', '56B4E9', '000000'])"),
    "font.size": 10,
    "image.cmap": "viridis",
}

KIND_COLOURS = ["#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#DDDDDD", "#000000"]


def _check_ax(operation, ax):
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise ArgumentError(f"{operation}: ax must be axes of matplotlib, as plt.subplots() gives; got {ax!r:.60}.")


def _checked(operation, name, values, ax, *, axes="...", finite=True):
    """Numbers to draw, as an array. finite: none may be NaN; where some may, as gaps, one at least is a number."""
    _check_ax(operation, ax)
    found = checked_array(operation, name, values, axes=axes, finite=finite)
    if np.isinf(found).any() or np.isnan(found).all():
        raise ArgumentError(f"{operation}: {name} holds infinity, or no number. Look at what it comes from.")
    return found


def _named(operation, name, values, ax, axes):
    """The same for name -> numbers, all of one shape; gaps are allowed."""
    if not isinstance(values, Mapping) or not values:
        raise ArgumentError(f"{operation}: {name} must be a dict, name -> {axes}; got {values!r:.60}.")
    found = {
        each: _checked(operation, f"{name}[{each!r}]", numbers, ax, axes=axes, finite=False)
        for each, numbers in values.items()
    }
    if len({each.shape for each in found.values()}) > 1:
        raise ArgumentError(f"{operation}: all of {name} must have one shape; got {[*map(np.shape, found.values())]}.")
    return found


def _check_labels(operation, count, **labels):
    """Raise ArgumentError when there are not `count` labels. labels: by argument's name; None for none."""
    for name, given in labels.items():
        if given is not None and (not hasattr(given, "__len__") or len(given) != count):
            raise ArgumentError(f"{operation}: {name} must be {count} labels; got {given!r:.60}.")


def _check_order(operation, order, kinds):
    """All classes as a list; each of the kinds is one of them."""
    order = list(order) if isinstance(order, Iterable) else []
    if len(order) > len(KIND_COLOURS):
        raise ArgumentError(f"{operation}: order has {len(order)} classes; there are {len(KIND_COLOURS)} colours.")
    if unknown := set(np.ravel(kinds).tolist()) - set(order):
        raise ArgumentError(f"{operation}: kinds holds {', '.join(map(repr, unknown))}, which order does not have.")
    return order


def heatmap(values, ax, *, xlabel, ylabel, label, xticks=None, yticks=None, limits=(None, None), words=None, cmap=None):
    """An image of a matrix `(row, column)`, the first row on top, with a colour bar that is labelled `label`.

    xticks, yticks: a label for every column or row; without them matplotlib numbers them.
    limits: (lowest, highest) value of the colour scale; None takes it from the values.
    words: a string to write into every cell, `(row, column)`; long ones are cut to nine characters.
    cmap: a colour map other than STYLE's, such as "PuOr" for numbers of both signs.
    """
    values = _checked("heatmap", "values", values, ax, axes="(row, column)", finite=False)
    _check_labels("heatmap", values.shape[1], xticks=xticks)
    _check_labels("heatmap", values.shape[0], yticks=yticks)
    if words is not None:
        words = np.asarray(words, dtype=object)
        if words.shape != values.shape or not all(isinstance(each, str) for each in words.flat):
            raise ArgumentError(f"heatmap: words must be a string for each of {values.shape}; got {words!r:.60}.")
    image = ax.imshow(values, aspect="auto", interpolation="nearest", vmin=limits[0], vmax=limits[1], cmap=cmap)
    ax.figure.colorbar(image, ax=ax, label=label)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if xticks is not None:
        ax.set_xticks(range(len(xticks)), xticks, rotation=90, fontsize=8)
    if yticks is not None:
        ax.set_yticks(range(len(yticks)), yticks, fontsize=8)
    if words is not None:
        for (row, column), word in np.ndenumerate(words):
            colour = "black" if image.norm(values[row, column]) > 0.6 else "white"  # viridis is bright from there
            word = word if len(word) <= 9 else word[:8] + "…"
            ax.text(column, row, word, color=colour, ha="center", va="center", fontsize=7, clip_on=True)
    ax.spines[:].set_visible(False)
    return ax


def generation_map(rows, tokens, ax):
    """What each written token attended to: rows `(step, key)`, as a Generation's `attention_by_step` gives them.

    tokens: a label for every token, prompt and text: one more than there are keys. Keys that did not exist yet
    are white; the colour scale ends at the largest weight outside the first column, which is often a sink.
    """
    rows = _checked("generation_map", "rows", rows, ax, axes="(step, key)")
    _check_labels("generation_map", rows.shape[1] + 1, tokens=tokens)
    written = len(tokens) - len(rows)
    if written < 1:
        raise ArgumentError(f"generation_map: rows must be (step, key), not more steps than keys; got {rows.shape}.")
    exists = np.arange(rows.shape[1]) < np.arange(written, len(tokens))[:, None]
    return heatmap(
        np.where(exists, rows, np.nan),
        ax,
        xlabel="token attended to",
        ylabel="token written",
        label="attention weight",
        xticks=tokens[:-1],
        yticks=tokens[written:],
        limits=(0, rows[:, 1:].max() if rows.shape[1] > 1 else None),
    )


def token_bars(values, tokens, ax, *, ylabel):
    """One bar a token, `(position,)`, the tokens written below."""
    values = _checked("token_bars", "values", values, ax, axes="(position,)", finite=False)
    _check_labels("token_bars", len(values), tokens=tokens)
    ax.bar(range(len(tokens)), values)
    ax.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=8)
    ax.set(ylabel=ylabel)
    ax.margins(x=0.01)
    return ax


def layer_bars(values, ax, *, ylabel):
    """Bars side by side for every layer. values: name -> `(layer,)`, drawn in this order and named in the legend."""
    values = _named("layer_bars", "values", values, ax, "(layer,)")
    width = 0.8 / len(values)
    for place, (name, each) in enumerate(values.items()):
        ax.bar(np.arange(len(each)) + (place + 0.5) * width - 0.4, each, width, label=name)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(range(len(each)))
    ax.set(xlabel="layer", ylabel=ylabel)
    ax.legend(frameon=False)
    return ax


def layer_intervals(estimates, ax, *, ylabel):
    """A point with an interval for every layer. estimates: name -> `(layer, 3)`, value, low and high, named in the
    legend; points of one layer stand beside each other."""
    estimates = _named("layer_intervals", "estimates", estimates, ax, "(layer, 3)")
    for place, (name, each) in enumerate(estimates.items()):
        if each.shape[1] != 3 or (each[:, 1] > each[:, 0]).any() or (each[:, 0] > each[:, 2]).any():
            raise ArgumentError(f"layer_intervals: estimates[{name!r}] must be (layer, 3): value, low, high, in order.")
        value, low, high = each.astype(float).T
        at = np.arange(len(value)) + (place - (len(estimates) - 1) / 2) * 0.2
        ax.errorbar(at, value, [value - low, high - value], fmt="o", markersize=4, capsize=3, label=name)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(range(len(value)))
    ax.set(xlabel="layer", ylabel=ylabel)
    ax.legend(frameon=False)
    return ax


def waterfall(values, names, ax, *, ylabel):
    """Contributions that add up, `(part,)`: each bar starts where the one before it ended; the last one is the total.

    Up is blue and down is orange; the total is grey.
    """
    values = _checked("waterfall", "values", values, ax, axes="(part,)").astype(float)
    _check_labels("waterfall", len(values), names=names)
    ends = values.cumsum()
    colours = np.where(values < 0, KIND_COLOURS[0], KIND_COLOURS[2])
    ax.bar(range(len(values)), values, bottom=ends - values, color=colours)
    ax.bar(len(values), ends[-1], color="0.5")
    ax.use_sticky_edges = False  # room above the highest bar
    ax.autoscale_view()
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(range(len(values) + 1), [*names, "total"], rotation=90, fontsize=8)
    ax.set(ylabel=ylabel)
    return ax


def class_map(kinds, order, ax):
    """Layers by heads, coloured by class. kinds: strings `(layer, head)`; order: all classes, as in the legend."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    _check_ax("class_map", ax)
    order = _check_order("class_map", order, kinds)
    colours, kinds = KIND_COLOURS[: len(order)], np.asarray(kinds)
    if kinds.ndim != 2 or not kinds.size:
        raise ArgumentError(f"class_map: kinds must be strings (layer, head); got {kinds.shape}.")
    codes = np.vectorize(order.index)(kinds)
    ax.imshow(
        codes, aspect="auto", interpolation="nearest", cmap=ListedColormap(colours), vmin=-0.5, vmax=len(order) - 0.5
    )
    handles = [Patch(color=colour, label=kind.replace("_", " ")) for colour, kind in zip(colours, order)]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    ax.set(xlabel="head", ylabel="layer")
    ax.spines[:].set_visible(False)
    return ax


def normal_histogram(values, ax, *, xlabel, bins=100):
    """How numbers of any shape are distributed, and the normal curve with their mean and standard deviation.

    Both are densities: their areas are 1. The normal curve is black.
    """
    values = _checked("normal_histogram", "values", values, ax).astype(float).ravel()
    check_whole("normal_histogram", 1, bins=bins)
    mean, std = values.mean(), values.std()
    if std == 0:
        raise ArgumentError("normal_histogram: values are all alike; a normal curve needs some that differ.")
    _, edges, _ = ax.hist(values, bins=bins, density=True)
    x = np.linspace(edges[0], edges[-1], 200)
    ax.plot(x, np.exp(-(((x - mean) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi)), color="black", label="normal")
    ax.set(xlabel=xlabel, ylabel="density")
    ax.locator_params(axis="x", nbins=5)
    ax.legend(frameon=False)
    return ax


def layer_distributions(rows, ax, *, ylabel):
    """One violin a layer, with a box inside. rows: `(layer, number)`.

    The box ends at the quartiles, its line is the median, and its whiskers reach the smallest and the largest number.
    """
    rows = [*_checked("layer_distributions", "rows", rows, ax, axes="(layer, number)").astype(float)]
    places = range(len(rows))
    ax.violinplot(rows, places, widths=0.9, showextrema=False)
    ax.boxplot(rows, positions=places, widths=0.15, whis=(0, 100), medianprops={"color": KIND_COLOURS[0]})
    ax.set_xticks(places, places)
    ax.set(xlabel="layer", ylabel=ylabel)
    return ax


def dendrogram(links, names, kinds, order, ax):
    """A tree of heads, each name in the colour of its class; broad heads are black.

    links: as `scipy.cluster.hierarchy.linkage` gives them; names, kinds: a string a head; order: all classes, which
    gives them the colours of `class_map`.
    """
    from scipy.cluster.hierarchy import dendrogram, is_valid_linkage

    links = _checked("dendrogram", "links", links, ax, axes="(merge, 4)")
    _check_labels("dendrogram", len(links) + 1, names=names, kinds=kinds)
    names, kinds = list(names), list(kinds)
    order = _check_order("dendrogram", order, [each for each in kinds if each != "broad"])
    unborn = links[:, :2] >= len(names) + np.arange(len(links))[:, None]  # scipy looks at this from the second row on
    if not is_valid_linkage(links) or unborn.any():
        raise ArgumentError("dendrogram: links must be what scipy.cluster.hierarchy.linkage gives.")
    dendrogram(links, ax=ax, labels=names, color_threshold=0, above_threshold_color="0.4", leaf_font_size=9)
    colour_of = {
        name: "black" if kind == "broad" else KIND_COLOURS[order.index(kind)] for name, kind in zip(names, kinds)
    }
    for label in ax.get_xticklabels():
        label.set(color=colour_of[label.get_text()], rotation=90)
        label.set_fontweight("normal" if label.get_color() == "black" else "bold")
    ax.set(ylabel="distance")
    return ax


def lines(x, values, ax, *, xlabel, ylabel, log=False):
    """A line for each of `values`, name -> `(point,)`, over x `(point,)`, named in the legend.

    What stood in `ax` goes first, so that a figure can be drawn again while its numbers come in. log: a logarithmic
    x axis, from the first x above 0 on.
    """
    x, values = _checked("lines", "x", x, ax, axes="(point,)"), _named("lines", "values", values, ax, "(point,)")
    ax.clear()
    for name, each in values.items():
        if len(each) != len(x):
            raise ArgumentError(f"lines: values[{name!r}] has {len(each)} points, and x has {len(x)}.")
        ax.plot(x, each, label=name)
    if log:
        ax.set_xscale("log", nonpositive="mask")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(frameon=False)
    return ax
