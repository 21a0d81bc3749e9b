"""Train storybook: python dev/training/train.py --corpus books.jsonl.xz --recipe dev/training/recipe.toml --out DIR

Writes into DIR: the token cache, `checkpoint.pt` (a later call goes on from it), and at the end `storybook/`,
the folder that the course carries. Same recipe, seed and machine: same weights, interrupted or not.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from data import prepare, training_windows
from export import export
from measure import measure
from optimizer import make_optimizers, rate
from tokenizers import Tokenizer
from tqdm.auto import tqdm
from transformers import GPT2Config, GPT2LMHeadModel

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib


class Trained(NamedTuple):
    """The result of a run: `log` is a list of records of `measure.measure`, `books` as `data.prepare` gives them."""

    model: GPT2LMHeadModel
    tokenizer: Tokenizer
    log: list
    books: list
    seconds: float
    precision: str


def load_recipe(path, budget):
    """The recipe with the named budget in place of the table of budgets."""
    recipe = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    budgets = recipe.pop("budget")
    if budget not in budgets:
        raise SystemExit(f"train: no budget {budget!r} in {path}; it has {', '.join(budgets)}")
    return {**recipe, "budget_name": budget, "budget": budgets[budget]}


def matmul_seconds(dtype, device, size=1024):
    """How long a matrix product takes: the shortest of five, after one to warm up."""
    matrix = torch.ones(size, size, dtype=dtype, device=device)
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # a GPU has finished when the number is here
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def pick_precision(wanted, device, seconds=matmul_seconds):
    """What is asked for; for "auto", bfloat16 where its products take less than two thirds of float32's time.

    Measured, not read off the hardware: some processors only emulate bfloat16, and are ten times slower with it.
    """
    if wanted != "auto":
        return getattr(torch, wanted)
    return torch.bfloat16 if seconds(torch.bfloat16, device) < seconds(torch.float32, device) * 2 / 3 else torch.float32


def new_model(recipe):
    """GPT-2 with fresh weights from the recipe's seed, no dropout, eager attention."""
    budget = recipe["budget"]
    torch.manual_seed(recipe["seed"])
    config = GPT2Config(
        vocab_size=recipe["tokenizer"]["vocab_size"],
        n_positions=budget["context"],
        n_embd=budget["width"],
        n_layer=budget["layers"],
        n_head=budget["heads"],
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        attn_implementation="eager",
    )
    return GPT2LMHeadModel(config)


def total_steps(budget):
    return budget["tokens"] // (budget["windows_per_step"] * budget["context"])


def measured_steps(steps, count):
    """`count` or fewer log-spaced steps, 0 and the last among them: (100, 5) -> [0, 1, 5, 22, 100]."""
    return sorted({0, *np.geomspace(1, steps, count - 1).round().astype(int).tolist()})


def phase(budget, step):
    """The settings of the repeats that hold at a step."""
    seen = step * budget["windows_per_step"] * budget["context"]
    return [each for each in budget["repeats"] if each["from_tokens"] <= seen][-1]


def summary(record):
    """One line of a record of the log, with each score's best head."""
    heads = ", ".join(f"{name} {np.max(values):.2f}" for name, values in record["scores"].items())
    return (
        f"step {record['step']}: validation {record['validation_loss']:.3f}, repeat {record['repeat_gain']:.2f}, "
        f"loops {record['loop_share']:.0%}, {heads}"
    )


def save_atomically(state, path):
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def train(corpus, recipe, out, stop_after=None, progress=True):
    """Train to the end of the budget, or to `stop_after` steps (as an interruption would; for the tests).

    Goes on from `out/checkpoint.pt` when it is there. Returns a Trained.
    """
    budget, steps = recipe["budget"], total_steps(recipe["budget"])
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer, tokens, held_out, books = prepare(corpus, out, recipe)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    start, log, seconds, saved = 0, [], 0.0, None
    checkpoint = out / "checkpoint.pt"
    if checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        if saved["recipe"] != json.dumps(recipe):
            raise SystemExit(f"train: {checkpoint} was made with another recipe; give another --out, or delete it")
    # What was measured once holds for the whole run.
    dtype = pick_precision((saved or {}).get("precision", budget["precision"]), device)
    model = new_model(recipe).to(device)
    optimizers = make_optimizers(model, recipe["optimizer"], dtype, fused=device == "cuda")
    if saved:
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)
        start, log, seconds = saved["step"], saved["log"], saved["seconds"]

    def loss_of(windows):
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            logits = model(windows[:, :-1], use_cache=False).logits
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten())

    compiled = torch.compile(loss_of) if budget["compile"] else loss_of

    def backward(windows, first):
        """The loss, and its gradients in the model. Where torch.compile fails at the first step, eager from there."""
        nonlocal compiled
        try:
            loss = compiled(windows)
            loss.backward()  # compiled when it is called first, too
        except Exception as problem:  # of dynamo, inductor, the compiler or the linker
            if not first or compiled is loss_of:
                raise
            print(
                f"train: torch.compile does not work here ({type(problem).__name__}), as where a path has a space in "
                "it; going on without it, more slowly"
            )
            compiled = loss_of
            model.zero_grad()
            loss = loss_of(windows)
            loss.backward()
        return loss

    measured = set(measured_steps(steps, recipe["log"]["measurements"]))
    settings = recipe["optimizer"]
    per_step = budget["windows_per_step"] * budget["context"]
    bar = tqdm(total=steps * per_step, initial=start * per_step, unit="tok", unit_scale=True, disable=not progress)
    began = time.monotonic()
    for step in range(start, steps + 1):
        if step in measured and (not log or log[-1]["step"] < step):
            facts = measure(model, tokenizer, held_out, recipe["log"]["windows"], recipe["log"]["score_windows"])
            log.append({"step": step, "tokens": step * per_step, **facts})
            if progress:
                tqdm.write(summary(log[-1]))
            model.train()
        if step % budget["checkpoint_every"] == 0 or step in (steps, stop_after):
            save_atomically(
                {
                    "recipe": json.dumps(recipe),
                    "precision": str(dtype).removeprefix("torch."),
                    "step": step,
                    "model": model.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                    "log": log,
                    "seconds": seconds + time.monotonic() - began,
                },
                checkpoint,
            )
        if step in (steps, stop_after):
            break
        now = phase(budget, step)
        windows = training_windows(
            tokens,
            step,
            recipe["seed"],
            budget["windows_per_step"],
            budget["context"],
            recipe["data"],
            now["share"],
            now["excerpts"],
        )
        loss = backward(torch.from_numpy(windows).to(device), first=step == start)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip_norm"])
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * rate(step, steps, settings)
            optimizer.step()
            optimizer.zero_grad()
        bar.update(per_step)
        if step % 10 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
    bar.close()
    spent = seconds + time.monotonic() - began
    return Trained(model.eval(), tokenizer, log, books, spent, str(dtype).removeprefix("torch."))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, type=Path, help="books, one JSON a line; .jsonl or .jsonl.xz")
    parser.add_argument("--recipe", default=Path(__file__).with_name("recipe.toml"), type=Path)
    parser.add_argument("--budget", help="a budget of the recipe; by default gpu where there is one, else cpu")
    parser.add_argument("--out", required=True, type=Path)
    given = parser.parse_args()
    if not given.corpus.is_file():
        parser.error(f"there is no corpus at {given.corpus}")
    recipe = load_recipe(given.recipe, given.budget or ("gpu" if torch.cuda.is_available() else "cpu"))
    trained = train(given.corpus, recipe, given.out)
    held_out = prepare(given.corpus, given.out, recipe)[2]
    export(trained, held_out, recipe, given.out / "storybook")
    print(f"Written: {given.out / 'storybook'}")


if __name__ == "__main__":
    main()
