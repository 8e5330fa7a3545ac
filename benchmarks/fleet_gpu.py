"""Step costs of GPUs from published throughputs: what a prompt token, a drawn token and a token of context cost.

The throughputs are of the table "Throughput Measurements" in NVIDIA/TensorRT-LLM, file
docs/source/performance/perf-overview.md of the v1.0 documents (commit 00f37686; it has no date of its own, v1.0 came
out in September 2025): FP8 weights, DGX H100, requests sent without delay, total output tokens a second by prompt and
reply length. One request of the table then takes `reply / throughput` engine-seconds, and these are fitted as

    prefill * prompt + token * reply + context * reply * (prompt + reply / 2)

"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from benchmarks.fleet import EngineShape, StepCost

BANDWIDTH = 3.35e12
"""Bytes a second of an H100 SXM's memory (its data sheet)."""
GPU_BYTES = 80e9
USABLE = 0.9
"""Share of a GPU's memory that the engine takes."""

Rates = tuple[tuple[int, int, float], ...]
"""Prompt tokens, reply tokens, total output tokens a second."""


@dataclass(frozen=True)
class Published:
    """A model on an engine of so many GPUs."""

    name: str
    gpus: int
    weight_bytes: float
    kv_bytes: float
    """Of one token of context: 2 (keys, values) * layers * key-value heads * head size * 1 byte (FP8)."""
    rates: Rates


LLAMA_8B = Published(
    "8B",
    gpus=1,
    weight_bytes=8.0e9,
    kv_bytes=2 * 32 * 8 * 128,
    rates=(
        (128, 128, 28312),
        (128, 2048, 22714),
        (128, 4096, 14325),
        (500, 2000, 17660),
        (1000, 1000, 15220),
        (1000, 2000, 13899),
        (2048, 128, 3450),
        (2048, 2048, 9305),
        (5000, 500, 3459),
        (20000, 2000, 1351),
    ),
)
LLAMA_70B = Published(
    "70B",
    gpus=2,
    weight_bytes=70.6e9,
    kv_bytes=2 * 80 * 8 * 128,
    rates=(
        (128, 128, 6378),
        (128, 2048, 6651),
        (128, 4096, 4199),
        (500, 2000, 5222),
        (1000, 1000, 4205),
        (1000, 2000, 4146),
        (2048, 128, 762),
        (2048, 2048, 3082),
        (5000, 500, 898),
        (20000, 2000, 437),
    ),
)


def fitted(rates: Rates, floor: float = 0.0) -> tuple[StepCost, list[float]]:
    """The cost that explains the rates best in relative terms, and fitted over published seconds of each rate.

    The batch of the published runs is not told, so what is fixed in a step is part of `token` here; `floor` bounds a
    step with few requests.
    """
    seconds = np.array([reply / rate for _, reply, rate in rates])
    terms = np.array([(prompt, reply, reply * (prompt + reply / 2)) for prompt, reply, _ in rates], dtype=float)
    (prefill, token, context), _ = nnls(terms / seconds[:, None], np.ones(len(rates)))
    ratios = terms @ np.array([prefill, token, context]) / seconds
    return StepCost(0.0, float(token), float(context), float(prefill), floor), [float(ratio) for ratio in ratios]


def engine_shape(model: Published, seats: int = 512) -> EngineShape:
    """One engine for `model`: cost by its rates, memory that its weights leave, no step faster than reading them."""
    memory = model.gpus * GPU_BYTES * USABLE - model.weight_bytes
    cost, _ = fitted(model.rates, floor=model.weight_bytes / (model.gpus * BANDWIDTH))
    return EngineShape(cost, seats=seats, kv_tokens=int(memory / model.kv_bytes), block=16)
