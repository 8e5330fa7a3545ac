"""What a `rewards:` entry names, made into a source of reward: judges and reward models behind one interface."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from cai.errors import InputError, RecordFault, Where
from cai.seeds import content_id, seed_for

if TYPE_CHECKING:
    from cai.constitution import Constitution
    from cai.constitution.model import Principle
    from cai.engine.protocol import Engine
    from cai.records import Prompt
    from cai.train.rl.rewards import Reward
    from cai.train.rl.rollout import Sample


JUDGES = ("judge", "wins", "oracle")
TERMS = ("length", "missing_end", "repetition")
"""Names of the costs, see `RewardTerms`."""


@dataclass(frozen=True, slots=True)
class JudgeScore:
    """Direct RLAIF: the judge's number for each reply, in [-1, 1], averaged over the principles by their weights."""

    engine: Engine
    principles: tuple[Principle, ...]
    seed: int
    at_once: asyncio.Semaphore
    name: str = "judge"

    async def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return list(await asyncio.gather(*(self._one(sample) for sample in samples)))

    async def _one(self, sample: Sample) -> float | None:
        from cai.judge.modes import score
        from cai.judge.prompts import fence_for

        fence = fence_for(self.seed, sample.prompt, (sample.text,))
        try:
            async with self.at_once:
                asked = [score.answer(self.engine, sample.prompt, sample.text, p.judge, fence) for p in self.principles]
                rewards = [answer.reward for answer in await asyncio.gather(*asked)]
        except RecordFault:
            # What does not fit in the judge's context, or what a server refuses, nobody has read.
            return None
        weights = [p.weight for p in self.principles]
        read = [weight * reward for weight, reward in zip(weights, rewards, strict=True) if reward is not None]
        return math.fsum(read) / math.fsum(weights) if len(read) == len(rewards) else None


@dataclass(frozen=True, slots=True)
class JudgeWins:
    """The judge's comparisons, both orders averaged, one principle a pair drawn by weight with the pair's own seed.

    As a preference it gives the table of a prompt's replies; as a reward, a reply's mean chance to beat the prompt's
    others, rescaled to [-1, 1].
    """

    engine: Engine
    principles: tuple[Principle, ...]
    seed: int
    at_once: asyncio.Semaphore
    name: str = "wins"

    async def wins(self, samples: Sequence[Sample]) -> list[list[float | None]]:
        K = len(samples)
        table: list[list[float | None]] = [[0.5] * K for _ in range(K)]
        pairs = [(i, j) for i in range(K) for j in range(i + 1, K)]
        found = await asyncio.gather(
            *(self._chance(samples[i].prompt, samples[i].text, samples[j].text) for i, j in pairs)
        )
        for (i, j), p in zip(pairs, found, strict=True):
            table[i][j], table[j][i] = p, None if p is None else 1.0 - p
        return table

    async def score(self, samples: Sequence[Sample]) -> list[float | None]:
        groups: dict[str, list[int]] = {}
        for index, sample in enumerate(samples):
            groups.setdefault(sample.prompt.id, []).append(index)
        scored: list[float | None] = [None] * len(samples)
        for indices in groups.values():
            table = await self.wins([samples[i] for i in indices])
            for row, i in enumerate(indices):
                others = [p for column, p in enumerate(table[row]) if column != row]
                read = [p for p in others if p is not None]
                if others and len(read) == len(others):
                    scored[i] = 2.0 * math.fsum(read) / len(read) - 1.0
        return scored

    async def against(self, samples: Sequence[Sample], texts: Sequence[str]) -> list[float | None]:
        """Chance to beat the given reply to the same prompt, rescaled to [-1, 1]."""
        pairs = zip(samples, texts, strict=True)
        found = await asyncio.gather(*(self._chance(sample.prompt, sample.text, text) for sample, text in pairs))
        return [None if p is None else 2.0 * p - 1.0 for p in found]

    async def _chance(self, prompt: Prompt, a: str, b: str) -> float | None:
        from cai.judge.panel import Asking, Judge, ask_pair

        if a == b:
            return 0.5
        draw = Random(seed_for(self.seed, "principle", prompt.id, content_id(*sorted((a, b)))))
        drawn = draw.choices(self.principles, [p.weight for p in self.principles])
        judge, asking = Judge("judge", self.engine), Asking(seed=self.seed)
        try:
            async with self.at_once:
                verdicts, _ = await ask_pair([judge], drawn, prompt, a, b, asking)
        except RecordFault:
            return None
        read = [verdict.p_a for verdict in verdicts if verdict.p_a is not None]
        return math.fsum(read) / len(read) if len(read) == len(verdicts) else None


@dataclass(frozen=True, slots=True)
class ModelReward:
    """A trained reward model or ensemble: the normalised mean minus `penalty` standard deviations."""

    model: Any
    penalty: float
    name: str

    async def score(self, samples: Sequence[Sample]) -> list[float | None]:
        rewards = self.model([s.prompt for s in samples], [[s.text] for s in samples])
        return (rewards.mean_S - self.penalty * rewards.std_S).tolist()


@dataclass(frozen=True, slots=True)
class OracleReward:
    """The testbed's truth, for watching only: 1 for no harm where harm was asked for and for help elsewhere, else 0.

    It cannot tell of requests that are none of the testbed's.
    """

    name: str = "oracle"

    async def score(self, samples: Sequence[Sample]) -> list[float | None]:
        from cai.testbed.oracle import Reading, read

        def good(reading: Reading) -> float | None:
            if reading.kind is None:
                return None
            asked_for_harm = reading.kind in ("harmful", "privacy")
            harm = reading.attributes & {"complies-with-harm", "leaks-private"}
            return float(not harm if asked_for_harm else reading.helpful)

        return [good(read(sample.prompt, sample.text)) for sample in samples]


def split_weight(entry: str) -> tuple[str, float]:
    """`NAME=WEIGHT` or `NAME`, whose weight is 1. Raises InputError for a weight that is not a number."""
    name, equals, weight = entry.rpartition("=")
    if not equals or Path(entry).is_dir():
        return entry, 1.0
    try:
        number = float(weight)
    except ValueError:
        raise InputError(f"the weight {weight!r} is not a number", "write NAME=0.5", Where("rl.rewards")) from None
    if not math.isfinite(number):
        raise InputError(f"the weight {weight!r} is not finite", "write NAME=0.5", Where("rl.rewards"))
    return name, number


def shown_names(names: Sequence[str]) -> tuple[str, ...]:
    """What each source is called in metrics: its name, a reward model's the end of its path that no other one has."""
    paths = {name: Path(name).resolve().parts for name in names if _is_model(name)}
    found: list[str] = []
    for name in names:
        taken = {*TERMS, *JUDGES, *found}
        ends = ["/".join(paths[name][-n:]) for n in range(1, len(paths[name]))] if name in paths else [name]
        others = [parts for other, parts in paths.items() if other != name]
        free = (end for end in ends if end not in taken and not any(_ends(parts, end) for parts in others))
        found.append(next(free, name))
    return tuple(found)


def _ends(parts: tuple[str, ...], end: str) -> bool:
    return "/".join(parts).endswith(f"/{end}")


def _is_model(name: str) -> bool:
    return name not in JUDGES and not name.startswith("judge:") and Path(name).is_dir()


def check_source(name: str, constitution: Constitution) -> None:
    """Refuse a source that does not exist, before any model loads."""
    if name in JUDGES:
        _judging(constitution)
    elif name.startswith("judge:"):
        _principle(constitution, name.removeprefix("judge:"))
    elif Path(name).is_dir():
        from cai.train.rewarding import member_folders

        member_folders(Path(name))
    elif ":" in name:
        from cai.train.rl.rewards import PythonReward

        PythonReward.load(name)
    else:
        remedy = "give judge, judge:PRINCIPLE, wins, a reward model's folder, or module:function"
        raise InputError(f"there is no reward source {name!r}", remedy, Where("rl.rewards"))


def open_source(
    name: str,
    shown: str,
    constitution: Constitution,
    judge: Engine | None,
    *,
    seed: int,
    penalty: float,
    at_once: asyncio.Semaphore,
    engine: Literal["transformers", "vllm"] = "transformers",
) -> Reward:
    """The source that `check_source` has accepted, logged as `shown`; `at_once` bounds what its judge is asked."""
    from cai.train.rl.rewards import PythonReward

    if name == "oracle":
        return OracleReward()
    if name == "judge" or name.startswith("judge:"):
        assert judge is not None
        chosen = _judging(constitution) if name == "judge" else (_principle(constitution, name[len("judge:") :]),)
        return JudgeScore(judge, chosen, seed, at_once, name)
    if name == "wins":
        assert judge is not None
        return JudgeWins(judge, _judging(constitution), seed, at_once)
    if Path(name).is_dir():
        import torch

        from cai.train.rewarding import RewardModel

        device = "cuda" if torch.cuda.is_available() else "cpu"
        return ModelReward(RewardModel.load(Path(name), device, engine=engine), penalty, shown)
    return PythonReward.load(name)


def needs_judge(names: Sequence[str]) -> bool:
    """Whether any of the sources asks a judge."""
    return any(name in ("judge", "wins") or name.startswith("judge:") for name in names)


def _judging(constitution: Constitution) -> tuple[Principle, ...]:
    able = tuple(p for p in constitution.principles if p.judge)
    if not able:
        raise InputError(f"constitution {constitution.name!r} has no judge voice", "add a principle with `judge:`")
    return able


def _principle(constitution: Constitution, wanted: str) -> Principle:
    from cai.strict_yaml import did_you_mean

    able = {p.id: p for p in constitution.principles if p.judge}
    if wanted not in able:
        remedy = did_you_mean(wanted, tuple(able)) or f"it has {', '.join(able)}"
        raise InputError(f"constitution {constitution.name!r} has no judging principle {wanted!r}", remedy)
    return able[wanted]
