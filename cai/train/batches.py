"""From tokenised prompts and replies to the tensors of one forward pass.

Two layouts score the same tokens. *Plain*: a row per reply, right-padded; under causal attention padding on the right
is invisible, so no mask is needed. *Shared*: a row per prompt, the prompt once, then its replies one after another; a
4-D mask hides each reply from the others and `position_ids` restart after the prompt, so every reply sees what it
would see alone.

Only tokens that count are scored (`score_at_N`, `score_targets_N`), replies in the order given, so prompts and
padding cost no head FLOPs. Shapes: B rows, T positions, N scored tokens, S replies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Attention = Literal["sdpa", "eager", "other"]


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt and the replies that follow it, as token ids; every reply token is scored."""

    prompt: tuple[int, ...]
    replies: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        assert self.prompt, "a prompt has at least one token: it predicts the reply's first"
        assert all(self.replies), "a reply has at least one token"


@dataclass(frozen=True, slots=True)
class Rows:
    """One forward pass. `cu_seqlens` [S + 1] bounds the tokens of each reply in N; `ends_S` is its last position."""

    input_ids_BT: Tensor
    position_ids_BT: Tensor
    mask_B1TT: Tensor | None
    score_at_N: Tensor
    score_targets_N: Tensor
    cu_seqlens: Tensor
    ends_S: Tensor
    shared: bool

    def inputs(self) -> dict[str, Tensor]:
        """Keyword arguments for a model with `attach_logprobs`."""
        return {**self.body(), "score_at_N": self.score_at_N, "score_targets_N": self.score_targets_N}

    def reward_inputs(self) -> dict[str, Tensor]:
        """Keyword arguments for a model with `attach_rewards`."""
        return {**self.body(), "score_at_N": self.ends_S}

    def body(self) -> dict[str, Tensor]:
        """Keyword arguments for the model's own forward."""
        if self.mask_B1TT is None:
            # Positions are left to the model: given ones that restart on padding would make it build a dense mask.
            return {"input_ids": self.input_ids_BT}
        return {
            "input_ids": self.input_ids_BT,
            "position_ids": self.position_ids_BT,
            "attention_mask": self.mask_B1TT,
        }

    @property
    def lengths(self) -> Tensor:
        """Scored tokens of each reply, [S]."""
        return self.cu_seqlens.diff()


PAIRS_PER_TOKEN = 600
"""Masked attention over this many pairs of positions takes as long as everything else does for one token (CPU)."""
WORTH = 0.85
"""Sharing is chosen below this share of the plain layout's cost: rows of unlike length are padded in both."""


def sharing_pays(groups: Sequence[Group]) -> bool:
    """Whether computing prompts once saves more than the 4-D mask costs.

    A shared row is shorter than its plain ones together, but its attention cannot skip the upper triangle. For long
    pairs the break-even is a prompt about twice as long as a reply; short rows and many replies share sooner
    (docs/decisions/0081).
    """
    shared = plain = 0.0
    for group in groups:
        row = len(group.prompt) + sum(map(len, group.replies))
        shared += row + row**2 / PAIRS_PER_TOKEN
        lengths = [len(group.prompt) + len(reply) for reply in group.replies]
        plain += sum(n + n**2 / 2 / PAIRS_PER_TOKEN for n in lengths)
    return shared < WORTH * plain


def make_rows(groups: Sequence[Group], *, pad: int, share: bool, attention: Attention = "sdpa") -> Rows:
    """Lay out groups; replies come in order of groups, then of replies within a group, in both layouts."""
    if share and attention == "other":
        raise ValueError("prefix sharing needs sdpa or eager attention")
    rows = [_shared_row(g) for g in groups] if share else [_plain_row(g.prompt, r) for g in groups for r in g.replies]
    width = max(len(row.tokens) for row in rows)
    shape = (len(rows), width)
    input_ids, positions = torch.full(shape, pad, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    at: list[int] = []
    targets: list[int] = []
    lengths: list[int] = []
    ends: list[int] = []
    for b, row in enumerate(rows):
        input_ids[b, : len(row.tokens)] = torch.tensor(row.tokens)
        positions[b, : len(row.tokens)] = torch.tensor(row.positions)
        for reply in row.replies:
            # The token before a reply, in attention order, is the prompt's last one, not its left neighbour in the row.
            at += [b * width + row.prompt - 1, *range(b * width + reply.start, b * width + reply.stop - 1)]
            targets += row.tokens[reply.start : reply.stop]
            lengths.append(len(reply))
            ends.append(b * width + reply.stop - 1)
    return Rows(
        input_ids_BT=input_ids,
        position_ids_BT=positions,
        mask_B1TT=_mask(rows, width, attention) if share else None,
        score_at_N=torch.tensor(at, dtype=torch.int32),
        score_targets_N=torch.tensor(targets, dtype=torch.int32),
        cu_seqlens=torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32),
        ends_S=torch.tensor(ends, dtype=torch.int32),
        shared=share,
    )


@dataclass(frozen=True, slots=True)
class _Row:
    tokens: list[int]
    positions: list[int]
    prompt: int
    replies: list[range]


def _plain_row(prompt: tuple[int, ...], reply: tuple[int, ...]) -> _Row:
    tokens = [*prompt, *reply]
    return _Row(tokens, list(range(len(tokens))), len(prompt), [range(len(prompt), len(tokens))])


def _shared_row(group: Group) -> _Row:
    tokens, positions, replies = list(group.prompt), list(range(len(group.prompt))), []
    for reply in group.replies:
        replies.append(range(len(tokens), len(tokens) + len(reply)))
        positions += range(len(group.prompt), len(group.prompt) + len(reply))
        tokens += reply
    return _Row(tokens, positions, len(group.prompt), replies)


def _mask(rows: Sequence[_Row], width: int, attention: Attention) -> Tensor:
    """True (0 for eager) where query t may look at key u: u <= t, and u in the prompt or in t's own reply.

    Eager attention adds the mask to the scores, and adding True instead of masking is wrong without any error: it
    gets floats. Padding looks at itself, so that no row of the softmax is empty.
    """
    part_BT = torch.full((len(rows), width), -1)
    for b, row in enumerate(rows):
        part_BT[b, : row.prompt] = 0
        for k, reply in enumerate(row.replies, start=1):
            part_BT[b, reply.start : reply.stop] = k
    query_BT1, key_B1T = part_BT[:, :, None], part_BT[:, None, :]
    causal_TT = torch.ones(width, width, dtype=torch.bool).tril()
    allowed = causal_TT & ((key_B1T == 0) | (key_B1T == query_BT1)) & (key_B1T >= 0)
    allowed |= torch.eye(width, dtype=torch.bool)
    mask_B1TT = allowed[:, None]
    if attention == "sdpa":
        return mask_B1TT
    return torch.zeros(mask_B1TT.shape).masked_fill_(~mask_B1TT, torch.finfo(torch.float32).min)
