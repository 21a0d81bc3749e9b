"""The survey against other ways to the same scores, and how it grows with tokens, context and batch.

One thread, storybook's sizes, texts of random tokens, each measurement in a process of its own. `forward` is the bare
eager pass without logits, the least that any way must do. `detect_head` is TransformerLens's, for the three kinds of
head that it knows; `loop` goes through heads and texts in Python, with the same scores as the survey.
"""

import json
import sys

from measuring import alone, fastest, peak

LENGTH, BATCH = 100, 16


def forward(model, tokenizer, batches):
    for tokens in batches:
        model.base_model(tokens)


def survey(model, tokenizer, batches):
    from interp_helpers.attention import survey

    return survey(model, batches)


def loop(model, tokenizer, batches):
    from interp_helpers import attention

    for tokens in batches:
        for text in tokens:
            patterns = model.base_model(text[None], output_attentions=True).attentions
            for layer in patterns:
                for head in layer[0]:
                    for make in attention.TARGETS.values():
                        target = make(text)
                        (head * target).sum() / target.any(-1).sum()
                    attention.entropy_share(head)


def detect_head(model, tokenizer, batches):
    from transformer_lens.head_detector import detect_head
    from transformer_lens.model_bridge import TransformerBridge

    from interp_helpers.hub import STORYBOOK

    bridge = TransformerBridge.boot_transformers(str(STORYBOOK), device="cpu")
    for tokens in batches:
        for text in tokens:
            words = tokenizer.decode(text[: LENGTH - 10])  # decoded and encoded again, it may come out a little longer
            for kind in ["previous_token_head", "duplicate_token_head", "induction_head"]:
                detect_head(bridge, words, kind)


def load(length):
    """(model, tokenizer): storybook, or a model of its sizes with random weights that reads longer texts."""
    from transformers import AutoModelForCausalLM

    from interp_helpers import context_length, load_model

    model, tokenizer = load_model("storybook", device="cpu")
    if length > context_length(model):
        model.config.n_positions = length
        model = AutoModelForCausalLM.from_config(model.config, attn_implementation="eager").eval()
    return model, tokenizer


def measure(way, count, length, batch):
    """Seconds and peak MiB of one way over `count` tokens, after a first text that is not timed."""
    import torch

    torch.set_num_threads(1)
    model, tokenizer = load(length)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, model.config.vocab_size, (max(1, count // length), length), generator=generator)
    run = globals()[way]
    with torch.no_grad():
        run(model, tokenizer, [tokens[:1]])
        rounds = 1 if count > 50_000 else 3
        seconds, _ = fastest(lambda: run(model, tokenizer, tokens.split(batch)), rounds)
    return {"tokens": tokens.numel(), "seconds": seconds, "MiB": peak()}


def rows(settings):
    """A row for each of (way, tokens, length, batch), with the time as a multiple of the bare forward pass."""
    bare = {}
    for way, *sizes in settings:
        found = alone(__file__, way, *sizes)
        rate = found["tokens"] / found["seconds"]
        key = tuple(sizes)
        if key not in bare:
            bare[key] = rate if way == "forward" else None
        yield {
            "way": way,
            "tokens": f"{found['tokens']:,}",
            "context": sizes[1],
            "batch": sizes[2],
            "tokens a second": f"{rate:,.0f}",
            "times the forward pass": f"{bare[key] / rate:.2f}" if bare[key] else "",
            "peak MiB": f"{found['MiB']:.0f}",
        }


def tables():
    """{heading: rows} of all that is measured here."""
    ways = [(way, 10_000, LENGTH, BATCH) for way in ("forward", "survey", "loop", "detect_head")]
    pair = ("forward", "survey")
    tokens = [(way, count, LENGTH, BATCH) for count in (1_000, 10_000, 100_000, 1_000_000) for way in pair]
    contexts = [(way, 20_000, length, BATCH) for length in (32, 64, 128, 256) for way in pair]
    batches = [(way, 20_000, LENGTH, batch) for batch in (1, 4, 16, 64) for way in pair]
    return {
        "All scores of all heads, against other ways": list(rows(ways)),
        "Growth with the number of tokens": list(rows(tokens)),
        "Growth with the length of a text": list(rows(contexts)),
        "Growth with the texts in a batch": list(rows(batches)),
    }


if __name__ == "__main__":
    way, *sizes = sys.argv[1:]
    print(json.dumps(measure(way, *map(int, sizes))))
