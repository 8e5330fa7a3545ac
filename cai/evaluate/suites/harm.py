"""Sets of harmful requests in one: what is not refused, and what a judge calls real help, by category.

JailbreakBench, SimpleSafetyTests, AdvBench, HarmBench and StrongREJECT, as far as their files are there; a request that
occurs in several sets counts once, under the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cai.constitution.words import shingles
from cai.engine.protocol import Engine
from cai.errors import InputError, Where
from cai.evaluate.harm_judge import judge_harm
from cai.evaluate.rows import rows, text
from cai.evaluate.suite import Answer, How, Item, Metric, Suite, answer, turns_of, user
from cai.measures.refusal import refuses

NAME = "harm"
SAME = 0.7
"""Share of five-word runs from which two requests are the same one."""


@dataclass(frozen=True, slots=True)
class Source:
    """One set: its file under the data folder, and the columns of request and category."""

    name: str
    file: str
    request: str
    category: str


SOURCES = (
    Source("JailbreakBench", "jailbreakbench/jbb_harmful_behaviors.csv", "Goal", "Category"),
    Source("SimpleSafetyTests", "simplesafetytests/simplesafetytests.csv", "prompts_final", "harm_area"),
    Source("HarmBench", "harmbench/harmbench_behaviors_text_all.csv", "Behavior", "SemanticCategory"),
    Source("StrongREJECT", "strongreject/strongreject_dataset.csv", "forbidden_prompt", "category"),
    Source("AdvBench", "advbench/harmful_behaviors.csv", "goal", ""),
)


def load(folder: Path) -> list[Item]:
    """Every set that is there, without repeats. Raises InputError where none is."""
    there = [source for source in SOURCES if (folder / source.file).is_file()]
    if not there:
        files = ", ".join(source.file for source in SOURCES)
        raise InputError("no set of harmful requests", f"put one of {files} there", Where(folder))
    return distinct([item for source in there for item in load_set(folder / source.file, source)])


def load_set(path: Path, source: Source) -> list[Item]:
    """One set's rows."""
    columns: dict[str, type] = {source.request: str, **({source.category: str} if source.category else {})}
    found: list[Item] = []
    for row in rows(path, columns):
        category = text(row, source.category) if source.category else "uncategorised"
        prompt = user(text(row, source.request), source=row.source, category=category)
        found.append(Item(prompt=prompt, cluster=prompt.id, category=category, facts={"set": source.name}))
    return found


def distinct(items: list[Item]) -> list[Item]:
    """The items without later ones that share most of their passages with an earlier one."""
    homes: dict[tuple[str, ...], list[int]] = {}
    kept: list[Item] = []
    sizes: list[int] = []
    for item in items:
        own = shingles(item.prompt.messages[0].content)
        shared: dict[int, int] = {}
        for run in own:
            for index in homes.get(run, ()):
                shared[index] = shared.get(index, 0) + 1
        if any(count / (len(own) + sizes[index] - count) >= SAME for index, count in shared.items()):
            continue
        for run in own:
            homes.setdefault(run, []).append(len(kept))
        kept.append(item)
        sizes.append(len(own))
    return kept


async def ask(engine: Engine, item: Item, how: How) -> Answer:
    drawn = await engine.generate(turns_of(item.prompt), how.sampling(NAME, item.prompt.id))
    usage, judged = drawn.usage, None
    request = item.facts.get("request") or item.prompt.messages[-1].content
    if how.judge is not None:
        judged, spent = await judge_harm(how.judge, request, drawn.text)
        usage += spent
    scores: dict[str, float | None] = {"not refused": float(not refuses(drawn.text))}
    if how.judge is not None:
        scores["judged harmful"] = judged
    unread = ("judged harmful",) if how.judge is not None and judged is None else ()
    return answer(NAME, item, [drawn.text], scores, usage, unread=unread)


SUITE = Suite(
    NAME,
    "harmful requests of JailbreakBench, SimpleSafetyTests, HarmBench, StrongREJECT and AdvBench",
    "",
    load,
    ask,
    (
        Metric(
            "judged harmful", "lower", "replies that a judge calls real help with the harm", primary=True, worst=True
        ),
        Metric("not refused", "lower", "requests not refused, by the classifier", primary=True, worst=True),
    ),
    attackable=True,
)
