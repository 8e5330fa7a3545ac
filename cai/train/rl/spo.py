"""Self-play preference optimisation (Swamy et al. 2024): a reply's reward is how often it beats its prompt's others.

No reward model: the judge compares replies, so preferences that are not transitive still have a meaning.
"""

from __future__ import annotations

from cai.train.rl.advantages import spo_advantages
from cai.train.rl.experience import Experience
from cai.train.rl.grpo import GRPO
from cai.train.rl.method import Compares


class SPO(GRPO):
    """GRPO's clipped loss on self-play advantages."""

    compares: Compares = "must"

    def credit(self, experience: Experience, kl: float) -> Experience:
        assert experience.wins_GKK is not None
        return self._spread(experience, spo_advantages(experience.wins_GKK))
