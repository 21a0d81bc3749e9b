"""Build the playground, the page on which storybook runs in the browser: python dev/tools/playground.py [--out folder]

The page is written in TypeScript, in docs/playground, and bundled with esbuild, so Node is needed. From here it gets
storybook as an ONNX graph, whose weights lie beside it, and what the notebooks found out about it. Weights and runtime
are stored as scripts, because a page that is opened from a folder may load scripts and nothing else.
"""

import argparse
import base64
import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from onnx.external_data_helper import set_external_data
from torch.utils._python_dispatch import TorchDispatchMode

import interp_helpers as ih

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "docs/playground"
OFF = -1e9  # a score of attention that no softmax lets through


class Playground(torch.nn.Module):
    """GPT-2 with everything that the page shows as outputs, and everything that it changes as inputs.

    The bundled model's own modules do the work; only attention is written out, for its patterns.
    """

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids, head_scale, head_mean, attn_scale, attn_mean, mlp_scale, mlp_mean, patched, patch, steer):
        """ids (1, position) and changes; returns logits, patterns and residual streams.

        A part writes `scale * own + (1 - scale) * mean`: head_scale (layer, head) and head_mean (layer, head, d_head)
        on z, attn_* and mlp_* (layer,) and (layer, d_model) on what the whole layer writes. At each depth, the stream
        is replaced by patch (depth, position, d_model) where patched (depth, position), and then steer (depth, d_model)
        is added. logits (position, vocabulary), patterns (layer, head, query, key), streams (depth, position, d_model).
        """
        gpt, config = self.model.transformer, self.model.config
        length = ids.shape[1]
        place = torch.arange(length)
        allowed = place[:, None] >= place
        x = gpt.wte(ids[0]) + gpt.wpe(place)
        x = torch.where(patched[0, :, None], patch[0], x) + steer[0]
        patterns, streams = [], [x]
        for layer, block in enumerate(gpt.h):
            qkv = block.attn.c_attn(block.ln_1(x)[None])[0]
            q, k, v = qkv.view(length, 3, config.n_head, -1).permute(1, 2, 0, 3)
            pattern = torch.where(allowed, q @ k.mT / q.shape[-1] ** 0.5, OFF).softmax(-1)
            scale = head_scale[layer, :, None, None]
            z = pattern @ v * scale + head_mean[layer, :, None] * (1 - scale)
            wrote = block.attn.c_proj(z.permute(1, 0, 2).reshape(1, length, -1))[0]
            x = x + wrote * attn_scale[layer] + attn_mean[layer] * (1 - attn_scale[layer])
            x = x + block.mlp(block.ln_2(x)[None])[0] * mlp_scale[layer] + mlp_mean[layer] * (1 - mlp_scale[layer])
            x = torch.where(patched[layer + 1, :, None], patch[layer + 1], x) + steer[layer + 1]
            patterns.append(pattern)
            streams.append(x)
        return x_to_logits(self.model, x), torch.stack(patterns), torch.stack(streams)


class Lens(torch.nn.Module):
    """The logit lens: the five likeliest next tokens at any places of the stream, and their probabilities."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, streams):
        """streams (place, d_model); returns probabilities (place, 5) and ids (place, 5)."""
        return x_to_logits(self.model, streams).softmax(-1).topk(5)


def x_to_logits(model, x):
    return model.lm_head(model.transformer.ln_f(x))


def changes(config, length):
    """Inputs of `Playground` that change nothing, without the ids."""
    layers, heads, width = config.n_layer, config.n_head, config.n_embd
    return {
        "head_scale": torch.ones(layers, heads),
        "head_mean": torch.zeros(layers, heads, width // heads),
        "attn_scale": torch.ones(layers),
        "attn_mean": torch.zeros(layers, width),
        "mlp_scale": torch.ones(layers),
        "mlp_mean": torch.zeros(layers, width),
        "patched": torch.zeros(layers + 1, length, dtype=torch.bool),
        "patch": torch.zeros(layers + 1, length, width),
        "steer": torch.zeros(layers + 1, width),
    }


def exported(model, length=9):
    """The graphs of `Playground` and of `Lens` as ONNX models, with weights: {"graph": …, "lens": …}."""
    position, place = torch.export.Dim("position", min=1, max=model.config.n_positions), torch.export.Dim("place", min=1)
    given = {"ids": torch.arange(length)[None], **changes(model.config, length)}
    moving = dict.fromkeys(given) | dict.fromkeys(["ids", "patched", "patch"], {1: position})
    options = {"dynamo": True, "verbose": False, "external_data": False}
    graph = torch.onnx.export(
        Playground(model).eval(), (), kwargs=given, dynamic_shapes=moving,
        output_names=["logits", "patterns", "streams"], **options,
    )  # fmt: skip
    lens = torch.onnx.export(
        Lens(model).eval(), (torch.zeros(length, model.config.n_embd),), dynamic_shapes=({0: place},),
        input_names=["streams"], output_names=["probabilities", "ids"], **options,
    )  # fmt: skip
    return {"graph": graph.model_proto, "lens": lens.model_proto}


def without_weights(proto, places):
    """The graph as bytes, with its weights to be found in a file "weights".

    places: name -> (first byte, number of bytes) of every weight, in float32.
    """
    for tensor in proto.graph.initializer:
        if tensor.name in places:
            offset, length = places[tensor.name]
            set_external_data(tensor, "weights", offset, length)
            tensor.ClearField("raw_data")
    return proto.SerializeToString()


class Draws(TorchDispatchMode):
    """Note every random draw while a model is made: [where it goes in memory, how many numbers, standard deviation]."""

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default):
            deviation = args[2] if len(args) > 2 else 1.0
            self.made.append([args[0].data_ptr(), args[0].numel(), deviation])
        return function(*args, **kwargs or {})


def twin_plan(weights):
    """How the untrained twin's weights are drawn: a list of steps, in order, and what is not drawn at all.

    weights: name -> tensor, of storybook. A draw of 16 numbers or more takes one 32-bit number of PyTorch's generator for
    each. Returns {"draws": [[name or None, count, standard deviation]], "constants": {name: value}}. The page draws them
    itself: they would be 13 MB.
    """
    with Draws() as draws:
        twin, _ = ih.load_model("storybook", device="cpu", untrained=True)
    state = {name: tensor for name, tensor in twin.state_dict(prefix="model.").items() if name in weights}
    names, last = {tensor.data_ptr(): name for name, tensor in state.items()}, {}
    for number, (place, _, _) in enumerate(draws.made):
        last[names.get(place)] = number
    del last[None]
    plan = [
        [names[place] if last.get(names.get(place)) == number else None, count, deviation]
        for number, (place, count, deviation) in enumerate(draws.made[: max(last.values()) + 1])
    ]
    constants = {name: tensor.flatten()[0].item() for name, tensor in state.items() if name not in last}
    return {"draws": plan, "constants": constants}


def pack(path, name, content):
    """Store bytes as a script that a page can load from a folder: compressed, in base64."""
    text = base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
    path.write_text(f'(window.packed??={{}})["{name}"]="{text}"', encoding="ascii")
