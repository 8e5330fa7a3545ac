"""From files to tokenised examples, with every check on the way; needs a tokenizer but no weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from cai.config.train import TrainSettings
from cai.errors import InputError
from cai.inputs import PromptFile
from cai.seeds import seed_for
from cai.train.checks import (
    Lengths,
    default_file,
    one_constitution,
    refuse_shared_prompts,
    refuse_unfit,
    refuse_unusable,
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
    refuse_unusable(method, settings, base.files.config)
    files = [Path(f) for f in settings.data] or [
        default_file(run, {"sft": "sft.parquet", "pairs": "pairs.parquet", "lists": "lists.parquet"}[shape])
    ]
    examples, sources = _read_all(files, shape, settings)
    if shape == "sft":
        examples = choose_steps(examples, settings.steps)
    extra = list[Example]()
    if shape == "sft" and settings.replay:
        extra, more = _read_all([Path(settings.replay)], "sft", settings)
        sources += more
    for name in settings.held_out:
        PromptFile(name).check()
        refuse_shared_prompts([*examples, *extra], {prompt.id for prompt in PromptFile(name)}, name)
    train, evaluation = _split(examples, extra, settings, shape, sources)
    if extra:
        aside = {e.prompt.id for e in evaluation}
        train = mix(train, [e for e in extra if e.prompt.id not in aside], settings.replay_share, settings.seed)
    refuse_unfit(method, settings, train, evaluation)
    constitutions = one_constitution((*train, *evaluation), allow_mixed=settings.mixed_constitutions)
    thirds = third_replies(method, [*train, *evaluation])
    tokenised = [base.tokenise(e, third) for e, third in zip((*train, *evaluation), thirds, strict=True)]
    if alike := next((item for item in tokenised if not item.differs), None):
        raise InputError(f"the replies of {alike.example.id} are the same tokens", "leave that row out")
    fitted = [_fitted(item, base.limit, settings.too_long) for item in tokenised]
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


def _fitted(item: Tokenised, limit: int, policy: Literal["drop", "cut", "refuse"]) -> Tokenised | None:
    """As `fit`; replies that are the same once they are cut are left out, since there is nothing to prefer."""
    found = fit(item, limit, policy)
    return found if found is None or found.differs else None


def shape_of(method: Method, settings: TrainSettings) -> Shape:
    """Which columns the method reads."""
    if method.kind == "sft":
        return "sft"
    return "lists" if method.kind == "reward" and settings.reward_loss == "best-of-k" else "pairs"


def _read_all(files: Sequence[Path], shape: Shape, settings: TrainSettings) -> tuple[list[Example], list[Source]]:
    examples, sources = list[Example](), list[Source]()
    for file in files:
        found, source = read_examples(file, shape, skip_bad_rows=settings.skip_bad_rows)
        examples += found
        sources.append(source)
    return examples, sources


def _split(
    examples: list[Example], extra: list[Example], settings: TrainSettings, shape: Shape, sources: list[Source]
) -> tuple[list[Example], list[Example]]:
    if not settings.eval_data:
        split = split_by_prompt(examples, settings.eval_share, settings.seed)
        return split.train, split.evaluation
    evaluation, more = _read_all([Path(settings.eval_data)], shape, settings)
    sources += more
    refuse_shared_prompts([*examples, *extra], {e.prompt.id for e in evaluation}, settings.eval_data)
    return examples, choose_steps(evaluation, settings.steps) if shape == "sft" else evaluation


def mix(train: list[Example], extra: list[Example], share: float, seed: int) -> list[Example]:
    """`train` with as many of `extra` that they are `share` of the result; repeated in whole rounds where too few."""
    wanted = round(len(train) * share / (1 - share))
    if wanted and not extra:
        raise InputError(
            "every replayed prompt is kept aside for the evaluation", "set train.eval_data or another replay"
        )
    rng = Random(seed_for(seed, "train-replay"))
    drawn = [e for _ in range(wanted // len(extra)) for e in extra] + rng.sample(extra, wanted % len(extra))
    return [*train, *drawn]


def third_replies(method: Method, examples: Iterable[Example]) -> list[str]:
    """The third reply of each pair, or empty texts: KTO's is another prompt's chosen reply, SLiC's its target."""
    examples = list(examples)
    if method.third == "mismatched":
        return mismatched(examples)
    if method.third == "target" and any(e.supervised for e in examples):
        return [e.supervised or e.replies[0] for e in examples]
    return [""] * len(examples)


def mismatched(examples: Sequence[Example]) -> list[str]:
    """For each example the chosen reply of the next one, around the end, that has another prompt."""
    if len({e.prompt.id for e in examples}) < 2:
        raise InputError("kto needs replies to at least two prompts", "give more data: it compares with other prompts")
    found = [""] * len(examples)
    other = next(e for e in examples if e.prompt.id != examples[-1].prompt.id)
    for i in reversed(range(len(examples))):
        following = examples[(i + 1) % len(examples)]
        if following.prompt.id != examples[i].prompt.id:
            other = following
        found[i] = other.replies[0]
    return found
