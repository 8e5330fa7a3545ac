"""Every training recipe we keep loads, and the command line tells a typo before it imports torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cai.config import load_settings
from cai.config.train import TrainSettings
from cai.strict_yaml import load

ROOT = Path(__file__).parents[2]
RECIPES = [f for f in sorted((ROOT / "runs").glob("*.yaml")) if "train" in (load(f).value or {})]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda f: f.stem)
def test_recipe(recipe: Path) -> None:
    settings = load_settings(TrainSettings, "train", recipe, [], {})
    assert settings.batch_size % settings.micro_batch == 0


def test_there_are_recipes() -> None:
    assert {"sft-tiny", "dpo-tiny", "reward-tiny", "dpo-0.5b", "dpo-8b-lora"} <= {f.stem for f in RECIPES}


def test_a_wrong_method_is_told_without_torch() -> None:
    code = "import sys; sys.argv = ['cai', 'train', 'dop']; import cai.cli.app as a\ntry: a.main()\nexcept SystemExit as e: print(e.code, 'torch' in sys.modules)"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2", "False"], done.stderr
    assert "did you mean" in done.stderr
