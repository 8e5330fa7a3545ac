"""Where a command's prompts come from: a user's file, checked before any model loads, or the testbed's requests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cai.errors import InputError, Where
from cai.records import Prompt

TESTBED = "testbed"
TESTBED_PROMPTS = 200
"""As many as are drawn where no limit is given."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Prompts that can be iterated again and again, and what is known of them."""

    prompts: Iterable[Prompt]
    count: int
    notes: tuple[str, ...]
    source: str
    fingerprint: str


def open_prompts(name: str, *, column: str, split: str, limit: int | None, seed: int, skip_bad_rows: bool) -> Asked:
    """Prompts by file or dataset name, or the testbed's of a split (`test` unless given). Raises `InputError`."""
    if name == TESTBED:
        return _testbed(split or "test", limit or TESTBED_PROMPTS, seed)
    from cai.inputs import PromptFile

    file = PromptFile(name, column, split, limit)
    tally = file.check(skip_bad_rows=skip_bad_rows)
    return Asked(file, tally.prompts, tuple(tally.lines()), name, file.fingerprint())


def _testbed(split: str, count: int, seed: int) -> Asked:
    from cai.testbed.world import prompts

    if split not in ("train", "validation", "test"):
        raise InputError(f"no split `{split}`", "the testbed has train, validation and test", Where("--split"))
    drawn = prompts(split, count, seed)
    return Asked(drawn, len(drawn), (f"{len(drawn)} testbed prompts",), f"testbed, split {split}", f"{split}-{seed}")
