"""What crosses from one stage to the next: frozen records that refuse unknown keys.

One name for one thing from end to end. A value nobody could read is `None`, with its raw text beside it.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from cai.seeds import content_id

Role = Literal["system", "user", "assistant"]
Order = Literal["ab", "ba"]
"""Which reply the judge saw first: "ab" shows reply a as (A), "ba" shows reply b as (A)."""


class Record(BaseModel):
    """Base of everything that is stored: immutable, strictly typed, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Message(Record):
    """One turn of a conversation."""

    role: Role
    content: str


class Prompt(Record):
    """A conversation that waits for an assistant's reply: its last message is the user's.

    `id` depends on the messages alone, so the same prompt in two files is the same prompt.
    """

    id: str
    messages: tuple[Message, ...] = Field(min_length=1)
    source: str = ""
    """Where it was read: `file.jsonl:12`, `dataset[train][3]`."""
    category: str = ""

    @classmethod
    def of(cls, messages: tuple[Message, ...], *, source: str = "", category: str = "") -> Self:
        """Build a prompt and derive its id from the roles and texts."""
        key = content_id("prompt", [[m.role, m.content] for m in messages])
        return cls(id=key, messages=messages, source=source, category=category)


class Usage(Record):
    """Tokens of one or more model calls."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Part of `prompt_tokens` that the engine took from its prefix cache."""
    completion_tokens: int = 0

    @property
    def cached_share(self) -> float | None:
        """Part of the prompt tokens that came from the prefix cache, to four digits; None where none were read."""
        return round(self.cached_tokens / self.prompt_tokens, 4) if self.prompt_tokens else None

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


class Step(Record):
    """One critique and, where one was needed, one revision under one principle."""

    round: int
    """0-based; a final check against all principles has the round after the last."""
    principle: str
    """The principle's id."""
    critique: str
    violated: bool | None
    """What the critique says: a problem was found, none was, or the text could not be read."""
    revision: str | None
    """The reply after this step; `None` when no revision was asked for."""
    changed: bool
    """Whether the reply's text differs after the step."""
    flags: tuple[str, ...] = ()
    """Names of hygiene problems seen in this step (`role_confusion`, `truncated` …)."""


class Revision(Record):
    """A prompt's whole chain: the draft, every critique-revision step, and the final reply."""

    prompt: Prompt
    draft: str
    steps: tuple[Step, ...]
    final: str
    constitution: str
    """sha256 of the resolved constitution."""
    models: dict[str, str]
    """The model behind each part: draft, critic, reviser."""
    seed: int
    usage: Usage
    flags: tuple[str, ...] = ()
    """Names of hygiene problems of the reply that became final, be it the draft or a revision."""


class Samples(Record):
    """K replies to one prompt, drawn at one temperature from one policy; order is the order of drawing."""

    prompt: Prompt
    replies: tuple[str, ...]
    policy: str
    temperature: float
    seed: int
    truncated: tuple[bool, ...] = ()
    """Whether each reply was cut at the most tokens allowed."""
    usage: Usage = Usage()


class Verdict(Record):
    """One judge's answer about replies a and b under one principle, shown in one order.

    `p_a` is the probability that reply **a** (not the one shown first) is better, `None` when unread.
    """

    principle: str
    judge: str
    mode: str
    order: Order
    p_a: float | None
    mass: float | None
    """Captured probability p(A) + p(B) where the mode reads log-probs."""
    raw: str
    tie: bool = False
    cannot_tell: bool = False
    """The judge said that it cannot tell: an answer without a preference, so `p_a` is None, yet not an unread one."""

    def swap(self) -> Verdict:
        """The same verdict with the names a and b exchanged."""
        p = None if self.p_a is None else 1.0 - self.p_a
        return self.model_copy(update={"p_a": p, "order": "ba" if self.order == "ab" else "ab"})


class Comparison(Record):
    """Replies `a` and `b` of one prompt (0-based positions) with every verdict on them and what they come to."""

    a: int
    b: int
    votes: tuple[Verdict, ...]
    p_a: float | None
    """`None` where nothing usable was read."""


class Label(Record):
    """What the judges say about the replies to one prompt."""

    prompt: Prompt
    replies: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    strengths: tuple[float, ...] | None = None
    """Bradley-Terry log-strengths of the replies, mean 0, where three or more were compared."""
    rewards: tuple[float | None, ...] | None = None
    """Direct rewards in [-1, 1], one per reply, in mode `score`."""
    canaries: tuple[Verdict, ...] = ()
    """Verdicts on a canary (a) against a real reply (b), where this record drew one."""
    provenance: str
    policy: str = ""
    constitution: str
    seed: int
    usage: Usage
    flags: tuple[str, ...] = ()
    """`one_reply` where fewer than two different replies were left and nothing was judged, `unread` where no comparison
    could be read."""
    left_out: dict[str, int] = {}
    """Replies that were not judged, by reason: empty, truncated, identical."""


class Pair(Record):
    """A soft preference: `p_chosen` >= 0.5 is the judge's probability that `chosen` is the better reply."""

    prompt: Prompt
    chosen: str
    rejected: str
    p_chosen: float = Field(ge=0.0, le=1.0)
    votes: tuple[Verdict, ...]
    """Every verdict behind `p_chosen`, with a = chosen and b = rejected."""
    provenance: str
    """Where the two replies come from: `samples`, `replies`, `pairs`, `draft-vs-revision`."""
    constitution: str
    seed: int
