"""Keys and values of the running requests: one slot each, in one tensor that grows within a budget."""

from __future__ import annotations

import torch

BLOCK = 128
"""Keys that attention sums at a time; slots are a multiple of it long."""


class Slots:
    """`kv` is [layers, 2, S slots, kv heads, L keys, head size], zero where nothing was written."""

    def __init__(
        self, layers: int, heads: int, size: int, *, dtype: torch.dtype, device: torch.device, most: int, budget: int
    ) -> None:
        self._most, self._budget = most, budget
        self.kv = torch.zeros(layers, 2, 0, heads, 0, size, dtype=dtype, device=device)
        self.bytes_per_token = layers * 2 * heads * size * self.kv.element_size()
        self._free = list[int]()

    @property
    def bytes(self) -> int:
        """What the tensor takes now."""
        return self.kv.shape[2] * self.kv.shape[4] * self.bytes_per_token

    def take(self, length: int) -> int | None:
        """The lowest free slot, at least `length` keys long; None where slots or budget do not allow one more now."""
        keys = max(round_up(length), self.kv.shape[4])
        if not self._free or keys > self.kv.shape[4]:
            slots = self.kv.shape[2]
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
        assert len(self._free) == self.kv.shape[2]
        shape = list(self.kv.shape)
        shape[2] = shape[4] = 0
        self.kv = self.kv.new_zeros(shape)
        self._free = []

    def _grow(self, slots: int, keys: int) -> bool:
        layers, two, old_slots, heads, old_keys, size = self.kv.shape
        if slots * keys * self.bytes_per_token > self._budget:
            return False
        kv = self.kv.new_zeros(layers, two, slots, heads, keys, size)
        kv[:, :, :old_slots, :, :old_keys] = self.kv
        self.kv = kv
        self._free += range(old_slots, slots)
        return True


def round_up(length: int) -> int:
    """The next multiple of BLOCK."""
    return -(-length // BLOCK) * BLOCK
