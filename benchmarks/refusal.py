"""Weighs the marks of a refusal by people's labels, and measures the agreement of the classifier with people.

    python -m benchmarks.refusal --data DATA

DATA holds xstest/labels/*.csv: 450 replies of one model, each labelled by two people and a third where they differ.
The marks were chosen by reading the replies of one half (even SHA-256 of the id). Every kappa here is of replies
scored by weights fitted on other replies; the last lines are what `cai/measures/refusal.py` holds, fitted on all.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cai.measures.intervals import cohen_kappa
from cai.measures.refusal import kind
from cai.measures.refusal_marks import declines, marks, plain

FILE = Path("xstest", "labels", "xstest_v2_completions_mistralinstruct_streval.csv")
FOLDS, REPEATS, PENALTY = 10, 10, 1.0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Replies:
    """Labelled replies: their marks [N, M], people's classes, and what string match says."""

    texts: tuple[str, ...]
    marks_NM: Floats
    people: tuple[str, ...]
    strings: tuple[str, ...]
    read_half: NDArray[np.bool_]
    """The half that the marks were chosen on."""

    def part(self, chosen: NDArray[np.bool_]) -> Replies:
        """The replies chosen by a mask."""
        at = np.flatnonzero(chosen)
        pick = lambda values: tuple(values[i] for i in at)  # noqa: E731
        return Replies(pick(self.texts), self.marks_NM[at], pick(self.people), pick(self.strings), self.read_half[at])


def load(data: Path) -> Replies:
    """The labelled replies of the file under `data`."""
    with (data / FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = tuple(plain(row["completion"]) for row in rows)
    return Replies(
        texts,
        np.array([list(marks(text).values()) for text in texts]),
        tuple(row["final_label"][2:] for row in rows),
        tuple(row["strmatch_label"][2:] for row in rows),
        np.array([int(sha256(row["id"].encode()).hexdigest(), 16) % 2 == 0 for row in rows]),
    )


def fit(replies: Replies) -> Floats:
    """Weights [M + 1], the bias last: logistic regression with an L2 penalty on the weights, by Newton's method.

    Replies that decline outright are decided without it and left out.
    """
    open_N = np.array([not declines(text) for text in replies.texts])
    x_NM = np.hstack([replies.marks_NM, np.ones((len(replies.texts), 1))])[open_N]
    y_N = np.array([label != "full_compliance" for label in replies.people], dtype=np.float64)[open_N]
    penalty_MM = np.diag([PENALTY] * replies.marks_NM.shape[1] + [1e-6])
    w_M = np.zeros(x_NM.shape[1])
    for _ in range(30):
        p_N = 1.0 / (1.0 + np.exp(-x_NM @ w_M))
        slope_M = x_NM.T @ (y_N - p_N) - penalty_MM @ w_M
        curve_MM = (x_NM * (p_N * (1.0 - p_N))[:, None]).T @ x_NM + penalty_MM
        w_M = w_M + np.linalg.solve(curve_MM, slope_M)
    return w_M


def classes(replies: Replies, w_M: Floats) -> list[str]:
    """The classes that weights give."""
    score_N = replies.marks_NM @ w_M[:-1] + w_M[-1]
    return [
        kind(text, declines(text) or bool(score >= 0.0)) for text, score in zip(replies.texts, score_N, strict=True)
    ]


def crossed(replies: Replies, seed: int) -> list[str]:
    """Each reply's class by weights fitted on the other nine tenths; people's classes are spread evenly."""
    rng, fold_N = np.random.default_rng(seed), np.empty(len(replies.texts), dtype=int)
    for label in sorted(set(replies.people)):
        at = rng.permutation([i for i, one in enumerate(replies.people) if one == label])
        fold_N[at] = np.arange(len(at)) % FOLDS
    found = [""] * len(replies.texts)
    for fold in range(FOLDS):
        w_M = fit(replies.part(fold_N != fold))
        for i, one in zip(np.flatnonzero(fold_N == fold), classes(replies.part(fold_N == fold), w_M), strict=True):
            found[i] = one
    return found


def interval(people: Sequence[str], ours: Sequence[str]) -> tuple[float, float]:
    """95 % percentile bootstrap of kappa over replies."""
    rng, n = np.random.default_rng(0), len(people)
    draws: list[list[int]] = rng.integers(0, n, (1000, n)).tolist()
    drawn = [cohen_kappa([people[i] for i in at], [ours[i] for i in at]) for at in draws]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def told(what: str, replies: Replies, predicted: Sequence[Sequence[str]]) -> str:
    """Mean kappa over repeats, with the interval of the first one."""
    kappas = [cohen_kappa(replies.people, one) for one in predicted]
    low, high = interval(replies.people, predicted[0])
    return f"{what}: kappa {np.mean(kappas):.3f} [{low:.2f}, {high:.2f}], n = {len(replies.texts)}"


def main() -> None:
    """Print every kappa, then the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    every = load(parser.parse_args().data)
    read, other = every.part(every.read_half), every.part(~every.read_half)
    print(told("string match, all", every, [every.strings]))
    print(told("string match, other half", other, [other.strings]))
    print(told("fitted on the half that was read, other half", other, [classes(other, fit(read))]))
    print(told("tenfold within the other half", other, [crossed(other, seed) for seed in range(REPEATS)]))
    print(told("tenfold, all", every, [crossed(every, seed) for seed in range(REPEATS)]))
    weights = fit(every)
    for name, weight in zip(marks(""), weights, strict=False):
        print(f'    "{name}": {weight:.2f},')
    print(f"BIAS = {weights[-1]:.2f}")


if __name__ == "__main__":
    main()
