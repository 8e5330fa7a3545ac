"""Keys and values of the running requests: one slot each, in two tensors that grow within a budget."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 64
"""Keys that attention sums at a time; slots are a multiple of it long."""


class Slots:
    """`keys` is [layers, S slots, kv heads, head size, L], `values` [layers, S, kv heads, L, head size].

    Keys lie along the last axis, which makes products with few queries twice as fast on a CPU. Both are zero where
    nothing was written, since what a mask hides is still multiplied.
    """

    def __init__(
        self, layers: int, heads: int, size: int, *, dtype: torch.dtype, device: torch.device, most: int, budget: int
    ) -> None:
        self._most, self._budget = most, budget
        self.keys = torch.zeros(layers, 0, heads, size, 0, dtype=dtype, device=device)
        self.values = torch.zeros(layers, 0, heads, 0, size, dtype=dtype, device=device)
        self.bytes_per_token = 2 * layers * heads * size * self.keys.element_size()
        self._free = list[int]()

    @property
    def bytes(self) -> int:
        """What the tensors take now."""
        return self.count * self.length * self.bytes_per_token

    @property
    def count(self) -> int:
        """Slots there are."""
        return self.keys.shape[1]

    @property
    def length(self) -> int:
        """Keys in each."""
        return self.keys.shape[4]

    def read(self, slot: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Views of the keys and values of positions `start` to `stop`."""
        return self.keys[:, slot, :, :, start:stop], self.values[:, slot, :, start:stop]

    def write(self, slot: int, start: int, keys: Sequence[Tensor], values: Sequence[Tensor]) -> None:
        """Put pieces of keys and values, as `read` gave them, one after the other at positions from `start` on."""
        stop = start + sum(piece.shape[-2] for piece in values)
        torch.cat(list(keys), -1, out=self.keys[:, slot, :, :, start:stop])
        torch.cat(list(values), -2, out=self.values[:, slot, :, start:stop])

    def take(self, length: int) -> int | None:
        """The lowest free slot, at least `length` keys long; None where slots or budget do not allow one more now."""
        keys = max(round_up(length), self.length)
        if not self._free or keys > self.length:
            slots = self.count
            wanted = slots if self._free else min(max(4, 2 * slots), self._most)
            if wanted == slots and not self._free:
                return None
            if not self._grow(wanted, keys) and not (not self._free and self._grow(slots + 1, keys)):
                return None
        self._free.sort(reverse=True)
        return self._free.pop()

    def give(self, slot: int) -> None:
        """Free a slot; what lies in it is overwritten by the next request."""
        self._free.append(slot)

    def can_ever_hold(self, length: int) -> bool:
        """Whether a request of `length` tokens fits in the budget alone."""
        return round_up(length) * self.bytes_per_token <= self._budget

    def clear(self) -> None:
        """Give the memory back; only while no slot is taken."""
        assert len(self._free) == self.count
        self._allocate(0, 0)
        self._free = []

    def _grow(self, slots: int, keys: int) -> bool:
        if slots * keys * self.bytes_per_token > self._budget:
            return False
        old_keys, old_values, old_slots, old_length = self.keys, self.values, self.count, self.length
        self._allocate(slots, keys)
        self.keys[:, :old_slots, :, :, :old_length] = old_keys
        self.values[:, :old_slots, :, :old_length] = old_values
        self._free += range(old_slots, slots)
        return True

    def _allocate(self, slots: int, length: int) -> None:
        layers, _, heads, size, _ = self.keys.shape
        self.keys = self.keys.new_zeros(layers, slots, heads, size, length)
        self.values = self.values.new_zeros(layers, slots, heads, length, size)


def round_up(length: int) -> int:
    """The next multiple of BLOCK."""
    return -(-length // BLOCK) * BLOCK
