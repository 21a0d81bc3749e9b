"""Exercises of notebook 04: answers written in other ways than their entries have them, and what findings are told."""

import numpy as np
import pytest
import torch

import interp_helpers as ih
from interp_helpers import adjustments, exercises
from interp_helpers.exercises.judging import Wrong, fresh

RUN = {"layer": 1, "slope": -2.2}  # what the notebook finds in storybook


def entry(exercise):
    return exercises.checkers(4)[exercise]


@pytest.fixture(scope="module")
def batches(storybook):
    return ih.token_batches(storybook[1], ih.load_sentences().head(24)["text"], context=512, size=10)


@pytest.fixture(scope="module")
def rows(storybook, batches):
    norms, mask = adjustments.attention_output_norms(storybook[0], batches)
    return adjustments.position_rows(norms.log(), mask, last=30)


# 4a


def by_place(model, modules, tokens):
    outputs = {}
    handles = [
        module.register_forward_hook(lambda module, inputs, output: outputs.update({module: output.clone()}))
        for module in modules
    ]
    model(tokens)
    for handle in handles:
        handle.remove()
    return torch.stack([outputs[module] for module in modules])


def keeping(model, modules, tokens):
    outputs = {}
    for module in modules:
        module.register_forward_hook(lambda module, inputs, output: outputs.update({module: output}))
    model(tokens)
    return torch.stack([outputs[module] for module in modules])


def one_at_a_time(model, modules, tokens):
    return torch.cat([by_place(model, [module], tokens) for module in modules])


@pytest.fixture
def recorded(storybook, batches):
    model, _ = storybook
    return {"model": model, "modules": ih.visits.output_matrices(model), "tokens": batches[0].tokens}


def test_4a_takes_right_answers(recorded, says):
    assert says("4a", by_place, **recorded) == f"✓ 4a passed: {entry('4a').praise}\n"


def test_4a_asks_for_what_the_library_records(recorded):
    outputs = adjustments.attention_outputs(recorded["model"], recorded["tokens"])
    torch.testing.assert_close(entry("4a").reference(*recorded.values()), outputs)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (keeping, "hooks are still on the modules"),
        (one_at_a_time, "ran the model 3 times"),
        (lambda *given: by_place(*given)[:1], "; yours has (1, "),
        (lambda model, modules, tokens: model.base_model, "raised AttributeError when given a Reader, a list"),
    ],
)
def test_4a_names_the_mistake(answer, message, recorded, says):
    printed = says("4a", answer, **recorded)
    assert printed.startswith("✗ 4a not yet: ")
    assert message in printed
    assert not any(module._forward_hooks for module in recorded["modules"])


def test_4a_leaves_the_notebooks_random_numbers_alone(recorded, says):
    before = torch.get_rng_state()
    says("4a", by_place, **recorded)
    assert torch.equal(before, torch.get_rng_state())


# 4b


def by_nanmean(values, mask):
    return values.masked_fill(~mask, torch.nan).diff(dim=-1).nanmean(1)


def by_where(values, mask):
    both = mask[:, 1:] & mask[:, :-1]
    return torch.where(both, values.diff(dim=-1), 0).sum(1) / both.sum(0)


@pytest.mark.parametrize("answer", [by_nanmean, by_where])
def test_4b_takes_right_answers(answer, says):
    assert says("4b", answer).startswith("✓ 4b passed")


def test_4b_by_hand():
    """Each sentence rises by 1 at every step, and no sentence reaches the last position."""
    values = torch.tensor([[[1.0, 2, 3, 9], [7, 8, 9, 9]]])
    mask = torch.tensor([[True, True, True, False], [True, True, False, False]])
    torch.testing.assert_close(entry("4b").reference(values, mask), torch.tensor([[1, 1, torch.nan]]), equal_nan=True)


# 4c


def by_groups(y, X, sentence):
    _, number, counts = sentence.unique(return_inverse=True, return_counts=True)
    both = torch.cat([y[:, None], X], 1)
    means = torch.zeros(len(counts), both.shape[1], dtype=both.dtype).index_add(0, number, both) / counts[:, None]
    y, *X = (both - means[number]).T
    X = torch.stack(X, 1)
    left = y - X @ torch.linalg.lstsq(X, y[:, None]).solution[:, 0]
    return 1 - left.square().sum() / y.square().sum()


def by_the_library(y, X, sentence):
    rows = adjustments.Rows(y[None], X[None], torch.arange(len(y)), sentence, [f"{i}" for i in range(X.shape[1])])
    return adjustments.regress(adjustments.within(rows, sentence)).r2[0]


@pytest.mark.parametrize("answer", [by_groups, by_the_library, lambda *given: by_groups(*given).item()])
def test_4c_takes_right_answers(answer, rows, says):
    assert says("4c", answer, rows=rows, layer=1).startswith("✓ 4c passed")


def test_4c_by_hand():
    """Inside the first sentence y rises with x, by 1, 2 and 1 around its line; the second differs and is one row."""
    y, x = torch.tensor([[1.0, 2, 3, 99], [0, 3, 0, 7]]), torch.tensor([[0.0], [1], [2], [50]])
    sentence = torch.tensor([5, 5, 5, 0])
    assert entry("4c").reference(y[0], x, sentence).item() == pytest.approx(1)
    assert entry("4c").reference(y[1], x, sentence).item() == pytest.approx(0, abs=1e-6)
    assert entry("4c").reference(y.sum(0), x, sentence).item() == pytest.approx(2 / 8)


# 4d


@pytest.fixture(scope="module")
def doubled(rows):
    again = torch.arange(len(rows.sentence)).repeat(2)
    twice = adjustments.Rows(rows.y[:, again], rows.X[:, again], rows.sentence[again], rows.position[again], rows.names)
    renamed = twice._replace(sentence=torch.cat([rows.sentence, rows.sentence + 24]))
    tables = [adjustments.regress(each).table for each in (rows, twice, renamed)]
    return {**dict(zip(["once", "twice", "renamed"], tables)), "layer": 1}


RIGHT = {"ordinary": "narrower", "clustered": "same", "renamed": "narrower"}
WRONG = [
    (RIGHT | {"ordinary": "same"}, "It cannot know that a row is a copy"),
    (RIGHT | {"clustered": "narrower"}, "makes no new sentence"),
    (RIGHT | {"renamed": "wider"}, "with renamed copies, the clustered"),
    (RIGHT | {"renamed": None}, "still empty: `renamed`"),
    (RIGHT | {"renamed": "smaller"}, "the options are 'wider', 'same', 'narrower'"),
    ("narrower", "a dictionary with ordinary, clustered, renamed"),
]


def test_4d_takes_the_prediction_that_came_true(doubled, says):
    printed = says("4d", RIGHT, **doubled)
    assert printed.startswith("✓ 4d passed")
    assert "the ordinary interval is 0.70" in printed
    # It goes by what was measured: had the copies changed nothing, or had they widened, other predictions would hold.
    once, twice = doubled["once"], doubled["twice"]
    assert says("4d", dict.fromkeys(RIGHT, "Same"), **doubled | {"twice": once, "renamed": once})[0] == "✓"
    assert says("4d", RIGHT | {"ordinary": "wider"}, **doubled | {"once": twice, "twice": once})[0] == "✓"


@pytest.mark.parametrize(("answer", "message"), WRONG)
def test_4d_names_the_mistake(answer, message, doubled, says):
    printed = says("4d", answer, **doubled)
    assert printed.startswith("✗ 4d not yet: ")
    assert message in printed


# 4e


def by_sums(x, y, sentence, draws):
    of_row = torch.stack([torch.ones_like(x), x, y, x * x, x * y], 1)
    sums = torch.zeros(int(max(sentence.max(), draws.max())) + 1, 5, dtype=x.dtype).index_add(0, sentence, of_row)
    n, sx, sy, sxx, sxy = sums[draws].sum(1).unbind(1)
    slopes = (n * sxy - sx * sy) / (n * sxx - sx * sx)
    return slopes.quantile(torch.tensor([0.025, 0.975], dtype=x.dtype))


def by_counts(x, y, sentence, draws):
    """How often each row counts, by numpy."""
    slopes = [np.polyfit(x, y, 1, w=np.sqrt([(draw == each).sum() for each in sentence]))[0] for draw in draws]
    return np.percentile(slopes, [2.5, 97.5])


@pytest.mark.parametrize("answer", [by_sums, by_counts])
def test_4e_takes_right_answers(answer, says):
    assert says("4e", answer).startswith("✓ 4e passed")


def test_4e_reads_the_notebooks_sentences_as_the_formula_does(rows):
    """An interval that draws sentences and the clustered one are about as wide."""
    numbers, x, y = rows.sentence.unique(), rows.X[1, :, 0], rows.y[1]
    draws = numbers[torch.randint(len(numbers), (300, len(numbers)))]
    low, high = entry("4e").reference(x, y, rows.sentence, draws).tolist()
    line = adjustments.regress(rows).table.loc[(1, "position")]
    assert (high - low) / (line["clustered high"] - line["clustered low"]) == pytest.approx(1, abs=0.3)


# 4f


def by_einsum(pattern, written):
    first = torch.einsum("hq,hm->qm", pattern[..., 0], written[:, 0])
    own = torch.einsum("hq,hqm->qm", pattern.diagonal(dim1=-2, dim2=-1), written)
    own[0] = 0
    return torch.stack([first, own, (pattern @ written).sum(0) - first - own])


@pytest.mark.parametrize("answer", [by_einsum, lambda *given: adjustments.by_source(*(x[None] for x in given))[:, 0]])
def test_4f_takes_right_answers(answer, says):
    assert says("4f", answer).startswith("✓ 4f passed")


def test_4f_by_hand():
    """One head of three queries; the vector of key k is 10 to the power of k."""
    pattern = torch.tensor([[[1.0, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]]])
    taken = entry("4f").reference(pattern, torch.tensor([[[1.0], [10], [100]]]))
    torch.testing.assert_close(taken[..., 0], torch.tensor([[1, 0.5, 0.2], [0, 5, 50], [0, 0, 3.0]]))


# 4g

VERBS = (
    "go come see take give make find tell ask work feel try leave call keep let begin seem help show hear play run "
    "move live sit stand fall rise walk speak cry"
)
PRONOUNS = (
    "I you he she it we they me him her us them my your his its our their mine yours hers ours theirs myself himself "
    "herself itself ourselves themselves who whom whose"
)
NAMES = (
    "Tom Mary John Jane William Henry George Anna Robert Helen James Edward Charles Margaret Arthur Frank David Ellen "
    "Lucy Jack Harry Dick Ben Sam Will Bob Joe Peter Paul Fred Kate Ann"
)
PREPOSITIONS = (
    "in on at by for with from to of off up down out over under through between among against about before after "
    "behind below above beside around near past since until upon"
)
STORY = (
    "Once upon a time there was a little girl who lived with her grandmother in a house by the sea, and every day she "
    "walked to the town to sell her eggs."
)
STEEP = [
    ("very " * 35, "of the first 30 tokens of your text are different ones"),
    (STORY, "Which different words may have vectors that are alike?"),
    (PREPOSITIONS, "You are near"),
    ("A short text.", "It should have 30 or more"),
    ("very " * 200, "cannot be read"),
    ("", "cannot be read"),
    ([VERBS], "a text in quotes"),
]


@pytest.fixture
def reader(storybook):
    return RUN | {"model": storybook[0], "tokenizer": storybook[1]}


@pytest.mark.parametrize("text", [VERBS, PRONOUNS, NAMES])
def test_4g_takes_right_answers(text, reader, says):
    printed = says("4g", text, **reader)
    assert printed.startswith("✓ 4g passed: in layer 1, the slope on your text is ")
    assert "It fades all the same" in printed


@pytest.mark.parametrize(("text", "message"), STEEP)
def test_4g_names_the_mistake(text, message, reader, says):
    printed = says("4g", text, **reader)
    assert printed.startswith("✗ 4g not yet: ")
    assert message in printed


def test_4g_goes_by_the_notebooks_slope(reader, says):
    assert says("4g", STORY, **reader | {"slope": -6.0}).startswith("✓")  # -1.94 is less than a third
    assert says("4g", STORY, **reader | {"slope": 0.5}).startswith("✓")  # the other direction
    assert says("4g", VERBS, **reader | {"slope": 0.1}).startswith("✗")


def test_4g_measures_what_the_library_measures(reader):
    facts = entry("4g").measure(STORY, **reader)
    model, tokenizer = reader["model"], reader["tokenizer"]
    tokens = ih.encode(tokenizer, STORY)
    norms, mask = adjustments.attention_output_norms(model, [tokens, tokens])
    line = adjustments.regress(adjustments.position_rows(norms.log(), mask, last=30)).table
    assert facts.found == pytest.approx(100 * line.loc[(1, "position"), "coefficient"], abs=1e-4)
    with torch.no_grad():
        pattern = model.base_model(tokens, output_attentions=True).attentions[1][0].mean(0)
    assert (facts.early, facts.late) == pytest.approx((pattern[3, 0].item(), pattern[28, 0].item()), abs=1e-5)


@pytest.mark.parametrize("family", ["gpt-neo", "llama"])
def test_4g_reads_models_whose_attention_does_not_fade(family, folders, says):
    """Random weights: attention is even, and fades; where the first token keeps its share, that is said."""
    model, tokenizer = ih.load_model(str(folders[family]), device="cpu")
    printed = says("4g", STORY, model=model, tokenizer=tokenizer, layer=0, slope=1000.0)
    assert "It fades all the same" in printed
    facts = entry("4g").measure(STORY, model=model, tokenizer=tokenizer, layer=0, slope=1000.0)
    facts.late = facts.early
    kept = next(message for message, applies in entry("4g").praise.items() if applies(facts))
    assert "It does not fade to less than half" in kept


# 4h


@pytest.fixture(scope="module")
def experiment(storybook_bridge, batches):
    return {"bridge": storybook_bridge[0], "batches": batches, "layer": 1}


def without_first(scores, hook):
    scores[:, :, 1:, 0] = -torch.inf
    return scores


def without_before(scores, hook):
    scores = scores.clone()
    scores.diagonal(-1, -2, -1)[..., 1:] = -torch.inf
    return scores


def first_writes_nothing(values, hook):
    values[:, 0] = 0  # in place, and nothing is returned


def half_first(scores, hook):
    scores = scores.clone()
    scores[:, :, 1:, 0] -= 1
    return scores


def unlike(scores, hook):
    raise ValueError("too few heads")


def explained(hook, verdict="survives", layer=2, at="blocks.2.attn.hook_attn_scores"):
    return {"layer": layer, "hooks": [(at, hook)], "verdict": verdict}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (explained(without_first, "unclear"), "the slope goes the other way now"),
        (explained(half_first), "something else that makes the slope"),
        (explained(without_before, "not removed"), "is not removed by this, and this is a result"),
        (explained(first_writes_nothing, "Not removed", at="blocks.2.attn.hook_v"), "this is a result"),
    ],
)
def test_4h_takes_right_answers(answer, words, experiment, says):
    printed = says("4h", answer, **experiment)
    assert printed.startswith(f"✓ 4h passed: in layer {answer['layer']}, the slope is +0.")
    assert words in printed


NOT_EXPLAINED = [
    (explained(without_first, layer=4), "so there is nothing to explain"),
    (explained(lambda value, hook: None), "your hooks change nothing in what attention adds"),
    (explained(without_before), "More than half of it is left"),
    (explained(half_first, "not removed"), "At least half of it is gone"),
    (explained(without_first), "So your hooks did more than take the slope away"),
    (explained(without_first, layer=1), "is the one that the notebook explained"),
    (explained(without_first, layer=6), "layers go from 0 to 5"),
    (explained(without_first, layer="two"), "the number of a layer"),
    (explained(without_first, "true"), "the options are 'survives', 'not removed', 'unclear'"),
    (explained(None), "a list of pairs"),
    ({"layer": 2, "hooks": without_first, "verdict": "not removed"}, "a list of pairs"),
    ({"layer": 2, "verdict": "not removed"}, "still missing from the dictionary: hooks"),
    (explained(without_first, at="blocks.2.attn.scores"), "the bridge has no hook"),
    (explained(without_first, at="blocks.2.attn.qkv.hook_out"), "nothing passes 'blocks.2.attn.qkv.hook_out'"),
    (explained(without_first, at="blocks.2.hook_q_input"), "Call set_use_split_qkv_input(True) first. Or take"),
    (explained(without_first, at="blocks.2.hook_attn_out"), "comes too late"),
    (explained(without_first, at="blocks.2.attn.o.hook_out"), "comes too late"),
    (explained(without_first, at="blocks.3.attn.hook_v"), "comes too late"),
    (explained(lambda value: value), "raised TypeError when given a tensor of shape (10, 8,"),
    (explained(unlike), "too few heads. A hook is called as"),
    (explained(lambda value, hook: value[0]), "but what passes there has shape"),
    (explained(lambda value, hook: 0), "returned 0, but"),
    (explained(lambda value, hook: value - torch.inf), "Did a query lose all of its keys?"),
    (explained(lambda value, hook: value * 0, at="blocks.2.attn.hook_z"), "of the same length at every token"),
]


@pytest.mark.parametrize(("answer", "message"), NOT_EXPLAINED)
def test_4h_names_the_mistake(answer, message, experiment, says):
    printed = says("4h", answer, **experiment)
    assert printed.startswith("✗ 4h not yet: ")
    assert message in printed


def test_4h_takes_hooks_up_to_z_also_by_their_other_name(experiment):
    for at in ["blocks.2.attn.hook_z", "blocks.2.attn.o.hook_in", "blocks.0.hook_mlp_out", "hook_embed"]:
        facts = entry("4h").measure(
            explained(lambda value, hook: value * value.norm(dim=-1, keepdim=True), at=at), **experiment
        )
        assert not facts.unchanged


def test_4h_measures_what_the_library_measures(experiment, storybook, rows):
    facts = entry("4h").measure(explained(without_first), **experiment)
    line = 100 * adjustments.regress(rows).table.loc[(2, "position")]
    assert (facts.before, facts.low, facts.high) == pytest.approx(
        tuple(line[["coefficient", "clustered low", "clustered high"]]), abs=1e-3
    )
    losses = [
        storybook[0](row[mask][None, :30], labels=row[mask][None, :30]).loss.item()
        for batch in experiment["batches"]
        for row, mask in zip(batch.tokens, batch.mask)
    ]
    assert facts.loss == pytest.approx(np.mean(losses), abs=1e-4)


def test_4h_leaves_the_bridge_as_it_was(experiment):
    bridge, tokens = experiment["bridge"], experiment["batches"][0].tokens[:1, :9]
    with torch.no_grad():
        before = bridge(tokens)
        for hook in (without_first, unlike):
            try:
                entry("4h").measure(explained(hook), **experiment)
            except Wrong:
                assert hook is unlike
        assert torch.equal(bridge(tokens), before)


@pytest.mark.parametrize("family", ["llama", "gpt-neo"])
def test_4h_hooks_other_bridges(family, folders):
    bridge, _ = ih.load_bridge(str(folders[family]), device="cpu")
    tokens = torch.randint(50, (30, 40), generator=fresh())
    answer = explained(lambda value, hook: value * 1.5, layer=1, at="blocks.1.attn.hook_q")
    facts = entry("4h").measure(answer, bridge=bridge, batches=[ih.Batch(tokens)], layer=0)
    assert not facts.unchanged


@pytest.mark.parametrize(("exercise", "said"), [("4d", WRONG), ("4g", STEEP), ("4h", NOT_EXPLAINED)])
def test_every_mistake_of_a_finding_was_made_above(exercise, said):
    assert all(any(words in message for _, words in said) for message in entry(exercise).mistakes)
