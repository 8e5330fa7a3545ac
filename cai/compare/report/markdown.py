"""The report as Markdown: the same figures, and the first flips with their changed words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from cai.compare.flips import Flip
from cai.compare.principles import Rate
from cai.compare.report.page import main_pairs
from cai.compare.result import Result
from cai.compare.sides import Paired
from cai.measures.contrast import Contrast, number

MOST_FLIPS = 10
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$-])")


def markdown(result: Result, paired: Paired | None) -> str:
    """The whole report; texts of models and files can neither become markup nor steer a terminal."""
    names = [f"{plain(o.name)}" for o in result.origins if not o.control]
    parts = [f"# {' · '.join(names)}", *[plain(line) for line in result.headline], _bullets(result.notes)]
    if result.flips and paired is not None:
        parts += ["## What changed", f"{len(result.flips):,} flips among {result.n:,} prompts; the first of them:"]
        parts += [_flip(flip, paired) for flip in result.flips[:MOST_FLIPS]]
    for a, b in main_pairs(result):
        rows = [c for c in result.contrasts if (c.a, c.b) == (a, b)]
        if rows:
            parts += [f"## Differences: {plain(b)} minus {plain(a)}", _contrasts(rows)]
    if result.suites:
        parts += [
            "## Policies on the suites",
            _contrasts([s.contrast for s in result.suites], [s.suite for s in result.suites]),
        ]
    if result.principles:
        parts += ["## Principles", _principles(result)]
    for effect in result.effects:
        said = "an effect is shown" if effect.works else "no effect shown"
        parts += [f"## Without {plain(effect.principle)} ({plain(effect.side)}): {said}", _contrasts(effect.contrasts)]
    if result.judging.matches:
        parts += ["## Before the judges", _matches(result)]
    if any(two.verdict for two in result.judging.overlaps):
        parts += ["## Principles that say the same or the opposite", _overlaps(result)]
    if result.wording.changes or result.wording.near:
        parts += ["## The texts", _wording(result)]
    parts += ["## Where it comes from", _origins(result)]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: str) -> str:
    """Untrusted text in one line, every sign that Markdown or HTML may act on escaped."""
    return _SPECIAL.sub(r"\\\1", " ".join(_CONTROLS.sub("", text).split()))


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the cells are escaped already."""
    head, *rest = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, f"|{'---|' * len(rows[0])}", *rest])


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {plain(line)}" for line in lines)


def _contrasts(contrasts: Sequence[Contrast], heads: Sequence[str] = ()) -> str:
    header = ["outcome", "a", "b", "b − a", "95 % interval", "n", "p", "corrected p", "smallest detectable", "said"]
    rows = [header]
    for index, c in enumerate(contrasts):
        said = (
            "no difference shown"
            if not c.shown
            else {True: "b is better", False: "b is worse", None: "differs"}[c.improves]
        )
        name = f"{heads[index]}: {c.outcome}" if heads else c.outcome
        rows.append(
            [
                plain(name),
                number(c.a_mean, c.unit, bare=True),
                number(c.b_mean, c.unit, bare=True),
                number(c.difference, c.unit),
                _span(c.low, c.high, c.unit),
                f"{c.n:,}",
                f"{c.p:.3g}",
                f"{c.p_holm:.3g}",
                "–" if c.detectable is None else number(c.detectable, c.unit, bare=True),
                said,
            ]
        )
    return table(rows)


def _span(low: float | None, high: float | None, unit: str) -> str:
    if low is None or high is None:
        return "–"
    return f"{number(low, unit, bare=True)} to {number(high, unit, bare=True)}"


def _rate(rate: Rate) -> str:
    return f"{100 * rate.value:.1f} % ({100 * rate.low:.1f}–{100 * rate.high:.1f})" if rate.n else "–"


def _principles(result: Result) -> str:
    header = ["side", "principle", "fired (chains)", "found violated (steps)", "changed the reply (steps)", "unread"]
    rows = [
        [plain(p.side), plain(p.principle), _rate(p.fired), _rate(p.violated), _rate(p.changed), str(p.unread)]
        for p in result.principles
    ]
    return table([header, *rows])


def _matches(result: Result) -> str:
    rows = [["judge", "a", "b", "b wins", "95 % interval", "n", "at equal length"]]
    for m in result.judging.matches:
        equal = "–" if m.length_controlled is None else f"{100 * m.length_controlled:.1f} %"
        judge = f"{plain(m.judge)}{' (independent)' if m.independent else ''}"
        share = f"{100 * m.win_share:.1f} %"
        rows.append([judge, plain(m.a), plain(m.b), share, _span(m.low, m.high, "share"), str(m.n), equal])
    for j in result.judging.benches:
        rows.append(
            [f"{plain(j.judge)}: same answer in both orders {_rate(j.consistent)}, unread {_rate(j.unread)}", *[""] * 6]
        )
    return table(rows)


def _overlaps(result: Result) -> str:
    rows = [["of", "principle", "and", "pairs", "disagree", "verdict"]]
    for t in result.judging.overlaps:
        if t.verdict:
            rows.append([plain(t.judge), plain(t.x), plain(t.y), str(t.n), f"{100 * t.disagreement:.1f} %", t.verdict])
    return table(rows)


def _wording(result: Result) -> str:
    rows = [["from", "to", "what", "principle or setting", "part", "before", "after"]]
    for c in result.wording.changes:
        rows.append([plain(x) for x in (c.a, c.b, c.kind, c.subject, c.part, c.before, c.after)])
    near = [
        f"- {plain(d.x)} and {plain(d.y)} share {100 * d.overlap:.0f} % of their words" for d in result.wording.near
    ]
    return "\n\n".join(part for part in (table(rows) if len(rows) > 1 else "", "\n".join(near)) if part)


def _origins(result: Result) -> str:
    rows = [["side", "run", "constitution", "records", "models", "seeds", "tokens read", "tokens written"]]
    for o in result.origins:
        models = ", ".join(f"{part}: {model}" for part, model in sorted(o.models.items()))
        rows.append(
            [
                plain(o.name),
                plain(o.run),
                o.constitution[:16],
                f"{o.records:,}",
                plain(models),
                ", ".join(map(str, o.seeds)),
                f"{o.usage.prompt_tokens:,}",
                f"{o.usage.completion_tokens:,}",
            ]
        )
    return table(rows)


def _flip(flip: Flip, paired: Paired) -> str:
    sides = {side.name: side for side in paired.sides}
    a, b = sides[flip.a].chains[flip.prompt], sides[flip.b].chains[flip.prompt]
    changes = [f"gains {name}" for name in flip.gained] + [f"loses {name}" for name in flip.lost]
    return "\n\n".join(
        [
            f"**{plain(a.prompt.messages[-1].content)}** ({plain(flip.b)} {', '.join(map(plain, changes))})",
            f"> {marked(a.final, b.final)}",
        ]
    )


def marked(before: str, after: str) -> str:
    """The words of both texts in one line: ~~gone~~ and **new**."""
    x, y = before.split(), after.split()
    parts: list[str] = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, x, y, autojunk=False).get_opcodes():
        gone, new = plain(" ".join(x[i:j])), plain(" ".join(y[k:m]))
        if kind == "equal":
            parts.append(gone)
        else:
            parts += [f"~~{gone}~~"] * bool(gone) + [f"**{new}**"] * bool(new)
    return " ".join(parts)
