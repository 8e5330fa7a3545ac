"""A fresh folder of runs for each test."""

from pathlib import Path

import pytest


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "runs"
