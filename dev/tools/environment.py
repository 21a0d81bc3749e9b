"""The environment in which notebooks are executed and checked, so that outputs are the same on every run."""

import os

SETTINGS = {
    "OMP_NUM_THREADS": "1",  # the number of threads changes last bits
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONHASHSEED": "0",
    "INTERP_STRICT": "1",  # a claim that fails on storybook is an error
    "INTERP_PROGRESS": "",  # a run of ours is no student's progress
}
os.environ.update(SETTINGS)
