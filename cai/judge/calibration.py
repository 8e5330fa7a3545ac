"""How far a judge's probabilities can be trusted, against labels of people or of the oracle.

`outcomes` are 1 where reply a is truly better, 0 where b is, 0.5 for a tie. Accuracy leaves true ties out and counts a
probability of exactly 0.5 as half right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cai.records import Record

Floats = NDArray[np.float64]
BINS = 10


class Bin(Record):
    """One step of the reliability curve: `n` labels with mean probability `p` came true at rate `rate`."""

    n: int
    p: float
    rate: float


class Calibration(Record):
    """Accuracy, Brier score and expected calibration error with the error a perfectly calibrated judge would show."""

    n: int
    accuracy: float | None
    brier: float
    ece: float
    ece_floor: float
    """Mean ECE of outcomes drawn from the judge's own probabilities: what is left when calibration is perfect."""
    ece_floor_95: float
    """Its 95th percentile: an ECE above it is miscalibration and not noise."""
    curve: tuple[Bin, ...]


def accuracy(ps: Sequence[float], outcomes: Sequence[float]) -> float | None:
    """Share of right choices over the outcomes that are no tie; None where all are ties."""
    right = [_right(p, y) for p, y in zip(ps, outcomes, strict=True) if y != 0.5]
    return sum(right) / len(right) if right else None


def brier(ps: Sequence[float], outcomes: Sequence[float]) -> float:
    """Mean squared difference of probability and outcome."""
    return sum((p - y) ** 2 for p, y in zip(ps, outcomes, strict=True)) / len(ps)


def reliability(ps: Sequence[float], outcomes: Sequence[float], bins: int = BINS) -> tuple[Bin, ...]:
    """Equal-width bins over [0, 1], the empty ones left out; a probability of 1 belongs to the last."""
    index_N = np.minimum((np.asarray(ps, dtype=np.float64) * bins).astype(int), bins - 1)
    p_N, y_N = np.asarray(ps, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    return tuple(
        Bin(n=int((index_N == i).sum()), p=float(p_N[index_N == i].mean()), rate=float(y_N[index_N == i].mean()))
        for i in range(bins)
        if (index_N == i).any()
    )


def ece(ps: Sequence[float], outcomes: Sequence[float], bins: int = BINS) -> float:
    """Expected calibration error: |mean probability - rate| averaged over the bins by size (Guo et al. 2017, eq. 3)."""
    curve = reliability(ps, outcomes, bins)
    return sum(b.n * abs(b.p - b.rate) for b in curve) / len(ps)


def noise_floor(ps: Sequence[float], *, seed: int, draws: int = 500, bins: int = BINS) -> tuple[float, float]:
    """Mean and 95th percentile of the ECE where each outcome is drawn with the judge's own probability."""
    p_N = np.asarray(ps, dtype=np.float64)
    index_N = np.minimum((p_N * bins).astype(int), bins - 1)
    outcome_RN = np.random.default_rng(seed).random((draws, p_N.size)) < p_N
    gap_RN = p_N - outcome_RN
    sums_RB = np.stack([gap_RN[:, index_N == i].sum(axis=1) for i in range(bins)], axis=1)
    error_R: Floats = np.abs(sums_RB).sum(axis=1) / p_N.size
    return float(error_R.mean()), float(np.quantile(error_R, 0.95))


def calibration(ps: Sequence[float], outcomes: Sequence[float], *, seed: int = 0) -> Calibration:
    """All measures of one set of labels; ValueError where it is empty."""
    if not ps:
        raise ValueError("no labels to measure")
    floor, floor_95 = noise_floor(ps, seed=seed)
    return Calibration(
        n=len(ps),
        accuracy=accuracy(ps, outcomes),
        brier=brier(ps, outcomes),
        ece=ece(ps, outcomes),
        ece_floor=floor,
        ece_floor_95=floor_95,
        curve=reliability(ps, outcomes),
    )


def _right(p: float, outcome: float) -> float:
    return 0.5 if p == 0.5 else float((p > 0.5) == (outcome > 0.5))
