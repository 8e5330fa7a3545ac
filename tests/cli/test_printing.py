"""Tables and marked changes: aligned, readable without colour, harmless with hostile text."""

import re

import pytest

from cai.cli.marks import marked_changes
from cai.cli.table import table_lines
from cai.cli.words import split_words
from cai.errors import InputError


def bare(text: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", text)


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ("Take it now.", "Take it now.", "Take it now."),
        ("Take it now.", "Ask first.", "[-Take it now.-] {+Ask first.+}"),
        ("I will help you take it.", "I will not help you take it.", "I will {+not+} help you take it."),
        ("I will gladly help.", "I will help.", "I will [-gladly-] help."),
        ("one\ntwo", "one\n2", "one\n [-two-] {+2+}"),
        ("", "New.", "{+New.+}"),
    ],
)
def test_changes_are_marked_word_by_word(before, after, marked):
    assert bare(marked_changes(before, after)).split() == marked.split()


def test_hostile_replies_reach_the_terminal_without_control_characters():
    marked = bare(marked_changes("a \x1b]52;c;evil\x07 b", "a [/INST] \u202e b\x9b2J"))
    assert all(char.isprintable() or char in "\n\t" for char in marked)


def test_columns_line_up_and_cells_are_one_line():
    lines = table_lines([["name", "n"], ["a\nb\x1b[2J", "1"], ["longer name", "1,000"]])
    assert lines == ["name             n", "------------------", "a b[2J           1", "longer name  1,000"]


def test_words_are_one_recipe_and_overrides(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("")
    assert split_words(["a.b=1", str(recipe), "c.d=2"]) == (recipe, ["a.b=1", "c.d=2"])
    assert split_words([]) == (None, [])
    with pytest.raises(InputError, match="a second recipe"):
        split_words([str(recipe), str(recipe)])
    with pytest.raises(InputError, match="no such recipe"):
        split_words(["nowhere.yaml"])
