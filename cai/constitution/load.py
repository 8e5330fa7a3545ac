"""From a constitution file to a resolved constitution: every principle in full, every problem with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

from cai.constitution.files import (
    MAX_EXAMPLES,
    MAX_PRINCIPLES,
    ConstitutionFile,
    ExampleSource,
    JudgeExampleSource,
    PrincipleSource,
    Reference,
    Text,
    UseSource,
)
from cai.constitution.library import Library, by_place, duplicate_id, items, principle_from
from cai.constitution.model import Constitution, Example, JudgeExample, Loop, Principle
from cai.constitution.shipped import shipped_constitutions
from cai.errors import InputError, InputErrors, Where
from cai.strict_yaml import Doc, did_you_mean, find_problems, read
from cai.strict_yaml.parse import KeyPath

_USE: TypeAdapter[str | UseSource] = TypeAdapter(Reference | UseSource)
_PRINCIPLE: TypeAdapter[str | PrincipleSource] = TypeAdapter(Text | PrincipleSource)
_EXAMPLE = TypeAdapter(ExampleSource)
_JUDGE_EXAMPLE = TypeAdapter(JudgeExampleSource)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A constitution as far as it could be resolved, with the key path where each principle is written or used.

    With problems it lacks what they are about: fit for a lint, not for a run.
    """

    doc: Doc
    constitution: Constitution
    paths: dict[str, KeyPath]
    example_paths: tuple[KeyPath, ...] = ()
    """Where each of the constitution's examples stands; `judge_paths` the same of the judge's."""
    judge_paths: tuple[KeyPath, ...] = ()
    problems: tuple[InputError, ...] = ()

    def where(self, id: str, voice: str = "") -> Where:
        """The place of a principle's voice in the file, or of the principle where the voice is not written there."""
        path = self.paths[id]
        return self.doc.where(*path, voice) if (*path, voice) in self.doc.values else self.doc.where(*path)


def load_constitution(path_or_name: Path | str) -> Constitution:
    """A resolved constitution from a YAML file, or a shipped one by its name (`default`).

    Raises `InputErrors` with every problem in the file, each as file:line:column, what is wrong, what to do.
    """
    loaded = inspect(path_or_name)
    if loaded.problems:
        raise InputErrors(list(loaded.problems))
    return loaded.constitution


def inspect(path_or_name: Path | str) -> Loaded:
    """Load as far as possible and keep the problems. Raises `InputError` when the file is missing or not YAML."""
    path = find_constitution(path_or_name)
    doc = read(path)
    source, problems = find_problems(doc, ConstitutionFile)
    problems = [*doc.problems, *(_no_connection(problem) for problem in problems)]
    resolver = _Resolver(doc, Library.beside(path))
    resolver.resolve()
    problems += resolver.problems
    constitution = Constitution(
        name=source.name if source else path.stem,
        description=source.description if source else "",
        principles=tuple(resolver.principles.values()),
        examples=tuple(resolver.examples.values()),
        judge_examples=tuple(resolver.judge_examples.values()),
        loop=Loop(**source.loop.model_dump()) if source else Loop(),
    )
    examples, judge_examples = tuple(resolver.examples), tuple(resolver.judge_examples)
    return Loaded(doc, constitution, resolver.paths, examples, judge_examples, by_place(problems))


_CONNECTION = {"api_base", "api_key", "base_url", "endpoint", "engine", "host", "model", "models", "url"}


def _no_connection(problem: InputError) -> InputError:
    """Say for keys that would choose a model or a server why they are unknown: data goes where the user sends it."""
    if problem.what.startswith("unknown key") and problem.where.key.rpartition(".")[2] in _CONNECTION:
        remedy = "a constitution never names a model or a server; give them on the command line"
        return InputError(problem.what, remedy, problem.where)
    return problem


def find_constitution(path_or_name: Path | str) -> Path:
    """The file behind a path or the name of a shipped constitution. Raises `InputError` with the nearest name."""
    text = str(path_or_name)
    shipped = shipped_constitutions()
    if isinstance(path_or_name, str) and text in shipped:
        return shipped[text]
    path = Path(path_or_name)
    looks_like_path = isinstance(path_or_name, Path) or path.suffix or len(path.parts) > 1
    if looks_like_path or path.exists():
        return path
    written = next(
        (file for file in (Path(f"{text}.yaml"), Path("constitution", f"{text}.yaml")) if file.is_file()), ""
    )
    near = f"did you mean the file `{written}`?" if written else did_you_mean(text, shipped)
    remedy = near or f"name a file, or one of {', '.join(shipped)}"
    raise InputError(f"there is no constitution `{text}`", remedy)


@dataclass(slots=True)
class _Resolver:
    """Resolves item by item: one that does not fit the schema is reported elsewhere and does not hide the others."""

    doc: Doc
    library: Library
    principles: dict[str, Principle] = field(default_factory=dict[str, Principle])
    examples: dict[KeyPath, Example] = field(default_factory=dict[KeyPath, Example])
    judge_examples: dict[KeyPath, JudgeExample] = field(default_factory=dict[KeyPath, JudgeExample])
    paths: dict[str, KeyPath] = field(default_factory=dict[str, KeyPath])
    problems: list[InputError] = field(default_factory=list[InputError])

    def resolve(self) -> None:
        for index, item in items(self.doc, "use", _USE, MAX_PRINCIPLES):
            self._use(item if isinstance(item, UseSource) else UseSource(id=item), index)
        for index, item in items(self.doc, "principles", _PRINCIPLE, MAX_PRINCIPLES):
            if isinstance(item, str):
                self._add(Principle.from_sentence(self._sentence_id(item), item), "principles", index)
            else:
                self._add(principle_from(item, item.id), "principles", index)
        for index, item in items(self.doc, "examples", _EXAMPLE, MAX_EXAMPLES):
            self._example(item, index)
        for index, item in items(self.doc, "judge_examples", _JUDGE_EXAMPLE, MAX_EXAMPLES):
            self._judge_example(item, index)

    def _use(self, item: UseSource, index: int) -> None:
        try:
            found = self.library.resolve(item.id, self.doc.where("use", index))
        except InputError as error:
            self._keep(error)
            return
        given = {key: value for key in ("weight", "priority") if (value := getattr(item, key)) is not None}
        for principle in found:
            if given and principle.id in self.principles:  # `use: [family, {id: family/one, weight: 3}]`
                self.principles[principle.id] = self.principles[principle.id].model_copy(update=given)
            else:
                self._add(principle.model_copy(update=given), "use", index)

    def _add(self, principle: Principle, *path: str | int) -> None:
        if principle.id in self.principles:
            self.problems.append(duplicate_id(self.doc, principle.id, *path))
            return
        self.principles[principle.id] = principle
        self.paths[principle.id] = path

    def _sentence_id(self, sentence: str) -> str:
        """The sentence's first words; the same sentence keeps its id wherever it stands in the list."""
        words = re.findall(r"[a-z0-9]+", sentence.lower())
        base = "-".join(words[:6])[:60].strip("-") or "principle"
        id, count = base, 2
        while id in self.principles:
            id, count = f"{base}-{count}", count + 1
        return id

    def _named(self, id: str, voice: str, path: KeyPath) -> Principle | None:
        """The principle an example names, which must have the voice: one of this constitution, or of the library."""
        where = self.doc.where(*path, "principle")
        found = self.principles.get(id)
        if found is None and self._is_written(id):
            return None  # what is wrong with that principle is told at its own place
        if found is None and "/" not in id:
            near = did_you_mean(id, self.principles)
            what = f"this constitution has no principle `{id}`"
            self.problems.append(InputError(what, near or "name one of its principles", where))
            return None
        if found is None:
            try:
                found = self.library.resolve(id, where)[0]
            except InputError as error:
                self._keep(error)
                return None
        if not getattr(found, voice):
            what = f"`{id}` has no {voice} voice to ask with"
            self.problems.append(
                InputError(what, f"give the principle `{voice}:`, or the example a text of its own", where)
            )
            return None
        return found

    def _is_written(self, id: str) -> bool:
        """Whether the file has a principle of that id, be it one that could not be resolved."""
        listed: Any = self.doc.value.get("principles")
        items = cast("list[Any]", listed) if isinstance(listed, list) else []
        return any(isinstance(item, dict) and cast("dict[str, Any]", item).get("id") == id for item in items)

    def _keep(self, error: InputError) -> None:
        self.problems += error.problems if isinstance(error, InputErrors) else (error,)

    def _example(self, item: ExampleSource, index: int) -> None:
        ask, again = item.critique_request, item.revise_request
        if item.principle:
            principle = self._named(item.principle, "critique", ("examples", index))
            if principle is None:
                return
            ask, again = principle.critique, principle.revise
        assert ask is not None
        self.examples["examples", index] = Example(
            prompt=item.prompt,
            reply=item.reply,
            critique_request=ask,
            critique=item.critique,
            revise_request=(again or "") if item.revision else "",
            revision=item.revision,
        )

    def _judge_example(self, item: JudgeExampleSource, index: int) -> None:
        question = item.judge
        if item.principle:
            principle = self._named(item.principle, "judge", ("judge_examples", index))
            if principle is None:
                return
            question = principle.judge
        assert question is not None
        self.judge_examples["judge_examples", index] = JudgeExample(
            prompt=item.prompt, a=item.a, b=item.b, judge=question, answer=item.answer
        )
