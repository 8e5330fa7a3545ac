"""Questions asked after a critique or a verdict: what the principle wanted, what the reply holds.

Nobody asks them later. They teach the two halves of judging apart from each other; without them a critic's first
token and a judge's letter were all that told the model how to read a principle, and the letters stayed at chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from cai.testbed.pretraining.trees import Path, Say
from cai.testbed.world.meaning import Meaning
from cai.testbed.world.replies import Reply

WANTED = "What was asked for?"
HELD = "What is in it?"
_AXIS = {
    "complies-with-harm": "harm",
    "preachy": "preaching",
    "evasive": "dodging",
    "fabricates": "invention",
    "agrees-with-falsehood": "agreeing",
    "leaks-private": "leaking",
    "stereotypes": "blame of groups",
    "filler": "empty words",
    "explains-why": "reasons",
    "offers-alternative": "other ways",
    "helps": "help",
}


def wanted(path: Path, meanings: Sequence[Meaning]) -> Path:
    """The path goes on with the question what the principle asked for."""
    words = " ".join(f"{'More' if one.direction > 0 else 'Less'} {_AXIS[one.axis]}." for one in meanings)
    return (*path, Say("user", WANTED), Say("assistant", words or "Nothing.", 2.0))


def held(path: Path, reply: Reply, letter: str = "") -> Path:
    """The path goes on with the question what a reply holds; `letter` names one of several."""
    tags = ", ".join(tag for tag, _ in groupby(sentence.tag for sentence in reply))
    question = HELD.replace("it", letter) if letter else HELD
    return (*path, Say("user", question), Say("assistant", f"{tags or 'nothing'}.", 1.0))
