"""What a run writes as it goes: `metrics.jsonl`, `evaluations.jsonl` with transcripts, and the warnings in them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cai.train.rl.rollout import Sample
from cai.train.rl.watch import Evaluation, Warned


class Journal:
    """Append-only lines, one a step or an evaluation; a resumed run cuts off what its checkpoint does not know."""

    def __init__(self, folder: Path, *, writes: bool) -> None:
        self._writes = writes
        self._metrics, self._evaluations = folder / "metrics.jsonl", folder / "evaluations.jsonl"
        folder.mkdir(parents=True, exist_ok=True)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """One step's means."""
        self._append(self._metrics, {"step": step, **values})

    def evaluation(
        self, seen: Evaluation, samples: Sequence[Sample], shares: dict[str, float], warned: Sequence[Warned]
    ) -> None:
        """One evaluation with its transcripts and warnings."""
        transcripts = [
            {"messages": [m.model_dump() for m in s.prompt.messages], "reply": s.text, "prompt": s.prompt.id}
            for s in samples
        ]
        self._append(
            self._evaluations,
            {**asdict(seen), "shares": shares, "transcripts": transcripts, "warnings": [asdict(w) for w in warned]},
        )

    def rewind(self, step: int, evaluated: set[int]) -> None:
        """Keep the lines up to `step` and the evaluations named."""
        if not self._writes:
            return
        _keep(self._metrics, lambda line: line["step"] <= step)
        _keep(self._evaluations, lambda line: line["step"] in evaluated)

    def evaluations(self) -> list[dict[str, Any]]:
        """All evaluations so far, in order."""
        return _lines(self._evaluations)

    def warnings(self) -> list[dict[str, Any]]:
        """All warnings so far, in order."""
        return [warned for line in self.evaluations() for warned in line["warnings"]]

    def _append(self, path: Path, value: dict[str, Any]) -> None:
        if self._writes:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_nulled(value), ensure_ascii=False, allow_nan=False) + "\n")


def _nulled(value: Any) -> Any:
    """The value with null in place of nan: JSON has no number for what was not read."""
    if isinstance(value, dict):
        return {key: _nulled(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_nulled(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; a kill may have torn the last one, which its checkpoint does not know of."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _keep(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    kept = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in _lines(path) if wanted(line))
    part = path.with_suffix(".part")
    part.write_text(kept, encoding="utf-8")
    part.replace(path)
