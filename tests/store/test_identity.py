"""A run goes on only with what it was made with; what differs is told line by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_stage import stage

from cai.errors import InputError
from cai.store import open_run
from cai.store.identity import canonical, differences

SETTINGS = {"rounds": 2, "temperature": 1.0, "principles": ["a", "b"], "system": None}
IDENTITY: dict[str, object] = {
    "schema": 1,
    "settings": SETTINGS,
    "constitution": "c" * 64,
    "model": "m" * 32,
    "templates": "t" * 32,
    "seed": 0,
}
CHANGES: list[tuple[dict[str, object], str]] = [
    ({"schema": 2}, "schema: 1 in the run, 2 now"),
    ({"settings": {**SETTINGS, "rounds": 4}}, "settings.rounds: 2 in the run, 4 now"),
    ({"settings": {**SETTINGS, "temperature": 0.7}}, "settings.temperature: 1.0 in the run, 0.7 now"),
    ({"settings": {**SETTINGS, "principles": ["a", "z"]}}, 'settings.principles[1]: "b" in the run, "z" now'),
    ({"settings": {**SETTINGS, "system": "x"}}, 'settings.system: null in the run, "x" now'),
    ({"settings": {**SETTINGS, "more": True}}, "settings.more: nothing in the run, true now"),
    ({"constitution": "d" * 64}, f'constitution: "{"c" * 64}" in the run, "{"d" * 64}" now'),
    ({"model": "n" * 32}, f'model: "{"m" * 32}" in the run, "{"n" * 32}" now'),
    ({"templates": "u" * 32}, f'templates: "{"t" * 32}" in the run, "{"u" * 32}" now'),
    ({"seed": 1}, "seed: 0 in the run, 1 now"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "line"), CHANGES)
def test_each_changed_field_is_refused_with_its_line(base: Path, change: dict[str, object], line: str) -> None:
    with open_run(base, "run", stage="test", identity=IDENTITY) as run:
        stage(run, range(3))
    with pytest.raises(InputError) as refused, open_run(base, "run", stage="test", identity={**IDENTITY, **change}):
        pass
    lines = str(refused.value).splitlines()
    assert lines[1:-1] == [f"  {line}"]
    assert "cai runs rm run" in lines[-1]
    assert refused.value.exit_code == 2
    with open_run(base, "run", stage="test", identity=dict(reversed(IDENTITY.items()))) as run:
        assert run.states("test") == {"ok": 3}


def test_without_rows_there_is_nothing_to_mix_and_the_new_identity_counts(base: Path) -> None:
    for seed in (0, 1):
        with open_run(base, "run", stage="test", identity={**IDENTITY, "seed": seed}):
            pass
    with open_run(base, "run", stage="test", identity={**IDENTITY, "seed": 1}) as run:
        assert run.reader.identity("test") == canonical({**IDENTITY, "seed": 1})


def test_long_values_are_cut() -> None:
    (line,) = differences(canonical({"text": "a" * 500}), canonical({"text": "b" * 500}))
    assert len(line) < 200
