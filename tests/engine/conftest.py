"""Folders of small models, built once, and engines over them."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cai.config.engine import EngineSettings
from cai.engine.transformers import TransformersEngine, open_transformers
from tests.engine.small_models import KINDS, build


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a small model of a kind of `small_models.KINDS`."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = build(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return folder


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    """Each architecture in turn."""
    return request.param


@pytest.fixture
def open_small(model_folder: Callable[[str], Path]) -> Iterator[Callable[..., TransformersEngine]]:
    """Opens the transformers engine on a small model; closed after the test."""
    opened: list[TransformersEngine] = []

    def start(kind: str, **settings: Any) -> TransformersEngine:
        folder = str(model_folder(kind))
        opened.append(open_transformers(EngineSettings(model=folder, **settings), folder, announce=print))
        return opened[-1]

    yield start
    for engine in opened:
        asyncio.run(engine.close())
