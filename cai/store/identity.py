"""What a stage's rows depend on, and the difference when the same run is asked to go on with something else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

_LONGEST = 80


def canonical(identity: Mapping[str, object]) -> str:
    """One text per identity: sorted keys, plain JSON values only."""
    return json.dumps(identity, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False)


def differences(stored: str, now: str) -> list[str]:
    """One line per value that differs: `settings.rounds: 2 in the run, 4 now`."""
    old, new = dict(_flat(json.loads(stored))), dict(_flat(json.loads(now)))
    return [
        f"{key}: {_short(old, key)} in the run, {_short(new, key)} now"
        for key in sorted({*old, *new})
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
    ]


_ABSENT = object()


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and value:
        for name, part in cast(dict[str, Any], value).items():
            yield from _flat(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value:
        for index, part in enumerate(cast(list[Any], value)):
            yield from _flat(part, f"{key}[{index}]")
    else:
        yield key, value


def _short(values: Mapping[str, object], key: str) -> str:
    if key not in values:
        return "nothing"
    text = json.dumps(values[key], ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
