"""One strict way to read YAML: safe, bounded, and with the place of every value kept for later errors.

A single pass over parse events builds plain data, so nothing is constructed before it was counted and checked: no
anchors, no tags beyond the core ones, no duplicate keys, at most 1 MiB, 32 levels and 50,000 events. Plain scalars
follow the core schema of YAML 1.2: `no` and `off` are text, `5e-7` is a number. Keys are always text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from cai.errors import InputError, InputErrors, Where

Key = str | int
KeyPath = tuple[Key, ...]
Place = tuple[int, int]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_EVENTS = 50_000
MAX_NUMBER = 100

_parse: Any = cast(Any, yaml).parse
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_CORE_TAGS = {_CORE + name for name in ("str", "int", "float", "bool", "null", "map", "seq")}
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Doc:
    """A YAML document as plain data, with the 1-based line and column of every key and value."""

    name: str
    value: Any
    values: dict[KeyPath, Place]
    keys: dict[KeyPath, Place]
    problems: tuple[InputError, ...] = ()

    def where(self, *path: Key) -> Where:
        """The place of the value at a key path; for a path that is not in the file, of its nearest parent."""
        return self._place(path, self.values)

    def where_key(self, *path: Key) -> Where:
        """The place of the key itself: for an unknown key, or one whose value starts on a later line."""
        return self._place(path, self.keys)

    def _place(self, path: KeyPath, places: dict[KeyPath, Place]) -> Where:
        for end in range(len(path), -1, -1):
            place = places.get(path[:end]) or self.values.get(path[:end])
            if place:
                return Where(self.name, *place, key=dotted(path))
        return Where(self.name, key=dotted(path))


def dotted(path: KeyPath) -> str:
    """A key path as a person writes it: `principles[2].judge`, items counted from 0."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def load(source: Path | str, *, name: str = "") -> Doc:
    """Read a file (`Path`) or a text (`str`). Raises `InputErrors` with every problem that parsing can go past."""
    doc = read(source, name=name)
    if doc.problems:
        raise InputErrors(list(doc.problems))
    return doc


def read(source: Path | str, *, name: str = "") -> Doc:
    """Like `load`, but keeps duplicate keys and bad scalars in `problems`. Raises `InputError` on broken syntax."""
    text = read_text(source, limit=MAX_BYTES) if isinstance(source, Path) else source
    name = name or (str(source) if isinstance(source, Path) else "")
    _refuse_oversize(len(text.encode("utf-8", "surrogatepass")), MAX_BYTES, name)
    text = text.removeprefix("\ufeff")
    if bad := _FORBIDDEN.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - text.rfind("\n", 0, bad.start())
        raise InputError(
            f"the character U+{ord(bad.group()):04X} is not allowed in YAML", "delete it", Where(name, line, column)
        )
    try:
        return _Builder(name).build(_parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, name) from None
    except yaml.YAMLError as error:
        raise InputError(f"this is not YAML: {error}", "check the file's syntax", Where(name)) from None


def read_text(path: Path, *, limit: int) -> str:
    """A user's UTF-8 text file of at most `limit` bytes, a byte order mark dropped. Raises `InputError`."""
    where = Where(path)
    try:
        if path.is_dir():
            raise InputError("this is a folder", "name a file in it", where)
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise InputError("no such file", "check the path", where) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be read: {reason}", "check the path and its rights", where) from None
    _refuse_oversize(len(data), limit, path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError("the file is UTF-16", "save it as UTF-8", where)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        raise InputError(what, "save the file as UTF-8", Where(path, line)) from None


def _refuse_oversize(size: int, limit: int, name: str | Path) -> None:
    if size > limit:
        raise InputError(f"larger than {limit // 1024:,} KiB", "split it into smaller files", Where(name))


@dataclass(slots=True)
class _Frame:
    """An open list or mapping; `key` is the mapping's key that waits for its value."""

    container: dict[str, Any] | list[Any]
    path: KeyPath
    key: str | None = None


@dataclass(slots=True)
class _Builder:
    """Turns parse events into plain data, one pass, no recursion."""

    name: str
    stack: list[_Frame] = field(default_factory=list[_Frame])
    values: dict[KeyPath, Place] = field(default_factory=dict[KeyPath, Place])
    keys: dict[KeyPath, Place] = field(default_factory=dict[KeyPath, Place])
    problems: list[InputError] = field(default_factory=list[InputError])
    root: Any = None

    def build(self, events: Iterator[Any]) -> Doc:
        documents = 0
        for count, event in enumerate(events):
            if count > MAX_EVENTS:
                raise self._error(event, f"more than {MAX_EVENTS:,} parts", "split it into smaller files")
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._error(event, "a second document starts here", "keep one document in a file")
            elif isinstance(event, yaml.NodeEvent):
                self._refuse_odd(event)
                self._node(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self.stack.pop()
        return Doc(self.name, self.root, self.values, self.keys, tuple(self.problems))

    def _refuse_odd(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            what = f"anchors and aliases (`{shown(event.anchor)}`) are not allowed"
            raise self._error(event, what, f"write the value out, or put text that starts with `{sign}` in quotes")
        if event.tag is not None and event.tag not in _CORE_TAGS:
            raise self._error(event, f"the tag `{event.tag}` is not allowed", "delete the tag")

    def _node(self, event: Any) -> None:
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.container, dict) and top.key is None:
            self._key(event, top)
        elif isinstance(event, yaml.ScalarEvent):
            self._put(event, self._scalar(event))
        else:
            if len(self.stack) >= MAX_DEPTH:
                raise self._error(event, f"nested deeper than {MAX_DEPTH} levels", "write it flatter")
            container: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            self.stack.append(_Frame(container, self._put(event, container)))

    def _key(self, event: Any, top: _Frame) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            raise self._error(event, "a key must be text", "use a plain word as the key")
        key = cast(str, event.value)
        path = (*top.path, key)
        if key in top.container:
            what = f"the key `{shown(key)}` is already on line {self.keys[path][0]}"
            self.problems.append(self._error(event, what, "keep one of the two"))
        else:
            self.keys[path] = _place(event)
        top.key = key

    def _put(self, event: Any, value: Any) -> KeyPath:
        if not self.stack:
            path: KeyPath = ()
            self.root = value
        else:
            top = self.stack[-1]
            if isinstance(top.container, list):
                path = (*top.path, len(top.container))
                top.container.append(value)
            else:
                assert top.key is not None
                path = (*top.path, top.key)
                top.container[top.key] = value
                top.key = None
        self.values[path] = _place(event)
        return path

    def _scalar(self, event: Any) -> Any:
        text, tag = cast(str, event.value), cast("str | None", event.tag)
        if tag in (None, _CORE + "str"):
            if tag or not event.implicit[0]:
                return self._text(event, text)
            return self._plain(event, text)
        value = self._plain(event, text)
        types: dict[str, tuple[type, ...]] = {
            "int": (int,),
            "float": (float, int),
            "bool": (bool,),
            "null": (type(None),),
        }
        name = str(tag).removeprefix(_CORE)
        if type(value) not in types.get(name, ()):
            self.problems.append(self._error(event, f"`{shown(text)}` is not a !!{name}", "delete the tag"))
        return float(value) if name == "float" and type(value) is int else value

    def _text(self, event: Any, text: str) -> str:
        if bad := _FORBIDDEN.search(text):
            what = f"the text holds the character U+{ord(bad.group()):04X}"
            self.problems.append(self._error(event, what, "delete its escape"))
        return text

    def _plain(self, event: Any, text: str) -> Any:
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        is_int = _INT.fullmatch(text)
        if not is_int and not _FLOAT.fullmatch(text):
            return text
        if len(text) > MAX_NUMBER:
            what = f"a number of {len(text):,} characters"
            self.problems.append(self._error(event, what, "quote it if it is text"))
            return text
        if not is_int:
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))

    def _error(self, event: Any, what: str, remedy: str) -> InputError:
        return InputError(what, remedy, Where(self.name, *_place(event)))


def shown(value: object, limit: int = 60) -> str:
    """A user's value as one short line that a terminal can print: control characters are escaped, long text is cut."""
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= limit else text[:limit] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def is_plain_text(text: str) -> bool:
    """Whether this text, written without quotes, is read back as text and not as a number, a truth value or null."""
    return text not in _CONSTANTS and not _INT.fullmatch(text) and not _FLOAT.fullmatch(text)


def _place(event: Any) -> Place:
    return event.start_mark.line + 1, event.start_mark.column + 1


_SYNTAX_REMEDIES = {
    "mapping values are not allowed": "put text that holds `: ` in quotes, or check the indentation",
    "unknown escape": "double the backslash, or use single quotes",
    "unexpected end of stream": "close the quote that opens on line {start}",
    "expected ',' or": "close the bracket that opens on line {start}, or add a comma",
    "expected node content": "close the bracket or brace that was opened, or write the value",
    "expected key": "check quotes and indentation: the mapping starts on line {start}",
    "block end": "check quotes and indentation: the block starts on line {start}",
    "'-' indicator": "check the indentation: the list starts on line {start}",
    "could not find expected ':'": "add `: ` after the key, or quote the text",
}


def _syntax_error(error: yaml.MarkedYAMLError, text: str, name: str) -> InputError:
    """One line in our words where the parser's message is a known one."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    where = Where(name, line, column)
    problem = error.problem or "this is not YAML"
    if "cannot start any token" in problem or "tab character" in problem:
        lines = text.splitlines()
        character = lines[line - 1][column - 1 : column] if line <= len(lines) else ""
        if character == "\t" or "tab character" in problem:
            return InputError("a tab where only spaces may stand", "indent with spaces", where)
        return InputError(f"text cannot start with `{shown(character)}`", "put the text in quotes", where)
    if error.context in ("while scanning an anchor", "while scanning an alias"):
        return InputError("text cannot start with `&` or `*`", "put the text in quotes", where)
    start = error.context_mark.line + 1 if error.context_mark else line
    remedy = next((text for part, text in _SYNTAX_REMEDIES.items() if part in problem), "check the YAML syntax here")
    return InputError(f"this is not YAML: {shown(problem, 120)}", remedy.replace("{start}", str(start)), where)
