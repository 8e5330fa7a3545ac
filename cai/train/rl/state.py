"""Resumable checkpoints: weights, optimizer and the loop's own state, as safetensors and JSON, written whole or not at
all.

All randomness of a step comes from its number, so the step's number stands for the position in the data and in every
random stream.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cai.train.checkpoints import finish, moments, with_moments

KEEP = 2


def save(folder: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Write `folder/step-N` and keep the newest two; a kill at any instant leaves the older ones whole."""
    target, parts = folder / f"step-{step:06d}", folder / f".step-{step:06d}.part"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    save_file(_weights(module), parts / "weights.safetensors")
    tensors, plain = moments(optimizer.state_dict()["state"])
    save_file(tensors, parts / "optimizer.safetensors")
    (parts / "state.json").write_text(json.dumps({**state, "step": step, "optimizer": plain}), encoding="utf-8")
    finish(parts, target)
    for old in _steps(folder)[:-KEEP]:
        shutil.rmtree(old)


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint, if any."""
    steps = _steps(folder)
    return steps[-1] if steps else None


def load(checkpoint: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore weights and optimizer in place; returns the loop's state."""
    weights = load_file(checkpoint / "weights.safetensors")
    missing = set(_weights(module)) ^ set(weights)
    if missing:
        raise ValueError(f"{checkpoint} does not fit this model: {sorted(missing)[:3]}")
    module.load_state_dict(weights, strict=False)
    state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    entries = with_moments(load_file(checkpoint / "optimizer.safetensors"), state.pop("optimizer"))
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
    return state


def _weights(module: nn.Module) -> dict[str, Tensor]:
    """What training changes, by name; a frozen base model is not written again with every checkpoint."""
    return {name: p.detach().cpu().contiguous() for name, p in module.named_parameters() if p.requires_grad}


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))
