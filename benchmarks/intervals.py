"""The statistics of comparisons on simulated data with known truth: coverage, false alarms, power.

    python -m benchmarks.intervals [--simulations 1000] [--out FILE]

Data are clustered: each question has a difficulty of its own and one to four prompts, answered by both sides.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.conditions import conditions, write_results
from cai.measures.intervals import Difference, paired_difference, wilson
from cai.seeds import seed_for


@dataclass(frozen=True)
class Found:
    """Share of simulations in which something held, with its 95 % Wilson interval."""

    what: str
    share: float
    low: float
    high: float
    simulations: int
    asked: str


def simulated(
    rng: np.random.Generator, questions: int, effect: float, *, rare: bool = False
) -> tuple[NDArray, NDArray, list[str]]:
    """Yes-no answers of two sides to clustered prompts; side b's probability is higher by `effect` everywhere.

    `rare`: two in a hundred answers of side a are yes, and no question differs from another in more than that.
    """
    a, b, clusters = list[float](), list[float](), list[str]()
    for question in range(questions):
        if rare:
            p = float(rng.uniform(0.0, 0.04))
            for _ in range(rng.integers(1, 5)):
                a.append(float(rng.random() < p))
                b.append(float(rng.random() < p + effect))
                clusters.append(str(question))
            continue
        base = _within(rng.beta(2, 2), 0.3, 0.6)  # no probability leaves [0, 1], so the effect stays whole
        shift = 0.15 * rng.normal()
        for _ in range(rng.integers(1, 5)):
            p = _within(base + 0.05 * rng.normal(), 0.25, 0.65)
            q = p + effect + _within(shift, -0.15, 0.15)
            a.append(float(rng.random() < p))
            b.append(float(rng.random() < q))
            clusters.append(str(question))
    return np.asarray(a), np.asarray(b), clusters


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def coverage(simulations: int, questions: int, effect: float, *, rare: bool = False) -> Found:
    """How often the interval holds the true difference: the mean over very many questions of the same kind."""
    truth = effect
    if not rare:
        large = simulated(np.random.default_rng(seed_for(0, "truth", questions)), 60_000, effect)
        truth = float(np.mean(large[1] - large[0]))
    kind = ", 2 % against more" if rare else ""
    return share_of(
        f"95 % interval covers the truth, {questions:,} questions, effect {effect:+.2f}{kind}",
        simulations,
        "93 to 97 %",
        lambda n: _covers(_one(n, questions, effect, rare=rare), truth),
    )


def _covers(found: Difference, truth: float) -> bool:
    return found.low <= truth <= found.high


def _one(n: int, questions: int, effect: float, *, rare: bool = False) -> Difference:
    rng = np.random.default_rng(seed_for(n, "simulation", questions, str(effect)))
    a, b, clusters = simulated(rng, questions, effect, rare=rare)
    return paired_difference(a, b, clusters, seed=0)


def no_false_alarms(simulations: int, questions: int) -> Found:
    """How often the difference of two identical sides includes zero."""
    what = f"identical sides: the interval includes 0, {questions} questions"
    return share_of(what, simulations, ">= 93 %", lambda n: not _one(n, questions, 0.0).shown)


def power(simulations: int, questions: int) -> Found:
    """How often an effect of the stated detectable size is found; the size is told by other samples of this kind."""
    stated = float(np.median([_one(100_000 + n, questions, 0.0).detectable for n in range(50)]))
    what = f"an effect of the stated detectable size ({100 * stated:.1f} points) is found, {questions} questions"
    return share_of(what, simulations, ">= 78 %", lambda n: _one(n, questions, stated).shown)


def share_of(what: str, simulations: int, asked: str, holds: Callable[[int], bool]) -> Found:
    count = sum(holds(n) for n in range(simulations))
    low, high = wilson(count, simulations)
    return Found(what, count / simulations, low, high, simulations, asked)


def main() -> None:
    """Print a line each, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/intervals.json"))
    given = parser.parse_args()
    began, n, found = conditions(), given.simulations, list[Found]()
    for one in (
        lambda: coverage(n, 100, 0.0),
        lambda: coverage(n, 100, -0.1),
        lambda: coverage(n, 30, -0.1),
        lambda: coverage(n, 1200, -0.1),
        lambda: coverage(n, 100, 0.05, rare=True),
        lambda: coverage(n, 400, 0.02, rare=True),
        lambda: no_false_alarms(n, 100),
        lambda: power(n, 100),
    ):
        found.append(one())
        tell(found[-1])
    write_results(given.out, began, {"found": [asdict(one) for one in found]})


def tell(found: Found) -> None:
    """One line."""
    span, asked = f"[{100 * found.low:.1f}, {100 * found.high:.1f}]", f" (asked: {found.asked})" if found.asked else ""
    print(f"{found.what}: {100 * found.share:.1f} % {span} of {found.simulations:,}{asked}", flush=True)


if __name__ == "__main__":
    main()
