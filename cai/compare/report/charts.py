"""Charts as SVG elements without style, script or reference, drawn without a browser or a network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from cai.compare.neutral import HARM, NAME, USE
from cai.compare.result import Result
from cai.compare.scoring import DRAFT
from cai.measures.contrast import Contrast, number

SVG = "http://www.w3.org/2000/svg"
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
"""Names the grammar; nothing is fetched from it."""
_ALLOWED = {"svg", "g", "path", "rect", "text", "tspan", "line", "circle"}
_ATTRIBUTE = re.compile(
    r"viewBox|width|height|transform|d|x|y|x1|x2|y1|y2|dx|dy|r|cx|cy|fill|fill-opacity|stroke|stroke-width|"
    r"stroke-opacity|stroke-dasharray|opacity|font-size|font-weight|font-family|text-anchor"
)
_BLUE, _GREY = "#1b5e9b", "#888888"


@dataclass(frozen=True, slots=True)
class Chart:
    """An SVG and the same in words."""

    title: str
    svg: str
    words: tuple[str, ...]


def forest(result: Result, a: str, b: str) -> Chart | None:
    """Paired differences in shares with their intervals, `b` minus `a`, in points."""
    rows = [
        c
        for c in result.contrasts
        if (c.a, c.b) == (a, b) and c.unit == "share" and c.low is not None and c.high is not None
    ]
    rows = [c for c in rows if c.a_mean or c.b_mean]
    if not rows:
        return None
    data = [
        {
            "outcome": c.outcome,
            "difference": 100 * c.difference,
            "low": 100 * (c.low or 0.0),
            "high": 100 * (c.high or 0.0),
            "shown": "shown" if c.shown else "not shown",
        }
        for c in rows
    ]
    y = {"field": "outcome", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 220}}
    colour = {
        "field": "shown",
        "type": "nominal",
        "title": None,
        "scale": {"domain": ["shown", "not shown"], "range": [_BLUE, _GREY]},
    }
    axis = {"title": "difference in points (b minus a)"}
    layers = [
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {
                "y": y,
                "x": {"field": "low", "type": "quantitative", **axis},
                "x2": {"field": "high"},
                "color": colour,
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 50},
            "encoding": {"y": y, "x": {"field": "difference", "type": "quantitative", **axis}, "color": colour},
        },
        {"mark": {"type": "rule", "strokeDash": [3, 3]}, "encoding": {"x": {"datum": 0}}},
    ]
    spec = {"data": {"values": data}, "width": 460, "height": 20 * len(rows), "layer": layers}
    title = f"{b} minus {a}"
    return Chart(title, _svg(spec, title), tuple(_in_words(c) for c in rows))


def pareto(result: Result) -> Chart | None:
    """Harmless against helpful, a point a side: by the oracle where it reads the prompts, else by the neutral panel."""
    points, words = _by_oracle(result)
    x_title, y_title = "harmless replies to harmful requests, %", "helpful replies to the others, %"
    if len(points) < 2:
        points, words = _by_panel(result)
        x_title, y_title = (
            "less harm than the other sides, % of prompts",
            "more help than the other sides, % of prompts",
        )
    if len(points) < 2:
        return None
    x = {"field": "harmless", "type": "quantitative", "title": x_title}
    y = {"field": "helpful", "type": "quantitative", "title": y_title}
    place = {"x": {**x, "scale": {"domain": [0, 100]}}, "y": {**y, "scale": {"domain": [0, 100]}}}
    colour = {
        "field": "kind",
        "type": "nominal",
        "title": None,
        "scale": {"domain": ["side", "control"], "range": [_BLUE, _GREY]},
    }
    layers = [
        {"mark": {"type": "point", "filled": True, "size": 90}, "encoding": {**place, "color": colour}},
        {
            "mark": {"type": "text", "dy": -12, "limit": 200},
            "encoding": {**place, "text": {"field": "side", "type": "nominal"}},
        },
    ]
    spec = {"data": {"values": points}, "width": 380, "height": 300, "layer": layers}
    return Chart("Harmless against helpful", _svg(spec, "Harmless against helpful"), tuple(words))


Points = tuple[list[dict[str, Any]], list[str]]


def _by_oracle(result: Result) -> Points:
    levels = {(level.side, level.outcome): level for level in result.levels}
    points, words = list[dict[str, Any]](), list[str]()
    for origin in result.origins:
        harm, help = (levels.get((origin.name, name)) for name in ("oracle: harmful", "oracle: helpful"))
        if harm is not None and help is not None:
            x, y = 100 * (1 - harm.value), 100 * help.value
            points.append(_point(origin.name, x, y, origin.control))
            words.append(f"{origin.name}: {x:.1f} % harmless on harmful requests, {y:.1f} % helpful on the others")
    return points, words


def _by_panel(result: Result) -> Points:
    standings = {(s.side, s.principle): s for s in result.judging.standings if s.judge == NAME}
    points, words = list[dict[str, Any]](), list[str]()
    for side in dict.fromkeys(side for side, _ in standings):
        harm, use = standings.get((side, HARM)), standings.get((side, USE))
        if harm is not None and use is not None:
            points.append(_point(side, 100 * harm.value, 100 * use.value, side == DRAFT))
            words.append(
                f"{side}: less harmful than the others in {100 * harm.value:.1f} %, more helpful in "
                f"{100 * use.value:.1f} %, n = {use.n:,}, by the {NAME}; ties count one half"
            )
    return points, words


def _point(side: str, harmless: float, helpful: float, control: bool) -> dict[str, Any]:
    return {"side": side, "harmless": harmless, "helpful": helpful, "kind": "control" if control else "side"}


def _in_words(c: Contrast) -> str:
    low, high = number(c.low or 0.0, c.unit, bare=True), number(c.high or 0.0, c.unit)
    said = "shown" if c.shown else "no difference shown"
    return f"{c.outcome}: {number(c.difference, c.unit)}, 95 % interval {low} to {high}, n = {c.n:,}, {said}"


def _svg(spec: dict[str, Any], title: str) -> str:
    """Draw and keep only harmless elements and attributes; `title` becomes the accessible name."""
    import vl_convert

    whole = {"$schema": SCHEMA, "config": {"view": {"stroke": "transparent"}, "background": "white"}, **_safe(spec)}
    drawn = ElementTree.fromstring(vl_convert.vegalite_to_svg(whole))
    clean = _clean(drawn)
    assert clean is not None, "the drawing is an svg element"
    clean.set("role", "img")
    clean.set("aria-label", title)
    return ElementTree.tostring(clean, encoding="unicode")


def _safe(value: Any) -> Any:
    """Text that XML can hold: control characters and half surrogates in names are dropped."""
    if isinstance(value, str):
        return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "", value)
    if isinstance(value, dict):
        return {key: _safe(part) for key, part in value.items()}
    return [_safe(part) for part in value] if isinstance(value, list) else value


def _clean(element: ElementTree.Element) -> ElementTree.Element | None:
    name = element.tag.removeprefix(f"{{{SVG}}}")
    if name not in _ALLOWED:
        return None
    kept = ElementTree.Element(name, {k: v for k, v in element.attrib.items() if _plain_attribute(k, v)})
    kept.text, kept.tail = element.text, element.tail
    kept.extend([part for child in element if (part := _clean(child)) is not None])
    return kept


def _plain_attribute(name: str, value: str) -> bool:
    return _ATTRIBUTE.fullmatch(name) is not None and "url" not in value.lower()


def charts(result: Result, pairs: Sequence[tuple[str, str]]) -> list[Chart]:
    """Every chart that the result has the figures for."""
    drawn = [pareto(result), *(forest(result, a, b) for a, b in pairs)]
    return [chart for chart in drawn if chart is not None]
