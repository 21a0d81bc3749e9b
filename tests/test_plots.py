"""What each figure says: the data of its artists, drawn from lists, arrays and tensors alike."""

from io import BytesIO

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from PIL import Image
from properties import cases, seeded
from scipy.cluster.hierarchy import linkage

from interp_helpers import ArgumentError, plots

mpl.use("Agg")
PAGES = ["white", "#14181E", "#111111"]  # of a notebook and the site; the site's dark one; JupyterLab's dark one
KINDS = st.sampled_from([torch.as_tensor, np.asarray, lambda values: values.tolist()])
few = st.integers(1, 4)


@pytest.fixture
def ax():
    return Figure().subplots()


def axes():
    """New axes for every case that hypothesis draws."""
    return Figure().subplots()


def numbers(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.double).numpy()


def names(count):
    return [f"w{number}" for number in range(count)]


def written(labels):
    return [label.get_text() for label in labels]


def contrast(one, other):
    """WCAG's, from 1 to 21."""

    def luminance(colour):
        parts = np.array(mpl.colors.to_rgb(colour))
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def on_pages(colour):
    """The lowest contrast of a colour with a page."""
    return min(contrast(colour, page) for page in PAGES)


def test_the_style_is_one_that_matplotlib_knows():
    with mpl.rc_context(plots.STYLE):
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"][0] == "#0072B2"


def test_a_tensor_with_a_gradient_is_drawn(ax):
    plots.token_bars(torch.tensor([1.0, 3.0], requires_grad=True), ["·a", "·b"], ax, ylabel="loss (nats)")
    assert [bar.get_height() for bar in ax.patches] == [1, 3]


# heatmap


@cases(rows=few, columns=few, seed=seeded(), kind=KINDS, gap=st.booleans())
def test_a_heatmap_shows_the_numbers_the_right_way_round(rows, columns, seed, kind, gap):
    values, ax = numbers(seed, rows, columns + 1), axes()
    if gap:
        values[0, 0] = np.nan
    labels = {"xlabel": "key", "ylabel": "query", "label": "weight"}
    ticks = {"xticks": names(columns + 1), "yticks": names(rows)}
    plots.heatmap(kind(values), ax, **labels, **ticks, limits=(-2, 3))
    image = ax.images[0]
    np.testing.assert_array_equal(image.get_array().filled(np.nan), values)
    assert image.get_clim() == (-2, 3)
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row is on top"
    assert (written(ax.get_xticklabels()), written(ax.get_yticklabels())) == (names(columns + 1), names(rows))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.figure.axes[1].get_ylabel()) == ("key", "query", "weight")


# generation_map


@cases(prompt=few, steps=few, seed=seeded(), kind=KINDS)
def test_a_generation_map_leaves_empty_what_did_not_exist(prompt, steps, seed, kind):
    keys, ax = prompt + steps - 1, axes()
    rows = torch.rand(steps, keys, generator=seed, dtype=torch.double).numpy()
    plots.generation_map(kind(rows), names(keys + 1), ax)
    image = ax.images[0]
    empty = np.ma.getmaskarray(image.get_array())
    for step in range(steps):
        for key in range(keys):
            assert empty[step, key] == (key >= prompt + step)
            assert empty[step, key] or image.get_array()[step, key] == rows[step, key]
    outside = [rows[step, key] for step in range(steps) for key in range(1, keys) if key < prompt + step]
    if outside:
        low, high = image.get_clim()
        assert low == 0
        assert np.sum(np.array(outside) > high) <= np.ceil(0.03 * len(outside))
        assert high >= np.quantile(outside, 0.9)
    assert written(ax.get_xticklabels()) == names(keys)
    assert written(ax.get_yticklabels()) == names(keys + 1)[prompt:]


# bars and intervals


@cases(count=few, seed=seeded(), kind=KINDS)
def test_one_bar_a_token(count, seed, kind):
    values, ax = numbers(seed, count), axes()
    values[0] = np.nan  # the first token has no loss
    plots.token_bars(kind(values), names(count), ax, ylabel="loss (nats)")
    np.testing.assert_array_equal([bar.get_height() for bar in ax.patches], values)
    assert [bar.get_x() + bar.get_width() / 2 for bar in ax.patches] == pytest.approx(list(range(count)))
    assert (written(ax.get_xticklabels()), ax.get_ylabel()) == (names(count), "loss (nats)")


def test_bars_of_a_layer_stand_side_by_side(ax):
    plots.by_layer({"attention": [1.0, 2], "mlp": torch.tensor([3.0, -4])}, ax, ylabel="norm")
    bars = [(round(bar.get_x() + bar.get_width() / 2, 6), bar.get_height()) for bar in ax.patches]
    assert bars == [(-0.2, 1), (0.8, 2), (0.2, 3), (1.2, -4)]
    assert written(ax.get_legend().get_texts()) == ["attention", "mlp"]


@cases(layers=few, count=few, seed=seeded(), kind=KINDS)
def test_intervals_of_a_layer_show_value_low_and_high(layers, count, seed, kind):
    ax = axes()
    estimates = {name: np.sort(numbers(seed, layers, 3))[:, [1, 0, 2]] for name in names(count)}
    plots.by_layer({name: kind(triples) for name, triples in estimates.items()}, ax, ylabel="slope")
    assert len(ax.containers) == count
    for triples, (points, _, (bars,)) in zip(estimates.values(), ax.containers):
        np.testing.assert_array_equal(points.get_ydata(), triples[:, 0])
        np.testing.assert_array_equal(points.get_xdata().round(), np.arange(layers))
        np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], triples[:, 1:])
    assert written(ax.get_legend().get_texts()) == names(count)
    first, last = (ax.containers[number][0].get_xdata()[0] for number in (0, -1))
    assert first == pytest.approx(-last), "the points of a layer stand evenly around its number"


@cases(count=few, seed=seeded(), kind=KINDS)
def test_dumbbells_show_both_conditions_and_the_interval_of_the_second(count, seed, kind):
    before, after, below, above = numbers(seed, 4, count)
    low, high = after - abs(below), after + abs(above)
    ax = axes()
    drawn = [kind(values) for values in (before, after, low, high)]
    plots.dumbbells(*drawn, names(count), ax, xlabel="nats", labels=["off", "on"])
    lines, (bars,) = ax.collections[0].get_segments(), ax.containers
    np.testing.assert_allclose([(line[0][0], line[1][0]) for line in lines], np.stack([before, after], 1))
    np.testing.assert_allclose(ax.collections[1].get_offsets()[:, 0], before)
    np.testing.assert_allclose(bars.lines[0].get_xdata(), after)
    np.testing.assert_allclose(
        [(end[0][0], end[1][0]) for end in bars.lines[2][0].get_segments()], np.stack([low, high], 1)
    )
    assert written(ax.get_yticklabels()) == names(count)
    assert written(ax.get_legend().get_texts()) == ["off", "on"]
    assert ax.yaxis_inverted()  # the first part is on top


@cases(count=few, points=st.integers(2, 12), seed=seeded(), kind=KINDS, first=st.integers(-1, 1))
def test_bands_show_value_low_and_high(count, points, seed, kind, first):
    values = numbers(seed, count, 3, points)
    values.sort(1)
    values = values[:, [1, 0, 2]]
    ax = axes()
    plots.bands(dict(zip(names(count), map(kind, values))), ax, xlabel="depth", ylabel="gain", first=first)
    places = range(first, first + points)
    for line, band, (value, low, high), name in zip(ax.lines, ax.collections, values, names(count), strict=True):
        np.testing.assert_allclose(line.get_xdata(), places)
        np.testing.assert_allclose(line.get_ydata(), value)
        ends = band.get_paths()[0].vertices
        np.testing.assert_allclose([ends[ends[:, 0] == x, 1].min() for x in places], low)
        np.testing.assert_allclose([ends[ends[:, 0] == x, 1].max() for x in places], high)
        assert line.get_label() == name


@cases(count=few, points=st.integers(3, 5), seed=seeded(), kind=KINDS)
def test_areas_add_up(count, points, seed, kind):
    heights, ax = abs(numbers(seed, count, points)), axes()
    plots.areas(
        kind(np.arange(points) + 1.0), dict(zip(names(count), map(kind, heights))), ax, xlabel="t", ylabel="norm"
    )
    for area, top in zip(ax.collections, heights.cumsum(0)):
        ends = area.get_paths()[0].vertices
        np.testing.assert_allclose([ends[ends[:, 0] == x, 1].max() for x in range(1, points + 1)], top)
    named = [text.get_text().strip() for text in ax.texts] + (written(ax.get_legend().texts) if ax.get_legend() else [])
    assert sorted(named) == names(count)  # each once, in its area or in the legend


def test_a_negative_area_is_drawn_as_none(ax):
    plots.areas([1, 2, 3], {"up": [1, 1, 1], "down": [-1, -2, 1]}, ax, xlabel="t", ylabel="norm")
    up, down = (area.get_paths()[0].vertices for area in ax.collections)
    assert set(down[down[:, 0] == 1, 1]) == {1}  # where it is negative, it starts and ends at the area below
    assert down[:, 1].max() == 2
    assert up[:, 1].max() == 1


def test_nothing_is_marked_by_a_line(ax):
    for draw in [
        lambda: plots.by_layer({"a": [1.0, 2]}, ax, ylabel=""),
        lambda: plots.by_layer({"a": [[2.0, 1, 3]]}, ax, ylabel=""),
    ]:
        ax.clear()
        draw()
        assert [0, 0] in [list(line.get_ydata()) for line in ax.lines]


# dots


@cases(rows=few, count=few, seed=seeded(), kind=KINDS)
def test_strips_have_a_row_of_dots_for_every_name(rows, count, seed, kind):
    values, ax = {name: numbers(seed, 2, count) for name in names(rows)}, axes()
    plots.strips({name: kind(each) for name, each in values.items()}, ax, xlabel="score")
    assert (written(ax.get_yticklabels()), ax.get_xlabel()) == (names(rows), "score")
    for row, (dots, each) in enumerate(zip(ax.collections, values.values(), strict=True)):
        x, y = dots.get_offsets().T
        np.testing.assert_array_equal(x, np.sort(each, axis=None))
        assert np.abs(y - row).max() < 0.5  # no dot is nearer to another row
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row is on top


@cases(layers=few, heads=few, seed=seeded(), kind=KINDS, line=st.booleans())
def test_a_scatter_has_a_dot_for_every_head_and_labels_at_the_named_ones(layers, heads, seed, kind, line):
    x, y, ax = numbers(seed, layers, heads), numbers(seed, layers, heads), axes()
    last = (layers - 1, heads - 1)
    plots.head_scatter(kind(x), kind(y), ax, xlabel="in order", ylabel="shuffled", named=[last], line=line)
    dots = ax.collections[0]
    np.testing.assert_array_equal(dots.get_offsets(), np.stack([x.ravel(), y.ravel()], 1))
    np.testing.assert_array_equal(dots.get_array(), np.repeat(np.arange(layers), heads))
    (label,) = ax.texts
    assert (label.get_text(), label.xy) == (f"L{last[0]}H{last[1]}", (x[last], y[last]))
    assert len(ax.lines) == line
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("in order", "shuffled")


def test_the_style_of_a_notebook_has_twice_the_pixels_and_no_background(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "matplotlib_inline.backend_inline.set_matplotlib_formats",
        lambda *kinds, **options: asked.update(options, kinds=kinds),
    )
    with mpl.rc_context():
        plots.set_style()
        figure = Figure(figsize=(3, 2))
        figure.subplots()
        assert asked.pop("kinds") == ("retina",)
        # JupyterLab puts white behind what matplotlib_inline would call transparent.
        assert figure.get_facecolor() == (1, 1, 1, 1)
        picture = Image.open(BytesIO(print_figure(figure, "png", **asked)))
    assert picture.mode == "RGBA"
    assert {picture.getpixel(place)[3] for place in [(0, 0), (picture.width // 2, picture.height // 3)]} == {0}


# colours


def test_every_colour_can_be_read_on_a_white_and_on_a_dark_page():
    shades = [mpl.colors.to_hex(plots.DEPTHS(share)) for share in np.linspace(0, 1, 33)]
    solid = {*plots.COLOURS, *plots.KIND_COLOURS, *plots.CHANNEL_COLOURS.values(), *shades} - {plots.FAINT}
    assert {colour for colour in solid if on_pages(colour) < 3} == set()
    assert on_pages(plots.INK) > 4


@pytest.mark.parametrize(("shades", "zero"), [(plots.BLUES, 0), (plots.DIVERGING, 0.5)])
def test_where_a_number_is_0_the_page_is_seen(shades, zero):
    assert shades(zero)[3] < 0.01
    assert [shades(end)[3] for end in {0.0, 1.0} - {zero}] == [1] * len({0.0, 1.0} - {zero})
    assert min(on_pages(shades(end)) for end in {0.0, 1.0} - {zero}) >= 3


DRAWN = {
    "heatmap": lambda ax: plots.heatmap([[1.0, 2]], ax, xlabel="key", ylabel="query", label="weight", xticks="ab"),
    "token_bars": lambda ax: plots.token_bars([1, 2], "ab", ax, ylabel="loss"),
    "by_layer": lambda ax: plots.by_layer({"a": [1.0, 2], "b": [2.0, 1]}, ax, ylabel="norm"),
    "dumbbells": lambda ax: plots.dumbbells([0], [1], [0.5], [2], ["L0H0"], ax, xlabel="nats", labels=["off", "on"]),
    "areas": lambda ax: plots.areas([1, 2], {name: [3, 3] for name in "abcd"}, ax, xlabel="position", ylabel="norm"),
    "bands": lambda ax: plots.bands({"a": [[1, 2], [0, 1], [2, 3]]}, ax, xlabel="depth", ylabel="gain"),
    "class_map": lambda ax: plots.class_map(np.array([["a", "b"]]), ["a", "b"], ax),
    "strips": lambda ax: plots.strips({"a": [0, 1]}, ax, xlabel="score"),
    "head_scatter": lambda ax: plots.head_scatter(
        np.eye(2), np.eye(2), ax, xlabel="x", ylabel="y", named=[(0, 0)], ringed=[(1, 1)]
    ),
    "circuit": lambda ax: plots.circuit(
        {"a": (0, 0), "b": (1, 1)}, [("a", "b", channel, 1) for channel in plots.CHANNEL_COLOURS], ax, label="effect"
    ),
    "normal_histogram": lambda ax: plots.normal_histogram(np.arange(9), ax, xlabel="weight"),
    "layer_distributions": lambda ax: plots.layer_distributions([[1, 2, 4]], ax, ylabel="norm"),
    "dendrogram": lambda ax: plots.dendrogram(
        linkage([[0], [1], [3]]), names(3), ["induction", "focused", "diffuse"], ["induction", "focused", "diffuse"], ax
    ),
    "lines": lambda ax: plots.lines([0, 1], {"a": [0, 1]}, ax, xlabel="step", ylabel="loss"),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_every_word_and_line_can_be_read_on_a_white_and_on_a_dark_page(name):
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(6, 4))
        ax = figure.subplots()
        DRAWN[name](ax)
        figure.draw_without_rendering()
    for text in figure.findobj(lambda each: isinstance(each, Text) and each.get_text().strip()):
        box = text.get_bbox_patch()
        if name == "areas" and text in ax.texts:
            area = next(each for each in ax.collections if each.get_paths()[0].contains_point(text.get_position()))
            assert contrast(text.get_color(), area.get_facecolor()[0]) > 4, text
        elif box:
            assert contrast(text.get_color(), box.get_facecolor()) > 4, text
            assert box.get_facecolor()[3] == 1
        else:
            assert on_pages(text.get_color()) > (4 if text.get_color() == plots.INK else 3), text
    for line in figure.findobj(Line2D):
        assert on_pages(line.get_color()) > 3, line


# class_map and dendrogram


@cases(layers=few, heads=few, classes=st.integers(1, 8), seed=seeded())
def test_a_class_map_has_its_legends_colours(layers, heads, classes, seed):
    order, ax = [f"class_{number}" for number in range(classes)], axes()
    codes = torch.randint(classes, (layers, heads), generator=seed).numpy()
    plots.class_map(np.array(order)[codes], order, ax)
    np.testing.assert_array_equal(ax.images[0].get_array(), codes)
    colours = ax.images[0].to_rgba(np.arange(classes))
    for patch, colour, wanted in zip(ax.get_legend().get_patches(), colours, plots.KIND_COLOURS):
        assert patch.get_facecolor() == pytest.approx(tuple(colour), abs=1e-2)
        assert mpl.colors.to_hex(colour, keep_alpha=len(wanted) > 7) == wanted.lower()
    assert written(ax.get_legend().get_texts()) == [name.replace("_", " ") for name in order]


@cases(count=st.integers(2, 6), seed=seeded())
def test_a_trees_names_have_their_classes_colours(count, seed):
    order, ax = ["induction", "focused", "diffuse"], axes()
    links = linkage(numbers(seed, count, 3), "average")
    kinds = [order[code] for code in torch.randint(3, (count,), generator=seed)]
    plots.dendrogram(links, names(count), kinds, order, ax)
    colours = {label.get_text(): label.get_color() for label in ax.get_xticklabels()}
    wanted = {"induction": plots.KIND_COLOURS[0], "focused": plots.KIND_COLOURS[1], "diffuse": plots.INK}
    assert colours == {name: wanted[kind] for name, kind in zip(names(count), kinds)}
    weights = {label.get_fontweight() for label in ax.get_xticklabels() if label.get_color() == plots.INK}
    assert weights <= {"normal"}
    joints = sorted(path.vertices[:, 1].max() for drawn in ax.collections for path in drawn.get_paths())
    assert joints == pytest.approx(sorted(links[:, 2]))


# circuit

NODES = {
    "tokens": (0, -1), "L0H0": (0, 0), "L0H3": (2, 0), "MLP 0": (1, 0.5), "L3H1": (0, 3), "L4H3": (1, 4),
    "L4H4": (2, 4), "L5H1": (0, 5), "L5H5": (1, 5), "L5H7": (2, 5), "second copy": (1, 6.5),
}  # fmt: skip
EDGES = [
    ("tokens", "L0H0", "V", 0.6), ("tokens", "L0H3", "V", 0.45), ("L0H0", "L3H1", "K", 0.28),
    ("L0H0", "L4H3", "K", 0.41), ("L3H1", "L4H3", "K", 0.34), ("L0H3", "L4H3", "Q", 0.32), ("L0H3", "L4H3", "V", 0.9),
    ("L0H0", "MLP 0", "in", 0.2), ("L4H3", "L5H5", "V", 0.17), ("L4H4", "L5H7", "Q", -0.12),
    ("L4H3", "second copy", "out", 0.74), ("L5H5", "second copy", "out", 0.21),
]  # fmt: skip


def graph(nodes, edges, **options):
    """The axes of a circuit, and the texts of its nodes and of its edges."""
    ax = Figure(figsize=(6, 4), layout="constrained").subplots()
    plots.circuit(nodes, edges, ax, label="change of the logit", **options)
    ax.figure.draw_without_rendering()
    return ax, ax.texts[: len(nodes)], ax.texts[len(nodes) :]


def routes(ax):
    return [arrow.get_path().vertices.tolist() for arrow in ax.patches]


def test_a_circuit_names_its_nodes_edges_and_layers():
    ax, boxes, labels = graph(NODES, EDGES)
    assert written(boxes) == list(NODES)
    assert written(labels)[3:6] == ["K 0.41", "K 0.34", "Q 0.32"]
    assert written(labels)[9] == "Q −0.12"
    assert written(graph(NODES, EDGES, format="+.0%")[2])[3] == "K +41%"
    heights = dict(zip(ax.get_yticks(), written(ax.get_yticklabels())))
    assert list(heights.values()) == ["tokens", "0", "", "3", "4", "5", "prediction"]
    for box, (x, layer) in zip(boxes, NODES.values()):
        assert box.get_position()[0] == pytest.approx(x)
        tick = heights[round(box.get_position()[1], 9)]
        assert tick == {-1: "tokens", 0.5: "", 6.5: "prediction"}.get(layer, str(layer))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("change of the logit", "layer")


def test_the_highest_layer_is_the_prediction_only_if_something_is_added_to_it():
    ax, *_ = graph({"L0H0": (0, 0), "L1H0": (0, 1)}, [("L0H0", "L1H0", "K", 1)])
    assert written(ax.get_yticklabels()) == ["0", "1"]


@cases(count=few, seed=seeded(), kind=KINDS)
def test_arrows_are_as_wide_as_their_weights_and_have_the_colour_of_their_channel(count, seed, kind):
    weights = numbers(seed, count)
    channels = [list(plots.CHANNEL_COLOURS)[code] for code in torch.randint(5, (count,), generator=seed)]
    edges = [("a", "b", channel, weight) for channel, weight in zip(channels, kind(weights))]
    ax, _, labels = graph({"a": (0, 0), "b": (1, 1)}, edges)
    widths = [arrow.get_linewidth() for arrow in ax.patches]
    assert widths == pytest.approx((5 * abs(weights) / abs(weights).max()).tolist())
    assert written(labels) == [f"{c} {w:.2f}".replace("-", "−") for c, w in zip(channels, weights)]
    colours = [mpl.colors.to_hex(arrow.get_edgecolor()) for arrow in ax.patches]
    assert colours == [plots.CHANNEL_COLOURS[channel].lower() for channel in channels]


def test_a_circuit_without_effect_or_without_edges_is_drawn():
    assert [arrow.get_linewidth() for arrow in graph(NODES, [("L0H0", "L4H3", "K", 0)])[0].patches] == [0]
    assert not graph(NODES, [])[0].patches


def test_numbers_lie_neither_on_boxes_nor_on_each_other():
    _, boxes, labels = graph(NODES, EDGES)
    extents = [label.get_window_extent() for label in labels]
    for number, extent in enumerate(extents):
        assert not any(extent.overlaps(box.get_window_extent()) for box in boxes), written(labels)[number]
        assert not any(extent.overlaps(other) for other in extents[:number]), written(labels)[number]


def crossed(nodes, edges):
    """Edges and the boxes that their arrows run through, other than those at their own ends."""
    ax, boxes, _ = graph(nodes, edges)
    found = []
    for edge, arrow in zip(edges, ax.patches, strict=True):
        lines = arrow.get_path().transformed(ax.transData).to_polygons(closed_only=False)
        points = np.concatenate([mpl.path.Path(line).interpolated(20).vertices for line in lines])
        extents = {name: box.get_bbox_patch().get_window_extent() for name, box in zip(nodes, boxes)}
        found += [
            (edge, name)
            for name, extent in extents.items()
            if name not in edge[:2] and any(extent.contains(*point) for point in points)
        ]
    return found


def test_arrows_go_round_the_boxes_of_others(monkeypatch):
    column = {"a": (0, 0), "b": (0, 1), "c": (0, 2)}, [("a", "c", "V", 1)]
    assert crossed(NODES, EDGES) == crossed(*column) == []
    monkeypatch.setattr(plots, "_routes", lambda places, ends, *_: [(0, places[start]) for start, _ in ends])
    assert crossed(*column) == [(column[1][0], "b")], "a straight arrow would not"


def test_arrows_between_the_same_nodes_lie_apart():
    ways = routes(graph(NODES, [("L0H0", "L4H3", channel, 1) for channel in "QKV"])[0])
    middles = [np.mean(way, 0) for way in ways]
    assert min(np.linalg.norm(middles[a] - middles[b]) for a, b in [(0, 1), (0, 2), (1, 2)]) > 0.05


def test_a_circuit_without_nodes_is_empty():
    ax = Figure().subplots()
    plots.circuit({}, [], ax, label="nothing")
    assert not ax.texts


def test_a_circuit_is_the_same_every_time():
    (first, _, labels), (second, _, again) = graph(NODES, EDGES), graph(NODES, EDGES)
    assert routes(first) == routes(second)
    assert [label.get_position() for label in labels] == [label.get_position() for label in again]


def test_an_edge_to_nowhere_is_refused(ax):
    with pytest.raises(
        ArgumentError, match="no 'L9H9' for the edge from 'L0H0' to 'L9H9' by 'K'; choose from tokens, "
    ):
        plots.circuit(NODES, [("L0H0", "L9H9", "K", 1)], ax, label="")
    with pytest.raises(ArgumentError, match="no 'L9H9' for the edge from 'L9H9'"):
        plots.circuit(NODES, [("L9H9", "L0H0", "K", 1)], ax, label="")
    with pytest.raises(ArgumentError, match=r"no 'k' for .*; choose from Q, K, V, out, in"):
        plots.circuit(NODES, [("L0H0", "L4H3", "k", 1)], ax, label="")
    assert not ax.texts, "nothing is drawn before the refusal"


# normal_histogram and layer_distributions


@cases(shape=st.lists(st.integers(2, 5), min_size=1, max_size=3), seed=seeded(), bins=st.integers(1, 9), kind=KINDS)
def test_a_histogram_and_its_normal_curve_are_densities(shape, seed, bins, kind):
    values, ax = numbers(seed, *shape) * 3 + 5, axes()
    plots.normal_histogram(kind(values), ax, xlabel="weight", bins=bins)
    assert sum(bar.get_height() * bar.get_width() for bar in ax.patches) == pytest.approx(1)
    for bar in ax.patches[:-1]:
        inside = (values >= bar.get_x()) & (values < bar.get_x() + bar.get_width())
        assert bar.get_height() * bar.get_width() * values.size == pytest.approx(inside.sum(), abs=1.01)
    x, density = ax.lines[0].get_data()
    wanted = torch.distributions.Normal(values.mean(), values.std()).log_prob(torch.as_tensor(x)).exp()
    np.testing.assert_allclose(density, wanted, rtol=1e-6)


@cases(layers=few, count=st.integers(2, 9), seed=seeded(), kind=KINDS)
def test_a_violin_and_a_box_stand_at_every_layer(layers, count, seed, kind):
    rows, ax = numbers(seed, layers, count), axes()
    plots.layer_distributions(kind(rows), ax, ylabel="variance")
    medians = [line.get_ydata()[0] for line in ax.lines if line.get_color() == plots.KIND_COLOURS[0]]
    assert medians == pytest.approx(np.median(rows, 1).tolist())
    ends = np.concatenate([line.get_ydata() for line in ax.lines])
    assert (ends.min(), ends.max()) == (rows.min(), rows.max()), "whiskers reach every number"
    assert len(ax.collections) == layers, "one violin each"
    assert written(ax.get_xticklabels()) == [str(layer) for layer in range(layers)]


# lines


@cases(points=few, count=few, seed=seeded(), kind=KINDS, log=st.booleans())
def test_lines_are_drawn_afresh(points, count, seed, kind, log):
    x, ax = np.arange(1.0, points + 1), axes()
    ax.plot([0, 1], [0, 1], label="what stood here")
    values = {name: numbers(seed, points) for name in names(count)}
    values["w0"][-1] = np.nan  # a gap
    drawn = {name: kind(line) for name, line in values.items()}
    plots.lines(kind(x), drawn, ax, xlabel="step", ylabel="loss", log=log)
    assert len(ax.lines) == count
    for line, wanted in zip(ax.lines, values.values()):
        np.testing.assert_array_equal(line.get_xydata(), np.stack([x, wanted], 1))
    assert written(ax.get_legend().get_texts()) == names(count)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale()) == ("step", "loss", "log" if log else "linear")


def test_more_areas_than_colours_are_refused():
    with pytest.raises(ArgumentError, match="colours for 4 areas; got 5"):
        plots.areas(range(3), {name: np.ones(3) for name in "abcde"}, Figure().subplots(), xlabel="", ylabel="")
