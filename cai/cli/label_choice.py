"""Which two of a prompt's replies a judge is asked about: the best and the worst by a reward model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cai.config.label import LabelSettings
from cai.errors import InputError, Where

if TYPE_CHECKING:
    from cai.judge.label import Narrow


@dataclass(frozen=True, slots=True)
class Choice:
    """The reward model in a folder, not loaded yet."""

    folder: Path
    fingerprint: str

    def load(self) -> Narrow:
        """Load it to choose by.

        Each prompt's replies are scored by themselves, so that no other prompt changes a choice in its last bits.
        """
        from cai.train.bestof import best_and_worst
        from cai.train.rewarding import RewardModel

        rewards = RewardModel.load(self.folder)
        return lambda prompt, replies: best_and_worst(prompt, replies, rewards)


def open_choice(settings: LabelSettings) -> Choice | None:
    """What `label.choose` names. Raises InputError where that is no reward model, or there is nothing to choose."""
    if not settings.choose:
        return None
    from cai.train.rewarding import reward_fingerprint

    where = Where("label.choose")
    if settings.pairs or settings.critique:
        raise InputError("pairs leave nothing to choose", "leave it out, or give --replies", where)
    if settings.samples == 2 and not settings.replies:
        raise InputError("two replies a prompt leave nothing to choose", "draw more, with --samples 8", where)
    folder = Path(settings.choose)
    return Choice(folder, reward_fingerprint(folder))
