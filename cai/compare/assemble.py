"""From sides, judges' labels and texts to one `Result`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from cai.compare.contrasts import Values, contrasts, levels, values_of
from cai.compare.diversity import SELF_SIMILARITY, distinct, partners, similarities
from cai.compare.flips import flips
from cai.compare.headline import headline
from cai.compare.judged import Judging, judge_all
from cai.compare.outcomes import PLAIN, outcomes
from cai.compare.principles import rates
from cai.compare.result import Effect, Result
from cai.compare.scoring import DRAFT, Hearing
from cai.compare.sides import DRAFTS, Paired, Side, pair
from cai.compare.wording import Wording
from cai.constitution.words import words_of
from cai.measures.contrast import LEVEL, Contrast, contrast
from cai.measures.evasion import AGREEMENT as EVASION_AGREEMENT
from cai.measures.intervals import holm
from cai.measures.refusal import AGREEMENT
from cai.records import Revision, Usage


def assemble(
    sides: Sequence[Side],
    *,
    paired: Paired | None = None,
    depth: str = "data",
    wording: Wording = Wording(),
    hearings: Sequence[Hearing] = (),
    leave_outs: Mapping[str, Mapping[str, Side]] | None = None,
    seed: int = 0,
) -> Result:
    """Compare the sides over the prompts all of them answered.

    `paired`: the sides with their drafts, where they are matched already. `leave_outs`: side, then principle, then the
    side without it. Raises InputError where no prompt is shared.
    """
    paired = paired or with_drafts(pair(sides))
    values = values_of(paired, outcomes(paired.prompts))
    words = {side.name: [words_of(chain.final) for chain in paired.chains(side)] for side in paired.sides}
    found = [*contrasts(values, seed), *_similarity(paired, words, seed)]
    real = [side.name for side in paired.sides if not side.origin.control]
    pairs = list(combinations(real, 2))
    judging = judge_all(hearings, finals(paired), seed) if hearings else Judging()
    return Result(
        depth=depth,
        headline=tuple(headline(found, judging.matches, pairs)),
        notes=tuple(_notes(paired, judging)),
        origins=tuple(side.origin for side in paired.sides),
        n=len(paired.prompts),
        unpaired=paired.unpaired,
        wording=wording,
        levels=tuple(levels(values, seed)),
        contrasts=tuple(found),
        distinct=tuple(distinct(side.name, words[side.name], n) for side in paired.sides for n in (1, 2)),
        principles=tuple(rate for side in paired.sides for rate in rates(paired, side)),
        judging=judging,
        effects=tuple(_effects(sides, leave_outs or {}, seed)),
        flips=tuple(flip for a, b in pairs for flip in flips(values, a, b)),
        seed=seed,
    )


def with_drafts(paired: Paired) -> Paired:
    """The drafts as a control of their own, where every side began with the same ones."""
    first, *others = paired.sides
    for prompt in paired.prompts:
        if any(side.chains[prompt.id].draft != first.chains[prompt.id].draft for side in others):
            return paired
    chains = {prompt.id: _as_draft(first.chains[prompt.id]) for prompt in paired.prompts}
    origin = first.origin.model_copy(
        update={"name": DRAFTS, "control": True, "constitution": "", "usage": Usage(), "seconds": 0.0}
    )
    return replace(paired, sides=(Side(origin, chains), *paired.sides))


def _as_draft(chain: Revision) -> Revision:
    return chain.model_copy(update={"final": chain.draft, "steps": (), "usage": Usage(), "flags": ()})


def finals(paired: Paired) -> dict[str, dict[str, str]]:
    """Contestants before a judge: every side's final replies."""
    return {
        (DRAFT if side.name == DRAFTS else side.name): {id: chain.final for id, chain in side.chains.items()}
        for side in paired.sides
        if side.name == DRAFTS or not side.origin.control
    }


def _similarity(paired: Paired, words: Mapping[str, list[list[str]]], seed: int) -> list[Contrast]:
    """Self-similarity of every two sides over the same drawn pairs of prompts."""
    drawn = partners(len(paired.prompts), seed)
    if len(drawn) < 2:
        return []
    alike = {name: similarities(replies, drawn) for name, replies in words.items()}
    clusters = [paired.clusters[x] for x, _ in drawn]
    return [contrast(SELF_SIMILARITY, a, b, alike[a], alike[b], clusters, seed) for a, b in combinations(alike, 2)]


def _effects(sides: Sequence[Side], leave_outs: Mapping[str, Mapping[str, Side]], seed: int) -> list[Effect]:
    """Each principle's effect: its side against the same without it, corrected over all of the side's."""
    by_name = {side.name: side for side in sides}
    found: list[Effect] = []
    for name, variants in leave_outs.items():
        effects = [_effect(by_name[name], principle, side, seed) for principle, side in variants.items()]
        ps = iter(holm([c.p for effect in effects for c in effect.contrasts]))
        found += [
            effect.model_copy(
                update={"contrasts": tuple(c.model_copy(update={"p_holm": next(ps)}) for c in effect.contrasts)}
            )
            for effect in effects
        ]
    return found


def _effect(whole: Side, principle: str, variant: Side, seed: int) -> Effect:
    paired = pair((variant, whole))
    watched = [o for o in outcomes(paired.prompts) if o.flips]
    values: Values = values_of(paired, watched)
    return Effect(side=whole.name, principle=principle, contrasts=tuple(contrasts(values, seed)))


def _notes(paired: Paired, judging: Judging) -> list[str]:
    notes = [f"Refusals are read by a classifier: {AGREEMENT}."]
    if any(outcome.name == "evasion" for outcome in PLAIN):
        notes.append(f"Evasions are found by {EVASION_AGREEMENT}.")
    if paired.unpaired:
        notes.append(f"{paired.unpaired:,} prompts lack an answer on at least one side and are left out.")
    notes += [
        f"{side.name}: {side.origin.quarantined:,} prompts were quarantined, {side.origin.records:,} answered."
        for side in paired.sides
        if side.origin.quarantined and side.name != DRAFTS
    ]
    names = {side.name for side in paired.sides}
    if DRAFTS not in names:
        notes.append(
            "The sides began with different drafts: model, seed or sampling differ, not only the constitution."
        )
    seeds = {side.origin.seeds for side in paired.sides}
    models = {tuple(sorted(side.origin.models.items())) for side in paired.sides}
    if len(seeds) > 1 or len(models) > 1:
        notes.append("Models or seeds differ between the sides.")
    for bench in judging.benches:
        if bench.consistent.n and bench.consistent.value < 0.6:
            notes.append(
                f"The judge {bench.judge!r} answers the same in both orders only {bench.consistent.value:.0%}."
            )
        if bench.verdicts and bench.unread.value > 0.02:
            notes.append(f"The judge {bench.judge!r} gave {bench.unread.value:.0%} answers nobody could read.")
    notes.append(
        f"Primary outcomes are tested at {LEVEL:.0%} each; all others are corrected for their number (Holm). Intervals "
        "are 95 %, paired by prompt, resampled by question."
    )
    return notes
