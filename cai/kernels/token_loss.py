"""Loss in the loop: evaluate a loss on a chunk while that chunk's softmax is still at hand.

If a loss is a sum over groups of sequences, the gradient of each log-prob is known as soon as its group is scored. Then
the head's gradients are made from the tile in the buffer: three head products instead of four, two with a frozen head,
and memory for one chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from cai.kernels import engines
from cai.kernels.batch import HeadBatch, wide_dtype
from cai.kernels.fold import Engine
from cai.kernels.forward import fill_target, gain
from cai.kernels.inputs import check_inputs, check_values, under_autocast
from cai.kernels.logit_map import LogitMap
from cai.kernels.planner import GPU_BUDGET, padded
from cai.kernels.products import add_product, product
from cai.kernels.rows import add_rows, make_batch, pad_rows
from cai.kernels.segments import segment_sums
from cai.kernels.statistics import fold_all

# Every chunk reads and writes the whole gradient of the head once, so chunks should hold some hundred tokens.
_CPU_BUDGET = 128 << 20


@dataclass(frozen=True, slots=True)
class LossChunk:
    """Whole groups of sequences: their scores, and the caller's own tensors cut to them.

    `logp_N` per token and `sum_S` its float64 sums per sequence carry gradients; `entropy_N` does not. `tokens` and
    `sequences` hold what was passed as `token_aux` and `sequence_aux`.
    """

    logp_N: Tensor
    sum_S: Tensor
    entropy_N: Tensor | None
    cu_seqlens: Tensor
    tokens: Mapping[str, Tensor]
    sequences: Mapping[str, Tensor]


LocalLoss = Callable[[LossChunk], tuple[Tensor, Mapping[str, Tensor]]]


@dataclass(slots=True)
class _Job:
    """What the autograd function needs besides tensors it differentiates."""

    loss: LocalLoss
    targets_N: Tensor
    row_index_N: Tensor | None
    ends: list[int]
    group: int
    token_aux: Mapping[str, Tensor]
    sequence_aux: Mapping[str, Tensor]
    logit_map: LogitMap
    vocab: int
    entropy: bool
    budget: int
    engine: str
    needs: tuple[bool, bool, bool]
    metrics: dict[str, Tensor] = field(default_factory=dict)


def fused_token_loss(
    hidden_MD: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    local_loss: LocalLoss,
    *,
    cu_seqlens: Tensor | None = None,
    sequences_per_group: int = 1,
    token_aux: Mapping[str, Tensor] | None = None,
    sequence_aux: Mapping[str, Tensor] | None = None,
    row_index: Tensor | None = None,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    valid_vocab: int | None = None,
    return_entropy: bool = False,
    budget_bytes: int | None = None,
    engine: str = "auto",
) -> tuple[Tensor, dict[str, Tensor]]:
    """(sum of local losses, sums of their metrics), with gradients for hidden, weight and bias already made.

    `local_loss(chunk)` returns a scalar and a mapping of metrics; it must not look beyond its chunk, so every divisor
    (a token count, a batch size) has to be known before. Chunks hold whole groups of `sequences_per_group` sequences of
    `cu_seqlens` (one token each without it): 2 for DPO's pairs. A group is never split, however large. Backward may run
    once. Under torch.compile this call is a graph break: the loss is the caller's Python.

    Raises ValueError as `token_logprobs` does, and for offsets or extra tensors that do not fit.
    """
    hidden_MD, weight_VD, bias = under_autocast(hidden_MD, weight_VD, bias)
    vocab = weight_VD.shape[0] if valid_vocab is None else valid_vocab
    check_inputs(hidden_MD, weight_VD, bias, targets_N, row_index, vocab)
    check_values(targets_N, row_index, hidden_MD.shape[0], vocab)
    n = targets_N.shape[0]
    ends = list(range(n + 1)) if cu_seqlens is None else [int(end) for end in cu_seqlens.tolist()]
    tokens, sequences = dict(token_aux or {}), dict(sequence_aux or {})
    _check_offsets(ends, n, sequences_per_group, tokens, sequences)
    budget = budget_bytes
    if budget is None:
        budget = GPU_BUDGET // 2 if hidden_MD.is_cuda else _CPU_BUDGET
    logit_map = LogitMap(float(logit_scale), softcap, float(temperature))
    # Autograd asks for the gradients of tensors that require them also under no_grad; nothing would use them.
    grads = torch.is_grad_enabled()
    wanted = [grads and leaf is not None and leaf.requires_grad for leaf in (hidden_MD, weight_VD, bias)]
    job = _Job(
        local_loss, targets_N, row_index, ends, sequences_per_group, tokens, sequences,
        logit_map, vocab, return_entropy, budget, engine, (wanted[0], wanted[1], wanted[2]),
    )  # fmt: skip
    loss = _opaque(hidden_MD, weight_VD, bias, job)
    return loss, job.metrics


def _check_offsets(
    ends: list[int], n: int, group: int, tokens: Mapping[str, Tensor], sequences: Mapping[str, Tensor]
) -> None:
    if not ends or ends[0] != 0 or ends[-1] != n or any(a > b for a, b in pairwise(ends)):
        raise ValueError(f"cu_seqlens must rise from 0 to the number of targets, {n}")
    if group < 1 or (len(ends) - 1) % group:
        raise ValueError(f"{len(ends) - 1} sequences do not make whole groups of {group}")
    for name, tensor in tokens.items():
        if tensor.shape[:1] != (n,):
            raise ValueError(f"token_aux[{name!r}] must have {n} rows, got shape {tuple(tensor.shape)}")
    for name, tensor in sequences.items():
        if tensor.shape[:1] != (len(ends) - 1,):
            raise ValueError(f"sequence_aux[{name!r}] must have {len(ends) - 1} rows, got {tuple(tensor.shape)}")


def chunks(ends: list[int], group: int, most: int) -> Iterator[tuple[int, int]]:
    """(first, last) sequence of each chunk: as many whole groups as stay within `most` tokens, at least one."""
    first = 0
    while first < len(ends) - 1:
        last = first + group
        while last + group < len(ends) and ends[last + group] - ends[first] <= most:
            last += group
        yield first, last
        first = last


class _Totals:
    """Gradients as they grow, in the wide dtype, and the loss."""

    def __init__(self, batch: HeadBatch, needs: tuple[bool, bool, bool]) -> None:
        self.loss = batch.new_wide(1)[0]
        self.hidden_ND = torch.empty_like(batch.hidden_ND) if needs[0] else None
        self.weight_VD = batch.new_wide(*batch.weight_VD.shape) if needs[1] else None
        self.bias_V = batch.new_wide(batch.vocab) if needs[2] else None

    def add(self, part: HeadBatch, here: slice, e_NV: Tensor, sigma_N: Tensor, engine: Engine) -> None:
        """One chunk's share: see the formulas in `forward.py`."""
        if self.hidden_ND is not None:
            pull_ND = product(e_NV, part.weight_VD, part.new_wide(*part.hidden_ND.shape))
            self.hidden_ND[here] = pull_ND.mul_(sigma_N[:, None])
        if self.weight_VD is not None:
            add_product(self.weight_VD, e_NV.T, engine.scale(part.hidden_ND, sigma_N, e_NV.dtype))
        if self.bias_V is not None:
            add_product(self.bias_V[:, None], e_NV.T, sigma_N[:, None].to(e_NV.dtype))


class _FusedTokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, job: _Job) -> Tensor:
        with torch.autocast(hidden_MD.device.type, enabled=False):
            args = (job.targets_N, job.row_index_N, job.logit_map, job.vocab)
            batch = make_batch(hidden_MD, weight_VD, bias_V, *args)
            totals = _Totals(batch, job.needs)
            _run(batch, job, totals, any(job.needs))
        grads: list[Tensor | None] = [None, None, None]
        if totals.hidden_ND is not None:
            index_N = job.row_index_N
            grads[0] = totals.hidden_ND if index_N is None else add_rows(totals.hidden_ND, hidden_MD, index_N)
        if totals.weight_VD is not None:
            grads[1] = pad_rows(totals.weight_VD.to(weight_VD.dtype), weight_VD)
        if totals.bias_V is not None and bias_V is not None:
            grads[2] = pad_rows(totals.bias_V.to(bias_V.dtype), bias_V)
        ctx.grads = grads
        return totals.loss

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.grads is None:
            raise RuntimeError("fused_token_loss made its gradients in the forward pass: backward can run only once")
        grads, ctx.grads = ctx.grads, None
        return (*(None if grad is None else grad.mul_(upstream[0].to(grad.dtype)) for grad in grads), None)


def _run(batch: HeadBatch, job: _Job, totals: _Totals, needs_grad: bool) -> None:
    chosen = engines.choose(job.engine, batch)
    native = batch.hidden_ND.is_cuda or chosen.native
    if native and batch.hidden_ND.dtype == torch.float16 and needs_grad:
        raise ValueError("the loss in the loop keeps exp(z - shift), whose range float16 lacks: use bfloat16")
    store = batch.hidden_ND.dtype if native else wide_dtype(batch.hidden_ND.dtype)
    width = padded(batch.vocab)
    spans = list(chunks(job.ends, job.group, max(1, job.budget // (width * store.itemsize))))
    longest = max((job.ends[last] - job.ends[first] for first, last in spans), default=0)
    buffer_NV = batch.hidden_ND.new_empty(longest if needs_grad else 0, width, dtype=store)
    for first, last in spans:
        here = slice(job.ends[first], job.ends[last])
        part = batch.rows(here.start, here.stop)
        e_NV = buffer_NV[: part.n, : batch.vocab] if needs_grad else None
        stats = fold_all(part, chosen, moment=job.entropy, store_NV=e_NV)
        up_N = _local(job, first, last, stats.logp, stats.entropy if job.entropy else None, totals, needs_grad)
        if e_NV is not None and up_N is not None:
            fill_target(part, e_NV, 0, stats)
            totals.add(part, here, e_NV, up_N * gain(stats) * -batch.logit_map.factor, chosen)


def _local(
    job: _Job, first: int, last: int, logp_N: Tensor, entropy_N: Tensor | None, totals: _Totals, needs_grad: bool
) -> Tensor | None:
    """Evaluate the caller's loss on one chunk; its gradient with respect to the chunk's log-probs."""
    here = slice(job.ends[first], job.ends[last])
    offsets = torch.tensor([end - here.start for end in job.ends[first : last + 1]], device=logp_N.device)
    logp_N = logp_N.detach().requires_grad_(needs_grad)
    with torch.set_grad_enabled(needs_grad):
        chunk = LossChunk(
            logp_N,
            segment_sums(logp_N, offsets),
            entropy_N,
            offsets,
            {name: tensor[here] for name, tensor in job.token_aux.items()},
            {name: tensor[first:last] for name, tensor in job.sequence_aux.items()},
        )
        loss, metrics = job.loss(chunk)
    if loss.dim() != 0:
        raise ValueError(f"local_loss must return a scalar, got shape {tuple(loss.shape)}")
    totals.loss += loss.detach()
    for name, value in metrics.items():
        job.metrics[name] = job.metrics.get(name, 0) + value.detach()
    if not needs_grad or not loss.requires_grad:
        return torch.zeros_like(logp_N) if needs_grad else None
    (up_N,) = torch.autograd.grad(loss, logp_N)
    return up_N


def _apply(hidden_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, job: _Job) -> Tensor:
    return _FusedTokenLoss.apply(hidden_MD, weight_VD, bias_V, job)


# Dynamo cannot look into the caller's loss; it steps around.
_opaque: Any = torch.compiler.disable(_apply)
