"""Suites of the model as a judge: pairs whose better reply people named."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cai.cli.engines import open_engine
from cai.cli.terminal import plain
from cai.config.engine import EngineSettings
from cai.config.evaluate import EvaluateSettings
from cai.errors import InputError, InputErrors, Where

if TYPE_CHECKING:
    from cai.judge.diagnostics import Share
    from cai.judge.exam import Exam, Known

JUDGE_SUITES = {"hh-rlhf": "hh-rlhf/harmless-base-test.jsonl.gz", "hhh": "hhh"}
"""Each with its file, or folder of files, under the folder of public data."""
MOST_TOLD = 20
DEFAULT_PAIRS = 200
"""Of hh-rlhf's 2,312 pairs; hhh is small and taken whole."""


def check_pairs(settings: EvaluateSettings, name: str) -> None:
    """Raise InputError(s) with file and line before any model loads."""
    for file in _files(settings, name):
        pairs_of(settings, name, file)


def judge_lines(settings: EvaluateSettings, spec: EngineSettings, name: str) -> list[str]:
    """Accuracy in both orders, floors, calibration, and the judge's own habits; a paragraph a file."""
    lines: list[str] = []
    for file in _files(settings, name):
        pairs, notes = pairs_of(settings, name, file)
        lines += [*_told(spec.model, f"{name} ({file.name})", _examined(settings, spec, pairs)), *notes]
    return lines


def _files(settings: EvaluateSettings, name: str) -> list[Path]:
    if not settings.data:
        raise InputError(f"suite {name} needs data", "give the folder with --data or CAI_DATA", Where("--data"))
    path = Path(settings.data) / JUDGE_SUITES[name]
    files = sorted(path.glob("*.jsonl")) if name == "hhh" else [path]
    if not files:
        raise InputError("no two-choice file", "put the released HHH *.jsonl there", Where(path))
    return files


def pairs_of(settings: EvaluateSettings, name: str, file: Path) -> tuple[list[Known], list[str]]:
    """The pairs, and what was left out of them; a row that is no pair at all is refused."""
    from cai.judge.exam import given_pairs, two_choice
    from cai.judge.given import DIVERGED, GivenFile

    if name == "hhh":
        return two_choice(file, settings.limit, settings.seed), []
    problems = GivenFile(file, "pairs").problems()
    if refused := [problem for problem in problems if problem.what != DIVERGED]:
        raise InputErrors(refused[:MOST_TOLD])
    notes = [f"{len(problems)} rows are left out: in each, {DIVERGED}"] if problems else []
    return given_pairs(file, settings.limit or DEFAULT_PAIRS, settings.seed), notes


def _examined(settings: EvaluateSettings, spec: EngineSettings, pairs: Sequence[Known]) -> Exam:
    from cai.judge.exam import examine
    from cai.judge.label import Combining
    from cai.judge.panel import Asking, Judge

    combining = Combining(pairs[0].principles[0].id, principles="all", inconsistent="tie")

    async def judge() -> Exam:
        engine = open_engine(spec)
        try:
            return await examine(pairs, [Judge(spec.model, engine)], Asking(seed=settings.seed), combining)
        finally:
            await engine.close()

    return asyncio.run(judge())


def _told(model: str, what: str, exam: Exam) -> list[str]:
    share, (floor, height), seen = exam.accuracy, exam.floor, exam.diagnostics
    value = "–" if share.value is None else f"{100 * share.value:.1f} %"
    lines = [
        "",
        f"{model} as a judge on {what}: accuracy {value}, 95 % interval {100 * share.low:.1f} to "
        f"{100 * share.high:.1f}, n = {share.n} of {exam.n} pairs about {exam.questions} questions; "
        f"floor {100 * height:.1f} % ({floor})",
    ]
    habits = {"flips with the order": seen.flips, "names the first": seen.first, "unread": seen.unread}
    lines.append("; ".join(f"{what} {_percent(share)}" for what, share in habits.items()))
    if exam.measured is not None:
        said, curve = exam.measured, ", ".join(f"{b.p:.2f} {b.rate:.2f} ({b.n})" for b in exam.measured.curve)
        lines.append(
            f"calibration error {said.ece:.3f} (by chance alone {said.ece_floor:.3f}); p, came true (n): {curve}"
        )
    return [plain(line) for line in lines]


def _percent(share: Share) -> str:
    return "–" if share.value is None else f"{100 * share.value:.1f} % of {share.n:,}"
