"""Every head switched off in turn, and what every head brings: our hooks against TransformerLens's and the bare pass.

One thread, storybook, 8 texts of 64 random tokens; the losses of all ways must agree. `edited weights` is the way
without hooks: the head's rows of the output matrix set to zero in the model itself, and put back.
"""

import json

from measuring import alone, fastest, peak


def measure():
    import torch
    from transformer_lens.model_bridge import TransformerBridge

    import interp_helpers as ih
    from interp_helpers import patching
    from interp_helpers.models import STORYBOOK

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    model, tokenizer = ih.load_model("storybook", device="cpu")
    bridge = TransformerBridge.boot_transformers(str(STORYBOOK), device="cpu")
    tokens = ih.repeated_random_tokens(tokenizer, 32, sequences=8)
    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    size = model.config.hidden_size // heads

    def losses(logits):
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())

    def ours():
        return patching.sweep_heads(model, lambda model: patching.text_loss(model, tokens).mean(), ih.zeros)

    def lens():
        found = torch.empty(layers, heads)
        for layer in range(layers):
            for head in range(heads):

                def off(z, hook, head=head):
                    z = z.clone()
                    z[:, :, head] = 0
                    return z

                hooks = [(f"blocks.{layer}.attn.hook_z", off)]
                found[layer, head] = losses(bridge.run_with_hooks(tokens, fwd_hooks=hooks))
        return found

    def edited():
        found = torch.empty(layers, heads)
        for layer in range(layers):
            matrix = model.transformer.h[layer].attn.c_proj.weight
            for head in range(heads):
                rows = slice(head * size, (head + 1) * size)
                kept = matrix[rows].clone()
                matrix[rows] = 0
                found[layer, head] = losses(model(tokens, use_cache=False).logits)
                matrix[rows] = kept
        return found

    def passes():
        for _ in range(layers * heads):
            model(tokens, use_cache=False)

    def heads_of(bridge):
        _, cache = bridge.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_z"))
        return torch.stack([cache[f"blocks.{layer}.attn.hook_z"] for layer in range(layers)])

    bare, _ = fastest(passes, 3)
    rows = [("as many bare forward passes", bare, 1)]
    wanted = None
    for name, way in [("ours", ours), ("TransformerLens hooks", lens), ("edited weights", edited)]:
        seconds, found = fastest(way, 3)
        wanted = found if wanted is None else wanted
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
        rows.append((f"{layers * heads} heads off in turn: {name}", seconds, seconds / bare))
    single, _ = fastest(lambda: model.base_model(tokens, use_cache=False), 20)
    rows.append(("a bare pass without logits", single, 1))
    seconds, mine = fastest(lambda: ih.head_outputs(model, tokens), 20)
    rows.append(("outputs of all heads: ours", seconds, seconds / single))
    seconds, theirs = fastest(lambda: heads_of(bridge), 20)
    torch.testing.assert_close(mine.permute(0, 2, 3, 1, 4), theirs, rtol=0, atol=1e-4)
    rows.append(("outputs of all heads: TransformerLens run_with_cache", seconds, seconds / single))
    return {"rows": rows, "MiB": peak()}


def tables():
    found = alone(__file__)["rows"]
    rows = [
        {"what": what, "ms": f"{1e3 * seconds:.1f}", "times the bare one": f"{of:.2f}"} for what, seconds, of in found
    ]
    return {"Interventions: 8 texts of 64 tokens": rows}


if __name__ == "__main__":
    print(json.dumps(measure()))
