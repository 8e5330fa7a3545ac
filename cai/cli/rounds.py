"""`cai train iterate`: each round labels what the newest policy says and trains it on the labels.

Through a reward model trained anew, the online collection of Bai et al. 2022 with the AI judge in people's place; or by
a preference method on the pairs themselves, as in iterated DPO. A round is a run folder of its own below
`runs/NAME/iterate/`, made by the same jobs as `cai label`, `cai train reward` and `cai train METHOD`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cai.cli.pipeline_steps import Step, read_by, run_steps, section_of
from cai.cli.table import table_lines
from cai.cli.terminal import plain
from cai.config import load_settings
from cai.config.base import SECTIONS
from cai.config.engine import EngineSettings
from cai.config.iterate import IterateSettings
from cai.config.label import LabelSettings
from cai.config.methods import PREFERENCE
from cai.config.rl import RLSettings
from cai.config.train import TrainSettings
from cai.errors import InputError, Where

if TYPE_CHECKING:
    from cai.records import Prompt

REPLAY = "replay.parquet"


@dataclass(frozen=True, slots=True)
class Rounds:
    """The whole schedule, its parts' settings read from the same recipe and overrides."""

    settings: IterateSettings
    engine: EngineSettings
    """The judge's engine; the policy runs on the same with its own model."""
    recipe: Path | None
    overrides: Sequence[str]
    base: Path

    @property
    def by_pairs(self) -> bool:
        """Whether the policy learns the judge's pairs themselves, without a reward model."""
        return self.settings.method in PREFERENCE

    @property
    def replay(self) -> float:
        """Share of the earlier rounds' labelled prompts that a round learns from as well."""
        given = self.settings.replay
        return given if given is not None else 0.0 if self.by_pairs else 1.0

    @property
    def folder(self) -> Path:
        """Where the rounds and the last policy lie."""
        return self.base / self.settings.run / "iterate"

    def round(self, number: int) -> Path:
        """A round's run folder; the first is 1."""
        return self.folder / f"round-{number}"

    def policy(self, number: int) -> str:
        """The policy at the end of a round; that of round 0 is where everything starts."""
        return str(self.round(number) / self.settings.method / "model") if number else self.settings.model

    def label(self, number: int) -> LabelSettings:
        """How this round's replies are drawn and judged; which prompts and where is the schedule's to say."""
        given = section_of(
            LabelSettings, "label", self.recipe, self.overrides, {"constitution": self.settings.constitution}
        )
        ours = {
            **self._place(number),
            "prompts": str(self.prompt_file(number)),
            "split": "",
            "column": "",
            "limit": None,
        }
        if number > 1 and self.settings.candidates > 2:
            ours |= {"samples": self.settings.candidates, "choose": str(self.round(number - 1) / "reward")}
        return given.model_copy(update=ours)

    def reward(self, number: int) -> TrainSettings:
        """This round's reward model, from the starting policy's body: it learns from all rounds so far."""
        own: dict[str, object] = {"model": self.settings.model}
        given = section_of(TrainSettings, "reward", self.recipe, self.overrides, own)
        return given.model_copy(update={**self._place(number), "data": self._pairs(number)})

    def prefer(self, number: int) -> TrainSettings:
        """This round's pairs, learnt by the last round's policy, which is also the frozen reference."""
        given = section_of(TrainSettings, self.settings.method, self.recipe, self.overrides, {})
        ours = {"model": self.policy(number - 1), "data": self._pairs(number)}
        return given.model_copy(update={**self._place(number), **ours})

    def learn(self, number: int) -> RLSettings:
        """The policy goes on from the last round's; the KL is measured to where the first round began.

        The round's reward model always pays; rewards that the section names are paid beside it.
        """
        s = self.settings
        own: dict[str, object] = {
            "constitution": s.constitution,
            "reference": s.model,
            "prompts": s.prompts,
            "split": s.split,
            "column": s.column,
            "rewards": [],
            "judge": {"model": s.judge_model},
        }
        given = section_of(RLSettings, s.method, self.recipe, self.overrides, own)
        rewards = [str(self.round(number) / "reward"), *given.rewards]
        return given.model_copy(update={**self._place(number), "model": self.policy(number - 1), "rewards": rewards})

    def steps(self) -> list[Step]:
        """Three steps a round, two without a reward model. Raises InputError for wrong settings."""
        method = self.settings.method
        learn = (
            [(method, self.prefer, partial(_train, method))]
            if self.by_pairs
            else [("reward", self.reward, partial(_train, "reward")), (method, self.learn, _learn)]
        )
        found, start = list[Step](), self.engine.model_copy(update={"model": self.settings.model})
        reads = read_by(self.settings, start)
        for number in range(1, self.settings.rounds + 1):
            for name, read, go in [("label", self.label, _label), *learn]:
                settings = read(number)
                found.append(Step(f"round {number} {name}", settings, partial(go, self, number, settings), reads=reads))
        return found

    def prompt_file(self, number: int) -> Path:
        """The prompts whose replies a round labels."""
        return self.folder / f"prompts-{number}.jsonl"

    def _pairs(self, number: int) -> list[str]:
        """Files of pairs that a round learns from."""
        earlier = [str(self.round(number) / REPLAY)] if number > 1 and self.replay > 0 else []
        return [str(self.round(number) / "pairs.parquet"), *earlier]

    def _place(self, number: int) -> dict[str, object]:
        return {"run": f"round-{number}", "seed": self.settings.seed + number - 1}


def train_iterate(
    recipe: Path | None, overrides: Sequence[str], flags: Mapping[str, object], *, dry_run: bool, base: Path
) -> None:
    """Check every round's settings, say what will happen, run what is still to do."""
    from cai.store.run import run_folder

    settings = load_settings(IterateSettings, "iterate", recipe, overrides, flags)
    run_folder(base, settings.run)
    engine = load_settings(EngineSettings, "engine", recipe, overrides, {"model": settings.judge_model})
    rounds = Rounds(settings, engine, recipe, tuple(overrides), base)
    if dry_run:
        for step in rounds.steps():
            typer.echo(plain(f"{step.name}: {step.settings.model_dump(exclude_defaults=True, mode='json')}"))
        return
    work_rounds(rounds)


def in_section(override: str) -> str:
    """`rounds=2` is `iterate.rounds=2`; what names a section already stays as it is."""
    head, dot, _ = override.partition("=")[0].partition(".")
    return override if dot and head in SECTIONS else f"iterate.{override}"


def work_rounds(rounds: Rounds) -> None:
    """Run, or go on with, all rounds; leaves the last policy in `iterate/model` and a line a round in rounds.json."""
    rounds.folder.mkdir(parents=True, exist_ok=True)
    steps = rounds.steps()
    _write_prompts(rounds)
    run_steps(rounds.folder, steps)
    _publish(Path(rounds.policy(rounds.settings.rounds)), rounds.folder / "model")
    lines = table_lines(_table(rounds))
    typer.echo("\n" + "\n".join(lines))
    typer.echo(f"model: {rounds.folder / 'model'}")


def _write_prompts(rounds: Rounds) -> None:
    """Deal out the prompts: each round's labels are on prompts that no earlier round has labelled."""
    from cai.store.files import write_text

    s = rounds.settings
    prompts = _prompts(rounds, s.rounds * s.prompts_per_round)
    for number in range(1, s.rounds + 1):
        dealt = prompts[(number - 1) * s.prompts_per_round : number * s.prompts_per_round]
        rows = [{"messages": [m.model_dump() for m in p.messages], "category": p.category} for p in dealt]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        file = rounds.prompt_file(number)
        if not file.exists() or file.read_text("utf-8") != text:
            write_text(file, text)


def _prompts(rounds: Rounds, wanted: int) -> Sequence[Prompt]:
    """The first prompts given; where the policy is watched, none of those it is watched on."""
    from cai.cli.prompts import open_prompts
    from cai.cli.rl_prompts import learning_prompts

    if rounds.by_pairs:
        s = rounds.settings
        split = s.split or ("train" if s.prompts == "testbed" else "")
        asked = open_prompts(s.prompts, column=s.column, split=split, limit=wanted, seed=s.seed, skip_bad_rows=False)
        found = tuple(asked.prompts)
    else:
        learn = rounds.learn(1)
        if learn.prompts == "testbed" and (learn.limit or 0) < wanted:
            learn = learn.model_copy(update={"limit": wanted})
        found, _ = learning_prompts(learn)
    if len(found) < wanted:
        what = f"{rounds.settings.rounds} rounds of {rounds.settings.prompts_per_round} prompts need {wanted:,}"
        raise InputError(
            f"{what}; there are {len(found):,}", "lower one of the two", Where("iterate.prompts_per_round")
        )
    return found[:wanted]


def _label(rounds: Rounds, number: int, settings: LabelSettings) -> None:
    from cai.cli.label_job import prepare
    from cai.cli.label_work import work

    judges = settings.judges or (rounds.engine,)
    policy = rounds.engine.model_copy(update={"model": rounds.policy(number - 1)})
    job = prepare(settings.model_copy(update={"judges": tuple(judges)}), policy, rounds.folder)
    for counts in work(job).counts:
        counts.check_errors()
    if not _rows(rounds.round(number) / "pairs.parquet"):
        remedy = f"end with rounds={number - 1}, or draw" if number > 1 else "draw"
        raise InputError("no prompt has two different replies to compare", f"{remedy} with more label.temperature")


def _train(method: str, rounds: Rounds, number: int, settings: TrainSettings) -> None:
    from cai.cli.train_job import prepare_training, train_job
    from cai.train.rl.replay import write_replay

    earlier = [rounds.round(n) / "pairs.parquet" for n in range(1, number)]
    if earlier and rounds.replay > 0:
        write_replay(earlier, rounds.round(number) / REPLAY, share=rounds.replay, seed=rounds.settings.seed)
    train_job(prepare_training(method, settings, rounds.folder), rounds.folder)


def _learn(rounds: Rounds, number: int, settings: RLSettings) -> None:
    from cai.cli.rl_job import announce, prepare
    from cai.cli.rl_work import work
    from cai.cli.step_lines import show_rl_step

    job = prepare(rounds.settings.method, settings, rounds.folder)
    announce(job)
    work(job, show_rl_step)


def _publish(model: Path, target: Path) -> None:
    """The last round's model under a name that does not change; hard links, because nothing rewrites its files."""
    partial_ = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial_, ignore_errors=True)
    shutil.copytree(model, partial_, copy_function=os.link)
    shutil.rmtree(target, ignore_errors=True)
    partial_.rename(target)


def _table(rounds: Rounds) -> list[list[str]]:
    """A row a round: pairs it learnt from, and what its policy's training saw."""
    from cai.store.files import dump_json, write_text

    seen = _learnt if rounds.by_pairs else _watched
    found = [
        {"round": number, "pairs": _pairs(rounds, number), **seen(rounds.round(number) / rounds.settings.method)}
        for number in range(1, rounds.settings.rounds + 1)
    ]
    write_text(rounds.folder / "rounds.json", dump_json({"rounds": found}))
    return [[*map(_title, found[0])], *([_shown(value) for value in row.values()] for row in found)]


def _watched(folder: Path) -> dict[str, Any]:
    """What the held-out judge said before and after, KL, warnings."""
    from cai.train.rl.journal import Journal

    seen = Journal(folder, writes=False).evaluations()
    first, last = (_mean(one["held_out_P"]) for one in (seen[0], seen[-1]))
    warned = sorted({w["name"] for one in seen for w in one["warnings"]})
    return {"before": first, "after": last, "kl": seen[-1]["kl"], "warnings": warned}


def _learnt(folder: Path) -> dict[str, Any]:
    """Loss of the first and last step, and how often the last evaluation's pairs held back were ordered as labelled."""
    from cai.train.progress import read_metrics

    rows = read_metrics(folder)
    losses = [row["loss"] for row in rows if "loss" in row]
    held = [row["eval_accuracy"] for row in rows if "eval_accuracy" in row]
    return {"first_loss": losses[0], "last_loss": losses[-1], "held_back_accuracy": held[-1] if held else None}


def _title(name: str) -> str:
    titles = {"before": "held-out before", "kl": "KL to the start"}
    return titles.get(name, name.replace("_", " "))


def _pairs(rounds: Rounds, number: int) -> int:
    files = [rounds.round(number) / name for name in ("pairs.parquet", REPLAY)]
    return sum(_rows(file) for file in files if file.exists())


def _rows(file: Path) -> int:
    import pyarrow.parquet as pq

    return pq.ParquetFile(file).metadata.num_rows


def _mean(values: Sequence[float | None]) -> float | None:
    read = [value for value in values if value is not None]
    return sum(read) / len(read) if read else None


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return ", ".join(value) or "-" if isinstance(value, list) else "-" if value is None else str(value)
