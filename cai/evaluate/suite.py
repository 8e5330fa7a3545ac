"""What a suite is, and the records it makes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from cai.engine.protocol import Engine, OptionScores, Sampling, Turn
from cai.measures.contrast import Better, Unit
from cai.records import Message, Prompt, Record, Usage
from cai.seeds import seed_for


class Item(Record):
    """One question of a suite."""

    prompt: Prompt
    cluster: str
    """Items of one cluster are variants of one question: they are resampled together."""
    category: str = ""
    options: tuple[str, ...] = ()
    """What may be chosen, where the answer is a choice."""
    gold: tuple[int, ...] = ()
    """Positions of the right options."""
    facts: dict[str, str] = Field(default_factory=dict)
    """What the reader needs besides."""


class Answer(Record):
    """What a model answered to one item, and what was read from it; an unread score is None and counted."""

    item: str
    """The prompt's id."""
    suite: str
    cluster: str
    category: str
    source: str
    attack: str = ""
    prompt: tuple[Message, ...]
    replies: tuple[str, ...]
    scores: dict[str, float | None]
    unread: tuple[str, ...] = ()
    """Scores that should be there but could not be read; an answer whose every score is None is unread as a whole."""
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Metric:
    """One number per answer, averaged. The first of a suite is the primary one."""

    name: str
    better: Better
    about: str
    primary: bool = False
    unit: Unit = "share"
    worst: bool = False
    """Whether the worst category is told beside the mean."""
    least: float = 0.0
    """The smallest value an answer can have."""


@dataclass(frozen=True, slots=True)
class How:
    """How every answer of a run is drawn, and who judges."""

    seed: int = 0
    temperature: float = 0.0
    max_tokens: int = 256
    judge: Engine | None = None

    def sampling(self, *place: str | int) -> Sampling:
        return Sampling(seed_for(self.seed, "evaluate", *place), self.temperature, 1.0, self.max_tokens)


@dataclass(frozen=True, slots=True)
class Gap:
    """The mean of one metric less the mean of another over the same question (cluster), averaged over questions."""

    name: str
    of: str
    less: str
    better: Better
    about: str


Load = Callable[[Path], Sequence[Item]]
Ask = Callable[[Engine, Item, How], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite: `file` is what it needs under the folder of public data, "" for one that needs none."""

    name: str
    about: str
    file: str
    load: Load
    ask: Ask
    metrics: tuple[Metric, ...]
    attackable: bool = False
    """Whether its prompts can be wrapped in attacks and still mean something."""
    gaps: tuple[Gap, ...] = ()
    note: str = ""
    """What a reader must know of how answers are read; printed under the figures."""


def user(text: str, *, source: str, category: str = "") -> Prompt:
    """A prompt of one user's message."""
    return Prompt.of((Message(role="user", content=text),), source=source, category=category)


def turns_of(prompt: Prompt) -> tuple[Turn, ...]:
    return tuple(Turn.of(message) for message in prompt.messages)


def answer(
    suite: str,
    item: Item,
    replies: Sequence[str],
    scores: dict[str, float | None],
    usage: Usage,
    *,
    unread: tuple[str, ...] = (),
) -> Answer:
    """An answer with the item's own facts filled in."""
    return Answer(
        item=item.prompt.id,
        suite=suite,
        cluster=item.cluster,
        category=item.category,
        source=item.prompt.source,
        prompt=item.prompt.messages,
        replies=tuple(replies),
        scores=scores,
        unread=unread,
        usage=usage,
    )


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def choice_turns(item: Item) -> tuple[Turn, ...]:
    """The question with its options under letters, and the request for one letter."""
    *before, last = item.prompt.messages
    lines = [f"({LETTERS[k]}) {option}" for k, option in enumerate(item.options)]
    text = "\n".join([last.content, "", *lines, "", "Answer with the letter of one option only."])
    return (*(Turn.of(message) for message in before), Turn("user", text))


async def choose(engine: Engine, item: Item) -> tuple[tuple[float, ...] | None, str, Usage]:
    """Probability of each option from the log-probs of its letter; None where none was likely."""
    letters = tuple(LETTERS[: len(item.options)])
    scores = await engine.option_logprobs(choice_turns(item), letters)
    return (
        read_choice(scores),
        " ".join(f"{x}={p:.3f}" for x, p in zip(letters, scores.logprobs, strict=True)),
        scores.usage,
    )


LEAST_MASS = 0.01


def read_choice(scores: OptionScores) -> tuple[float, ...] | None:
    """Renormalised over the letters; None where they hold less than `LEAST_MASS` of the probability."""
    import math

    if all(scores.bounded) or any(math.isnan(x) for x in scores.logprobs):
        return None
    masses = [math.exp(x) for x in scores.logprobs]
    total = math.fsum(masses)
    return tuple(m / total for m in masses) if total >= LEAST_MASS else None


def chosen(ps: Sequence[float] | None) -> int | None:
    """The likeliest option; None where unread or where two are equally likely."""
    if ps is None:
        return None
    best = max(ps)
    return ps.index(best) if list(ps).count(best) == 1 else None
