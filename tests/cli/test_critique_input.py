"""Wrong input to `cai critique`: one clear line, exit code 2, no traceback, and nothing heavy imported before."""

import json
import shutil
from pathlib import Path

import pytest

from cai.records import Usage
from cai.store import open_run
from cai.store.row import Row
from cai.testbed import TINY
from tests.cli.process import cai


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one good prompt file and one good constitution, to spoil."""
    (tmp_path / "p.jsonl").write_text('{"prompt": "How do I bake bread?"}\n')
    (tmp_path / "c.yaml").write_text("name: mine\nprinciples:\n- Be kind.\n")
    return tmp_path


def write(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


def nothing(folder: Path) -> None:
    """Leave the folder as it is."""


def without_template(folder: Path) -> None:
    shutil.copytree(TINY, folder / "model")
    (folder / "model" / "chat_template.jinja").unlink()


def with_pickled_weights(folder: Path) -> None:
    shutil.copytree(TINY, folder / "model")
    (folder / "model" / "model.safetensors").rename(folder / "model" / "pytorch_model.bin")


def with_own_code(folder: Path) -> None:
    shutil.copytree(TINY, folder / "model")
    config = folder / "model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {"AutoConfig": "evil.Config"}}))


ROWS = '{"prompt": "fine"}\n{"prompt": 3}\n'
CASES = {
    "unknown key": (write("c.yaml", "name: x\nprincipels: [a]\n"), "-c c.yaml", "c.yaml:2:1: principels: unknown key"),
    "wrong type": (write("c.yaml", "name: x\nprinciples: 3\n"), "-c c.yaml", "c.yaml:2:13: principles:"),
    "typo of a principle": (
        write("c.yaml", "name: x\nuse: [harmlessness/no-help-with-ham]\n"),
        "-c c.yaml",
        "did you mean `harmlessness/no-help-with-harm`?",
    ),
    "missing constitution": (nothing, "-c nowhere.yaml", "nowhere.yaml: no such file"),
    "missing prompts": (nothing, "-p nowhere.jsonl", "nowhere.jsonl: no such file"),
    "empty prompts": (write("p.jsonl", "\n\n"), "-p p.jsonl", "p.jsonl: the file holds no prompts"),
    "unreadable row": (write("p.jsonl", ROWS), "-p p.jsonl", "p.jsonl:2: prompt: a prompt is a string"),
    "no known column": (write("p.csv", "a,b\n1,2\n"), "-p p.csv", "name it with --column"),
    "unknown column": (nothing, "-p p.jsonl --column ask", "no column `ask`; columns here: prompt"),
    "no chat template": (without_template, "-p p.jsonl -m model", "chat template"),
    "pickled weights": (with_pickled_weights, "-p p.jsonl -m model", "safetensors"),
    "own code": (with_own_code, "-p p.jsonl -m model", "auto_map"),
    "missing model": (nothing, "-p p.jsonl -m ./nowhere", "./nowhere"),
    "missing critic": (nothing, "-p p.jsonl --critic-model ./nowhere", "./nowhere"),
    "unknown engine": (nothing, "--engine vlm", "engine.kind=vlm"),
    "unknown setting": (nothing, "critique.rouns=4", "did you mean `rounds`?"),
    "setting out of bounds": (nothing, "--max-tokens 0", "--max-tokens"),
    "missing recipe": (nothing, "nowhere.yaml", "nowhere.yaml: no such recipe"),
    "run name": (nothing, "-r ../up", "run name '../up' is not allowed"),
    "empty model": (nothing, "-p p.jsonl engine.model=''", "the model's name is empty"),
    "split of a file": (nothing, "-p p.jsonl --split train", "p.jsonl: a file has no splits"),
    "seed past 64 bits": (nothing, f"-p p.jsonl --seed {2**63}", "--seed: must be less than"),
    "no key": (nothing, "-p p.jsonl --engine openai", "api.openai.com needs a key; set the environment variable"),
    "no address": (nothing, "-p p.jsonl --engine openai engine.openai.base_url=here", "is no address: here"),
    "no key of the critic": (
        write("r.yaml", "critique: {prompts: p.jsonl, critic: {kind: openai, model: x}}\n"),
        "r.yaml",
        "api.openai.com needs a key",
    ),
    "no folder for runs": (nothing, "-p p.jsonl --in c.yaml", "c.yaml/critique: cannot write: "),
    "cost without price": (nothing, "--max-cost 1", "give --price-in and --price-out"),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_input_is_one_clear_line(folder, case):
    spoil, words, said = CASES[case]
    spoil(folder)
    before = sorted(folder.rglob("*"))
    ended = cai("critique", *words.split(), cwd=folder, OPENAI_API_KEY="")
    assert ended.code == (1 if case == "no folder for runs" else 2), ended.err
    assert said in ended.err
    assert ended.out == ""
    assert all(line.startswith("error: ") for line in ended.err.splitlines())
    assert not ended.imported_torch
    assert sorted(folder.rglob("*")) == before


def test_every_part_of_a_recipe_is_checked_with_its_line(folder):
    (folder / "r.yaml").write_text("critique:\n  seed: one\nengine:\n  modle: tiny\n")
    ended = cai("critique", "r.yaml", cwd=folder)
    assert ended.code == 2
    assert "r.yaml:2:" in ended.err


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("vllm", "vLLM is not installed; on a GPU: pip install 'cai[vllm]'; on a CPU: make vllm"),
        ("ray", "Ray is not installed; pip install 'cai[ray]', or make ray in a checkout"),
        ("ray:vllm", "Ray is not installed; pip install 'cai[ray]', or make ray in a checkout"),
    ],
)
@pytest.mark.parametrize("part", ["engine", "critic"])
def test_an_engine_that_is_not_installed_is_told_with_the_command_that_installs_it(folder, kind, said, part):
    """Also where another part's model could be loaded. Python finds neither of them, as on a machine without."""
    (folder / "blind").mkdir()
    (folder / "blind" / "sitecustomize.py").write_text("import sys\nsys.modules.update(vllm=None, ray=None)\n")
    recipe = f"engine: {{kind: '{kind}'}}" if part == "engine" else f"critique: {{critic: {{kind: '{kind}'}}}}"
    (folder / "r.yaml").write_text(recipe)
    ended = cai("critique", "r.yaml", "-p", "p.jsonl", cwd=folder, PYTHONPATH=str(folder / "blind"))
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {said}\n")
    assert not ended.imported_torch
    assert not (folder / "runs").exists()


def test_a_run_that_cannot_go_on_is_refused_before_a_model_loads(folder):
    identity = {"seed": 0, "models": {"draft": "x"}}
    with open_run(folder / "runs", "r", stage="critique", identity=identity) as run:
        run.journal.add("critique", [Row("key", 0, "ok", "{}", "", "", 1, 0.0, Usage())])
        held = cai("critique", "-p", "p.jsonl", "-r", "r", cwd=folder)
    assert held.code == 3
    assert held.err.startswith("error: runs/r: held by process ")
    other = cai("critique", "-p", "p.jsonl", "-r", "r", "--seed", "1", cwd=folder)
    assert other.code == 2
    assert "error:   seed: 0 in the run, 1 now\n" in other.err
    assert not held.imported_torch
    assert not other.imported_torch
