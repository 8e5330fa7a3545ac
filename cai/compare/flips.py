"""What changed, prompt by prompt: the records on which two sides differ in something that matters."""

from __future__ import annotations

from cai.compare.contrasts import Values
from cai.compare.outcomes import edit_share
from cai.records import Record


class Flip(Record):
    """One prompt on which two sides come to different outcomes."""

    prompt: str
    """The prompt's id."""
    a: str
    b: str
    gained: tuple[str, ...]
    """Outcomes that `b` has and `a` has not."""
    lost: tuple[str, ...]
    better: int
    """Changes towards what is better minus changes away from it, primary outcomes first: sorts the list."""
    changed: float
    """Share of the final replies' words that differ."""


def flips(values: Values, a: str, b: str) -> list[Flip]:
    """The flips between two sides, those against `b` first, then those for it, then those without a direction."""
    watched = [outcome for outcome in values.outcomes if outcome.flips]
    sides = {side.name: side for side in values.paired.sides}
    found: list[Flip] = []
    for index, prompt in enumerate(values.paired.prompts):
        gained, lost, better = list[str](), list[str](), 0
        for outcome in watched:
            x, y = values.by_side[a][outcome.name][index], values.by_side[b][outcome.name][index]
            if x is None or y is None or x == y:
                continue
            (gained if y > x else lost).append(outcome.name)
            if outcome.better != "neither":
                better += (10 if outcome.primary else 1) * (1 if (y > x) == (outcome.better == "higher") else -1)
        if gained or lost:
            texts = sides[a].chains[prompt.id].final, sides[b].chains[prompt.id].final
            found.append(
                Flip(prompt=prompt.id, a=a, b=b, gained=tuple(gained), lost=tuple(lost), better=better,
                     changed=edit_share(*texts))
            )  # fmt: skip
    return sorted(found, key=lambda flip: (flip.better == 0, flip.better))
