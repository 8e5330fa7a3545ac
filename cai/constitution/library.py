"""The library: families of principles, one file each, found beside the user's file or in the package."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from cai.constitution.files import MAX_PRINCIPLES, FamilyFile, PrincipleSource
from cai.constitution.model import Principle
from cai.constitution.shipped import shipped_folder
from cai.errors import InputError, InputErrors, Where
from cai.strict_yaml import Doc, did_you_mean, find_problems, read
from cai.strict_yaml.parse import KeyPath

ItemT = TypeVar("ItemT")
_PRINCIPLE = TypeAdapter(PrincipleSource)


@dataclass(frozen=True, slots=True)
class Library:
    """Folders in the order in which a family's file is looked for; what was found and read so far is kept."""

    folders: tuple[Path, ...]
    _found: dict[str, Path] = field(default_factory=dict[str, Path])
    _read: dict[str, dict[str, Principle]] = field(default_factory=dict[str, dict[str, Principle]])

    @classmethod
    def beside(cls, constitution: Path) -> Library:
        """`principles/` in the constitution's folder, or next to a folder named `constitution`, then the package's."""
        beside = constitution.parent
        local = beside.parent if beside.resolve().name == "constitution" and beside.name else beside
        return cls((local / "principles", shipped_folder("principles")))

    def families(self) -> dict[str, Path]:
        """Name and file of every family; a local one hides one of the package by the same name."""
        if not self._found:
            for folder in self.folders:
                for path in sorted(folder.glob("*.yaml")):
                    self._found.setdefault(path.stem, path)
        return self._found

    def resolve(self, reference: str, where: Where) -> tuple[Principle, ...]:
        """The principles behind `family/id` or `family`. Raises `InputError` with the nearest name."""
        name, _, id = reference.partition("/")
        families = self.families()
        if name not in families:
            near = self._by_id(id or name, families) or did_you_mean(name, families)
            raise InputError(f"there is no family `{name}`", near or f"the families are {', '.join(families)}", where)
        family = self._family(name, families)
        if not id:
            return tuple(family.values())
        if reference not in family:
            ids = [key.partition("/")[2] for key in family]
            near = self._by_id(id, families) or did_you_mean(id, ids, before=f"{name}/")
            listing = f"it has {', '.join(ids)}"
            raise InputError(f"the family `{name}` has no principle `{id}`", near or listing, where)
        return (family[reference],)

    def _family(self, name: str, families: dict[str, Path]) -> dict[str, Principle]:
        if name not in self._read:
            self._read[name] = load_family(families[name])
        return self._read[name]

    def _by_id(self, id: str, families: dict[str, Path]) -> str:
        """A suggestion where some family has a principle with this id; a broken family has none to suggest."""
        for name in families:
            try:
                family = self._family(name, families)
            except InputError:
                continue
            if f"{name}/{id}" in family:
                return f"did you mean `{name}/{id}`?"
        return ""


@dataclass(frozen=True, slots=True)
class Family:
    """A family file as far as it could be read: principles by their reference, and where each stands in the file."""

    doc: Doc
    principles: dict[str, Principle]
    paths: dict[str, KeyPath]
    problems: tuple[InputError, ...]


def load_family(path: Path) -> dict[str, Principle]:
    """Principles of a family file by their reference `family/id`, in the file's order. Raises `InputErrors`."""
    family = read_family(path)
    if family.problems:
        raise InputErrors(list(family.problems))
    return family.principles


def read_family(path: Path) -> Family:
    """A family file with all its problems. One item that does not fit the schema does not hide those of the others."""
    doc = read(path)
    source, problems = find_problems(doc, FamilyFile)
    problems = [*doc.problems, *problems]
    if source is not None and source.family != path.stem:
        what = f"the family is named `{source.family}` and the file `{path.name}`"
        problems.append(InputError(what, f"write `family: {path.stem}`", doc.where("family")))
    principles, paths = dict[str, Principle](), dict[str, KeyPath]()
    for index, item in items(doc, "principles", _PRINCIPLE, MAX_PRINCIPLES):
        if "/" in item.id:
            what = f"the id `{item.id}` holds a slash, and the family's name comes before it by itself"
            problems.append(InputError(what, "write the part after the slash", doc.where("principles", index, "id")))
        principle = principle_from(item, f"{path.stem}/{item.id}")
        if principle.id in principles:
            problems.append(duplicate_id(doc, principle.id, "principles", index))
        else:
            principles[principle.id], paths[principle.id] = principle, ("principles", index)
    return Family(doc, principles, paths, by_place(problems))


def by_place(problems: Iterable[InputError]) -> tuple[InputError, ...]:
    """Each problem once, in the order of the files; a broken family says the same at each of its uses."""
    once = {str(problem): problem for problem in problems}.values()
    return tuple(sorted(once, key=lambda p: (str(p.where.file), p.where.line or 0, p.where.column or 0)))


def items(doc: Doc, key: str, adapter: TypeAdapter[ItemT], most: int) -> Iterator[tuple[int, ItemT]]:
    """Index and item of a list in the file, `most` of them; what does not fit is left to the file's own validation."""
    value: object = doc.value
    top = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    listed = top.get(key)
    for index, item in enumerate(cast("list[Any]", listed)[:most] if isinstance(listed, list) else ()):
        try:
            yield index, adapter.validate_json(json.dumps(item), strict=True)
        except ValidationError:
            continue


def duplicate_id(doc: Doc, id: str, *path: str | int) -> InputError:
    """The problem of a second principle with the same id."""
    return InputError(f"a principle with the id `{id}` is already there", "give this one another id", doc.where(*path))


def principle_from(source: PrincipleSource, id: str) -> Principle:
    """The resolved principle: what is not given follows from the sentence, where there is one."""
    derived = Principle.from_sentence(id, source.sentence) if source.sentence else Principle(id=id)
    given = {voice: text for voice in ("critique", "revise", "judge") if (text := getattr(source, voice))}
    return derived.model_copy(
        update={**given, "weight": source.weight, "priority": source.priority, "tags": source.tags}
    )
