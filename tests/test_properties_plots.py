"""Properties of figures, views, claims and live training: what was drawn, or an error that names the argument."""

import contextlib
import io
import json
import re
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from matplotlib.figure import Figure
from properties import cases, faults, refused, seeded, sizes

import interp_helpers as ih
from interp_helpers import plots
from interp_helpers.models import STORYBOOK
from interp_helpers.views import attention_view

FIGURE = Figure()
AX = FIGURE.subplots()
KINDS = [torch.as_tensor, np.asarray, lambda values: values.tolist()]  # all three are taken, and none changes a number


def blank():
    """The same axes without what was drawn before. Axes that are new or cleared cost more than all that is drawn."""
    for extra in FIGURE.axes[1:]:
        extra.remove()
    for artist in [*AX.lines, *AX.patches, *AX.collections, *AX.images, *AX.texts, AX.get_legend()]:
        if artist is not None:
            artist.remove()
    AX.containers.clear()
    return AX


def numbers(generator, *shape, kind=np.asarray):
    return kind(torch.randn(*shape, generator=generator, dtype=torch.double).numpy())


def words(count, letter="w"):
    return [f"{letter}{each}" for each in range(count)]


def written(labels):
    return [each.get_text() for each in labels]


# What can be wrong with numbers that are to be drawn.
NO_NUMBERS = {
    "NaN only": lambda values: values * np.nan,
    "infinity": lambda values: np.where(np.arange(values.size).reshape(values.shape) == 0, np.inf, values),
    "empty": lambda values: values[:0],
    "strings": lambda values: values.astype(str),
    "a string": lambda values: "a string",
    "nothing": lambda values: None,
    "complex": lambda values: values + 1j,
    "other device": lambda values: torch.as_tensor(values).to("meta"),
    "rows of different lengths": lambda values: [[1.0], [1.0, 2.0]],
}
NO_AXES = {
    "one axis more": lambda values: values[None],
    "one axis fewer": lambda values: values[0],
}
NO_GAPS = {"NaN": lambda values: np.where(np.arange(values.size).reshape(values.shape) == 0, np.nan, values)}
NO_AX = {"ax: nothing": None, "ax: a string": "ax", "ax: the figure": FIGURE}
NO_LABELS = {
    "too few": lambda labels: labels[1:],
    "too many": lambda labels: [*labels, "w"],
    "a number": lambda labels: 3,
}


def wrong_numbers(function, fault, given, spoilt, name, naming=None):
    """Whether the function refuses what `fault` makes of its arguments. spoilt: fault -> what it makes of one."""
    if fault in NO_AX:
        return refused(function, **{**given, "ax": NO_AX[fault]}, naming="ax")
    return refused(function, **{**given, name: spoilt[fault](given[name])}, naming=naming or name)


def labelled(*names):
    return [f"{name}: {kind}" for name in names for kind in NO_LABELS]


def wrong_labels(function, fault, given, naming=None):
    name, kind = fault.split(": ")
    return refused(function, **{**given, name: NO_LABELS[kind](given[name])}, naming=naming or name)


@cases(
    rows=sizes(1, 4), columns=sizes(2, 4), seed=seeded(), kind=st.sampled_from(KINDS), gaps=st.booleans(),
    low=sizes(-3, -1),
    fault=faults(*NO_NUMBERS, *NO_AXES, *NO_AX, *labelled("xticks", "yticks"), "words: too few", "words: numbers"),
)  # fmt: skip
def test_heatmap(rows, columns, seed, kind, gaps, low, fault):
    values = numbers(seed, rows, columns)
    if gaps:
        values[0, 0] = np.nan
    said = [[f"{'long' * (column == 0)}word{row}.{column}" for column in range(columns)] for row in range(rows)]
    given = {
        "values": values, "ax": AX, "xlabel": "x", "ylabel": "y", "label": "bar", "xticks": words(columns),
        "yticks": words(rows), "limits": (low, 3), "words": said,
    }  # fmt: skip
    if fault in ("words: too few", "words: numbers"):
        bad = said[0][1:] if fault == "words: too few" else [[1] * columns] * rows
        assert refused(plots.heatmap, **{**given, "words": bad}, naming="words")
    elif fault and fault.startswith(("xticks", "yticks")):
        assert wrong_labels(plots.heatmap, fault, given)
    elif fault:
        assert wrong_numbers(plots.heatmap, fault, given, {**NO_NUMBERS, **NO_AXES}, "values")
    else:
        ax = plots.heatmap(**{**given, "values": kind(values), "ax": blank()})
        drawn = ax.images[0].get_array()
        np.testing.assert_array_equal(drawn.filled(np.nan), values)
        assert ax.images[0].get_clim() == (low, 3)
        assert (written(ax.get_xticklabels()), written(ax.get_yticklabels())) == (words(columns), words(rows))
        assert (ax.get_xlabel(), ax.get_ylabel(), FIGURE.axes[1].get_ylabel()) == ("x", "y", "bar")
        for each in ax.texts:
            column, row = each.get_position()
            assert each.get_text() == (said[row][column][:8] + "…" if column == 0 else said[row][column])


@cases(
    prompt=sizes(1, 4), steps=sizes(1, 4), seed=seeded(), kind=st.sampled_from(KINDS),
    fault=faults(*NO_NUMBERS, *NO_AXES, *NO_GAPS, *NO_AX, *labelled("tokens"), "more steps than keys"),
)  # fmt: skip
def test_generation_map(prompt, steps, seed, kind, fault):
    keys = prompt + steps - 1
    rows = torch.rand(steps, keys, generator=seed, dtype=torch.double).numpy()
    given = {"rows": rows, "tokens": words(keys + 1), "ax": AX}
    if fault == "more steps than keys":
        assert refused(plots.generation_map, np.ones((keys + 1, keys)), given["tokens"], AX, naming="rows")
    elif fault and fault.startswith("tokens"):
        assert wrong_labels(plots.generation_map, fault, given)
    elif fault:
        assert wrong_numbers(plots.generation_map, fault, given, {**NO_NUMBERS, **NO_AXES, **NO_GAPS}, "rows")
    else:
        drawn = plots.generation_map(kind(rows), words(keys + 1), blank()).images[0]
        for step in range(steps):
            for key in range(keys):
                there = key < prompt + step
                assert bool(np.ma.getmaskarray(drawn.get_array())[step, key]) == (not there)
                assert not there or drawn.get_array()[step, key] == rows[step, key]
        assert keys == 1 or drawn.get_clim() == (0, rows[:, 1:].max())
        assert written(AX.get_yticklabels()) == words(keys + 1)[prompt:]


@cases(
    count=sizes(1, 5), seed=seeded(), kind=st.sampled_from(KINDS),
    fault=faults(*NO_NUMBERS, *NO_AXES, *NO_AX, *labelled("tokens")),
)  # fmt: skip
def test_token_bars(count, seed, kind, fault):
    values = numbers(seed, count)
    given = {"values": values, "tokens": words(count), "ax": AX, "ylabel": "y"}
    if fault and fault.startswith("tokens"):
        assert wrong_labels(plots.token_bars, fault, given)
    elif fault:
        assert wrong_numbers(plots.token_bars, fault, given, {**NO_NUMBERS, **NO_AXES}, "values")
    else:
        ax = plots.token_bars(**{**given, "values": kind(values), "ax": blank()})
        assert [bar.get_height() for bar in ax.patches] == values.tolist()
        assert [bar.get_x() + bar.get_width() / 2 for bar in ax.patches] == pytest.approx(list(range(count)))
        assert written(ax.get_xticklabels()) == words(count)


NO_DICT = {"a list": [[1.0, 2.0]], "no entry": {}, "nothing": None, "a string": "values", "an array": np.ones((2, 2))}


def wrong_dict(function, fault, given, name, spoilt):
    """Whether the function refuses another thing in the place of its dict, or a dict with one entry spoilt."""
    if fault in NO_AX:
        return refused(function, **{**given, "ax": NO_AX[fault]}, naming="ax")
    if fault.startswith("no dict: "):
        bad = NO_DICT[fault.removeprefix("no dict: ")]
    elif fault == "other lengths":
        bad = {**given[name], "one more": np.concatenate([given[name]["w0"]] * 2)}
    else:
        bad = {**given[name], "w0": spoilt[fault](given[name]["w0"])}
    return refused(function, **{**given, name: bad}, naming=name)


DICT_FAULTS = [*NO_NUMBERS, *NO_AXES, *NO_AX, *(f"no dict: {each}" for each in NO_DICT), "other lengths"]


@cases(layers=sizes(1, 4), count=sizes(1, 3), seed=seeded(), kind=st.sampled_from(KINDS), fault=faults(*DICT_FAULTS))
def test_layer_bars(layers, count, seed, kind, fault):
    values = {name: numbers(seed, layers) for name in words(count)}
    given = {"values": values, "ax": AX, "ylabel": "y"}
    if fault:
        assert wrong_dict(plots.layer_bars, fault, given, "values", {**NO_NUMBERS, **NO_AXES})
        return
    ax = plots.layer_bars({name: kind(each) for name, each in values.items()}, blank(), ylabel="y")
    bars = sorted((bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in ax.patches)
    assert [height for _, height in bars] == [each[layer] for layer in range(layers) for each in values.values()]
    assert [round(at) for at, _ in bars] == [layer for layer in range(layers) for _ in values]
    assert written(ax.get_legend().get_texts()) == words(count)


@cases(
    layers=sizes(1, 4), count=sizes(1, 3), seed=seeded(), kind=st.sampled_from(KINDS),
    fault=faults(*DICT_FAULTS, "out of order", "two columns"),
)  # fmt: skip
def test_layer_intervals(layers, count, seed, kind, fault):
    estimates = {name: numbers(seed, layers, 3) for name in words(count)}
    for each in estimates.values():
        each.sort(1)
        each[:] = each[:, [1, 0, 2]]  # value, low, high
    given = {"estimates": estimates, "ax": AX, "ylabel": "y"}
    if fault:
        own = {"out of order": lambda each: each[:, ::-1], "two columns": lambda each: each[:, :2]}
        assert wrong_dict(plots.layer_intervals, fault, given, "estimates", {**NO_NUMBERS, **NO_AXES, **own})
        return
    ax = plots.layer_intervals({name: kind(each) for name, each in estimates.items()}, blank(), ylabel="y")
    for each, (points, _, (bars,)) in zip(estimates.values(), ax.containers):
        np.testing.assert_array_equal(points.get_ydata(), each[:, 0])
        np.testing.assert_array_equal(points.get_xdata().round(), np.arange(layers))
        np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], each[:, 1:])
    assert written(ax.get_legend().get_texts()) == words(count)


@cases(
    count=sizes(1, 5), seed=seeded(), kind=st.sampled_from(KINDS),
    fault=faults(*NO_NUMBERS, *NO_AXES, *NO_GAPS, *NO_AX, *labelled("names")),
)  # fmt: skip
def test_waterfall(count, seed, kind, fault):
    values = numbers(seed, count)
    given = {"values": values, "names": words(count), "ax": AX, "ylabel": "y"}
    if fault and fault.startswith("names"):
        assert wrong_labels(plots.waterfall, fault, given)
    elif fault:
        assert wrong_numbers(plots.waterfall, fault, given, {**NO_NUMBERS, **NO_AXES, **NO_GAPS}, "values")
    else:
        *parts, total = plots.waterfall(**{**given, "values": kind(values), "ax": blank()}).patches
        assert [bar.get_height() for bar in parts] == values.tolist()
        at = 0
        for bar in parts:
            assert bar.get_y() == pytest.approx(at)
            at += bar.get_height()
        assert (total.get_y(), total.get_height()) == (0, pytest.approx(sum(values)))
        assert written(AX.get_xticklabels()) == [*words(count), "total"]


@cases(
    layers=sizes(1, 4), count=sizes(1, 5), classes=sizes(1, 8), seed=seeded(),
    fault=faults(*NO_AX, "kinds: nothing", "kinds: numbers", "kinds: a word", "kinds: one axis", "kinds: unknown",
                 "kinds: empty",
                 "order: nothing", "order: a number", "order: too long", "order: empty"),
)  # fmt: skip
def test_class_map(layers, count, classes, seed, fault):
    order = words(classes, "class_")
    codes = torch.randint(classes, (layers, count), generator=seed).numpy()
    kinds = np.array(order)[codes]
    bad = {
        "kinds: nothing": None, "kinds: numbers": codes, "kinds: a word": "class_0", "kinds: one axis": kinds[0],
        "kinds: unknown": np.where(codes == codes[0, 0], "other", kinds), "kinds: empty": kinds[:0],
        "order: nothing": None,
        "order: a number": 3, "order: too long": words(9, "class_"), "order: empty": [],
    }  # fmt: skip
    if fault in NO_AX:
        assert refused(plots.class_map, kinds, order, NO_AX[fault], naming="ax")
    elif fault:
        given = {"kinds": kinds, "order": order, fault.split(": ")[0]: bad[fault]}
        assert refused(plots.class_map, **given, ax=AX, naming=["kinds", "order"])
    else:
        ax = plots.class_map(kinds if layers % 2 else kinds.tolist(), order, blank())
        np.testing.assert_array_equal(ax.images[0].get_array(), codes)
        colours = ax.images[0].to_rgba(np.arange(classes))
        for patch, colour in zip(ax.get_legend().get_patches(), colours):
            assert patch.get_facecolor() == pytest.approx(tuple(colour), abs=1e-2)
        assert written(ax.get_legend().get_texts()) == [each.replace("_", " ") for each in order]


@cases(
    shape=st.lists(sizes(2, 5), min_size=1, max_size=3), seed=seeded(), scale=sizes(1, 9), bins=sizes(1, 9),
    kind=st.sampled_from(KINDS),
    fault=faults(*NO_NUMBERS, *NO_GAPS, *NO_AX, "all alike", "bins: 0", "bins: half", "bins: a word"),
)  # fmt: skip
def test_normal_histogram(shape, seed, scale, bins, kind, fault):
    values = numbers(seed, *shape) * scale
    given = {"values": values, "ax": AX, "xlabel": "x", "bins": bins}
    if fault and fault.startswith("bins"):
        bad = {"bins: 0": 0, "bins: half": 0.5, "bins: a word": "auto"}[fault]
        assert refused(plots.normal_histogram, **{**given, "bins": bad}, naming="bins")
    elif fault:
        own = {"all alike": lambda values: values * 0 + 3}
        assert wrong_numbers(plots.normal_histogram, fault, given, {**NO_NUMBERS, **NO_GAPS, **own}, "values")
    else:
        ax = plots.normal_histogram(**{**given, "values": kind(values), "ax": blank()})
        bars = ax.patches
        assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1)
        for bar in bars[:-1]:
            inside = (values >= bar.get_x()) & (values < bar.get_x() + bar.get_width())
            assert bar.get_height() * bar.get_width() * values.size == pytest.approx(inside.sum(), abs=1.01)
        x, density = ax.lines[0].get_data()
        wanted = torch.distributions.Normal(values.mean(), values.std()).log_prob(torch.as_tensor(x)).exp()
        np.testing.assert_allclose(density, wanted, rtol=1e-6)


@cases(
    layers=sizes(1, 2), count=sizes(2, 6), seed=seeded(), kind=st.sampled_from(KINDS),
    fault=faults(*NO_NUMBERS, *NO_AXES, *NO_GAPS, *NO_AX),
)  # fmt: skip
def test_layer_distributions(layers, count, seed, kind, fault):
    rows = numbers(seed, layers, count)
    given = {"rows": rows, "ax": AX, "ylabel": "y"}
    if fault:
        spoilt = {**NO_NUMBERS, **NO_AXES, **NO_GAPS}
        if fault == "rows of different lengths":
            spoilt = {fault: lambda rows: [[1.0, 2.0], [1.0]]}
        assert wrong_numbers(plots.layer_distributions, fault, given, spoilt, "rows")
        return
    ax = plots.layer_distributions(**{**given, "rows": kind(rows), "ax": blank()})
    medians = [line.get_ydata()[0] for line in ax.lines if line.get_color() == plots.KIND_COLOURS[0]]
    assert medians == pytest.approx(np.median(rows, 1).tolist())
    assert max(max(line.get_ydata(), default=-np.inf) for line in ax.lines) == rows.max()
    assert min(min(line.get_ydata(), default=np.inf) for line in ax.lines) == rows.min()
    assert len(ax.collections) == layers


@cases(
    count=sizes(2, 6), seed=seeded(),
    fault=faults(*NO_NUMBERS, *NO_AXES, *NO_GAPS, *NO_AX, "three columns", "no tree", *labelled("names", "kinds"),
                 "kinds: unknown",
                 "order: nothing"),
)  # fmt: skip
def test_dendrogram(count, seed, fault):
    from scipy.cluster.hierarchy import linkage

    order = ["induction", "focused"]
    links = linkage(numbers(seed, count, 3), "average")
    kinds = [[*order, "broad"][each] for each in torch.randint(3, (count,), generator=seed)]
    given = {"links": links, "names": words(count), "kinds": kinds, "order": order, "ax": AX}
    own = {"three columns": lambda links: links[:, :3], "no tree": lambda links: links + 99}
    if fault in ("kinds: unknown", "order: nothing"):
        name = fault.split(":")[0]
        bad = {"kinds": [*kinds[1:], "other"], "order": None}[name]
        if name == "order" and set(kinds) == {"broad"}:
            kinds[0] = "focused"
        assert refused(plots.dendrogram, **{**given, name: bad}, naming=["kinds", "order"])
    elif fault and ": " in fault and fault not in NO_AX:
        assert wrong_labels(plots.dendrogram, fault, given)
    elif fault:
        assert wrong_numbers(plots.dendrogram, fault, given, {**NO_NUMBERS, **NO_AXES, **NO_GAPS, **own}, "links")
    else:
        ax = plots.dendrogram(**{**given, "ax": blank()})
        colours = {each.get_text(): each.get_color() for each in ax.get_xticklabels()}
        wanted = {"induction": plots.KIND_COLOURS[0], "focused": plots.KIND_COLOURS[1], "broad": "black"}
        assert colours == {name: wanted[kind] for name, kind in zip(words(count), kinds)}
        joints = sorted(path.vertices[:, 1].max() for each in ax.collections for path in each.get_paths())
        assert joints == pytest.approx(sorted(links[:, 2]))


@cases(
    points=sizes(1, 5), count=sizes(1, 3), seed=seeded(), kind=st.sampled_from(KINDS), log=st.booleans(),
    fault=faults(*DICT_FAULTS, *(f"x: {each}" for each in [*NO_NUMBERS, *NO_AXES, *NO_GAPS]), "x: longer"),
)  # fmt: skip
def test_lines(points, count, seed, kind, log, fault):
    x, values = np.arange(1.0, points + 1), {name: numbers(seed, points) for name in words(count)}
    given = {"x": x, "values": values, "ax": AX, "xlabel": "x", "ylabel": "y", "log": log}
    if fault and fault.startswith("x: "):
        spoilt = {**NO_NUMBERS, **NO_AXES, **NO_GAPS, "longer": lambda x: np.arange(points + 1)}
        assert wrong_numbers(plots.lines, fault[3:], given, spoilt, "x")
    elif fault:
        assert wrong_dict(plots.lines, fault, given, "values", {**NO_NUMBERS, **NO_AXES})
    else:
        AX.plot([0, 1], [0, 1], label="what stood there")
        ax = plots.lines(**{**given, "x": kind(x), "values": {name: kind(each) for name, each in values.items()}})
        assert len(ax.lines) == count
        for line, each in zip(ax.lines, values.values()):
            np.testing.assert_array_equal(line.get_xydata(), np.stack([x, each], 1))
        assert written(ax.get_legend().get_texts()) == words(count)
        assert ax.get_xscale() == ("log" if log else "linear")


# Views.
def causal(generator, heads, positions):
    scores = torch.randn(heads, positions, positions, generator=generator)
    return scores.masked_fill(torch.ones(positions, positions).triu(1).bool(), -torch.inf).softmax(-1)


NO_PATTERN = {
    "no axis of heads": lambda pattern: pattern[0], "one axis more": lambda pattern: pattern[None],
    "empty": lambda pattern: pattern[:0], "not square": lambda pattern: pattern[:, :, :-1],
    "NaN": lambda pattern: pattern * torch.nan,
    "scores": lambda pattern: pattern.log(), "rows of 2": lambda pattern: 2 * pattern,
    "below 0": lambda pattern: -pattern,
    "a string": lambda pattern: "a", "nothing": lambda pattern: None, "complex": lambda pattern: pattern + 0j,
    "other device": lambda pattern: pattern.to("meta"),
}  # fmt: skip
NO_DIGITS = {"digits: 0": 0, "digits: 7": 7, "digits: half": 2.0, "digits: a word": "3", "digits: nothing": None}
NO_TOKENS = {"tokens: ids": [1], "tokens: nothing": None, "tokens: a number": 3, "tokens: too few": []}


@cases(
    heads=sizes(1, 3), tokens=st.lists(st.text(max_size=5), min_size=1, max_size=4), digits=sizes(1, 6), seed=seeded(),
    kind=st.sampled_from(KINDS), fault=faults(*NO_PATTERN, *NO_DIGITS, *NO_TOKENS),
)  # fmt: skip
def test_attention_view(heads, tokens, digits, seed, kind, fault):
    pattern = causal(seed, heads, len(tokens))
    if fault in NO_PATTERN:
        bad = NO_PATTERN[fault](pattern)
        assert refused(attention_view, tokens, bad, digits=digits, naming=["pattern", "tokens"])
    elif fault in NO_DIGITS:
        assert refused(attention_view, tokens, pattern, digits=NO_DIGITS[fault], naming="digits")
    elif fault:
        assert refused(attention_view, NO_TOKENS[fault], pattern, digits=digits, naming="tokens")
    else:
        html = attention_view(tokens, kind(pattern), digits=digits).data
        data = json.loads(re.search(r'\}\)\("[^"]+", (\{.*\})\)</script>$', html)[1])
        assert data["tokens"] == tokens
        assert data["maskUpperTri"] is True
        for head in range(heads):
            for query in range(len(tokens)):
                row = data["weights"][head][query]
                shown = np.array(row + [0] * (len(tokens) - len(row))) / data["scale"]
                np.testing.assert_allclose(shown, pattern[head, query], atol=0.5001 * 10**-digits)
        assert html.count("<script") == html.count("</script") == 1


# Claims.
line = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=9).filter(str.strip)
NO_CLAIM = {
    "name: nothing": None, "name: empty": " ", "name: a number": 3, "name: taken": "00.taken",
    "sentence: nothing": None,
    "sentence: empty": "", "sentence: a list": ["a"], "value: NaN": torch.nan, "value: infinity": -torch.inf,
    "value: nothing": None, "value: a word": "3", "value: two numbers": torch.ones(2), "value: complex": 1j,
    "value: other device": torch.ones(()).to("meta"), "holds: nothing": None, "holds: NaN": torch.nan,
    "holds: a word": "False",
    "holds: several": torch.ones(2) > 0, "holds: a number": 0.3, "learned: nothing": None, "learned: a word": "yes",
}  # fmt: skip


@cases(
    model=st.sampled_from(["storybook", "gpt2"]), untrained=st.booleans(), name=line, sentence=line,
    value=st.floats(-1e9, 1e9), holds=st.booleans(), learned=st.booleans(),
    kind=st.sampled_from([lambda each: each, np.asarray, torch.tensor]),
    fault=faults(*NO_CLAIM, "model: nothing", "model: a model"),
)  # fmt: skip
def test_claims(model, untrained, name, sentence, value, holds, learned, kind, fault):
    if fault and fault.startswith("model"):
        assert refused(ih.Claims, None if fault == "model: nothing" else torch.nn.Linear(1, 1), naming="model")
        return
    claim = ih.Claims(model, untrained=untrained)
    with contextlib.redirect_stdout(io.StringIO()) as said, pytest.MonkeyPatch.context() as patch:
        patch.delenv("INTERP_CLAIMS", raising=False)
        claim("00.taken", "This one stands", 1, True, learned=False)
        given = {"name": name, "sentence": sentence, "value": kind(value), "holds": kind(holds), "learned": learned}
        if fault:
            wrong = fault.split(": ")[0]
            assert refused(
                claim, **{**given, wrong: NO_CLAIM[fault]}, naming=wrong if wrong != "name" else ["name", "'00.taken'"]
            )
            assert len(claim.made) == 1
            return
        if not holds and model == "storybook" and not untrained:
            with pytest.raises(ih.ClaimError, match="does not hold on storybook"):
                claim(**given)
        else:
            claim(**given)
    mark = "✓" if holds else "✗"
    assert said.getvalue().split("\n")[1].startswith(f"{mark} {name}  {sentence}  [")
    found = claim.table().loc[name]
    wanted = [sentence, pytest.approx(float(kind(value)), abs=1e-3), mark, "yes" if learned else "no"]
    assert found[["sentence", "value", "holds", "needs training"]].tolist() == wanted


@cache
def log():
    return json.loads((STORYBOOK / "training_log.json").read_bytes()), ih.training_log()


@cases(
    measurement=sizes(0, 69), layer=sizes(0, 5), head=sizes(0, 7), name=st.sampled_from(["induction", "previous_token"])
)
def test_training_log(measurement, layer, head, name):
    raw, (measures, scores) = log()
    assert scores[name][measurement, layer, head] == raw[measurement]["scores"][name][layer][head]
    row = measures.iloc[measurement]
    assert row["tokens"] == raw[measurement]["tokens"]
    assert row["repeat_gain"] == -raw[measurement]["repeat_gain"]
    assert (np.diff(measures["step"]) > 0).all()
