"""The stream of trees that the tiny model learns from: tree number i depends on the seed and on i alone."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from transformers import PreTrainedTokenizerFast

from cai.seeds import seed_for
from cai.testbed.pretraining.chains import chain_paths, draft_paths, few_shots
from cai.testbed.pretraining.comparisons import canary_paths, comparison_paths
from cai.testbed.pretraining.drills import critic_drill, judge_drill, readings
from cai.testbed.pretraining.tokenizer import encoder, marks
from cai.testbed.pretraining.trees import Path, Tree, plant
from cai.testbed.pretraining.voices import library_texts
from cai.testbed.world import lexicon
from cai.testbed.world.phrases import LESS, MORE, gerund, third
from cai.testbed.world.requests import KINDS, Request, draw

_KIND_SHARES = (13, 21, 11, 8, 10, 9, 10, 10, 5, 8)
SHARES = {
    "drafts": 0.40,
    "chains": 0.28,
    "critics": 0.12,
    "comparisons": 0.08,
    "judges": 0.05,
    "readings": 0.04,
    "canaries": 0.03,
}
FEW_SHOT_SHARE = 0.05
EARLY = 8000
"""The first trees only teach to draft and to revise and to read principles: short, and most tokens are learned."""
LONGEST = 1400
"""Trees with more tokens than this are left out (a few in a thousand)."""


def paths_for(seed: int, index: int) -> list[Path]:
    """The conversations of tree `index`."""
    rng = Random(seed_for(seed, "pretraining", index))
    request = _request(rng)
    if index < EARLY:
        return draft_paths(request, rng) if rng.random() < 0.7 else readings(rng)
    match rng.choices(list(SHARES), list(SHARES.values()))[0]:
        case "drafts":
            return draft_paths(request, rng)
        case "comparisons":
            return comparison_paths(request, rng)
        case "critics":
            return critic_drill(request, rng)
        case "judges":
            return judge_drill(request, rng)
        case "readings":
            return readings(rng)
        case "canaries":
            return canary_paths(request, rng)
        case _:
            if rng.random() >= FEW_SHOT_SHARE:
                return chain_paths(request, rng)
            shots = few_shots([_request(rng) for _ in range(rng.choice((1, 1, 2, 3)))], rng)
            return chain_paths(request, rng, shots)


def trees(tokenizer: PreTrainedTokenizerFast, seed: int, start: int, count: int) -> Iterator[Tree]:
    """Trees `start` to `start + count`."""
    encode, ids = encoder(tokenizer), marks(tokenizer)
    for index in range(start, start + count):
        tree = plant(paths_for(seed, index), encode, ids)
        if 0 < len(tree) <= LONGEST:
            yield tree


def vocabulary_texts(seed: int, count: int) -> Iterator[str]:
    """Texts to learn the tokenizer on: a sample of the corpus, and every word a principle may use."""
    for index in range(EARLY, EARLY + count):
        for path in paths_for(seed, index):
            yield from (say.content for say in path[-2:])
    yield from library_texts() * 20
    for table in (MORE, LESS):
        for words in table.values():
            forms = [*words.adjectives, *words.nouns, *(f(v) for v in words.verbs for f in (str, third, gerund))]
            yield from (f"the {form}" for form in forms * 20)
    names = (*lexicon.PEOPLE, *lexicon.TOWNS)
    yield from (f"{name} saw {name}" for name in names * 20)


def _request(rng: Random) -> Request:
    return draw("train", rng.choices(KINDS, _KIND_SHARES)[0], rng)
