"""Sentences: the bundled reviews, a file of the reader's own or a data set becomes a table; and a draw from it."""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import math
import re
from pathlib import Path

import pandas as pd

from .errors import TextError, explained
from .hub import find_folder
from .text import DATA, encode

TEXT_COLUMNS = ("text", "sentence", "review", "content")  # where a table's sentences are looked for, in this order
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
QUOTING = (  # as a csv should be; with \" for a mark; with marks that stand for themselves, so that a line is a row
    {"strict": True},
    {"strict": True, "escapechar": "\\"},
    {"quoting": csv.QUOTE_NONE},
)
PACKED = {b"\x1f\x8b": gzip, b"BZh": bz2, b"\xfd7zXZ": lzma}  # how such a file begins -> what unpacks it
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
SHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # how spreadsheets begin, and archives
PLACES, ENDING = 30, 3  # see `_lacking`


def load_sentences(name="reviews", *, split="test", column=None):
    """Sentences as a table with a column "text", and "label" where the source has one.

    name: "reviews" (bundled: 200 short film reviews written for this course, half of them "positive"), a Hugging Face
        data set such as "cornell-movie-review-data/rotten_tomatoes", a local folder of one, or a local file: txt with a
        sentence a line, csv, json, jsonl or parquet, also packed with gzip, bzip2 or xz.
    split: which part of a data set; a file has none. column: the column that holds the text; without it, the first
        that is called like one of TEXT_COLUMNS, in small letters or not, or else the one with most text in it.

    Separators, a missing header, text with separators in it, and encodings are recognised, and what was recognised is
    printed. Empty sentences are left out. Raises TextError when there is no such file, data set, split or column, when
    the file holds no text, when the hub cannot be reached, and when nothing is left.

    >>> load_sentences()["label"].value_counts().to_dict()
    {'positive': 100, 'negative': 100}
    """
    name, wanted = str(name), [column] if column else list(TEXT_COLUMNS)
    path, notes = DATA / "reviews.csv" if name == "reviews" else Path(name).expanduser(), []
    advice = f"It needs a header with {' or '.join(wanted)}, and quotes around text that holds a comma."
    with explained(TextError, f"{name!r} cannot be read", advice):
        table = _read_file(path, wanted, notes) if path.is_file() else _read_data_set(name, split)
        place = _text_column(table, wanted, notes)
    found = pd.DataFrame({"text": table.iloc[:, place].fillna("").astype(str).str.strip()})
    names = _plain(table.columns)
    if "label" in names and names.index("label") != place:
        found["label"] = _numbers(table.iloc[:, names.index("label")])
    if (found := found[found["text"] != ""].reset_index(drop=True)).empty:
        raise TextError(f"{name!r} holds no sentence.")
    if notes:
        print(f"{path.name}: {'; '.join(notes)}.")
    return found


def draw_sentences(name, tokenizer, *, context=math.inf, number=200, least=10, length=8):
    """Sentences to measure something on, drawn at random from what `load_sentences` reads: (table, what it lacks).

    The draw is always the same, with as many of each label as there are. A sentence that comes again, which is no new
    evidence, and one of fewer than `length` tokens are left out. The bundled reviews stay as they are. What was done is
    printed, and how many sentences have more than `context` tokens, so that they are to be cut.

    number: of sentences at most. least: how many an experiment needs that differ before their end. Where there are
    fewer, or their words hardly come again, the table is that of the reviews, and the second value says what was
    lacking: give it to `Claims`. Otherwise it is "". Raises TextError as `load_sentences`.

    >>> from interp_helpers import load_model
    >>> table, lacking = draw_sentences("reviews", load_model(device="cpu")[1])
    >>> len(table), lacking
    (200, '')
    """
    table = load_sentences(name)
    if str(name) == "reviews":
        return table, ""
    mixed = table.drop_duplicates("text").sample(frac=1, random_state=0)
    if "label" in mixed:  # first one of each label, then a second of each, ...
        mixed = mixed.loc[mixed.groupby("label", dropna=False).cumcount().sort_values(kind="stable").index]
    rows, short = {}, 0  # place in the table -> tokens
    for place, text in mixed["text"].items():
        try:
            ids = encode(tokenizer, text)[0].tolist()
        except TextError:  # it holds half of a character, or becomes no tokens
            ids = []
        if len(ids) >= length:
            rows[place] = ids
        short += len(ids) < length
        if len(rows) == number:
            break
    file, again, long = Path(str(name)).name, len(table) - len(mixed), sum(len(ids) > context for ids in rows.values())
    left = [
        f"{count:,} {why}" for count, why in [(again, "that come again"), (short, f"below {length} tokens")] if count
    ]
    said = f"{file}: {len(rows):,} of {len(table):,} sentences, drawn at random."
    said += f" Left out: {', '.join(left)}." * bool(left) + f" Cut after {context} tokens: {long}." * bool(long)
    print(said)
    if lacking := _lacking(list(rows.values()), least, length):
        print(f"Too few: {lacking}. So what follows shows the reviews instead, and every claim gets a cross.")
        return load_sentences(), f"{file} has too few: {lacking}"
    return mixed.loc[list(rows)].reset_index(drop=True), ""


def _lacking(rows, least, length):
    """What keeps rows of tokens from being enough for regressions, in words; "" when nothing does.

    Up to the token where two sentences part, all numbers of theirs are the same, because attention looks back alone.
    And a word that always stands at one place says nothing of places.
    """
    different, stands = len({tuple(ids[:-ENDING]) for ids in rows}), {}
    for sentence, ids in enumerate(rows):
        for place, token in enumerate(ids[1:PLACES]):
            stands.setdefault(token, []).append((sentence, place))
    if different < least:
        return f"{least} sentences of {length} tokens or more that differ before their last ones are needed"
    if not any(len(of) > 2 and all(len({*each}) > 1 for each in zip(*of)) for of in stands.values()):
        return "a word that stands at different places in different sentences is needed"
    return ""


def _plain(names):
    """Names of columns as they are compared."""
    return [str(each).strip().lower() for each in names]


def _numbers(column):
    """A column of strings as numbers, where all of them are some."""
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers if len(numbers) and numbers.notna().all() else column


def _text_column(table, wanted, notes):
    """The number of the column that holds the sentences. A guess goes into the notes."""
    names = _plain(table.columns)
    for each in _plain(wanted):
        if each in names:
            return names.index(each)
    lengths = [
        0 if pd.api.types.is_numeric_dtype(_numbers(column)) else column.astype(str).str.len().sum()
        for _, column in table.items()
    ]
    if wanted != list(TEXT_COLUMNS) or (not any(lengths) and len(lengths) != 1):
        there = ", ".join(name for name in table.columns if isinstance(name, str))  # numbers are not in the file
        raise ValueError(f"no column is called {wanted[0]!r}" + (f", and these are all: {there:.80}" if there else ""))
    place = lengths.index(max(lengths))
    if len(lengths) > 1 or isinstance(table.columns[0], str):
        name = table.columns[place]
        name = repr(name) if isinstance(name, str) else f"column {name + 1}"
        notes.append(f"no column is called {' or '.join(wanted)}, so {name} is the text")
    return place


def _read_data_set(name, split):
    """One split of a data set as a table."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    return load_dataset(str(find_folder(name, "dataset")), split=split).to_pandas()


def _read_file(path, wanted, notes):
    """A file as a table. What had to be recognised goes into the notes."""
    data, kinds = path.read_bytes(), {each.lower() for each in path.suffixes}
    for start, library in PACKED.items():
        if data.startswith(start):
            data = library.decompress(data)
    if data.startswith(b"PAR1"):
        return pd.read_parquet(io.BytesIO(data))
    if data.startswith(SHEETS):
        what = f"{str(path)!r} is a spreadsheet or an archive"
        raise TextError(f"{what}. Unpack it, or save the sheet as CSV UTF-8: it is among the kinds under Save as.")
    text = re.sub("\r\n?", "\n", _decoded(data, path, notes))
    if kinds & {".json", ".jsonl", ".ndjson"}:
        return _from_json(text)
    if ".txt" in kinds:  # a line ends at a line break, not at U+2028 as for str.splitlines
        return pd.DataFrame({"text": text.split("\n")})
    return _from_csv(text, wanted, notes)


def _decoded(data, path, notes):
    """The text of a file, with or without a byte order mark."""
    mark = next((mark for mark in MARKS if data.startswith(mark)), b"")
    zeros = [data[start::2].count(0) > len(data) / 8 for start in (0, 1)]  # of UTF-16 without a mark
    guesses = {(True, False): ["utf-16-be"], (False, True): ["utf-16-le"]}.get(tuple(zeros), ["utf-8", "cp1252"])
    for encoding in [MARKS[mark]] if mark else guesses:
        try:
            text = data[len(mark) :].decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        if encoding == "cp1252":
            notes.append("it is not in UTF-8 and is read as Windows-1252; if letters look wrong, save it as UTF-8")
        return text
    raise TextError(f"{str(path)!r} is no text file, or in an encoding that is not known. Save it as text in UTF-8.")


def _from_json(text):
    """A list of texts or records, columns, or a record a line."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = [json.loads(line) for line in text.split("\n") if line.strip()]
    whole = json.dumps(found, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    found = json.loads(whole)  # without halves of characters, which JSON may hold and pandas does not
    if isinstance(found, dict) and len(found) == 1 and isinstance(next(iter(found.values())), list):
        (found,) = found.values()  # {"data": [...]}
    if isinstance(found, dict) and not any(isinstance(each, list | dict) for each in found.values()):
        found = [found]  # a file of one line
    strings = isinstance(found, list) and all(isinstance(each, str) for each in found) and found
    return pd.DataFrame({"text": found} if strings else found)


def _from_csv(text, wanted, notes):
    """A csv of any separator, with or without a header, as a table of strings."""
    readings = {separator: _rows(text, separator) for separator in SEPARATORS}
    readings = {separator: rows for separator, rows in readings.items() if rows}
    if not readings:
        return pd.DataFrame({"text": []})
    names = {*_plain(wanted), "label"}
    headed = {each: len(rows[0]) for each, rows in readings.items() if names & {*_plain(rows[0])}}
    if headed:
        separator = max(headed, key=headed.get)
        columns = headed[separator]
    else:
        separator = next((each for each, rows in readings.items() if _is_steady(rows)), None)
        separator, columns = (separator, len(readings[separator][0])) if separator else (",", 1)
    rows = readings[separator]
    sample = [row for row in rows[:1000] if len(row) == columns]
    place = _longest(sample) if columns > 1 else 0
    if headed:
        place = next((n for each in _plain(wanted) for n, name in enumerate(_plain(rows[0])) if name == each), place)
    start = bool(headed) or _looks_like_header(rows[0], sample[1:], place)
    folded = [_folded(row, columns, place, separator) for row in rows]
    table = pd.DataFrame(folded[start:], columns=folded[0] if start else None)
    if columns > 1 and separator != ",":
        notes.append(f"columns between {SEPARATORS[separator]}")
    if not start:
        notes.append("no header")
        if columns == 2:
            table = table.rename(columns={1 - place: "label"})
    if many := sum(len(row) > columns for row in rows):
        notes.append(f"{SEPARATORS[separator]} without quotes around the text: {many:,} rows")
    return table


def _rows(text, separator):
    """The rows of a csv as lists, without blank ones. Marks that are not in pairs stand for themselves."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    for options in QUOTING:
        try:
            rows = list(csv.reader(io.StringIO(text), delimiter=separator, **options))
            return [row for row in rows if any(field.strip() for field in row)]
        except csv.Error:
            continue
    return []


def _is_steady(rows):
    """Whether all rows have one number of columns, and not since all are sentences with so many commas in them."""
    fields = [field for row in rows for field in row[1:]]
    return len({len(row) for row in rows}) == 1 and not all(field.startswith(" ") for field in fields)


def _longest(rows):
    """The column with the most characters."""
    sums = [sum(map(len, column)) for column in zip(*rows)]
    return sums.index(max(sums)) if sums else 0


def _looks_like_header(first, below, place):
    """Whether a first row holds names, no numbers and no marks: above numbers, or above much longer text."""
    names = all(re.fullmatch(r"(?!\d+$)\w[\w -]{0,30}", field.strip()) for field in first)
    if not names or not below:
        return False
    numbers = any(pd.api.types.is_numeric_dtype(_numbers(pd.Series(column))) for column in zip(*below))
    return numbers or 3 * len(first[place]) < sum(len(row[place]) for row in below) / len(below)


def _folded(row, columns, place, separator):
    """A row of so many columns: what is too much belongs to the text, and what is missing is empty."""
    more = len(row) - columns
    while more > 0 and place < columns - 1 and not row[-1].strip():  # a separator at the end of the line
        row, more = row[:-1], more - 1
    if more > 0:
        row = [*row[:place], separator.join(row[place : place + more + 1]), *row[place + more + 1 :]]
    return row + [""] * (columns - len(row))
