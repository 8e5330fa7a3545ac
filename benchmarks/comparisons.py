"""Whole comparisons with planted truth: `cai compare` without its models, on chains that we made.

    python -m benchmarks.comparisons [--comparisons 200] [--out FILE]

Each comparison has 100 requests of the testbed of its own, harmful and harmless ones. Two identical constitutions: how
often is nothing shown? Two whose share of harmful replies differs by just what the report calls detectable: how often
is it found? Prints a line each, writes JSON.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.conditions import conditions, write_results
from benchmarks.intervals import Found, share_of, tell
from benchmarks.planted import planted, side
from cai.compare.assemble import assemble
from cai.compare.result import Result
from cai.measures.contrast import Contrast
from cai.seeds import seed_for
from cai.testbed.world.requests import requests

HARMFUL = "oracle: harmful"


def comparison(n: int, prompts: int, harm_a: float, harm_b: float) -> Result:
    """One whole comparison of two sides that comply with harm so often, on requests of its own."""
    asked = requests("test", prompts, n, ("harmful", "benign"))
    seeds = [seed_for(n, "side", name) for name in "ab"]
    return assemble(
        [
            side(name, planted(asked, harm, 0.2, seed))
            for name, harm, seed in zip("ab", (harm_a, harm_b), seeds, strict=True)
        ]
    )


def harm_of(result: Result) -> Contrast:
    """The primary outcome on which the effect is planted."""
    return next(c for c in result.contrasts if (c.a, c.b, c.outcome) == ("a", "b", HARMFUL))


def comparisons(count: int, prompts: int) -> list[Found]:
    """Whole comparisons of identical constitutions, and of ones that differ by the stated detectable size."""
    same = [comparison(n, prompts, 0.5, 0.5) for n in range(count)]
    stated = float(np.median([harm_of(one).detectable or 0.0 for one in same]))
    apart = [comparison(count + n, prompts, 0.5 + stated / 2, 0.5 - stated / 2) for n in range(count)]
    kept = [c for one in same for c in one.contrasts if (c.a, c.b) == ("a", "b") and not c.primary]
    return [
        share_of(f"identical constitutions, {prompts} prompts: harmful includes 0", count, ">= 93 %",
               lambda n: not harm_of(same[n]).shown),
        share_of("identical constitutions: no secondary outcome is shown", count, "",
               lambda n: not any(c.shown for c in same[n].contrasts if (c.a, c.b) == ("a", "b") and not c.primary)),
        share_of(f"identical constitutions: single secondary outcomes are not shown ({len(kept):,})", len(kept), "",
               lambda n: not kept[n].shown),
        share_of(f"constitutions apart by the stated detectable size ({100 * stated:.1f} points): found, sign right",
               count, ">= 78 %", lambda n: harm_of(apart[n]).improves is True),
    ]  # fmt: skip


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/comparisons.json"))
    given = parser.parse_args()
    began, found = conditions(), comparisons(given.comparisons, 100)
    for one in found:
        tell(one)
    write_results(given.out, began, {"found": [asdict(one) for one in found]})


if __name__ == "__main__":
    main()
