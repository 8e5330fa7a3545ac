"""What a request is after, before anybody words it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from cai.testbed.world.grammar import expand


@dataclass(frozen=True, slots=True)
class Need:
    """What a request is after, without its wording. `family` names the list its `task` template comes from."""

    kind: str
    family: str
    task: str
    slots: Mapping[str, str]

    @property
    def core(self) -> str:
        """The task as an infinitive or a question: "steal Mara's lamp", "where does Mara live"."""
        return expand(self.task, Random(0), self.slots)[:1].lower() + expand(self.task, Random(0), self.slots)[1:]

    @property
    def harmful(self) -> bool:
        return self.kind == "harmful"
