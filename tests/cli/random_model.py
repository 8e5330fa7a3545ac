"""A small random model with all that training needs: what it writes is noise, but real noise, drawn token by token."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.engine.small_models import build


def random_model(folder: Path) -> Path:
    """Bytes as tokens, so that any text can be read; a padding token besides the end; replies that often end."""
    build("llama", folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = "<|im_start|>"
    tokenizer.save_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.eos_token_id] *= 6.0
    model.save_pretrained(folder)
    return folder
