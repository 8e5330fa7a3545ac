"""float32 products on a CPU through oneDNN, where torch's own library would not use the whole processor.

torch multiplies by MKL, which takes AVX-512 on Intel's processors only. oneDNN takes it wherever it is, and is there in
every build of torch. M rows, D and E the sizes of a layer.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor


@cache
def mkl_is_slow(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether MKL leaves this processor's AVX-512 alone. Never measured: the same machine must give the same sums."""
    made = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    able = torch.backends.cpu.get_cpu_capability() == "AVX512" and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return made and able and cpuinfo.is_file() and "GenuineIntel" not in cpuinfo.read_text("utf-8")


def onednn_product(x: Tensor, weight_ED: Tensor, bias_E: Tensor | None = None) -> Tensor:
    """x [..., D] times the transposed weight, plus bias: [..., E]; without a gradient. The weight may be a view."""
    return torch.ops.mkldnn._linear_pointwise(x, weight_ED, bias_E, "none", [], "")


def onednn_weight_gradient(grad_ME: Tensor, x_MD: Tensor) -> Tensor:
    """Sum over rows of grad times x, [E, D]. The first operand is copied to lie row by row: it is the smaller one."""
    if grad_ME.shape[1] > x_MD.shape[1]:
        return onednn_product(x_MD.t(), grad_ME.t()).t()
    return onednn_product(grad_ME.t(), x_MD.t())
