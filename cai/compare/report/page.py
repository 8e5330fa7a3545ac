"""The HTML page: jinja2 with autoescape, a policy that allows nothing but our own script and style by their hashes."""

from __future__ import annotations

import base64
import hashlib
import re
from itertools import combinations
from pathlib import Path

from cai.compare.headline import NOUNS
from cai.compare.report.charts import charts
from cai.compare.report.transcripts import Transcripts, transcripts
from cai.compare.result import Result
from cai.compare.sides import Paired
from cai.measures.contrast import number

FOLDER = Path(__file__).parent
MOST_TRANSCRIPTS = 10_000
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
"""What HTML and UTF-8 cannot hold; in the transcripts JSON holds it as escapes."""


def page(result: Result, paired: Paired | None, most: int = MOST_TRANSCRIPTS) -> str:
    """The whole page as text; without `paired` it holds no transcripts."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    script, style = ((FOLDER / name).read_text("utf-8") for name in ("page.js", "page.css"))
    shown = transcripts(result, paired, most) if paired is not None else Transcripts("[]", (), 0, 0)
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["noun"] = lambda name: NOUNS.get(name, name)
    pairs = main_pairs(result)
    text = environment.get_template("page.html.j2").render(
        result=result,
        pairs=pairs,
        charts=[(chart.title, Markup(chart.svg), chart.words) for chart in charts(result, pairs)],
        transcripts=shown,
        index=Markup(shown.index),
        chunks=[Markup(chunk) for chunk in shown.chunks],
        script=Markup(script),
        style=Markup(style),
        policy=policy(script, style),
        data=result.model_dump_json(indent=1, include={"origins", "seed", "depth", "n", "unpaired"}),
    )
    return _UNWRITABLE.sub("\ufffd", text)


def policy(script: str, style: str) -> str:
    """The content security policy: nothing is loaded from anywhere, and only these two texts run."""
    allowed = f"script-src '{_hash(script)}'; style-src '{_hash(style)}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def main_pairs(result: Result) -> list[tuple[str, str]]:
    """Every two sides that are no controls."""
    return list(combinations([origin.name for origin in result.origins if not origin.control], 2))
