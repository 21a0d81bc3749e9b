"""Build the playground, where storybook runs in the browser: python dev/tools/playground.py [--out build/playground]

The page is written in TypeScript, in docs/playground, and bundled with esbuild, so Node is needed. From here it gets
storybook as an ONNX graph, whose weights lie beside it, and what the notebooks found out about it. Weights and runtime
are stored as scripts, because a page that is opened from a folder may load scripts and nothing else.
"""

import argparse
import base64
import gzip
import json
import logging
import shutil
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import environment  # noqa: F401 - sets the threads before torch counts them
import torch
from notebook_values import values
from onnx.external_data_helper import set_external_data
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch.utils._python_dispatch import TorchDispatchMode

import interp_helpers as ih
from interp_helpers import attention
from interp_helpers.hub import STORYBOOK
from interp_helpers.models import prepare

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "docs/playground"
RUNTIME = SOURCE / "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"
NODE = 20  # the oldest that esbuild and its neighbours run on
OFF = -1e9  # a score of attention that no softmax lets through
# Texts of one length in tokens that differ in one word, and the word that each asks for: notebook 06 has them too.
PAIR = (
    "Little Tom Brown lived in a small house. One day little Tom",
    "Little Tom White lived in a small house. One day little Tom",
    " Brown",
    " White",
)


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
        return to_logits(self.model, x), torch.stack(patterns), torch.stack(streams)


def to_logits(model, x):
    return model.lm_head(model.transformer.ln_f(x))


class Lens(torch.nn.Module):
    """The logit lens: the five likeliest next tokens at any places of the stream, and their probabilities."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, streams):
        """streams (place, d_model); returns probabilities (place, 5) and ids (place, 5)."""
        return to_logits(self.model, streams).softmax(-1).topk(5)


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
    position = torch.export.Dim("position", min=1, max=model.config.n_positions)
    place = torch.export.Dim("place", min=1)
    given = {"ids": torch.arange(length)[None], **changes(model.config, length)}
    moving = dict.fromkeys(given) | {name: {1: position} for name in ("ids", "patched", "patch")}
    options = {"dynamo": True, "verbose": False, "external_data": False}
    with quiet():
        graph = torch.onnx.export(
            Playground(model).eval(), (), kwargs=given, dynamic_shapes=moving,
            output_names=["logits", "patterns", "streams"], **options,
        )  # fmt: skip
        lens = torch.onnx.export(
            Lens(model).eval(), (torch.zeros(length, model.config.n_embd),), dynamic_shapes=({0: place},),
            input_names=["streams"], output_names=["probabilities", "ids"], **options,
        )  # fmt: skip
    for made in (graph, lens):
        ClearMetadataAndDocStringPass()(made.model)  # lines of this file, and where it lies
    return {"graph": graph.model_proto, "lens": lens.model_proto}


@contextmanager
def quiet():
    """Keep the exporter's remarks off the screen: they are for its makers, and Sphinx shows the least of them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def without_weights(proto, layout):
    """The graph as bytes, with its weights to be found in a file "weights", in 32 bits.

    layout: name of a weight -> [where it begins in that file, how many numbers].
    """
    for tensor in proto.graph.initializer:
        if tensor.name in layout:
            start, count = layout[tensor.name]
            set_external_data(tensor, "weights", 4 * start, 4 * count)
            tensor.ClearField("raw_data")
    return proto.SerializeToString(deterministic=True)


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
    """How the untrained twin's weights are drawn, so that the page can draw them itself: they would be 13 MB.

    weights: name -> tensor, of storybook. Returns {"draws": [[name or None, count, standard deviation]], in order, with
    None where a later draw takes its place; "constants": {name: value}, of weights that are not drawn}. A draw of 16
    numbers or more takes one 32-bit number of PyTorch's generator for each.
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


def pack(folder, name, content):
    """Store bytes as a script that a page in the same folder can load: compressed, in base64."""
    text = base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
    (folder / f"{name}.js").write_text(f'(window.packed??={{}})["{name}"]="{text}"', encoding="ascii")


def mean_writes(bridge, batches):
    """Mean of what each layer's attention and MLP write, over all tokens: {"attn": (layer, d_model), "mlp": …}."""
    writes = {"attn": [], "mlp": []}
    for batch in (prepare(bridge, texts) for texts in batches):
        with torch.no_grad():
            _, cache = bridge.run_with_cache(batch.tokens, attention_mask=batch.mask.long())
        for kind, rows in writes.items():
            layers = range(bridge.cfg.n_layers)
            rows.append(torch.stack([cache[f"blocks.{layer}.hook_{kind}_out"][batch.mask] for layer in layers]))
    return {kind: torch.cat(rows, 1).mean(1) for kind, rows in writes.items()}


def findings(untrained):
    """What notebooks 02, 06 and 09 find out about storybook or its twin, and what 09 steers by, the same for both."""
    scores, classes = values("02_head_specialization", "scores", "kinds", untrained=untrained)
    bridge, reference, head_mean = values("06_causal_tests", "bridge", "reference", "means", untrained=untrained)
    directions, counted, depth = values("09_probes", "directions_of", "COUNTED", "steer_depth", untrained=untrained)
    writes = mean_writes(bridge, reference)
    model = {
        "classes": classes.tolist(),
        "scores": {name: rounded(scores[name]) for name in attention.TARGETS},
        "head_mean": rounded(head_mean.flatten()),
        "attn_mean": rounded(writes["attn"].flatten()),
        "mlp_mean": rounded(writes["mlp"].flatten()),
        "directions": {name: rounded(directions[name]) for name in counted},
    }
    groups = {
        name: {kind: words.nonzero().flatten().tolist() for kind, words in zip(("counted", "among"), pair)}
        for name, pair in counted.items()
    }
    return model, {"groups": groups, "steer_depth": depth}


def rounded(tensor):
    """A tensor's numbers as lists, to the sixth decimal."""
    return (tensor.double() * 1e6).round().div(1e6).tolist()


def course(tokenizer, plan, layout):
    """All that the page knows besides weights. layout: name of a weight -> [where it begins, how many numbers]."""
    names = {"tokenizer": "tokenizer.json", "tokenizer_config": "tokenizer_config.json"}
    made = {name: json.loads((STORYBOOK / file).read_text(encoding="utf-8")) for name, file in names.items()}
    made |= {"layout": layout, "twin": plan, "kinds": attention.KINDS, "models": {}}
    made["pair"] = PAIR[:2]
    for name in ("twin", "storybook"):
        made["models"][name], steering = findings(untrained=name == "twin")
    return made | steering


def licences():
    """The licences of the packages that are parts of the page; docs/playground/licences has one that npm's lacks."""
    packages = json.loads((SOURCE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    parts = []
    for folder, package in packages.items():
        if folder and not package.get("dev"):
            name = folder.removeprefix("node_modules/")
            files = [*sorted((SOURCE / folder).glob("LICENSE*")), SOURCE / "licences" / f"{name}.txt"]
            texts = [path.read_text(encoding="utf-8") for path in files if path.is_file()]
            parts.append("\n\n".join([f"{name} {package['version']}: {package.get('license', 'no licence')}", *texts]))
    return f"\n\n{'-' * 60}\n\n".join(parts)


def why_not():
    """Why the page cannot be built here, in a sentence, or None. Packages of npm that are missing are installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    needs = f"It needs Node {NODE} or newer, with npm: https://nodejs.org"
    if not (node and npm):
        return f"There is no {'Node' if npm else 'npm'} here. {needs}"
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < NODE:
        return f"Node here is {version}. {needs}"
    lock, installed = SOURCE / "package-lock.json", SOURCE / "node_modules/.package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
        got = subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=SOURCE, capture_output=True, text=True)
        if got.returncode:
            said = got.stderr.partition("\n")[0]
            return f"npm cannot install the packages of docs/playground, for which it needs a network ({said})."
    return None


def build(out, alone=False):
    """Write the page into the folder `out`. Call it where `why_not` returns None.

    alone: whether it lies there without the course's other pages, to which it then has no links.
    """
    out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = ih.load_model("storybook", device="cpu")
    graphs = exported(model)
    used = {tensor.name for graph in graphs.values() for tensor in graph.graph.initializer}
    weights = {name: tensor for name, tensor in model.state_dict(prefix="model.").items() if name in used}
    layout, start = {}, 0
    for name, tensor in weights.items():
        layout[name] = [start, tensor.numel()]
        start += tensor.numel()
    numbers = torch.cat([tensor.flatten() for tensor in weights.values()])
    assert torch.equal(numbers.half().float(), numbers), "storybook's file holds numbers of 16 bits"
    pack(out, "weights", numbers.half().numpy().tobytes())
    pack(out, "runtime", RUNTIME.read_bytes())
    for name, graph in graphs.items():
        pack(out, name, without_weights(graph, layout))
    pack(out, "course", json.dumps(course(tokenizer, twin_plan(weights), layout), ensure_ascii=False).encode())
    (out / "pictures").mkdir(exist_ok=True)
    for path in [SOURCE / "style.css", *SOURCE.glob("pictures/*")]:
        shutil.copy(path, out / path.relative_to(SOURCE))
    page = (SOURCE / "index.html").read_text(encoding="utf-8")
    (out / "index.html").write_text(page.replace("<html", "<html data-alone") if alone else page, encoding="utf-8")
    (out / "licences.txt").write_text(licences(), encoding="utf-8")
    command = [shutil.which("npm"), "run", "--silent", "build", "--", f"--outfile={out.resolve() / 'app.js'}"]
    subprocess.run(command, cwd=SOURCE, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build/playground")
    out = parser.parse_args().out
    if out.is_file():
        parser.error(f"{out} is a file; name a folder, which is made where there is none.")
    if reason := why_not():
        sys.exit(f"The playground cannot be built. {reason}")
    build(out, alone=True)
    print(f"Open {(out / 'index.html').resolve()}")


if __name__ == "__main__":
    main()
