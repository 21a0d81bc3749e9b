"""The head survey for corpora and models beyond one laptop: shards, any number of processes, a memory of what is done.

Texts are counted off into shards. Each process takes its share of them, and writes the sums of each one as soon as it
is done, so that a run that is killed loses at most the shard that each process was at. The scores are made from all
shards in their order: how many processes there were, and how often they were killed, makes no difference to them.
"""

import csv
import hashlib
import json
import os
from itertools import islice
from pathlib import Path

import pandas as pd
import torch

from .errors import ArgumentError, TextError, check_model, check_whole
from .files import write_whole
from .progress import progress
from .survey import mean_scores, survey_sums, table
from .texts import check_tokenizer, ids_of, pad

KINDS = [".txt", ".csv", ".jsonl"]


def read_texts(path, column="text"):
    """The texts of a file or folder, one at a time: yields (where it stands, the text or None, what is wrong or None).

    path: a .txt with a text a line, a .csv or .jsonl with a text a row, in `column`, or a folder of such files, where a
    .txt is one text. What cannot be read is yielded as a problem, and the reading goes on.
    Raises TextError when there is no such file, or of no such kind.
    """
    path = _path("read_texts", "path", path)
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.suffix in KINDS)
        if not files:
            raise TextError(f"survey: the folder {path} holds none of {', '.join(KINDS)}.")
        for file in files:
            yield from _whole(file) if file.suffix == ".txt" else read_texts(file, column)
    elif not path.is_file():
        raise TextError(f"survey: there is no file or folder {path}.")
    elif path.suffix not in KINDS:
        raise TextError(f"survey: {path.name} is none of {', '.join(KINDS)}.")
    else:
        yield from _rows(path, column)


def _path(operation, name, path):
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentError(f"{operation}: {name} must be the path of a file or folder; got {path!r:.60}.")
    return Path(path)


def _whole(file):
    """A file as one text."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        yield str(file), None, str(problem)
    else:
        yield str(file), text, None


def _rows(file, column):
    """The rows of a file. Decoded one line at a time, so that a line that is not UTF-8 spoils itself only."""
    spoilt = {}

    def lines():
        with open(file, "rb") as opened:
            for number, line in enumerate(opened, 1):
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as problem:
                    spoilt[number] = str(problem)
                    yield line.decode("utf-8", errors="replace")

    if file.suffix == ".csv":
        reader = csv.DictReader(lines())
        try:
            names = reader.fieldnames or []
        except csv.Error as problem:
            raise TextError(f"survey: {file.name} is no csv: {problem}.") from problem
        if column not in names:
            raise TextError(f"survey: {file.name} has the columns {names}, and not {column!r}. Name its column.")
        begin = reader.line_num + 1
        while True:
            try:
                row = next(reader, None)
            except csv.Error as problem:
                row, spoilt[reader.line_num] = {column: None}, str(problem)
            if row is None:
                return
            wrong = [spoilt[each] for each in range(begin, reader.line_num + 1) if each in spoilt]
            if not wrong and row[column] is None:
                wrong = ["the row is too short"]
            yield f"{file}:{begin}", None if wrong else row[column], wrong[0] if wrong else None
            begin = reader.line_num + 1
    for number, line in enumerate(lines(), 1):
        text, wrong = line.rstrip("\r\n"), spoilt.get(number)
        if file.suffix == ".jsonl" and not wrong:
            try:
                text = json.loads(line)[column]
            except (ValueError, KeyError, TypeError, RecursionError) as problem:
                wrong = f"{type(problem).__name__}: {problem}"
            else:
                wrong = None if isinstance(text, str) else f"it holds a {type(text).__name__}, not a text"
        yield f"{file}:{number}", None if wrong else text, wrong


def windows(tokenizer, text, context):
    """A text's token ids, cut into pieces of `context` tokens, two or more; a last piece of one token is left out.

    Raises TextError when fewer than two tokens are left: the first has no other to look at.
    """
    check_tokenizer("windows", tokenizer)
    check_whole("windows", 2, context=context)
    if not isinstance(text, str):
        raise TextError(f"windows: text is a {type(text).__name__}, not a string.")
    ids = ids_of("windows", tokenizer, text)
    if len(ids) < 2:
        raise TextError(f"windows: the text has {len(ids)} tokens; two or more are needed.")
    pieces = [ids[start : start + context] for start in range(0, len(ids), context)]
    return [piece for piece in pieces if len(piece) > 1]


class Shards:
    """The shards of one survey, in a folder beside the file of its scores.

    settings: what the sums depend on, JSON. A folder that was made with others is refused with ArgumentError, as is
    by every method a number that is not a whole one of 0 or more.
    """

    def __init__(self, folder, settings):
        self.folder = _path("Shards", "folder", folder)
        try:
            text = json.dumps(settings, indent=1)
            settings = dict(json.loads(text))  # as the file will have it: a tuple becomes a list
        except (TypeError, ValueError) as problem:
            raise ArgumentError(f"Shards: settings must be a dict that JSON can hold: {problem}.") from problem
        manifest = self.folder / "survey.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            before = dict(json.loads(manifest.read_text(encoding="utf-8")))
        except FileNotFoundError:
            write_whole(manifest, text)
            before = settings
        except (OSError, TypeError, ValueError) as problem:
            raise ArgumentError(
                f"Shards: the folder {self.folder} cannot be used: {problem}. Delete it, or give another --out."
            ) from problem
        changed = [
            f"{name}: {before.get(name)!r} then, {settings.get(name)!r} now"
            for name in {**settings, **before}
            if repr(before.get(name)) != repr(settings.get(name))  # repr: NaN is not equal to itself
        ]
        if changed:
            raise ArgumentError(
                f"survey: {self.folder} holds the shards of another survey ({'; '.join(changed)}). Delete the folder, "
                "or give another --out."
            )

    def path(self, number):
        """The file of a shard, whether it is there or not."""
        check_whole("Shards", 0, number=number)
        return self.folder / f"{number:07}.pt"

    def done(self, number):
        """Whether a shard is there. It is written whole or not at all."""
        return self.path(number).is_file()

    def write(self, number, content):
        """Write a shard: a dict of tensors, numbers and strings, as `survey_shard` makes it. Raises FileError."""
        write_whole(self.path(number), lambda part: torch.save(content, part))

    def read(self, number):
        """What was written. Raises ArgumentError when the file is gone or damaged."""
        path = self.path(number)
        try:
            return torch.load(path, weights_only=True)
        except Exception as problem:  # a damaged archive has errors of many kinds
            raise ArgumentError(f"survey: the shard {path} cannot be read. Delete it, and run again.") from problem


def digest(path):
    """A digest of a file, or of the names and bytes of all files in a folder, to know them again.

    Raises TextError when there is none.
    """
    found, path = hashlib.blake2b(digest_size=16), _path("digest", "path", path)
    if not path.exists():
        raise TextError(f"survey: there is no file or folder {path}.")
    for file in sorted(each for each in path.rglob("*") if each.suffix in KINDS) if path.is_dir() else [path]:
        found.update(f"{file.name}\0{file.stat().st_size}\0".encode())  # else a byte could change from one to the next
        with open(file, "rb") as opened:
            while block := opened.read(2**22):
                found.update(block)
    return found.hexdigest()


def survey_shard(model, tokenizer, texts, *, context, batch):
    """The sums of one shard. texts: as `read_texts` yields them. Returns a dict of tensors, numbers and strings."""
    check_model("survey_shard", model)
    check_tokenizer("survey_shard", tokenizer)
    check_whole("survey_shard", 2, context=context)
    check_whole("survey_shard", 1, batch=batch)
    rows, skipped = [], []
    for where, text, wrong in texts:
        try:
            rows += windows(tokenizer, text, context) if wrong is None else []
        except TextError as problem:
            wrong = str(problem)
        if wrong:
            skipped.append([where, wrong])
    found = {"texts": len(texts) - len(skipped), "skipped": skipped, "tokens": sum(map(len, rows))}
    if rows:
        rows.sort(key=len)  # texts of like length share a batch: little padding
        sums, counts = survey_sums(model, [pad(rows[start : start + batch]) for start in range(0, len(rows), batch)])
        found |= {"sums": sums, "counts": counts}
    return found


def _cut(items, size):
    """Lists of `size` items, the last one shorter."""
    items = iter(items)
    while piece := list(islice(items, size)):
        yield piece


def survey_corpus(model, tokenizer, path, shards, *, column="text", context, batch=8, size=64, rank=0, processes=1):
    """Survey this process's share of the shards. shards: a Shards; size: texts in a shard. Returns how many there are.

    Shards that are there already are not done again. Process `rank` of `processes` takes every `processes`-th one.
    """
    check_whole("survey_corpus", 1, size=size, batch=batch, processes=processes)
    check_whole("survey_corpus", 0, processes - 1, rank=rank)
    if not isinstance(shards, Shards):
        raise ArgumentError(f"survey_corpus: shards must be a Shards(folder, settings); got a {type(shards).__name__}.")
    number = 0
    for shard in progress(_cut(read_texts(path, column), size), "shard"):
        if number % processes == rank and not shards.done(number):
            shards.write(number, survey_shard(model, tokenizer, shard, context=context, batch=batch))
        number += 1
    if number == 0:
        raise TextError(f"survey: {path} holds no text.")
    return number


def reduce(shards, number):
    """Add up shards 0 to `number` - 1, in order.

    Returns (table of scores, a head a row, as `survey.table` makes it; dict with texts, tokens and skipped). Raises
    ArgumentError when no text of any shard could be read.
    """
    if not isinstance(shards, Shards):
        raise ArgumentError(f"reduce: shards must be a Shards(folder, settings); got a {type(shards).__name__}.")
    check_whole("reduce", 1, number=number)
    total, sums, counts = {"texts": 0, "tokens": 0, "skipped": []}, 0, 0
    for each in map(shards.read, range(number)):
        total = {name: total[name] + each[name] for name in total}
        if "sums" in each:
            sums, counts = sums + each["sums"], counts + each["counts"]
    if not total["texts"]:
        where, wrong = total["skipped"][0]
        raise ArgumentError(f"survey: no text could be read; the first is {where}: {wrong}.")
    scores = table({name: score[0] for name, score in mean_scores(sums, counts).items()})
    heads = pd.DataFrame([map(int, name.split(".")) for name in scores.index], index=scores.index)
    heads.columns = ["layer", "head"]
    return heads.join(scores).rename_axis("name"), total
