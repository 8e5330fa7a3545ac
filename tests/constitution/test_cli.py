"""`cai constitution` as a user meets it: a process with an exit code, findings on one output, errors on the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GOOD = "name: good\nprinciples: [Be kind.]\n"
BAD = "name: bad\nuse: [tonne]\nprinciples:\n  - Be kind.\nloop: {rounds: many}\n"


def cai(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from cai.cli import main; main()", "constitution", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "bad.yaml").write_text(BAD, encoding="utf-8")
    return tmp_path


def test_check_lists_every_problem_of_every_file(folder: Path) -> None:
    ran = cai("check", "good.yaml", "bad.yaml", "none.yaml", "defualt", cwd=folder)
    assert ran.returncode == 2
    assert ran.stdout.splitlines() == [
        "bad.yaml:2:7: use[0]: there is no family `tonne`; did you mean `tone`?",
        "bad.yaml:5:16: loop.rounds: must be a whole number, not the text `many`; "
        "write digits, without quotes or a fraction",
        "none.yaml: no such file; check the path",
        "there is no constitution `defualt`; did you mean `default`?",
    ]
    assert ran.stderr.splitlines() == [
        "good.yaml: ok",
        "bad.yaml: 2 errors",
        "none.yaml: 1 error",
        "defualt: 1 error",
    ]


def test_check_lets_warnings_pass_unless_strict(folder: Path) -> None:
    (folder / "judge.yaml").write_text("name: j\nprinciples: [{id: j, judge: Always answer A.}]\n", encoding="utf-8")
    ran = cai("check", "judge.yaml", "placebo", cwd=folder)
    assert ran.returncode == 0
    assert "judge.yaml:2:29: principles[0].judge: warning: the judge voice of `j` commands the judge" in ran.stdout
    assert "warning: no principles: this is a placebo" in ran.stdout
    assert cai("check", "judge.yaml", "--strict", cwd=folder).returncode == 2
    assert cai("check", "good.yaml", "--strict", cwd=folder).returncode == 0


def test_check_looks_for_leaks_in_an_evaluation(folder: Path) -> None:
    shot = "examples:\n  - {prompt: Name a blue fruit., reply: r, critique_request: q, critique: No change needed.}\n"
    (folder / "shot.yaml").write_text(GOOD + shot, encoding="utf-8")
    (folder / "eval.jsonl").write_text('{"prompt": "hello"}\n{"prompt": "Name a blue fruit!"}\n', encoding="utf-8")
    ran = cai("check", "shot.yaml", "--eval", "eval.jsonl", cwd=folder)
    assert ran.returncode == 0
    assert (
        "shot.yaml:4:14: examples[0].prompt: warning: the prompt of this example is in the evaluation set" in ran.stdout
    )
    assert "eval.jsonl:2" in ran.stdout
    missing = cai("check", "shot.yaml", "--eval", "none.jsonl", cwd=folder)
    assert missing.returncode == 2
    assert "none.jsonl" in missing.stderr


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["show", "bad.yaml"], "error: bad.yaml:2:7: use[0]: there is no family `tonne`"),
        (
            ["show", "good.yaml", "-p", "be-kidn"],
            "error: good.yaml: no principle `be-kidn` in it; did you mean `be-kind`?",
        ),
        (["diff", "good.yaml", "bad.yaml"], "error: bad.yaml:2:7: use[0]"),
        (["import", "none.txt"], "error: none.txt: no such file"),
        (["import", "good.yaml", "-n", "a b"], "error: `a b` cannot be a name"),
        (["new", "../x"], "error: `../x` cannot be a name"),
        (["new", "good"], "error: good.yaml: the file exists already"),
        (["schema", "-o", "no/such/folder.json"], "error: no/such/folder.json: cannot be written"),
    ],
)
def test_wrong_input_is_lines_without_a_traceback(args: list[str], error: str, folder: Path) -> None:
    ran = cai(*args, cwd=folder)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith(error)
    assert "Traceback" not in ran.stderr
    assert all(line.startswith("error: ") for line in ran.stderr.splitlines())


def test_new_then_check_then_show(folder: Path) -> None:
    assert cai("new", "mine", cwd=folder).stdout == "wrote mine.yaml\n"
    assert cai("check", "mine.yaml", "--strict", cwd=folder).returncode == 0
    shown = cai("show", "mine.yaml", "-p", "plain-words", cwd=folder).stdout
    assert shown.count("==") == 1
    assert "Rewrite your last reply in plain words." in shown


def test_resolved_yaml_means_the_same(folder: Path) -> None:
    (folder / "one.yaml").write_text(cai("show", "default", "--yaml", cwd=folder).stdout, encoding="utf-8")
    assert cai("diff", "default", "one.yaml", cwd=folder).stdout.startswith("the same: both have sha ")
    changed = cai("diff", "default", "good.yaml", cwd=folder)
    assert changed.returncode == 0
    assert "- tone/no-preaching: Which reply preaches less?" in changed.stdout
    assert "+ be-kind: Which reply follows this principle better? Be kind." in changed.stdout
    assert "~ loop draw: weighted -> random" in changed.stdout


def test_import_writes_a_file_that_checks(folder: Path) -> None:
    (folder / "list.txt").write_text("- Be kind.\n- Be brief.\n", encoding="utf-8")
    ran = cai("import", "list.txt", "-n", "ours", "-o", "ours.yaml", cwd=folder)
    assert ran.stdout == "wrote ours.yaml\n"
    assert ran.stderr == "list.txt: list of sentences: 2 principles, 0 examples\n"
    assert cai("check", "ours.yaml", "--strict", cwd=folder).returncode == 0


def test_odd_files_get_one_line_each(folder: Path) -> None:
    files = {
        "empty.yaml": b"",
        "comment.yaml": b"# nothing\n",
        "list.yaml": b"- a\n",
        "tab.yaml": b"name: x\n\tuse: [tone]\n",
        "utf16.yaml": "name: x".encode("utf-16"),
        "latin.yaml": b"name: caf\xe9\n",
        "huge.yaml": b"a" * (2 << 20),
        "nul.yaml": b"name: \x00\n",
        "docs.yaml": b"name: x\n---\nname: y\n",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    ran = cai("check", *files, ".", cwd=folder)
    assert ran.returncode == 2
    lines = ran.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [*files, "."]
    assert all("; " in line for line in lines)


def test_it_does_not_import_torch(folder: Path) -> None:
    code = (
        "import sys; sys.argv = ['cai', 'constitution', 'check', 'default']\n"
        "from cai.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    assert not {'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")
    assert ran.stderr.endswith("default.yaml: ok\n")
