"""Properties of texts, names and exercises: the right answer, or an error that names the argument."""

import contextlib
import io
import json
import re
from unittest.mock import MagicMock

import pytest
import torch
from hypothesis import strategies as st
from properties import cases, faults, refused, seeded, sizes
from tiny import MASKS, TOKENS, VOCABULARY, tokenizer

import interp_helpers as ih
from interp_helpers import checks, hub, published, texts

words = st.text(min_size=1, max_size=12).filter(str.strip)  # any letters of any script, no surrogates
lists = st.lists(words, min_size=1, max_size=5)
ids = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6)
NO_TEXT = {"empty": "", "space": " \n", "nothing": None, "a number": 3, "half a letter": "a\ud800", "bytes": b"a"}
NO_NAME = {
    "empty": "",
    "space": " ",
    "nothing": None,
    "a number": 3,
    "a list": ["gpt2"],
    "bytes": b"gpt2",
    "a class": torch.nn.Linear,
}
NO_TOKENIZER = {"tokenizer: nothing": None, "tokenizer: a name": "gpt2", "tokenizer: a function": len}
NO_COUNT = {"negative": -1, "half": 0.5, "a word": "2", "NaN": torch.nan, "a list": [2], "a truth": True}
NO_SEED = {**NO_COUNT, "nothing": None, "beyond 63 bits": 2**63}


def named(table, name):
    """The same faults, as those of one argument."""
    return {f"{name}: {kind}": (name, value) for kind, value in table.items()}


@pytest.mark.parametrize("function", [ih.prompt_for, ih.question_for, ih.pair_for, ih.published_figures])
def test_what_suits_a_model(function):
    kept = {ih.prompt_for: texts.PROMPTS, ih.question_for: texts.QUESTIONS, ih.pair_for: texts.PAIRS}.get(function)
    other = {
        ih.prompt_for: texts.DEFAULT_PROMPT,
        ih.question_for: texts.DEFAULT_QUESTION,
        ih.pair_for: texts.DEFAULT_PAIR,
    }

    @cases(name=st.sampled_from([*texts.PROMPTS, "gpt2", "gpt2-xl", "./folder"]) | words, fault=faults(*NO_NAME))
    def holds(name, fault):
        if fault:
            assert refused(function, NO_NAME[fault], naming="name")
        elif function is ih.published_figures:
            assert function(name) == json.loads(published.FIGURES.read_bytes()).get(name, {})
        else:
            assert function(name) == (kept[name] if name in kept else other[function])

    holds()


@cases(name=st.text(alphabet="ab./~\\:", min_size=1, max_size=8) | words, fault=faults(*NO_NAME))
def test_looks_like_path(name, fault):
    if fault:
        assert refused(hub.looks_like_path, NO_NAME[fault], naming="name")
    else:
        assert hub.looks_like_path(name) == bool(re.match(r"[./~]|.*\\|[^/]*/[^/]*/", name, re.DOTALL))


@cases(text=words, context=st.none() | sizes(0, 30), room=sizes(0, 3),
       fault=faults(*named(NO_TEXT, "text"), *NO_TOKENIZER, *named(NO_COUNT, "room"), *named(NO_COUNT, "context"))
)  # fmt: skip
def test_encode(text, context, room, fault):
    if fault:
        faulty = {**named(NO_TEXT, "text"), **named(NO_COUNT, "room"), **named(NO_COUNT, "context")}
        name, value = faulty.get(fault) or ("tokenizer", NO_TOKENIZER[fault])
        given = {"tokenizer": tokenizer(), "text": text, "context": 99, "room": room, name: value}
        assert refused(ih.encode, **given, naming=name)
        return
    wanted = tokenizer()(text)["input_ids"]
    if context is not None and len(wanted) + room > context:
        assert refused(ih.encode, tokenizer(), text, context=context, room=room, naming="text")
    else:
        found = ih.encode(tokenizer(), text, context=context, room=room)
        assert found.tolist() == [wanted]
        assert tokenizer().decode(found[0], clean_up_tokenization_spaces=False) == text


@cases(start=words, pair=st.tuples(words, words), end=words,
       fault=faults(*named(NO_TEXT, "clean"), *named(NO_TEXT, "corrupted"), *NO_TOKENIZER, "the same", "too long")
)  # fmt: skip
def test_encode_pair(start, pair, end, fault):
    clean, corrupted = (f"{start} {each} {end}" for each in pair)
    if fault:
        name, value = {**named(NO_TEXT, "clean"), **named(NO_TEXT, "corrupted")}.get(fault, ("corrupted", clean))
        given = {"tokenizer": tokenizer(), "clean": clean, "corrupted": corrupted}
        if fault in NO_TOKENIZER:
            name, value = "tokenizer", NO_TOKENIZER[fault]
        if fault == "too long":
            given["context"], name, value = 3, "clean", "one two three four five"
        assert refused(ih.encode_pair, **{**given, name: value}, naming=["texts", name])
        return
    wanted = [tokenizer()(each)["input_ids"] for each in (clean, corrupted)]
    if wanted[0] == wanted[1] or len(wanted[0]) != len(wanted[1]):
        assert refused(ih.encode_pair, tokenizer(), clean, corrupted, naming="texts")
    else:
        assert [each.tolist() for each in ih.encode_pair(tokenizer(), clean, corrupted)] == [[each] for each in wanted]


NO_IDS = {
    "strings": ["a", "b"], "a string": "12", "floats": [1.0], "float tensor": torch.ones(3), "below 0": [-1],
    "nothing": None,
    "two axes": [[1, 2]], "a number": 3, "huge": [2**70], "other device": torch.ones(2).long().to("meta"),
    "booleans": [True],
}  # fmt: skip


# Ids beyond the vocabulary are left out: a model may have more rows than its tokenizer has tokens, and names them so.
@cases(row=st.lists(st.integers(0, VOCABULARY - 1), max_size=6), kind=st.sampled_from([list, tuple, torch.tensor]),
       fault=faults(*NO_IDS, *NO_TOKENIZER))  # fmt: skip
def test_token_labels(row, kind, fault):
    if fault in NO_TOKENIZER:
        assert refused(ih.token_labels, NO_TOKENIZER[fault], row, naming="tokenizer")
    elif fault:
        assert refused(ih.token_labels, tokenizer(), NO_IDS[fault], naming="tokens")
    else:
        found = ih.token_labels(tokenizer(), kind(row))
        assert len(found) == len(row)
        for label, token in zip(found, row):
            text = tokenizer().decode([token], clean_up_tokenization_spaces=False)
            assert label.replace("↵", "\n") == (text if text[:1] != " " else "·" + text[1:])
            assert "\n" not in label
            assert label[:1] != " "


@cases(rows=st.lists(ids, min_size=1, max_size=4), kind=st.sampled_from([list, tuple, torch.tensor]),
       fault=faults(*NO_IDS, "rows: none", "rows: a string", "rows: nothing", "rows: a number", "row: empty")
)  # fmt: skip
def test_pad(rows, kind, fault):
    if fault and fault.startswith("rows"):
        bad = {"rows: none": [], "rows: a string": "ab", "rows: nothing": None, "rows: a number": 3}[fault]
        assert refused(texts.pad, bad, naming="rows")
    elif fault:
        assert refused(texts.pad, [*rows, NO_IDS.get(fault, [])], naming="row")
    else:
        tokens, mask = texts.pad([kind(row) for row in rows])
        assert tokens.shape == mask.shape == (len(rows), max(map(len, rows)))
        for number, row in enumerate(rows):
            assert tokens[number].tolist() == row + [0] * (tokens.shape[1] - len(row))
            assert mask[number].tolist() == [True] * len(row) + [False] * (tokens.shape[1] - len(row))


@cases(given=lists, size=sizes(1, 4), start=st.none() | sizes(0, 9),
       fault=faults(*named(NO_COUNT, "size"), "size: 0", *named(NO_COUNT, "start"), *NO_TOKENIZER, "texts: one string",
                    "texts: nothing", "texts: a number", "too long", *named(NO_TEXT, "text"))
)  # fmt: skip
def test_token_batches(given, size, start, fault):
    arguments = {"tokenizer": tokenizer(), "texts": given, "size": size, "start": start}
    if fault:
        wrong = {
            **named(NO_COUNT, "size"), **named(NO_COUNT, "start"), "size: 0": ("size", 0),
            **{each: ("tokenizer", value) for each, value in NO_TOKENIZER.items()}, "texts: one string": ("texts",
            "one"),
            "texts: nothing": ("texts", None), "texts: a number": ("texts", 3), "too long": ("context", 0),
        }  # fmt: skip
        name, value = wrong.get(fault) or ("texts", [*given, NO_TEXT[fault.removeprefix("text: ")]])
        assert refused(ih.token_batches, **{**arguments, name: value}, naming=["text", name])
        return
    found = ih.token_batches(**arguments)
    assert [len(tokens) for tokens, _ in found] == [len(given[i : i + size]) for i in range(0, len(given), size)]
    rows = [tokens[mask].tolist() for batch in found for tokens, mask in zip(*batch)]
    assert rows == [[start] * (start is not None) + tokenizer()(each)["input_ids"] for each in given]


FEW = MagicMock(all_special_ids=[0, 2], **{"__len__.return_value": 5})  # a tokenizer with many special tokens


@cases(length=sizes(1, 6), sequences=sizes(1, 4), start=st.none() | sizes(0, 9), seed=sizes(0, 2**40),
       fault=faults("length: 0", "sequences: 0", *NO_TOKENIZER, *named(NO_COUNT, "length"), *named(NO_COUNT,
                    "sequences"),
                    *named(NO_COUNT, "start"), *named(NO_SEED, "seed")))  # fmt: skip
def test_repeated_random_tokens(length, sequences, start, seed, fault):
    given = {"tokenizer": tokenizer(), "length": length, "sequences": sequences, "start": start, "seed": seed}
    if fault:
        wrong = {"length: 0": ("length", 0), "sequences: 0": ("sequences", 0)}
        for table, name in [(NO_COUNT, "length"), (NO_COUNT, "sequences"), (NO_COUNT, "start"), (NO_SEED, "seed")]:
            wrong |= named(table, name)
        name, value = wrong.get(fault) or ("tokenizer", NO_TOKENIZER[fault])
        assert refused(ih.repeated_random_tokens, **{**given, name: value}, naming=name)
        return
    before = torch.get_rng_state()
    found = ih.repeated_random_tokens(**given)
    assert torch.equal(before, torch.get_rng_state())
    front = found[:, : found.shape[1] - 2 * length]
    assert front.tolist() == [[start] * (start is not None)] * sequences
    first, second = found[:, front.shape[1] :].split(length, 1)
    assert torch.equal(first, second)
    assert first.max() < VOCABULARY
    assert torch.equal(found, ih.repeated_random_tokens(**given))
    few = ih.repeated_random_tokens(FEW, 99, sequences=sequences, seed=seed)
    assert set(few.flatten().tolist()) == {1, 3, 4}


@cases(rows=st.lists(ids, min_size=1, max_size=4), whole=st.booleans(), noise=seeded(),
       fault=faults(*(each for each in TOKENS if "beyond" not in each), *MASKS, "three things", "nothing in it")
)  # fmt: skip
def test_checked_batch(rows, whole, noise, fault):
    tokens, mask = texts.pad(rows)
    if fault in ("three things", "nothing in it"):
        assert refused(texts.checked_batch, "here", (tokens, mask, mask) if fault[0] == "t" else (), naming="batch")
    elif fault:
        batch = {**TOKENS, **MASKS}[fault](tokens, mask)
        assert refused(texts.checked_batch, "here", batch, naming="mask" if fault in MASKS else "tokens")
    else:
        found, kept = texts.checked_batch("here", (tokens, mask.long() if whole else mask))
        assert torch.equal(found, tokens)
        assert torch.equal(kept, mask)
        alone, everything = texts.checked_batch("here", tokens)
        assert torch.equal(alone, tokens)
        assert everything.all()


@cases(rows=st.lists(ids, min_size=1, max_size=4), seed=sizes(0, 2**40),
       fault=faults(*(each for each in TOKENS if "beyond" not in each), *MASKS, *named(NO_SEED, "seed"),
                    "batches: nothing",
                    "batches: a string", "batches: a number"))  # fmt: skip
def test_shuffled(rows, seed, fault):
    batch = texts.pad(rows)
    if fault in TOKENS or fault in MASKS:
        spoilt = {**TOKENS, **MASKS}[fault](*batch)
        assert refused(ih.shuffled, [spoilt], seed, naming="mask" if fault in MASKS else "tokens")
    elif fault in named(NO_SEED, "seed"):
        assert refused(ih.shuffled, [batch], named(NO_SEED, "seed")[fault][1], naming="seed")
    elif fault:
        bad = {"batches: nothing": None, "batches: a string": "ab", "batches: a number": 3}[fault]
        assert refused(ih.shuffled, bad, seed, naming="batch")
    else:
        [(mixed, mask)] = ih.shuffled([batch], seed)
        assert torch.equal(mask, batch[1])
        for before, after, row in zip(rows, mixed.tolist(), mask):
            length = int(row.sum())
            assert after[0] == before[0]
            assert sorted(after[1:length]) == sorted(before[1:])
            assert after[length:] == [0] * (len(after) - length)
        assert torch.equal(mixed, ih.shuffled([batch], seed)[0][0])


# Exercises.
NO_NOTEBOOK = {
    "0": 0,
    "8": 8,
    "negative": -1,
    "half": 1.0,
    "a word": "1",
    "nothing": None,
    "a list": [1],
    "NaN": torch.nan,
}
NO_EXERCISE = ["1z", "0a", "9a", "a", "", "2", "22a", None, 3, ["2a"], "２a", "2A", " 2a"]
BLANKS = [None, ..., [], {}, [None, None], {"layer": None}, {"a": [None, ...]}]


def quiet(function, *arguments):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        found = function(*arguments)
    return found, said.getvalue()


@cases(notebook=sizes(1, 7), place=sizes(0, 30), answer=st.sampled_from(BLANKS) | st.integers() | st.floats() | words,
       fault=faults(*NO_NOTEBOOK))  # fmt: skip
def test_checkers_report_and_title(notebook, place, answer, fault):
    if fault:
        assert refused(checks.checkers, NO_NOTEBOOK[fault], naming="notebook")
        assert refused(checks.report, NO_NOTEBOOK[fault], naming="notebook")
        return
    found = checks.checkers(notebook)
    name = list(found)[place % len(found)]
    assert name == f"{notebook}{'abcdefghijkl'[place % len(found)]}"
    quiet(checks.check, name, answer)
    table, said = quiet(checks.report, notebook)
    assert list(table.index) == list(found)
    blank = any(answer is each or (each and answer == each) for each in BLANKS) or answer in ([], {})
    assert table.loc[name, "result"] == (checks.BLANK if blank else checks.WRONG)
    assert table.loc[name, "about"] == checks.title(found[name])
    passed = int((table["result"] == checks.PASSED).sum())
    assert said == f"{passed} of {len(found)} passed\n"


RIGHT = {
    "4a": lambda values, lengths: values[:, torch.arange(values.shape[2]) < lengths[:, None]],
    "1b": lambda pattern, visible: torch.stack([
        -(row * row.clamp_min(1e-30).log()).sum(-1) / seen.sum().log() for row, seen in zip(pattern.unbind(-2), visible)
        if seen.sum() > 1
    ], -1).mean(-1),
}  # fmt: skip


@cases(name=st.sampled_from([*RIGHT]), factor=st.floats(0.1, 10).filter(lambda each: abs(each - 1) > 1e-2),
       kind=st.sampled_from(["right", "wrong", "raises", "returns nothing", "blank"]) | st.sampled_from(NO_EXERCISE)
)  # fmt: skip
def test_check(name, factor, kind):
    def raises(*given):
        raise ZeroDivisionError("on purpose")

    def blank(values, others):
        """As the student edition has it."""

    answers = {
        "right": (RIGHT[name], "✓"), "wrong": (lambda *given: factor * RIGHT[name](*given), "✗"), "raises": (raises,
        "✗"),
        "returns nothing": (lambda *given: print(end=""), "✗"), "blank": (blank, "○"),
    }  # fmt: skip
    if not isinstance(kind, str) or kind not in answers:
        assert refused(checks.check, kind, RIGHT[name], naming="exercise")
        return
    answer, mark = answers[kind]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("INTERP_GRADING", raising=False)
        _, said = quiet(checks.check, name, answer)
        assert said.startswith(f"{mark} {name}")
        assert said.count("\n") == 1
        patch.setenv("INTERP_GRADING", "1")
        if kind == "right":
            quiet(checks.check, name, answer)
        else:
            with pytest.raises(ih.CheckError, match=re.escape(f"{mark} {name}")):
                quiet(checks.check, name, answer)


@cases(
    line=words.map(lambda text: " ".join(text.split())),
    rest=st.text(),
    fault=faults("nothing", "string", "no docstring", "blank"),
)
def test_title(line, rest, fault):
    def checker(answer):
        return answer

    if fault:
        checker.__doc__ = " \n" if fault == "blank" else None
        assert refused(checks.title, {"nothing": None, "string": "4a"}.get(fault, checker), naming="checker")
    else:
        checker.__doc__ = f"\n    {line}.\n{rest}"
        assert checks.title(checker) == line.rstrip(".") or checks.title(checker) == line
