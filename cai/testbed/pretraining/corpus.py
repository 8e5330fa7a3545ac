"""The stream of trees that the tiny model learns from: tree number i depends on the seed and on i alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from random import Random

from transformers import PreTrainedTokenizerFast

from cai.seeds import seed_for
from cai.testbed.pretraining.chains import chain_paths, draft_paths, few_shots
from cai.testbed.pretraining.comparisons import comparison_paths
from cai.testbed.pretraining.drills import critic_drill, judge_drill
from cai.testbed.pretraining.tokenizer import marks
from cai.testbed.pretraining.trees import Path, Tree, plant
from cai.testbed.pretraining.voices import library_texts
from cai.testbed.world import lexicon
from cai.testbed.world.phrases import LESS, MORE, gerund, third
from cai.testbed.world.requests import KINDS, Request, draw

_KIND_SHARES = (16, 22, 11, 9, 8, 9, 8, 7, 5, 8)
CHAIN_SHARE = 0.25
COMPARISON_SHARE = 0.15
"""The rest are drills, half of them the critic's."""
FEW_SHOT_SHARE = 0.05
EARLY = 8000
"""The first trees only teach to draft and to revise: short, and most of their tokens are learned."""
EASY = 20_000
"""Up to this tree drills and comparisons are easy ones: they ask for what is good."""
LONGEST = 1400
"""Trees with more tokens than this are left out (a few in a thousand)."""


def paths_for(seed: int, index: int) -> list[Path]:
    """The conversations of tree `index`."""
    rng = Random(seed_for(seed, "pretraining", index))
    request = _request(rng)
    if index < EARLY:
        return draft_paths(request, rng)
    kind, easy = rng.random(), index < EASY
    if kind >= CHAIN_SHARE + COMPARISON_SHARE:
        return critic_drill(request, rng, easy=easy) if rng.random() < 0.5 else judge_drill(request, rng, easy=easy)
    if kind >= CHAIN_SHARE:
        return comparison_paths(request, rng, easy=easy)
    if rng.random() < FEW_SHOT_SHARE:
        shots = few_shots([_request(rng) for _ in range(rng.choice((1, 1, 2, 3)))], rng)
        return chain_paths(request, rng, shots)
    return chain_paths(request, rng)


def trees(tokenizer: PreTrainedTokenizerFast, seed: int, start: int, count: int) -> Iterator[Tree]:
    """Trees `start` to `start + count`."""
    backend = tokenizer.backend_tokenizer

    @lru_cache(maxsize=200_000)
    def ids_of(text: str) -> tuple[int, ...]:
        return tuple(backend.encode(text, add_special_tokens=False).ids)

    def encode(text: str) -> Sequence[int]:
        return ids_of(text)

    ids = marks(tokenizer)
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
