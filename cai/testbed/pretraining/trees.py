"""Training text as trees: conversations that share a prefix share its tokens.

A path is one conversation, some of whose assistant turns are to be learned. Paths of one tree are merged token by
token; a token attends to its ancestors only, so each path is computed as if it stood alone, at a fraction of the
tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from cai.records import Role

Encode = Callable[[str], tuple[Sequence[int], Sequence[int]]]
"""Text to token ids, and for each the character where it ends."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Asked of a lower layer at the token that holds the character before `at`; 0 is the turn's role token."""

    at: int
    head: str
    label: int


@dataclass(frozen=True, slots=True)
class Say:
    """One turn. `weight` is the loss weight of its tokens (0: context only), `first` that of its first token.

    `share` below 1 makes it one of several answers to the same turn, with that probability: a soft target.
    """

    role: Role
    content: str
    weight: float = 0.0
    first: float = 0.0
    share: float = 1.0
    probes: tuple[Probe, ...] = ()


Path = tuple[Say, ...]


@dataclass(slots=True)
class Tree:
    """Tokens in an order where parents come before children; edges are what the loss counts."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    targets: dict[tuple[int, int], float] = field(default_factory=dict)
    """(node, next token) -> weight."""
    probes: dict[tuple[int, str], int] = field(default_factory=dict)
    """(node, head) -> label."""
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    def step(self, parent: int, token: int) -> int:
        """The child of `parent` that holds `token`, new if need be; parent -1 is the root."""
        key = (parent, token)
        if (node := self._children.get(key)) is None:
            node = self._children[key] = len(self.tokens)
            self.tokens.append(token)
            self.parents.append(parent)
            self.depths.append(0 if parent < 0 else self.depths[parent] + 1)
        return node

    def want(self, node: int, token: int, weight: float, share: float = 1.0) -> None:
        """Let the loss count `token` after `node`. Wanted twice, the larger weight holds; shares add up."""
        key = (node, token)
        before = self.targets.get(key, 0.0)
        self.targets[key] = max(weight, before) if share == 1.0 else before + weight * share

    def mask(self) -> np.ndarray:
        """[T, T] bool: row i is True at i and its ancestors."""
        seen = np.zeros((len(self), len(self)), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] = seen[parent]
            seen[node, node] = True
        return seen


def plant(paths: Sequence[Path], encode: Encode, marks: dict[str, int]) -> Tree:
    """Merge paths into a tree. `marks` holds the ids of the role tokens and of `end`; layout as the chat template's."""
    tree = Tree()
    for path in paths:
        node = -1
        for say in path:
            node = tree.step(node, marks[say.role])
            ids, ends = encode(say.content)
            waiting = sorted(say.probes, key=lambda probe: probe.at, reverse=True)
            for index, (token, end) in enumerate(zip((*ids, marks["end"]), (0, *ends), strict=True)):
                while waiting and waiting[-1].at <= end:
                    probe = waiting.pop()
                    tree.probes[node, probe.head] = probe.label
                if say.weight > 0:
                    tree.want(node, token, say.first if index == 0 and say.first else say.weight, say.share)
                node = tree.step(node, token)
    return tree
