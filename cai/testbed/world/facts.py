"""What is true in the world: which animal is larger, which is faster."""

from __future__ import annotations

from cai.testbed.world.lexicon import BY_SIZE, BY_SPEED

_ORDERS = {"larger": BY_SIZE, "faster": BY_SPEED}


def is_true(x: str, y: str, more: str) -> bool:
    """Whether "the x is more than the y" holds. Raises ValueError for an animal that is not compared that way."""
    order = _ORDERS[more]
    return order.index(x) > order.index(y)
