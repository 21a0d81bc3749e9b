"""The survey for corpora and models beyond one laptop: shards, any number of processes, a memory of what is done.

Texts are counted off into shards. Each process takes its share of them and writes the sums of each shard as soon as it
is done, so that a run that is killed loses at most the shard that each process was at. Scores are made from all shards
in their order, in float64: how many processes there were, and how often they were killed, makes no difference to them.
"""

import csv
import hashlib
import json
import os
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState

from .attention import SCORES, mean_scores, scores_table, survey_sums
from .errors import ArgumentError, TextError, explained
from .files import write_whole
from .hub import FILES, find_folder
from .models import context_length, load_model
from .progress import progress
from .text import Batch, encode

LONGEST = 1024  # tokens in a piece unless told otherwise: patterns grow with the square
COPIES = 11  # of a layer's patterns at the peak (scores, mask, softmax, logarithms): at most, on storybook and SmolLM2


def survey_corpus(
    name, texts, out, *, column="text", context=None, batch=8, memory=2.0, size=64, device_map=None, cpu=False
):
    """Survey a corpus, and write a table with a row for each head. Every process that Accelerate has started calls it.

    name, device_map: as for `load_model`; one process is enough for a model that is spread over devices.
    texts: a .txt with a text a line, a .csv or .jsonl with a text a row, in `column`, or a folder of such files, where
        a .txt is one text. All in UTF-8. A line ends at a line break, not at U+2028, as for `load_sentences`.
    out: the table, a .parquet file, beside which the folder `out`.shards keeps what is done.
    context: tokens in a piece of text, by default LONGEST, and at most what the model reads; batch: pieces that are
        read at once, at most; memory: GB that they may take beside the model, so that long pieces are read in smaller
        batches, down to one; size: texts in a shard; cpu: use no GPU.

    Returns (scores, totals) in every process. scores: a table with a head a row, its layer and head in the first two
    columns; totals: a dict with the numbers of texts, tokens and texts that were cut into pieces, and the lists
    skipped, texts as (where, why), and "left out", files as (path, why).

    Every file is read once before the model is loaded, so that what cannot be read is known before any work is done.
    Raises TextError when there is no text that can be used, or a file that cannot be read or parsed; ArgumentError
    when the folder holds the shards of another survey or a damaged one, when a file changes in the meantime, and when
    memory runs out; FileError when the disk is full; and what `load_model` raises.
    """
    state = PartialState(cpu=cpu)
    if device_map and state.num_processes > 1:
        raise ArgumentError("--device-map spreads one model over all devices, so it takes one process.")
    if Path(out).is_dir() or Path(out).suffix != ".parquet":
        raise ArgumentError(f"The table is a .parquet file; {out} is {'a folder' if Path(out).is_dir() else 'none'}.")
    files, left_out = _files(texts, out)
    stamps = _stamps(files)
    settings = {"model": str(name), "texts": _digest(files)}
    if not sum(1 for _ in _read_texts(texts, files, column)):  # all of it, for its errors
        raise TextError(f"There is no text in {texts}.")
    with state.main_process_first():  # it fetches a hub model, the others find it in the cache
        # Alone, Accelerate's choice of a GPU is one that nobody asked for: load_model makes it, and compares.
        unasked = device_map or (state.num_processes == 1 and state.device.type != "cpu")
        model, tokenizer = load_model(name, device=None if unasked else state.device, device_map=device_map)
    context = min(context or LONGEST, context_length(model))
    model_files = [file for pattern in FILES for file in find_folder(str(name)).glob(pattern)]
    settings |= {"model files": _digest(model_files), "column": column, "context": context, "batch": batch}
    settings |= {"memory": memory, "shard": size, "scores": SCORES}
    folder = Path(f"{out}.shards")
    _open(folder, settings)
    shares = {"rank": state.process_index, "processes": state.num_processes}
    rows, limits = _read_texts(texts, files, column), {"context": context, "batch": batch, "memory": memory}
    number = _survey_shards(model, tokenizer, rows, folder, size=size, **limits, **shares)
    state.wait_for_everyone()
    if changed := [file for file, stamp in _stamps(files).items() if stamp != stamps[file]]:
        advice = f"Delete {folder}, take a copy that stays as it is, and run again."
        raise ArgumentError(f"{changed[0]} has changed while it was surveyed. {advice}")
    scores, totals = _add_up(folder, number)
    if state.is_main_process:
        write_whole(out, scores.to_parquet)
    return scores, totals | {"left out": left_out}


def _read_texts(path, files, column="text"):
    """The texts of a corpus, one at a time: (where it stands, the text or None where there is none)."""
    fields = f"It needs a header with {column!r}, commas, and quotes around text that holds a comma; all in UTF-8."
    for file in files:
        kind = file.suffix.lower()
        whole = kind == ".txt" and Path(path).is_dir()
        with explained(TextError, f"{file} cannot be read", fields if kind == ".csv" else "It must be text in UTF-8."):
            texts = [file.read_text(encoding="utf-8-sig")] if whole else ROWS[kind](file, column)
            for number, text in enumerate(texts, 1):
                if kind != ".jsonl" and "\0" in text:  # in JSON it was written on purpose
                    raise ValueError("it holds NUL characters, as binary files and UTF-16 do")
                yield str(file) if whole else f"{file}, row {number}", text


def _files(path, out):
    """The files of a corpus, in order, and what else is there: (files, [(path, why it is left out)]).

    Hidden files and folders are passed over, as `ls` does, and so is what the survey itself writes to `out`.
    """
    path, own = Path(path), os.path.abspath(out)
    with explained(TextError, f"{path} cannot be read", "Give another path, or see to it that you may read it."):
        if not path.exists():
            raise TextError(f"There is no file or folder at {path}.")
        found = [each for each in _walk(path) if not f"{os.path.abspath(each)}.".startswith(f"{own}.")]
        files = {file: None for file in found if file.suffix.lower() in ROWS and file.is_file()}
    if not files:
        raise TextError(f"There is no {', '.join(ROWS)} at {path}. Give such a file, unpacked, or a folder of some.")
    return list(files), [(each, _why_left_out(each)) for each in found if each not in files]


def _why_left_out(path):
    if path.is_dir():
        return "it is a link to a folder, and those are not followed."
    return f"it is no {', '.join(ROWS)} file." if path.exists() else "it is a link that leads nowhere or to itself."


def _walk(path):
    """All that is in a folder and is none itself, in order. A link to a folder is not followed: it may be a loop."""
    if not path.is_dir():
        yield path
        return
    for each in sorted(path.iterdir()):
        if not each.name.startswith("."):
            yield from [each] if each.is_symlink() else _walk(each)


def _stamps(files):
    """Size and time of each file: another one says that its content is another."""
    with explained(TextError, "A file of the corpus is no longer there", "Put it back, and run again."):
        return {file: (file.stat().st_size, file.stat().st_mtime_ns) for file in files}


def _lines(file, column):
    with open(file, encoding="utf-8-sig") as lines:
        for line in lines:
            yield line.removesuffix("\n")


def _fields(file, column):
    """The fields of a column. Strictly: a quotation mark that is never closed would make one text of many rows."""
    csv.field_size_limit(2**31 - 1)  # of characters; 131,072 otherwise
    with open(file, encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines, strict=True)
        header = next(rows, [])
        if column not in header:
            raise ValueError(f"there is no column {column!r} in its header {','.join(header)!r:.80}")
        place = header.index(column)
        try:
            for row in filter(None, rows):  # blank lines are no rows
                if len(row) != len(header):
                    raise ValueError(f"{len(row)} fields in a row, {len(header)} in the header")
                yield row[place]
        except (csv.Error, ValueError) as problem:
            raise ValueError(f"at line {rows.line_num}, {problem}") from problem


def _records(file, column):
    for number, line in enumerate(_lines(file, column), 1):
        with explained(TextError, f"{file}, line {number}, is no JSON", "Correct it, or take it out."):
            record = json.loads(line) if line.strip() else None
        yield record.get(column) if isinstance(record, dict) else None


ROWS = {".txt": _lines, ".csv": _fields, ".jsonl": _records}


def _digest(files):
    """A digest of the names and bytes of files, to know them again. The same on any machine, with any threads."""
    digest = hashlib.sha256()
    for file in sorted(files):
        with explained(TextError, f"{file} cannot be read", "See to it that you may read it, or take it out."):
            head = os.fsencode(f"{file.name}\0{file.stat().st_size}\0")  # else a byte could move to the next file
            digest.update(head)
            with open(file, "rb") as opened:
                while block := opened.read(2**22):
                    digest.update(block)
    return digest.hexdigest()


def _open(folder, settings):
    """Make a folder for shards, or find the one that these settings made. Raises ArgumentError for another's."""
    manifest = folder / "survey.json"
    with explained(ArgumentError, f"The folder {folder} cannot be used", "Delete it, or give another --out."):
        folder.mkdir(parents=True, exist_ok=True)
        if not manifest.is_file():
            write_whole(manifest, json.dumps(settings, indent=1))
        before = dict(json.loads(manifest.read_text(encoding="utf-8")))
    pairs = {key: (before.get(key), now) for key, now in settings.items()}
    changed = [f"{key}: {then!r} then, {now!r} now" for key, (then, now) in pairs.items() if then != now]
    if changed:
        what = f"{folder} holds the shards of another survey ({'; '.join(changed)})"
        raise ArgumentError(f"{what}. Delete the folder, or give another --out.")


def _survey_shards(model, tokenizer, texts, folder, *, context, batch=8, memory=2.0, size=64, rank=0, processes=1):
    """Survey every `processes`-th shard that `folder` does not have yet. Returns how many shards there are in all."""
    number, texts = 0, iter(texts)
    for number, shard in enumerate(progress(iter(lambda: list(islice(texts, size)), []), "shard"), 1):
        path = folder / f"{number:07}.pt"
        if number % processes == rank and not path.is_file():
            sums = _survey_shard(model, tokenizer, shard, context, batch, memory)
            write_whole(path, lambda part, sums=sums: torch.save(sums, part))
    return number


def _survey_shard(model, tokenizer, texts, context, batch, memory):
    pieces, skipped, cut = [], [], 0
    for where, text in texts:
        if text is None:
            skipped.append((where, "it has no text in the column that was asked for."))
            continue
        try:
            ids = encode(tokenizer, text)[0]
        except TextError as problem:
            skipped.append((where, str(problem)))
            continue
        parts = [part for part in ids.split(context) if len(part) > 1]
        pieces, cut = pieces + parts, cut + (len(ids) > context)
        if not parts:
            skipped.append((where, f"{text!r:.60} has pieces of one token, which has no other to look at."))
    sums = {"texts": len(texts) - len(skipped), "tokens": sum(map(len, pieces)), "cut": cut, "skipped": skipped}
    if pieces:
        longest = max(map(len, pieces))
        try:
            sums["sums"], sums["counts"] = survey_sums(model, _batches(model, pieces, batch, memory))
        except (MemoryError, RuntimeError) as problem:  # torch has no other error for a processor's memory
            if "memory" not in f"{problem}{type(problem).__name__}".lower():
                raise
            need = f"A piece of {longest} tokens takes about {_bytes(model, longest) / 1e9:.1f} GB beside the model"
            raise ArgumentError(f"Memory has run out. {need}. Give a smaller --context, or --memory.") from problem
    return sums


def _batches(model, pieces, batch, memory):
    """Batches of pieces of like length, so that there is little padding, and as many as `memory` GB hold."""
    pieces = sorted(pieces, key=len, reverse=True)
    while pieces:
        fit = max(1, min(batch, int(memory * 1e9 / _bytes(model, len(pieces[0])))))
        yield Batch.from_rows(pieces[:fit])
        pieces = pieces[fit:]


def _bytes(model, length):
    """What a piece takes at the peak beside the model: one layer's patterns and targets, all layers' keys and values.

    On storybook and SmolLM2 the peak was 0.55 to 0.91 of it.
    """
    config = model.config
    heads, width = config.num_attention_heads, config.hidden_size
    shared = (getattr(config, "num_key_value_heads", None) or heads) / heads  # keys and values for several heads
    values = 2 * config.num_hidden_layers * width * shared + 16 * width  # the last: what a layer makes on the way
    return 4 * length * (length * (COPIES * heads + len(SCORES)) + values)


def _add_up(folder, number):
    """Add up shards 1 to `number`, in order: (scores, totals) of `survey_corpus`."""
    totals, skipped, sums, counts = {"texts": 0, "tokens": 0, "cut": 0}, [], 0, 0
    for path in [folder / f"{each:07}.pt" for each in range(1, number + 1)]:
        with explained(ArgumentError, f"The shard {path} cannot be read", "Delete it, and run again."):
            shard = torch.load(path, weights_only=True)
        totals = {name: total + shard[name] for name, total in totals.items()}
        skipped += shard["skipped"]
        sums, counts = sums + shard.get("sums", 0), counts + shard.get("counts", 0)
    if not totals["texts"]:
        raise TextError(f"No text can be used; the first is {skipped[0][0]}: {skipped[0][1]}")
    scores = scores_table({name: score[0] for name, score in mean_scores(sums, counts).items()})
    layers, heads = sums.shape[1:3]
    places = [divmod(index, heads) for index in range(layers * heads)]
    table = pd.DataFrame(places, index=scores.index, columns=["layer", "head"]).join(scores)
    return table, totals | {"skipped": skipped}
