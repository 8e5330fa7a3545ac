"""The processes of one training, known before a trainer exists."""

from __future__ import annotations

import torch
from accelerate import PartialState


def processes() -> PartialState:
    """Accelerate's state; without a GPU it has to be told so, or every process would take itself for the only one."""
    return PartialState(cpu=not torch.cuda.is_available())
