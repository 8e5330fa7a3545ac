"""Before an engine is trusted with a kind of problem, it has to agree with plain torch on a small ragged one.

A kernel that miscompiles gives plausible numbers, and training goes wrong slowly. One that fails here is never used
again in this process: a warning says so, `failures()` lists it, and plain torch takes over. Set CAI_KERNELS_STRICT=1 to
make it an error instead.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace

import torch

from cai.kernels.batch import HeadBatch
from cai.kernels.fold import Engine, Fold, Mix
from cai.kernels.fold_torch import fold_torch
from cai.kernels.products import scaled_rows
from cai.kernels.statistics import row_max
from cai.kernels.target_logits import candidate_logits

ROWS = 37  # ragged, as COLUMNS is, against every tile shape in use
COLUMNS = 331
_COLUMNS_INTERPRETED = 131  # the interpreter is slow
# Sums agree to float32 rounding; stored entries also to one rounding, or truncation, of the dtype they are kept in.
_SUM_ERROR = 1e-4
_STORE_ERROR = {torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 2e-3}

_verdicts: dict[tuple[object, ...], str] = {}


class KernelCheckError(RuntimeError):
    """A kernel disagrees with the reference, and CAI_KERNELS_STRICT asked to stop."""


def failures() -> tuple[str, ...]:
    """What failed in this process, one line each."""
    return tuple(reason for reason in _verdicts.values() if reason)


def passes(engine: Engine, batch: HeadBatch) -> bool:
    """Whether the engine may be used for batches like this one; checked at first use, then remembered."""
    hidden = batch.hidden_ND
    cap, bias = batch.logit_map.softcap is not None, batch.bias_V is not None
    key = (engine.name, hidden.device.type, hidden.device.index, hidden.dtype, hidden.shape[1], cap, bias)
    if key not in _verdicts:
        if hidden.is_cuda and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                "the first use of a kernel checks it, which a CUDA graph cannot record: call it once before"
            )
        sample = sample_like(batch)
        reason = disagreement(engine.fold, sample) or disagreement_beside(engine, sample)
        _verdicts[key] = reason and f"engine {engine.name!r} ({hidden.dtype}, D={hidden.shape[1]}) {reason}"
        if reason:
            message = f"{_verdicts[key]}; plain torch is used instead, slower and with more memory"
            if os.environ.get("CAI_KERNELS_STRICT") == "1":
                raise KernelCheckError(message)
            warnings.warn(message, RuntimeWarning, stacklevel=2)
    return not _verdicts[key]


def sample_like(batch: HeadBatch) -> HeadBatch:
    """A small batch with this one's dtype, device, hidden size, bias and logit map; logits of ordinary size."""
    device, dtype, depth = batch.hidden_ND.device, batch.hidden_ND.dtype, batch.hidden_ND.shape[1]
    columns = COLUMNS if batch.hidden_ND.is_cuda else _COLUMNS_INTERPRETED
    random = torch.Generator().manual_seed(0)
    hidden_ND = torch.randn(ROWS, depth, generator=random).to(device, dtype)
    weight_VD = (torch.randn(columns, depth, generator=random) * 2.0 * depth**-0.5).to(device, dtype)
    bias_V = None if batch.bias_V is None else torch.randn(columns, generator=random).to(device)
    targets_N = torch.randint(columns, (ROWS,), generator=random).to(device)
    return replace(batch, hidden_ND=hidden_ND, weight_VD=weight_VD, bias_V=bias_V, targets_N=targets_N)


def disagreement(fold: Fold, sample: HeadBatch) -> str:
    """Why the fold's sums, moments or stored entries are wrong, or "". Outputs start as NaN, so a hole shows."""
    n, vocab = sample.n, sample.vocab
    random = torch.Generator().manual_seed(1)
    shift_N, base_N, slope_N = torch.randn(3, n, generator=random).to(sample.hidden_ND.device)
    shift_N = shift_N + row_max(sample) - 1.0  # keeps every entry within float16 and few below it, whatever the map
    width = -(-vocab // 8) * 8
    for mix in (None, Mix(base_N, slope_N)):
        expected_NC = torch.full((n, width), torch.nan, device=shift_N.device)
        got_NC = torch.full((n, width), torch.nan, device=shift_N.device, dtype=sample.hidden_ND.dtype)
        expected = fold_torch(sample, 0, vocab, shift_N, store_NC=expected_NC[:, :vocab], moment=True, mix=mix)
        got = fold(sample, 0, vocab, shift_N, store_NC=got_NC[:, :vocab], moment=True, mix=mix)
        for what, a, b in zip(("sums", "moments"), got, expected, strict=True):
            if not torch.allclose(a, b, rtol=_SUM_ERROR, atol=_SUM_ERROR * float(b.abs().max())):
                return f"gives wrong {what}: off by up to {float((a - b).abs().max()):.2g}"
        limit = _STORE_ERROR[got_NC.dtype] * float(expected_NC[:, :vocab].abs().max())
        worst = float((got_NC.float() - expected_NC)[:, :vocab].abs().max())
        if not worst <= limit:
            return f"stores wrong entries: off by up to {worst:.2g}"
        if not got_NC[:, vocab:].isnan().all():
            return "writes beyond its tile"
    return ""


def disagreement_beside(engine: Engine, sample: HeadBatch) -> str:
    """Why the engine's gathered dot products or scaled rows are wrong, or ""."""
    outside_N = torch.full_like(sample.targets_N, sample.vocab)
    ids_NK = torch.stack([sample.targets_N, outside_N, sample.targets_N.flip(0)], dim=1)
    got_NK, expected_NK = engine.dots(sample, ids_NK), candidate_logits(sample, ids_NK)
    limit = _SUM_ERROR * float(expected_NK.nan_to_num().abs().max())
    if not torch.allclose(got_NK, expected_NK, rtol=0.0, atol=limit, equal_nan=True):
        return f"gives wrong target logits: off by up to {float((got_NK - expected_NK).nan_to_num().abs().max()):.2g}"
    scale_N, dtype = sample.hidden_ND[:, 0].float() * 3.0, sample.hidden_ND.dtype
    got_ND, expected_ND = engine.scale(sample.hidden_ND, scale_N, dtype), scaled_rows(sample.hidden_ND, scale_N, dtype)
    worst = float((got_ND.float() - expected_ND.float()).abs().max())
    if not worst <= _STORE_ERROR[dtype] * float(expected_ND.abs().max()):
        return f"scales rows wrongly: off by up to {worst:.2g}"
    return ""
