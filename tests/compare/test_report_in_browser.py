"""The page in Chromium: no dialog, no request, no console error with hostile replies; usable with 10,000 of them."""

from __future__ import annotations

import time

import pytest

from cai.compare.assemble import assemble, with_drafts
from cai.compare.report.page import page
from cai.compare.sides import pair
from cai.records import Step
from tests.compare.browser import opened
from tests.compare.made import GIVES, SORRY, ask, chain, side
from tests.compare.payloads import PAYLOADS


def hostile(name: str, refuses: bool):
    """Chains whose every text is a payload."""
    chains = []
    for index, text in enumerate(PAYLOADS):
        step = Step(round=0, principle=text, critique=text, violated=True, revision=text, changed=True, flags=(text,))
        final = f"{SORRY} {text}" if refuses else text
        chains.append(chain(ask(f"{text} {index}", category=text), text, final, steps=[step], flags=(text,)))
    return side(name, chains)


def test_hostile_texts_stay_texts(tmp_path):
    sides = [hostile(PAYLOADS[4], False), hostile(PAYLOADS[1], True)]
    file = tmp_path / "report.html"
    file.write_text(page(assemble(sides), with_drafts(pair(sides))), "utf-8")
    with opened(file, tmp_path / "profile") as seen:
        seen.page.wait_for_selector("body[data-ready]")
        for _ in range(3):
            for summary in seen.page.query_selector_all("#list > details > summary"):
                summary.click()
            seen.page.click("#on")
        seen.page.fill("#search", "<script>")
        shown = seen.page.inner_text("body")
        seen.page.wait_for_timeout(300)
    assert (seen.dialogs, seen.requests, seen.errors) == ([], [], [])
    assert "<img src=x onerror=alert(5)>" in shown


@pytest.mark.slow
def test_ten_thousand_conversations_are_usable_at_once(tmp_path):
    prompts = [
        ask(f"Question {n}: how do I carry a lamp to the window, and what should I hold it by?") for n in range(10_000)
    ]
    long = " ".join([GIVES] * 6)
    step = Step(round=0, principle="p", critique=long, violated=True, revision=long, changed=True)
    sides = [
        side("a", [chain(p, long, f"{long} {n}", steps=[step, step]) for n, p in enumerate(prompts)]),
        side("b", [chain(p, long, SORRY if n % 3 else long, steps=[step, step]) for n, p in enumerate(prompts)]),
    ]
    file = tmp_path / "report.html"
    file.write_text(page(assemble(sides), with_drafts(pair(sides))), "utf-8")
    with opened(file, tmp_path / "profile") as seen:
        ready = int(seen.page.get_attribute("body", "data-ready"))
        whole = seen.page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive")
        started = time.perf_counter()
        seen.page.select_option("#only", "")
        for _ in range(4):
            seen.page.click("#on")
        seen.page.click("#list > details > summary")
        assert "page 5 of 400" in seen.page.inner_text("#said")
        assert len(seen.page.query_selector_all("#list > details")) == 25
        steps = time.perf_counter() - started
        assert "carry it to the window" in seen.page.inner_text("#list > details .sides")
    assert (seen.dialogs, seen.requests, seen.errors) == ([], [], [])
    size = file.stat().st_size / 1e6
    print(f"interactive after {ready} ms, all bodies after {whole:.0f} ms, six actions {steps:.2f} s, {size:.0f} MB")
    assert ready < 2000
