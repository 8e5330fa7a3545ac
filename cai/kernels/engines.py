"""Which implementation walks the tiles: plain torch, the Triton product, or the vendor's product with a Triton fold."""

from __future__ import annotations

import os
from functools import cache, partial
from importlib.util import find_spec

import torch

from cai.kernels import engine_choice, self_check
from cai.kernels.batch import HeadBatch
from cai.kernels.fold import Engine
from cai.kernels.fold_torch import fold_torch
from cai.kernels.products import scaled_rows
from cai.kernels.target_logits import candidate_logits

ENGINES = ("auto", "torch", "triton", "cublas", "cublas-rounded")


TORCH = Engine("torch", fold_torch, candidate_logits, scaled_rows, native=False)


def has_triton() -> bool:
    """Whether Triton can be imported at all."""
    return find_spec("triton") is not None


@cache
def _triton_engines() -> dict[str, Engine]:
    from cai.kernels.triton_fold import fold_cublas
    from cai.kernels.triton_forward import fold_triton
    from cai.kernels.triton_rows import candidate_dots, scale_rows

    return {
        "triton": Engine("triton", fold_triton, candidate_dots, scale_rows, native=True),
        "cublas": Engine("cublas", fold_cublas, candidate_dots, scale_rows, native=True),
        "cublas-rounded": Engine(
            "cublas-rounded", partial(fold_cublas, exact=False), candidate_dots, scale_rows, native=True
        ),
    }


def choose(name: str, batch: HeadBatch) -> Engine:
    """The engine called `name`; "auto" takes the fastest one measured on this device, after it passed its check.

    Raises ValueError for an engine that is unknown or cannot run here.
    """
    if name not in ENGINES:
        raise ValueError(f"engine {name!r} is not one of {', '.join(ENGINES)}")
    if name == "torch":
        return TORCH
    obstacle = _obstacle(batch)
    if name != "auto":
        if obstacle:
            raise ValueError(f"engine {name!r} cannot run here: {obstacle}; use engine 'torch'")
        engine = _triton_engines()[name]
        return engine if name == "cublas-rounded" or self_check.passes(engine, batch) else TORCH
    if obstacle or not batch.hidden_ND.is_cuda:
        return TORCH
    return _fastest(batch)


def _obstacle(batch: HeadBatch) -> str:
    if not has_triton():
        return "Triton is not installed"
    if batch.hidden_ND.dtype == torch.float64:
        return "Triton kernels have no float64"
    if not batch.hidden_ND.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        return f"Triton needs a GPU, and the tensors are on {batch.hidden_ND.device.type}"
    return ""


def _fastest(batch: HeadBatch) -> Engine:
    exact = [_triton_engines()[name] for name in ("triton", "cublas")]
    sound = [engine for engine in exact if self_check.passes(engine, batch)]
    if not sound:
        return TORCH
    name = engine_choice.fastest({engine.name: engine.fold for engine in sound}, batch)
    return _triton_engines()[name]
