"""Everything a comparison found, as one record: the report's JSON is exactly this."""

from __future__ import annotations

from cai.compare.contrasts import Level
from cai.compare.diversity import Distinct
from cai.compare.flips import Flip
from cai.compare.judged import Judging
from cai.compare.principles import PrincipleRates
from cai.compare.sides import Origin
from cai.compare.wording import Wording
from cai.measures.contrast import Contrast
from cai.records import Record


class Effect(Record):
    """What one principle does: the whole constitution (b) against itself without that principle (a)."""

    side: str
    principle: str
    contrasts: tuple[Contrast, ...]
    """Corrected over all principles and outcomes of the side."""

    @property
    def works(self) -> bool:
        """Whether leaving it out shows in any outcome."""
        return any(contrast.shown for contrast in self.contrasts)


class SuiteScore(Record):
    """Depth `policy`: one metric of one suite, side by side."""

    suite: str
    contrast: Contrast


class Result(Record):
    """A comparison at its depth. Parts that were not asked for are empty."""

    depth: str
    headline: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know to trust the figures: agreement of classifiers, unpaired prompts, weak judges."""
    origins: tuple[Origin, ...] = ()
    n: int = 0
    unpaired: int = 0
    wording: Wording = Wording()
    levels: tuple[Level, ...] = ()
    contrasts: tuple[Contrast, ...] = ()
    distinct: tuple[Distinct, ...] = ()
    principles: tuple[PrincipleRates, ...] = ()
    judging: Judging = Judging()
    effects: tuple[Effect, ...] = ()
    suites: tuple[SuiteScore, ...] = ()
    flips: tuple[Flip, ...] = ()
    seed: int = 0
