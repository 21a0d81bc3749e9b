"""Adjustments by nested loops against ours.

One thread, storybook, the first 64 bundled reviews. `rows` builds the rows of regression 2 for every layer; `points`
fits them by least squares too; `intervals` computes ordinary and clustered intervals as well. The loops go through
layers, sentences and positions, as tutorials do, and fit with numpy or statsmodels; the numbers must agree. `capture`
is a pass that keeps the norms of all adjustments, `forward` the same pass without hooks.
"""

import json

from measuring import alone, fastest


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


def measure():
    import numpy as np
    import torch

    import interp_helpers as ih
    from interp_helpers import adjustments

    torch.set_num_threads(1)
    model, tokenizer = ih.load_model(device="cpu")
    batches = ih.token_batches(tokenizer, ih.load_sentences()["text"][:64], context=128, size=8)

    @torch.no_grad()
    def forward():
        for batch in batches:
            model.base_model(batch.tokens, attention_mask=batch.mask.long(), use_cache=False)

    bare, _ = fastest(forward)
    capture, (norms, mask) = fastest(lambda: adjustments.attention_output_norms(model, batches))
    values = norms.log()

    def rows():
        return adjustments.lag_rows(values, mask)

    def points():
        made = rows()
        design = torch.cat([torch.ones_like(made.X[..., :1]), made.X], -1)
        return torch.linalg.lstsq(design, made.y[..., None]).solution[..., 0].numpy()

    def intervals():
        return adjustments.regress(rows()).table["clustered high"].unstack("term").to_numpy()

    found = [(f"capture of {mask.sum()} tokens, against the bare pass", bare, capture)]
    for name, loop, ours in [
        ("rows", loop_rows, rows),
        ("rows and coefficients", loop_points, points),
        ("rows, coefficients and clustered intervals", loop_intervals, intervals),
    ]:
        slow, theirs = fastest(lambda loop=loop: loop(values, mask))
        fast, mine = fastest(ours)
        if name == "rows":
            theirs = np.array(theirs)
            assert np.array_equal(theirs, torch.cat([mine.y[..., None], mine.X], -1).numpy())
        else:
            assert np.allclose(np.sort(theirs, 1), np.sort(mine, 1), atol=1e-6)
        found.append((f"{name}, against loops", slow, fast))
    return found


def tables():
    rows = [
        {
            "what": what,
            "theirs, ms": f"{1e3 * theirs:.1f}",
            "ours, ms": f"{1e3 * ours:.1f}",
            "times": f"{theirs / ours:.2f}",
        }
        for what, theirs, ours in alone(__file__)
    ]
    return {"Adjustments of 64 reviews in all layers": rows}


if __name__ == "__main__":
    print(json.dumps(measure()))
