"""Adjustments by nested loops against ours: python benchmarks/adjustments.py

One thread, storybook, the first 64 bundled reviews. `rows` builds the rows of regression 2 for every layer; `points`
fits them by least squares too; `intervals` computes ordinary and clustered intervals as well. The loops go through
layers, sentences and positions, as tutorials do, and fit with numpy or statsmodels; the numbers must agree. `capture`
is a pass that keeps the norms of all adjustments, `forward` the same pass without hooks.
"""

import os
import time

ROUNDS = 5


def timed(work):
    """Seconds of the fastest of some rounds, and the result. The first round warms up."""
    seconds = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:]), result


def loop_rows(values, mask):
    made = []
    for layer in range(len(values)):
        rows = []
        for sentence in range(len(mask)):
            for t in range(3, int(mask[sentence].sum())):
                rows.append([values[layer, sentence, t - lag].item() for lag in range(3)])
        made.append(rows)
    return made


def loop_points(values, mask):
    import numpy as np

    found = []
    for rows in loop_rows(values, mask):
        rows = np.array(rows)
        found.append(np.linalg.lstsq(np.column_stack([np.ones(len(rows)), rows[:, 1:]]), rows[:, 0], rcond=None)[0])
    return np.array(found)


def loop_intervals(values, mask):
    import numpy as np
    import statsmodels.api as sm

    groups = [sentence for sentence in range(len(mask)) for _ in range(3, int(mask[sentence].sum()))]
    found = []
    for rows in loop_rows(values, mask):
        rows = np.array(rows)
        fit = sm.OLS(rows[:, 0], sm.add_constant(rows[:, 1:])).fit()
        fit.conf_int()
        found.append(fit.get_robustcov_results("cluster", groups=np.array(groups)).conf_int()[:, 1])
    return np.array(found)


def main():
    os.environ.update(OMP_NUM_THREADS="1", TQDM_DISABLE="1")
    import numpy as np
    import torch

    import interp_helpers as ih
    from interp_helpers import adjustments

    torch.set_num_threads(1)
    model, tokenizer = ih.load_model(device="cpu")
    batches = ih.token_batches(tokenizer, ih.load_sentences()["text"][:64], context=256, size=8)

    @torch.no_grad()
    def forward():
        for tokens, mask in batches:
            model.base_model(tokens, attention_mask=mask.long(), use_cache=False)

    bare, _ = timed(forward)
    capture, (norms, mask) = timed(lambda: ih.attention_output_norms(model, batches))
    values = norms.log()

    def rows():
        return adjustments.lag_rows(values, mask)

    def points():
        made = rows()
        design = torch.cat([torch.ones_like(made.X[..., :1]), made.X], -1)
        return torch.linalg.lstsq(design, made.y[..., None]).solution[..., 0].numpy()

    def intervals():
        return adjustments.regress(rows()).table["clustered high"].unstack("term").to_numpy()

    print(
        f"{mask.sum()} tokens; forward {bare * 1e3:.0f} ms, capture {capture * 1e3:.0f} ms: {capture / bare:.2f} times"
    )
    for name, loop, ours in [
        ("rows", loop_rows, rows),
        ("points", loop_points, points),
        ("intervals", loop_intervals, intervals),
    ]:
        slow, theirs = timed(lambda loop=loop: loop(values, mask))
        fast, found = timed(ours)
        if name == "rows":
            theirs = np.array(theirs)
            assert np.array_equal(theirs, torch.cat([found.y[..., None], found.X], -1).numpy())
        else:
            assert np.allclose(np.sort(theirs, 1), np.sort(found, 1), atol=1e-6)
        print(f"{name:10} loops {slow * 1e3:8.1f} ms, ours {fast * 1e3:6.1f} ms: {slow / fast:5.0f} times")


if __name__ == "__main__":
    main()
