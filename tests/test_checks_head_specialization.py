"""What the checkers of notebook 02 say to right answers, to known mistakes, and to blanks."""

import numpy as np
import pytest
import torch

from interp_helpers import checks, heads, load_model, passages, shuffled, token_batches
from interp_helpers.survey import survey

CAPITALS = "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG AND RUNS AWAY FROM THE HUNTER"


def says(capsys, exercise, answer, **context):
    checks.check(exercise, answer, **context)
    return capsys.readouterr().out


def wrong(capsys, message, exercise, answer, **context):
    printed = says(capsys, exercise, answer, **context)
    assert printed.startswith(f"✗ {exercise} not yet: ")
    assert message in printed


def docstring_only(*given, **named):
    """Not written yet."""


@pytest.mark.parametrize(
    ("exercise", "blank"),
    [
        ("2a", docstring_only),
        ("2b", docstring_only),
        ("2c", None),
        ("2d", docstring_only),
        ("2e", docstring_only),
        ("2f", {"head": None, "text": None}),
        ("2g", {"target": docstring_only, "head": None, "score": None, "chance": None, "shuffled": None}),
    ],
)
def test_blanks_are_not_attempted(exercise, blank, capsys):
    names = {"2c": ["before", "after"], "2d": ["model", "batch"], "2f": ["model", "tokenizer", "kinds"]}
    context = dict.fromkeys(names.get(exercise, ["model", "texts", "mixed"] if exercise == "2g" else []))
    assert says(capsys, exercise, blank, **context) == f"○ {exercise} not attempted\n"


def test_2a_takes_right_answers(capsys):
    def by_line(pattern):
        return pattern.diagonal(dim1=-2, dim2=-1)[..., 1:].mean(-1)

    def by_loop(pattern):
        return sum(pattern[..., each, each] for each in range(1, pattern.shape[-1])) / (pattern.shape[-1] - 1)

    assert says(capsys, "2a", by_line).startswith("✓ 2a passed")
    assert says(capsys, "2a", by_loop).startswith("✓ 2a passed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda pattern: pattern.diagonal(dim1=-2, dim2=-1).mean(-1), "the first query"),
        (lambda pattern: pattern.diagonal(-1, -2, -1).mean(-1), "the token before"),
        (lambda pattern: pattern.diagonal(dim1=-2, dim2=-1)[..., 1:].sum(-1) / pattern.shape[-1], "one less"),
        (lambda pattern: pattern.diagonal()[..., 1:].mean(-1), "first two axes"),
        (lambda pattern: pattern.diagonal(dim1=-2, dim2=-1)[..., 1:].mean(), "all heads"),
    ],
)
def test_2a_names_the_mistake(answer, message, capsys):
    wrong(capsys, message, "2a", answer)


def equal(ids):
    return ids[..., :, None] == ids[..., None, :]


def to_the_right(table, by=1):
    """A table's columns moved right; what leaves at one end does not come back at the other."""
    return torch.nn.functional.pad(table, (by, -by))


def by_shifting(ids):
    return to_the_right(equal(ids).tril(-1))


def by_loop(ids):
    found = torch.zeros(*ids.shape, ids.shape[-1])
    for query in range(ids.shape[-1]):
        for key in range(query):
            found[..., query, key + 1] = (ids[..., query] == ids[..., key]).float()
    return found


def by_rolling(ids):
    return equal(ids).tril(-1).roll(1, -1)


@pytest.mark.parametrize("answer", [by_shifting, by_loop, by_rolling, heads.induction_target])
def test_2b_takes_right_answers(answer, capsys):
    assert says(capsys, "2b", answer).startswith("✓ 2b passed")


def latest_only(ids):
    target = by_shifting(ids)
    return target & (target.flip(-1).cumsum(-1).flip(-1) == 1)


def first_only(ids):
    target = by_shifting(ids)
    return target & (target.cumsum(-1) == 1)


def next_token(ids):
    return torch.nn.functional.pad(equal(ids)[..., 1:, :], (0, 0, 0, 1)).tril()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (heads.duplicate_token_target, "duplicate-token target"),
        (lambda ids: to_the_right(equal(ids).tril(-1), by=-1), "came *before*"),
        (lambda ids: by_shifting(ids).mT, "rows and columns are swapped"),
        (lambda ids: to_the_right(equal(ids)), "after the query"),
        (lambda ids: to_the_right(equal(ids).tril()), "own position"),
        (lambda ids: by_shifting(ids).tril(-1), "in 'a a'"),
        (latest_only, "the latest occurrence only"),
        (first_only, "the first occurrence only"),
        (next_token, "comes *next*"),
        (lambda ids: ids, "has shape (14, 14); yours has (14,)"),
        (lambda ids: to_the_right((ids[:, None] == ids[None, :]).tril(-1)), "of shape (2, 14)"),
    ],
)
def test_2b_names_the_mistake(answer, message, capsys):
    wrong(capsys, message, "2b", answer)


@pytest.mark.parametrize(
    ("prediction", "after", "message"),
    [
        ("weakens", 0.35, "does not say which"),
        (" Weakens", 0.1, "0.600 became 0.100"),
        ("stays", 0.58, "goes by the token"),
        ("stays", 0.65, "goes by the token"),
        ("vanishes", 0.02, "too few to name it"),
    ],
)
def test_2c_passes_what_was_measured(prediction, after, message, capsys):
    printed = says(capsys, "2c", prediction, before=0.6, after=after)
    assert printed.startswith("✓ 2c passed")
    assert message in printed


@pytest.mark.parametrize(
    ("prediction", "after", "message"),
    [
        ("stays", 0.35, "more agrees than the one token"),
        ("vanishes", 0.35, "would keep next to nothing"),
        ("weakens", 0.6, "were of no use"),
        ("vanishes", 0.6, "does not count positions back"),
        ("stays", 0.02, "something that the order gave"),
        ("weakens", 0.02, "by the order alone"),
        ("rises", 0.02, "the options are 'stays', 'weakens', 'vanishes'; got 'rises'"),
        (True, 0.02, "the options are"),
    ],
)
def test_2c_says_why_a_prediction_failed(prediction, after, message, capsys):
    wrong(capsys, message, "2c", prediction, before=0.6, after=after)


def test_2c_knows_a_model_without_induction(capsys):
    assert "nothing to lose" in says(capsys, "2c", "stays", before=0.02, after=0.02)
    assert "nothing to lose" in says(capsys, "2c", "stays", before=0.0, after=0.0)
    wrong(capsys, "No head of this model", "2c", "vanishes", before=0.02, after=0.02)


def shares(pattern, values):
    return heads.value_weighted(pattern, values.norm(dim=-1))[..., 0]


def by_masking(pattern, values, mask):
    counts = mask[:, None, 1:]
    return (shares(pattern, values)[..., 1:] * counts).sum(-1) / counts.sum(-1)


def text_by_text(pattern, values, mask):
    found = [shares(*pair)[:, 1 : int(length)].mean(-1) for *pair, length in zip(pattern, values, mask.sum(1))]
    return torch.stack(found)


@pytest.fixture(scope="module")
def context(storybook):
    """What the notebook hands to 2d, from storybook and one batch of passages."""
    model, tokenizer = storybook
    return {"model": model, "batch": token_batches(tokenizer, passages()[:4], context=512, size=4)[0]}


@pytest.mark.parametrize("answer", [by_masking, text_by_text])
def test_2d_takes_right_answers(answer, context, capsys):
    assert says(capsys, "2d", answer, **context).startswith("✓ 2d passed")


@pytest.mark.parametrize("family", ["gpt2", "gpt-neo", "llama"])
def test_2d_works_on_models_with_shared_values_and_local_windows(family, folders, context, capsys):
    model, _ = load_model(str(folders[family]), device="cpu")
    batch = tuple(each[:, :60] for each in context["batch"])
    assert says(capsys, "2d", by_masking, model=model, batch=batch).startswith("✓ 2d passed")


def masked(numbers, mask):
    return (numbers[..., 1:] * mask[:, None, 1:]).sum(-1) / mask[:, None, 1:].sum(-1)


def to_queries(p, v, m):
    moved = p * v.norm(dim=-1)[..., None]
    return masked(moved[..., 0] / moved.sum(-1), m)


def squared(p, v, m):
    return masked(heads.value_weighted(p, v.norm(dim=-1) ** 2)[..., 0], m)


def summed_first(p, v, m):
    moved = p * v.norm(dim=-1)[:, :, None]
    counts = m[:, None, 1:]
    return (moved[..., 1:, 0] * counts).sum(-1) / (moved.sum(-1)[..., 1:] * counts).sum(-1)


def over_keys(p, v, m):
    return masked(heads.value_weighted(p, v.norm(dim=-2))[..., 0], m)


def mask_on_heads(p, v, m):
    return (shares(p, v)[..., 1:] * m[:, 1:]).sum(-1) / m[:, 1:].sum(-1)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda p, v, m: shares(p, v)[..., 1:].mean(-1), "averaged over padding too"),
        (lambda p, v, m: (shares(p, v) * m[:, None])[..., 1:].mean(-1), "divided by all queries"),
        (lambda p, v, m: (shares(p, v) * m[:, None]).sum(-1) / m.sum(-1)[:, None], "counted the first query"),
        (lambda p, v, m: (shares(p, v) * m[:, None])[..., 1:].sum(-1) / m.sum(-1)[:, None], "it is one less"),
        (lambda p, v, m: masked((p * v.norm(dim=-1)[:, :, None])[..., 0], m), "not yet a share"),
        (lambda p, v, m: masked(p[..., 0], m), "attention alone"),
        (to_queries, "they cancel"),
        (squared, "you squared the norms"),
        (summed_first, "before you divided"),
        (lambda p, v, m: by_masking(p, v, m).mean(0), "one number a head"),
        (lambda p, v, m: by_masking(p, v, m).mean(1), "one number a text"),
        (mask_on_heads, "laid over the heads"),
        (over_keys, "norm over keys"),
    ],
)
def test_2d_names_the_mistake(answer, message, context, capsys):
    wrong(capsys, message, "2d", answer, **context)


def test_2d_says_so_when_only_the_model_shows_the_mistake(context, capsys):
    def small_only(p, v, m):
        return by_masking(p, v, m) * (1 if p.shape[-1] < 10 else 0.9)

    wrong(capsys, "layer 0 of the model", "2d", small_only, **context)


def drawn(values, draws, count=None):
    """Means of samples with replacement from one axis of numbers."""
    picks = torch.randint(len(values), (draws, count or len(values)))
    return values[picks].mean(1)


def ends(means, share=0.95):
    return tuple(means.quantile(torch.tensor([(1 - share) / 2, (1 + share) / 2])).tolist())


def by_normal(attention, draws):
    means = attention.mean(1)
    half = 1.96 * means.std() / len(means) ** 0.5
    return torch.stack([means.mean() - half, means.mean() + half])


def one_by_one(attention, draws):
    found = sorted(attention[torch.randint(len(attention), (len(attention),))].mean().item() for _ in range(draws // 2))
    return found[round(0.025 * len(found))], found[round(0.975 * len(found))]


@pytest.mark.parametrize(
    "answer",
    [
        lambda attention, draws: ends(drawn(attention.mean(1), draws)),
        lambda attention, draws: heads.bootstrap_interval(attention.mean(1), resamples=draws),
        by_normal,
        one_by_one,
    ],
)
def test_2e_takes_right_answers(answer, capsys):
    assert says(capsys, "2e", answer).startswith("✓ 2e passed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda a, draws: ends(drawn(a.flatten(), draws)), "you drew single tokens"),
        (lambda a, draws: ends(drawn(a.mean(0), draws)), "you drew queries"),
        (lambda a, draws: ends(torch.full((draws,), a.mean().item())), "Draw with replacement"),
        (lambda a, draws: ends(a.mean(1)), "lie the *texts*"),
        (lambda a, draws: ends(drawn(a.mean(1), draws), 0.9), "90 in a hundred"),
        (lambda a, draws: ends(drawn(a.mean(1), draws), 0.683), "one standard error"),
        (lambda a, draws: ends(drawn(a.mean(1), draws))[::-1], "lower end comes first"),
        (lambda a, draws: ends(drawn(a.mean(1), draws, count=5)), "times as wide as it should be"),
        (lambda a, draws: ends(drawn(a.mean(1), draws) - a.mean()), "right width, but its middle"),
        (lambda a, draws: drawn(a.mean(1), draws).mean(), "two numbers, (low, high)"),
        (lambda a, draws: 0.5, "two numbers, (low, high)"),
        (lambda a, draws: drawn(a, draws).quantile(torch.tensor([0.025, 0.975]), 0), "one number for all texts"),
    ],
)
def test_2e_names_the_mistake(answer, message, capsys):
    wrong(capsys, message, "2e", answer)


@pytest.fixture(scope="module")
def nameless(storybook):
    """What the notebook hands to 2f, with heads named from eight passages."""
    model, tokenizer = storybook
    scores = survey(model, token_batches(tokenizer, passages()[:8], context=512))
    return {"model": model, "tokenizer": tokenizer, "kinds": heads.classify(scores)}


@pytest.mark.parametrize(
    ("head", "text", "message"),
    [
        ("5.2", CAPITALS, "to first token on your text"),
        ("1.5", "one two three four five six seven eight nine ten " * 4, "over 40 queries"),
        ("1.5", " ".join(["one two three four five six seven eight nine ten"] * 3), "over 29 queries"),
    ],
)
def test_2f_takes_right_answers(head, text, message, nameless, capsys):
    printed = says(capsys, "2f", {"head": head, "text": text}, **nameless)
    assert printed.startswith("✓ 2f passed")
    assert message in printed


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("5.2", "the answer is a dictionary with head, text"),
        ({"head": "5.2"}, "still missing from the dictionary: text"),
        ({"head": "9.9", "text": CAPITALS}, "there is no head 9.9"),
        ({"head": 5.2, "text": CAPITALS}, "in quotes"),
        ({"head": "5.2", "text": ["many"]}, "should be a string"),
        ({"head": "5.2", "text": " "}, "give at least one word"),
        ({"head": "5.2", "text": CAPITALS * 20}, "reads 128 at most"),
        ({"head": "0.0", "text": CAPITALS}, "has a name already: previous_token"),
        ({"head": "5.2", "text": CAPITALS[:40]}, "a sink passes for anything"),
        ({"head": "5.2", "text": passages()[0]}, "that gives it no name. It is broad here too"),
        ({"head": "2.6", "text": "very " * 40}, "every head gets the name"),
        ({"head": "5.1", "text": CAPITALS}, "another text like yours may say otherwise"),
    ],
)
def test_2f_names_the_mistake(found, message, nameless, capsys):
    wrong(capsys, message, "2f", found, **nameless)


@pytest.mark.parametrize(
    ("back", "head", "message"),
    [
        (5, "4.4", "(4 of 39) that the score is luck"),
        (10, "5.7", "(9 of 44) that the score is luck"),
        (11, "5.7", "another text like yours may say otherwise"),
    ],
)
def test_2f_does_not_count_a_score_of_few_queries(back, head, message, nameless, capsys):
    """When five words come back, four queries have a key for induction; all heads are called broad to be let in."""
    words = "lamp river seven yellow before kitchen of run which soft the glass under nine paper once slowly green "
    words += "horse did my bread window and stone above left spoon tall winter open salt"
    text = " ".join([words, *words.split()[:back]])
    kinds = np.full_like(nameless["kinds"], "broad")
    wrong(capsys, message, "2f", {"head": head, "text": text}, **{**nameless, "kinds": kinds})


def latest(marks):
    def target(ids):
        position = torch.arange(len(ids))
        earlier = torch.isin(ids, marks) & (position < position[:, None])
        return position == ((earlier * (position + 1)).amax(-1) - 1)[:, None]

    return target


def two_back(ids):
    found = torch.zeros(len(ids), len(ids), dtype=torch.bool)
    for query in range(2, len(ids)):
        found[query, query - 2] = True
    return found


def measured(target, model, texts, mixed):
    """A whole answer to 2g, measured text by text."""

    def scores(batch):
        found = []
        with torch.no_grad():
            for ids in batch:
                patterns = torch.cat(model(ids[None], output_attentions=True).attentions)
                if target(ids).any():
                    found.append(heads.target_score(patterns, target(ids)))
        return torch.stack(found).mean(0)

    own = scores(texts)
    layer, head = divmod(own.argmax().item(), own.shape[1])
    chance = []
    for ids in texts:
        if target(ids).any():
            even = torch.ones(len(ids), len(ids)).tril()
            chance.append(heads.target_score(even / even.sum(-1, keepdim=True), target(ids)))
    return {
        "target": target,
        "head": f"{layer}.{head}",
        "score": own[layer, head].item(),
        "chance": torch.stack(chance).mean().item(),
        "shuffled": scores(mixed)[layer, head].item(),
    }, (own, scores(mixed))


@pytest.fixture(scope="module")
def project(storybook):
    """(what the notebook hands to 2g, a right answer, all scores in order and shuffled), on ten passages."""
    model, tokenizer = storybook
    batches = token_batches(tokenizer, passages()[:10], context=512)
    texts = [ids[mask] for batch in batches for ids, mask in zip(*batch)]
    mixed = [ids[mask] for batch in shuffled(batches) for ids, mask in zip(*batch)]
    marks = torch.tensor([tokenizer(each)["input_ids"][-1] for each in ",."])
    return {"model": model, "texts": texts, "mixed": mixed}, *measured(latest(marks), model, texts, mixed)


def test_2g_takes_right_answers(project, storybook, capsys):
    given, answer, _ = project
    printed = says(capsys, "2g", answer, **given)
    assert printed.startswith("✓ 2g passed")
    assert "the order of the words matters" in printed
    assert "none of the five names covers" in printed
    rounded = {name: round(each, 3) if isinstance(each, float) else each for name, each in answer.items()}
    assert says(capsys, "2g", rounded, **given).startswith("✓ 2g passed")
    by_position, _ = measured(two_back, **given)
    assert "it goes on when shuffled" in says(capsys, "2g", by_position, **given)


def test_2g_says_when_a_name_known_already_covers_it(project, storybook, capsys):
    given, _, _ = project

    def capital(ids):
        """Earlier tokens with a capital letter: the first of a passage is always one."""
        large = torch.tensor([storybook[1].decode(each).strip()[:1].isupper() for each in ids.tolist()])
        return large.expand(len(ids), -1).tril(-1)

    answer, _ = measured(capital, **given)
    assert "say what your name adds" in says(capsys, "2g", answer, **given)


def test_2g_takes_a_finding_of_nothing(project, folders, capsys):
    given, _, _ = project
    model, _ = load_model(str(folders["gpt2"]), device="cpu", untrained=True)
    given = given | {"model": model} | {name: [ids[:60] for ids in given[name]] for name in ("texts", "mixed")}
    answer, _ = measured(two_back, **given)
    assert "no head stands out" in says(capsys, "2g", answer, **given)


def test_2g_names_wrong_numbers(project, capsys):
    given, answer, (own, _) = project
    target = answer["target"]
    pairs = [(torch.ones(len(ids), len(ids)), target(ids)) for ids in given["texts"]]
    even = [(each.tril() / each.tril().sum(-1, keepdim=True), marked) for each, marked in pairs]
    for change, message in [
        ({"head": "0.0"}, "another gives it"),
        ({"head": "6.0"}, "layers go from 0 to 5"),
        ({"score": own.mean()}, "mean over all heads"),
        ({"score": answer["shuffled"]}, "your head's on the shuffled texts"),
        ({"score": 0.9}, "for `score` your answer is 0.900"),
        (
            {"chance": torch.stack([heads.target_score(each / len(each), marked) for each, marked in pairs]).mean()},
            "all keys of the text",
        ),
        ({"chance": torch.stack([(each * m).sum() / len(m) for each, m in even]).mean()}, "divided by all queries"),
        ({"shuffled": answer["score"]}, "in order once more"),
        ({"shuffled": "none"}, "should be a number"),
        ({"chance": None}, "still missing from the dictionary: chance"),
        ({"target": "commas"}, "should be a function"),
    ]:
        wrong(capsys, message, "2g", {**answer, **change}, **given)


def the_third(ids):
    found = torch.zeros(len(ids), len(ids), dtype=torch.bool)
    found[2:, 2] = True
    return found


@pytest.mark.parametrize("target", [two_back, the_third])
def test_2g_tells_a_mean_over_queries_from_one_over_texts(target, project, capsys):
    """Over texts of unlike lengths a mean over queries is another than a mean over texts."""
    given, _, _ = project
    given = given | {name: [ids[: 5 + 8 * i] for i, ids in enumerate(given[name])] for name in ("texts", "mixed")}
    answer, _ = measured(target, **given)
    queries = torch.tensor([len(ids) - 2.0 for ids in given["texts"]])
    chance = torch.stack([(1 / torch.arange(3, len(ids) + 1)).sum() for ids in given["texts"]]).sum() / queries.sum()
    wrong(capsys, "one mean over the queries of all texts", "2g", {**answer, "chance": chance}, **given)


def test_2g_wants_eight_texts_with_a_target(project, capsys):
    given, _, _ = project
    texts = [ids if place < 8 else ids[:2] for place, ids in enumerate(given["texts"])]
    answer, _ = measured(two_back, given["model"], texts, given["mixed"])
    assert says(capsys, "2g", answer, **given | {"texts": texts}).startswith("✓ 2g passed")
    texts[7] = texts[7][:2]
    wrong(capsys, "only 7 of 10 texts", "2g", answer, **given | {"texts": texts})


def test_2g_wants_the_same_head_on_both(project, storybook, capsys):
    given, answer, _ = project
    given = given | {"mixed": [torch.tensor(storybook[1]("yes, " * 20 + "no. " * 10)["input_ids"])]}
    answer, (_, other) = measured(answer["target"], **given)
    wrong(capsys, "highest score of any head", "2g", {**answer, "shuffled": other.max()}, **given)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (docstring_only, "returned None"),
        (lambda ids: ids, "a row for each query"),
        (lambda ids: [[True]], "a row for each query"),
        (lambda ids: two_back(ids).float(), "yes or no"),
        (lambda ids: two_back(ids).T, "after the query"),
        (lambda ids: torch.rand(len(ids), len(ids)).tril() > 0.5, "differs from call to call"),
        (lambda ids: two_back(ids) & False, "only 0 of 10 texts"),
        (heads.previous_token_target, "previous token target, which the course has"),
        (heads.induction_target, "induction target, which the course has"),
        (lambda ids: torch.ones(len(ids), len(ids)).tril().bool(), "so many keys"),
    ],
)
def test_2g_refuses_what_is_no_target_of_ones_own(target, message, project, capsys):
    given, answer, _ = project
    wrong(capsys, message, "2g", {**answer, "target": target}, **given)
