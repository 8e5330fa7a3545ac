"""Whether a training's folder was started with what it is now asked to go on with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cai.errors import InputError
from cai.store.files import dump_json, read_json, write_text
from cai.store.identity import canonical, differences
from cai.train.processes import processes

IDENTITY = "identity.json"


def agree(folder: Path, identity: Mapping[str, object]) -> None:
    """Raise InputError, with the differences, if not. Every process calls it; the first looks and writes for all."""
    if processes().is_main_process:
        stored, now = read_json(folder / IDENTITY), canonical(identity)
        if stored and canonical(stored) != now:
            lines = "".join(f"\n  {line}" for line in differences(canonical(stored), now))
            remedy = "go on with what it was made with, or use another run name"
            raise InputError(f"{folder} holds a training made with something else:{lines}\n  {remedy}")
        write_text(folder / IDENTITY, dump_json(identity))
    processes().wait_for_everyone()
