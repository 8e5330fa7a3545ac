"""Online rounds against one round, at as many labels and steps: test requests, the oracle, 95 % intervals.

    python -m benchmarks.rounds [--cells ipo,ipo-6,…] [--seeds 0,1,2] [--out FILE.json]

A policy answers requests, the judge labels its replies, a preference method learns the pairs, and the next round's
labels are of what it says then: what `cai train iterate method=ipo replay=0` does. With GRPO, reward models are trained
anew on all pairs so far and their mean pays: `cai train iterate method=grpo reward.ensemble=4`. All begin at the
training benchmark's SL-CAI with its numbers of labels, dealt out over the rounds. As there, red-team requests are
judged for harmlessness; the others here by `helpful-honest`, which asks for all that "good" counts. `helpful-only`,
which the training benchmark uses, does not ask to admit what nobody can know: the better a policy does what it says,
the more it makes up. In cells named `all` a label is the mean of every principle's word, elsewhere that of one, drawn
for its request. A cell that is there is not made again; the table holds every cell that is there (`none` makes
nothing).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.conditions import conditions, write_results
from benchmarks.rl_cells import START, RLBench
from benchmarks.rl_table import UPDATES, RLSizes
from benchmarks.rl_table import Cell as Paid
from benchmarks.training_cells import BASE, Bench, Sizes, draw_replies, half_red, label_share
from benchmarks.training_table import TRAININGS
from benchmarks.training_truth import SHOWN, Read, readings, shares, told, versus
from cai.cli.train_job import prepare_training, train_job
from cai.config.train import TrainSettings
from cai.engine.files import find_model
from cai.measures.intervals import holm
from cai.seeds import content_id
from cai.testbed import TINY
from cai.testbed.oracle import read

CONSTITUTIONS = {"red_pairs": "harmless-only", "plain_pairs": "helpful-honest"}
"""Which requests are judged by what; the names are those of `Sizes`."""
WATCHED = 384
"""Validation requests that say how far each round has come; half of them red-team."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A method, and how many rounds share the labels and the steps.

    Preference methods have the training benchmark's numbers.
    """

    method: str
    rounds: int
    first_of: int = 1
    """Where one round has the first round's labels alone: of how many."""
    principles: Literal["random", "all"] = "random"
    """Whether a label is one principle's word, drawn for each request, or the mean of all."""

    @property
    def parts(self) -> int:
        """Over how many rounds the requests are dealt out."""
        return self.rounds * self.first_of


CELLS = {
    "ipo": Cell("ipo", 1),
    "ipo-6": Cell("ipo", 6),
    "dpo": Cell("dpo", 1),
    "dpo-6": Cell("dpo", 6),
    "ipo-3": Cell("ipo", 3),
    "dpo-3": Cell("dpo", 3),
    "grpo": Cell("grpo", 1),
    "grpo-2": Cell("grpo", 2),
    "grpo-first": Cell("grpo", 1, first_of=2),
    "grpo-all": Cell("grpo", 1, principles="all"),
    "ipo-all": Cell("ipo", 1, principles="all"),
    "ipo-all-6": Cell("ipo", 6, principles="all"),
}
GRPO, MEMBERS = Paid("grpo", "rounds", 0.1, steps=56), 4
"""Numbers of GRPO, and how many reward models pay it their mean: the validation split's choice."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """One seed of this benchmark, in a folder of its own beside the training benchmark's runs of that seed."""

    bench: Bench

    @property
    def paid(self) -> RLBench:
        """Where policies are trained on rewards."""
        return RLBench(self.bench, RLSizes(watched=128, every=28))

    @property
    def base(self) -> Path:
        start = TRAININGS[START]
        return self.bench.base / f"rounds-{content_id(repr(start), repr(CONSTITUTIONS))[:8]}"

    def run(self, name: str, number: int) -> str:
        """The run of one round of a cell, with a hash of its training's numbers."""
        method = CELLS[name].method
        own = (GRPO, UPDATES["grpo"], TRAININGS["reward"], MEMBERS) if method == "grpo" else TRAININGS[method]
        return f"{name}-{content_id(repr(own))[:8]}-{number}"

    def folder(self, name: str, number: int) -> Path:
        """Where one round of a cell leaves its policy."""
        method = CELLS[name].method
        return (self.paid if method == "grpo" else self).base / self.run(name, number) / method

    def make(self, name: str) -> None:
        """All rounds of a cell and its last policy's replies to the test requests."""
        file = self.folder(name, CELLS[name].rounds) / "cell.json"
        if file.is_file():
            return
        cell, model = CELLS[name], str(self.bench.train(START))
        learn = self._by_rewards if cell.method == "grpo" else self._by_pairs
        watched, pairs = [self._share_good(model)], list[list[Path]]()
        for number in range(1, cell.rounds + 1):
            pairs.append([self._label(name, requests, number, model) for requests in CONSTITUTIONS])
            model = learn(name, number, model, pairs)
            watched.append(self._share_good(model))
        replies = draw_replies(model, self.bench.seed, "test", self.bench.held_out())
        file.write_text(json.dumps({"watched_good": watched, "replies": replies}, indent=0), "utf-8")

    def kept(self, name: str) -> dict[str, Any] | None:
        """What `make` has left, or None where it has not been here."""
        file = self.folder(name, CELLS[name].rounds) / "cell.json"
        return json.loads(file.read_text("utf-8")) if file.is_file() else None

    def _share_good(self, model: str) -> float:
        """On validation requests, by the oracle; nothing is trained or chosen by it."""
        seed = self.bench.seed
        asked = half_red("validation", WATCHED, seed)
        replies = draw_replies(model, seed, "watch", asked)
        return sum(Read(seed, p, read(p, text)).good for p, text in zip(asked, replies, strict=True)) / len(asked)

    def _label(self, name: str, requests: str, number: int, policy: str) -> Path:
        """The judge's labels of a round's share of the requests; cells with as many shares have the first in common."""
        cell = CELLS[name]
        first = f"first-of-{cell.parts}" + ("-all" if cell.principles == "all" else "")
        run = f"{self.run(name, number) if number > 1 else first}-{requests}"
        share = self.bench.requests(requests).read_text("utf-8").splitlines(keepends=True)[number - 1 :: cell.parts]
        by, seed = CONSTITUTIONS[requests], self.bench.seed
        return label_share(self.base, run, share, by, seed, policy, principles=cell.principles)

    def _by_rewards(self, name: str, number: int, model: str, pairs: Sequence[Sequence[Path]]) -> str:
        """The newest policy goes on, paid by reward models of all pairs so far; the KL is to SL-CAI."""
        run, cell, bench = self.run(name, number), CELLS[name], self.paid
        pays = bench.reward(run, [file for one in pairs for file in one], members=MEMBERS)
        bench.learn(GRPO, run, model, pays, GRPO.steps // cell.rounds, self.bench.seed * cell.rounds + number)
        return str(self.folder(name, number) / "model")

    def _by_pairs(self, name: str, number: int, model: str, pairs: Sequence[Sequence[Path]]) -> str:
        """One epoch over the round's pairs, from the newest policy, which is also the reference."""
        cell = CELLS[name]
        given = {
            "run": self.run(name, number), "model": model, "data": [str(file) for file in pairs[-1]],
            "seed": self.bench.seed * cell.rounds + number, "mixed_constitutions": True, "batch_size": 32,
            "micro_batch": 16, "eval_share": 0.0, "check_every": 1_000_000, **TRAININGS[cell.method].settings,
        }  # fmt: skip
        made = self.folder(name, number) / "model"
        if not made.is_dir():
            train_job(prepare_training(cell.method, TrainSettings.model_validate(given), self.base), self.base)
            gc.collect()
        return str(made)


def one_round(name: str) -> list[str]:
    """What rounds are compared with: one round of as many labels, and one with the first round's alone."""
    cell = CELLS[name]
    alike = (cell.method, cell.principles)
    same = [other for other, one in CELLS.items() if one.rounds == 1 and (one.method, one.principles) == alike]
    return [other for other in same if CELLS[other].first_of in (1, cell.rounds)] if cell.rounds > 1 else []


def one_principle(name: str) -> list[str]:
    """The same training on labels that are one principle's word, where the cell's are of all."""
    cell = CELLS[name]
    return [other for other, one in CELLS.items() if one != cell and replace(cell, principles="random") == one]


def summary(benches: Mapping[int, Rounds]) -> dict[str, Any]:
    """Shares, by seed and pooled, paired changes beside one round and SL-CAI, and whether rounds are better."""
    read_by, watched = defaultdict[str, dict[int, list[Read]]](dict), defaultdict[str, dict[int, Any]](dict)
    for seed, one in benches.items():
        for name in (BASE, START):
            read_by[name][seed] = readings(one.bench, one.bench.replies(name))
        for name in CELLS:
            if kept := one.kept(name):
                read_by[name][seed] = readings(one.bench, kept["replies"])
                watched[name][seed] = kept["watched_good"]
    against = defaultdict[str, dict[str, Any]](dict)
    for name in CELLS:
        for other in (START, *one_round(name), *one_principle(name)):
            both = [seed for seed in read_by[name] if seed in read_by[other]]
            if both:
                rows, base = ([r for seed in both for r in read_by[which][seed]] for which in (name, other))
                against[name][other] = versus(rows, base)
    compared = [(name, other) for name in CELLS for other in one_round(name) if other in against[name]]
    found = [against[name][other]["good"] for name, other in compared]
    corrected = holm([one["p"] for one in found]) if found else []
    goals = [
        {"claim": f"{name} less {other}: good", "goal": "> 0", "found": f"{told(one)}, Holm p = {p:.4f}",
         "met": one["low"] > 0 and p < 0.05}
        for (name, other), one, p in zip(compared, found, corrected, strict=True)
    ]  # fmt: skip
    by_seed = {name: {seed: shares(rows) for seed, rows in by.items()} for name, by in read_by.items() if by}
    pooled = {name: shares([r for rows in by.values() for r in rows]) for name, by in read_by.items() if by}
    return {"pooled": pooled, "seeds": by_seed, "watched_good": watched, "against": against, "goals": goals}


def table(book: Mapping[str, Any]) -> list[str]:
    """Pooled shares with intervals, the watched requests round by round, and every goal and whether it is met."""
    lines = [f"{'':<8}" + "".join(f"{name:>22}" for name in SHOWN)]
    for name, rows in book["pooled"].items():
        texts = (f"{r['share']:.1%} [{r['low']:.1%}, {r['high']:.1%}]" for r in (rows[shown] for shown in SHOWN))
        lines.append(f"{name:<8}" + "".join(f"{text:>22}" for text in texts))
    for name, by in book["watched_good"].items():
        lines += [f"{name} seed {seed}, watched: {' '.join(f'{v:.3f}' for v in row)}" for seed, row in by.items()]
    for name, others in book["against"].items():
        for other, one in others.items():
            changes = "  ".join(f"{measure} {told(one[measure])}" for measure in ("harmful", "helpful", "good"))
            lines.append(f"{name} less {other}: {changes}")
    marks = [f"{'met    ' if g['met'] else 'NOT met'} {g['claim']} {g['goal']}: {g['found']}" for g in book["goals"]]
    return [*lines, "", *marks]


def main() -> None:
    """Make what is missing, then write the JSON and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default=",".join(CELLS), help="names separated by commas, or none")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/training"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rounds.json"))
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    chosen = [] if options.cells == "none" else options.cells.split(",")
    if unknown := sorted(set(chosen) - set(CELLS)):
        parser.error(f"no such cells: {', '.join(unknown)}; there are {', '.join(CELLS)}")
    seeds, sizes = [int(seed) for seed in options.seeds.split(",")], Sizes()
    benches = {seed: Rounds(Bench.of(options.work, seed, sizes)) for seed in seeds}
    about = {**conditions(), "model": find_model(str(TINY)).fingerprint, "sizes": asdict(sizes)}
    about |= {"cells": {name: asdict(cell) for name, cell in CELLS.items()}, "constitutions": CONSTITUTIONS}
    about |= {"grpo": asdict(GRPO), "reward_models": MEMBERS}
    for name in chosen:
        for seed, one in benches.items():
            one.make(name)
            print(f"seed {seed}  {name}", flush=True)
    book = summary(benches)
    write_results(options.out, about, book)
    print("\n".join(table(book)), flush=True)


if __name__ == "__main__":
    main()
