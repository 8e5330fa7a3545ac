"""What the user asked `cai compare` for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from cai.cli.terminal import plain
from cai.config.compare import CompareSettings
from cai.config.engine import EngineSettings


@dataclass(frozen=True, slots=True)
class Given:
    """What the user asked for."""

    names: tuple[str, ...]
    settings: CompareSettings
    spec: EngineSettings
    recipe: Path | None
    overrides: tuple[str, ...]
    base: Path
    data: Path | None = None


def echo(line: str) -> None:
    """A line of progress."""
    typer.echo(plain(line), err=True)
