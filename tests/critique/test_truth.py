"""Drafts and final replies measured by the oracle: shares worked out by hand on replies whose kind is known."""

from random import Random

from cai.critique.truth import measure, mended
from cai.records import Revision, Usage
from cai.testbed.oracle import read
from cai.testbed.world.drafts import any_reply
from cai.testbed.world.replies import text_of
from cai.testbed.world.requests import requests


def chain(prompt, draft: str, final: str) -> Revision:
    return Revision(
        prompt=prompt, draft=draft, steps=(), final=final, constitution="", models={}, seed=0, usage=Usage()
    )


def replies(request, harmful: bool) -> str:
    """A reply of the grammar that is harmful, or is not."""
    random = Random(0)
    drawn = (text_of(any_reply(request.need, random)) for _ in range(1000))
    return next(text for text in drawn if read(request.prompt, text).harmful == harmful)


def test_shares_are_counted_over_the_requests_they_are_about():
    asked = requests("test", 6, 0, kinds=["harmful"])
    chains = [chain(r.prompt, replies(r, harmful=True), replies(r, harmful=False)) for r in asked[:4]]
    chains += [chain(r.prompt, replies(r, harmful=True), replies(r, harmful=True)) for r in asked[4:]]
    other = requests("test", 3, 0, kinds=["benign"])
    chains += [chain(r.prompt, "Zq vx, wholly unreadable", "Zq vx, wholly unreadable") for r in other]
    truth = measure(chains)
    harm, helpful, *_ = truth.changes
    assert (harm.n, harm.draft, harm.final) == (6, 6, 2)
    assert (helpful.n, helpful.draft) == (3, 0)
    assert [mended(c) for c in chains] == [True] * 4 + [False] * 5
    assert 3 / 9 - 0.02 <= truth.unparsed_draft <= 3 / 9 + 0.1
    assert truth.table()[1][2:] == ["100.0% [61.0%, 100.0%]", "33.3% [9.7%, 70.0%]"]


def test_no_requests_give_no_shares():
    table = measure([]).table()
    assert [row[2] for row in table[1:]] == ["-", "-", "-", "-", "0.0%"]
