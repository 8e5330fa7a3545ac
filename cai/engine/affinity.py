"""Which of several engines is asked: the one that holds the longest part of a conversation, unless it is too busy."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

S = TypeVar("S")
REMEMBERED = 1 << 16
"""Starts of conversations whose place is remembered; an older one is asked wherever there is room."""


class Affinity(Generic[S]):
    """Remembers which place met the start of which conversation; starts have names, shortest first.

    A conversation goes where its longest known start was, for its keys and values are cached there, unless that place
    has over `slack` more requests than the one with the least; else to that one.
    """

    def __init__(self, slack: int) -> None:
        self._slack = slack
        self._places: OrderedDict[str | int, S] = OrderedDict()

    def pick(self, starts: Sequence[str | int], free: Sequence[S], load: Callable[[S], int]) -> S:
        """One of the free places; what was picked is remembered for these starts."""
        least = min(free, key=load)
        known = next((self._places[start] for start in reversed(starts) if start in self._places), None)
        place = known if known is not None and known in free and load(known) <= load(least) + self._slack else least
        for start in starts:
            self._places[start] = place
            self._places.move_to_end(start)
        while len(self._places) > REMEMBERED:
            self._places.popitem(last=False)
        return place

    def forget(self, place: S) -> None:
        """The cache of a place is gone."""
        self._places = OrderedDict((start, other) for start, other in self._places.items() if other != place)
