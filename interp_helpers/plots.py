"""Figures with matplotlib. Every function takes numbers and an `ax`, draws, and returns the `ax`."""

import numpy as np

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


def heatmap(values, ax, *, xlabel, ylabel, label, xticks=None, yticks=None, limits=(None, None), words=None, cmap=None):
    """An image of a matrix `(row, column)`, the first row on top, with a colour bar that is labelled `label`.

    xticks, yticks: a label for every column or row; without them matplotlib numbers them.
    limits: (lowest, highest) value of the colour scale; None takes it from the values.
    words: a string to write into every cell, `(row, column)`; long ones are cut to nine characters.
    cmap: a colour map other than STYLE's, such as "PuOr" for numbers of both signs.
    """
    values = np.asarray(values)
    image = ax.imshow(values, aspect="auto", interpolation="nearest", vmin=limits[0], vmax=limits[1], cmap=cmap)
    ax.figure.colorbar(image, ax=ax, label=label)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if xticks is not None:
        ax.set_xticks(range(len(xticks)), xticks, rotation=90, fontsize=8)
    if yticks is not None:
        ax.set_yticks(range(len(yticks)), yticks, fontsize=8)
    if words is not None:
        for (row, column), word in np.ndenumerate(np.asarray(words, dtype=object)):
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
    rows = np.asarray(rows)
    written = len(tokens) - len(rows)
    exists = np.arange(rows.shape[1]) < np.arange(written, len(tokens))[:, None]
    return heatmap(
        np.where(exists, rows, np.nan),
        ax,
        xlabel="token attended to",
        ylabel="token written",
        label="attention weight",
        xticks=tokens[:-1],
        yticks=tokens[written:],
        limits=(0, rows[:, 1:].max()),
    )


def token_bars(values, tokens, ax, *, ylabel):
    """One bar a token, `(position,)`, the tokens written below."""
    ax.bar(range(len(tokens)), np.asarray(values))
    ax.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=8)
    ax.set(ylabel=ylabel)
    ax.margins(x=0.01)
    return ax


def layer_bars(values, ax, *, ylabel):
    """Bars side by side for every layer. values: name -> `(layer,)`, drawn in this order and named in the legend."""
    width = 0.8 / len(values)
    for place, (name, each) in enumerate(values.items()):
        each = np.asarray(each)
        ax.bar(np.arange(len(each)) + (place + 0.5) * width - 0.4, each, width, label=name)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(range(len(each)))
    ax.set(xlabel="layer", ylabel=ylabel)
    ax.legend(frameon=False)
    return ax


def layer_intervals(estimates, ax, *, ylabel):
    """A point with an interval for every layer. estimates: name -> `(layer, 3)`, value, low and high, named in the
    legend; points of one layer stand beside each other."""
    for place, (name, each) in enumerate(estimates.items()):
        value, low, high = np.asarray(each, dtype=float).T
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
    values = np.asarray(values, dtype=float)
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

    colours = KIND_COLOURS[: len(order)]
    codes = np.vectorize(list(order).index)(kinds)
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
    values = np.asarray(values, dtype=float).ravel()
    mean, std = values.mean(), values.std()
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
    rows = [np.asarray(each, dtype=float) for each in rows]
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
    from scipy.cluster.hierarchy import dendrogram

    order = list(order)
    dendrogram(links, ax=ax, labels=list(names), color_threshold=0, above_threshold_color="0.4", leaf_font_size=9)
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
    ax.clear()
    for name, each in values.items():
        ax.plot(np.asarray(x), np.asarray(each), label=name)
    if log:
        ax.set_xscale("log", nonpositive="mask")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(frameon=False)
    return ax
