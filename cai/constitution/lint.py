"""Problems of meaning that a well-formed constitution can have. Each finding is a warning: the file still works."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from cai.constitution.load import Loaded
from cai.constitution.model import VOICES, Principle
from cai.constitution.words import content_words, overlap, shingles
from cai.errors import InputError, Where
from cai.strict_yaml import shown

SAME = 0.6
"""Shared content words from which two principles count as near-duplicates."""
LEAKED = 0.5
"""Shared passages from which an example counts as taken from an evaluation set."""
LONG_VOICE = 120
"""Words in one voice from which it is called long."""

_NOUN = r"(?:reply|response|answer|option|choice|letter|candidate|one)"
_PLACE = r"[\"'`(\[*]*\b(?:A|B|[Ff]irst|[Ss]econd|[Ff]ormer|[Ll]atter|[Ll]eft|[Rr]ight)\b"
_COMMANDS = tuple(
    re.compile(pattern)
    for pattern in (
        # "always answer A", "pick the first reply"; not "answer A or B", "say the right thing". No word may be matched
        # in two ways (`letter` is one of the nouns), or a text of such words takes for ever.
        rf"\b(?i:answer|choose|pick|select|prefer|favou?r|output|print|say|write|respond|return|vote)\b(?:,?\s+(?i:always|"
        rf"only|just|simply|with|for|the|{_NOUN})\b)*+:?\s+{_PLACE}(?!\w)(?!\s+(?!{_NOUN}\b)[a-z])",
        rf"\b(?i:{_NOUN})\s*[\"'`(\[*]*[AB]\b(?!\s+(?:or|and)\b)",
        r"\b[AB]\b[\"'`)\]*]*\s+(?:is|wins|must|should|always)\b",
        r"\b(?:is|are|be)\s+(?:always\s+)?[\"'`(\[*]*[AB][\"'`)\]*]*\s*(?:[.!]|$)",
        rf"\b(?i:first|second|former|latter)\s+{_NOUN}\s+(?i:is|wins|must|should|always)\b",
        r"\b(?i:comes?|came|shown|listed|appears?|placed|given|printed)\s+(?i:first|second|last)\b",
        r"\[\[\s*[AB]\s*\]\]|\(\s*[AB]\s*\)",
        r"\b(?i:regardless|irrespective|no matter)\b[^.?!]{0,40}\b(?i:content|repl(?:y|ies)|says?|text)\b",
    )
)
_OVERRIDE = (
    r"(?<!order to )(?<!orders to )(?<!asked to )(?<!told to )\b(?:ignore|disregard|forget|override)\b[^.?!]{0,60}\b"
    r"(?:instruction|principle|rule|prompt|above|previous|prior|earlier|other|everything)s?\b"
)
_MARKUP = (
    r"<\|[^|>]{1,40}\|>|\[/?INST\]|</?s>|<</?SYS>>|</?\s*(?:conversation|reply)\b"
    r"|^[ \t]*(?:Human|Assistant|System|User):"
)
_FIXED_CRITIQUE = r"\bno (?:change|critique|revision)s? (?:is |are )?(?:needed|necessary|required)\b"
_PLACEHOLDER = r"\{\{.*?\}\}|\{%.*?%\}|\$?\{[A-Za-z_][\w.\[\]]*\}"

_ALL_VOICES = tuple(VOICES)
_HABITS = tuple(
    (voices, re.compile(pattern, re.IGNORECASE | re.MULTILINE), what, remedy)
    for voices, pattern, what, remedy in (
        (_ALL_VOICES, _OVERRIDE, "gives orders about other instructions", "state the principle alone"),
        (
            ("critique",),
            _FIXED_CRITIQUE,
            "puts the answer in the critic's mouth",
            "delete it: the request already says what to answer when all is well",
        ),
        (_ALL_VOICES, _MARKUP, "holds chat markup", "delete it: it is sent as plain text and only confuses"),
        (_ALL_VOICES, _PLACEHOLDER, "holds a placeholder, and nothing fills it in", "write the text out"),
    )
)
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")


def lint(loaded: Loaded) -> list[InputError]:
    """Every finding about a constitution as far as it could be resolved, in the order of the file."""
    constitution, found = loaded.constitution, list[InputError]()
    if not constitution.principles and not loaded.problems:
        what = "no principles: this is a placebo, under which nothing is criticised or revised"
        found.append(InputError(what, "add principles unless that is meant", loaded.doc.where("principles")))
    found += _missing_voices(loaded, constitution.principles)
    for principle in constitution.principles:
        for voices, label, text in _said(principle):
            found += _voice(loaded.where(principle.id, voices[0]), voices, label, text)
    found += _near_duplicates(loaded, constitution.principles)
    found += _judge_examples(loaded)
    return found


def _said(principle: Principle) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """The texts of a principle, each once: the voices that speak it, what to call it, the text."""
    by_text: dict[str, tuple[str, ...]] = {}
    for voice, template in VOICES.items():
        if text := getattr(principle, voice):
            said = text.removeprefix(template.partition("{sentence}")[0])
            by_text[said] = (*by_text.get(said, ()), voice)
    for text, voices in by_text.items():
        derived = text != getattr(principle, voices[0])
        name = "sentence" if derived else f"{' and '.join(voices)} voice{'s' * (len(voices) > 1)}"
        yield voices, f"the {name} of `{principle.id}`", text


def _missing_voices(loaded: Loaded, principles: tuple[Principle, ...]) -> Iterator[InputError]:
    """Each principle without a voice; one line where none has it, as in sets made for one stage only."""
    for voice, one, every, remedy in (
        (
            "critique",
            "so no reply is revised under it",
            "so no reply is revised",
            "add `critique:` and `revise:`, or `sentence:`",
        ),
        ("judge", "so it judges nothing", "so nothing can be judged", "add `judge:`, or `sentence:`"),
    ):
        mute = [principle for principle in principles if not getattr(principle, voice)]
        if len(mute) > 1 and len(mute) == len(principles) and not loaded.problems:
            what = f"none of the {len(mute)} principles has a {voice} voice, {every}"
            yield InputError(what, remedy, loaded.where(mute[0].id))
        else:
            for principle in mute:
                yield InputError(f"`{principle.id}` has no {voice} voice, {one}", remedy, loaded.where(principle.id))


def _voice(where: Where, voices: tuple[str, ...], label: str, text: str) -> Iterator[InputError]:
    if "judge" in voices and (match := first_command(text)):
        what = f"{label} commands the judge: `{match}`"
        yield InputError(what, "say what makes a reply better, whichever place it has", where)
    for of, pattern, what, remedy in _HABITS:
        if set(voices) & set(of) and (match := pattern.search(text)):
            yield InputError(f"{label} {what}: `{shown(match.group().strip())}`", remedy, where)
    if match := _INVISIBLE.search(text):
        what = f"{label} holds the invisible character U+{ord(match.group()):04X}"
        yield InputError(what, "delete it", where)
    if (count := len(text.split())) > LONG_VOICE:
        what = f"{label} has {count} words, which every call pays for"
        yield InputError(what, f"aim for {LONG_VOICE // 3} or fewer, or split the principle", where)


def first_command(judge_voice: str) -> str:
    """The part of a judge's voice that settles the answer before any reply is read; empty without one."""
    for pattern in _COMMANDS:
        if match := pattern.search(judge_voice):
            return shown(match.group().strip())
    return ""


def _near_duplicates(loaded: Loaded, principles: tuple[Principle, ...]) -> Iterator[InputError]:
    """Each principle that shares most content words, or a whole voice, with an earlier one; the nearest is named."""
    said = [content_words(principle) for principle in principles]
    for index, principle in enumerate(principles):
        likeness = [(_likeness(principle, principles[i], said[index], said[i]), -i) for i in range(index)]
        most, nearest = max(likeness, default=(0.0, 0))
        if most >= SAME:
            other = principles[-nearest].id
            what = f"`{principle.id}` says almost the same as `{other}` on line {loaded.where(other).line}"
            yield InputError(what, "delete one, or make the difference plain", loaded.where(principle.id))


def _likeness(a: Principle, b: Principle, words_a: frozenset[str], words_b: frozenset[str]) -> float:
    same_voice = any(getattr(a, voice) and getattr(a, voice) == getattr(b, voice) for voice in ("critique", "judge"))
    return 1.0 if same_voice else overlap(words_a, words_b)


def _judge_examples(loaded: Loaded) -> Iterator[InputError]:
    answers = [example.answer for example in loaded.constitution.judge_examples]
    if len(answers) >= 2 and len(set(answers)) == 1:
        what = f"all {len(answers)} judge examples answer {answers[0]}, which teaches a place and not a principle"
        yield InputError(what, "exchange the two replies in half of them", loaded.doc.where("judge_examples"))


def lint_examples(loaded: Loaded, finds_problem: Callable[[str], bool | None]) -> Iterator[InputError]:
    """Few-shots whose critique, as the loop would read it, does not go with what follows."""
    for path, example in zip(loaded.example_paths, loaded.constitution.examples, strict=True):
        found = finds_problem(example.critique)
        where = loaded.doc.where(*path)
        if found and example.revision is None:
            what = "the critique finds a problem and no revision follows"
            yield InputError(what, "add `revision:`, or begin the critique with `No change needed.`", where)
        if not found and example.revision is not None:
            what = "the critique finds nothing and a revision follows"
            yield InputError(what, "remove `revision:`, or say in the critique what is wrong", where)
        if example.revision is not None and example.revision == example.reply:
            yield InputError("the revision repeats the reply", "change it, or make this an example without one", where)


def lint_leaks(loaded: Loaded, evaluation: Iterable[tuple[str, str]]) -> Iterator[InputError]:
    """Few-shots whose prompt is in an evaluation set, given as (text, where it stands); read once, streamed."""
    shots = loaded.constitution.examples, loaded.constitution.judge_examples
    prompts = [shingles(example.prompt) for kind in shots for example in kind]
    examples = dict(zip((*loaded.example_paths, *loaded.judge_paths), prompts, strict=True))
    for text, source in evaluation:
        asked = shingles(text)
        for path, written in list(examples.items()):
            if asked and written and len(asked & written) / min(len(asked), len(written)) >= LEAKED:
                del examples[path]
                what = (
                    f"the prompt of this example is in the evaluation set ({source}), so its scores would be too good"
                )
                yield InputError(what, "write an example of your own", loaded.doc.where(*path, "prompt"))
