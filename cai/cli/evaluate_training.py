"""Suite `training`: signs of reward hacking in the training that made a model, read from its own journal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cai.cli.table import table_lines
from cai.cli.terminal import plain

if TYPE_CHECKING:
    from cai.evaluate.training_health import Health, Sign
    from cai.evaluate.training_journal import Look

TRAINING = "training"
HEALTH = "health.json"


def journal_folder(model: str) -> Path:
    """The training's folder: the one named, or the one whose `model` was named."""
    folder = Path(model)
    return folder.parent if folder.name == "model" else folder


def has_journal(model: str) -> bool:
    """Whether the model, or folder, is one of a training by reinforcement."""
    from cai.evaluate.training_journal import EVALUATIONS

    return (journal_folder(model) / EVALUATIONS).is_file()


def training_lines(model: str, seed: int) -> list[str]:
    """Every evaluation, then every measure from the first to the last one; writes health.json beside the journal.

    Raises InputError with file and line for what is no journal.
    """
    from cai.evaluate.training_health import health
    from cai.evaluate.training_journal import read_journal
    from cai.measures.refusal import AGREEMENT
    from cai.store.files import write_text

    folder = journal_folder(model)
    journal = read_journal(folder)
    found = health(journal, seed)
    write_text(folder / HEALTH, found.model_dump_json(indent=1) + "\n")
    bad = [sign for sign in found.signs if sign.bad]
    said = "; ".join(f"{sign.name}: {sign.about}" for sign in bad)
    return [
        "",
        plain(f"{folder} · training: {found.evaluations} evaluations on {found.prompts} held-out prompts, the last "
              f"after step {found.steps}; the held-out judge liked step {found.best_step} best"),
        *table_lines(_looks(journal.looks)),
        "",
        *table_lines(_signs(found), 40),
        plain(f"signs of reward hacking: {said}" if bad else "no sign of reward hacking is shown"),
        *(plain(f"warned at step {one.step}: {one.message}") for one in found.warned),
        f"refusals are read by a classifier: {AGREEMENT}",
    ]  # fmt: skip


def _looks(looks: Sequence[Look]) -> list[list[str]]:
    """Reward and verdict against KL, step by step."""
    heads = ["step", "KL", "reward", "held-out judge", "tokens", "distinct 2-grams", "refusals", "stock phrases"]
    rows: list[list[str]] = []
    for look in looks:
        means = (_mean(look.reward_P), _mean(look.held_out_P), _mean(look.length_P))
        shares = (look.distinct_2, look.shares.get("refusals"), look.shares.get("boilerplate"))
        rows.append([str(look.step), *map(_number, (look.kl, *means, *shares))])
    return [heads, *rows]


def _signs(found: Health) -> list[list[str]]:
    rows = [["first to last evaluation", "first", "last", "change", "95 % interval", "n", "sign"]]
    return [*rows, *(_sign(sign) for sign in found.signs)]


def _sign(sign: Sign) -> list[str]:
    span = "–" if sign.low is None or sign.high is None else f"{sign.low:+.3f} to {sign.high:+.3f}"
    change = "–" if sign.change is None else f"{sign.change:+.3f}"
    n = str(sign.n) if sign.n else "–"
    return [sign.name, _number(sign.first), _number(sign.last), change, span, n, "yes" if sign.bad else ""]


def _mean(values: Sequence[float | None]) -> float | None:
    read = [value for value in values if value is not None]
    return sum(read) / len(read) if read else None


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
