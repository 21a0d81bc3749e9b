"""What the training log records: losses, the gain on repeated tokens, looping, and the scores of every head."""

import numpy as np
import torch
from data import held_out_windows, repeated_random
from torch.nn.functional import cross_entropy

STARTS = [  # what the model continues greedily when looping is measured
    "Once upon a time there was a little girl",
    "The old man looked at him and",
    "It was a dark night, and the wind",
    '"I am sure," said the captain,',
    "The king had three sons. The eldest",
    "When the morning came, they",
    "She opened the door and saw",
    "There was nothing in the garden but",
]


def losses(model, windows, batch=32):
    """Loss at every next token in nats: `(windows, context)` from windows `(windows, context + 1)`."""
    found = []
    for rows in torch.as_tensor(windows, device=model.device).split(batch):
        logits = model(rows[:, :-1], use_cache=False).logits.float()
        found.append(cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none"))
    return torch.cat(found)


def patterns(model, tokens):
    """Attention `(layer, batch, head, query, key)` from tokens `(batch, position)`."""
    return torch.stack(model(torch.as_tensor(tokens, device=model.device), output_attentions=True).attentions)


def shifted_score(pattern, back, start):
    """Mean attention from each query >= `start` to the key `back` places before it, `(layer, head)`."""
    diagonal = pattern.diagonal(-back, -2, -1)  # its i-th entry belongs to query i + back
    return diagonal[..., start - back :].mean((1, 3))


def repeated_share(tokens, size=3):
    """Share of the runs of `size` tokens that occurred earlier in the same sequence; 0 when nothing repeats."""
    runs = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    return 1 - len(set(runs)) / len(runs)


def loop_share(model, tokenizer, new_tokens=60, sample=False):
    """Mean share of repeated runs of three tokens in continuations of STARTS, greedy or sampled (seed 0)."""
    torch.manual_seed(0)
    how = {"do_sample": True, "top_k": 0} if sample else {"do_sample": False}
    shares = []
    for text in STARTS:
        prompt = torch.tensor([[0, *tokenizer.encode(text).ids]], device=model.device)
        room = min(new_tokens, model.config.n_positions - prompt.shape[1])
        settings = {"max_new_tokens": room, "pad_token_id": 0, "eos_token_id": None, **how}
        out = model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
        shares.append(repeated_share(out[0, prompt.shape[1] :].tolist()))
    return float(np.mean(shares))


def rounded(values):
    return np.round(values.double().cpu().numpy(), 4).tolist()


@torch.no_grad()
def measure(model, tokenizer, held_out, windows, score_windows):
    """One record of the log. Scores are `[layer][head]` lists, means over `score_windows` sequences.

    previous_token, first_token: held-out text; attention to the token before, and to the first, from every
    query but the first. induction, duplicate_token: <|endoftext|> and random tokens twice; attention from
    the second copy to the token after the first occurrence, and to the first occurrence itself.
    repeat_gain: loss on the second copy minus loss on the first, in nats (below 0 when repetition helps).
    """
    model.eval()
    context = model.config.n_positions
    text = held_out_windows(held_out, windows, context)
    twice, half = repeated_random(held_out, score_windows, context)
    repeat_loss = losses(model, twice)
    plain = patterns(model, held_out_windows(held_out, score_windows, context)[:, :-1])
    again = patterns(model, twice)
    record = {
        "validation_loss": losses(model, text).mean().item(),
        "repeat_gain": (repeat_loss[:, half:].mean() - repeat_loss[:, :half].mean()).item(),
        "loop_share": loop_share(model, tokenizer),
        "scores": {
            "previous_token": rounded(shifted_score(plain, 1, 1)),
            "first_token": rounded(plain[..., 1:, 0].mean((1, 3))),
            "induction": rounded(shifted_score(again, half - 1, 1 + half)),
            "duplicate_token": rounded(shifted_score(again, half, 1 + half)),
        },
    }
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in record.items()}
