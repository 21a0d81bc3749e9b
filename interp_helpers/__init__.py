"""Helpers of the notebook course on looking inside GPT-style language models.

| module | what it is for |
|---|---|
| `models` | a name becomes a model and its tokenizer, or a bridge of TransformerLens |
| `text` | text to tokens and back to labels; `Batch`; the texts that the course carries |
| `sentences` | the bundled reviews, or a file or data set of the reader's own, and a draw from it |
| `generation` | one greedy generation with everything that happened in it |
| `attention` | what heads look at: targets, scores, classes, and a survey of all heads over many texts |
| `residual` | what is written into the residual stream; the logit lens; direct logit attribution |
| `adjustments` | how much attention moves each token, and regressions on it |
| `weights` | what can be read without running the model |
| `interventions` | ablate and patch, and what that does to a metric |
| `live` | a small model that trains in the notebook |
| `features` | sparse autoencoders, and on which texts a unit fires |
| `toy` | toy models of superposition |
| `probes` | linear probes, what they read, and taking it out again |
| `checkpoints` | a training log of a model whose checkpoints are stored |
| `evidence` | published figures, training logs, and what the notebooks measured on a real model |
| `plots`, `views` | figures with matplotlib; interactive views, with CircuitsVis where it has one |
| `diagram` | a drawing of a transformer, with the parts in question in colour |
| `claims`, `exercises` | claims that are checked when a cell runs; checkers of the exercises |
| `corpus` | the survey for corpora and models beyond one laptop; also `interp-helpers survey` in a shell |
| `identities` | whether a model is built as the package reads it, checked on the model itself |
| `visits` | what attention layers and single heads read and write, as a model runs |
| `hooks`, `hub`, `installed`, `files`, `progress`, `errors` | what the others share |

Importing the package loads nothing else: a name brings its module, and torch with it, when it is first used. The names
are in `__init__.pyi`, where editors find them too.
"""

from importlib.metadata import version

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("interp-helpers")
