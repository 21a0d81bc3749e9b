"""The survey of a corpus: any number of processes and interruptions, the same scores; nothing is skipped silently."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import strategies as st
from properties import cases

from interp_helpers import ArgumentError, TextError, corpus, load_model, load_sentences, token_batches
from interp_helpers.__main__ import main
from interp_helpers.attention import scores_table, survey
from interp_helpers.corpus import COPIES, _add_up, _batches, _bytes, _files, _read_texts, _survey_shards

TEXTS = [f"The {word} went to the mill, and the {word} came home again." for word in
         ["king", "dog", "miller", "queen", "goose", "boy", "cat", "old man", "wolf"]]  # fmt: skip


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def small(folders):
    return load_model(str(folders["gpt2"]), device="cpu")


@pytest.fixture
def words(folders, book, tmp_path):
    """The words of a command that surveys the book."""
    return ["--cpu", "--model", str(folders["gpt2"]), "--texts", str(book), "--out", str(tmp_path / "scores.parquet")]


def read(path, column="text"):
    """(where, text) of every text of a corpus."""
    return _read_texts(path, _files(path, "scores.parquet")[0], column)


def done(small, path, folder, processes=1):
    """The table and the totals after each of some processes did its share."""
    folder.mkdir(exist_ok=True)
    for rank in range(processes):
        options = {"context": 32, "size": 2, "rank": rank, "processes": processes}
        number = _survey_shards(*small, read(path), folder, **options)
    return _add_up(folder, number)


def texts(path, column="text"):
    return [text for _, text in read(path, column)]


# Reading.
def test_kinds_of_files_and_folders_of_them(tmp_path):
    (tmp_path / "a.csv").write_text('id,text\n1,"two\nlines"\n2,plain\n', encoding="utf-8-sig")
    (tmp_path / "b.jsonl").write_text('{"text": "json"}\n{"other": 1}\n\n{"text": null}\n[1]', encoding="utf-8")
    (tmp_path / "c.txt").write_text("a whole\nfile", encoding="utf-8-sig")
    (tmp_path / "d.md").write_text("not read", encoding="utf-8")
    (tmp_path / "e.txt").mkdir()
    assert list(read(tmp_path / "a.csv")) == [
        (f"{tmp_path}/a.csv, row 1", "two\nlines"),
        (f"{tmp_path}/a.csv, row 2", "plain"),
    ]
    assert texts(tmp_path / "b.jsonl") == ["json", None, None, None, None]
    assert texts(tmp_path / "c.txt") == ["a whole", "file"]
    (tmp_path / "b.jsonl").write_text("", encoding="utf-8")
    assert list(read(tmp_path))[2:] == [(f"{tmp_path}/c.txt", "a whole\nfile")]
    for path in [tmp_path / "d.md", tmp_path / "e.txt"]:
        with pytest.raises(TextError, match=f"no .txt, .csv, .jsonl at {path}. Give such a file"):
            texts(path)
    with pytest.raises(TextError, match=f"no file or folder at {tmp_path}/f.txt"):
        texts(tmp_path / "f.txt")


def test_hidden_files_and_the_survey_s_own_are_passed_over_and_others_are_named(tmp_path):
    """`.TXT` was left out, `._a.txt` of macOS was surveyed, and a pipe or a link that leads nowhere went unsaid."""
    for name in ["a.txt", "B.TXT", ".hidden.txt", "._a.txt", "notes.md", "z.txt.gz", "out.parquet", "outer.txt"]:
        (tmp_path / name).write_text("a text", encoding="utf-8")
    for name in [".git/a.txt", "sub.txt/c.txt", "out.parquet.shards/a.txt"]:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("a text", encoding="utf-8")
    for name, to in {"broken.txt": "nowhere", "loop.txt": "loop.txt", "up": ".."}.items():
        (tmp_path / name).symlink_to(to)
    files, left_out = _files(tmp_path, tmp_path / "out.parquet")
    assert [file.relative_to(tmp_path).as_posix() for file in files] == ["B.TXT", "a.txt", "outer.txt", "sub.txt/c.txt"]
    nowhere, kind = "it is a link that leads nowhere or to itself.", "it is no .txt, .csv, .jsonl file."
    assert {path.name: why for path, why in left_out} == {
        "broken.txt": nowhere, "loop.txt": nowhere, "notes.md": kind, "z.txt.gz": kind,
        "up": "it is a link to a folder, and those are not followed.",
    }  # fmt: skip
    assert texts(tmp_path / ".hidden.txt") == texts(tmp_path / "B.TXT") == ["a text"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "a.txt").write_text("a text", encoding="utf-8")
    assert [(path.name, why) for path, why in _files(tmp_path, "x")[1]] == [
        ("pipe.txt", "it is no .txt, .csv, .jsonl file.")
    ]
    with pytest.raises(TextError, match=r"no .txt, .csv, .jsonl at .*pipe.txt"):
        _files(tmp_path / "pipe.txt", "x")


@pytest.mark.parametrize("folder", ["un été", "a [1] b", "a*b"])
def test_a_path_is_no_pattern(folder, tmp_path):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "a[0].txt").write_text("one\ntwo", encoding="utf-8")
    assert texts(tmp_path / folder / "a[0].txt") == ["one", "two"]


def test_words_of_a_table_are_words(tmp_path):
    """Not numbers, missing values or dates."""
    rows = ["007", "NA", "2020-01-01", "nan", "1e5", "true"]
    (tmp_path / "a.csv").write_text("text,id\n" + "".join(f"{row},1\n" for row in rows), encoding="utf-8")
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": row}) for row in rows), encoding="utf-8")
    assert texts(tmp_path / "a.csv") == texts(tmp_path / "a.jsonl") == rows
    assert texts(tmp_path / "a.csv", "id") == ["1"] * 6


def test_a_line_ends_where_load_sentences_ends_it(tmp_path):
    """Both broke lines differently once: U+2028 is a line break to str.splitlines only."""
    (tmp_path / "a.txt").write_text("one\u2028two\x85three\x0cfour\r\nfive\n", encoding="utf-8", newline="")
    assert texts(tmp_path / "a.txt") == ["one\u2028two\x85three\x0cfour", "five"]
    assert load_sentences(tmp_path / "a.txt")["text"].tolist() == texts(tmp_path / "a.txt")


def test_a_long_field_of_a_csv_is_one_row(tmp_path):
    """Python's own csv stops at 131,072 characters, and two rows became 1,778."""
    long = "a long\n" * 20_000
    (tmp_path / "a.csv").write_text(f'text\n"{long}"\nlast\n', encoding="utf-8")
    assert list(read(tmp_path / "a.csv")) == [
        (f"{tmp_path}/a.csv, row 1", long),
        (f"{tmp_path}/a.csv, row 2", "last"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"first\n\xff\n", "can't decode byte 0xff"),
        ("a.csv", b"text\n\xff\n", "can't decode byte 0xff"),
        ("a.jsonl", b'{"text": "\xff"}\n', "can't decode byte 0xff"),
        ("a.csv", b"", "no column 'text' in its header ''"),
        ("a.csv", b"id\n1\n", "no column 'text' in its header 'id' .*needs a header with 'text', commas"),
        ("a.csv", b"text;id\na;1\n", "no column 'text' in its header 'text;id'"),
        ("a.csv", b'text\n"never\nclosed\n', "at line 3, unexpected end of data"),
        ("a.csv", b'text\n"never closed\na "fine" one\n', "at line 3, ',' expected after"),
        ("a.csv", b'text,id\n"never closed,1\nsaid ",2\n"a",b,3\n', "at line 4, 3 fields in a row, 2 in"),
        ("a.csv", b'text,id\n"never closed,1\nthe "\n', "at line 3, 1 fields in a row, 2 in the header"),
        ("a.csv", b"text,id\na,1\na,b,1\n", "at line 3, 3 fields in a row, 2 in the header"),
        ("a.csv", b"text\nGood, fine.\nYes, good.\n", "2 fields in a row, 1 in the header"),
        ("a.TXT", "UTF-16, with a mark".encode("utf-16"), "can't decode byte 0xff.* It must be text in UTF-8"),
        ("a.txt", "UTF-16".encode("utf-16-le"), "NUL characters"),
        ("a.csv", b"text\na\0b\n", "NUL characters"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TextError, match=f"^{tmp_path}/{name} cannot be read: .*{message}"):
        texts(tmp_path)


def test_a_line_that_is_no_json_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one\\u0000"}\n{"text": "never closed\n', encoding="utf-8")
    with pytest.raises(TextError, match=r"a\.jsonl, line 2, is no JSON: Unterminated string.* Correct it"):
        texts(tmp_path)


letters = st.characters(codec="utf-8", exclude_characters="\r\n\ufeff\0")  # \0: above, and refused in .csv and .txt


@cases(
    rows=st.lists(st.text(letters, max_size=9), min_size=1, max_size=5), kind=st.sampled_from(["csv", "jsonl", "txt"])
)
def test_what_was_written_is_read(tmp_path_factory, rows, kind):
    path = tmp_path_factory.mktemp("written") / f"a.{kind}"
    if kind == "csv":
        pd.DataFrame({"text": rows, "other": 1}).to_csv(path, index=False)
    else:
        lines = [json.dumps({"text": row}) for row in rows] if kind == "jsonl" else rows
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    assert texts(path) == rows


# Surveying.
@pytest.mark.parametrize("processes", [2, 3, 8])
def test_any_number_of_processes_gives_the_same_bits(small, book, tmp_path, processes):
    one, totals = done(small, book, tmp_path / "one")
    several, same = done(small, book, tmp_path / "several", processes)
    assert totals == same == {"texts": 9, "tokens": totals["tokens"], "cut": 0, "skipped": []}
    pd.testing.assert_frame_equal(one, several, check_exact=True)


def test_the_scores_are_the_surveys(small, book, tmp_path):
    scores, _ = done(small, book, tmp_path / "shards")
    wanted = scores_table(survey(small[0], token_batches(small[1], TEXTS, size=4)))
    np.testing.assert_allclose(scores[wanted.columns], wanted, rtol=0, atol=1e-6)
    assert list(scores.index) == list(wanted.index)
    assert scores.loc["L1H2", ["layer", "head"]].tolist() == [1, 2]


def test_a_long_text_is_cut_into_pieces(small, tmp_path):
    """A last piece of one token is left out: it chooses nothing."""
    path, ids = tmp_path / "a.txt", small[1](TEXTS[0])["input_ids"]
    path.write_text(TEXTS[0], encoding="utf-8")
    for context in [2, 5, len(ids) - 1, len(ids)]:
        folder = tmp_path / f"{context}"
        folder.mkdir()
        _survey_shards(*small, read(path), folder, context=context)
        scores, totals = _add_up(folder, 1)
        assert totals["tokens"] == len(ids) - (len(ids) % context == 1)
        assert totals["cut"] == (context < len(ids))
        pieces = [torch.tensor([ids[start : start + context]]) for start in range(0, len(ids), context)]
        wanted = survey(small[0], [piece for piece in pieces if piece.shape[1] > 1])
        for name, score in wanted.items():
            np.testing.assert_allclose(scores[name], score.flatten(), rtol=0, atol=1e-6)


def test_after_an_interruption_only_what_is_missing_is_done(small, book, tmp_path, monkeypatch):
    whole, _ = done(small, book, tmp_path / "whole")
    real, calls = corpus.survey_sums, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(corpus, "survey_sums", failing)
    with pytest.raises(KeyboardInterrupt):
        done(small, book, tmp_path / "cut")
    assert len(list((tmp_path / "cut").iterdir())) == 2
    scores, _ = done(small, book, tmp_path / "cut")
    assert len(calls) == 3 + 3  # five shards: two were there
    pd.testing.assert_frame_equal(scores, whole, check_exact=True)


def test_what_cannot_be_used_is_listed_and_the_rest_is_surveyed(small, tmp_path):
    path = tmp_path / "texts.jsonl"
    rows = [{"text": TEXTS[0]}, {"other": 1}, {"text": " the"}, {"text": ""}, {"text": 2}, {"text": "a \ud800"}]
    path.write_text("\n".join(map(json.dumps, [*rows, {"text": TEXTS[1]}])), encoding="utf-8")
    scores, totals = done(small, path, tmp_path / "shards")
    assert totals["texts"] == 2
    assert [where for where, _ in totals["skipped"]] == [f"{path}, row {number}" for number in [2, 3, 4, 5, 6]]
    for (_, why), wanted in zip(
        totals["skipped"], ["no text in the column", "one token", "''", "2", "half of a character"]
    ):
        assert wanted in why
    (tmp_path / "clean.txt").write_text("\n".join(TEXTS[:2]), encoding="utf-8")
    pd.testing.assert_frame_equal(scores, done(small, tmp_path / "clean.txt", tmp_path / "clean")[0], rtol=1e-6)


def test_a_corpus_without_a_text_to_use_is_an_error(small, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\nx\n", encoding="utf-8")
    with pytest.raises(TextError, match=r"the first is .*texts.txt, row 1: "):
        done(small, path, tmp_path / "shards")
    path.write_text(TEXTS[0], encoding="utf-8")
    with pytest.raises(TextError, match=r"row 1: .*pieces of one token"):
        _add_up(tmp_path, _survey_shards(*small, read(path), tmp_path, context=1))


def test_a_damaged_shard_says_which_and_runs_no_code(small, book, tmp_path):
    done(small, book, tmp_path / "shards")
    path = tmp_path / "shards" / "0000002.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    with pytest.raises(ArgumentError, match=r"0000002\.pt cannot be read.* Delete it"):
        _add_up(tmp_path / "shards", 5)
    torch.save({"texts": pytest.raises}, path)  # a pickle may call any function when it is read
    with pytest.raises(ArgumentError, match="cannot be read"):
        _add_up(tmp_path / "shards", 5)


# Memory.
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_batch_of_long_pieces_is_smaller(family, folders):
    """Of a line of 0.95 MB, eight pieces of 1024 tokens took 2.7 GB beside SmolLM2; by default it is three now."""
    model, _ = load_model(str(folders[family]), device="cpu")
    pieces = [torch.zeros(length, dtype=torch.long) for length in [3, 60, 2, 60, 60, 3, 4, 2, 3]]

    def lengths(batch, gigabytes):
        return [texts.lengths.tolist() for texts in _batches(model, pieces, batch, gigabytes)]

    assert lengths(8, 2.0) == [[60, 60, 60, 4, 3, 3, 3, 2], [2]]
    assert lengths(4, 2.0) == [[60, 60, 60, 4], [3, 3, 3, 2], [2]]
    assert lengths(8, 2.5 * _bytes(model, 60) / 1e9) == [[60, 60], [60, 4], [3, 3, 3, 2, 2]]
    assert lengths(8, 1e-9) == [[60]] * 3 + [[4], [3], [3], [3], [2], [2]]


def test_what_a_piece_takes_is_told_from_the_model(folders):
    """Four heads and two layers of width 32: patterns and targets by the square, keys and values by the length."""
    model, _ = load_model(str(folders["gpt2"]), device="cpu")
    assert _bytes(model, 10) == 4 * (100 * (4 * COPIES + 7) + 10 * (2 * 2 * 32 + 16 * 32))
    model.config.num_key_value_heads = 1  # for four heads
    assert _bytes(model, 10) == 4 * (100 * (4 * COPIES + 7) + 10 * (2 * 2 * 8 + 16 * 32))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_without_memory_it_says_what_to_do(error, words, monkeypatch, tmp_path):
    def fails(*arguments):
        raise error

    monkeypatch.setattr(corpus, "survey_sums", fails)
    with pytest.raises(
        SystemExit, match=r"^Memory has run out\. A piece of 1\d tokens takes about 0\.0 GB.* --context"
    ):
        main(["survey", *words])
    error.args = ("another",)
    if isinstance(error, RuntimeError):
        with pytest.raises(RuntimeError, match="another"):
            main(["survey", *words])


# The whole command.
def manifest(tmp_path):
    return json.loads((tmp_path / "scores.parquet.shards" / "survey.json").read_text(encoding="utf-8"))


def test_the_command_writes_the_surveys_table_and_says_what_it_left_out(small, words, book, tmp_path, capsys):
    book.write_text("\n".join([*TEXTS[:3], "", TEXTS[3]]), encoding="utf-8")
    main(["survey", *words, "--shard", "1", "--batch", "1"])
    printed = capsys.readouterr()
    assert printed.out.startswith("4 texts, ")
    assert f", 0 cut, 1 skipped; 8 heads in {tmp_path}/scores.parquet; processes: 1\n" in printed.out
    assert printed.err == f"skipped {book}, row 4: The text is ''; give a string of one word or more.\n"
    wanted = scores_table(survey(small[0], token_batches(small[1], TEXTS[:4], size=1)))
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    np.testing.assert_allclose(scores[wanted.columns], wanted, rtol=0, atol=1e-6)


def test_a_file_that_cannot_be_parsed_ends_the_command_with_one_sentence(words, book, capfd):
    bad = book.with_suffix(".jsonl")
    bad.write_text("not json", encoding="utf-8")
    with pytest.raises(SystemExit, match=f"^{bad}, line 1, is no JSON: .*JSONDecodeError"):
        main(["survey", *words, "--texts", str(bad)])
    assert capfd.readouterr() == ("", "")


KILLED = """
import os, signal, sys
from interp_helpers import corpus
from interp_helpers.__main__ import main
real, calls = corpus.survey_sums, []
def killed(*arguments):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
corpus.survey_sums = killed
main(["survey", *sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a signal of POSIX")
@pytest.mark.deep
def test_killed_and_begun_again_in_two_processes(words, book, tmp_path):
    """A real kill, and a real group of two processes after it, against one process."""
    book.write_text("\n".join(TEXTS * 4), encoding="utf-8")
    words = [*words, "--shard", "2", "--context", "32"]
    shards = tmp_path / "scores.parquet.shards"
    ended = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    before = {each.name: each.stat().st_mtime_ns for each in shards.glob("*.pt")}
    assert len(before) == 3
    assert not (tmp_path / "scores.parquet").exists()
    group = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "interp_helpers", "survey"]
    ended = subprocess.run([*group, *words], capture_output=True, text=True, check=True)
    assert "36 texts" in ended.stdout
    assert ended.stdout.count("processes: 2") == 1
    after = {each.name: each.stat().st_mtime_ns for each in shards.glob("*.pt")}
    assert len(after) == 18
    assert {name: after[name] for name in before} == before
    main(["survey", *words, "--out", str(tmp_path / "alone.parquet")])
    found, alone = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ["scores", "alone"])
    pd.testing.assert_frame_equal(found, alone, check_exact=True)


def test_a_run_goes_on_with_another_number_of_threads(words, folders, monkeypatch, tmp_path):
    """What the shards depend on was once told by a sum of the weights, which depends on the order of summation."""
    threads = torch.get_num_threads()
    model, _ = load_model(str(folders["gpt2"]), device="cpu")
    with torch.no_grad():  # tokens that no text has, with weights whose sum no float holds
        model.transformer.wte.weight[4000:] = torch.randn(4192, 32) * 10 ** (14 * torch.rand(4192, 32))
    folder = tmp_path / "model"
    shutil.copytree(folders["gpt2"], folder)
    model.save_pretrained(folder)
    words, sums = [*words, "--model", str(folder), "--shard", "4"], set()
    real, calls = corpus.survey_sums, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    try:
        torch.set_num_threads(1)
        sums.add(model.transformer.wte.weight.double().sum().item())
        monkeypatch.setattr(corpus, "survey_sums", failing)
        with pytest.raises(SystemExit, match=r"^Interrupted"):
            main(["survey", *words])
        before = manifest(tmp_path)
        torch.set_num_threads(2)
        sums.add(model.transformer.wte.weight.double().sum().item())
        main(["survey", *words])
    finally:
        torch.set_num_threads(threads)
    assert len(sums) == 2, "the sum would have told"
    assert manifest(tmp_path) == before
    assert len(pd.read_parquet(tmp_path / "scores.parquet")) == 8


def test_shards_of_another_survey_are_not_mixed_in(words, book, folders, tmp_path):
    main(["survey", *words])
    assert {name: manifest(tmp_path)[name] for name in ["model", "context", "batch", "shard"]} == {
        "model": str(folders["gpt2"]), "context": 64, "batch": 8, "shard": 64
    }  # fmt: skip
    main(["survey", *words])
    for more, message in [
        (["--context", "32"], "context: 64 then, 32 now"),
        (["--batch", "7"], "batch: 8 then, 7 now"),
        (["--memory", "0.5"], "memory: 2.0 then, 0.5 now"),
        (["--model", str(folders["gpt-neo"])], "model files: "),
    ]:
        with pytest.raises(SystemExit, match=message):
            main(["survey", *words, *more])
    book.write_text("other", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"another survey \(texts: .*Delete the folder"):
        main(["survey", *words])


def test_a_digest_tells_files_apart(tmp_path):
    def digest(**contents):
        for path in tmp_path.iterdir():
            path.unlink()
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        return corpus._digest(tmp_path.iterdir())

    different = [{"a": b"12"}, {"a": b"13"}, {"b": b"12"}, {"a": b"1", "b": b"2"}, {"a": b"1", "b": b"3"}, {"a": b"1"}]
    assert len({digest(**contents) for contents in different}) == len(different)
    assert digest(a=b"1", b=b"2") == digest(b=b"2", a=b"1")


@pytest.mark.parametrize(
    ("limit", "given", "context"),
    [(64, [], 64), (64, ["--context", "2"], 2), (64, ["--context", "65"], 64), (None, [], 1024)],
)
def test_pieces_are_what_the_model_reads_and_1024_tokens_at_most(limit, given, context, words, tmp_path):
    """BLOOM's attention falls with distance, and its configuration states no longest text."""
    from tiny import tokenizer
    from transformers import BloomConfig, BloomForCausalLM

    BloomForCausalLM(BloomConfig(n_layer=1, n_head=2, hidden_size=8, vocab_size=8192)).save_pretrained(
        tmp_path / "bloom"
    )
    tokenizer().save_pretrained(tmp_path / "bloom")
    main(["survey", *words, *([] if limit else ["--model", str(tmp_path / "bloom")]), *given])
    assert manifest(tmp_path)["context"] == context


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: command"),
        (["survey"], "required: --texts, --out"),
        (["survey", "--shard", "1.5"], "'1.5' is not a whole number from 1 to 999999999"),
        (["survey", "--batch", "-1"], "'-1' is not a whole number from 1"),
        (["survey", "--shard", "1" * 20], "is not a whole number from 1 to 999999999"),
        (["survey", "--memory", "nan"], "'nan' is not a number above 0"),
        (["survey", "--memory", "much"], "'much' is not a number above 0"),
        (["survey", "--cpu", "--texts", "nowhere.txt", "--out", "x.parquet"], "at nowhere.txt"),
        (["survey", "--cpu", "--texts", "a" * 5000, "--out", "x.parquet"], "too long"),
        (["survey", "--cpu", "--texts", __file__, "--out", "x.csv"], "a .parquet file; x.csv is none"),
        (["survey", "--cpu", "--texts", __file__, "--out", "."], "a .parquet file; . is a folder"),
        (["survey", "--cpu", "--texts", __file__, "--out", "x.parquet"], "no .txt, .csv, .jsonl at"),
    ],
)
def test_the_command_line_says_what_is_missing_or_wrong(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(words)
    assert message in f"{end.value.code} {capsys.readouterr().err}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spread", [False, True])
def test_a_model_takes_a_map_of_devices_or_a_device(spread, words, folders, monkeypatch):
    asked, real = [], load_model
    monkeypatch.setattr(corpus, "load_model", lambda name, **options: asked.append(options) or real(name, device="cpu"))
    main(["survey", *words, *(["--device-map", "auto"] if spread else [])])
    assert asked == [
        {"device": None, "device_map": "auto"} if spread else {"device": torch.device("cpu"), "device_map": None}
    ]


@pytest.mark.parametrize("damage", ["{", "7"])
def test_a_damaged_record_of_what_was_asked_is_one_sentence(words, tmp_path, damage):
    main(["survey", *words])
    (record,) = tmp_path.rglob("survey.json")
    record.write_text(damage)
    with pytest.raises(SystemExit, match=r"cannot be used: .*Delete it, or give another --out"):
        main(["survey", *words])


def test_what_cannot_be_read_is_known_before_the_model_is_loaded(words, book, tmp_path, monkeypatch):
    """The last file of a corpus once ended a survey of days; then the digest of the corpus changed with the repair."""
    (book.parent / "corpus").mkdir()
    (book.parent / "corpus" / "a.csv").write_text("text\nfirst\n", encoding="utf-8")
    (book.parent / "corpus" / "z.csv").write_text("text\nlast, with a comma\n", encoding="utf-8")
    monkeypatch.setattr(corpus, "load_model", lambda *_, **__: pytest.fail("the model was loaded"))
    for path, message in [(book.parent / "corpus", "z.csv cannot be read: at line 2"), (tmp_path / "e.txt", "no text")]:
        (tmp_path / "e.txt").write_text("", encoding="utf-8")
        with pytest.raises(SystemExit, match=message):
            main(["survey", *words, "--texts", str(path)])
    assert not list(tmp_path.glob("scores*"))


def test_a_file_that_one_may_not_read_is_one_sentence(words, book, monkeypatch):
    """root may read all files, so the refusal is played."""
    real = open

    def closed(file, *rest, **options):
        if str(file) == str(book):
            raise PermissionError(13, "Permission denied", str(file))
        return real(file, *rest, **options)

    monkeypatch.setattr("builtins.open", closed)
    with pytest.raises(SystemExit, match=f"^{book} cannot be read: .*Permission denied.* See to it that you may"):
        main(["survey", *words])
    monkeypatch.setattr("pathlib.Path.iterdir", lambda path: closed(book))
    with pytest.raises(SystemExit, match=f"^{book.parent} cannot be read: .*Permission denied.* Give another path"):
        main(["survey", *words, "--texts", str(book.parent)])


@pytest.mark.parametrize("change", ["grows", "vanishes"])
def test_a_file_that_changes_under_the_survey_is_named(change, words, book, monkeypatch, tmp_path):
    real = corpus.survey_sums

    def changing(*arguments):
        if change == "grows":
            book.write_text("more of it", encoding="utf-8")
        else:
            book.unlink()
        return real(*arguments)

    monkeypatch.setattr(corpus, "survey_sums", changing)
    said = "has changed while it was surveyed. Delete .*shards" if change == "grows" else "texts.txt.*Put it back"
    with pytest.raises(SystemExit, match=said):
        main(["survey", *words])
    assert not (tmp_path / "scores.parquet").exists()


def test_an_interruption_is_one_sentence_and_keeps_what_is_done(words, monkeypatch, tmp_path):
    real, calls = corpus.survey_sums, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(corpus, "survey_sums", interrupted)
    with pytest.raises(SystemExit, match=r"^Interrupted\. .* the same command goes on"):
        main(["survey", *words, "--shard", "2"])
    assert len(list(tmp_path.glob("scores.parquet.shards/*.pt"))) == 2
    main(["survey", *words, "--shard", "2"])
    assert len(calls) == 3 + 3


def test_a_full_disk_is_one_sentence_and_keeps_what_is_done(words, monkeypatch, tmp_path):
    real = torch.save

    def full(sums, path):
        if "0000003" in str(path):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        real(sums, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(SystemExit, match=r"0000003\.pt cannot be written: .*No space left.* Make room"):
        main(["survey", *words, "--shard", "2"])
    assert sorted(path.name for path in tmp_path.glob("scores.parquet.shards/*")) == [
        "0000001.pt", "0000002.pt", "survey.json"
    ]  # fmt: skip


def test_a_layer_that_is_nan_is_one_sentence(words, folders, tmp_path):
    model, _ = load_model(str(folders["gpt2"]), device="cpu")
    with torch.no_grad():
        model.transformer.h[1].attn.c_attn.weight[:] = torch.nan
    shutil.copytree(folders["gpt2"], tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(SystemExit, match=r"NaN or infinity"):
        main(["survey", *words, "--model", str(tmp_path / "model")])


def test_of_very_many_that_are_skipped_some_are_named_and_all_are_counted(words, book, capsys):
    book.write_text("\n" * 50 + TEXTS[0], encoding="utf-8")
    main(["survey", *words])
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 21
    assert "skipped 30 more\n" in printed.err
    assert "1 texts, " in printed.out
    assert ", 50 skipped" in printed.out


def test_what_a_folder_leaves_out_is_said(words, book, capsys):
    book.with_name("notes.md").write_text("notes", encoding="utf-8")
    main(["survey", *words, "--texts", str(book.parent)])
    first = capsys.readouterr()
    assert f"left out {book.parent}/notes.md: it is no .txt, .csv, .jsonl file.\n" == first.err
    main(["survey", *words, "--texts", str(book.parent)])  # with the table beside the texts
    assert capsys.readouterr() == first
