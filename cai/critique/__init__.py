"""The loop: draft a reply, criticise it under a principle, revise it where the critique found a problem.

`prompts` is what the model is asked and how it is read, `loop` one prompt's chain, `stage` all of them into a run,
`hygiene` what makes a reply unfit for training, `export` and `card` what a user takes away, `estimate` the dry run,
`report` and `truth` what came of it, counted and by the testbed's oracle.
"""

from cai.critique.loop import Parts, Plan, run_chain
from cai.critique.stage import STAGE, criticise, identity

__all__ = ["STAGE", "Parts", "Plan", "criticise", "identity", "run_chain"]
