"""Try the package on a tiny random model of every causal family of transformers, and write docs/families.md.

    python dev/tools/families.py [FAMILY ...]

All weights are disturbed, so that no norm is the default one, no bias is zero and no factor hides. What the package
does not refuse is compared with what the model itself does: with heads whose rows of W_O are zeroed, and with
differences of the residual stream between layers. With names of families, prints their rows and writes nothing.
"""

import logging
import sys
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT)]

import transformers  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES  # noqa: E402

from interp_helpers import adjustments, attention, hooks, identities, interventions, residual, visits  # noqa: E402
from interp_helpers.errors import InterpError, ModelError  # noqa: E402
from interp_helpers.hub import STORYBOOK  # noqa: E402

CLOSE = 1e-4  # of the size of what is compared
LARGEST = 3_000_000  # numbers of a model that is still tiny
TOKENS = torch.randint(3, 90, (2, 8), generator=torch.Generator().manual_seed(0))

# The attributes by which configurations state a size, whatever the family calls it.
SIZES = {
    32: "hidden_size n_embd d_model dim embedding_size word_embed_proj_dim hidden_dim lru_width emb_dim embed_dim",
    48: "intermediate_size ffn_dim n_inner ffn_hidden_size decoder_ffn_dim encoder_ffn_dim dff moe_intermediate_size "
    "shared_expert_intermediate_size expert_ffn_hidden_size intermediate_size_mlp shared_intermediate_size "
    "moe_shared_expert_intermediate_size dense_intermediate_size prefix_dense_intermediate_size",
    4: "num_attention_heads n_head num_heads n_heads decoder_attention_heads encoder_attention_heads attention_heads "
    "num_decoder_attention_heads num_encoder_attention_heads num_local_experts num_experts n_routed_experts "
    "moe_num_experts rotary_dim mamba_n_heads index_n_heads",
    96: "vocab_size vocab_size_per_layer_input",
    64: "max_position_embeddings n_positions n_ctx max_seq_len seq_length",
    8: "head_dim v_head_dim qk_nope_head_dim state_size mamba_d_state hidden_size_per_layer_input index_head_dim",
    16: "q_lora_rank kv_lora_rank lora_rank o_lora_rank mamba_d_head",
    2: "type_vocab_size eos_token_id mamba_expand",
    1: "n_group topk_group first_k_dense_replace bos_token_id",
    0: "pad_token_id num_kv_shared_layers",
}
# Factors, caps and clips, which by default are often 1 or absent: what they do must be seen.
FACTORS = {
    "residual_multiplier": 0.25,
    "embedding_multiplier": 3.0,
    "logits_scaling": 4.0,
    "logit_scale": 0.25,
    "scale_depth": 1.4,
    "clip_qkv": 0.5,
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 2.0,
}
LAYERS = "num_hidden_layers n_layer num_layers n_layers decoder_layers encoder_layers num_decoder_layers"
LAYERS += " num_encoder_layers num_blocks"
# What not every family takes: the first that a model runs with is taken.
CHOICES = {
    LAYERS: [2, 4, 6],
    "num_key_value_heads num_kv_heads": [2, 4, 1],
    "qk_rope_head_dim": [4, 8],
    "num_experts_per_tok num_experts_per_token moe_k moe_topk top_k_experts": [2, 1],
}


def sizes(config_class, choice):
    """The options that make a configuration small."""
    known = config_class().to_dict()
    aliases = {new: old for new, old in getattr(config_class, "attribute_map", {}).items()}
    wanted = {name: size for size, names in SIZES.items() for name in names.split()}
    wanted |= {name: size for names, size in choice.items() for name in names.split()}
    options = {aliases.get(name, name): size for name, size in wanted.items() if name in known or name in aliases}
    options |= {name: factor for name, factor in FACTORS.items() if name in known}
    options |= {"is_decoder": True} if "is_decoder" in known else {}
    if "attention_types" in known:  # GPT-Neo's kinds of layers
        options["attention_types"] = [[["global", "local"], choice[LAYERS] // 2]]
    for name, part in getattr(config_class, "sub_configs", {}).items():
        if hasattr(part, "to_dict") and isinstance(known.get(name), dict):
            options[name] = sizes(part, choice)
    return options


def build(family):
    """A tiny model of a family, with large weights. Raises whatever the first attempt to build it raised."""
    problem, parts = None, getattr(CONFIG_MAPPING[family], "sub_configs", {})
    if len(parts) > 1 or NAMES[family].endswith("ForConditionalGeneration"):
        raise ValueError("it reads pictures or sound as well; many have a text model of their own in this table")
    for sizes_of in product(*CHOICES.values()):
        try:
            return _built(family, dict(zip(CHOICES, sizes_of)))
        except Exception as error:  # of any kind: these are other people's constructors
            problem = problem or error
    raise problem


def _built(family, choice):
    config_class = CONFIG_MAPPING[family]
    config = config_class(**sizes(config_class, choice))
    config.architectures = [NAMES[family]]
    with torch.device("meta"):
        numbers = sum(each.numel() for each in AutoModelForCausalLM.from_config(config).parameters())
    if numbers > LARGEST:
        raise ValueError(f"it has {numbers / 1e6:.0f} million numbers at the smallest")
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        model(TOKENS)
    return model


@cache
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(STORYBOOK)


def bridge_of(model):
    """A bridge of TransformerLens around a copy of a model; None where it does not know the family."""
    from transformer_lens.model_bridge import TransformerBridge

    try:
        bridge = TransformerBridge.boot_transformers("", hf_model=deepcopy(model), tokenizer=tokenizer(), device="cpu")
        return bridge.eval() if far(bridge(TOKENS), model(TOKENS).logits) <= CLOSE else None
    except Exception:
        return None


def far(found, wanted):
    """The largest distance between vectors, as a share of their lengths."""
    if found.shape != wanted.shape:
        return float("inf")
    size = torch.maximum(found.norm(dim=-1), wanted.norm(dim=-1)).max().clamp_min(1e-30)
    return ((found - wanted).norm(dim=-1).max() / size).item()


@contextmanager
def streams_of(model):
    """What enters every layer, and what leaves the last, read with plain hooks of torch."""
    seen, layers = {}, hooks.layout(model).layers

    def first(value):
        return value if isinstance(value, torch.Tensor) else first(value[0])

    handles = [
        layer.register_forward_pre_hook(
            lambda _, inputs, options, n=n: seen.update({n: first([*inputs, *options.values()]).clone()}),
            with_kwargs=True,
        )
        for n, layer in enumerate(layers)
    ]
    handles.append(layers[-1].register_forward_hook(lambda *call: seen.update({len(layers): first(call[-1]).clone()})))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def outputs_of(module):
    """What a module gives, in a list of one."""
    seen = [None]
    handle = module.register_forward_hook(lambda _, inputs, output: seen.__setitem__(0, output))
    try:
        yield seen
    finally:
        handle.remove()


def without_head(model, layer, head, heads):
    """A copy of a model in which one head's rows of W_O are zero."""
    other = deepcopy(model)
    matrix = visits.output_matrices(other)[layer]
    turned = type(matrix).__name__ == "Conv1D"  # (in, out)
    (matrix.weight if turned else matrix.weight.T).chunk(heads)[head].zero_()
    return other


def silenced(model):
    """A copy of a model that has nothing but attention and norms: whatever its layers add, attention adds."""
    other = deepcopy(model)
    parts = hooks.layout(other)
    for layer, module in zip(parts.layers, parts.attentions):
        kept = {id(each) for each in module.parameters()}
        for part in layer.modules():
            if not type(part).__name__.endswith("Norm"):
                for each in part.parameters(recurse=False):
                    if id(each) not in kept:
                        each.zero_()
    return other


@torch.no_grad()
def compare(model):
    """How far results of the package are from what the model does, and the refusals: {result: number or sentence}."""
    out, found = model(TOKENS, output_attentions=True, use_cache=True), {}

    def survey():
        scores = attention.survey(model, [TOKENS], targets={"before": attention.previous_token_target})
        wanted = torch.stack([each.diagonal(-1, -2, -1).mean((0, 2)) for each in out.attentions]).double()
        return far(scores["before"], wanted)

    def head_outputs():
        seen = []
        with visits.visit_attention(model, lambda *layer: seen.append(layer)):
            visits.read(model, interventions.prepare(model, TOKENS))
        layer, pattern, values = seen[-1]
        heads, z = pattern.shape[1], pattern @ values
        matrix = visits.output_matrices(model)[layer]
        with outputs_of(matrix) as whole:
            model(TOKENS)
        worst = 0.0
        for head in range(heads):
            alone = torch.zeros_like(z)
            alone[:, head] = z[:, head]
            of_head = matrix(alone.transpose(1, 2).flatten(2)) - matrix(
                torch.zeros_like(alone.transpose(1, 2).flatten(2))
            )
            other = without_head(model, layer, head, heads)
            with outputs_of(visits.output_matrices(other)[layer]) as rest:
                other(TOKENS)
            worst = max(worst, far(of_head, whole[0] - rest[0]))
        return worst

    def outputs():
        adjustments.attention_outputs(model, TOKENS)  # refuses here, not on the copy
        quiet = silenced(model)
        with streams_of(quiet) as streams:
            quiet(TOKENS)
        wanted = torch.stack([streams[n + 1] - streams[n] for n in range(len(streams) - 1)])
        same = identities.check(model).factors, identities.check(quiet).factors
        return max(far(adjustments.attention_outputs(quiet, TOKENS), wanted), float(same[0] != same[1]))

    for result in (survey, head_outputs, outputs):
        found[result.__name__] = _number_or_sentence(result)
    return found


@torch.no_grad()
def compare_bridge(bridge, model):
    """The same for a bridge around a copy of the model."""
    heads, layer, found = bridge.cfg.n_heads, bridge.cfg.n_layers - 1, {}
    z = None

    def head_z():
        nonlocal z
        z, seen = interventions.head_z(bridge, TOKENS), []
        with visits.visit_attention(model, lambda *layer: seen.append(layer)):
            visits.read(model, interventions.prepare(model, TOKENS))
        return max(far(own.transpose(0, 1), pattern @ values) for own, (_, pattern, values) in zip(z, seen))

    def patch_heads():
        worst = 0.0
        for place in [(0, heads - 1), (layer, 0)]:
            with bridge.hooks(fwd_hooks=interventions.patch_heads(bridge, [place])):
                worst = max(worst, far(bridge(TOKENS), without_head(model, *place, heads)(TOKENS).logits))
        return worst

    def streams():
        own = interventions.residual_streams(bridge, TOKENS)
        with streams_of(model) as wanted:
            model(TOKENS)
        return far(own, torch.stack([wanted[n] for n in range(len(own))]))

    def parts():
        names, vectors = residual.parts(bridge.run_with_cache(TOKENS)[1], heads=True)
        with streams_of(model) as wanted:
            model(TOKENS)
        worst = far(vectors.sum(0), wanted[layer + 1])
        matrix = visits.output_matrices(model)[layer]
        with outputs_of(matrix) as whole:
            model(TOKENS)
        other = without_head(model, layer, 1, heads)
        with outputs_of(visits.output_matrices(other)[layer]) as rest:
            other(TOKENS)
        return max(worst, far(vectors[names.index(f"L{layer}H1")], whole[0] - rest[0]))

    def logits():
        read, own = residual.Unembedding.of(bridge), interventions.residual_streams(bridge, TOKENS)[-1]
        return far(residual.to_logits(own, read), model(TOKENS).logits)

    for result in (head_z, patch_heads, streams, parts, logits):
        found[result.__name__] = _number_or_sentence(result)
    return found


def _number_or_sentence(result):
    try:
        return result()
    except InterpError as refusal:
        return str(refusal)


class Row(NamedTuple):
    """What was found of a family."""

    family: str
    outcome: str  # "right", "refused", "wrong" or "not built"
    why: str  # it was not built, or which results are wrong
    offs: list  # of the model, and of its bridge: identity -> how far it is off; None without one; or a refusal of all
    results: dict  # result -> how far it is from the model's own, or the refusal


def row(family):
    try:
        model = build(family)
    except Exception as problem:
        said = " ".join(str(problem).split())
        return Row(family, "not built", f"{said[:100]} ({type(problem).__name__})", [None, None], {})
    offs, results = [], {}
    for name, each in [("", model), ("bridge ", bridge_of(model))]:
        if each is None:
            offs.append(None)
            continue
        try:
            offs.append(identities.check(each).off)
        except ModelError as refusal:
            offs.append(str(refusal))
        compared = compare(model) if each is model else compare_bridge(each, model)
        results |= {name + result: value for result, value in compared.items()}
    numbers = {name: value for name, value in results.items() if not isinstance(value, str)}
    wrong = sorted(name for name, value in numbers.items() if not value <= CLOSE)
    return Row(family, "wrong" if wrong else "right" if numbers else "refused", ", ".join(wrong), offs, results)


SHOWN = ["rows", "values", "heads", "stream", "logits"], ["rows", "values", "heads", "adds", "stream", "logits"]
PAGE = """# Families of models

Tiny random models of all {all} causal families of transformers {version}, each through `load_model` and, where
TransformerLens {lens} knows the family, through `load_bridge`. `python dev/tools/families.py` writes this page.

The package knows no list of families. Once for each model it checks on a short text whether the sums that it rests on
come out (`interp_helpers.identities`), and refuses in one sentence what rests on one that does not:

{identities}

All weights of these models are disturbed, so that no norm is the default one and no bias is zero, and factors are not
1. What is not refused is compared with the model itself: survey scores with its own patterns; z and what a head writes
with what is lost when the head's rows of W_O are zeroed; attention outputs with differences of the residual stream in a
copy without MLPs; a bridge's patches, streams, parts and logits with those of the model.

**{right} families give right numbers in all that is not refused, {refused} are refused throughout, {wrong} are wrong,
and {absent} could not be built small.** The largest difference from the model's own numbers is {largest:.0e} of their
size.

How far each identity is off, as a share of what is compared. ✗: refused, with how far it is off, or alone where nothing
can be compared. –: TransformerLens does not know the family or gives other logits.

| family | outcome | {model} | {bridge} |
|{lines}
{table}

## Refused throughout

{throughout}

## Not built

{not_built}
"""


def page(rows):
    """docs/families.md."""

    def cells(off, names):
        if not isinstance(off, dict):
            return ["–" if off is None else "✗"] * len(names)
        return [_cell(off[name]) for name in names]

    def counted(outcome):
        return sum(each.outcome == outcome for each in rows)

    built = [each for each in rows if each.outcome != "not built"]
    table = [
        [each.family, each.outcome, *(c for pair in zip(each.offs, SHOWN) for c in cells(*pair))] for each in built
    ]
    refusals = [(each.family, next(iter(each.results.values()))) for each in built if each.outcome == "refused"]
    return PAGE.format(
        all=len(rows),
        version=transformers.__version__,
        lens=version("transformer-lens"),
        identities="\n".join(f"- {name}: refused when {what}" for name, what in identities.IDENTITIES.items()),
        right=counted("right"),
        refused=counted("refused"),
        wrong=counted("wrong") or "none",
        absent=counted("not built"),
        largest=max(value for each in built for value in each.results.values() if not isinstance(value, str)),
        model=" | ".join(SHOWN[0]),
        bridge=" | ".join(f"bridge: {name}" for name in SHOWN[1]),
        lines=" --- |" * (2 + len(SHOWN[0]) + len(SHOWN[1])),
        table="\n".join(f"| {' | '.join(cells)} |" for cells in table),
        throughout="\n".join(f"- {family}: {said}" for family, said in refusals),
        not_built="\n".join(f"- {each.family}: {each.why}" for each in rows if each.outcome == "not built"),
    )


def _cell(off):
    if off == float("inf"):
        return "✗"
    return f"{off:.0e}" if off <= 1e-3 else f"✗ {off:.2g}"


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    logging.disable(logging.CRITICAL)
    rows = []
    for family in sys.argv[1:] or NAMES:
        rows.append(row(family))
        print(family, "|", rows[-1].outcome, rows[-1].why, flush=True)
        if sys.argv[1:]:
            print(*rows[-1].offs, rows[-1].results, sep="\n")
    if not sys.argv[1:]:
        (ROOT / "docs" / "families.md").write_text(page(rows), encoding="utf-8")
    sys.exit(any(each.outcome == "wrong" for each in rows))
