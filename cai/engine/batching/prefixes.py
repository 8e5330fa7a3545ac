"""Keys and values of token prefixes already computed, so that no chain and no judge computes a prefix twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

CHUNK = 16
"""Tokens per remembered piece."""
ROOT = 0

Key = tuple[int, tuple[int, ...]]
"""The number of the piece before, and this piece's tokens: equal keys mean equal prefixes."""


class Prefixes:
    """Pieces of CHUNK tokens, keys and values as `Slots.read` gives them, least recently used dropped first."""

    def __init__(self) -> None:
        self._pieces: OrderedDict[Key, tuple[int, Tensor, Tensor]] = OrderedDict()
        self._numbers = ROOT
        self.bytes = 0

    def find(self, before: int, tokens: Sequence[int]) -> tuple[int, Tensor, Tensor] | None:
        """Number, keys and values of the piece with `tokens` after piece `before`."""
        return self._pieces.get((before, tuple(tokens)))

    def add(self, before: int, tokens: Sequence[int], keys: Tensor, values: Tensor) -> int:
        """Remember a copy and return its number; what is known already is only touched."""
        key = (before, tuple(tokens))
        if key not in self._pieces:
            self._numbers += 1
            self._pieces[key] = (self._numbers, keys.clone(), values.clone())
            self.bytes += 2 * keys.nelement() * keys.element_size()
        return self._pieces[key][0]

    def touch(self, path: Sequence[Key]) -> None:
        """Mark the pieces of a prefix as used, the first one last: a piece without those before it is useless."""
        for key in reversed(path):
            if key in self._pieces:
                self._pieces.move_to_end(key)

    def shrink(self, most: int) -> None:
        """Drop pieces until at most `most` bytes are left."""
        while self._pieces and self.bytes > most:
            _, keys, _ = self._pieces.popitem(last=False)[1]
            self.bytes -= 2 * keys.nelement() * keys.element_size()

    def clear(self) -> None:
        """Forget everything: the weights have changed."""
        self._pieces.clear()
        self.bytes = 0
