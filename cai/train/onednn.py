"""Linear layers of a training on a CPU through oneDNN, where torch's own library would not use the whole processor.

torch multiplies float32 matrices by MKL, which takes AVX-512 on Intel's processors only. oneDNN takes it wherever it is
and is there in every build of torch. M rows, D and E the sizes of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

FEW = 64
"""Below so many rows MKL is as fast."""


def fast_linears() -> AbstractContextManager[Any]:
    """Within it `torch.nn.functional.linear` and its backward pass go through oneDNN where that is faster."""
    return _ThroughOneDNN() if mkl_is_slow() else nullcontext()


@cache
def mkl_is_slow(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether MKL leaves this processor's AVX-512 alone. Never measured: the same machine must give the same sums."""
    made = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    able = made and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return able and cpuinfo.is_file() and "GenuineIntel" not in cpuinfo.read_text("utf-8")


def onednn_linear(x: Tensor, weight_ED: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., D] times the transposed weight, plus bias: [..., E]; differentiable."""
    return _Linear.apply(x, weight_ED, bias)  # type: ignore[no-any-return]


def _product(x: Tensor, weight_ED: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight_ED, bias, "none", [], "")


def _sum_of_products(grad_ME: Tensor, x_MD: Tensor) -> Tensor:
    """The weight's gradient [E, D]. The first operand is copied to lie row by row, so it is the smaller one."""
    if grad_ME.shape[1] > x_MD.shape[1]:
        return _product(x_MD.t(), grad_ME.t()).t()
    return _product(grad_ME.t(), x_MD.t())


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_ED: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight_ED)
        return _product(x, weight_ED, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (grad,), (x, weight_ED) = grad_outputs, ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        grad_ME = grad.flatten(0, -2)
        return (
            _product(grad, weight_ED.t()) if of_x else None,
            _sum_of_products(grad_ME, x.flatten(0, -2)) if of_weight else None,
            grad_ME.sum(0) if of_bias else None,
        )


class _ThroughOneDNN(TorchFunctionMode):
    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.linear and not kwargs and _fits(*args):
            return onednn_linear(*args)
        return func(*args, **(kwargs or {}))


def _fits(x: Tensor, weight: Tensor, *_: Tensor | None) -> bool:
    plain = all(t.dtype == torch.float32 and t.device.type == "cpu" for t in (x, weight))
    return plain and x.dim() > 1 and x[..., 0].numel() >= FEW and not torch.is_autocast_enabled("cpu")
