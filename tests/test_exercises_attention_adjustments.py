"""What the checkers of notebook 04 say to right answers, to known mistakes, and to blanks."""

import numpy as np
import pytest
import torch

import interp_helpers as ih
from interp_helpers import adjustments, exercises


def says(capsys, exercise, answer, **context):
    exercises.check(exercise, answer, **context)
    return capsys.readouterr().out


def passes(capsys, exercise, answer, **context):
    printed = says(capsys, exercise, answer, **context)
    assert printed.startswith(f"✓ {exercise} passed: "), printed
    return printed


def names(capsys, exercise, answer, message, **context):
    printed = says(capsys, exercise, answer, **context)
    assert printed.startswith(f"✗ {exercise} not yet: "), printed
    assert message in printed, printed


@pytest.fixture(scope="module")
def measured(storybook):
    """What the notebook hands to its checks, from fewer sentences."""
    model, tokenizer = storybook
    sentences = ih.load_sentences().head(24)["text"]
    batches = ih.token_batches(tokenizer, sentences, context=512, size=24)
    norms, mask = adjustments.attention_output_norms(model, batches)
    logs = norms.log()
    rows = adjustments.position_rows(logs, mask, last=30)
    return {"logs": logs, "mask": mask, "ids": batches[0].tokens, "rows": rows, "fit": adjustments.regress(rows)}


def some(measured, *wanted):
    return {name: measured[name] for name in wanted}


def docstring_only(*given):
    """Not written yet."""


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        *((name, docstring_only) for name in ["4a", "4b", "4c", "4e", "4g"]),
        ("4d", {"ordinary": None, "clustered": None, "renamed": None}),
        ("4f", {"steep": None, "level": None}),
    ],
)
def test_a_blank_is_not_attempted(exercise, answer, capsys):
    context = {"4d": ["once", "twice", "renamed", "layer"], "4f": ["model", "tokenizer", "layer", "slope"]}
    context["4g"] = ["logs", "mask", "ids"]
    shape = torch.zeros(2, 3, 9), torch.ones(3, 9).bool(), torch.zeros(3, 9).long()
    given = dict(zip(context.get(exercise, []), [*shape, 0]))
    assert says(capsys, exercise, answer, **given) == f"○ {exercise} not attempted\n"


# 4a


def here(values, lengths):
    return torch.arange(values.shape[-1]) < lengths[:, None]


def test_4a_takes_right_answers(capsys):
    def by_loop(values, lengths):
        return np.concatenate([values[:, row, : int(n)].numpy() for row, n in enumerate(lengths)], 1)

    passes(capsys, "4a", lambda values, lengths: values[:, here(values, lengths)])
    passes(capsys, "4a", by_loop)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda values, lengths: values[:, here(values, lengths).long()], "mask holds integers"),
        (lambda values, lengths: values, "padding is still there. Keep"),
        (lambda values, lengths: values.flatten(1), "now in one row"),
        (lambda values, lengths: values * here(values, lengths), "set padding to 0"),
        (lambda values, lengths: (values * here(values, lengths)).flatten(1), "became 0 and stayed"),
        (lambda values, lengths: values[:, here(values, lengths + 1)], "brings a cell of padding"),
        (lambda values, lengths: values[:, here(values, lengths - 1)], "lacks its last token"),
        (
            lambda values, lengths: values[:, here(values, lengths) & (torch.arange(values.shape[-1]) > 0)],
            "first token",
        ),
        (lambda values, lengths: values[:, ~here(values, lengths)], "upside down"),
        (lambda values, lengths: values[:, here(values, lengths).flip(1)], "the last cells of every row"),
        (lambda values, lengths: values.mT[:, here(values, lengths).T], "position by position"),
        (lambda values, lengths: values[here(values, lengths)], "raised IndexError"),
        (lambda values, lengths: values[values != 0].view(len(values), -1), "a token's value may be 0"),
        (lambda values, lengths: [values[:, i, :n] for i, n in enumerate(lengths)], "should be a number or a tensor"),
    ],
)
def test_4a_names_the_mistake(answer, message, capsys):
    names(capsys, "4a", answer, message)


# 4b


def changes(values, mask):
    both = mask[:, 1:] & mask[:, :-1]
    return torch.where(both, values.diff(dim=-1), 0).sum(1) / both.sum(0)


def test_4b_takes_right_answers(measured, capsys):
    def by_nanmean(values, mask):
        return values.masked_fill(~mask, torch.nan).diff(dim=-1).nanmean(1)

    printed = passes(capsys, "4b", changes, **some(measured, "logs", "mask"))
    assert "the means move by" in printed
    assert passes(capsys, "4b", by_nanmean).endswith("compared with itself.\n")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda values, mask: (torch.where(mask, values, 0).sum(1) / mask.sum(0)).diff(dim=-1), "subtracted means"),
        (
            lambda values, mask: torch.where(mask[:, :-1], values.diff(dim=-1), 0).sum(1) / mask[:, :-1].sum(0),
            "both ends of a step",
        ),
        (lambda values, mask: values.diff(dim=-1).mean(1), "counted padding"),
        (
            lambda values, mask: torch.where(mask[:, 1:], values.diff(dim=-1), 0).sum(1) / len(mask),
            "by the number of sentences",
        ),
        (lambda values, mask: -changes(values, mask), "wrong way round"),
        (lambda values, mask: changes(values, mask).mean(0), "for all layers"),
        (lambda values, mask: changes(values, mask).nan_to_num(0), "A mean of nothing"),
        (lambda values, mask: (values.diff(dim=-1) * mask[:, 1:]).sum(1) / mask[:, 1:].sum(0), "NaN times 0"),
        (lambda values, mask: changes(values, mask)[:, :-1], "has shape (2, 5); yours has (2, 4)"),
    ],
)
def test_4b_names_the_mistake(answer, message, capsys):
    names(capsys, "4b", answer, message)


def test_4b_says_nothing_of_sentences_that_are_too_few_or_too_short(measured, capsys):
    logs, mask = measured["logs"], measured["mask"]
    for few in ({"logs": logs[:, :3], "mask": mask[:3]}, {"logs": logs[..., :2], "mask": mask[:, :2]}):
        assert passes(capsys, "4b", changes, **few).endswith("compared with itself.\n")


# 4c


def slope(x, y):
    return ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()


def group_means(values, group):
    return torch.stack([values[group == each].mean() for each in group])


def centred(values, group):
    return values - group_means(values, group)


def within(x, y, group):
    x, y = centred(x, group), centred(y, group)
    return (x * y).sum() / x.square().sum()


def test_4c_takes_right_answers(measured, capsys):
    def by_dummies(x, y, group):
        columns = (group[:, None] == group.unique()).double()
        return torch.linalg.lstsq(torch.cat([x[:, None], columns], 1), y[:, None]).solution[0, 0]

    def x_alone(x, y, group):  # Frisch and Waugh: y may keep its means
        return (centred(x, group) * y).sum() / centred(x, group).square().sum()

    printed = passes(capsys, "4c", by_dummies, **some(measured, "rows"), layer=1)
    assert "the slope of layer 1 is -" in printed
    passes(capsys, "4c", within)
    passes(capsys, "4c", x_alone)
    passes(capsys, "4c", lambda *given: within(*given).item())


def own_slopes(x, y, group):
    parts = [group == each for each in group.unique()]
    return torch.stack([slope(x[part], y[part]) for part in parts if part.sum() > 1]).mean()


def sums_out(values, group):
    return values - torch.stack([values[group == each].sum() for each in group])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, y, group: slope(x, y), "slope over all rows"),
        (lambda x, y, group: slope(x, centred(y, group)), "Groups differ in x too"),
        (lambda x, y, group: (x * centred(y, group)).sum() / x.square().sum(), "centred x not at all"),
        (
            lambda x, y, group: slope(*(torch.stack([v[group == g].mean() for g in group.unique()]) for v in (x, y))),
            "slope of the groups' means: what",
        ),
        (lambda x, y, group: slope(group_means(x, group), group_means(y, group)), "as often as it has rows"),
        (own_slopes, "groups' own slopes"),
        (lambda x, y, group: slope(sums_out(x, group), sums_out(y, group)), "sums of groups"),
        (lambda x, y, group: within(y, x, group), "slope of x on y"),
        (lambda x, y, group: torch.zeros(3).double().index_add(0, group, x), "raised IndexError"),
    ],
)
def test_4c_names_the_mistake(answer, message, capsys):
    names(capsys, "4c", answer, message)


# 4d


@pytest.fixture(scope="module")
def doubled(measured):
    rows = measured["rows"]
    again = torch.arange(len(rows.sentence)).repeat(2)
    twice = adjustments.Rows(rows.y[:, again], rows.X[:, again], rows.sentence[again], rows.position[again], rows.names)
    renamed = twice._replace(sentence=torch.cat([rows.sentence, rows.sentence + 24]))
    tables = [adjustments.regress(each).table for each in (rows, twice, renamed)]
    return {**dict(zip(["once", "twice", "renamed"], tables)), "layer": 1}


RIGHT = {"ordinary": "narrower", "clustered": "same", "renamed": "narrower"}


def test_4d_takes_the_prediction_that_came_true(doubled, capsys):
    printed = passes(capsys, "4d", RIGHT, **doubled)
    assert "ordinary 0.70" in printed
    passes(capsys, "4d", {name: each.upper() for name, each in RIGHT.items()}, **doubled)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({**RIGHT, "ordinary": "same"}, "cannot know a copy"),
        ({**RIGHT, "ordinary": "wider"}, "ordinary: the interval came out 0.70"),
        ({**RIGHT, "clustered": "narrower"}, "makes no new sentence"),
        ({**RIGHT, "renamed": "same"}, "believe the sentence numbers"),
        ({**RIGHT, "renamed": None}, "no prediction yet for 'renamed'"),
        ({**RIGHT, "renamed": "smaller"}, "the options are"),
        ("narrower", "is a dict with 'ordinary', 'clustered', 'renamed'"),
    ],
)
def test_4d_names_the_mistake(answer, message, doubled, capsys):
    names(capsys, "4d", answer, message, **doubled)


def test_4d_goes_by_what_was_measured(doubled, capsys):
    """Not by a stored answer: had the copies changed nothing, other predictions would be right."""
    unchanged = {**doubled, "twice": doubled["once"], "renamed": doubled["once"]}
    passes(capsys, "4d", dict.fromkeys(RIGHT, "same"), **unchanged)
    turned = {**doubled, "once": doubled["twice"], "twice": doubled["once"]}
    passes(capsys, "4d", {**RIGHT, "ordinary": "wider"}, **turned)


# 4e


ENDS = torch.tensor([0.025, 0.975], dtype=torch.double)


def drawn_slopes(x, y, sentence, draws, bring=lambda drawn: drawn):
    found = []
    for drawn in draws:
        rows = torch.cat([(sentence == each).nonzero()[:, 0] for each in bring(drawn)])
        found.append(slope(x[rows], y[rows]))
    return torch.stack(found)


def averaged(x, y, sentence, draws):
    own = {int(each): slope(x[sentence == each], y[sentence == each]) for each in sentence.unique()}
    return torch.stack([torch.stack([own[int(i)] for i in drawn if int(i) in own]).mean() for drawn in draws])


def normal(slopes):
    return torch.stack([slopes.mean() - 1.96 * slopes.std(), slopes.mean() + 1.96 * slopes.std()])


def by_sums(x, y, sentence, draws):
    parts = torch.stack([torch.ones_like(x), x, y, x * x, x * y], 1)
    sums = torch.zeros(int(max(sentence.max(), draws.max())) + 1, 5, dtype=x.dtype).index_add(0, sentence, parts)
    n, sx, sy, sxx, sxy = sums[draws].sum(1).unbind(1)
    return ((n * sxy - sx * sy) / (n * sxx - sx * sx)).quantile(ENDS)


def test_4e_takes_right_answers(measured, capsys):
    def by_loop(*given):
        return np.percentile(drawn_slopes(*given).numpy(), [2.5, 97.5])

    printed = passes(capsys, "4e", by_sums, **some(measured, "rows", "fit"), layer=1)
    assert printed == says(capsys, "4e", by_sums, **some(measured, "rows", "fit"), layer=1)  # the draws have a seed
    assert "as the clustered interval" in printed
    assert "the ordinary one" in printed
    passes(capsys, "4e", by_loop)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda x, y, sentence, draws: torch.stack([slope(x[d], y[d]) for d in draws]).quantile(ENDS),
            "as row numbers",
        ),
        (lambda *given: drawn_slopes(*given, bring=torch.unique).quantile(ENDS), "brought its rows once"),
        (lambda *given: averaged(*given).quantile(ENDS), "averaged slopes of single sentences"),
        (lambda *given: drawn_slopes(*given).quantile(torch.tensor([0.05, 0.95]).double()), "nine in ten"),
        (lambda *given: torch.stack(drawn_slopes(*given).aminmax()), "grow with the number of draws"),
        (lambda *given: normal(drawn_slopes(*given)), "1.96 standard deviations"),
        (lambda *given: drawn_slopes(*given).quantile(ENDS.flip(0)), "high comes before low"),
        (drawn_slopes, "slopes of all draws"),
        (lambda *given: drawn_slopes(*given).mean(), "has shape (2,); yours has ()"),
    ],
)
def test_4e_names_the_mistake(answer, message, capsys):
    names(capsys, "4e", answer, message)


# 4f


STORY = (
    "Once upon a time there was a little girl who lived with her grandmother in a house by the sea, and every day she "
    "walked to the town to sell her eggs."
)


@pytest.fixture(scope="module")
def reader(storybook):
    return {"model": storybook[0], "tokenizer": storybook[1], "layer": 1, "slope": -0.022}


@pytest.mark.parametrize("level", ["very " * 35, ". " * 40])
def test_4f_takes_right_answers(level, reader, capsys):
    printed = passes(capsys, "4f", {"steep": STORY, "level": level}, **reader)
    assert "different tokens" in printed


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"steep": "very " * 35, "level": STORY}, "the other way round"),
        ({"steep": STORY, "level": STORY}, "both texts are the same"),
        (
            {"steep": STORY, "level": "the cat and the dog and " * 8},
            "twice is",
        ),
        ({"steep": STORY, "level": "very " * 9}, "'level' has"),
        ({"steep": STORY, "level": "very " * 999}, "'level' cannot be read"),
        ({"steep": STORY, "level": None}, "'level' should be a text"),
        ({"steep": STORY}, "a dict with two texts"),
        (STORY, "a dict with two texts"),
    ],
)
def test_4f_names_the_mistake(answer, message, reader, capsys):
    names(capsys, "4f", answer, message, **reader)


def test_4f_goes_by_the_direction_of_the_sentences(reader, capsys):
    texts = {"steep": STORY, "level": "very " * 35}
    names(capsys, "4f", texts, "goes the other way", **{**reader, "slope": 0.022})


@pytest.mark.parametrize("family", ["gpt-neo", "llama"])
def test_4f_and_4g_read_other_models(family, folders, capsys):
    model, tokenizer = ih.load_model(str(folders[family]), device="cpu")
    texts = {"steep": STORY, "level": "very " * 35}
    assert says(capsys, "4f", texts, model=model, tokenizer=tokenizer, layer=0, slope=-0.01)[0] in "✓✗"
    batches = ih.token_batches(tokenizer, [STORY] * 3 + ["very " * 20] * 3, context=64, size=6)
    norms, mask = adjustments.attention_output_norms(model, batches)
    assert says(capsys, "4g", predictors, logs=norms.log(), mask=mask, ids=batches[0].tokens)[0] in "✓✗"


# 4g


def two_lags(own):
    return {f"t-{lag}": own.roll(lag, -1) for lag in (1, 2)}


def predictors(own, below, ids):
    return two_lags(own) | {f"layer {each}": values for each, values in enumerate(below)}


@pytest.fixture(scope="module")
def project(measured):
    return some(measured, "logs", "mask", "ids")


def test_4g_takes_right_answers(project, capsys):
    def with_words(own, below, ids):
        seen = (ids[:, :, None] == ids[:, None, :]).tril(-1).any(-1)
        before = torch.nn.functional.pad(own[:, :-1].cumsum(1), (1, 0)) / torch.arange(own.shape[1]).clamp(min=1)
        return predictors(own, below, ids) | {"seen": seen, "mean before": before.tolist()}

    assert "of the squared error is gone" in passes(capsys, "4g", predictors, **project)
    passes(capsys, "4g", with_words, **project)


def z_scores(values):
    return (values - values.nanmean()) / values[values.isfinite()].std()


def noise(own, columns):
    """Predictors of chance, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    return {f"noise {each}": torch.rand(own.shape, generator=generator) for each in range(columns)}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda own, below, ids: two_lags(own) | {"now": own}, "'now' reads the value that it should predict"),
        (lambda own, below, ids: {"next": own.roll(-1, -1).nan_to_num()}, "'next' reads the future"),
        (lambda own, below, ids: {"next below": below[-1].roll(-1, -1).nan_to_num()}, "'next below' reads the future"),
        (
            lambda own, below, ids: {"level": own.nanmean(1, keepdim=True).expand_as(own)},
            "'level' reads the future",
        ),
        (lambda own, below, ids: {"z": z_scores(own).roll(1, -1)}, "'z' reads other sentences"),
        (lambda own, below, ids: {"neighbour": own.roll(1, 0).nan_to_num()}, "'neighbour' reads other sentences"),
        (lambda own, below, ids: {"dice": torch.rand(own.shape)}, "'dice' is another one each time"),
        (lambda own, below, ids: {"next": own.roll(-1, -1)}, "'next' is NaN or infinite"),
        (lambda own, below, ids: {"t-6": own.roll(6, -1)}, "'t-6' is NaN or infinite at a token from position 5 on"),
        (lambda own, below, ids: {"one": torch.ones(own.shape)}, "cannot be fitted"),
        (lambda own, below, ids: two_lags(own) | {"again": own.roll(1, -1)}, "depend on each other"),
        (lambda own, below, ids: {"all": below}, "a predictor is (sentence, position)"),
        (lambda own, below, ids: below, "should return a dict"),
        (lambda own, below, ids: two_lags(own), "no better than two lags"),
        (lambda own, below, ids: two_lags(own) | noise(own, 40), "even one of chance"),
        (lambda own, below, ids: two_lags(own) | {"below": below[3]}, "better than two lags, but not by enough"),
    ],
)
def test_4g_names_the_mistake(answer, message, project, capsys):
    names(capsys, "4g", answer, message, **project)


def test_4g_needs_enough_sentences(project, capsys):
    few = {"logs": project["logs"][:, :3], "mask": project["mask"][:3], "ids": project["ids"][:3]}
    names(capsys, "4g", predictors, "cannot be fitted", **few)
    short = {name: values[..., :4] for name, values in project.items()}
    names(capsys, "4g", predictors, "take longer ones", **short)


@pytest.mark.parametrize("lengths", [[9, 8, 8, 7], [12, 12, 11, 5, 4, 4, 3, 1], [12] * 3 + [6] * 7])
def test_4b_says_how_changes_and_means_part(lengths, capsys):
    """Written out, sentence by sentence. The last position counts that a quarter of the sentences reach."""
    mask = torch.arange(12) < torch.tensor(lengths)[:, None]
    logs = torch.randn(2, len(lengths), 12, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    logs = logs.masked_fill(~mask, torch.nan)
    late = max(place for place in range(12) if sum(length > place for length in lengths) >= len(lengths) / 4)
    early = late // 3

    def mean(of):
        return float(np.mean([each.item() for each in of]))

    parts = []
    for layer in logs:
        there = [[sentence[place] for sentence in layer if not sentence[place].isnan()] for place in range(12)]
        steps = [
            [sentence[place] - sentence[place - 1] for sentence in layer if not sentence[place].isnan()]
            for place in range(early + 1, late + 1)
        ]
        last = [row[length - 1] - row[length - 2] for row, length in zip(layer, lengths) if length > 1]
        parts.append((mean(there[late]) - mean(there[early]), sum(map(mean, steps)), mean(last)))
    layer = max(range(2), key=lambda each: abs(parts[each][0] - parts[each][1]))
    moved, added, last = parts[layer]
    printed = passes(capsys, "4b", changes, logs=logs, mask=mask)
    assert f"In layer {layer}, from position {early} to {late}, the means move by {moved:+.3f} " in printed
    assert f"the changes add up to {added:+.3f}. A sentence's last step is {last:+.3f} on average" in printed
