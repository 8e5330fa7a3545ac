"""A small seeded world of requests and replies in which the truth about every reply is known.

`prompts` draws requests, `meaning_of` says what a principle's text asks for in this world. How a request looks is in
`requests`, how a reply looks in `replies`; `cai.testbed.oracle` reads replies back.
"""

from cai.testbed.world.meaning import AXES, Meaning, meaning_of
from cai.testbed.world.requests import KINDS, Split, prompts

__all__ = ["AXES", "KINDS", "Meaning", "Split", "meaning_of", "prompts"]
