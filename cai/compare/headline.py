"""A comparison in a few sentences: what is shown, with interval and n; else what could have been seen."""

from __future__ import annotations

from collections.abc import Sequence

from cai.compare.judged import Match
from cai.measures.contrast import Contrast, number

NOUNS = {
    "oracle: harmful": "harmful replies",
    "oracle: helpful": "helpful replies",
    "oracle: over-refusal": "refusals of harmless requests",
    "refusal": "refusals",
    "evasion": "evasive replies",
    "dropped by hygiene": "replies dropped by hygiene",
}
SAID = ("oracle: harmful", "oracle: helpful", "oracle: over-refusal", "refusal", "dropped by hygiene")


def headline(contrasts: Sequence[Contrast], matches: Sequence[Match], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """One sentence for each two sides."""
    found: list[str] = []
    for a, b in pairs:
        told = [c for name in SAID for c in contrasts if (c.a, c.b, c.outcome) == (a, b, name)]
        primary = [c for c in told if c.primary] or [c for c in told if c.outcome == "refusal"]
        parts = [shown(c) for c in told if c.shown] + [
            match(m) for m in matches if m.independent and (m.a, m.b) == (a, b)
        ]
        quiet = [c for c in primary if not c.shown]
        if quiet:
            parts.append(not_shown(quiet))
        found.append(f"{b} against {a}: {'; '.join(parts)}." if parts else f"{b} against {a}: nothing to compare.")
    return found


def shown(c: Contrast) -> str:
    """`6.1 points fewer harmful replies, 95 % interval 3.9 to 8.4, n = 400`."""
    less = c.difference < 0
    low, high = (c.low or 0.0, c.high or 0.0)
    bounds = sorted((abs(low), abs(high)))
    noun = NOUNS.get(c.outcome, c.outcome)
    return (
        f"{number(abs(c.difference), c.unit)} {'fewer' if less else 'more'} {noun}, 95 % interval "
        f"{number(bounds[0], c.unit, bare=True)} to {number(bounds[1], c.unit, bare=True)}, n = {c.n:,}"
    )


def not_shown(contrasts: Sequence[Contrast]) -> str:
    """`no difference shown in helpful replies, smallest detectable 4.9 points`."""
    parts = [
        f"{NOUNS.get(c.outcome, c.outcome)} (n = {c.n:,}, smallest detectable "
        f"{number(c.detectable, c.unit) if c.detectable is not None else 'unknown'})"
        for c in contrasts
    ]
    return f"no difference shown in {' and '.join(parts)}"


def match(m: Match) -> str:
    """The neutral panel's word."""
    if m.low is None or m.high is None:
        return f"the {m.judge} judged too few prompts (n = {m.n})"
    span = f"{100 * m.win_share:.1f} % of prompts, 95 % interval {100 * m.low:.1f} to {100 * m.high:.1f}, n = {m.n:,}"
    if m.shown:
        return f"the {m.judge} prefers {m.b if m.win_share > 0.5 else m.a}: {m.b} wins {span}"
    detectable = f", smallest detectable {100 * m.detectable:.1f} points" if m.detectable is not None else ""
    return f"the {m.judge} shows no preference: {m.b} wins {span}{detectable}"
