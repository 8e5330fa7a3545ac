"""Search tile shapes for the Triton head product on the GPU at hand; prints them all, then the best for tuned.json.

`python -m benchmarks.head_tuning --hidden 4096 --vocab 128256`; offline, by a person: nothing is tuned at run time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from itertools import product

import torch
from triton.runtime.errors import TritonError

from cai.kernels.batch import HeadBatch
from cai.kernels.engine_choice import measure
from cai.kernels.logit_map import LogitMap
from cai.kernels.self_check import disagreement, sample_like
from cai.kernels.tuned import INTERPRETER, TileConfig

_SHARED_BYTES = 227 * 1024


def candidates(size: int) -> Iterator[TileConfig]:
    """Tile shapes whose operands fit shared memory; accumulators of at most 128 registers a thread."""
    if not torch.cuda.is_available():
        yield INTERPRETER  # to try the search itself under the interpreter
        return
    either = (False, True)
    choices = product((64, 128), (128, 256), (32, 64, 128), (8, 16, 32), (4, 8), (3, 4), (1, 2), either, either)
    for rows, columns, depth, group, warps, stages, per_processor, halves, flatten in choices:
        operands = (rows + columns) * depth * size * stages
        if operands * per_processor <= _SHARED_BYTES and rows * columns <= 128 * 32 * warps:
            slab = 4096 // columns
            yield TileConfig(rows, columns, depth, group, slab, warps, stages, per_processor, halves, flatten, tma=True)


def main() -> None:
    from cai.kernels.triton_forward import fold_triton

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, required=True)
    parser.add_argument("--vocab", type=int, required=True)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    n = 2048 if device == "cuda" else 40
    hidden, weight = (torch.randn(k, arguments.hidden, device=device, dtype=dtype) for k in (n, arguments.vocab))
    targets = torch.randint(arguments.vocab, (n,), device=device)
    batch = HeadBatch(hidden, weight, None, targets, LogitMap())
    best, best_seconds = None, float("inf")
    for config in candidates(dtype.itemsize):
        fold = partial(fold_triton, config=config)
        try:
            wrong = disagreement(fold, sample_like(batch))
            seconds = float("inf") if wrong else measure(fold, batch)
        except (TritonError, RuntimeError, ValueError) as error:  # too many resources: said, and not a candidate
            wrong, seconds = str(error).splitlines()[0], float("inf")
        rate = 2e-12 * n * arguments.hidden * arguments.vocab / seconds
        print(f"{1e3 * seconds:9.3f} ms {rate:7.1f} TFLOP/s  {wrong or 'sound'}  {config}", flush=True)
        if seconds < best_seconds:
            best, best_seconds = config, seconds
    if best is None:
        raise SystemExit("no tile shape works here")
    major, minor = torch.cuda.get_device_capability() if device == "cuda" else (0, 0)
    entry = {"arch": 10 * major + minor, "max_hidden": arguments.hidden, "bytes": dtype.itemsize, "measured": True}
    print(json.dumps(entry | asdict(best)))


if __name__ == "__main__":
    main()
