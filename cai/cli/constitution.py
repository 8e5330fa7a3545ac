"""`cai constitution …`: write, check, show, compare and import constitutions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from cai.errors import InputError, Where
from cai.strict_yaml import shown

app = typer.Typer(no_args_is_help=True)

File = Annotated[str, typer.Argument(metavar="FILE", help="A constitution's file, or the name of a shipped one.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write to this new file.")]


@app.command("list")
def list_shipped() -> None:
    """List the shipped constitutions and the families of principles."""
    from cai.constitution import load_constitution, shipped_constitutions
    from cai.constitution.check import library_of

    typer.echo("constitutions")
    for name in shipped_constitutions():
        typer.echo(f"  {name:<18} {load_constitution(name).description}")
    library = library_of()
    typer.echo("families of principles")
    for name in library.families():
        ids = [principle.id.partition("/")[2] for principle in library.resolve(name, Where())]
        typer.echo(f"  {name:<18} {', '.join(ids)}")


@app.command(short_help="Write a small constitution to go on from.")
def new(
    name: Annotated[str, typer.Argument(help="The constitution's name: letters, digits, `-` and `_`.")],
    out: Out = None,
) -> None:
    """Write a small working constitution that explains itself, to go on from."""
    from cai.constitution.template import new_text

    _check_name(name)
    folder = Path("constitution") if Path("constitution").is_dir() else Path()
    path = out or folder / f"{name}.yaml"
    _write(path, new_text(name, file=str(path)))


@app.command(short_help="Report every problem with its place and what to do.")
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Constitutions or families of principles.")],
    evaluation: Annotated[
        list[str] | None,
        typer.Option("--eval", metavar="PROMPTS", help="Prompts of an evaluation that no few-shot may contain."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 on warnings as well.")] = False,
) -> None:
    """Report every problem at once as file:line:column: what is wrong; what to do. An error makes the exit code 2."""
    from cai.constitution.check import check_file
    from cai.critique.prompts import read_critique

    bad = False
    for file in files:
        prompts = (pair for name in evaluation or () for pair in _prompts(name))
        checked = check_file(file, finds_problem=read_critique, evaluation=prompts)
        for problem in checked.errors:
            typer.echo(str(problem))
        for problem in checked.warnings:
            typer.echo(str(InputError(f"warning: {problem.what}", problem.remedy, problem.where)))
        bad = bad or bool(checked.errors) or (strict and bool(checked.warnings))
        typer.echo(f"{checked.path}: {_summary(len(checked.errors), len(checked.warnings))}", err=True)
    if bad:
        raise typer.Exit(2)


def _summary(errors: int, warnings: int) -> str:
    from cai.cli.rendered import count

    return ", ".join(count(n, what) for n, what in ((errors, "error"), (warnings, "warning")) if n) or "ok"


def _prompts(name: str) -> Iterator[tuple[str, str]]:
    """Each user turn of an evaluation set with its place."""
    from cai.inputs import PromptFile

    for prompt in PromptFile(name):
        yield from ((message.content, prompt.source) for message in prompt.messages if message.role == "user")


@app.command()
def show(
    file: File = "default",
    principle: Annotated[
        list[str] | None, typer.Option("-p", "--principle", metavar="ID", help="Only this principle; may be repeated.")
    ] = None,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="Print it resolved, as one file without `use:`.")] = False,
) -> None:
    """Print every prompt that each principle becomes, word for word."""
    from cai.cli.rendered import rendered
    from cai.constitution import load_constitution
    from cai.constitution.write import to_yaml
    from cai.strict_yaml import did_you_mean

    constitution = load_constitution(file)
    if as_yaml:
        typer.echo(to_yaml(constitution, note=f"Resolved from {file}."), nl=False)
        return
    known = {each.id: each for each in constitution.principles}
    for id in principle or ():
        if id not in known:
            remedy = did_you_mean(id, known) or f"its principles are {', '.join(known)}"
            raise InputError(f"no principle `{shown(id)}` in it", remedy, Where(file))
    for line in rendered(constitution, [known[id] for id in principle or known]):
        typer.echo(line)


@app.command(short_help="Compare two constitutions by what they mean.")
def diff(
    old: Annotated[str, typer.Argument(help="A constitution's file or name.")],
    new: Annotated[str, typer.Argument(help="The one to compare it with.")],
) -> None:
    """Compare two constitutions by what they mean: resolved principles, not lines of text."""
    from cai.cli.rendered import change_lines
    from cai.constitution import load_constitution
    from cai.constitution.diff import diff as changes_between

    first, second = load_constitution(old), load_constitution(new)
    changes = changes_between(first, second)
    if not changes:
        typer.echo(f"the same: both have sha {first.sha}")
    for change in changes:
        for line in change_lines(change):
            typer.echo(line)


@app.command("import", short_help="Make a constitution from another format.")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files that together make one constitution.")],
    name: Annotated[str, typer.Option("-n", "--name", help="The new constitution's name.")] = "imported",
    out: Out = None,
) -> None:
    """Make a constitution from other formats, told apart by what is in the files.

    Known are the JSON files of the CAI paper (critique and revision instructions, few-shot transcripts, judge
    principles), llm-swarm's JSON, Markdown whose headings carry {#id authority=...} as OpenAI's Model Spec, and plain
    lists of sentences (text, JSON, YAML). Without --out the YAML goes to the standard output.
    """
    from cai.constitution.importing import read_files
    from cai.constitution.write import to_yaml

    _check_name(name)
    imported = read_files(files, name=name)
    for line in (*imported.found, *imported.notes):
        typer.echo(shown(line, 400), err=True)
    text = to_yaml(imported.constitution, note=f"Imported from {', '.join(file.name for file in files)}.")
    if out is None:
        typer.echo(text, nl=False)
    else:
        _write(out, text)


@app.command(short_help="Write the JSON Schema for editors.")
def schema(
    family: Annotated[bool, typer.Option("--family", help="The schema of a family of principles instead.")] = False,
    out: Out = None,
) -> None:
    """Write the JSON Schema that an editor completes and checks constitutions with."""
    from cai.constitution.schema import constitution_schema, family_schema

    text = family_schema() if family else constitution_schema()
    if out is None:
        typer.echo(text, nl=False)
    else:
        _write(out, text)


def _check_name(name: str) -> None:
    from cai.constitution.files import NAME

    if not re.fullmatch(NAME, name):
        raise InputError(f"`{shown(name)}` cannot be a name", "use letters, digits, `-` and `_`, 64 at most")


def _write(path: Path, text: str) -> None:
    """Write a file that does not exist yet, and say so."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError("the file exists already", "choose another with -o", Where(path)) from None
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", "choose another with -o", Where(path)) from None
    typer.echo(f"wrote {path}")
