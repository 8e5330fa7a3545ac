"""Run every Triton kernel on tensors that end where memory must not be touched. Started by test_triton.py."""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import replace

import torch

from cai.kernels.batch import HeadBatch
from cai.kernels.fold import Mix
from cai.kernels.logit_map import LogitMap
from cai.kernels.triton_fold import _fold_rows
from cai.kernels.triton_forward import fold_triton
from cai.kernels.triton_rows import add_slabs, candidate_dots, scale_rows
from cai.kernels.tuned import INTERPRETER

_kept: list[mmap.mmap] = []
_libc = ctypes.CDLL(None, use_errno=True)


def guarded(values: torch.Tensor) -> torch.Tensor:
    """A copy whose last byte is the last one before a page without access."""
    values = values.contiguous()
    size = values.numel() * values.element_size()
    whole = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    region = mmap.mmap(-1, whole + mmap.PAGESIZE)
    _kept.append(region)
    start = ctypes.addressof(ctypes.c_char.from_buffer(region))
    address = ctypes.c_void_p(start + whole)
    if _libc.mprotect(address, mmap.PAGESIZE, 0) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
    flat = torch.frombuffer(region, dtype=torch.uint8, count=size, offset=whole - size)
    return flat.view(values.dtype).view(values.shape).copy_(values)


def main() -> None:
    n, depth, vocab = 33, 41, 67
    random = torch.Generator().manual_seed(0)
    normal = [torch.randn(*shape, generator=random) for shape in ((n, depth), (vocab, depth), (vocab,))]
    targets_N = guarded(torch.randint(vocab, (n,), generator=random).int())
    batch = HeadBatch(*(guarded(part) for part in normal), targets_N, LogitMap(1.0, 5.0, 0.9))
    shift_N, base_N, slope_N = (guarded(torch.randn(n, generator=random)) for _ in range(3))
    aligned = replace(batch, hidden_ND=guarded(normal[0][:, :40]), weight_VD=guarded(normal[1][:, :40]))
    for each, config in ((batch, INTERPRETER), (aligned, replace(INTERPRETER, tma=True, halves=True))):
        store_NC = guarded(torch.zeros(n, vocab))
        fold_triton(each, 0, vocab, shift_N, store_NC=store_NC, moment=True, mix=Mix(base_N, slope_N), config=config)
    raw_NC, store_NC = guarded(torch.randn(n, vocab, generator=random)), guarded(torch.zeros(n, vocab))
    sum_N, moment_N = guarded(torch.zeros(n)), guarded(torch.zeros(n))
    _fold_rows(batch, 0, vocab, raw_NC, targets_N, shift_N, store_NC, sum_N, moment_N, Mix(base_N, slope_N))
    candidate_dots(batch, targets_N[:, None].clone())
    candidate_dots(batch, torch.tensor([[vocab, -1, vocab - 1]]).expand(n, 3))
    add_slabs(guarded(torch.randn(3, 260, generator=random)))
    scale_rows(guarded(normal[0]), shift_N, torch.float32)
    print("no kernel left its tensors")


if __name__ == "__main__":
    main()
