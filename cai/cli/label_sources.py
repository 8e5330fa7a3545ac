"""Where the replies of `cai label` come from: prompts to sample for, a file, or a critique run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from cai.cli.prompts import TESTBED, Asked, open_prompts
from cai.config.label import LabelSettings
from cai.errors import InputError, Where

if TYPE_CHECKING:
    from cai.judge.label import Candidates


@dataclass(frozen=True, slots=True)
class Source:
    """Replies that need no sampling, iterable again and again."""

    open: Callable[[], Iterable[Candidates]]
    count: int | None
    name: str
    fingerprint: str


def prompts_of(settings: LabelSettings) -> Asked:
    """Prompts to sample for; of the testbed those for training, since labels are."""
    return open_prompts(
        settings.prompts,
        column=settings.column,
        split=settings.split or ("train" if settings.prompts == TESTBED else ""),
        limit=settings.limit,
        seed=settings.seed,
        skip_bad_rows=settings.skip_bad_rows,
    )


def open_source(settings: LabelSettings, base: Path) -> Source | None:
    """The file or run that holds the replies, read once to find its errors."""
    from cai.judge.given import GivenFile
    from cai.judge.stage import given

    if settings.critique:
        return _revisions(settings, base)
    if not (settings.replies or settings.pairs):
        return None
    path = Path(settings.replies or settings.pairs)
    file = GivenFile(path, "replies" if settings.replies else "pairs", settings.limit)
    count = file.check(skip_bad_rows=settings.skip_bad_rows)
    most = count if settings.limit is None else min(count, settings.limit)
    return Source(lambda: given(file), most, path.name, file.fingerprint())


def _revisions(settings: LabelSettings, base: Path) -> Source:
    """The stored chains of a critique run; it may be the same run or another one."""
    from cai.judge.stage import revised
    from cai.records import Revision
    from cai.store.listing import find_run
    from cai.store.reader import Reader
    from cai.store.run import JOURNAL

    reader = Reader(find_run(base, settings.critique) / JOURNAL)
    identity = reader.identity("critique")
    if identity is None:
        what = f"run {settings.critique!r} holds no critique stage"
        raise InputError(what, "name a run that `cai critique` made", Where("--critique"))

    def chains() -> Iterable[Candidates]:
        stored = (row.body for row in reader.rows("critique", Revision) if row.body is not None)
        return islice(revised(stored), settings.limit)

    return Source(chains, None, f"critique run {settings.critique}", identity)
