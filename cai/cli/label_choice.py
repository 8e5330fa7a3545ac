"""Which two of a prompt's replies a judge is asked about: the best and the worst by a reward model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cai.config.label import LabelSettings
from cai.errors import InputError, Where

if TYPE_CHECKING:
    from cai.judge.label import Candidates

UNCHOSEN = "unchosen"
"""Why a reply was left out, in a label's `left_out`."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The reward model in a folder, loaded when the first replies are to be narrowed down."""

    folder: Path
    fingerprint: str

    def __call__(self, candidates: Iterable[Candidates]) -> Iterator[Candidates]:
        """The same candidates with two replies each, in the order in which they were drawn.

        Each prompt's replies are scored by themselves, so that no other prompt changes a choice in its last bits.
        """
        from cai.train.bestof import best_and_worst
        from cai.train.rewarding import RewardModel

        rewards = RewardModel.load(self.folder)
        for given in candidates:
            different = tuple(dict.fromkeys(given.replies))
            if len(different) <= 2:
                yield given
                continue
            kept = best_and_worst(given.prompt, different, rewards)
            left_out = {**given.left_out, UNCHOSEN: len(given.replies) - len(kept)}
            yield replace(given, replies=kept, left_out=left_out)


def open_choice(settings: LabelSettings) -> Choice | None:
    """What `label.choose` names. Raises InputError where that is no reward model, or there is nothing to choose."""
    if not settings.choose:
        return None
    from cai.engine.files import find_model
    from cai.seeds import content_id
    from cai.train.rewarding import member_folders

    where = Where("label.choose")
    if settings.pairs or settings.critique:
        raise InputError("pairs leave nothing to choose", "leave it out, or give --replies", where)
    if settings.samples == 2 and not settings.replies:
        raise InputError("two replies a prompt leave nothing to choose", "draw more, with --samples 8", where)
    folder = Path(settings.choose)
    return Choice(folder, content_id(*(find_model(str(member)).fingerprint for member in member_folders(folder))))
