"""Every implementation of per-token log-probs the benchmark knows, behind one signature."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from shutil import which
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.head_losses import in_the_loop

Provider = Callable[..., Tensor]

# Which plan of ours belongs to which mode; every other provider has one way.
OURS = {
    "nograd": ("score",),
    "train": ("recompute", "cache"),
    "mean": ("recompute", "loop"),
    "frozen": ("frozen",),
    "half": ("recompute", "cache"),
    "masked": ("recompute", "cache"),
    "entropy": ("score",),
    "judge": ("letters",),
    "dpo": ("recompute", "cache", "loop"),
    "grpo": ("recompute", "cache", "loop"),
}


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


def _cce(*, exact: bool) -> Provider:
    """By default it drops gradients of unlikely tokens; `exact` keeps all."""
    from cut_cross_entropy import linear_cross_entropy  # pyright: ignore

    rest = {"filter_eps": None} if exact else {}

    def cce(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
        return -linear_cross_entropy(hidden_ND, weight_VD, targets_N.long(), reduction="none", **rest)

    return cce


def _torch() -> Provider:
    """PyTorch's own chunked loss, since 2.13."""
    from torch.nn import LinearCrossEntropyOptions

    def chunked(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
        options = LinearCrossEntropyOptions()
        return -F.linear_cross_entropy(hidden_ND, weight_VD, targets_N.long(), reduction="none", options=options)

    return chunked


def _verl() -> Provider:
    from verl.utils.kernel.linear_cross_entropy import linear_cross_entropy  # pyright: ignore

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


def scores_of_letters(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, engine: str) -> Tensor:
    """A judge's two letters at each position, both read off one walk. The peers' figure is for one letter only."""
    from cai.kernels import candidate_logprobs

    return candidate_logprobs(hidden_ND, weight_VD, letters(targets_N, weight_VD.shape[0]), engine=engine)[:, 0]


def letters(targets_N: Tensor, vocab: int) -> Tensor:
    """The target and its neighbour, [N, 2]."""
    return torch.stack([targets_N, (targets_N + 1) % vocab], dim=1)


def entropy_of(name: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """[2, N]: log-probs and the entropy of each position, from what the provider has of its own."""
    if name == "naive":

        def plain(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
            logp_NV = (hidden_ND @ weight_VD.T).float().log_softmax(-1)
            return torch.stack([_at(logp_NV, targets_N), -(logp_NV.exp() * logp_NV).sum(-1)])

        return plain
    if name == "trl":
        from trl.kernels.chunked_logprob import ChunkedLogProbFunction

        def trl(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
            rest = (1.0, 32768, None, 1.0, ("entropy",))
            found = ChunkedLogProbFunction.apply(hidden_ND, weight_VD, None, targets_N.long(), *rest)
            return torch.stack([found[0], found[1]])

        return trl
    if name == "verl":
        from verl.utils.kernel.linear_cross_entropy import linear_cross_entropy  # pyright: ignore

        def verl(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
            return torch.stack(linear_cross_entropy(hidden_ND, weight_VD, targets_N.long(), 1.0, "none")[:2])

        return verl
    from cai.kernels import token_logprobs

    engine = name.split(":")[2]

    def fused(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
        found = token_logprobs(hidden_ND, weight_VD, targets_N, return_entropy="metric", engine=engine)
        assert found.entropy_N is not None
        return torch.stack([found.logp_N, found.entropy_N])

    return fused


def _at(logp_NV: Tensor, targets_N: Tensor) -> Tensor:
    return logp_NV.gather(-1, targets_N.long()[:, None])[:, 0]


def make(name: str, mode: str) -> Any:
    """The provider called `name`, as `names` lists them, for a mode."""
    peers: dict[str, Any] = {
        "compiled": _compiled,
        "torch": _torch,
        "trl": _trl,
        "liger": _liger,
        "cce": partial(_cce, exact=False),
        "cce-exact": partial(_cce, exact=True),
        "verl": _verl,
    }
    if mode == "entropy":
        return entropy_of(name)
    if name == "naive":
        return naive
    if name in peers:
        return peers[name]()
    _, plan, engine = name.split(":")
    if plan == "letters":
        return partial(scores_of_letters, engine=engine)
    return in_the_loop(mode, engine) if plan == "loop" else ours(plan, engine)


MODULES = {
    "compiled": "torch",
    "torch": "torch",
    "trl": "trl",
    "liger": "liger_kernel",
    "cce": "cut_cross_entropy",
    "cce-exact": "cut_cross_entropy",
    "verl": "verl",
}
NO_ENTROPY = ("compiled", "torch", "liger", "cce", "cce-exact")
ON_CPU = ("compiled", "torch", "trl")


def absent(mode: str, device: str) -> dict[str, str]:
    """Peers that are not measured, each with the reason."""
    found: dict[str, str] = {}
    for name, module in MODULES.items():
        if find_spec(module) is None:
            found[name] = f"{module} is not installed"
        elif device != "cuda" and name not in ON_CPU:
            found[name] = "needs a GPU"
        elif name == "compiled" and device != "cuda" and which("g++") is None:
            found[name] = "needs a C++ compiler"
        elif name == "torch" and not hasattr(torch.nn, "LinearCrossEntropyOptions"):
            found[name] = "needs PyTorch 2.13"
        elif mode == "entropy" and name in NO_ENTROPY:
            found[name] = "returns no entropy"
    return found


def names(mode: str, device: str) -> list[str]:
    """Providers to measure in this mode on this device."""
    left_out = absent(mode, device)
    engines = ("triton", "cublas", "cublas-rounded") if device == "cuda" else ("torch",)
    # Ours right beside naive: what has to be compared is measured closest in time.
    mine = [f"ours:{plan}:{engine}" for plan in OURS[mode] for engine in engines]
    return ["naive", *mine, *(name for name in MODULES if name not in left_out)]
