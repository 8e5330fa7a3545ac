"""The diagnostics as lines for the terminal and for the data card."""

from __future__ import annotations

from collections.abc import Iterator

from cai.judge.agreement import Agreement
from cai.judge.alignment import Alignment, Part
from cai.judge.calibration import Calibration
from cai.judge.diagnostics import Diagnostics, Share

MOST_LINES = 12


def diagnostics_lines(found: Diagnostics, *, seconds: float = 0.0) -> Iterator[str]:
    """The whole block, one measure a line; `seconds` is the stage's wall time, 0 where it should not be told."""
    yield f"prompts {found.prompts:,}, of which {found.one_reply:,} with one distinct reply, not judged"
    if found.left_out:
        yield "replies left out: " + ", ".join(f"{count:,} {reason}" for reason, count in found.left_out.items())
    yield f"comparisons {found.comparisons:,}, unread {found.unread_comparisons:,}; pairs written {found.pairs:,}"
    yield (
        f"verdicts {found.verdicts:,}: unread {share(found.unread)}, cannot tell {share(found.cannot_tell)}, "
        f"tie {share(found.ties)}; left out for an unread order {found.half_read:,}"
    )
    if found.mass_median is not None:
        yield f"captured mass: median {found.mass_median:.3f}, below one half {share(found.mass_low)}"
    yield f"flips between orders {share(found.flips)}; reply shown first named {share(found.first)}"
    yield f"longer reply chosen {share(found.longer)}; reply drawn first chosen {share(found.earlier)}"
    if found.entropy is not None:
        yield f"label entropy {found.entropy:.3f} bits"
    if found.length_delta is not None:
        yield (
            f"chosen minus rejected: {found.length_delta:+.1f} characters, "
            f"{found.boilerplate_delta:+.3f} stock phrases, {found.refusal_delta:+.3f} refusals"
        )
    yield f"canaries preferred to a real reply {share(found.canaries)}"
    yield from _agreement("judges", found.judges)
    yield from _agreement("principles", found.principles)
    if found.calls_per_1000 is not None:
        yield _cost(found, seconds)
    yield from (f"FLAG: {flag}" for flag in found.flags)


def _cost(found: Diagnostics, seconds: float) -> str:
    parts = [
        f"{found.calls_per_1000:,.0f} calls",
        f"{found.prompt_tokens_per_1000:,.0f} prompt tokens ({found.cached_tokens_per_1000:,.0f} cached)",
        f"{found.completion_tokens_per_1000:,.0f} completion tokens",
    ]
    if seconds:
        parts.append(f"{1000 * seconds / found.comparisons:,.1f} s")
    if found.money_per_1000 is not None:
        parts.append(f"{found.money_per_1000:,.4g} money")
    return f"per 1,000 labels: {', '.join(parts)}"


def _agreement(name: str, found: Agreement) -> Iterator[str]:
    if not found.pairs:
        return
    alpha = "not defined" if found.alpha is None else f"{found.alpha:.3f}"
    yield f"agreement between {len(found.raters)} {name}: Krippendorff's alpha {alpha}"
    for two in sorted(found.pairs, key=lambda two: -two.disagreement)[:MOST_LINES]:
        kappa = "not defined" if two.kappa is None else f"{two.kappa:.2f}"
        yield f"  {two.x} | {two.y}: kappa {kappa}, apart on {two.disagreement:.0%} of {two.n:,}"


def alignment_lines(found: Alignment) -> Iterator[str]:
    """The judge against people."""
    yield (
        f"answers {found.answers:,}: ties {found.ties:,}, cannot tell {found.cannot_tell:,}, "
        f"of no label here {found.unmatched:,}"
    )
    yield f"accuracy against people {share(found.accuracy)}"
    if found.measured is not None:
        yield from calibration_lines(found.measured)
    for name, parts in (("judge", found.judges), ("principle", found.principles), ("category", found.categories)):
        yield from _parts(name, parts)
    for error in found.errors[:MOST_LINES]:
        yield f"  error {error.id}: {error.p_right:.2f} for people's choice under {', '.join(error.principles)}"
    if found.weights is not None:
        told = ", ".join(f"{name} {weight:.2f}" for name, weight in found.weights.judges.items())
        yield f"learnt weights from {found.weights.n:,} answers: {told}"


def calibration_lines(found: Calibration) -> Iterator[str]:
    """ECE beside what a perfectly calibrated judge would show, Brier score, and the reliability curve."""
    verdict = "above" if found.ece > found.ece_floor_95 else "within"
    yield (
        f"ECE {found.ece:.3f}, {verdict} the noise of {found.n:,} labels "
        f"(mean {found.ece_floor:.3f}, 95 % below {found.ece_floor_95:.3f}); Brier score {found.brier:.3f}"
    )
    yield "reliability " + ", ".join(f"{b.p:.2f}: {b.rate:.2f} (n {b.n})" for b in found.curve)


def _parts(name: str, parts: tuple[Part, ...]) -> Iterator[str]:
    worst = sorted(parts, key=lambda part: (part.accuracy.value if part.accuracy.value is not None else 2.0, part.name))
    for part in worst[:MOST_LINES]:
        yield f"  {name} {part.name or '(none)'}: {share(part.accuracy)}"


def share(found: Share) -> str:
    """A share with its interval and its n."""
    if found.value is None:
        return "- (n 0)"
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}] (n {found.n:,})"
