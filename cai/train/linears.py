"""Linear layers of a training on a CPU through oneDNN, where torch's own library would not use the whole processor."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cai.kernels.onednn import mkl_is_slow, onednn_product, onednn_weight_gradient

FEW = 64
"""Below so many rows little is gained."""


def fast_linears() -> AbstractContextManager[Any]:
    """Within it `torch.nn.functional.linear` and its backward pass go through oneDNN where that is faster."""
    return ThroughOneDNN() if mkl_is_slow() else nullcontext()


class ThroughOneDNN(TorchFunctionMode):
    """Takes float32 layers of many rows on a CPU, and leaves all else as it is."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.linear and not kwargs and _fits(*args):
            return onednn_linear(*args)
        return func(*args, **(kwargs or {}))


def onednn_linear(x: Tensor, weight_ED: Tensor, bias_E: Tensor | None = None) -> Tensor:
    """x [..., D] times the transposed weight, plus bias: [..., E]; differentiable."""
    return _Linear.apply(x, weight_ED, bias_E)  # type: ignore[no-any-return]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_ED: Tensor, bias_E: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight_ED)
        return onednn_product(x, weight_ED, bias_E)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (grad,), (x, weight_ED) = grad_outputs, ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        grad_ME = grad.flatten(0, -2)
        return (
            onednn_product(grad, weight_ED.t()) if of_x else None,
            onednn_weight_gradient(grad_ME, x.flatten(0, -2)) if of_weight else None,
            grad_ME.sum(0) if of_bias else None,
        )


def _fits(x: Tensor, weight: Tensor, *_: Tensor | None) -> bool:
    plain = all(t.dtype == torch.float32 and t.device.type == "cpu" for t in (x, weight))
    return plain and x.dim() > 1 and x[..., 0].numel() >= FEW and not torch.is_autocast_enabled("cpu")
