"""Everything that is wrong with one file, a constitution or a family of the library, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cai.constitution.library import Library, read_family
from cai.constitution.lint import lint, lint_examples, lint_leaks
from cai.constitution.load import Loaded, find_constitution, inspect
from cai.constitution.model import Constitution
from cai.errors import InputError, InputErrors
from cai.strict_yaml import read


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found. Errors make the file unusable, warnings do not."""

    path: Path
    constitution: Constitution | None
    errors: tuple[InputError, ...]
    warnings: tuple[InputError, ...] = ()


def check_file(
    path_or_name: Path | str,
    *,
    finds_problem: Callable[[str], bool | None],
    evaluation: Iterable[tuple[str, str]] = (),
) -> Checked:
    """Load and lint a constitution or a family file. Problems are returned, not raised.

    `finds_problem` reads a critique as the loop does; `evaluation` holds (text, source) of prompts that no few-shot may
    contain.
    """
    try:
        path = find_constitution(path_or_name)
    except InputError as error:
        return Checked(Path(path_or_name), None, (error,))
    try:
        loaded = _family(path) if is_family(path) else inspect(path)
    except InputErrors as errors:
        return Checked(path, None, errors.problems)
    except InputError as error:
        return Checked(path, None, (error,))
    found = lint(loaded)
    found += lint_examples(loaded, finds_problem)
    found += lint_leaks(loaded, evaluation)
    found.sort(key=lambda problem: (problem.where.line or 0, problem.where.column or 0))
    return Checked(path, None if loaded.problems else loaded.constitution, loaded.problems, tuple(found))


def is_family(path: Path) -> bool:
    """Whether a file says of itself that it is a family of the library. Raises `InputError` if it cannot be read."""
    value = read(path).value
    return isinstance(value, dict) and "family" in value and "name" not in value


def _family(path: Path) -> Loaded:
    """A family as if it were a constitution of its own, so that the same lint goes over it."""
    family = read_family(path)
    constitution = Constitution(name=path.stem, principles=tuple(family.principles.values()))
    return Loaded(family.doc, constitution, family.paths, problems=family.problems)


def library_of(path: Path | None = None) -> Library:
    """The library as a constitution at `path` sees it, or as one in the current folder would."""
    return Library.beside(path or Path("constitution.yaml"))
