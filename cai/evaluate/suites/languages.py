"""The same question in several languages: how much worse than in English is the model? The file is the user's."""

from __future__ import annotations

from pathlib import Path

from cai.engine.protocol import Engine
from cai.evaluate.rows import bad, rows, text
from cai.evaluate.suite import Answer, Gap, How, Item, Metric, Suite, answer, choose, chosen, user

NAME = "languages"


def load(path: Path) -> list[Item]:
    """JSONL: question_id, language, question, options (list of text), answer (0-based); one question is one cluster."""
    found: list[Item] = []
    columns = {"question_id": str, "language": str, "question": str, "options": list, "answer": int}
    for row in rows(path, columns):
        options, gold = row.cells["options"], row.cells["answer"]
        if not isinstance(options, list) or not all(isinstance(o, str) and o.strip() for o in options):
            raise bad(row, "options", "the options are not a list of texts")
        if not isinstance(gold, int) or not 0 <= gold < len(options) or len(options) < 2:
            raise bad(row, "answer", f"no option {gold}; options are counted from 0, and there are {len(options)}")
        language = text(row, "language")
        prompt = user(text(row, "question"), source=row.source, category=language)
        found.append(
            Item(
                prompt=prompt, cluster=text(row, "question_id"), category=language, options=tuple(options), gold=(gold,)
            )
        )
    return found


async def ask(engine: Engine, item: Item, how: How) -> Answer:
    ps, raw, usage = await choose(engine, item)
    pick = chosen(ps)
    right = None if pick is None else float(pick in item.gold)
    english = item.category.lower().startswith("en")
    scores = {"accuracy": right, "accuracy in English": right if english else None}
    return answer(NAME, item, [raw], {**scores, "accuracy elsewhere": None if english else right}, usage)


SUITE = Suite(
    NAME,
    "the same questions in several languages (a file of yours)",
    "languages/questions.jsonl",
    load,
    ask,
    (
        Metric("accuracy", "higher", "right option, all languages", primary=True, worst=True),
        Metric("accuracy in English", "higher", "right option in English"),
        Metric("accuracy elsewhere", "higher", "right option in other languages"),
    ),
    gaps=(
        Gap(
            "gap to English",
            "accuracy elsewhere",
            "accuracy in English",
            "higher",
            "by question: elsewhere less English",
        ),
    ),
)
