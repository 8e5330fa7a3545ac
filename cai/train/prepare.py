"""From files to tokenised examples, with every check on the way; needs a tokenizer but no weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from cai.config.train import TrainSettings
from cai.errors import InputError
from cai.inputs import PromptFile
from cai.seeds import seed_for
from cai.train.checks import (
    Lengths,
    default_file,
    one_constitution,
    refuse_shared_prompts,
    split_by_prompt,
)
from cai.train.examples import Example, Shape, Source, choose_steps, read_examples
from cai.train.loading import Base
from cai.train.methods import Method
from cai.train.tokens import Tokenised, fit


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a training runs on: `items` holds the training examples first, then those of the evaluation."""

    items: tuple[Tokenised, ...]
    train: int
    sources: tuple[Source, ...]
    constitutions: tuple[str, ...]
    lengths: Lengths
    dropped: int
    cut: int

    @property
    def evaluation(self) -> int:
        """Examples of the evaluation."""
        return len(self.items) - self.train


def prepare(method: Method, settings: TrainSettings, base: Base, run: Path) -> Prepared:
    """Read, check, split and tokenise. Raises InputError for anything the training could not use."""
    shape = shape_of(method, settings)
    files = [Path(f) for f in settings.data] or [
        default_file(run, "sft.parquet" if shape == "sft" else "pairs.parquet")
    ]
    examples, sources = _read_all(files, shape)
    if shape == "sft":
        examples = choose_steps(examples, settings.steps)
    for name in settings.held_out:
        refuse_shared_prompts(examples, (prompt.id for prompt in PromptFile(name)), name)
    train, evaluation = _split(examples, settings, shape, sources)
    if shape == "sft" and settings.replay:
        extra, more = _read_all([Path(settings.replay)], "sft")
        sources += more
        train = mix(train, extra, settings.replay_share, settings.seed)
    constitutions = one_constitution((*train, *evaluation), allow_mixed=settings.mixed_constitutions)
    thirds = third_replies(method, [*train, *evaluation])
    tokenised = [base.tokenise(e, third) for e, third in zip((*train, *evaluation), thirds, strict=True)]
    fitted = [fit(item, base.limit, settings.too_long) for item in tokenised]
    kept = [item for item in fitted if item is not None]
    count = sum(item is not None for item in fitted[: len(train)])
    if not count:
        raise InputError(f"no example fits in {base.limit} tokens", "raise train.max_length or set train.too_long=cut")
    return Prepared(
        items=tuple(kept),
        train=count,
        sources=tuple(sources),
        constitutions=constitutions,
        lengths=Lengths(tuple(item.longest for item in tokenised), base.limit),
        dropped=len(fitted) - len(kept),
        cut=sum(item.cut for item in kept),
    )


def shape_of(method: Method, settings: TrainSettings) -> Shape:
    """Which columns the method reads."""
    if method.kind == "sft":
        return "sft"
    return "lists" if method.kind == "reward" and settings.reward_loss == "best-of-k" else "pairs"


def _read_all(files: Sequence[Path], shape: Shape) -> tuple[list[Example], list[Source]]:
    examples, sources = list[Example](), list[Source]()
    for file in files:
        found, source = read_examples(file, shape)
        examples += found
        sources.append(source)
    return examples, sources


def _split(
    examples: list[Example], settings: TrainSettings, shape: Shape, sources: list[Source]
) -> tuple[list[Example], list[Example]]:
    if not settings.eval_data:
        split = split_by_prompt(examples, settings.eval_share, settings.seed)
        return split.train, split.evaluation
    evaluation, more = _read_all([Path(settings.eval_data)], shape)
    sources += more
    refuse_shared_prompts(examples, (e.prompt.id for e in evaluation), settings.eval_data)
    return examples, choose_steps(evaluation, settings.steps) if shape == "sft" else evaluation


def mix(train: list[Example], extra: list[Example], share: float, seed: int) -> list[Example]:
    """`train` with as many of `extra` that they are `share` of the result; repeated in whole rounds where too few."""
    wanted = round(len(train) * share / (1 - share))
    rng = Random(seed_for(seed, "train-replay"))
    drawn = [e for _ in range(wanted // len(extra)) for e in extra] + rng.sample(extra, wanted % len(extra))
    return [*train, *drawn]


def third_replies(method: Method, examples: Iterable[Example]) -> list[str]:
    """The third reply of each pair, or empty texts: KTO's is the next prompt's chosen reply, SLiC's its target."""
    examples = list(examples)
    if method.third == "mismatched":
        chosen = [e.replies[0] for e in examples]
        return [*chosen[1:], *chosen[:1]]
    if method.third == "target" and any(e.supervised for e in examples):
        return [e.supervised or e.replies[0] for e in examples]
    return [""] * len(examples)
