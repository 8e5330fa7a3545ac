"""Constitutions: what users write, how it becomes a resolved `Constitution`, and which principle a round uses.

`files` is the schema of the YAML, `load` resolves it with the library of principles, `lint` looks at its meaning,
`diff` compares two, `importing` reads other people's formats.
"""

from cai.constitution.draw import by_priority, principle_for
from cai.constitution.load import Loaded, find_constitution, inspect, load_constitution
from cai.constitution.model import Constitution, Example, JudgeExample, Loop, Principle
from cai.constitution.shipped import shipped_constitutions, shipped_folder

__all__ = [
    "Constitution",
    "Example",
    "JudgeExample",
    "Loaded",
    "Loop",
    "Principle",
    "by_priority",
    "find_constitution",
    "inspect",
    "load_constitution",
    "principle_for",
    "shipped_constitutions",
    "shipped_folder",
]
