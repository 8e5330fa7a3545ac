"""The file that `cai constitution new` writes: a small working constitution that explains itself."""

TEMPLATE = """\
# yaml-language-server: $schema={schema}
# Check it with `cai constitution check {file}`, see its prompts with `cai constitution show {file}`.
name: {name}
description: Say in a sentence what replies should be like.

# Principles from the library: `family/id` for one, `family` for all of a family (`cai constitution list`).
use:
  - harmlessness/no-help-with-harm

# Principles of your own. A plain sentence is a whole principle.
principles:
  - Keep the reply short where the question is short.

  # Or write its three voices yourself.
  - id: plain-words
    # asks the model what in its last reply breaks the principle
    critique: >-
      A reply should use plain words. Point out every word of your last reply that a twelve-year-old would not know.
    # asks the model for a reply that keeps it
    revise: >-
      Rewrite your last reply in plain words.
    # asks a judge which of two replies keeps it better
    judge: >-
      Which reply uses plainer words?

loop:
  rounds: 1      # critique-revision rounds for each prompt
  draw: random   # random, cycle, weighted, all
"""


def new_text(name: str, *, file: str, schema: str = "schema.json") -> str:
    """The template with the constitution's name and its file's name filled in."""
    return TEMPLATE.replace("{schema}", schema).replace("{file}", file).replace("{name}", name)
