"""From labels to whole lists of replies: the data of a best-of-K reward model."""

# pyright: standard
# (pyarrow has no types)
from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cai.records import Label

if TYPE_CHECKING:
    import pyarrow as pa


def p_best(strengths: Sequence[float]) -> list[float]:
    """The probability of each reply to be the best of all: Luce's choice rule on Bradley-Terry log-strengths."""
    weights = [math.exp(strength - max(strengths)) for strength in strengths]
    return [weight / sum(weights) for weight in weights]


def list_rows(labels: Iterable[Label]) -> Iterator[dict[str, Any]]:
    """A row for each prompt of more than two replies that a judge has read."""
    for label in labels:
        if label.strengths is None:
            continue
        yield {
            "prompt": [{"role": m.role, "content": m.content} for m in label.prompt.messages],
            "replies": list(label.replies),
            "p_best": p_best(label.strengths),
            "prompt_id": label.prompt.id,
            "category": label.prompt.category,
            "source": label.prompt.source,
            "provenance": label.provenance,
            "policy": label.policy,
            "constitution": label.constitution,
            "seed": label.seed,
        }


def list_schema() -> pa.Schema:
    """Columns of lists.parquet: what `cai train reward` with best-of-K reads, then provenance."""
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            ("prompt", pa.list_(pa.struct([("role", text), ("content", text)]))),
            ("replies", pa.list_(text)),
            ("p_best", pa.list_(pa.float64())),
            *((name, text) for name in ("prompt_id", "category", "source", "provenance", "policy", "constitution")),
            ("seed", pa.int64()),
        ]
    )
