from . import (
    adjustments,
    attention,
    checkpoints,
    claims,
    corpus,
    diagram,
    errors,
    evidence,
    exercises,
    features,
    files,
    generation,
    hooks,
    hub,
    installed,
    interventions,
    live,
    models,
    plots,
    probes,
    residual,
    text,
    toy,
    views,
    weights,
)
from .checkpoints import checkpoint_log
from .claims import Claims
from .errors import ArgumentError, CheckError, ClaimError, FileError, InterpError, ModelError, TextError
from .evidence import induction_dates, published_figures, training_log
from .generation import Generation, record_generation
from .models import context_length, empty_model, load_bridge, load_model
from .text import (
    Batch,
    book_excerpts,
    encode,
    encode_pair,
    equal_length,
    inside_quotation,
    load_sentences,
    pair_for,
    passages,
    prompt_for,
    repeated_random_tokens,
    shuffled,
    token_batches,
    token_labels,
)
