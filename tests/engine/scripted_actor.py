"""A scripted engine for actors, light to import: its tokens are the letters of a conversation."""

from __future__ import annotations

from cai.engine.protocol import Turn
from cai.engine.scripted import ScriptedEngine


class Letters:
    """Reads a conversation letter by letter."""

    def prompt_ids(self, turns: tuple[Turn, ...], prefill: str = "") -> tuple[int, ...]:
        return tuple(map(ord, "".join(turn.content for turn in turns) + prefill))


class Scripted(ScriptedEngine):
    """A scripted engine that tells what it reads, as the engines of actors must."""

    def encode(self, turns: tuple[Turn, ...], prefill: str = "") -> tuple[int, ...]:
        return Letters().prompt_ids(turns, prefill)
