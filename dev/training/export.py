"""A trained model becomes the folder that the course carries: weights, tokenizer, log, checksums and model card."""

import hashlib
import json
import platform
import shutil
from pathlib import Path

import numpy as np
import torch
from data import END_OF_TEXT
from measure import loop_share, measure, repeated_share
from transformers import PreTrainedTokenizerFast

PROMPTS = [
    "Once upon a time there was a little girl who",
    "The captain looked out to sea, and",
    '"What do you think of it?" asked the old man.',
    "The house stood at the end of a long lane.",
    "In the winter the wolves",
]
PLAIN = Path(__file__).resolve().parents[2] / "interp_helpers/data/plain/training_log.json"
FINAL_WINDOWS, FINAL_SCORE_WINDOWS = 1024, 64  # the card's figures rest on more text than the log's


def sample(model, tokenizer, prompt, greedy, new_tokens=60):
    """A continuation of `<|endoftext|>` and the prompt; sampled from the plain distribution, a seed a prompt."""
    torch.manual_seed(len(prompt))
    tokens = torch.tensor([[0, *tokenizer.encode(prompt).ids]], device=model.device)
    room = min(new_tokens, model.config.n_positions - tokens.shape[1])
    how = {"do_sample": False} if greedy else {"do_sample": True, "top_k": 0}
    out = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=room, pad_token_id=0, **how)
    return tokenizer.decode(out[0, tokens.shape[1] :].tolist())


def hardware():
    """The machine in words: the GPU's name, or the processor's and its number of threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} threads"


def export(trained, held_out, recipe, out):
    """Write the folder `out` from the result of `train.train`, replacing what is there."""
    model, tokenizer = trained.model, trained.tokenizer
    out = Path(out)
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    model.half().save_pretrained(part)
    model.float()  # the rounded weights, from here on: the card measures what is shipped
    config = json.loads((part / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"  # stored in float16, loaded in float32
    (part / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=model.config.n_positions,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(part)
    records = ",\n".join(json.dumps(record) for record in trained.log)
    (part / "training_log.json").write_text(f"[\n{records}\n]\n", encoding="utf-8")
    figures = measure(model, tokenizer, held_out, FINAL_WINDOWS, FINAL_SCORE_WINDOWS)
    (part / "README.md").write_text(model_card(trained, figures, held_out, recipe), encoding="utf-8")
    files = sorted(path for path in part.iterdir() if path.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (part / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)


def best(scores):
    """'L5H1 at 0.84': the head with the highest score of a `[layer][head]` list, and that score."""
    scores = np.array(scores)
    layer, head = np.unravel_index(scores.argmax(), scores.shape)
    return f"L{layer}H{head} at {scores.max():.2f}"


def quoted(text):
    return "\n".join(f"> {line}" if line else ">" for line in text.strip("\n").split("\n"))


def without_repeats(log, plain=PLAIN):
    """What the repeats did, in words: a log beside that of the same recipe without them, at its last step.

    That log is kept in the package; `budget.plain` of the recipe makes it.
    """
    other = json.loads(plain.read_text(encoding="utf-8"))[-1]
    own = min(log, key=lambda record: abs(record["tokens"] - other["tokens"]))
    rows = [
        ("trained on so far, million tokens", lambda record: f"{record['tokens'] / 1e6:.1f}"),
        ("loss per token on held-out books, nats", lambda record: f"{record['validation_loss']:.2f}"),
        ("loss on the second copy minus loss on the first, nats", lambda record: f"{record['repeat_gain']:.2f}"),
        *(
            (f"best {name.replace('_', '-')} score", lambda record, name=name: best(record["scores"][name]))
            for name in ("previous_token", "induction", "duplicate_token")
        ),
        ("repeated runs of three tokens in greedy text", lambda record: f"{record['loop_share']:.0%}"),
    ]
    table = "\n".join(f"| {what} | {show(own)} | {show(other)} |" for what, show in rows)
    return f"""The repeats were put in so that induction heads form. To see what they do, the same recipe was also
trained on plain text alone, until it was stopped:

| by the logs | this model then | on plain text alone |
|---|---|---|
{table}

Large models learn induction from natural text, after billions of tokens (Olsson et al. 2022,
arXiv:2209.11895). So this model shows *what* an induction head is, and not how soon text alone would make one. What the
repeats cost on text, the losses show."""


def model_card(trained, figures, held_out, recipe):
    """The text of the model card. `figures` is a record of `measure.measure` for the weights that are shipped."""
    budget, config, scores = recipe["budget"], trained.model.config, figures["scores"]
    parameters = sum(p.numel() for p in trained.model.parameters())
    size = sum(book["tokens"] for book in trained.books)
    training = [book for book in trained.books if not book["held_out"]]
    kept = [book for book in trained.books if book["held_out"]]
    characters = len(trained.tokenizer.decode(held_out.tolist()))
    bits = figures["validation_loss"] / np.log(2) * len(held_out) / characters
    phases = "".join(
        f"- from {each['from_tokens'] / 1e6:g} million tokens on, {each['share']:.0%} of the windows; "
        f"{each['excerpts']:.0%} of the pieces are excerpts, the others tokens drawn at random\n"
        for each in budget["repeats"]
    )
    sampled = loop_share(trained.model, trained.tokenizer, sample=True)
    books = np.mean([repeated_share(held_out[i : i + 60].tolist()) for i in range(0, len(held_out) - 60, 6000)])
    loops = [record["loop_share"] for record in trained.log if 2 * record["tokens"] >= budget["tokens"]]
    samples = "\n\n".join(
        f"**{prompt}**\n\nGreedy:\n\n{quoted(sample(trained.model, trained.tokenizer, prompt, True))}\n\n"
        f"Sampled:\n\n{quoted(sample(trained.model, trained.tokenizer, prompt, False))}"
        for prompt in PROMPTS
    )

    def titles(books):
        return "\n".join(
            f"- {book['title']} ({book['source']}, {book['path']}; {book['licence']})"
            for book in sorted(books, key=lambda book: book["title"])
        )

    return f"""---
language: en
license: cc0-1.0
library_name: transformers
pipeline_tag: text-generation
---

# storybook

A small GPT-2 that the course carries, so that every notebook runs without a network. It was made to be looked
into: small enough for a laptop and a class, trained long enough to have previous-token, duplicate-token and
induction heads.

## Architecture

GPT-2 (`GPT2LMHeadModel`): {config.n_layer} layers, {config.n_head} heads of {config.n_embd // config.n_head}
dimensions, hidden size {config.n_embd}, context {config.n_positions}, vocabulary {config.vocab_size} (byte-level BPE;
`<|endoftext|>` is token 0), learned positions, tied embeddings, no dropout: {parameters:,} parameters, stored
in float16 and loaded in float32.

## Data

{len(trained.books)} public-domain books, stories and novels, many of them for children: {size / 1e6:.1f} million
tokens.
{len(kept)} whole books were held out: all figures below come from them. All titles and where each came from
stand at the end of this card.

Some windows of training do not hold plain text but a piece of 12 to 63 tokens that is repeated to the end of
the window:

{phases}
{without_repeats(trained.log)}

## Training

`dev/training/train.py` with `dev/training/recipe.toml`, budget `{recipe["budget_name"]}`, seed {recipe["seed"]}:
{budget["tokens"] / 1e6:g} million tokens, {budget["windows_per_step"]} windows of {budget["context"]} a step,
Muon for the matrices of the blocks and AdamW for the rest, {trained.precision} matrix products.
Hardware: {hardware()}; {trained.seconds / 60:.0f} minutes, measurements included, beside other work.

## Results

On held-out books: {FINAL_WINDOWS} windows for the loss, {FINAL_SCORE_WINDOWS} sequences for every score, with
the weights as they are shipped. Repeated tokens are drawn from the books, with `<|endoftext|>` in front; tokens drawn
evenly from the vocabulary are rarer, and give lower scores. L4H3 is head 3 of layer 4, both counted from 0.

| what | value |
|---|---|
| loss per token, nats | {figures["validation_loss"]:.3f} |
| bits per character | {bits:.3f} |
| loss on the second copy of repeated random tokens minus loss on the first, nats | {figures["repeat_gain"]:.2f} |
| best previous-token head, mean attention to the token before | {best(scores["previous_token"])} |
| best induction head, on repeated random tokens | {best(scores["induction"])} |
| best duplicate-token head, on repeated random tokens | {best(scores["duplicate_token"])} |
| most first-token attention | {best(scores["first_token"])} |
| repeated runs of three tokens in 60 tokens of greedy text | {figures["loop_share"]:.0%} |
| the same in sampled text | {sampled:.0%} |
| the same in the books | {books:.0%} |

The log of training, `training_log.json`, has the same figures at log-spaced steps, on less text.

Greedy text loops, as that of small models does; sampled text does not. What was tried against it: once the heads
had formed, repeats were made rarer and excerpts were left out of them, so that text no longer teaches the model
that text repeats itself; and training went on for more tokens than the heads need. By the log, that did not help
much: in its second half, repeated runs made up between {min(loops):.0%} and {max(loops):.0%} of greedy text, without
a trend that stands out from the noise of eight prompts.

## What it writes

{samples}

## Limits

- It knows no facts, cannot follow instructions, count or reason, and loses the thread after a sentence or two.
- Its books were written between 600 BC and the 1920s, most in the nineteenth century, in English or translated, most by
  British and American authors. Their views of women, of servants, of other peoples and of empire are in it,
  and it repeats their prejudices and their words. Do not put its text before children unread.
- It reads {config.n_positions} tokens at most. Its heads were helped to form (see Data): how clean they are says
  little about how clean they are elsewhere.
- The books are in the public domain in the United States; where you live, a few may not be.

## Licence

The weights: CC0 1.0. The books: public domain, as listed.

## Books trained on ({len(training)})

{titles(training)}

## Books held out ({len(kept)})

{titles(kept)}
"""
