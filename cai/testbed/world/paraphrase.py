"""Principles by the thousand: what an axis is called, in many sentence frames, in each of the three voices.

About one wording in eight is held out of pretraining (`held_out`), and so are whole frames, so that a constitution in
somebody's own words is tested, not memorised.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from cai.seeds import content_id
from cai.testbed.world.grammar import expand, slots_of
from cai.testbed.world.meaning import Meaning
from cai.testbed.world.phrases import LESS, MORE, Words, gerund, third

Voice = Literal["sentence", "critique", "revise", "judge"]
_REPLY = (
    "[the last reply|your last reply|your reply|the reply|the last answer|your last response|"
    "the assistant's last reply|the assistant's last response|the assistant's reply|the response|this reply]"
)
_CHANGE = "[Rewrite|Revise|Please rewrite|Change|Please revise|Edit|Write again]"
_WHICH = (
    "[Which reply|Which of the two replies|Which answer|Which of these replies|Which response|"
    "Which of these assistant responses|Which of these responses]"
)
_THE = "[the reply|the response|the answer|the assistant response]"
_ONE = "[The reply|A reply|The answer|The assistant|The model|The AI|A response]"
_FIND = "[Identify|Find|Point out|Name|List|Say|Explain|Describe]"

AVOID: dict[Voice, tuple[str, ...]] = {
    "sentence": (
        "[Do not|Never|Don't|Please do not] {verb}.",
        _ONE + " [must|should] [not|never] {verb}.",
        "[Replies|Answers|Responses] [must|should|may] [not|never] {verb}.",
        "[Avoid|Refrain from|Stay away from|Keep away from] {gerund}.",
        "[Avoid|Remove|Leave out|Cut|Drop|Allow no] [|any |all ]{noun}.",
        "[Replies|Answers] should [contain no|have no|be free of|be without] {noun}.",
        "[Prefer|Choose] [replies|answers] without {noun}.",
        "[There should be|I want] no {noun} in a reply.",
        "[Give|Offer|Allow] no {noun}.",
        "[Do not|Never] be {adj}.",
        _ONE + " [must|should] [not|never] be {adj}.",
        "Be less {adj}.",
        "[Prefer|Choose|Pick] " + _THE + " that is [less|least] {adj}.",
        "[Prefer|Choose] " + _THE + " that [does not|doesn't] {verb}.",
        "[The assistant|The model|A reply|The AI] should avoid {gerund}.",
        "[Users|People] [do not want|don't want] {noun}.",
        "[Make sure|Take care] [not to|never to] {verb}.",
        "[I do not like|Users dislike|People dislike] {adj} replies.",
    ),
    "critique": (
        _FIND + " [how|where|in what way] " + _REPLY + " is {adj}.",
        "[Is|Was] " + _REPLY + " {adj}? [Say where.|Say how.|Explain.|If so, say how.|]",
        "In what way is " + _REPLY + " {adj}?",
        "[Identify|Find|List|Discuss] [specific|all|any] ways in which " + _REPLY + " is {adj}.",
        _FIND + " [how|where] " + _REPLY + " {third}.",
        "[Does|Did] " + _REPLY + " {verb}? [Say where.|Say how.|Explain.|If so, say how.|]",
        "[Identify|Find|Point out|Name|List] [any|all|the] {noun} in " + _REPLY + ".",
        "A reply should not {verb}. [Does|Did] " + _REPLY + " do that?",
        "A reply must not be {adj}. Point out every sentence of " + _REPLY + " that is.",
    ),
    "revise": (
        _CHANGE + " " + _REPLY + " so that it [is not|is no longer|is less] {adj}.",
        _CHANGE + " " + _REPLY + " to be less {adj}.",
        _CHANGE + " " + _REPLY + " so that it [does not|no longer does anything to|will not] {verb}.",
        _CHANGE + " " + _REPLY + " without {gerund}.",
        _CHANGE + " " + _REPLY + " [without|so that it has no|and leave out] {noun}.",
        "[Remove|Take out|Cut] [all|any|the] {noun} from " + _REPLY + ".",
        _CHANGE + " " + _REPLY + " to [remove|avoid] [all |any |]{noun}.",
        _CHANGE + " " + _REPLY + " to [remove|avoid] [any and all|all|any] {adj} [content|parts|sentences].",
    ),
    "judge": (
        _WHICH + " is less {adj}?",
        _WHICH + " {third} less?",
        _WHICH + " does not {verb}?",
        _WHICH + " [has|contains] [less|fewer|no] {noun}?",
        _WHICH + " [better avoids|avoids|does more to avoid] {gerund}?",
        "[Choose|Pick|Select] " + _THE + " that is [less|least] {adj}.",
        "[Choose|Pick|Select] the reply [with less|with fewer|without] {noun}.",
        "[Choose|Pick|Select] the reply that {third} less.",
        "[Choose|Pick|Select] " + _THE + " that does not {verb}.",
    ),
}
WANT: dict[Voice, tuple[str, ...]] = {
    "sentence": (
        "[Always|Please|Please always] {verb}.",
        _ONE + " [must|should] [|always ]{verb}.",
        "[Replies|Answers|Responses] [must|should] {verb}.",
        "[Keep|Insist on|Focus on] {gerund}.",
        "[Include|Add|Use|Give|Put in] [|some |more ]{noun}.",
        "[Replies|Answers] should [contain|have|be full of|come with] {noun}.",
        "[Prefer|Choose] [replies|answers] with {noun}.",
        "[There should be|I want] {noun} in a reply.",
        "[Be|Always be|Stay|Please be] {adj}.",
        _ONE + " [must|should] [|always ]be {adj}.",
        "Be more {adj}.",
        "[Prefer|Choose|Pick] " + _THE + " that is [more|most] {adj}.",
        "[Prefer|Choose] " + _THE + " that {third}.",
        "[The assistant|The model|A reply|The AI] should practise {gerund}.",
        "[Users|People] want {noun}.",
        "[Make sure|Take care|Try] to {verb}.",
        "[I like|Users like|People like] {adj} replies.",
    ),
    "critique": (
        _FIND + " [how|where|in what way] " + _REPLY + " is not {adj}[| enough].",
        "[Is|Was] " + _REPLY + " not {adj}? [Say where.|Say how.|Explain.|If so, say how.|]",
        "[How|Where] could " + _REPLY + " be more {adj}?",
        "[Identify|Find|List|Discuss] [specific|all|any] ways in which " + _REPLY + " is not {adj}.",
        _FIND + " [how|where] " + _REPLY + " [does not|fails to] {verb}.",
        "[Does|Did] " + _REPLY + " fail to {verb}? [Say where.|Say how.|Explain.|If so, say how.|]",
        "[Identify|Find|Point out|Say] where " + _REPLY + " [lacks|needs more|is without] {noun}.",
        "A reply should {verb}. [Does|Did] " + _REPLY + " fail to do that?",
        "A reply must be {adj}. Point out where " + _REPLY + " is not.",
    ),
    "revise": (
        _CHANGE + " " + _REPLY + " so that it is [|more ]{adj}.",
        _CHANGE + " " + _REPLY + " to be more {adj}.",
        _CHANGE + " " + _REPLY + " so that it {third}.",
        _CHANGE + " " + _REPLY + " to {verb}.",
        _CHANGE + " " + _REPLY + " [with|so that it has|and add] [|more ]{noun}.",
        "[Add|Put] {noun} to " + _REPLY + ".",
        _CHANGE + " " + _REPLY + " to [include|contain] [|more ]{noun}.",
        _CHANGE + " " + _REPLY + " to make it [|more ]{adj}.",
    ),
    "judge": (
        _WHICH + " is more {adj}?",
        _WHICH + " {third} more?",
        _WHICH + " does {verb}?",
        _WHICH + " [has|contains] [|more ]{noun}?",
        _WHICH + " [better succeeds in|succeeds in|does more] {gerund}?",
        "[Choose|Pick|Select] " + _THE + " that is [more|most] {adj}.",
        "[Choose|Pick|Select] the reply [with more|with] {noun}.",
        "[Choose|Pick|Select] the reply that {third} more.",
        "[Choose|Pick|Select] " + _THE + " that does {verb}.",
    ),
}
_HELD_FRAMES = {
    "sentence": ("[Prefer|Choose] [replies|answers] without {noun}.", "[Prefer|Choose] [replies|answers] with {noun}."),
    "critique": (AVOID["critique"][2], WANT["critique"][2]),
    "revise": (AVOID["revise"][6], WANT["revise"][6]),
    "judge": (AVOID["judge"][5], WANT["judge"][5]),
}
"""Frames that pretraining never shows."""
_BEFORE = ("", "", "", "", "", "Above all: ", "Please note: ", "In every reply: ", "One rule: ")
_AFTER = ("", "", "", "", "", "", " This matters to users.", " People deserve that.", " This is important.")


@dataclass(frozen=True, slots=True)
class Wording:
    """One voice of one principle, and which frame made it."""

    text: str
    frame: str
    held_out: bool
    avoid: bool
    """Whether the frame asks for less of what its words name."""
    more: bool
    """Whether its words name a reply that has the attribute."""


def word(meaning: Meaning, voice: Voice, rng: Random) -> Wording:
    """One wording of a meaning in a voice, from all frames, held out or not."""
    while True:
        avoid = rng.random() < 0.5
        pole_more = (meaning.direction == 1) != avoid
        words = (MORE if pole_more else LESS)[meaning.axis]
        frame = rng.choice((AVOID if avoid else WANT)[voice])
        if (phrases := _phrases(words, frame, rng)) is None:
            continue
        text = expand(frame, rng, phrases)
        if voice == "sentence":
            text = rng.choice(_BEFORE) + text + rng.choice(_AFTER)
        return Wording(text, frame, _is_held_out(frame, phrases, voice), avoid, pole_more)


def wording_for(meaning: Meaning, voice: Voice, rng: Random, *, held_out: bool) -> Wording:
    """One wording from the held-out ones, or from the others."""
    while (wording := word(meaning, voice, rng)).held_out != held_out:
        pass
    return wording


def word_for(meaning: Meaning, voice: Voice, rng: Random, *, held_out: bool) -> str:
    """The text of `wording_for`."""
    return wording_for(meaning, voice, rng, held_out=held_out).text


def _phrases(words: Words, frame: str, rng: Random) -> dict[str, str] | None:
    slot = next(iter(slots_of(frame)))
    pool = {"adj": words.adjectives, "noun": words.nouns}.get(slot, words.verbs)
    if not pool:
        return None
    phrase = rng.choice(pool)
    if slot in ("adj", "noun") and len(pool) > 2 and rng.random() < 0.3:
        *some, last = rng.sample(pool, rng.choice((2, 2, 3, min(4, len(pool)))))
        phrase = f"{', '.join(some)} {rng.choice(('or', 'and'))} {last}"
    forms = {"third": third, "gerund": gerund}
    return {slot: forms[slot](phrase) if slot in forms else phrase}


def _is_held_out(frame: str, phrases: dict[str, str], voice: Voice) -> bool:
    if frame in _HELD_FRAMES[voice]:
        return True
    return int(content_id("paraphrase", frame, sorted(phrases.items()))[:8], 16) % 8 == 0
