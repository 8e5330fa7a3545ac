"""How much to trust each of several judges, learnt from a small set that people labelled too."""

# pyright: standard
# (scipy has no types)
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cai.errors import InputError, Where
from cai.judge.combine import log_odds
from cai.records import Record

Floats = NDArray[np.float64]
LEAST_LABELS = 20


class Weights(Record):
    """Logistic weights on the judges' log-odds, and on how many human labels they rest."""

    judges: dict[str, float]
    n: int


def read_weights(path: Path) -> Weights:
    """Weights written by an earlier run. Raises InputError."""
    try:
        return Weights.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        what = f"not a file of judges' weights: {str(error).splitlines()[0]}"
        raise InputError(what, "give the weights.json of a run that read people's answers", Where(path)) from error


def learn_weights(ps: Sequence[Mapping[str, float]], outcomes: Sequence[float], *, ridge: float = 1.0) -> Weights:
    """Penalised logistic regression of the human choice on the judges' log-odds, without an intercept.

    Naming a reply "a" or "b" is arbitrary, so there is nothing for an intercept to learn. The penalty pulls each weight
    towards 1 / judges, the plain mean, by `ridge`; a judge silent on an item adds nothing there. Ties of people are
    left out. ValueError below `LEAST_LABELS` items.
    """
    from scipy.optimize import minimize

    judges = sorted({judge for p in ps for judge in p})
    kept = [i for i, y in enumerate(outcomes) if y != 0.5]
    if len(kept) < LEAST_LABELS:
        raise ValueError(f"{len(kept)} human labels without ties; at least {LEAST_LABELS} are needed to learn weights")
    x_NJ = np.array([[log_odds(ps[i][j]) if j in ps[i] else 0.0 for j in judges] for i in kept])
    sign_N = np.array([1.0 if outcomes[i] > 0.5 else -1.0 for i in kept])
    start_J = np.full(len(judges), 1.0 / len(judges))

    def loss(w_J: Floats) -> tuple[float, Floats]:
        margin_N = sign_N * (x_NJ @ w_J)
        pull_J = w_J - start_J
        value = np.logaddexp(0.0, -margin_N).sum() + ridge / 2 * (pull_J**2).sum()
        slope_N = -sign_N * np.exp(-np.logaddexp(0.0, margin_N))
        return float(value), x_NJ.T @ slope_N + ridge * pull_J

    found = minimize(loss, start_J, jac=True, method="L-BFGS-B")
    return Weights(judges=dict(zip(judges, (float(w) for w in found.x), strict=True)), n=len(kept))
