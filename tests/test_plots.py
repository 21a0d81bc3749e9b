import matplotlib as mpl
import numpy as np
import pytest
import torch

from interp_helpers import plots

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
