"""What may stand in a constitution file and in a family file of the library: the schema users write against.

The descriptions here are the help an editor shows, the text of the JSON Schema and the reference of the guide.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from cai.constitution.model import Draw
from cai.strict_yaml import Misfit

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
REFERENCE = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}(/[A-Za-z0-9][A-Za-z0-9_-]{0,63})?$"
MAX_VOICE = 4_000
MAX_EXAMPLE = 20_000
MAX_PRINCIPLES = 1_000
MAX_EXAMPLES = 100

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_VOICE)]
LongText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_EXAMPLE)]
Reference = Annotated[str, Field(pattern=REFERENCE)]
Weight = Annotated[float, Field(gt=0.0, le=1_000.0, allow_inf_nan=False)]
Priority = Annotated[int, Field(ge=-1_000, le=1_000)]


class _Source(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PrincipleSource(_Source):
    """One principle, in three voices or as one sentence from which missing voices are derived."""

    id: str = Field(pattern=REFERENCE, description="Short name, unique in the file: letters, digits, `-` and `_`.")
    sentence: Text | None = Field(
        default=None, description="The principle as one plain sentence; voices not given follow from it."
    )
    critique: Text | None = Field(
        default=None, description="Asks the model what in its last reply breaks the principle."
    )
    revise: Text | None = Field(
        default=None, description="Asks the model to rewrite its last reply so that it keeps it."
    )
    judge: Text | None = Field(
        default=None, description="Asks a judge which of two replies keeps the principle better."
    )
    weight: Weight = Field(
        default=1.0, description="How often it is drawn with `draw: weighted`, relative to the others."
    )
    priority: Priority = Field(default=0, description="Higher is checked first and wins where two principles conflict.")
    tags: tuple[Text, ...] = Field(default=(), description="Words to group principles by, such as `less:preachy`.")

    @model_validator(mode="after")
    def _speaks(self) -> PrincipleSource:
        if not (self.sentence or self.critique or self.revise or self.judge):
            raise Misfit("the principle says nothing", "add `sentence:`, or `critique:`, `revise:` and `judge:`")
        if not self.sentence and (self.critique is None) != (self.revise is None):
            missing = "revise" if self.revise is None else "critique"
            raise Misfit(f"critique and revise belong together and `{missing}` is missing", f"add `{missing}:`")
        return self


class UseSource(_Source):
    """A principle or family from the library with weight or priority of one's own."""

    id: str = Field(pattern=REFERENCE, description="`family/id` for one principle, `family` for all of a family.")
    weight: Weight | None = Field(default=None, description="Replaces the weight that the library gives.")
    priority: Priority | None = Field(default=None, description="Replaces the priority that the library gives.")


class ExampleSource(_Source):
    """A few-shot round that is shown before the conversation; without `revision` it shows that a reply may stand."""

    prompt: LongText = Field(description="What a user asked.")
    reply: LongText = Field(description="The first reply.")
    principle: str | None = Field(
        default=None, pattern=REFERENCE, description="Id of the principle whose requests are used."
    )
    critique_request: Text | None = Field(
        default=None, description="The request for a critique, instead of `principle`."
    )
    critique: LongText = Field(description="The critique; `No change needed.` where the reply may stand.")
    revise_request: Text | None = Field(default=None, description="The request for a revision, instead of `principle`.")
    revision: LongText | None = Field(default=None, description="The new reply; left out where the reply may stand.")

    @model_validator(mode="after")
    def _asks(self) -> ExampleSource:
        if self.principle and (self.critique_request or self.revise_request):
            raise Misfit("both a principle and a request of its own", "keep `principle:` or the requests")
        if not self.principle and not self.critique_request:
            raise Misfit("nothing asks for the critique", "add `principle: ID` or `critique_request:`")
        if not self.principle and (self.revise_request is None) != (self.revision is None):
            raise Misfit("`revise_request` and `revision` belong together", "add the missing one or remove both")
        return self


class JudgeExampleSource(_Source):
    """A few-shot comparison that is shown to the judge."""

    prompt: LongText = Field(description="What a user asked.")
    a: LongText = Field(description="Reply A.")
    b: LongText = Field(description="Reply B.")
    principle: str | None = Field(
        default=None, pattern=REFERENCE, description="Id of the principle whose question is used."
    )
    judge: Text | None = Field(default=None, description="The question to the judge, instead of `principle`.")
    answer: Literal["A", "B"] = Field(description="The better reply.")

    @model_validator(mode="after")
    def _asks(self) -> JudgeExampleSource:
        if (self.principle is None) == (self.judge is None):
            raise Misfit("one question is needed", "give either `principle: ID` or `judge:`")
        return self


class LoopSource(_Source):
    """How a chain of critiques and revisions uses the principles."""

    rounds: int = Field(default=1, ge=0, le=32, description="Critique-revision rounds for each prompt.")
    draw: Draw = Field(
        default="random",
        description="What a round uses: a `random` principle, the next (`cycle`), a `weighted` draw, or `all`.",
    )
    final_check: bool = Field(
        default=False, description="After the last round, check the reply against every principle."
    )


class ConstitutionFile(_Source):
    """A constitution: what replies should be like, and how a chain applies it."""

    name: str = Field(pattern=NAME, description="Short name: letters, digits, `-` and `_`.")
    description: str = Field(default="", max_length=MAX_VOICE, description="What it is for, in a sentence or two.")
    use: tuple[Reference | UseSource, ...] = Field(
        default=(),
        max_length=MAX_PRINCIPLES,
        description="Principles from the library: `family/id`, or `family` for all of it.",
    )
    principles: tuple[Text | PrincipleSource, ...] | None = Field(
        default=None,
        max_length=MAX_PRINCIPLES,
        description="Principles of its own; a plain sentence is a whole principle.",
    )
    examples: tuple[ExampleSource, ...] = Field(
        default=(), max_length=MAX_EXAMPLES, description="Few-shot rounds for the critic."
    )
    judge_examples: tuple[JudgeExampleSource, ...] = Field(
        default=(), max_length=MAX_EXAMPLES, description="Few-shot comparisons for the judge."
    )
    loop: LoopSource = Field(default=LoopSource(), description="Rounds and the drawing of principles.")

    @model_validator(mode="after")
    def _has_principles(self) -> ConstitutionFile:
        if not self.use and self.principles is None:
            raise Misfit("no principles", "add `use:` or `principles:` (`principles: []` for a placebo)")
        return self


class FamilyFile(_Source):
    """A family of the library: principles that serve one concern."""

    family: str = Field(pattern=NAME, description="The family's name: the file's name without `.yaml`.")
    description: str = Field(default="", max_length=MAX_VOICE, description="The concern in one sentence.")
    principles: tuple[PrincipleSource, ...] = Field(
        min_length=1, max_length=MAX_PRINCIPLES, description="Its principles."
    )
