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
    identities,
    installed,
    interventions,
    live,
    models,
    plots,
    probes,
    progress,
    residual,
    sentences,
    text,
    toy,
    views,
    visits,
    weights,
)
from .checkpoints import checkpoint_log
from .claims import Claims
from .errors import ArgumentError, CheckError, ClaimError, FileError, InterpError, ModelError, TextError
from .evidence import induction_dates, published_figures, training_log
from .generation import Generation, record_generation
from .models import context_length, empty_model, load_bridge, load_model
from .sentences import draw_sentences, load_sentences
from .text import (
    Batch,
    book_excerpts,
    encode,
    encode_pair,
    equal_length,
    inside_quotation,
    passages,
    prompt_for,
    question,
    repeated_random_tokens,
    shuffled,
    token_batches,
    token_labels,
)
