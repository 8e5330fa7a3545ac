"""`cai label --people FILE`: what people answered, read back into the run and compared with the judges."""

from __future__ import annotations

from pathlib import Path

from cai.config.label import LabelSettings
from cai.constitution import load_constitution
from cai.errors import InputError, Where


def align_with_people(settings: LabelSettings, file: Path, base: Path) -> list[str]:
    """Measure the run's labels against the answers in `file` and write people.json; the lines to print."""
    from cai.judge.alignment import align
    from cai.judge.draw import importance
    from cai.judge.people import read_answers
    from cai.judge.report import alignment_lines
    from cai.judge.stage import LABEL, labels
    from cai.judge.write import ALIGNMENT, write_alignment
    from cai.store import open_run
    from cai.store.listing import find_run
    from cai.store.reader import Reader
    from cai.store.run import JOURNAL

    made_with = Reader(find_run(base, settings.run) / JOURNAL).identity(LABEL)
    if made_with is None:
        raise InputError(f"run {settings.run!r} holds no labels", "name the run that wrote the questions", Where("-r"))
    answers = read_answers(file)
    constitution = load_constitution(settings.constitution)
    weights = {principle.id: importance(principle, settings.principles) for principle in constitution.principles}
    with open_run(base, settings.run, stage="people", identity={}) as run:
        found = align(labels(run), answers, importance=weights)
        write_alignment(run, found)
    if found.answers == found.unmatched:
        raise InputError(f"no answer belongs to a label of run {settings.run!r}", "name another run", Where(file))
    return [*alignment_lines(found), f"written to {run.folder}: {ALIGNMENT}"]
