"""Every implementation of per-token log-probs the benchmark knows, behind one signature."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

Provider = Callable[..., Tensor]

# Which plan of ours belongs to which mode; every other provider has one way.
OURS = {"nograd": ("score",), "train": ("recompute", "cache"), "mean": ("recompute", "loop"), "frozen": ("frozen",)}


def naive(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """All logits, float32 log-softmax, gather: what a model's own forward does."""
    logits_NV = (hidden_ND @ weight_VD.T).float()
    return logits_NV.log_softmax(-1).gather(-1, targets_N.long()[:, None])[:, 0]


def _compiled() -> Provider:
    compiled: Any = torch.compile(naive)
    return compiled


def _trl() -> Provider:
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    def trl(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
        return ChunkedLogProbFunction.apply(hidden_ND, weight_VD, None, targets_N.long(), 1.0, 32768, None, 1.0, ())[0]

    return trl


def _liger() -> Provider:
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy  # pyright: ignore

    def liger(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
        return -liger_fused_linear_cross_entropy(hidden_ND, weight_VD, targets_N.long(), reduction="none")

    return liger


def _cce() -> Provider:
    from cut_cross_entropy import linear_cross_entropy  # pyright: ignore

    def cce(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
        return -linear_cross_entropy(hidden_ND, weight_VD, targets_N.long(), reduction="none")

    return cce


def _verl() -> Provider:
    from verl.utils.kernel import linear_cross_entropy  # pyright: ignore

    def verl(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
        return linear_cross_entropy(hidden_ND, weight_VD, targets_N.long(), 1.0, "none")[0]

    return verl


def ours(plan: str, engine: str) -> Provider:
    """`token_logprobs` with a named plan and engine."""
    from cai.kernels import token_logprobs

    # The cache has to hold the whole of E here, or it would not be the plan its name says.
    budget = 64 << 30 if plan == "cache" else None
    named = "auto" if plan == "score" else plan

    def score(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
        return token_logprobs(hidden_ND, weight_VD, targets_N, plan=named, engine=engine, budget_bytes=budget).logp_N

    return score


def loop(engine: str) -> Provider:
    """The mean log-prob as a loss in the loop: a scalar."""
    from cai.kernels import LossChunk, fused_token_loss

    def score(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
        def mean(chunk: LossChunk) -> tuple[Tensor, dict[str, Tensor]]:
            return chunk.logp_N.sum() / targets_N.shape[0], {}

        return fused_token_loss(hidden_ND, weight_VD, targets_N, mean, engine=engine)[0]

    return score


def make(name: str) -> Any:
    """The provider called `name`, as `names` lists them."""
    peers: dict[str, Any] = {"compiled": _compiled, "trl": _trl, "liger": _liger, "cce": _cce, "verl": _verl}
    if name == "naive":
        return naive
    if name in peers:
        return peers[name]()
    _, plan, engine = name.split(":")
    return loop(engine) if plan == "loop" else ours(plan, engine)


def names(mode: str, device: str) -> list[str]:
    """Providers to measure in this mode on this device."""
    peers: list[str] = []
    modules = {"compiled": "torch", "trl": "trl", "liger": "liger_kernel", "cce": "cut_cross_entropy", "verl": "verl"}
    for name, module in modules.items():
        # Without a GPU the peers' Triton kernels do not run (TRL folds its tiles in torch); compiling is for GPUs.
        if find_spec(module) and (device == "cuda" or name == "trl"):
            peers.append(name)
    engines = ("triton", "cublas", "cublas-rounded") if device == "cuda" else ("torch",)
    plans = OURS["train" if mode == "masked" else mode]
    # Ours right beside naive: what has to be compared is measured closest in time.
    return ["naive", *(f"ours:{plan}:{engine}" for plan in plans for engine in engines), *peers]
