"""Intervals and tests for paired measurements of the same prompts, clustered by question.

Every function is pure, seeded and built on scipy or statsmodels. Rates and differences are fractions in [-1, 1].
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BOOTSTRAP_CLUSTERS = 1000
"""Up to here the interval is a bootstrap; above it the cluster-robust normal interval agrees and costs milliseconds."""
POWER = 0.8
"""Share of repetitions in which a difference of the stated detectable size is found."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval. `n` counts observations, `clusters` the independent questions among them."""

    value: float
    low: float
    high: float
    n: int
    clusters: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of b - a over paired observations, with its interval and the smallest difference such a sample can show."""

    value: float
    low: float
    high: float
    n: int
    clusters: int
    error: float
    """Cluster-robust standard error of `value`; infinite for one cluster."""

    @property
    def detectable(self) -> float:
        """Smallest true difference found with 80 % power at the 5 % level, as far as this sample's spread tells."""
        from scipy import stats

        if self.clusters < 2:
            return float("inf")
        # Student's quantiles, since the interval is widened by them: normal ones promised 80 % and kept 78.
        return float(sum(stats.t.ppf((0.975, POWER), self.clusters - 1)) * self.error)

    @property
    def shown(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0.0 or self.high < 0.0


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a share of independent observations (statsmodels); (0, 1) for n = 0."""
    from statsmodels.stats.proportion import proportion_confint

    if n == 0:
        return 0.0, 1.0
    bounds = np.asarray(proportion_confint(successes, n, alpha=1.0 - level, method="wilson"), dtype=np.float64)
    return float(bounds[0]), float(bounds[1])


def proportions_difference(a: int, n_a: int, b: int, n_b: int) -> tuple[float, float]:
    """95 % interval of share b minus share a of two samples (Newcombe, by statsmodels)."""
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = confint_proportions_2indep(b, n_b, a, n_a, method="newcomb", compare="diff")
    return float(low), float(high)


def mean_interval(
    values: Sequence[float] | Floats,
    clusters: Sequence[str] | None = None,
    *,
    seed: int,
    resamples: int = 9999,
    level: float = 0.95,
) -> Estimate:
    """Mean of `values` [n] with a bootstrap interval that resamples whole clusters."""
    sums_C, sizes_C = _cluster_sums(values, clusters)
    low, high, _ = _interval(sums_C, sizes_C, seed=seed, resamples=resamples, level=level)
    return Estimate(float(sums_C.sum() / sizes_C.sum()), low, high, int(sizes_C.sum()), len(sums_C))


def paired_difference(
    a: Sequence[float] | Floats,
    b: Sequence[float] | Floats,
    clusters: Sequence[str] | None = None,
    *,
    seed: int,
    resamples: int = 9999,
    level: float = 0.95,
) -> Difference:
    """Mean of b - a [n], observation i of both being the same prompt; `clusters` [n] names each one's question.

    Raises ValueError where the lengths differ or there is nothing to compare.
    """
    a_n, b_n = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a_n.shape != b_n.shape:
        raise ValueError(f"paired samples differ in length: {a_n.shape} and {b_n.shape}")
    sums_C, sizes_C = _cluster_sums(b_n - a_n, clusters)
    low, high, error = _interval(sums_C, sizes_C, seed=seed, resamples=resamples, level=level)
    value = float(sums_C.sum() / sizes_C.sum())
    return Difference(value, low, high, int(sizes_C.sum()), len(sums_C), error)


def p_value(found: Difference) -> float:
    """Two-sided p-value that the true difference is zero: Student's t on the cluster-robust standard error.

    1 where nothing can be said (one cluster, or no pair that differs); the sign test where all differences are equal.
    """
    from scipy import stats

    if found.clusters < 2 or found.error == 0.0:
        return 1.0 if found.value == 0.0 or found.clusters < 2 else 2.0 * 0.5**found.clusters
    return float(2.0 * stats.t.sf(abs(found.value) / found.error, found.clusters - 1))


def mcnemar(fixed: int, broken: int) -> float:
    """Exact two-sided p-value that flips in both directions are equally likely (statsmodels)."""
    from statsmodels.stats.contingency_tables import mcnemar as test

    return float(test([[0, fixed], [broken, 0]], exact=True).pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down correction of many p-values (statsmodels), in the order given."""
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return ()
    gc.freeze()  # multipletests collects garbage at every call, which takes long beside ten thousand conversations
    try:
        corrected = np.asarray(multipletests(list(p_values), method="holm")[1], dtype=np.float64)
    finally:
        gc.unfreeze()
    return tuple(corrected.tolist())


def cohen_kappa(a: Sequence[str], b: Sequence[str]) -> float:
    """Cohen's kappa of two labelings of the same items (statsmodels); nan where both use one label only."""
    from statsmodels.stats.inter_rater import cohens_kappa

    labels = sorted({*a, *b})
    table = np.zeros((len(labels), len(labels)))
    for x, y in zip(a, b, strict=True):
        table[labels.index(x), labels.index(y)] += 1
    if len(labels) < 2:
        return float("nan")
    return float(cohens_kappa(table, return_results=False))  # pyright: ignore[reportArgumentType]


def _cluster_sums(values: Sequence[float] | Floats, clusters: Sequence[str] | None) -> tuple[Floats, Floats]:
    values_n = np.asarray(values, dtype=np.float64)
    if values_n.size == 0:
        raise ValueError("no observations")
    if clusters is None:
        return values_n, np.ones_like(values_n)
    if len(clusters) != values_n.size:
        raise ValueError(f"{values_n.size} observations but {len(clusters)} cluster names")
    _, index_n = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)
    return np.bincount(index_n, values_n).astype(np.float64), np.bincount(index_n).astype(np.float64)


def _interval(
    sums_C: Floats, sizes_C: Floats, *, seed: int, resamples: int, level: float
) -> tuple[float, float, float]:
    """Low, high and standard error of the ratio of means sum(sums) / sum(sizes), clusters being independent."""
    from scipy import stats

    count = len(sums_C)
    value = sums_C.sum() / sizes_C.sum()
    residual_C = sums_C - value * sizes_C
    if count < 2:
        return float("-inf"), float("inf"), float("inf")
    error = float(np.sqrt(count / (count - 1) * (residual_C**2).sum()) / sizes_C.sum())
    if error == 0.0:
        return float(value), float(value), 0.0
    if count > BOOTSTRAP_CLUSTERS:
        half = float(stats.norm.ppf(0.5 + level / 2)) * error
        return float(value - half), float(value + half), error

    weights_RC = _resamples(count, resamples, seed)
    ratio_R = (weights_RC @ sums_C.astype(np.float32)) / (weights_RC @ sizes_C.astype(np.float32))
    tail = 50.0 * (1.0 - level)
    drawn_low, drawn_high = np.percentile(ratio_R, [tail, 100.0 - tail])
    # A percentile bootstrap is too narrow by the factor between the population and the sample variance, and by the
    # difference between the normal and Student's t: both matter below some fifty clusters.
    widen = np.sqrt(count / (count - 1)) * stats.t.ppf(0.5 + level / 2, count - 1) / stats.norm.ppf(0.5 + level / 2)
    low = value - (value - drawn_low) * widen
    high = value + (drawn_high - value) * widen
    return float(low), float(high), error


@lru_cache(maxsize=4)
def _resamples(count: int, resamples: int, seed: int) -> NDArray[np.float32]:
    """How often each of `count` clusters is drawn in each resample, [R, C]; the outcomes of a comparison share it."""
    rng = np.random.default_rng([seed, count])
    drawn_RC = rng.integers(0, count, (resamples, count)) + count * np.arange(resamples)[:, None]
    return np.bincount(drawn_RC.ravel(), minlength=resamples * count).reshape(resamples, count).astype(np.float32)
