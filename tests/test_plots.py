import matplotlib as mpl
import numpy as np
import pytest
import torch

from interp_helpers import ArgumentError, plots

mpl.use("Agg")


@pytest.fixture
def ax():
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_a_heatmap_shows_the_numbers_the_right_way_round(ax):
    values = torch.arange(6.0).reshape(2, 3)
    drawn = plots.heatmap(
        values, ax, xlabel="key", ylabel="query", label="weight", xticks="abc", yticks="de", limits=(0, 9)
    )
    assert drawn is ax
    image = ax.images[0]
    np.testing.assert_array_equal(image.get_array(), values)
    assert image.get_clim() == (0, 9)
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row is on top"
    assert [each.get_text() for each in ax.get_xticklabels()] == ["a", "b", "c"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("key", "query")
    assert ax.figure.axes[1].get_ylabel() == "weight"


def test_a_generation_map_leaves_white_what_did_not_exist(ax):
    """Two prompt tokens and two written ones: step 0 saw keys 0 and 1, step 1 saw keys 0 to 2."""
    rows = torch.tensor([[0.9, 0.1, 0.0], [0.5, 0.0, 0.5]])
    plots.generation_map(rows, ["a", "b", "c", "d"], ax)
    image = ax.images[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(image), [[False, False, True], [False, False, False]])
    assert ax.images[0].get_clim() == (0, 0.5)
    assert [each.get_text() for each in ax.get_xticklabels()] == ["a", "b", "c"]
    assert [each.get_text() for each in ax.get_yticklabels()] == ["c", "d"]


def test_one_bar_a_token(ax):
    plots.token_bars(torch.tensor([1.0, 3.0]), ["·a", "·b"], ax, ylabel="loss (nats)")
    assert [bar.get_height() for bar in ax.patches] == [1, 3]
    assert [each.get_text() for each in ax.get_xticklabels()] == ["·a", "·b"]


def test_the_style_is_one_that_matplotlib_knows():
    with mpl.rc_context(plots.STYLE):
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"][0] == "#0072B2"


def test_words_stand_in_their_cells_and_can_be_read(ax):
    words = [["dark", "<|endoftext|>"]]
    plots.heatmap([[0.0, 1.0]], ax, xlabel="", ylabel="", label="", limits=(0, 1), words=words)
    assert [(each.get_text(), each.get_position(), each.get_color()) for each in ax.texts] == [
        ("dark", (0, 0), "white"),
        ("<|endoft…", (1, 0), "black"),
    ]


def test_layer_bars_stand_side_by_side(ax):
    plots.layer_bars({"attention": [1.0, 2], "mlp": [3.0, -4]}, ax, ylabel="norm")
    bars = [(round(bar.get_x() + bar.get_width() / 2, 6), bar.get_height()) for bar in ax.patches]
    assert bars == [(-0.2, 1), (0.8, 2), (0.2, 3), (1.2, -4)]
    assert [each.get_text() for each in ax.get_legend().get_texts()] == ["attention", "mlp"]


def test_a_waterfall_ends_at_the_sum(ax):
    plots.waterfall([2.0, -3, 0.5], ["a", "b", "c"], ax, ylabel="logit")
    assert [(bar.get_y(), bar.get_height()) for bar in ax.patches] == [(0, 2), (2, -3), (-1, 0.5), (0, -0.5)]
    assert [each.get_text() for each in ax.get_xticklabels()] == ["a", "b", "c", "total"]
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor()


def test_layer_intervals_show_value_low_and_high(ax):
    plots.layer_intervals({"a": [[1.0, 0, 3], [2, 1, 4]], "b": [[5.0, 4, 6], [6, 5, 7]]}, ax, ylabel="slope")
    points, _, (bars,) = ax.containers[0]
    np.testing.assert_allclose(points.get_xydata(), [[-0.1, 1], [0.9, 2]])
    np.testing.assert_allclose([each[:, 1] for each in bars.get_segments()], [[0, 3], [1, 4]])
    assert [each.get_text() for each in ax.get_legend().get_texts()] == ["a", "b"]


def test_a_histogram_and_its_normal_curve_are_densities(ax):
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(0)) * 2 + 5
    plots.normal_histogram(values, ax, xlabel="weight")
    assert sum(bar.get_height() * bar.get_width() for bar in ax.patches) == pytest.approx(1)
    x, density = ax.lines[0].get_data()
    assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-3)
    assert x[density.argmax()] == pytest.approx(values.mean().item(), abs=0.1)
    assert density.max() == pytest.approx(1 / (values.std().item() * (2 * np.pi) ** 0.5), rel=0.01)


def test_a_violin_and_a_box_stand_at_every_layer(ax):
    plots.layer_distributions([[1.0, 2, 3, 4, 10], [0.0, 0, 5, 5, 5]], ax, ylabel="variance")
    assert [each.get_text() for each in ax.get_xticklabels()] == ["0", "1"]
    assert len(ax.collections) == 2, "two violins"
    medians = [line.get_ydata()[0] for line in ax.lines if line.get_color() == plots.KIND_COLOURS[0]]
    assert medians == [3, 5]
    assert max(max(line.get_ydata(), default=0) for line in ax.lines) == 10


def test_a_trees_names_have_their_classes_colours(ax):
    links = np.array([[0, 1, 0.5, 2], [2, 3, 2.0, 3]])  # heads 0 and 1 first, then head 2
    plots.dendrogram(links, ["0.0", "0.1", "0.2"], ["broad", "induction", "focused"], ["induction", "focused"], ax)
    colours = {each.get_text(): each.get_color() for each in ax.get_xticklabels()}
    assert colours == {"0.0": "black", "0.1": plots.KIND_COLOURS[0], "0.2": plots.KIND_COLOURS[1]}
    assert ax.get_ylim()[1] > 2


def test_lines_are_drawn_afresh(ax):
    for count in (1, 2):
        drawn = plots.lines(
            [0, 1, 10], {f"line {i}": [i, 2, 3] for i in range(count)}, ax, xlabel="step", ylabel="loss"
        )
        assert drawn is ax
        assert [list(each.get_ydata()) for each in ax.lines] == [[i, 2, 3] for i in range(count)]
    assert [each.get_text() for each in ax.get_legend().get_texts()] == ["line 0", "line 1"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale()) == ("step", "loss", "linear")
    assert plots.lines([0, 1, 10], {"a": [1, 2, 3]}, ax, xlabel="step", ylabel="loss", log=True).get_xscale() == "log"


def test_up_is_blue_and_down_is_orange(ax):
    plots.waterfall([0.5, -0.5, 2, -2], "abcd", ax, ylabel="logit")
    blue, orange = (mpl.colors.to_rgba(colour) for colour in ["#0072B2", "#D55E00"])
    assert [bar.get_facecolor() for bar in ax.patches][:4] == [blue, orange, blue, orange]


def test_words_of_nine_letters_are_not_cut(ax):
    plots.heatmap([[0.0, 1.0]], ax, xlabel="", ylabel="", label="", words=[["ninechars", "ten__chars"]])
    assert [each.get_text() for each in ax.texts] == ["ninechars", "ten__cha…"]


def test_an_interval_holds_its_value_and_may_end_at_it(ax):
    plots.layer_intervals({"a": [[1.0, 1, 3], [2, 1, 2]]}, ax, ylabel="slope")
    for wrong in [[[0.5, 1.0, 3]], [[4.0, 1, 3]], [[1.0, 0]], [[1.0, 0, 2, 3]]]:
        with pytest.raises(ArgumentError, match=r"value, low, high, in order|must be"):
            plots.layer_intervals({"a": wrong}, ax, ylabel="slope")


@pytest.mark.parametrize(
    "links",
    [
        [[0, 3, 1.0, 2], [1, 2, 2.0, 3]],  # joins what the same row makes
        [[0, 1, 1.0, 2], [0, 2, 2.0, 3]],  # joins 0 twice
        [[0, 1, -1.0, 2], [2, 3, 2.0, 3]],  # nearer than nothing
    ],
)
def test_a_tree_that_is_none_is_refused(ax, links):
    with pytest.raises(ArgumentError, match="links must be what"):
        plots.dendrogram(np.array(links), list("abc"), ["broad"] * 3, [], ax)


def test_gaps_stay_gaps(ax):
    gap = [1.0, np.nan, 3.0]
    plots.lines([0, 1, 2], {"a": gap}, ax, xlabel="", ylabel="")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), gap)
    ax.clear()
    plots.token_bars(gap, "abc", ax, ylabel="")
    np.testing.assert_array_equal([bar.get_height() for bar in ax.patches], gap)


def test_nothing_is_marked_by_a_line(ax):
    for draw in [
        lambda: plots.layer_bars({"a": [1.0, 2]}, ax, ylabel=""),
        lambda: plots.layer_intervals({"a": [[2.0, 1, 3]]}, ax, ylabel=""),
        lambda: plots.waterfall([2.0, 1], "ab", ax, ylabel=""),
    ]:
        ax.clear()
        draw()
        assert [0, 0] in [list(line.get_ydata()) for line in ax.lines]


def test_a_histogram_needs_bins_and_numbers_that_differ(ax):
    with pytest.raises(ArgumentError, match="bins is 0"):
        plots.normal_histogram([1.0, 2], ax, xlabel="", bins=0)
    with pytest.raises(ArgumentError, match="all alike"):
        plots.normal_histogram([2.0, 2], ax, xlabel="")
    plots.normal_histogram([1.0, 3], ax, xlabel="", bins=1)  # their standard deviation is 1


def test_no_number_stands_outside_the_whiskers(ax):
    plots.layer_distributions([range(200)], ax, ylabel="")
    ends = [line.get_ydata() for line in ax.lines]
    assert min(each.min() for each in ends if len(each)) == 0
    assert max(each.max() for each in ends if len(each)) == 199
    assert [len(line.get_ydata()) for line in ax.lines if line.get_linestyle() == "None"] == [0]


def test_two_heads_cannot_join_what_they_make(ax):
    for links in ([[0, 2, 1.0, 2]], [[2, 1, 1.0, 2]]):
        with pytest.raises(ArgumentError, match="links must be what"):
            plots.dendrogram(np.array(links), list("ab"), ["broad"] * 2, [], ax)
