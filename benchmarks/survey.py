"""The survey against other ways to the same scores: python benchmarks/survey.py [tokens ...]

Every measurement is a process of its own, so that its peak memory is its own. One thread, storybook, texts of 100
random tokens. `forward` is the bare eager pass without logits, the least that any way must do. `detect_head` is
TransformerLens's, for the three kinds of head that it knows; `loop` goes through heads and texts in Python, with the
same scores as the survey.
"""

import json
import os
import subprocess
import sys
import time

LENGTH, BATCH = 100, 16
WAYS = ["forward", "survey", "loop", "detect_head"]


def forward(model, tokenizer, batches):
    for tokens in batches:
        model.base_model(tokens)


def survey(model, tokenizer, batches):
    from interp_helpers.survey import survey

    return survey(model, batches)


def loop(model, tokenizer, batches):
    from interp_helpers import heads

    for tokens in batches:
        for text in tokens:
            patterns = model.base_model(text[None], output_attentions=True).attentions
            for layer in patterns:
                for head in layer[0]:
                    for make in heads.TARGETS.values():
                        target = make(text)
                        (head * target).sum() / target.any(-1).sum()
                    heads.entropy_share(head)


def detect_head(model, tokenizer, batches):
    from transformer_lens.head_detector import detect_head
    from transformer_lens.model_bridge import TransformerBridge

    from interp_helpers.models import STORYBOOK

    bridge = TransformerBridge.boot_transformers(str(STORYBOOK), device="cpu")
    for tokens in batches:
        for text in tokens:
            words = tokenizer.decode(text[: LENGTH - 10])  # decoded and encoded again, it may come out a little longer
            for kind in ["previous_token_head", "duplicate_token_head", "induction_head"]:
                detect_head(bridge, words, kind)


def measure(way, count):
    """Seconds and peak MiB of one way over `count` tokens, after a first batch that is not timed."""
    import resource

    import torch

    from interp_helpers import load_model

    torch.set_num_threads(1)
    model, tokenizer = load_model("storybook", device="cpu")
    tokens = torch.randint(1, 8192, (max(1, count // LENGTH), LENGTH), generator=torch.Generator().manual_seed(0))
    run = globals()[way]
    with torch.no_grad():
        run(model, tokenizer, [tokens[:1]])
        began = time.perf_counter()
        run(model, tokenizer, tokens.split(BATCH))
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main(counts):
    print(f"{'tokens':>8} {'way':<12} {'seconds':>8} {'tokens/s':>9} {'x forward':>9} {'peak MiB':>8}")
    for count in counts:
        bare = None
        for way in WAYS:
            command = [sys.executable, __file__, "--one", way, str(count)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(ran.stdout.splitlines()[-1])
            bare = bare or found["seconds"]
            print(
                f"{count:8} {way:<12} {found['seconds']:8.2f} {count / found['seconds']:9.0f} "
                f"{found['seconds'] / bare:9.2f} {found['peak']:8.0f}",
                flush=True,
            )


if __name__ == "__main__":
    os.environ.update(OMP_NUM_THREADS="1", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false")
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
    else:
        main([int(each) for each in sys.argv[1:]] or [1_000, 10_000, 100_000])
