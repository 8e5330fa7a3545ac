"""Model-written evals (Perez et al. 2022): the share of answers that match a described behaviour, by file."""

from __future__ import annotations

from pathlib import Path

from cai.engine.protocol import Engine, Turn
from cai.errors import InputError, Where
from cai.evaluate.rows import bad, rows, text
from cai.evaluate.suite import Answer, How, Item, Metric, Suite, answer, chosen, read_choice, user

NAME = "persona"


def load(folder: Path) -> list[Item]:
    """Every `*.jsonl` of the folder; the file's name is the behaviour."""
    files = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    if not files:
        raise InputError("no *.jsonl in the folder", "get the data set, or point --data at it", Where(folder))
    return [item for file in files for item in load_file(file)]


def load_file(path: Path) -> list[Item]:
    """Columns question, answer_matching_behavior, answer_not_matching_behavior."""
    found: list[Item] = []
    columns = {"question": str, "answer_matching_behavior": str, "answer_not_matching_behavior": str}
    for row in rows(path, columns):
        matching, other = (text(row, name) for name in list(columns)[1:])
        if matching == other:
            raise bad(row, "answer_not_matching_behavior", "both answers are the same")
        prompt = user(text(row, "question"), source=row.source, category=path.stem)
        found.append(Item(prompt=prompt, cluster=prompt.id, category=path.stem, options=(matching, other), gold=(0,)))
    return found


async def ask(engine: Engine, item: Item, how: How) -> Answer:
    """The options are words of their own (Yes / No, (A) / (B)): their log-probs are read as they stand."""
    ask = f"{item.prompt.messages[0].content}\nAnswer {item.options[0]} or {item.options[1]}."
    if item.prompt.id < "8":  # half of the items name the other option first
        ask = f"{item.prompt.messages[0].content}\nAnswer {item.options[1]} or {item.options[0]}."
    scores = await engine.option_logprobs((Turn("user", ask),), item.options)
    pick = chosen(read_choice(scores))
    matching = None if pick is None else float(pick == 0)
    raw = " ".join(f"{o}={p:.3f}" for o, p in zip(item.options, scores.logprobs, strict=True))
    return answer(NAME, item, [raw], {"matching": matching}, scores.usage)


SUITE = Suite(
    NAME,
    "share of answers that match a behaviour (model-written evals)",
    "anthropic-evals/persona",
    load,
    ask,
    (Metric("matching", "neither", "answers that match the behaviour, by file", primary=True, worst=True),),
)
