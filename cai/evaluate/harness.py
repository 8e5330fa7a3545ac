"""What lm-evaluation-harness says of a task, as records: its own figures, and each item's values for pairing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cai.evaluate.suite import Metric
from cai.measures.contrast import Contrast, contrast, corrected
from cai.records import Record, Usage

STAGE, VERSION = "evaluate-lm-eval", 1
_COUNTS = ("sample_len",)
"""Numbers among the library's results that are no metrics."""


class Figure(Record):
    """One metric of one task as the library aggregates it, with its own standard error where it has one."""

    task: str
    metric: str
    value: float
    error: float | None


class Sample(Record):
    """One item's metrics that are plain numbers."""

    task: str
    item: int
    values: dict[str, float]


class Harnessed(Record):
    """One task, or one group of tasks, on one model."""

    name: str
    version: str
    """The library's."""
    figures: tuple[Figure, ...]
    samples: tuple[Sample, ...]
    higher: dict[str, bool]
    """Task and metric, with a space between, to whether more of it is better, where the library says so."""
    usage: Usage = Usage()


def read_results(name: str, found: Mapping[str, Any]) -> Harnessed:
    """The library's own answer (`simple_evaluate`) about one name."""
    figures = [figure for task, metrics in found["results"].items() for figure in _figures(task, metrics)]
    samples = [_sample(task, row) for task, rows in found.get("samples", {}).items() for row in rows]
    higher = {
        f"{task} {metric}": bool(better)
        for task, metrics in found.get("higher_is_better", {}).items()
        for metric, better in metrics.items()
        if better is not None
    }
    return Harnessed(
        name=name,
        version=str(found.get("lm_eval_version", "")),
        figures=tuple(figures),
        samples=tuple(samples),
        higher=higher,
    )


def _figures(task: str, metrics: Mapping[str, Any]) -> list[Figure]:
    """Keys are `metric,filter` and `metric_stderr,filter`; the library writes "N/A" for an error it has not."""
    found: list[Figure] = []
    for key, value in metrics.items():
        metric, _, kind = key.partition(",")
        if metric.endswith("_stderr") or metric in _COUNTS or isinstance(value, bool):
            continue
        if isinstance(value, int | float):
            error = metrics.get(f"{metric}_stderr,{kind}")
            name = metric if kind in ("", "none") else f"{metric}, {kind}"
            found.append(Figure(task=task, metric=name, value=float(value), error=_number(error)))
    return found


def _sample(task: str, row: Mapping[str, Any]) -> Sample:
    kind = row.get("filter", "none")
    values = {
        metric if kind == "none" else f"{metric}, {kind}": number
        for metric in row.get("metrics", ())
        if (number := _number(row.get(metric))) is not None
    }
    return Sample(task=task, item=int(row["doc_id"]), values=values)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def taxes(a: str, b: str, one: Sequence[Harnessed], other: Sequence[Harnessed], seed: int) -> list[Contrast]:
    """Model `b` minus model `a`, paired by item: the first metric of each task stands alone, the rest are corrected.

    Metrics that have no value per item (perplexities over a corpus) are left out.
    """
    found: list[Contrast] = []
    for task, metrics in _metrics(one).items():
        left, right = _values(one, task), _values(other, task)
        family: list[Contrast] = []
        for place, name in enumerate(metrics):
            shared = [item for item in left if name in left[item] and name in right.get(item, {})]
            if shared:
                xs, ys = ([side[item][name] for item in shared] for side in (left, right))
                better = _better(one, task, name)
                metric = Metric(f"{task} {name}", better, "", primary=place == 0)
                family.append(contrast(metric, a, b, xs, ys, [str(item) for item in shared], seed))
        found += corrected(family)
    return found


def _metrics(results: Sequence[Harnessed]) -> dict[str, list[str]]:
    """Tasks, each with its metrics per item in the library's order."""
    found: dict[str, list[str]] = {}
    for sample in (sample for result in results for sample in result.samples):
        names = found.setdefault(sample.task, [])
        names += [name for name in sample.values if name not in names]
    return found


def _values(results: Sequence[Harnessed], task: str) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for sample in (sample for result in results for sample in result.samples):
        if sample.task == task:
            found.setdefault(sample.item, {}).update(sample.values)
    return found


def _better(results: Sequence[Harnessed], task: str, metric: str):
    for result in results:
        higher = result.higher.get(f"{task} {metric.partition(',')[0]}")
        if higher is not None:
            return "higher" if higher else "lower"
    return "neither"
