"""The goals the kernels were built for, read off a book of measurements. What is not measured is said to be so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

CPU, GPU, LONG = "4096x512x32768", "8192x4096x128256", "65536x2048x256000"


class NotMeasuredError(LookupError):
    """A row that a goal needs is missing."""


@dataclass(frozen=True, slots=True)
class Book:
    """Rows of measurements, and the products' own times, by shape."""

    rows: Mapping[str, Mapping[str, Any]]
    ceilings: Mapping[str, Mapping[str, float]]

    def row(self, mode: str, at: str, provider: str) -> Mapping[str, Any]:
        found = self.rows.get(f"{mode} {at} {provider}", {})
        if found.get("status") != "measured":
            raise NotMeasuredError(f"{mode} {at} {provider}")
        return found

    def ours(self, mode: str, at: str) -> Mapping[str, Any]:
        """The fastest of our plans and engines that keep full precision."""
        mine = [
            row
            for key, row in self.rows.items()
            if key.startswith(f"{mode} {at} ours:") and not key.endswith("rounded") and row["status"] == "measured"
        ]
        if not mine:
            raise NotMeasuredError(f"{mode} {at} ours")
        return min(mine, key=lambda row: row["ms"])

    def product(self, at: str) -> float:
        """Milliseconds of the library's own head product."""
        if at not in self.ceilings:
            raise NotMeasuredError(f"the head product at {at}")
        return self.ceilings[at]["logits_ms"]

    def slower(self, mode: str, at: str, provider: str) -> float:
        """How many times our time another one takes."""
        return self.row(mode, at, provider)["ms"] / self.ours(mode, at)["ms"]


def beyond(row: Mapping[str, Any]) -> float:
    """Megabytes beyond inputs and gradients."""
    return row["extra_mb"] - row["gradients_mb"]


def _ratio(book: Book, mode: str, provider: str) -> float:
    return book.row(mode, CPU, provider)["ms"] / book.row(mode, CPU, "naive")["ms"]


def _share_of_memory(book: Book, mode: str, provider: str) -> float:
    return beyond(book.row(mode, CPU, provider)) / beyond(book.row(mode, CPU, "naive"))


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that should be at most (or at least) a bound."""

    device: str
    what: str
    sign: str
    bound: float
    figure: Callable[[Book], float]

    def judged(self, book: Book) -> dict[str, Any]:
        """The goal beside what was measured, or marked unmeasured."""
        about = {"device": self.device, "goal": self.what, "wanted": f"{self.sign} {self.bound:g}"}
        try:
            got = self.figure(book)
        except NotMeasuredError as missing:
            return about | {"status": "unmeasured", "why": f"no row {missing}"}
        met = got <= self.bound if self.sign == "<=" else got >= self.bound
        return about | {"status": "measured", "got": float(f"{got:.3g}"), "met": met}


RECOMPUTE = "ours:recompute:torch"
GOALS = (
    Goal("cpu", "scores only, time / naive", "<=", 1.25, lambda b: _ratio(b, "nograd", "ours:score:torch")),
    Goal("cpu", "scores only, extra memory / naive", "<=", 0.05,
         lambda b: _share_of_memory(b, "nograd", "ours:score:torch")),
    Goal("cpu", "recompute, time / naive", "<=", 1.25, lambda b: _ratio(b, "train", RECOMPUTE)),
    Goal("cpu", "recompute, extra memory / naive", "<=", 0.05, lambda b: _share_of_memory(b, "train", RECOMPUTE)),
    Goal("cpu", "frozen head, time / naive", "<=", 0.95, lambda b: _ratio(b, "frozen", "ours:frozen:torch")),
    Goal("cpu", "25 % scored, naive / time", ">=", 3.0, lambda b: 1.0 / _ratio(b, "masked", RECOMPUTE)),
    Goal("cuda", "scores only, share of the library's rate", ">=", 0.80,
         lambda b: b.product(GPU) / b.ours("nograd", GPU)["ms"]),
    Goal("cuda", "scores only, error of a log-prob", "<=", 5e-5, lambda b: b.ours("nograd", GPU)["logp_max"]),
    Goal("cuda", "trainable, ms", "<=", 37.0, lambda b: b.ours("train", GPU)["ms"]),
    Goal("cuda", "trainable, TRL / time", ">=", 1.25, lambda b: b.slower("train", GPU, "trl")),
    Goal("cuda", "trainable, extra MB", "<=", 3500.0, lambda b: beyond(b.ours("train", GPU))),
    Goal("cuda", "frozen head, ms", "<=", 25.5, lambda b: b.ours("frozen", GPU)["ms"]),
    Goal("cuda", "frozen head, TRL / time", ">=", 1.8, lambda b: b.slower("frozen", GPU, "trl")),
    Goal("cuda", "65,536 tokens x 256,000, extra MB", "<=", 2500.0,
         lambda b: min(beyond(b.row("train", LONG, f"ours:recompute:{e}")) for e in ("triton", "cublas"))),
)  # fmt: skip


def judged(book: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every goal beside what was measured."""
    return [goal.judged(Book(book["rows"], book["ceilings"])) for goal in GOALS]


def lines(goals: list[dict[str, Any]]) -> list[str]:
    """Rows of a markdown table, as docs/kernels.md shows them."""
    found = ["| device | goal | wanted | measured | |", "|---|---|---|---|---|"]
    for goal in goals:
        got = f"{goal['got']:g}" if goal["status"] == "measured" else "unmeasured"
        verdict = {True: "met", False: "missed", None: ""}[goal.get("met")]
        found.append(f"| {goal['device']} | {goal['goal']} | {goal['wanted']} | {got} | {verdict} |")
    return found


def comparison(book: Mapping[str, Any], modes: tuple[str, ...] = ("nograd", "train", "frozen", "masked")) -> list[str]:
    """Rows of a markdown table: every provider's milliseconds, and megabytes beyond inputs and gradients, on a CPU."""
    cells: dict[str, dict[str, str]] = {}
    for key, row in book["rows"].items():
        mode, at, provider = key.split(" ", 2)
        if at == CPU and mode in modes and row["status"] == "measured":
            cells.setdefault(provider, {})[mode] = f"{row['ms']:,.0f} ms, {beyond(row):,.0f} MB"
    found = ["| provider | " + " | ".join(modes) + " |", "|---|" + "---|" * len(modes)]
    for provider in sorted(cells, key=lambda name: (name.startswith("ours"), name)):
        found.append(f"| {provider} | " + " | ".join(cells[provider].get(mode, "") for mode in modes) + " |")
    return found
