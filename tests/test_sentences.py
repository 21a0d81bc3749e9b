"""Sentences from elsewhere: what is recognised in a file, what is drawn from it, and what an experiment lacks."""

import gzip
import json
import re

import pandas as pd
import pytest
from tiny import tokenizer

from interp_helpers import TextError, draw_sentences, load_sentences

REVIEWS = load_sentences()
TEXTS = [
    "Good, and short.",
    "A film; and a long one.",
    "Not bad | not good.",
    "It has \tno end, and no start.",
    "Café!",
]
LABELS = ["yes", "no", "yes", "no", "yes"]


def table(separator, head="text,label", order=1):
    """TEXTS and LABELS as a csv with quotes around all texts."""
    lines = [head.replace(",", separator)] if head else []
    for text, label in zip(TEXTS, LABELS):
        lines.append(separator.join([f'"{text}"', label][::order]))
    return "\n".join(lines) + "\n"


def read(tmp_path, name, content, **options):
    """The sentences of a file of bytes or text."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_sentences(path, **options)


def test_sentences_from_local_files(tmp_path, capsys):
    assert read(tmp_path, "a.txt", "One line.\n\n  Another\u2028line. \n")["text"].tolist() == [
        "One line.",
        "Another\u2028line.",
    ]
    assert read(tmp_path, "b.csv", 'words,label\n"Good, good.",1\n,0\n', column="words").values.tolist() == [
        ["Good, good.", 1]
    ]
    code = "\ufefftext,code\nNA,00\n007,01\n"
    assert read(tmp_path, "C.CSV", code)["text"].tolist() == ["NA", "007"], "words, and no mark before the header"
    assert read(tmp_path, "C.CSV", code, column="code")["text"].tolist() == ["00", "01"]
    assert read(tmp_path, "d.csv", "label\nGood.\n", column="label")["text"].tolist() == ["Good."]
    assert capsys.readouterr().out == "", "nothing was guessed"


@pytest.mark.parametrize("more", ["", ",label"])
def test_of_several_columns_the_first_one_known_is_taken(tmp_path, more):
    found = read(tmp_path, "a.csv", f"content,review,text{more}\nnot this,nor this,this one{more}\n")
    assert found["text"].tolist() == ["this one"]
    assert found.columns.tolist() == ["text", *more.split(",")[1:]]
    assert read(tmp_path, "b.csv", "content,review\nnot this,this one\n")["text"].tolist() == ["this one"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", table(","), ""),
        ("a.csv", table(";"), "columns between semicolons"),
        ("a.tsv", table("\t"), "columns between tabs"),
        ("a.csv", table("|"), "columns between vertical bars"),
        ("a.csv", table(",", head="Text, LABEL"), ""),
        ("a.csv", table(",", head="label,text", order=-1), ""),
        ("a.csv", table(",", head=None), "no header; no column is called .*, so column 1 is the text"),
        ("a.csv", table(";", head=None, order=-1), "semicolons; no header; no column is .*, so column 2 is the text"),
        ("a.csv", table(",", head="what they said,label"), "no column is called .*, so 'what they said' is the text"),
        ("a.csv", table(",").replace('"', ""), "commas without quotes around the text: 2 rows"),
        ("a.csv", table(",", head="label,text", order=-1).replace('"', ""), "commas without quotes around"),
        ("a.csv", table(",").encode("cp1252"), "it is not in UTF-8 and is read as Windows-1252"),
        ("a.csv", table(",").encode("utf-16"), ""),
        ("a.csv", table(",").encode("utf-16-le"), ""),
        ("a.csv", table(",").encode("utf-8-sig"), ""),
        ("a.csv", table(",").replace("\n", "\r\n"), ""),
        ("a.csv", table(",").replace("\n", "\n\n"), ""),
        ("a.csv", table(",").replace("yes\n", "yes,,\n"), "commas without quotes"),
        ("a.csv.gz", gzip.compress(table(";").encode()), "columns between semicolons"),
        ("a.jsonl", "\n".join(json.dumps({"text": t, "label": label}) for t, label in zip(TEXTS, LABELS)), ""),
        ("a.json", json.dumps([{"text": t, "label": label} for t, label in zip(TEXTS, LABELS)]), ""),
        ("a.json", json.dumps({"data": [{"text": t, "label": label} for t, label in zip(TEXTS, LABELS)]}), ""),
        ("a.json", json.dumps({"text": TEXTS, "label": LABELS}), ""),
    ],
)
def test_whatever_the_form_of_a_table_its_sentences_and_labels_are_found_and_guesses_are_said(
    name, content, said, tmp_path, capsys
):
    found = read(tmp_path, name, content)
    assert found["text"].tolist() == TEXTS
    assert found["label"].tolist() == LABELS
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: ") == bool(said)
    assert re.search(said, out)


@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_sentence_a_line(name, encoding, end, tmp_path):
    """Without header or quotes, whatever marks stand in it."""
    texts = [text.replace("Not", 'He said "no", and not "yes". Not') for text in TEXTS]
    assert read(tmp_path, name, end.join(texts).encode(encoding))["text"].tolist() == texts


def test_two_commas_in_every_sentence_are_no_columns(tmp_path):
    texts = ["Good, but long.", "Long, and bad."]
    assert read(tmp_path, "a.csv", "\n".join(texts))["text"].tolist() == texts


def test_a_quoted_sentence_may_have_several_lines_and_a_mark_without_its_partner_ends_nothing(tmp_path):
    assert read(tmp_path, "a.csv", 'text\n"One.\n\nTwo."\nThree.\n')["text"].tolist() == ["One.\n\nTwo.", "Three."]
    assert read(tmp_path, "a.csv", 'text\n"One.\nTwo.\nThree.\n')["text"].tolist() == ['"One.', "Two.", "Three."]
    assert read(tmp_path, "a.csv", 'text,label\n"A \\"good\\", one.",1\n')["text"].tolist() == ['A "good", one.']


@pytest.mark.parametrize(
    ("labels", "kind"), [(["1", "0"], "i"), (["0.5", "1"], "f"), (["a", "1"], "O"), (["", "1"], "O")]
)
def test_labels_are_numbers_where_all_are(labels, kind, tmp_path):
    found = read(tmp_path, "a.csv", f"text,label\nOne.,{labels[0]}\nTwo.,{labels[1]}\n")["label"]
    assert pd.api.types.is_numeric_dtype(found) == (kind in "if")
    assert list(map(str, found)) == [label if kind != "f" else str(float(label)) for label in labels]


def test_sentences_from_a_data_set_folder_as_the_hub_has_them(tmp_path):
    for split, text in [("train", "To learn from."), ("test", "To be tested on.")]:
        pd.DataFrame({"text": [text], "label": [1]}).to_parquet(tmp_path / f"{split}.parquet")
    assert load_sentences(str(tmp_path))["text"].tolist() == ["To be tested on."]
    assert load_sentences(str(tmp_path), split="train")["text"].tolist() == ["To learn from."]
    assert load_sentences(tmp_path / "train.parquet")["text"].tolist() == ["To learn from."]
    with pytest.raises(TextError, match=r"cannot be read: Unknown split \"dev\""):
        load_sentences(str(tmp_path), split="dev")


def test_a_data_set_in_the_hub_cache_needs_no_network(tmp_path, monkeypatch):
    import huggingface_hub

    pd.DataFrame({"text": ["Kept here."]}).to_parquet(tmp_path / "test.parquet")

    def cached(name, *, local_files_only=False, repo_type=None, **_):
        assert (name, local_files_only, repo_type) == ("someone/reviews", True, "dataset")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    assert load_sentences("someone/reviews")["text"].tolist() == ["Kept here."]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"\n \n", "holds no sentence"),
        ("blank.csv", b"", "holds no sentence"),
        ("other.csv", b"id,stars\n1,5\n", "no column is called 'text', and these are all: id, stars .* needs a"),
        ("a.json", b"[]", "needs a header with text"),
        ("a.json", b'{"text": [', "cannot be read"),
        ("a.xlsx", b"PK\x03\x04\x14\x00", "a spreadsheet or an archive.* CSV UTF-8"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\x00\x00", "no text file"),
        ("a.csv", bytes(range(256)), "no text file"),
        ("none.csv", None, "no file or folder"),
        ("none", None, "no file or folder"),
    ],
)
def test_sentences_that_cannot_be_had_are_one_clear_error(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TextError, match=message):
        load_sentences(tmp_path / name)


def test_a_column_a_file_or_a_hub_that_is_not_there_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("text\na\n")
    with pytest.raises(TextError, match=r"no column is called 'words' .* needs a header with words"):
        load_sentences(tmp_path / "a.csv", column="words")
    with pytest.raises(TextError, match=r"There is no file or folder 'mine\.csv'"):
        load_sentences("mine.csv")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TextError, match=r"hub cannot be reached .*load_sentences\('reviews'\), which needs no network"):
        load_sentences("cornell-movie-review-data/rotten_tomatoes")


# A draw.
def draw(tmp_path, rows, capsys, **options):
    """(table, what it lacks, what was printed) of a draw from rows of a text, or of a text and its label."""
    rows = [dict(zip(["text", "label"], row if isinstance(row, tuple) else [row])) for row in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    capsys.readouterr()
    return *draw_sentences(tmp_path / "a.jsonl", tokenizer(), **options), capsys.readouterr().out


def test_the_reviews_stay_as_they_are(capsys):
    drawn, lacking = draw_sentences("reviews", tokenizer())
    pd.testing.assert_frame_equal(drawn, REVIEWS)
    assert (lacking, capsys.readouterr().out) == ("", "")


def test_a_draw_from_a_sorted_file_is_mixed_and_always_the_same(tmp_path, capsys):
    rows = sorted(REVIEWS.itertuples(index=False, name=None), key=lambda row: row[1])
    drawn, lacking, said = draw(tmp_path, rows, capsys, number=40)
    assert drawn["label"][:2].value_counts().to_dict() == {"positive": 1, "negative": 1}
    assert drawn["label"].value_counts().to_dict() == {"positive": 20, "negative": 20}
    assert (lacking, said) == ("", "a.jsonl: 40 of 200 sentences, drawn at random.\n")
    first = [text for text, _ in rows[:40]]
    assert len({*drawn["text"]} & {*first}) < 20
    pd.testing.assert_frame_equal(drawn, draw(tmp_path, rows, capsys, number=40)[0])
    every, _, said = draw(tmp_path, [text for text, _ in rows], capsys, length=1)
    assert sorted(every["text"]) == sorted(REVIEWS["text"])
    assert every["text"].tolist() != [text for text, _ in rows], "also where all are taken"


def test_what_comes_again_is_short_or_long_is_said(tmp_path, capsys):
    long = "a very long one " * 1500
    rows = [
        *REVIEWS["text"][:50],
        *REVIEWS["text"][:7],
        "Short.",
        "Half a letter \ud83d is no letter, as it were.",
        long,
    ]
    drawn, lacking, said = draw(tmp_path, rows, capsys, context=128)
    assert lacking == ""
    assert len(drawn) == 52
    assert "Half a letter � is no letter, as it were." in drawn["text"].tolist()
    assert said == (
        "a.jsonl: 52 of 60 sentences, drawn at random. Left out: 7 that come again, 1 below 8 tokens. "
        "Cut after 128 tokens: 1.\n"
    )
    assert long.strip() in drawn["text"].tolist(), "whole, as token_batches cuts it"


STEM = "He was the one who came to see the old house by the sea"


@pytest.mark.parametrize(
    ("rows", "lacks"),
    [
        (REVIEWS["text"][:9], "10 sentences of 8 tokens or more"),
        (REVIEWS["text"][:1], "10 sentences"),
        ([REVIEWS["text"][0]] * 200, "10 sentences"),
        (["one", "two", "three"] * 70, "10 sentences"),
        ([f"{STEM} {end}" for end in "abcdefghijklmnop"], "differ before their last ones"),
        (
            [f"{letter} of an old house by the sea" for letter in "ABCDEFGHIJKLMNOP"],
            "a word that stands at different places in different sentences",
        ),
        (REVIEWS["text"][:10], ""),
        ([f"{letter}{STEM[2:]}" for letter in "ABCDEFGHIJKLMNOP"], ""),
    ],
)
def test_too_little_is_said_and_the_reviews_take_its_place(rows, lacks, tmp_path, capsys):
    drawn, lacking, said = draw(tmp_path, rows, capsys)
    assert bool(lacking) == bool(lacks)
    assert re.search(lacks, lacking)
    if lacks:
        pd.testing.assert_frame_equal(drawn, REVIEWS)
        assert lacking.startswith("a.jsonl has too few: ")
        assert said.splitlines()[1].endswith("So what follows shows the reviews instead, and every claim gets a cross.")
