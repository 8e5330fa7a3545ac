"""Matrix products whose rows do not depend on how many rows there are.

A matrix library picks its kernel, and with it the order of additions, by the number of rows, so the same row can come
out a few bits different in another batch, and once in a million draws that becomes another token. Here only row counts
are used that were seen to give the bits of the reference count; the rest of a batch is cut and padded to them.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from cai.kernels.onednn import mkl_is_slow, onednn_product

ROW_COUNTS = (8, 16, 24, 32, 48, 64, 96, 128, 256)
REFERENCE = {"cpu": 32, "cuda": 64}
PADDING = 1.25
"""Pad up rather than cut where that computes at most this much more."""


class RowLinear(nn.Module):
    """`x @ weight_KN + bias_N`, in pieces of the row counts it was given."""

    def __init__(self, linear: nn.Linear, row_counts: tuple[int, ...]) -> None:
        super().__init__()
        self.weight_KN = nn.Parameter(_transposed(linear.weight.detach()), requires_grad=False)
        self.bias_N = None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)
        self.row_counts = row_counts

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] to [..., N]."""
        rows = x.reshape(-1, x.shape[-1])
        total, sizes = rows.shape[0], cut_rows(rows.shape[0], self.row_counts)
        missing = sum(sizes) - total
        if missing:
            rows = nn.functional.pad(rows, (0, 0, 0, missing))
        if len(sizes) == 1:
            out = row_product(rows, self.weight_KN, self.bias_N)
        else:
            out, at = rows.new_empty(rows.shape[0], self.weight_KN.shape[1]), 0
            for size in sizes:
                row_product(rows[at : at + size], self.weight_KN, self.bias_N, out[at : at + size])
                at += size
        return out[:total].view(*x.shape[:-1], self.weight_KN.shape[1])

    def load(self, weight_NK: Tensor | None, bias_N: Tensor | None) -> None:
        """Take other weights of the same shape."""
        with torch.no_grad():
            if weight_NK is not None:
                self.weight_KN.copy_(weight_NK.t())
            if bias_N is not None and self.bias_N is not None:
                self.bias_N.copy_(bias_N)


def row_product(rows: Tensor, weight_KN: Tensor, bias_N: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """rows @ weight + bias, [rows, N], into `out` if given."""
    if rows.device.type == "cpu" and rows.dtype == weight_KN.dtype == torch.float32 and mkl_is_slow():
        made = onednn_product(rows, weight_KN.t(), bias_N)
        return made if out is None else out.copy_(made)
    if bias_N is None:
        return torch.mm(rows, weight_KN, out=out)
    return torch.addmm(bias_N, rows, weight_KN, out=out)


def use_row_linears(model: nn.Module) -> tuple[int, ...]:
    """Replace every `nn.Linear` of the model, and return the row counts that suit all of them.

    Transposed weights are also the faster ones for few rows on a CPU.
    """
    known: dict[tuple[int, int], tuple[int, ...]] = {}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                shape = (child.in_features, child.out_features)
                if shape not in known:
                    known[shape] = equal_row_counts(child.weight.detach())
                setattr(parent, name, RowLinear(child, known[shape]))
    return tuple(size for size in ROW_COUNTS if all(size in counts for counts in known.values()))


def equal_row_counts(weight_NK: Tensor) -> tuple[int, ...]:
    """The row counts whose rows are bit for bit those of the reference count, for this shape on this machine."""
    device = weight_NK.device
    weight_KN = _transposed(weight_NK)
    generator = torch.Generator().manual_seed(0)
    most = max(ROW_COUNTS)
    rows = torch.randn(most, weight_KN.shape[0], generator=generator).to(device, weight_NK.dtype)
    count = REFERENCE[device.type]
    truth = torch.cat([row_product(rows[at : at + count], weight_KN) for at in range(0, most, count)])
    return tuple(
        size for size in ROW_COUNTS if size == count or torch.equal(row_product(rows[:size], weight_KN), truth[:size])
    )


@lru_cache(maxsize=4096)
def cut_rows(total: int, row_counts: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes out of `row_counts` that together cover `total` rows; only the last may reach beyond."""
    sizes = list[int]()
    while total > 0:
        above = next((size for size in row_counts if size >= total), None)
        below = next((size for size in reversed(row_counts) if size <= total), None)
        fits = above is not None and (below is None or above <= total * PADDING)
        size = above if fits or below is None else below
        assert size is not None
        sizes.append(size)
        total -= size
    return tuple(sizes)


def _transposed(weight_NK: Tensor) -> Tensor:
    weight_KN = weight_NK.t()
    return weight_KN.contiguous() if weight_NK.device.type == "cpu" else weight_KN
