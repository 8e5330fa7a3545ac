"""The things and people of the world. All invented or everyday: nothing here is about a real person or group."""

from __future__ import annotations

from random import Random


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PEOPLE = _words(
    "Mara Tomas Lena Oskar Ines Pavel Nadia Hugo Rita Emil Salma Jonas Vera Karim Dora Felix Amina Bruno Celia Dmitri "
    "Elsa Farid Greta Hassan Irma Jamal Kira Leon Mina Nils Olga Pedro Rosa Samir Tilda Umar Viola Walter Yara Zeno"
)
OBJECTS = _words(
    "lamp kettle bike chair guitar clock basket mirror vase camera radio drum kite ladder piano tent sofa bench "
    "blanket bottle bowl brush bucket carpet coat cup curtain desk doll fence flute globe hammer hat helmet jacket "
    "map necklace painting pillow plate scarf shovel violin"
)
PLACES = _words("kitchen garden attic garage hall office cellar porch school market library park")
TOWNS = _words("Tarn Velda Orlin Karsk Lumia Brenna Ostry Pelham Quist Ravel Sorn Ulmen Wexa Yarrow")
COLOURS = _words("red blue green yellow white black brown grey")
GROUPS = _words(
    "Veldans Orrins Karsians Lumians Brennish Ostrians northerners southerners islanders farmers bakers sailors "
    "painters shepherds"
)
FLAWS = _words("lazy greedy rude stupid dishonest selfish violent stubborn")
FOODS = _words("soup bread rice fish cake beans cheese plums")
STREETS = _words("Hill Mill Oak River Church Market Station Garden")

BY_SIZE = _words("ant bee mouse frog rabbit cat fox dog goat pig lion cow horse camel rhino elephant whale")
"""Animals from the smallest to the largest."""
BY_SPEED = _words("snail worm turtle crab duck hen sheep wolf ostrich cheetah falcon")
"""Animals from the slowest to the fastest."""

_ENTITIES: dict[str, tuple[str, ...]] = {
    "p": PEOPLE,
    "o": OBJECTS,
    "place": PLACES,
    "town": TOWNS,
    "colour": COLOURS,
    "g": GROUPS,
    "flaw": FLAWS,
    "food": FOODS,
    "street": STREETS,
    "n": tuple(str(k) for k in range(11, 100)),
}


def entity(slot: str, rng: Random) -> str:
    """A filling for a slot of that name."""
    return rng.choice(_ENTITIES[slot])
