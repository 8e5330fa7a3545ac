"""Attention of one step over the slots, each row computed alike whatever else is in the step.

Scores are dot products over the head size; values are summed over blocks of 128 keys in order, so that a longer
neighbour only adds zeros behind. A row is padded to the number of query rows below which the matrix library takes
another kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from cai.engine.batching.slots import BLOCK, Slots, round_up

NAME = "cai_slots"


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` tokens of one request from position `start` on; its rows in the step begin at `row`."""

    slot: int
    start: int
    count: int
    row: int


@dataclass(eq=False)
class Layout:
    """Which rows of a step belong to which slot: first the requests with one token, then the longer segments."""

    slots: Slots
    slot_N: Tensor
    position_N: Tensor
    singles: int
    segments: tuple[Segment, ...]
    least_rows: int
    """Query rows below which results would differ."""
    high: int
    """One more than the highest slot of the singles."""
    keys: int
    """Keys that the longest single looks at, rounded up."""
    masks: dict[object, Tensor] = field(default_factory=dict)

    def single_mask(self, window: int | None) -> Tensor:
        """[high, 1, 1, keys]: zero where a single's query sees a key, minus infinity elsewhere."""
        if (window, -1) not in self.masks:
            last_S = self.position_N.new_zeros(self.high)
            last_S[self.slot_N[: self.singles]] = self.position_N[: self.singles]
            self.masks[window, -1] = _mask(last_S, self.keys, window)[:, None, None]
        return self.masks[window, -1]

    def segment_mask(self, segment: Segment, window: int | None) -> Tensor:
        """[count, last keys of the segment]: every key before those is seen by all of its queries."""
        if window is None:
            keys = round_up(segment.start + segment.count) - segment.start
            return _triangle(round_up(segment.count), self.position_N.device)[: segment.count, :keys]
        if (window, segment.row) not in self.masks:
            position_T = self.position_N[segment.row : segment.row + segment.count]
            self.masks[window, segment.row] = _mask(position_T, round_up(segment.start + segment.count), window)
        return self.masks[window, segment.row]


def slot_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    layout: Layout,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Write the step's keys and values into their slots, then attend; [1, heads, N, size] to [1, N, heads, size]."""
    if s_aux is not None:
        raise NotImplementedError("attention sinks")
    heads, total, size = query.shape[1:]
    keys_SHdL, values_SHLd = layout.slots.keys[module.layer_idx], layout.slots.values[module.layer_idx]
    rows = layout.slot_N.shape[0]
    keys_SHdL[layout.slot_N, :, :, layout.position_N] = key[0, :, :rows].transpose(0, 1)
    values_SHLd[layout.slot_N, :, layout.position_N] = value[0, :, :rows].transpose(0, 1)
    groups = heads // keys_SHdL.shape[1]
    scale = size**-0.5 if scaling is None else scaling
    query_NHGd = (query[0] * scale).transpose(0, 1).reshape(total, -1, groups, size)
    out_NHGd = torch.empty_like(query_NHGd)
    out_NHGd[rows:] = 0.0
    if layout.singles:
        out_NHGd[: layout.singles] = _attend_singles(
            query_NHGd, keys_SHdL, values_SHLd, layout, sliding_window, softcap
        )
    for segment in layout.segments:
        own = slice(segment.row, segment.row + segment.count)
        mask_TL = layout.segment_mask(segment, sliding_window)
        out_NHGd[own] = _attend_segment(
            query_NHGd[own],
            keys_SHdL[segment.slot],
            values_SHLd[segment.slot],
            segment,
            mask_TL,
            layout.least_rows,
            softcap,
        )
    return out_NHGd.view(1, total, heads, size), None


def least_equal_rows(size: int, dtype: torch.dtype, device: torch.device) -> int:
    """The fewest query rows that give the bits of many, for this head size on this machine."""
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(2, size, BLOCK, generator=generator).to(device, dtype)
    values = torch.randn(2, BLOCK, size, generator=generator).to(device, dtype)
    query = torch.randn(2, 64, size, generator=generator).to(device, dtype)
    weight = torch.rand(2, 64, BLOCK, generator=generator).to(device, dtype)
    scores, sums = torch.bmm(query, keys), torch.bmm(weight, values)
    equal = [
        rows
        for rows in (1, 2, 4, 8, 16, 32)
        if torch.equal(torch.bmm(query[:, :rows], keys), scores[:, :rows])
        and torch.equal(torch.bmm(weight[:, :rows], values), sums[:, :rows])
    ]
    return next((rows for rows in equal if all(more in equal for more in (2, 4, 8, 16, 32) if more > rows)), 32)


def _attend_singles(
    query_NHGd: Tensor,
    keys_SHdL: Tensor,
    values_SHLd: Tensor,
    layout: Layout,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """One query per slot, over all slots up to the highest: what an idle slot computes is thrown away."""
    heads, groups, size = query_NHGd.shape[1:]
    high, slot_n = layout.high, layout.slot_N[: layout.singles]
    query_SHMd = query_NHGd.new_zeros(high, heads, max(groups, layout.least_rows), size)
    query_SHMd[slot_n, :, :groups] = query_NHGd[: layout.singles]
    flat_keys = keys_SHdL[:high].view(high * heads, size, -1)[..., : layout.keys]
    flat_values = values_SHLd[:high].view(high * heads, -1, size)[:, : layout.keys]
    scores = torch.bmm(query_SHMd.view(high * heads, -1, size), flat_keys)
    mask = layout.single_mask(window)
    _capped(scores, softcap).view(high, heads, -1, layout.keys).add_(mask)
    out_SHMd = _sum_values(scores, flat_values).view(high, heads, -1, size)
    return out_SHMd[slot_n, :, :groups]


def _attend_segment(
    query_THGd: Tensor,
    keys_HdL: Tensor,
    values_HLd: Tensor,
    segment: Segment,
    mask_TL: Tensor,
    least_rows: int,
    softcap: float | None,
) -> Tensor:
    """Consecutive queries of one slot."""
    count, heads, groups, size = query_THGd.shape
    length = round_up(segment.start + segment.count)
    query_HMd = query_THGd.permute(1, 2, 0, 3).reshape(heads, groups * count, size)
    missing = max(0, least_rows - groups * count)
    if missing:
        query_HMd = torch.nn.functional.pad(query_HMd, (0, 0, 0, missing))
    scores = torch.bmm(query_HMd, keys_HdL[..., :length])
    masked = _capped(scores, softcap)[:, : groups * count].view(heads, groups, count, length)
    masked[..., length - mask_TL.shape[1] :].add_(mask_TL)
    out_HMd = _sum_values(scores, values_HLd[:, :length])[:, : groups * count]
    return out_HMd.view(heads, groups, count, size).permute(2, 0, 1, 3)


def _sum_values(scores: Tensor, values: Tensor) -> Tensor:
    """softmax(scores) @ values, blocks of keys added one after the other."""
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(values.dtype)
    out = torch.bmm(weights[..., :BLOCK], values[:, :BLOCK])
    for at in range(BLOCK, values.shape[1], BLOCK):
        out.baddbmm_(weights[..., at : at + BLOCK], values[:, at : at + BLOCK])
    return out


def _capped(scores: Tensor, softcap: float | None) -> Tensor:
    return scores if softcap is None else scores.div_(softcap).tanh_().mul_(softcap)


@lru_cache(maxsize=64)
def _triangle(count: int, device: torch.device) -> Tensor:
    """[count, count + BLOCK]: minus infinity where a key comes after the query."""
    return torch.full((count, count + BLOCK), float("-inf"), device=device).triu_(1)


def _mask(position_T: Tensor, keys: int, window: int | None) -> Tensor:
    distance_TL = position_T[:, None] - torch.arange(keys, device=position_T.device)
    hidden_TL = distance_TL < 0
    if window is not None:
        hidden_TL |= distance_TL >= window
    return torch.zeros(hidden_TL.shape, device=position_T.device).masked_fill_(hidden_TL, float("-inf"))


AttentionInterface.register(NAME, slot_attention)
