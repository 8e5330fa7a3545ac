"""Models and tokenizers for training: safetensors only, no code from a checkpoint, a chat template required."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, set_seed

from cai.config.train import TrainSettings
from cai.engine.files import ModelFiles, context_length, find_model
from cai.errors import InputError
from cai.train.batches import Attention
from cai.train.tokens import ReplyTokeniser


@dataclass(frozen=True, slots=True)
class Base:
    """What is known of the model before its weights load."""

    files: ModelFiles
    tokenizer: Any
    tokenise: ReplyTokeniser
    limit: int
    """Most tokens of an example."""
    parameters: int


def open_base(settings: TrainSettings) -> Base:
    """Check the model's folder, open its tokenizer, count its parameters from the safetensors headers."""
    files = find_model(_folder(settings.model), settings.revision)
    tokenizer = AutoTokenizer.from_pretrained(files.folder, trust_remote_code=False)
    stated = context_length(files.config, None, settings.model)
    limit = settings.max_length or stated
    if limit is None:
        raise InputError(f"the model {settings.model} does not state its context", "set train.max_length")
    if stated is not None and limit > stated:
        what = f"the model {settings.model} has a context of {stated} tokens, {limit} were asked for"
        raise InputError(what, f"set train.max_length to at most {stated}")
    tokenise = ReplyTokeniser.of(tokenizer, settings.model, _end_ids(files.folder))
    return Base(files, tokenizer, tokenise, limit, _count_parameters(files.folder))


def load_policy(base: Base, settings: TrainSettings) -> Any:
    """The causal language model, in float32 or, below an adapter in bf16, in bfloat16."""
    return AutoModelForCausalLM.from_pretrained(
        base.files.folder,
        dtype=_weights_dtype(settings),
        attn_implementation="sdpa",
        trust_remote_code=False,
        use_safetensors=True,
    )


def load_reward_model(base: Base, settings: TrainSettings, seed: int) -> Any:
    """A sequence classifier of one label on the same body; its new head depends on `seed` alone.

    The head starts at zero mean and a deviation that gives rewards of about 1, so that no pair is decided at the start.
    """
    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        base.files.folder,
        num_labels=1,
        dtype=_weights_dtype(settings),
        attn_implementation="sdpa",
        trust_remote_code=False,
        use_safetensors=True,
    )
    score = getattr(model, "score", None)
    if score is None:
        raise InputError(f"{type(model).__name__} has no `score` head", "use a decoder such as Llama or Qwen")
    torch.nn.init.normal_(score.weight, std=1.0 / (score.weight.shape[1] + 1) ** 0.5)
    model.config.get_text_config().pad_token_id = pad_for(base.tokenizer, base.tokenise.end)
    return model


def pad_for(tokenizer: Any, end: int) -> int:
    """A padding id that no reply ends with, so that `transformers` finds the same last token as we do.

    Where pad and end-of-text are one token, a classifier that looks for the last token before padding stops one short.
    """
    candidates = [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, *tokenizer.all_special_ids]
    found = next((i for i in candidates if i is not None and i != end), None)
    if found is None:
        raise InputError("the tokenizer has one special token only", "add a pad token to it and save it again")
    return found


def lora(settings: TrainSettings, model: Any, task: Literal["CAUSAL_LM", "SEQ_CLS"]) -> Any:
    """The adapter's configuration, or None where all weights train. Raises InputError for layers `model` lacks."""
    if not settings.lora_rank:
        return None
    if "lm_head" in settings.lora_targets:
        raise InputError(
            "an adapter on lm_head is not supported", "leave it out: log-probs are computed from the head's own weights"
        )
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    missing = [target for target in settings.lora_targets if target.rpartition(".")[2] not in names]
    if missing:
        linear = {n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
        raise InputError(f"the model has no layer {missing[0]}", f"its linear layers are {', '.join(sorted(linear))}")
    from peft import LoraConfig

    return LoraConfig(
        task_type=task,
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,  # type: ignore[arg-type]
        lora_dropout=settings.lora_dropout,
        target_modules=settings.lora_targets or "all-linear",
        modules_to_save=["score"] if task == "SEQ_CLS" else None,
    )


def attention_of(model: Any, longest: int) -> Attention:
    """Which 4-D mask the model's attention reads; "other" where a 4-D mask would be ignored or would hide a window."""
    config = model.config.get_text_config()
    kind = config._attn_implementation
    types = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    windowed = window is not None and longest >= window
    if kind not in ("sdpa", "eager") or windowed or not types <= {"full_attention", "sliding_attention"}:
        return "other"
    return kind


def _weights_dtype(settings: TrainSettings) -> torch.dtype:
    return torch.bfloat16 if settings.lora_rank and settings.precision == "bf16" else torch.float32


def _folder(name: str) -> str:
    if name != "tiny":
        return name
    from cai.testbed import TINY

    return str(TINY)


def _end_ids(folder: Path) -> tuple[int, ...]:
    """End tokens of generation_config.json, where there is one."""
    file = folder / "generation_config.json"
    if not file.is_file():
        return ()
    ids = json.loads(file.read_text("utf-8")).get("eos_token_id")
    return tuple(ids) if isinstance(ids, list) else () if ids is None else (ids,)


def _count_parameters(folder: Path) -> int:
    """Sum of the sizes in the headers of the safetensors files; nothing else of them is read."""
    total = 0
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as handle:
            header = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
        for name, entry in header.items():
            if name != "__metadata__":
                size = 1
                for n in entry["shape"]:
                    size *= n
                total += size
    return total
