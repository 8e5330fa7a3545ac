"""A flag beats an override, which beats the recipe, which beats the default; every mistake names its place."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from cai.config import Settings, load_settings
from cai.config.critique import CritiqueSettings
from cai.errors import InputError, InputErrors


class Engine(Settings):
    model: str = "tiny"
    """Folder or name of the model."""
    rate: float = Field(1.0, gt=0)
    """Requests a second."""


class Critique(Settings):
    rounds: int = 2
    """Critique-revision rounds of a chain."""
    draw: Literal["random", "cycle"] = "random"
    """How principles are drawn."""
    prompts: tuple[Path, ...] = ()
    """Files of prompts."""
    engine: Engine = Engine()
    """The critic."""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("critique:\n  rounds: 4\n  engine:\n    model: from-recipe\nlabel:\n  anything: 1\n")
    return path


def problems(recipe: Path | None, *overrides: str, **flags: object) -> list[str]:
    with pytest.raises(InputError) as wrong:
        load_settings(Critique, "critique", recipe, overrides, flags)
    assert wrong.value.exit_code == 2
    return str(wrong.value).splitlines()


def test_defaults_alone() -> None:
    assert load_settings(Critique, "critique", None, (), {}) == Critique()


def test_each_layer_beats_the_one_below(recipe: Path) -> None:
    def rounds(*overrides: str, **flags: object) -> int:
        return load_settings(Critique, "critique", recipe, overrides, flags).rounds

    assert rounds() == 4
    assert rounds("critique.rounds=5") == 5
    assert rounds("critique.rounds=5", "critique.rounds=6") == 6
    assert rounds("critique.rounds=5", rounds=7) == 7
    assert rounds("critique.rounds=5", rounds=None) == 5


def test_an_override_of_one_key_keeps_its_neighbours(recipe: Path) -> None:
    settings = load_settings(
        Critique, "critique", recipe, ["critique.engine.rate=2"], {"prompts": (Path("a"), Path("b"))}
    )
    assert settings.engine == Engine(model="from-recipe", rate=2.0)
    assert settings.prompts == (Path("a"), Path("b"))


def test_override_values_are_written_as_in_yaml() -> None:
    def engine(value: str) -> Engine:
        return load_settings(Critique, "critique", None, [f"critique.engine={value}"], {}).engine

    assert engine("{model: no, rate: 5e-7}") == Engine(model="no", rate=5e-7)
    settings = load_settings(Critique, "critique", None, ["critique.prompts=[a.txt, 'b=c.txt']"], {})
    assert settings.prompts == (Path("a.txt"), Path("b=c.txt"))


def test_overrides_and_sections_of_other_stages_are_left_to_them(recipe: Path) -> None:
    settings = load_settings(Critique, "critique", recipe, ["label.whatever=1", "engine.model=x"], {})
    assert settings.rounds == 4


def test_an_empty_recipe_is_no_recipe(tmp_path: Path) -> None:
    for text in ("", "# nothing\n", "critique:\n"):
        (tmp_path / "r.yaml").write_text(text)
        assert load_settings(Critique, "critique", tmp_path / "r.yaml", (), {}) == Critique()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("critique:\n  rouns: 4\n", "2:3: critique.rouns: unknown key `rouns`; did you mean `rounds`?"),
        ("critiqe: {}\n", "1:1: critiqe: unknown section `critiqe`; did you mean `critique`?"),
        ("critique:\n  rounds: '4'\n", "2:11: critique.rounds: must be a whole number, not the text `4`; "),
        ("critique:\n  draw: cicle\n", "2:9: critique.draw: `cicle` is not an option here; did you mean `cycle`?"),
        ("- critique\n", "1:1: a recipe is a mapping of sections; start it with `critique:`"),
        ("critique: 3\n", "1:11: critique: must be a mapping, not `3`; "),
    ],
)
def test_a_mistake_in_the_recipe_names_its_line(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    (found,) = problems(tmp_path / "r.yaml")
    assert found.startswith(f"{tmp_path / 'r.yaml'}:{line}")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("critique.rouns=4", "override `critique.rouns=4`: unknown key `rouns`; did you mean `rounds`?"),
        ("critique.engine.rate=0", "override `critique.engine.rate=0`: must be greater than 0"),
        ("critique.engine.model=7", "override `critique.engine.model=7`: must be text, not `7`"),
        ("critique.rounds", "override `critique.rounds`: this is not an override; write section.key=value"),
        ("rounds=4", "override `rounds=4`: this is not an override; write section.key=value"),
        ("critique..x=4", "override `critique..x=4`: this is not an override; write section.key=value"),
        ("critik.rounds=4", "override `critik.rounds=4`: unknown section `critik`; did you mean `critique`?"),
        ("critique.rounds=[1", "override `critique.rounds=[1`:"),
        ("critique.rounds=*x", "override `critique.rounds=*x`:1:1: anchors and aliases (`x`) are not allowed"),
        (
            "critique.rounds=!!python/object:os.system 1",
            "override `critique.rounds=!!python/object:os.system 1`:1:1: the tag",
        ),
    ],
)
def test_a_mistake_in_an_override_names_the_override(recipe: Path, override: str, line: str) -> None:
    (found,) = problems(recipe, override)
    assert found.startswith(line)


def test_a_mistake_in_a_flag_names_the_flag(recipe: Path) -> None:
    (found,) = problems(recipe, draw="cicle")
    assert found == "--draw: `cicle` is not an option here; did you mean `cycle`?"


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("critique:\n  rouns: 4\n  draw: cicle\n")
    assert len(problems(tmp_path / "r.yaml", "critique.engine.rate=x", "nonsense", rounds="many")) == 5


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.yaml") == [f"{tmp_path / 'none.yaml'}: no such file; check the path"]


def test_the_string_under_a_field_is_its_description() -> None:
    assert Critique.model_json_schema()["properties"]["rounds"]["description"] == "Critique-revision rounds of a chain."


def test_settings_do_not_change_after_they_are_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Critique().rounds = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_several_problems_are_one_error_with_one_line_each(recipe: Path) -> None:
    with pytest.raises(InputErrors) as wrong:
        load_settings(Critique, "critique", recipe, ["critique.a=1", "critique.b=2"], {})
    assert len(wrong.value.problems) == 2


@pytest.mark.parametrize(
    ("key", "word", "said"),
    [
        ("seed", 2**63, "must be less than 9223372036854775808"),
        ("seed", -1, "must be greater than or equal to 0"),
        ("price_in", float("inf"), "must be a finite number, not `inf`"),
        ("max_cost", float("nan"), "must be a finite number, not `nan`"),
        ("prompts", "", "must not be empty"),
        ("constitution", "", "must not be empty"),
    ],
)
def test_values_that_would_fail_late_are_refused_at_once(key: str, word: object, said: str) -> None:
    """An export holds seeds in 64 bits, a cost is a sum, and an empty path is the folder one happens to be in."""
    with pytest.raises(InputError) as wrong:
        load_settings(CritiqueSettings, "critique", None, (), {key: word})
    assert str(wrong.value).startswith(f"--{key.replace('_', '-')}: {said}")
