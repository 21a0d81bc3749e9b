"""The survey for corpora and models beyond one laptop: shards, any number of processes, a memory of what is done.

Texts are counted off into shards. Each process takes its share of them and writes the sums of each shard as soon as it
is done, so that a run that is killed loses at most the shard that each process was at. Scores are made from all shards
in their order, in float64: how many processes there were, and how often they were killed, makes no difference to them.
"""

import hashlib
import json
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState

from .attention import SCORES, scores_table, survey_sums
from .errors import ArgumentError, TextError, explained
from .files import write_whole
from .hub import FILES, find_folder
from .models import context_length, load_model
from .progress import progress
from .text import Batch, csv_tables, encode

KINDS = (".txt", ".csv", ".jsonl")
LONGEST = 1024  # tokens in a piece unless told otherwise: patterns grow with the square


def survey_corpus(name, texts, out, *, column="text", context=None, batch=8, size=64, device_map=None, cpu=False):
    """Survey a corpus, and write a table with a row for each head. Every process that Accelerate has started calls it.

    name, device_map: as for `load_model`; one process is enough for a model that is spread over devices.
    texts: a .txt with a text a line, a .csv or .jsonl with a text a row, in `column`, or a folder of such files, where
        a .txt is one text. All in UTF-8. A line ends at a line break, not at U+2028, as for `load_sentences`.
    out: the table, a .parquet file, beside which the folder `out`.shards keeps what is done.
    context: tokens in a piece of text, by default LONGEST, and at most what the model reads; batch: pieces that are
        read at once; size: texts in a shard; cpu: use no GPU.

    Returns (scores, totals) in every process. scores: a table with a head a row, its layer and head in the first two
    columns; totals: a dict with the numbers of texts and tokens, and skipped, a list of (where, why).

    Raises TextError when there is no text that can be used, or a file that cannot be parsed; ArgumentError when the
    folder holds the shards of another survey or a damaged one; and what `load_model` raises.
    """
    state = PartialState(cpu=cpu)
    if device_map and state.num_processes > 1:
        raise ArgumentError("--device-map spreads one model over all devices, so it takes one process.")
    with state.main_process_first():  # it fetches a hub model, the others find it in the cache
        model, tokenizer = load_model(name, device=None if device_map else state.device, device_map=device_map)
    context = min(context or LONGEST, context_length(model))
    model_files = [file for pattern in FILES for file in find_folder(str(name)).glob(pattern)]
    settings = {"model": str(name), "model files": _digest(model_files), "texts": _digest(_files(texts))}
    settings |= {"column": column, "context": context, "batch": batch, "shard": size, "scores": SCORES}
    folder = Path(f"{out}.shards")
    _open(folder, settings)
    shares = {"rank": state.process_index, "processes": state.num_processes}
    rows = _read_texts(texts, column)
    number = _survey_shards(model, tokenizer, rows, folder, context=context, batch=batch, size=size, **shares)
    state.wait_for_everyone()
    scores, totals = _add_up(folder, number)
    if state.is_main_process:
        write_whole(out, scores.to_parquet)
    return scores, totals


def _read_texts(path, column="text"):
    """The texts of a file or folder, one at a time: (where it stands, the text or None where there is none)."""
    advice = f"A .csv needs a header with {column!r}, and quotes around text that holds a comma; all must be UTF-8."
    for file in _files(path):
        whole = file.suffix == ".txt" and Path(path).is_dir()
        with explained(TextError, f"{file} cannot be read", advice):
            texts = [file.read_text(encoding="utf-8-sig")] if whole else _rows(file, column)
            for number, text in enumerate(texts, 1):
                yield str(file) if whole else f"{file}, row {number}", text


def _files(path):
    """The files of a corpus, in order."""
    path = Path(path)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    files = [file for file in files if file.suffix in KINDS and file.is_file()]
    if not files:
        raise TextError(f"There is no {', '.join(KINDS)} at {path}.")
    return files


def _rows(file, column):
    if file.suffix == ".csv":
        for table in csv_tables(file, str):
            yield from table[column]
        return
    with open(file, encoding="utf-8-sig") as lines:
        for line in lines:
            if file.suffix == ".txt":
                yield line.removesuffix("\n")
            else:
                record = json.loads(line) if line.strip() else None
                yield record.get(column) if isinstance(record, dict) else None


def _digest(files):
    """A digest of the names and bytes of files, to know them again. The same on any machine, with any threads."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())  # else a byte could move to the next file
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


def _survey_shards(model, tokenizer, texts, folder, *, context, batch=8, size=64, rank=0, processes=1):
    """Survey every `processes`-th shard that `folder` does not have yet. Returns how many shards there are in all."""
    number, texts = 0, iter(texts)
    for number, shard in enumerate(progress(iter(lambda: list(islice(texts, size)), []), "shard"), 1):
        path = folder / f"{number:07}.pt"
        if number % processes == rank and not path.is_file():
            sums = _survey_shard(model, tokenizer, shard, context, batch)
            write_whole(path, lambda part, sums=sums: torch.save(sums, part))
    return number


def _survey_shard(model, tokenizer, texts, context, batch):
    pieces, skipped = [], []
    for where, text in texts:
        try:
            parts = [part for part in encode(tokenizer, text)[0].split(context) if len(part) > 1]
        except TextError as problem:
            skipped.append((where, str(problem)))
            continue
        pieces += parts
        if not parts:
            skipped.append((where, f"{text!r:.60} has pieces of one token, which has no other to look at."))
    sums = {"texts": len(texts) - len(skipped), "tokens": sum(map(len, pieces)), "skipped": skipped}
    if pieces:
        pieces.sort(key=len)  # pieces of like length share a batch: little padding
        batches = [Batch.from_rows(pieces[start : start + batch]) for start in range(0, len(pieces), batch)]
        sums["sums"], sums["counts"] = survey_sums(model, batches)
    return sums


def _add_up(folder, number):
    """Add up shards 1 to `number`, in order: (scores, totals) of `survey_corpus`."""
    totals, sums, counts = {"texts": 0, "tokens": 0, "skipped": []}, 0, 0
    for path in [folder / f"{each:07}.pt" for each in range(1, number + 1)]:
        with explained(ArgumentError, f"The shard {path} cannot be read", "Delete it, and run again."):
            shard = torch.load(path, weights_only=True)
        totals = {name: total + shard[name] for name, total in totals.items()}
        sums, counts = sums + shard.get("sums", 0), counts + shard.get("counts", 0)
    if not totals["texts"]:
        where, why = (totals["skipped"] or [("the corpus", "it is empty")])[0]
        raise TextError(f"No text can be used; the first is {where}: {why}")
    means = (sums / counts[:, None, None])[0].unbind(-1)
    scores = scores_table({name: score for name, score, count in zip(SCORES, means, counts[0]) if count})
    layers, heads = sums.shape[1:3]
    places = [divmod(index, heads) for index in range(layers * heads)]
    return pd.DataFrame(places, index=scores.index, columns=["layer", "head"]).join(scores), totals
