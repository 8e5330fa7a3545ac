"""README and the first page of the guide tell the truth: commands print what is shown, the map names what is there."""

import re
import shlex
from pathlib import Path

import pytest

from cai.config import load_settings
from cai.config.critique import CritiqueSettings
from cai.config.engine import EngineSettings
from cai.critique.hygiene import PROBLEMS
from cai.inputs.messages import KNOWN_COLUMNS
from tests.cli.process import cai_here

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/getting-started.md")


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


def sessions(page: str) -> list[tuple[str, list[str]]]:
    """Each `$ command` of a page with the lines shown under it."""
    found: list[tuple[str, list[str]]] = []
    for line in "".join(blocks(page, "console")).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def printed_by(command: str, folder: Path) -> list[str]:
    """What a reader looks at: the output, or of a command that fails its error lines."""
    ended = cai_here(*shlex.split(command)[1:], cwd=folder)
    return [
        line for line in (ended.err if ended.code else ended.out).splitlines() if ended.code == 0 or "error:" in line
    ]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_prints_what_the_page_shows(page, tmp_path):
    """`$ cat FILE` gives a file its content; `…` stands for the rest of what a `$ cai` command prints."""
    shown = sessions(page)
    assert any(command.startswith("cai ") for command, _ in shown)
    for command, lines in shown:
        if command.startswith("cat "):
            (tmp_path / command.removeprefix("cat ")).write_text("\n".join(lines) + "\n")
            continue
        assert command.startswith("cai ")
        printed = printed_by(command, tmp_path)
        if "…" in lines:
            lines = lines[: lines.index("…")]
            assert len(printed) > len(lines)
            printed = printed[: len(lines)]
        assert [" ".join(line.split()) for line in printed] == [" ".join(line.split()) for line in lines], command


def test_the_map_names_every_folder_of_the_package_and_nothing_else():
    (tree,) = blocks("README.md", "text")
    rows = [line.split(maxsplit=1) for line in tree.splitlines() if line.strip()]
    top = [name for (name, *_), line in zip(rows, tree.splitlines(), strict=True) if not line.startswith(" ")]
    inner = [name for (name, *_), line in zip(rows, tree.splitlines(), strict=True) if line.startswith(" ")]
    packages = {f"{path.parent.name}/" for path in (ROOT / "cai").glob("*/*.py")}
    modules = {path.name for path in (ROOT / "cai").glob("*.py")} - {"__init__.py"}
    assert set(inner) == packages | modules
    assert all((ROOT / name).exists() for name in top)
    assert all(len(gloss[0].split()) <= 8 for _, *gloss in rows if gloss)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    assert all(((ROOT / page).parent / link).exists() for link in links)


def test_the_reasons_and_columns_of_the_guide_are_the_programs():
    guide = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    table = guide.partition("a test compares -->")[2].partition("<!-- end")[0]
    assert re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.M) == list(PROBLEMS.items())
    named = guide.partition("found by its name: ")[2].partition("in this order")[0]
    assert tuple(name for name in re.findall(r"`(\w+)`", named) if name != "input") == KNOWN_COLUMNS


def test_the_recipe_of_the_guide_is_valid(tmp_path):
    (recipe,) = blocks("docs/getting-started.md", "yaml")
    (tmp_path / "recipe.yaml").write_text(recipe)
    settings = load_settings(CritiqueSettings, "critique", tmp_path / "recipe.yaml", (), {})
    engine = load_settings(EngineSettings, "engine", tmp_path / "recipe.yaml", (), {})
    assert settings.critic is not None
    assert (settings.critic.kind, engine.model, settings.rounds) == ("openai", "models/policy", 2)
