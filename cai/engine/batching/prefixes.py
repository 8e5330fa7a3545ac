"""Keys and values of token prefixes already computed, so that no chain and no judge computes a prefix twice."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from torch import Tensor

CHUNK = 16
"""Tokens per remembered piece."""
ROOT = 0
RECENT = 8
"""Pieces after one piece that are looked at for a common start."""

Key = tuple[int, tuple[int, ...]]
"""The number of the piece before, and this piece's tokens: equal keys mean equal prefixes."""


class Prefixes:
    """Pieces of CHUNK tokens, keys and values as `Slots.read` gives them, least recently used dropped first."""

    def __init__(self) -> None:
        self._pieces: OrderedDict[Key, tuple[int, Tensor, Tensor]] = OrderedDict()
        self._recent: dict[int, deque[tuple[int, ...]]] = {}
        """The last pieces added after each one."""
        self._numbers = ROOT
        self.bytes = 0

    def find(self, before: int, tokens: Sequence[int]) -> tuple[int, Tensor, Tensor] | None:
        """Number, keys and values of the piece with `tokens` after piece `before`."""
        return self._pieces.get((before, tuple(tokens)))

    def nearest(self, before: int, tokens: Sequence[int]) -> tuple[int, Tensor, Tensor] | None:
        """A recent piece after piece `before` that starts as `tokens` do: how many they share, its keys and values."""
        best: tuple[int, Key] | None = None
        for piece in self._recent.get(before, ()):
            shared = next(
                (at for at, pair in enumerate(zip(piece, tokens, strict=False)) if pair[0] != pair[1]), len(tokens)
            )
            if shared > (best[0] if best else 0) and (before, piece) in self._pieces:
                best = shared, (before, piece)
        return None if best is None else (best[0], *self._pieces[best[1]][1:])

    def add(self, before: int, tokens: Sequence[int], keys: Tensor, values: Tensor) -> int:
        """Remember a copy and return its number; what is known already is only touched."""
        key = (before, tuple(tokens))
        if key not in self._pieces:
            self._numbers += 1
            self._pieces[key] = (self._numbers, keys.clone(), values.clone())
            self._recent.setdefault(before, deque(maxlen=RECENT)).append(key[1])
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
            (before, piece), (_, keys, _) = self._pieces.popitem(last=False)
            recent = self._recent.get(before, deque[tuple[int, ...]]())
            if piece in recent:
                recent.remove(piece)
            if not recent:
                self._recent.pop(before, None)
            self.bytes -= 2 * keys.nelement() * keys.element_size()

    def clear(self) -> None:
        """Forget everything: the weights have changed."""
        self._pieces.clear()
        self._recent.clear()
        self.bytes = 0
