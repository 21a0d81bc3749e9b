"""Properties of what is read from files and folders: the right answer, or an error that names the argument."""

import csv
import io
import json
from pathlib import Path

import pandas as pd
import torch
from disk import NO_MODEL, NO_PATH, OFFLINE, flipped, new, shown
from hypothesis import strategies as st
from properties import cases, faults, refused, seeded, sizes
from tiny import FAMILIES, HEADS, LAYERS, tiny, tokenizer

import interp_helpers as ih
from interp_helpers import sharded
from interp_helpers.survey import survey, survey_sums, table
from interp_helpers.texts import pad

letters = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"])
sentences = st.lists(st.text(letters, min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=5)


# Sentences.
def csv_bytes(rows, encoding="utf-8"):
    with io.StringIO(newline="") as text:
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue().encode(encoding)


def test_load_sentences(tmp_path, monkeypatch):
    monkeypatch.setattr(*OFFLINE)

    @cases(
        rows=sentences, column=st.sampled_from(["text", "sentence", "review", "content", "words"]),
        encoding=st.sampled_from(["utf-8", "utf-8-sig"]), kind=st.sampled_from([".csv", ".txt", ".CSV"]),
        labels=st.booleans(),
        noise=st.binary(max_size=40),
        fault=faults(*(f"name: {each}" for each in NO_MODEL), "column: unknown", "column: a number",
                     "column: a list", "no header",
                     "only blanks", "empty", "other kind", "no UTF-8", "gone", "noise", "empty folder"),
    )  # fmt: skip
    def holds(rows, column, encoding, kind, labels, noise, fault):
        path = new(tmp_path, kind)
        if fault and fault.startswith("name"):
            given = NO_MODEL[fault[6:]]
            assert refused(ih.load_sentences, given, naming=["name", "split", *shown(given)])
            return
        lines = [[each, number] for number, each in enumerate(rows)]
        whole = csv_bytes([[column, "label"], *lines] if labels else [[column], *([each] for each in rows)], encoding)
        path.write_bytes("\n".join(rows).encode(encoding) if kind == ".txt" else whole)
        given = {"name": path, "column": column if column == "words" and kind != ".txt" else None}
        if fault == "noise":
            path.write_bytes(noise)
            try:
                found = ih.load_sentences(path)
            except ih.TextError as problem:
                assert str(problem).startswith("load_sentences: ")  # noqa: PT017 - either is right
            else:
                assert all(isinstance(each, str) and each.strip() == each != "" for each in found["text"])
        elif fault:
            if fault.startswith("column"):
                given["column"] = {"unknown": "nowhere", "a number": 3, "a list": ["text"]}[fault[8:]]
            elif fault == "no header":
                path = given["name"] = path.with_suffix(".csv")
                path.write_bytes(b"1,2\n3,4\n")
            elif fault in ("only blanks", "empty"):
                path.write_bytes(b" \n\n" if fault == "only blanks" else b"")
            elif fault == "other kind":
                given["name"] = path.rename(path.with_suffix(".md"))
            elif fault == "no UTF-8":
                path.write_bytes(b"text\ncaf\xe9\n")
            elif fault == "gone":
                path.unlink()
            else:
                path.unlink()
                path.mkdir()
            assert refused(ih.load_sentences, **given, naming=["column", Path(given["name"]).name])
        else:
            found = ih.load_sentences(**given)
            assert found["text"].tolist() == [each.strip() for each in rows]
            assert kind == ".txt" or not labels or found["label"].tolist() == list(range(len(rows)))

    holds()


# A corpus in files.
def test_read_texts(tmp_path):
    @cases(
        rows=sentences, kind=st.sampled_from([".txt", ".csv", ".jsonl"]), bad=sizes(0, 5), noise=st.binary(max_size=60),
        column=st.sampled_from(["text", "words"]),
        fault=faults(*(f"path: {each}" for each in NO_PATH), "gone", "other kind", "empty folder", "column: unknown",
                     "column: nothing",
                     "noise"),
    )  # fmt: skip
    def holds(rows, kind, bad, noise, column, fault):
        path = new(tmp_path, kind)

        def read(given=path, column=column):
            return list(sharded.read_texts(given, column))

        if fault == "noise":
            path.write_bytes((b"text\n" if kind == ".csv" else b"") + noise)
            for _, text, wrong in read(column="text"):
                assert isinstance(text, str) if wrong is None else text is None
            return
        if fault and fault.startswith("path"):
            assert refused(read, NO_PATH[fault[6:]], naming="path")
        elif fault == "gone":
            assert refused(read, naming=f"file or folder {path}")
        elif fault == "other kind":
            path.with_suffix(".md").write_text("a")
            assert refused(read, path.with_suffix(".md"), naming=path.stem)
        elif fault == "empty folder":
            path.mkdir()
            assert refused(read, naming=f"folder {path}")
        elif fault:
            path = path.with_suffix(".csv")
            path.write_bytes(csv_bytes([["text"], ["a"]]))
            assert refused(read, path, {"unknown": "nowhere", "nothing": None}[fault[8:]], naming=["columns"])
        else:
            lines = {
                ".txt": [each.encode() for each in rows],
                ".csv": [csv_bytes([[each, "more"]]).strip(b"\n") for each in rows],
                ".jsonl": [json.dumps({column: each}).encode() for each in rows],
            }[kind]
            lines.insert(bad % (len(lines) + 1), b"\xff")  # spoils itself only
            path.write_bytes(b"\n".join([csv_bytes([[column, "other"]]).strip(b"\n")] * (kind == ".csv") + lines))
            found = read()
            assert [text for _, text, _ in found if text is not None] == rows
            ((_, text, wrong),) = [each for each in found if each[2]]
            assert text is None
            assert "utf-8" in wrong
            starts = [int(where.rsplit(":")[-1]) for where, _, _ in found]
            assert starts == list(range(1 + (kind == ".csv"), len(found) + 1 + (kind == ".csv")))

    holds()


NO_COUNT = {"0": 0, "negative": -1, "half": 2.5, "a word": "2", "nothing": None, "NaN": torch.nan, "a list": [2]}


@cases(text=st.text(max_size=20), context=sizes(2, 6),
       fault=faults(*(f"context: {each}" for each in NO_COUNT), "context: one", "text: nothing", "text: a number",
                    "text: half a letter", "text: empty", "tokenizer: nothing", "tokenizer: a name")
)  # fmt: skip
def test_windows(text, context, fault):
    if fault:
        name, kind = fault.split(": ")
        bad = {**NO_COUNT, "one": 1, "a number": 3, "half a letter": "a \ud800", "empty": "", "a name": "gpt2"}[kind]
        given = {"tokenizer": tokenizer(), "text": "the king and the queen", "context": context, name: bad}
        assert refused(sharded.windows, **given, naming=name)
        return
    ids = tokenizer()(text)["input_ids"]
    if len(ids) < 2:
        assert refused(sharded.windows, tokenizer(), text, context, naming="text")
        return
    pieces = sharded.windows(tokenizer(), text, context)
    assert [len(piece) for piece in pieces[:-1]] == [context] * (len(pieces) - 1)
    assert 2 <= len(pieces[-1]) <= context
    together = [each for piece in pieces for each in piece]
    assert together == ids[: len(ids) - (len(ids) % context == 1)]


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
settings = st.dictionaries(st.text(max_size=5), values | st.lists(values, max_size=3), max_size=4)
contents = st.dictionaries(
    st.text(max_size=5), st.integers(-(2**60), 2**60) | st.lists(st.text(max_size=5)), max_size=3
)


def test_shards(tmp_path):
    @cases(
        given=settings, other=values, number=sizes(0, 10**6), content=contents, seed=seeded(),
        fault=faults(*(f"folder: {each}" for each in NO_PATH), "folder: a file", "settings: nothing",
                     "settings: a string",
                     "settings: a tensor", "manifest", "manifest: a list", "another setting", "one less",
                     "number: nothing",
                     "number: a word", "number: half", "number: negative", "gone", "cut short"),
    )  # fmt: skip
    def holds(given, other, number, content, seed, fault):
        path = new(tmp_path)
        if fault and fault.startswith("folder"):
            path.write_text("a file")
            assert refused(sharded.Shards, NO_PATH.get(fault[8:], path), given, naming="folder")
            return
        if fault and fault.startswith("settings"):
            bad = {"nothing": None, "a string": "model", "a tensor": {"a": torch.ones(1)}}[fault[10:]]
            assert refused(sharded.Shards, path, bad, naming="settings")
            assert not path.exists()
            return
        shards = sharded.Shards(path, given)
        content = {**content, "sums": torch.randn(3, generator=seed)}
        if fault in ("manifest", "manifest: a list"):
            (path / "survey.json").write_text("{" if fault == "manifest" else "[1]")
            assert refused(sharded.Shards, path, given, naming="folder")
        elif fault == "another setting":
            assert refused(sharded.Shards, path, {**given, "more": "than before"}, naming="more")
        elif fault == "one less":
            sharded.Shards(path / "inside", {**given, "more": "than now"})
            assert refused(sharded.Shards, path / "inside", given, naming="more")
        elif fault and fault.startswith("number"):
            bad = {"nothing": None, "a word": "1", "half": 0.5, "negative": -1}[fault[8:]]
            for call in (shards.path, shards.done, shards.read, lambda number: shards.write(number, content)):
                assert refused(call, bad, naming="number")
        elif fault:
            shards.write(number, content)
            whole = shards.path(number).read_bytes()
            shards.path(number).unlink()
            if fault == "cut short":
                shards.path(number).write_bytes(whole[: int(torch.randint(len(whole) - 200, (), generator=seed))])
            assert refused(shards.read, number, naming=f"shard {path}")
        else:
            again = sharded.Shards(str(path), given)
            assert not again.done(number)
            shards.write(number, content)
            assert again.done(number)
            found = again.read(number)
            assert torch.equal(found.pop("sums"), content.pop("sums"))
            assert found == content
            assert sorted(each.name for each in path.iterdir()) == [f"{number:07}.pt", "survey.json"]

    holds()


def test_digest(tmp_path):
    @cases(
        files=st.dictionaries(st.sampled_from(["a.txt", "b.csv", "c.jsonl", "d.txt"]), st.binary(max_size=20),
        min_size=1),
        kind=st.sampled_from(["same", "a bit", "a name", "one less", "another that is not read",
        "from one to the next"]),
        place=sizes(0, 999), fault=faults(*(f"path: {each}" for each in NO_PATH), "gone"),
    )  # fmt: skip
    def holds(files, kind, place, fault):
        if fault:
            bad = new(tmp_path) if fault == "gone" else NO_PATH[fault[6:]]
            assert refused(sharded.digest, bad, naming=["path", "file or folder"])
            return
        one, two = new(tmp_path), new(tmp_path)
        for each in (one, two):
            each.mkdir()
            for name, content in files.items():
                (each / name).write_bytes(content)
        changed = sorted(two.iterdir())[place % len(files)]
        if kind == "a bit":
            changed.write_bytes(flipped(changed.read_bytes(), place) if changed.read_bytes() else b"a")
        elif kind == "a name":
            changed.rename(two / f"new{changed.suffix}")
        elif kind == "one less":
            changed.unlink()
        elif kind == "another that is not read":
            (two / "e.md").write_text("a")
        elif kind == "from one to the next":  # the bytes of both, in one file
            changed.unlink()
            first, second = (files[changed.name], b"2")
            changed.write_bytes(first + b"e.txt" + second)
            (one / changed.name).write_bytes(first)
            (one / "e.txt").write_bytes(second)
            assert changed.name > "e.txt" or sharded.digest(one) != sharded.digest(two)
            return
        assert (sharded.digest(one) == sharded.digest(two)) == (kind in ("same", "another that is not read"))
        single = [sharded.digest(each / sorted(files)[0]) for each in (one, one)]
        assert single[0] == single[1]

    holds()


stories = st.lists(
    st.lists(st.sampled_from(["the", "king", "and", "a", "goose", "went", "."]), min_size=1, max_size=7).map(" ".join),
    min_size=1, max_size=5,
)  # fmt: skip
CONTEXT = 6
SHARD_FAULTS = {
    **{f"{name}: {each}": (name, value) for name in ("context", "batch") for each, value in NO_COUNT.items()},
    "model: nothing": ("model", None), "model: a name": ("model", "gpt2"),
    "tokenizer: nothing": ("tokenizer", None), "tokenizer: a name": ("tokenizer", "gpt2"),
}  # fmt: skip


@cases(family=st.sampled_from(FAMILIES), texts=stories, batch=sizes(1, 3), fault=faults(*SHARD_FAULTS))
def test_survey_shard(family, texts, batch, fault):
    given = {"model": tiny(family), "tokenizer": tokenizer(), "context": CONTEXT, "batch": batch}
    triples = [(f"line {number}", each, None) for number, each in enumerate(texts)] + [("line x", None, "it is spoilt")]
    if fault:
        name, value = SHARD_FAULTS[fault]
        assert refused(sharded.survey_shard, **{**given, name: value}, texts=triples, naming=name)
        return
    found = sharded.survey_shard(**given, texts=triples)
    ids = [tokenizer()(each)["input_ids"] for each in texts]
    rows = [row[i : i + CONTEXT] for row in ids for i in range(0, len(row), CONTEXT) if len(row) > 1]
    rows = [row for row in rows if len(row) > 1]
    short = [f"line {number}" for number, row in enumerate(ids) if len(row) < 2]
    assert [where for where, _ in found["skipped"]] == [*short, "line x"]
    assert (found["texts"], found["tokens"]) == (len(texts) - len(short), sum(map(len, rows)))
    if rows:
        parts = [survey_sums(tiny(family), [torch.tensor([row])]) for row in rows]
        torch.testing.assert_close(found["sums"], sum(each for each, _ in parts), atol=1e-5, rtol=1e-4)
        assert torch.equal(found["counts"], sum(each for _, each in parts))
    else:
        assert "sums" not in found


CORPUS_FAULTS = {
    **{f"{name}: {each}": (name, value) for name in ("context", "batch", "size", "processes") for each,
    value in NO_COUNT.items()},
    **{f"rank: {each}": ("rank", value) for each, value in NO_COUNT.items() if value != 0},
    "rank: too large": ("rank", 3),
    "model: nothing": ("model", None), "tokenizer: a name": ("tokenizer", "gpt2"), "shards: nothing": ("shards", None),
    "shards: a folder": ("shards", "folder"), "path: nothing": ("path", None), "path: gone": ("path", "nowhere.txt"),
}  # fmt: skip
NO_REDUCTION = {
    **{f"number: {each}": ("number", value) for each, value in NO_COUNT.items()},
    "shards: nothing": ("shards", None),
}


def test_survey_corpus_and_reduce(tmp_path):
    @cases(
        texts=stories, size=sizes(1, 3), processes=sizes(1, 3),
        fault=faults(*CORPUS_FAULTS, *(f"reduce {each}" for each in NO_REDUCTION), "a shard gone", "no text",
                     "short texts only"),
    )  # fmt: skip
    def holds(texts, size, processes, fault):
        path, model = new(tmp_path, ".txt"), tiny("gpt2")
        path.write_text("\n".join(texts), encoding="utf-8")
        shards = sharded.Shards(new(tmp_path), {})
        given = {
            "model": model, "tokenizer": tokenizer(), "path": path, "shards": shards, "context": CONTEXT, "batch": 2,
            "size": size,
            "processes": 3,
        }  # fmt: skip
        if fault in CORPUS_FAULTS:
            name, value = CORPUS_FAULTS[fault]
            assert refused(sharded.survey_corpus, **{**given, name: value}, naming=[name, "file or folder nowhere"])
        elif fault == "no text":
            path.write_text("")
            assert refused(sharded.survey_corpus, **given, naming=path.name)
        elif fault == "short texts only":
            path.write_text("a\n.\n")
            number = sharded.survey_corpus(**{**given, "processes": 1})
            assert refused(sharded.reduce, shards, number, naming="text")
        elif fault:
            number = sharded.survey_corpus(**{**given, "processes": 1})
            if fault == "a shard gone":
                shards.path(number - 1).unlink()
                assert refused(sharded.reduce, shards, number, naming="shard")
            else:
                name, value = NO_REDUCTION[fault.removeprefix("reduce ")]
                assert refused(sharded.reduce, **{"shards": shards, "number": number, name: value}, naming=name)
        else:
            for rank in reversed(range(processes)):
                number = sharded.survey_corpus(**{**given, "processes": processes}, rank=rank)
                assert [shards.done(each) for each in range(number)] == [
                    each % processes >= rank for each in range(number)
                ], "its share, and no other's"
            assert number == -(-len(texts) // size)
            ids = [tokenizer()(each)["input_ids"] for each in texts]
            rows = [row[i : i + CONTEXT] for row in ids for i in range(0, len(row), CONTEXT) if len(row) > 1]
            rows = [row for row in rows if len(row) > 1]
            if not rows:
                assert refused(sharded.reduce, shards, number, naming="text")
                return
            scores, total = sharded.reduce(shards, number)
            wanted = table(survey(model, [pad(rows)]))
            pd.testing.assert_frame_equal(scores[wanted.columns].rename_axis(None), wanted, atol=1e-5, rtol=1e-4)
            assert scores["layer"].tolist() == [layer for layer in range(LAYERS) for _ in range(HEADS)]
            assert total["tokens"] == sum(map(len, rows))
            assert total["texts"] + len(total["skipped"]) == len(texts)

    holds()
