"""`cai compare` without its flags: constitutions or runs to a `Result`, and the result to its three files."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cai.cli.compare_given import Given
from cai.cli.terminal import plain
from cai.constitution import Constitution, load_constitution
from cai.errors import InputError, Where

if TYPE_CHECKING:
    from cai.compare.result import Result
    from cai.compare.sides import Origin, Paired
    from cai.store import Counts

FILES = ("report.html", "report.md", "report.json")


def compare(given: Given) -> Iterator[str]:
    """Run what is missing, compare, write the report; the lines to print.

    Raises InputError before any model loads, and TooManyErrors once the report is out.
    """
    if len(given.names) < 2:
        raise InputError("nothing to compare", "name two constitutions or two runs")
    runs = [is_run(given.base, name) for name in given.names]
    if any(runs) and not all(runs):
        odd = given.names[runs.index(False)]
        raise InputError(f"{odd} is not a run, but another name is", "give constitutions only or runs only")
    if all(runs):
        yield from _finished_runs(given)
        return
    constitutions = distinct_names([load_constitution(name) for name in given.names])
    if given.settings.depth == "text":
        yield from _texts(given, constitutions)
        return
    from cai.cli.compare_made import make

    tally: list[Counts] = []
    result, paired = make(given, constitutions, tally)
    yield from lines_of(result)
    yield from write(given, result, paired)
    for counts in tally:
        counts.check_errors()


def is_run(base: Path, name: str) -> bool:
    """Whether the word names a folder with a journal, itself or in the folder of runs."""
    from cai.store.run import JOURNAL

    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return False
    return (path / JOURNAL).is_file() or ("/" not in name and (base / name / JOURNAL).is_file())


def distinct_names(constitutions: Sequence[Constitution]) -> list[Constitution]:
    """Constitutions of one name get a number behind it."""
    found: list[Constitution] = []
    for one in constitutions:
        same = sum(other.name == one.name or other.name.startswith(f"{one.name} #") for other in found)
        found.append(one.model_copy(update={"name": f"{one.name} #{same + 1}"}) if same else one)
    return found


def _finished_runs(given: Given) -> list[str]:
    from cai.compare.assemble import assemble, with_drafts
    from cai.compare.sides import pair, read_sides

    if given.settings.depth != "data":
        what = f"depth {given.settings.depth} needs constitutions, not finished runs"
        raise InputError(what, "name the constitutions' files", Where("--depth"))
    with _collector_at_rest():
        sides = read_sides(given.base, given.names)
        paired = with_drafts(pair(sides))
        result = assemble(sides, paired=paired, seed=given.settings.seed)
        return [*lines_of(result), *write(given, result, paired)]


@contextmanager
def _collector_at_rest() -> Generator[None]:
    """All records live to the end and hold no cycles: looking through them again and again took a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _texts(given: Given, constitutions: Sequence[Constitution]) -> list[str]:
    from cai.compare.result import Result
    from cai.compare.wording import compare_wording

    wording = compare_wording(constitutions)
    names = " and ".join(one.name for one in constitutions)
    said = f"{names}: {len(wording.changes)} differences in meaning, {len(wording.near)} near-duplicates."
    result = Result(depth="text", headline=(said,), wording=wording, origins=tuple(map(_origin, constitutions)))
    return [*lines_of(result), *write(given, result, None)]


def _origin(constitution: Constitution) -> Origin:
    from cai.compare.sides import Origin

    return Origin(name=constitution.name, run="", constitution=constitution.sha)


def lines_of(result: Result) -> list[str]:
    """What the terminal shows: the headline, the shown differences, the texts' changes."""
    from cai.cli.table import table_lines
    from cai.measures.contrast import number

    lines = [plain(line) for line in result.headline]
    if result.depth == "text":
        rows = [[c.kind, c.subject, c.part, c.before, c.after] for c in result.wording.changes]
        lines += ["", *table_lines([["what", "principle", "part", "before", "after"], *rows], 44)] if rows else []
        lines += [f"near-duplicates: {plain(d.x)} and {plain(d.y)} ({d.overlap:.0%})" for d in result.wording.near]
    shown = [c for c in result.contrasts if c.shown]
    if shown:
        rows = [
            [c.outcome, c.a, c.b, number(c.difference, c.unit),
             f"{number(c.low or 0.0, c.unit, bare=True)} to {number(c.high or 0.0, c.unit, bare=True)}", f"{c.n:,}"]
            for c in shown
        ]  # fmt: skip
        lines += ["", *table_lines([["shown to differ", "a", "b", "b - a", "95 % interval", "n"], *rows], 32)]
    for suite in result.suites:
        c = suite.contrast
        said = "" if c.shown else ", no difference shown"
        lines.append(plain(f"{suite.suite} {c.outcome}: {number(c.difference, c.unit)}{said}, n = {c.n:,}"))
    for effect in result.effects:
        said = ", ".join(f"{c.outcome} {number(c.difference, c.unit)}" for c in effect.contrasts if c.shown)
        lines.append(plain(f"{effect.side}, what {effect.principle} adds: {said or 'no effect shown'}"))
    for two in result.judging.overlaps:
        if two.verdict:
            share = f"{two.disagreement:.0%} of {two.n} pairs apart"
            lines.append(plain(f"{two.judge}: {two.x} and {two.y}: {two.verdict} ({share})"))
    return [*lines, "", *(plain(note) for note in result.notes)]


def write(given: Given, result: Result, paired: Paired | None) -> list[str]:
    """The three files, in the report's folder."""
    from cai.compare.report.markdown import markdown
    from cai.compare.report.page import page
    from cai.store import files
    from cai.store.run import run_folder

    folder = run_folder(given.base, given.settings.run)
    folder.mkdir(parents=True, exist_ok=True)
    texts = (
        page(result, paired, given.settings.transcripts),
        markdown(result, paired),
        result.model_dump_json(indent=1, ensure_ascii=True) + "\n",
    )
    for name, text in zip(FILES, texts, strict=True):
        files.write_text(folder / name, text)
    return [f"written to {folder}: {', '.join(FILES)}"]
