"""Time, memory and error of every way to score tokens: `python -m benchmarks.kernels` measures what is missing.

Ceilings come first: the head product alone and the copy bandwidth, in the same run. Each provider runs in a fresh
process for its memory; on a CPU times are processor seconds of one thread, which other work stretches less than wall
time (kept beside them, with the load). Results are kept by mode, shape and provider in one JSON file, so that a run
that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.head_goals import CPU, GPU, comparison, judged, lines
from benchmarks.head_measure import ONE_IN
from benchmarks.head_providers import absent, names

ROOT = Path(__file__).parent
GPU_HEADS = ((896, 151936), (2048, 256000), (4096, 128256), (4096, 32000))
GPU_TOKENS = (512, 2048, 8191, 8192, 16384, 32768, 65536)
TOKENS_OF = {"judge": (64, 512), "dpo": (8192, 32768), "grpo": (32768,)}
"""On a GPU: a judge's positions; 8 and 32 pairs, and 64 rollouts, of 512 tokens."""
PRODUCTS = {
    "nograd": 1,
    "train": 3,
    "mean": 3,
    "frozen": 2,
    "half": 3,
    "masked": 3,
    "entropy": 1,
    "judge": 1,
    "dpo": 3,
    "grpo": 3,
}  # useful head products of a mode
MODES = tuple(PRODUCTS)
MODE_SECONDS = 600.0


def shapes(device: str, mode: str) -> list[tuple[int, int, int]]:
    """(tokens, hidden size, vocabulary): the one with goals, then the smallest first."""
    if device == "cpu":
        return [_shape(CPU)]
    found = [(n, depth, vocab) for depth, vocab in GPU_HEADS for n in TOKENS_OF.get(mode, GPU_TOKENS)]
    return sorted(found, key=lambda shape: (shape != _shape(GPU), shape[0] * shape[1] * shape[2]))


def _shape(at: str) -> tuple[int, int, int]:
    n, depth, vocab = map(int, at.split("x"))
    return n, depth, vocab


def machine(device: str, threads: int) -> dict[str, Any]:
    """What the numbers depend on."""
    about: dict[str, Any] = {"torch": torch.__version__, "python": platform.python_version(), "device": device}
    if device == "cuda":
        return about | {"name": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return about | {"name": model[0].split(": ")[1] if model else platform.processor(), "threads": threads}


def ceilings(shape: tuple[int, int, int], device: str, dtype: torch.dtype) -> dict[str, float]:
    """Milliseconds of the three products of a head at this shape, into memory at hand, and copy bandwidth in GB/s."""
    from benchmarks.head_measure import seconds

    n, depth, vocab = shape
    hidden, weight = (torch.randn(k, depth, device=device, dtype=dtype) for k in (n, vocab))
    tile = torch.randn(n, vocab, device=device, dtype=dtype)
    new_tile, new_hidden, new_weight = (torch.empty_like(tensor) for tensor in (tile, hidden, weight))
    steps = {
        "logits": lambda: torch.mm(hidden, weight.T, out=new_tile),
        "hidden": lambda: torch.mm(tile, weight, out=new_hidden),
        "weight": lambda: torch.mm(tile.T, hidden, out=new_weight),
    }
    found: dict[str, float] = {}
    for name, step in steps.items():
        step()
        times = []
        for _ in range(3):
            start = seconds(device)
            step()
            times.append(seconds(device) - start)
        found[f"{name}_ms"] = 1e3 * sorted(times)[1]
    start = seconds(device)
    new_tile.copy_(tile)
    found["copy_gb_per_s"] = 2e-9 * tile.nbytes / (seconds(device) - start)
    return found


def measured(spec: dict[str, Any]) -> dict[str, Any]:
    """One provider in a fresh process; a failure is a result too."""
    environment = os.environ | {"OMP_NUM_THREADS": str(spec["threads"]), "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-m", "benchmarks.head_measure", json.dumps(spec)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {"status": "failed", "why": (done.stderr.strip().splitlines() or ["killed"])[-1][:300]}
    return {"status": "measured", **json.loads(done.stdout.strip().splitlines()[-1])}


def run(
    out: Path, device: str, modes: list[str], providers: tuple[str, ...], repeats: int, threads: int
) -> dict[str, Any]:
    """Measure what the file lacks, mode by mode and shape by shape, writing after each; ten minutes for a mode."""
    dtype = "float32" if device == "cpu" else "bfloat16"
    book: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"machine": {}, "ceilings": {}, "rows": {}}
    book["machine"] = machine(device, threads)
    torch.set_num_threads(threads)
    for mode in modes:
        start = time.monotonic()
        book.setdefault("left_out", {})[mode] = absent(mode, device)
        for shape in shapes(device, mode):
            at = "x".join(map(str, shape))
            if at not in book["ceilings"]:
                book["ceilings"][at] = ceilings(shape, device, getattr(torch, dtype))
            for provider in names(mode, device):
                key = f"{mode} {at} {provider}"
                if book["rows"].get(key, {}).get("status") == "measured" or not provider.startswith(providers):
                    continue
                if time.monotonic() - start > MODE_SECONDS:
                    book["rows"][key] = {
                        "status": "unmeasured",
                        "why": "the mode's ten minutes were over: run it again",
                    }
                    continue
                spec = {"mode": mode, "shape": shape, "provider": provider, "device": device, "dtype": dtype}
                book["rows"][key] = measured(spec | {"repeats": repeats, "threads": threads})
                print(key, book["rows"][key], flush=True)
                _write(out, book)
    _note_unmeasured(book, device)
    book["goals"] = judged(book)
    _write(out, book)
    return book


def _note_unmeasured(book: dict[str, Any], device: str) -> None:
    """Name the rows that are missing here, without numbers: all of a GPU's where there is none."""
    for mode in MODES:
        for shape in shapes(device, mode):
            for provider in names(mode, device):
                key = f"{mode} {'x'.join(map(str, shape))} {provider}"
                book["rows"].setdefault(key, {"status": "unmeasured", "why": "not asked for yet"})
    if device == "cuda":
        return
    book["unmeasured"] = [
        {"mode": mode, "shape": list(shape), "device": "cuda", "status": "unmeasured", "why": "no CUDA device at hand"}
        for mode in MODES
        for shape in shapes("cuda", mode)
    ]


def _write(out: Path, book: dict[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    part.write_text(json.dumps(book, indent=1) + "\n")
    part.replace(out)


def table(book: dict[str, Any]) -> str:
    """One line per measurement, with its share of the ceiling and its ratio to naive."""
    head = f"{'mode and shape':30} {'provider':24} {'ms':>9} {'/naive':>7} {'ceiling':>8} {'MB':>7}"
    lines = [f"{head} {'logp max':>9} {'dW':>8}"]
    for key, row in book["rows"].items():
        mode, at, provider = key.split(" ", 2)
        if row["status"] != "measured":
            lines.append(f"{mode + ' ' + at:30} {provider:24} {row['why']}")
            continue
        base = book["rows"].get(f"{mode} {at} naive", {}).get("ms", float("nan"))
        ceiling = sum(list(book["ceilings"][at].values())[: PRODUCTS[mode]]) / ONE_IN.get(mode, 1)
        lines.append(
            f"{mode + ' ' + at:30} {provider:24} {row['ms']:9.1f} {row['ms'] / base:7.2f} {ceiling / row['ms']:8.0%} "
            f"{row['extra_mb'] - row['gradients_mb']:7.0f} {row.get('logp_max', float('nan')):9.1e} "
            f"{row.get('weight_grad', float('nan')):8.1e}"
        )
    lines += [
        f"not measured, {mode}: {name}: {why}"
        for mode, of in book.get("left_out", {}).items()
        for name, why in of.items()
    ]
    return "\n".join(lines)


def plot(book: dict[str, Any], out: Path) -> None:
    """Time against memory, one panel per mode."""
    import altair

    rows = []
    for key, row in book["rows"].items():
        mode, at, provider = key.split(" ", 2)
        if row["status"] == "measured":
            memory = max(1.0, row["extra_mb"] - row["gradients_mb"])
            rows.append({"mode": f"{mode} {at}", "provider": provider, "ms": row["ms"], "MB beyond gradients": memory})
    chart = altair.Chart(altair.Data(values=rows)).mark_point(size=90, filled=True)
    chart = chart.encode(
        x=altair.X("MB beyond gradients:Q").scale(type="log"),
        y=altair.Y("ms:Q").title("milliseconds"),
        color="provider:N",
        shape="provider:N",
    )
    chart.properties(width=220, height=180).facet("mode:N", columns=3).save(str(out))


def write_page(book: dict[str, Any], page: Path) -> None:
    """Put the table of goals and the one of providers between their marks in the page."""
    text = page.read_text()
    for mark, rows in (("<!-- goals -->", lines(book["goals"])), ("<!-- providers -->", comparison(book))):
        parts = text.split(mark + "\n")
        if len(parts) != 3:
            raise SystemExit(f"{page} needs two lines {mark!r} around a table")
        text = parts[0] + mark + "\n" + "\n".join(rows) + "\n" + mark + "\n" + parts[2]
    page.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / f"kernels-{'gpu' if device == 'cuda' else 'cpu'}.json"
    )
    parser.add_argument("--page", type=Path, help="put the tables into this page, docs/kernels.md")
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=MODES)
    parser.add_argument("--providers", nargs="*", default=[""], help="only these, by how they begin: naive ours")
    parser.add_argument("--repeats", type=int, default=20 if device == "cuda" else 3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    providers = tuple(arguments.providers)
    book = run(arguments.out, device, arguments.modes, providers, arguments.repeats, arguments.threads)
    print(table(book))
    print("\n".join(lines(book["goals"])))
    plot(book, arguments.out.with_suffix(".svg"))
    if arguments.page:
        write_page(book, arguments.page)


if __name__ == "__main__":
    main()
