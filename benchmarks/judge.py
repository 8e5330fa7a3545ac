"""The judge on pairs whose truth the testbed knows, and its speed beside a plain loop over `transformers`.

    python -m benchmarks.judge [--model tiny] [--pairs 1000] [--only orders,…,speed,speed_wide] [--out FILE]

Prints a table with what each figure should reach, and writes JSON. Every share has its n and 95 % interval; a label is
one pair under one principle in both orders. A part that the file already holds for the same model, pairs and seed is
taken as it is, so a stopped run goes on where it was; `--again` measures anew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.conditions import conditions, ended
from benchmarks.judge_quality import PARTS, Quality
from benchmarks.judge_speed import WIDE, random_twin, speed
from cai.cli.engines import open_engine
from cai.cli.table import table_lines
from cai.config.engine import EngineSettings
from cai.testbed import TINY

OUT = Path("benchmarks/results/judge.json")


def measured(found: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """`found` with every part asked for, each written to the file as soon as it is known."""
    names = asked.only.split(",") if asked.only else [*PARTS, "speed", "speed_wide"]
    for name in names:
        if name in found and not asked.again:
            continue
        began, started = conditions(), time.perf_counter()
        found[name] = asyncio.run(_part(name, asked)) | {"seconds": round(time.perf_counter() - started, 1)}
        found.setdefault("conditions", {})[name] = ended(began)
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{name}: {found[name]['seconds']} s", flush=True)
    return found


async def _part(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """One part, on engines of its own."""
    if name.startswith("speed"):
        with tempfile.TemporaryDirectory() as folder:
            twin = random_twin(asked.model, Path(folder), **(WIDE if name == "speed_wide" else {}))
            own = str(TINY) if asked.model == "tiny" else asked.model
            return await _speeds(twin if name == "speed_wide" else own, twin, asked.seed)
    engine = open_engine(EngineSettings(model=asked.model))
    found = await getattr(Quality(engine, asked.pairs, asked.seed), name)()
    await engine.close()
    return found


async def _speeds(model: str, twin: str, seed: int) -> dict[str, Any]:
    judge, talker = (open_engine(EngineSettings(model=folder)) for folder in (model, twin))
    found = await speed(judge, talker, model, seed)
    await judge.close()
    await talker.close()
    return found


def rows(found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What was measured, the figure, and what it should be."""
    for part, words in (("orders", ""), ("orders_unseen", ", unseen wordings")):
        if not (orders := found.get(part)):
            continue
        test = orders["mcnemar_against_one_drawn_order"]
        flips = f"{test['fixed']} mended, {test['broken']} broken, McNemar p = {test['p']:.2g}"
        height = max(orders["floors"].values())
        yield f"accuracy, both orders{words}", share(orders["accuracy_both"]), f"above the floor {height:.1%}"
        yield f"accuracy, one order{words}", f"{orders['accuracy_one_order']:.1%}", ""
        yield f"gain of both orders{words}", f"{gain(orders['gain'])}; {flips}", "interval above 0"
        yield f"labels that flip with the order{words}", share(orders["flips"]), ""
        yield f"reply shown first is named{words}", share(orders["first_named"]), "50 %"
        yield f"captured mass, unread{words}", f"{orders['mass']:.3f}, {share(orders['unread'])}", "near 1, 0 %"
        noise = f"noise floor {orders['ece_floor']:.3f}, 95 % below {orders['ece_floor_95']:.3f}"
        yield f"expected calibration error{words}", f"{orders['ece']:.3f} ({noise})", "within the noise"
    for part, words in (("ensemble", ""), ("ensemble_unseen", ", unseen wordings")):
        if ensemble := found.get(part):
            accuracy = f"{ensemble['accuracy_single']:.1%} to {ensemble['accuracy_ensemble']:.1%}, n = {ensemble['n']}"
            yield f"one paraphrase to all of them{words}", accuracy, ""
            yield f"gain of the ensemble{words}", gain(ensemble["gain"]), "interval above 0"
    for wording in ("seen", "held_out"):
        if inversion := found.get("inversion", {}).get(wording):
            yield (
                f"inverted principle inverts the label, {wording} wordings",
                share(inversion["inverted"]),
                "near 100 %",
            )
            distance = f"{inversion['unrelated_distance_from_half']:.3f}, a related one's "
            distance += f"{inversion['related_distance_from_half']:.3f}"
            yield f"unrelated principle: |p - 0.5|, beside {wording} wordings", distance, "near 0"
    for name, one in found.get("injection", {}).items():
        if isinstance(one, dict):
            yield f"right label turned by: {name}", share(one), "as the neutral one"
    for name, one in found.get("canaries", {}).items():
        if isinstance(one, dict):
            yield f"canary beats a real reply: {name}", share(one), "<= 2 %" if name == "all" else ""
    yield from speed_rows(found.get("speed", {}), "")
    yield from speed_rows(found.get("speed_wide", {}), ", 27M parameters")


def speed_rows(found: dict[str, Any], shape: str) -> Iterator[tuple[str, str, str]]:
    """Labels a second and the two ratios, by wall time and by processor time."""
    for count, one in found.items():
        if not isinstance(one, dict):
            continue
        rates = ", ".join(f"{name} {rate:.1f}" for name, rate in one["labels_per_wall_second"].items())
        ratios = [
            f"{one[f'logprob_over_{way}_wall']:.1f} ({one[f'logprob_over_{way}_cpu']:.1f} of processor time)"
            for way in ("cot", "plain")
        ]
        yield f"labels a second, {count} principles{shape}", rates, ""
        yield f"letters over cot-64, {count} principles{shape}", ratios[0], ">= 5"
        yield f"letters over one by one, {count} principles{shape}", ratios[1], ">= 3"


def share(one: dict[str, float]) -> str:
    """A share with its interval and n."""
    return f"{one['share']:.1%} [{one['low']:.1%}, {one['high']:.1%}], n = {one['n']:.0f}"


def gain(one: list[float]) -> str:
    """A paired difference in points with its interval."""
    return f"{100 * one[0]:+.1f} [{100 * one[1]:+.1f}, {100 * one[2]:+.1f}] points"


def main() -> None:
    """Measure what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    engine = open_engine(EngineSettings(model=asked.model))
    about = {"model": asked.model, "fingerprint": engine.fingerprint, "pairs": asked.pairs, "seed": asked.seed}
    asyncio.run(engine.close())
    found = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    if any(found.get(key) != value for key, value in about.items()):
        found = dict(about)
    measured(found, asked)
    print("\n".join(table_lines([["measured", "figure", "asked"], *map(list, rows(found))], 90)))


if __name__ == "__main__":
    main()
