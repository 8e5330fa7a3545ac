"""Everything `cai label` writes and says once its labels are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cai.cli.about import surroundings

if TYPE_CHECKING:
    from cai.cli.label_job import Job
    from cai.judge.diagnostics import Diagnostics
    from cai.store import Run


def write_outputs(run: Run, job: Job) -> tuple[list[str], Diagnostics]:
    """Pairs, diagnostics, card, sample for people and about.json from what is stored; the lines to print."""
    from cai.judge import write
    from cai.judge.diagnostics import diagnose
    from cai.judge.report import diagnostics_lines
    from cai.judge.stage import LABEL, labels

    settings, source = job.settings, job.source.name if job.source else job.asked.source if job.asked else ""
    write.write_pairs(run, settings.plan, settings.min_margin)
    write.write_lists(run)
    found = diagnose(
        labels(run),
        plan=settings.plan,
        min_margin=settings.min_margin,
        max_unread=settings.max_unread,
        prices=(settings.price_in, settings.price_out) if settings.price_in or settings.price_out else None,
    )
    write.write_diagnostics(run, found)
    write.write_card(run, job.constitution, found, source=source, judges=list(job.judges), mode=settings.mode)
    totals = run.totals(LABEL)
    lines = list(diagnostics_lines(found, seconds=totals.seconds))
    if settings.human_fraction:
        voices = {principle.id: principle.judge for principle in job.constitution.principles}
        asked = write.write_people(run, voices, settings.human_fraction, settings.seed)
        lines.append(f"{asked} questions for people in {write.PEOPLE_CSV} and {write.PEOPLE_JSONL}")
    facts = {
        "constitution": {"name": job.constitution.name, "sha": job.constitution.sha},
        "settings": settings.model_dump(mode="json"),
        "policy": job.policy.model_dump(mode="json") if job.asked else None,
        "judges": {name: spec.model_dump(mode="json") for name, spec in job.judges.items()},
        "replies": source,
        "counts": dict(totals.states),
        "usage": totals.usage.model_dump(),
        "cached_share": totals.usage.cached_share,
        "seconds": round(totals.seconds, 3),
        "cost": job.price(totals.usage),
    }
    run.write_about({LABEL: facts, **surroundings()})
    names = (write.PAIRS, write.LISTS, write.DIAGNOSTICS, write.CARD, "about.json")
    return [*lines, f"written to {run.folder}: {', '.join(names)}"], found
