"""What went wrong, said once, in one line a user can act on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a user's file: 1-based line and column, and the dotted key, each if known."""

    file: str | Path = ""
    line: int | None = None
    column: int | None = None
    key: str = ""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part not in ("", None))
        return f"{place}: {self.key}" if place and self.key else place or self.key


class CaiError(Exception):
    """Something that ends the command with one line and `exit_code`, without a traceback."""

    exit_code = 1


class InputError(CaiError):
    """The user's input is wrong. `what` says what is wrong, `remedy` what to do, `where` the file, line and key."""

    exit_code = 2

    def __init__(self, what: str, remedy: str = "", where: Where | None = None) -> None:
        self.what, self.remedy, self.where = what, remedy, where or Where()
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if str(self.where) else ""
        return f"{place}{self.what}" + (f"; {self.remedy}" if self.remedy else "")


class InputErrors(InputError):
    """Several problems found in one pass over the input; each is printed on its own line."""

    def __init__(self, problems: list[InputError]) -> None:
        self.problems = tuple(problems)
        Exception.__init__(self, "\n".join(str(problem) for problem in problems))

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class BusyError(CaiError):
    """The run is held by another process."""

    exit_code = 3


class RecordFault(Exception):
    """This one request cannot be answered; the record is quarantined and the run goes on."""


class EngineFault(Exception):
    """A passing fault: the request may be tried again."""


class EngineDown(CaiError):
    """The engine is gone; what is stored is kept, and the same command goes on when it is back."""

    exit_code = 1
