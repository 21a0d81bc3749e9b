"""Every head ablated in turn, and the z of every head: what `interventions` adds to the time of the bare pass.

One thread, storybook, 8 texts of 64 random tokens; the losses of all ways must agree. `sweep_heads` and `head_z` use a
TransformerLens bridge, whose own bare pass stands beside that of transformers. `edited weights` is the way without
hooks: the head's rows of W_O set to zero in the transformers model itself, and put back.
"""

import json

from measuring import alone, fastest


def measure():
    import torch

    import interp_helpers as ih
    from interp_helpers import interventions

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    model, tokenizer = ih.load_model("storybook", device="cpu")
    bridge, _ = ih.load_bridge("storybook", device="cpu")
    tokens = ih.repeated_random_tokens(tokenizer, 32, sequences=8)
    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    size = model.config.hidden_size // heads

    def losses(logits):
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())

    def ours():
        return interventions.sweep_heads(bridge, lambda bridge: interventions.text_loss(bridge, tokens).mean())

    def by_hand():
        loss = torch.empty(layers, heads)
        for layer in range(layers):
            for head in range(heads):

                def off(z, hook, head=head):
                    z = z.clone()
                    z[:, :, head] = 0
                    return z

                hooks = [(f"blocks.{layer}.attn.hook_z", off)]
                loss[layer, head] = losses(bridge.run_with_hooks(tokens, fwd_hooks=hooks))
        return loss

    def edited():
        loss = torch.empty(layers, heads)
        for layer in range(layers):
            matrix = model.transformer.h[layer].attn.c_proj.weight
            for head in range(heads):
                rows = slice(head * size, (head + 1) * size)
                kept = matrix[rows].clone()
                matrix[rows] = 0
                loss[layer, head] = losses(model(tokens, use_cache=False).logits)
                matrix[rows] = kept
        return loss

    def passes():
        for _ in range(layers * heads):
            model(tokens, use_cache=False)

    def bridge_passes():
        for _ in range(layers * heads):
            bridge(tokens)

    def cached():
        _, cache = bridge.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_z"))
        return torch.stack([cache[f"blocks.{layer}.attn.hook_z"] for layer in range(layers)])

    bare, _ = fastest(passes, 3)
    seconds, _ = fastest(bridge_passes, 3)
    rows = [("as many bare passes: transformers", bare, 1), ("as many bare passes: bridge", seconds, seconds / bare)]
    expected = None
    for name, way in [("sweep_heads", ours), ("run_with_hooks by hand", by_hand), ("edited weights", edited)]:
        seconds, loss = fastest(way, 3)
        expected = loss if expected is None else expected
        torch.testing.assert_close(loss, expected, rtol=0, atol=1e-4)
        rows.append((f"{layers * heads} heads ablated in turn: {name}", seconds, seconds / bare))
    single, _ = fastest(lambda: model.base_model(tokens, use_cache=False), 20)
    rows.append(("a bare pass without logits", single, 1))
    seconds, ours_z = fastest(lambda: interventions.head_z(bridge, tokens), 20)
    rows.append(("z of all heads: head_z", seconds, seconds / single))
    seconds, cached_z = fastest(cached, 20)
    torch.testing.assert_close(ours_z.permute(0, 2, 3, 1, 4), cached_z, rtol=0, atol=1e-4)
    rows.append(("z of all heads: run_with_cache", seconds, seconds / single))
    return {"rows": rows}


def tables():
    found = alone(__file__)["rows"]
    rows = [
        {"what": what, "ms": f"{1e3 * seconds:.1f}", "times the bare one": f"{of:.2f}"} for what, seconds, of in found
    ]
    return {"Interventions: 8 texts of 64 tokens": rows}


if __name__ == "__main__":
    print(json.dumps(measure()))
