"""The survey of a corpus: any number of processes and interruptions, the same scores; nothing is skipped silently."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from interp_helpers import ArgumentError, TextError, sharded
from interp_helpers.__main__ import main
from interp_helpers.sharded import Shards, read_texts, reduce, survey_corpus, windows
from interp_helpers.survey import survey, table
from interp_helpers.texts import token_batches

TEXTS = [f"The {word} went to the mill, and the {word} came home again." for word in
         ["king", "dog", "miller", "queen", "goose", "boy", "cat", "old man", "wolf"]]  # fmt: skip


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    return path


@pytest.fixture
def small(folders):
    from interp_helpers import load_model

    return load_model(str(folders["gpt2"]), device="cpu")


def done(small, corpus, folder, *, processes=1, **more):
    """The table and totals after each of some processes did its share."""
    shards = Shards(folder, {})
    for rank in range(processes):
        number = survey_corpus(*small, corpus, shards, context=32, size=2, rank=rank, processes=processes, **more)
    return reduce(shards, number)


def texts(path, **more):
    return [text for _, text, _ in read_texts(path, **more)]


@pytest.mark.parametrize("processes", [2, 3, 8])
def test_any_number_of_processes_gives_the_same_bits(small, corpus, tmp_path, processes):
    one, total = done(small, corpus, tmp_path / "one")
    several, same = done(small, corpus, tmp_path / "several", processes=processes)
    assert total == same == {"texts": 9, "tokens": total["tokens"], "skipped": []}
    pd.testing.assert_frame_equal(one, several, check_exact=True)


def test_the_scores_are_the_surveys(small, corpus, tmp_path):
    found, _ = done(small, corpus, tmp_path / "shards")
    wanted = table(survey(small[0], token_batches(small[1], TEXTS, size=4)))
    np.testing.assert_allclose(found[wanted.columns], wanted, rtol=0, atol=1e-6)
    assert list(found.index) == list(wanted.index)
    assert found.loc["1.2", ["layer", "head"]].tolist() == [1, 2]


def test_after_an_interruption_only_what_is_missing_is_done(small, corpus, tmp_path, monkeypatch):
    whole, _ = done(small, corpus, tmp_path / "whole")
    real, calls = sharded.survey_shard, []

    def failing(*given, **more):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*given, **more)

    monkeypatch.setattr(sharded, "survey_shard", failing)
    with pytest.raises(KeyboardInterrupt):
        done(small, corpus, tmp_path / "cut")
    assert len(list((tmp_path / "cut").glob("*.pt"))) == 2
    found, _ = done(small, corpus, tmp_path / "cut")
    assert len(calls) == 3 + 3  # five shards: two were there
    pd.testing.assert_frame_equal(found, whole, check_exact=True)


def test_what_cannot_be_read_is_reported_and_the_rest_is_surveyed(small, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes(b"\n".join([TEXTS[0].encode(), b"\xff\xfe not UTF-8", b"", b"x", TEXTS[1].encode()]))
    found, total = done(small, path, tmp_path / "shards")
    assert total["texts"] == 2
    assert [where.rsplit(":", 1)[1] for where, _ in total["skipped"]] == ["2", "3", "4"]
    assert "utf-8" in total["skipped"][0][1]
    assert "0 tokens" in total["skipped"][1][1]
    path.write_text("\n".join(TEXTS[:2]), encoding="utf-8")
    pd.testing.assert_frame_equal(found, done(small, path, tmp_path / "clean")[0], rtol=1e-9)


def test_a_corpus_without_a_readable_text_is_an_error(small, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes(b"\xff\n\xfe")
    with pytest.raises(ArgumentError, match="no text could be read; the first is"):
        done(small, path, tmp_path / "shards")
    path.write_bytes(b"")
    with pytest.raises(TextError, match="holds no text"):
        done(small, path, tmp_path / "other")


def test_kinds_of_files(tmp_path):
    (tmp_path / "a.csv").write_text('id,text\n1,"two\nlines"\n2,plain\n', encoding="utf-8-sig")
    (tmp_path / "b.jsonl").write_text('{"text": "json"}\n{"other": 1}\nnot json\n{"text": null}', encoding="utf-8")
    (tmp_path / "c.txt").write_text("a whole\nfile", encoding="utf-8")
    (tmp_path / "d.md").write_text("not read", encoding="utf-8")
    assert texts(tmp_path / "a.csv") == ["two\nlines", "plain"]
    assert texts(tmp_path / "a.csv", column="id") == ["1", "2"]
    assert texts(tmp_path / "b.jsonl") == ["json", None, None, None]
    assert texts(tmp_path / "c.txt") == ["a whole", "file"]
    assert texts(tmp_path) == ["two\nlines", "plain", "json", None, None, None, "a whole\nfile"]
    for path, message in [(tmp_path / "d.md", "none of"), (tmp_path / "e.txt", "no file"), (tmp_path, "columns")]:
        with pytest.raises(TextError, match=message):
            texts(path, column="nowhere" if path == tmp_path else "text")


def test_a_spoilt_row_of_a_csv_spoils_itself_only(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text\nfirst\n\xff\nlast\n")
    assert texts(tmp_path / "a.csv") == ["first", None, "last"]


def test_a_long_text_is_cut_into_windows(small):
    ids = small[1](TEXTS[0])["input_ids"]
    found = windows(small[1], TEXTS[0], len(ids) - 1)
    assert found == [ids[:-1]]  # the last piece would be one token
    pieces = windows(small[1], TEXTS[0], 4)
    assert {len(piece) for piece in pieces[:-1]} == {4}
    assert [each for piece in pieces for each in piece] == ids[: len(ids) - (len(ids) % 4 == 1)]


def test_shards_of_another_survey_are_not_mixed_in(tmp_path):
    Shards(tmp_path, {"model": "a", "batch": 8})
    Shards(tmp_path, {"model": "a", "batch": 8})
    with pytest.raises(ArgumentError, match="model: 'a' then, 'b' now"):
        Shards(tmp_path, {"model": "b", "batch": 8})


def test_a_damaged_shard_says_which(small, corpus, tmp_path):
    done(small, corpus, tmp_path / "shards")
    path = tmp_path / "shards" / "0000001.pt"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ArgumentError, match=r"0000001\.pt cannot be read.*[Dd]elete it"):
        done(small, corpus, tmp_path / "shards")


def command(*words):
    return [sys.executable, "-m", "interp_helpers", "survey", "--cpu", *map(str, words)]


def test_the_command_line_killed_and_begun_again_in_two_processes(folders, tmp_path):
    """A real kill, and a real group of two processes after it."""
    path, out = tmp_path / "texts.txt", tmp_path / "scores.parquet"
    path.write_text("\n".join(TEXTS * 20), encoding="utf-8")
    words = ["--model", folders["gpt2"], "--texts", path, "--shard", 2, "--context", 32]
    shards = tmp_path / "scores.parquet.shards"
    started = subprocess.Popen(command(*words, "--out", out), stderr=subprocess.DEVNULL)
    while started.poll() is None and len(list(shards.glob("*.pt"))) < 3:
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    started.wait()
    before = {each.name: each.stat().st_mtime_ns for each in shards.glob("*.pt")}
    assert 3 <= len(before) < 90
    assert not out.exists()
    group = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", *command(*words, "--out", out)[1:]]
    ended = subprocess.run(group, capture_output=True, text=True, check=True)
    assert "180 texts" in ended.stdout
    assert "processes: 2" in ended.stdout
    after = {each.name: each.stat().st_mtime_ns for each in shards.glob("*.pt")}
    assert len(after) == 90
    assert {name: after[name] for name in before} == before
    main(["survey", "--cpu", *map(str, words), "--out", str(tmp_path / "alone.parquet")])
    pd.testing.assert_frame_equal(pd.read_parquet(out), pd.read_parquet(tmp_path / "alone.parquet"), check_exact=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--texts", "nowhere.txt", "--out", "x.parquet"], "no file or folder nowhere.txt"),
        (["--model", "./nowhere", "--texts", __file__, "--out", "x.parquet"], "nowhere"),
        (["--texts", __file__, "--out", "x.parquet", "--batch", "0"], "2"),
    ],
)
def test_the_command_line_ends_with_a_message(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["survey", "--cpu", *words])
    assert message in f"{end.value.code} {capsys.readouterr().err}"
    assert list(tmp_path.iterdir()) == []


def test_a_model_can_be_spread_over_devices(folders):
    from interp_helpers import ModelError, load_model

    model, _ = load_model(str(folders["gpt2"]), device_map={"": "cpu"})
    plain, _ = load_model(str(folders["gpt2"]), device="cpu")
    tokens = torch.arange(9)[None]
    torch.testing.assert_close(model(tokens).logits, plain(tokens).logits)
    with pytest.raises(ModelError, match="device_map"):
        load_model(str(folders["gpt2"]), device="cpu", device_map="auto")


def test_the_manifest_says_what_was_surveyed(folders, corpus, tmp_path):
    out = tmp_path / "scores.parquet"
    main(["survey", "--cpu", "--model", str(folders["gpt2"]), "--texts", str(corpus), "--out", str(out)])
    found = json.loads((tmp_path / "scores.parquet.shards" / "survey.json").read_text())
    assert found["model"] == str(folders["gpt2"])
    assert found["context"] == 64
    corpus.write_text("other", encoding="utf-8")
    with pytest.raises(SystemExit, match="holds the shards of another survey"):
        main(["survey", "--cpu", "--model", str(folders["gpt2"]), "--texts", str(corpus), "--out", str(out)])


def test_a_text_is_found_again_where_it_is_said_to_stand(tmp_path):
    (tmp_path / "a.csv").write_text('id,text\n1,"two\nlines"\n2\n3,last\n', encoding="utf-8")
    found = [(where.rsplit(":", 1)[1], text, wrong) for where, text, wrong in read_texts(tmp_path / "a.csv")]
    assert found == [("2", "two\nlines", None), ("4", None, "the row is too short"), ("5", "last", None)]
    (tmp_path / "b.jsonl").write_text('{"text": "one"}\n{"text": 2}\n', encoding="utf-8")
    found = [(where.rsplit(":", 1)[1], text, wrong) for where, text, wrong in read_texts(tmp_path / "b.jsonl")]
    assert found == [("1", "one", None), ("2", None, "it holds a int, not a text")]


def test_what_breaks_a_csv_is_reported_or_refused(tmp_path):
    """A quote that is never closed takes the rest of a file for one field, longer than Python's csv reads."""
    long = '"' + "x" * 140_000
    (tmp_path / "row.csv").write_text(f"text\nfirst\n{long}", encoding="utf-8")
    (first, second) = read_texts(tmp_path / "row.csv")
    assert (first[1], first[2]) == ("first", None)
    assert second[1] is None
    assert second[2]
    (tmp_path / "head.csv").write_text(long, encoding="utf-8")
    with pytest.raises(TextError, match=r"head\.csv is no csv"):
        list(read_texts(tmp_path / "head.csv"))


def test_the_first_spoilt_line_of_a_row_is_reported(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'text\n"\xff one\n\xfe two"\nwhole\n')
    (_, text, wrong), (_, last, _) = read_texts(tmp_path / "a.csv")
    assert text is None
    assert "0xff" in wrong
    assert last == "whole"


def test_files_of_a_folder_that_cannot_be_read_are_reported(tmp_path):
    (tmp_path / "a.txt").mkdir()
    (tmp_path / "b.txt").write_bytes(b"\xff")
    (tmp_path / "c.txt").write_text("a text", encoding="utf-8")
    found = list(read_texts(tmp_path))
    assert [text for _, text, _ in found] == [None, None, "a text"]
    assert "directory" in found[0][2]
    assert "0xff" in found[1][2]


def test_two_tokens_are_the_least_of_a_text_and_of_a_window(small):
    model, tokenizer = small
    assert windows(tokenizer, " the king", 2) == [tokenizer(" the king")["input_ids"]]
    with pytest.raises(TextError, match="1 token"):
        windows(tokenizer, " the", 2)
    for bad in [{"context": 1, "batch": 1}, {"context": 2, "batch": 0}]:
        with pytest.raises(ArgumentError, match=r"context is 1|batch is 0"):
            sharded.survey_shard(model, tokenizer, [], **bad)
    found = sharded.survey_shard(model, tokenizer, [("here", " the king", None)], context=2, batch=1)
    assert (found["texts"], found["tokens"], found["skipped"]) == (1, 2, [])


def test_a_folder_of_shards_is_made_with_those_above_it_and_holds_a_manifest(tmp_path):
    Shards(tmp_path / "one" / "two", {"a": 1})
    for settings in [{"a": object()}, 7]:
        with pytest.raises(ArgumentError, match="settings must be a dict"):
            Shards(tmp_path / "other", settings)
    circle = {}
    circle["itself"] = circle
    with pytest.raises(ArgumentError, match="settings must be a dict"):
        Shards(tmp_path / "other", circle)
    for spoilt in ["{", "7"]:
        (tmp_path / "one" / "two" / "survey.json").write_text(spoilt, encoding="utf-8")
        with pytest.raises(ArgumentError, match="cannot be used"):
            Shards(tmp_path / "one" / "two", {"a": 1})
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ArgumentError, match="cannot be used"):
        Shards(tmp_path / "file", {"a": 1})
    with pytest.raises(ArgumentError, match="number is -1"):
        Shards(tmp_path / "one" / "three", {"a": 1}).done(-1)


def test_a_shard_runs_no_code(tmp_path):
    """A pickle may call any function when it is read; a shard holds tensors, numbers and strings."""
    shards = Shards(tmp_path / "shards", {})
    torch.save({"texts": pytest.raises}, shards.path(0))
    with pytest.raises(ArgumentError, match="cannot be read"):
        shards.read(0)


def test_one_process_takes_64_texts_in_a_shard_unless_told_otherwise(small, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("a b\n" * 64 + "a b c", encoding="utf-8")
    shards = Shards(tmp_path / "shards", {})
    assert survey_corpus(*small, path, shards, context=32) == 2
    assert [shards.read(number)["texts"] for number in range(2)] == [64, 1]
    _, total = reduce(shards, 2)
    assert total == {"texts": 65, "tokens": sum(shards.read(number)["tokens"] for number in range(2)), "skipped": []}
    with pytest.raises(ArgumentError, match="number is 0"):
        reduce(shards, 0)


@pytest.mark.parametrize("bad", [{"size": 0}, {"batch": 0}, {"processes": 0}, {"rank": -1}, {"rank": 1}], ids=str)
def test_shares_that_are_none_are_refused(small, corpus, tmp_path, bad):
    with pytest.raises(ArgumentError, match=r"survey_corpus: (size|batch|processes|rank) is"):
        survey_corpus(*small, corpus, Shards(tmp_path / "shards", {}), context=32, **bad)


def test_the_first_text_that_cannot_be_read_is_named(small, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\nx\n", encoding="utf-8")
    with pytest.raises(ArgumentError, match=r"the first is .*:1: .*0 tokens"):
        done(small, path, tmp_path / "shards")


def test_the_command_line_writes_the_surveys_table_and_says_what_it_left_out(small, folders, tmp_path, capsys):
    path, out = tmp_path / "texts.txt", tmp_path / "scores.parquet"
    path.write_bytes("\n".join(TEXTS[:3]).encode() + b"\n\xff\n")
    words = ["--model", str(folders["gpt2"]), "--texts", str(path), "--out", str(out)]
    main(["survey", "--cpu", *words, "--shard", "1", "--batch", "1"])
    printed = capsys.readouterr()
    assert "3 texts, " in printed.out
    assert f", 1 skipped; 8 heads in {out}; processes: 1" in printed.out
    assert f"skipped {path}:4: " in printed.err
    wanted = table(survey(small[0], token_batches(small[1], TEXTS[:3], size=1)))
    np.testing.assert_allclose(pd.read_parquet(out)[wanted.columns], wanted, rtol=0, atol=1e-6)


def test_the_command_line_takes_eight_pieces_at_once_and_64_texts_a_shard(folders, corpus, tmp_path):
    out = tmp_path / "scores.parquet"
    main(["survey", "--cpu", "--model", str(folders["gpt2"]), "--texts", str(corpus), "--out", str(out)])
    found = json.loads((tmp_path / "scores.parquet.shards" / "survey.json").read_text())
    assert (found["batch"], found["shard"]) == (8, 64)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: command"),
        (["survey"], "required: --texts, --out"),
        (["survey", "--texts", "a.txt"], "required: --out"),
        (["survey", "--out", "a.parquet"], "required: --texts"),
        *((["survey", "--shard", text], f"{text!r} is not a whole number of 1 or more") for text in ["0", "x", "1.5"]),
    ],
)
def test_the_command_line_says_what_is_missing_or_wrong(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_spread_model_takes_one_process(folders, corpus, tmp_path, monkeypatch):
    import accelerate

    words = ["survey", "--cpu", "--model", str(folders["gpt2"]), "--texts", str(corpus), "--device-map", "auto"]
    main([*words, "--out", str(tmp_path / "one.parquet")])
    assert (tmp_path / "one.parquet").is_file()
    for processes in (2, 3):
        state = type("State", (), {"__init__": lambda self, cpu: None, "num_processes": processes})
        monkeypatch.setattr(accelerate, "PartialState", state)
        with pytest.raises(SystemExit, match="takes one process"):
            main([*words, "--out", str(tmp_path / "two.parquet")])


def test_a_model_without_a_limit_is_given_pieces_of_1024_tokens(tmp_path):
    """Bloom's attention falls with distance, and its configuration states no longest text."""
    from transformers import AutoTokenizer, BloomConfig, BloomForCausalLM

    from interp_helpers.models import STORYBOOK

    folder, path = tmp_path / "bloom", tmp_path / "texts.txt"
    BloomForCausalLM(BloomConfig(n_layer=1, n_head=2, hidden_size=8, vocab_size=8192)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(STORYBOOK).save_pretrained(folder)
    path.write_text("a b\n", encoding="utf-8")
    main(["survey", "--cpu", "--model", str(folder), "--texts", str(path), "--out", str(tmp_path / "scores.parquet")])
    assert json.loads((tmp_path / "scores.parquet.shards" / "survey.json").read_text())["context"] == 1024


def test_a_context_that_the_model_cannot_read_is_refused_at_once(folders, tmp_path):
    words = ["--model", str(folders["gpt2"]), "--texts", "nowhere.txt", "--out", str(tmp_path / "scores.parquet")]
    with pytest.raises(SystemExit, match=r"--context is 65; .* reads 64 tokens at most"):
        main(["survey", "--cpu", *words, "--context", "65"])
    with pytest.raises(SystemExit, match=r"no file or folder nowhere\.txt"):
        main(["survey", "--cpu", *words, "--context", "64"])


@pytest.mark.parametrize("spread", [[], ["--device-map", "auto"]])
def test_the_command_line_hands_on_the_map_of_devices_or_a_device(spread, folders, corpus, tmp_path, monkeypatch):
    from interp_helpers import models

    asked, real = [], models.load_model
    monkeypatch.setattr(models, "load_model", lambda name, **options: asked.append(options) or real(name, device="cpu"))
    words = ["survey", "--cpu", "--model", str(folders["gpt2"]), "--texts", str(corpus)]
    main([*words, "--out", str(tmp_path / "scores.parquet"), *spread])
    assert asked == [{"device_map": "auto"} if spread else {"device": torch.device("cpu")}]
