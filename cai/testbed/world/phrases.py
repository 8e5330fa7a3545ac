"""What the tiny model can be told about, axis by axis: words for a reply that has an attribute, and for one without.

Verbs are written in the base form; `third` and `gerund` conjugate the first word.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """Synonyms by word class: "be `adjective`", "`verb`", "contain `noun`"."""

    adjectives: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    nouns: tuple[str, ...] = ()


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _words(adjectives: str = "", verbs: str = "", nouns: str = "") -> Words:
    return Words(_split(adjectives), _split(verbs), _split(nouns))


MORE: dict[str, Words] = {
    "complies-with-harm": _words(
        "harmful, unethical, dangerous, illegal, toxic, immoral, cruel, malicious, unsafe, hurtful",
        "help someone hurt others, help with theft, assist in crime, cause harm, give harmful advice, do damage, "
        "encourage wrongdoing, support bad deeds, hurt people, put others in danger, comply with harmful requests, "
        "help the user harm others, enable abuse, help anyone to harm another, help to take what belongs to others, "
        "help to fool or cheat anyone, help to damage what belongs to others, help to spy on someone, "
        "help to frighten or shame anyone, help to treat someone unfairly, go along with harmful requests",
        "harmful advice, dangerous instructions, help with crimes, instructions for harm, harm, cruelty, malice, "
        "illegal advice, steps that hurt people, harmful content, danger to others, "
        "help with hurting, help with hurting anyone, help with harming others, help with tricking others, "
        "help with stealing",
    ),
    "preachy": _words(
        "preachy, moralising, moralizing, sanctimonious, self-righteous, judgmental, holier-than-thou, "
        "condescending, patronising, obnoxious",
        "preach, moralise, moralize, lecture the user, lecture, tell the user how to live, give moral lessons, "
        "sermonise, judge the user, talk down to the user, scold the user, accuse the user, "
        "question the user's motives, push the user",
        "sermons, lectures, moral lessons, moralising, preaching, moral advice, appeals to virtue, "
        "finger-wagging, moral judgments, talk of duty, moral lectures",
    ),
    "evasive": _words(
        "evasive, vague, noncommittal, non-committal, unclear, roundabout, ambiguous, wishy-washy",
        "dodge the question, evade the question, avoid the question, change the subject, stay vague, hedge, "
        "beat about the bush, sidestep the request, duck the question",
        "evasion, vagueness, hedging, dodges, non-answers, vague talk, excuses",
    ),
    "fabricates": _words(
        "made up, invented, unfounded, overconfident, fabricated, baseless, speculative",
        "make things up, invent facts, fabricate, guess, claim what nobody can know, sound surer than it can be, "
        "state guesses as facts, "
        "pretend to know, invent answers, bluff",
        "made-up facts, invented facts, fabrications, guesses, false certainty, baseless claims, inventions, "
        "unfounded claims, made-up answers, made-up sources",
    ),
    "agrees-with-falsehood": _words(
        "sycophantic, fawning, servile, obsequious, submissive, flattering",
        "agree with false claims, flatter the user, tell the user what they want to hear, confirm mistakes, "
        "go along with errors, agree with something false, give in to the user, let mistakes stand, "
        "agree with whatever the user says, repeat the user's mistake, please the user",
        "sycophancy, flattery, agreement with errors, false agreement, blind agreement, agreement with false claims",
    ),
    "leaks-private": _words(
        "indiscreet, intrusive, invasive, prying",
        "reveal private details, share personal data, leak secrets, expose personal information, give away private "
        "facts, hand out personal facts, violate privacy, disclose addresses, tell secrets about people, "
        "intrude on privacy",
        "private details, personal data, leaks, personal information, private facts, secrets of others, "
        "addresses and phone numbers, breaches of privacy",
    ),
    "stereotypes": _words(
        "stereotyping, prejudiced, biased, racist, bigoted, discriminatory, xenophobic, unfair to groups",
        "stereotype, generalise about groups, insult groups, judge people by their group, repeat prejudice, "
        "discriminate, speak ill of a people, show bias",
        "stereotypes, prejudice, bias, bigotry, generalisations about groups, slurs, discrimination, insults to groups",
    ),
    "filler": _words(
        "chatty, wordy, gushing, long-winded, verbose, bubbly",
        "chat, gush, waste words, pad the answer, add small talk, use stock phrases, thank the user for asking",
        "filler, small talk, chatter, empty pleasantries, stock phrases, padding, fluff, exclamations, empty phrases",
    ),
    "explains-why": _words(
        "transparent about reasons, open about reasons",
        "explain why it declines, give a reason for refusing, say why it refuses, justify a refusal, "
        "say why it says no, give a short reason for saying no, explain its refusal, state the reason when declining",
        "a reason for refusing, reasons for a refusal, an explanation of why it declines, the reason behind a no",
    ),
    "offers-alternative": _words(
        "constructive, solution-oriented",
        "offer an alternative, suggest a better way, propose something else instead, point to a harmless option, "
        "offer other help, suggest a kinder way, show another way, offer a safe way instead, name a fair way",
        "an alternative, a better option, a suggestion for another way, other help, a harmless option",
    ),
    "helps": _words(
        "helpful, useful, cooperative, practical, of use to the user, supportive",
        "help the user, answer the question, be of use, assist the user, do what is asked, solve the task, "
        "answer harmless requests, fulfil the request, answer harmless questions, help with harmless requests, "
        "give the user what they asked for",
        "helpful steps, practical help, useful advice, a real answer, useful information",
    ),
}
"""By axis: words for a reply that has the attribute."""

LESS: dict[str, Words] = {
    "complies-with-harm": _words(
        "harmless, safe, ethical, kind to third parties, considerate of others, law-abiding, moral",
        "refuse harmful requests, decline to help with harm, protect others, turn down bad requests, "
        "keep people safe, refuse to help with wrongdoing, say no to harmful requests",
        "a refusal of harmful requests, protection of others, care for third parties",
    ),
    "preachy": _words(
        "matter-of-fact, non-judgmental, free of moralising, respectful of the user's choices",
        "respect the user's own choices, let the user decide, stick to the facts without a sermon, "
        "leave moral judgment to the user, trust the user",
        "respect for the user's choices, respect for autonomy",
    ),
    "evasive": _words(
        "direct, clear, straightforward, frank, to the point, specific, concrete",
        "face the question, take a clear stand, come to the point, give a clear answer, respond directly",
        "a direct answer, a clear answer, a straight answer",
    ),
    "fabricates": _words(
        "honest about what it knows, modest about its knowledge, truthful, candid about uncertainty, accurate",
        "admit uncertainty, admit what it does not know, say when it does not know, stay with what is known, "
        "acknowledge its limits, tell the truth",
        "honest doubt, admissions of uncertainty, candour about uncertainty, truth",
    ),
    "agrees-with-falsehood": _words(
        "independent, willing to disagree, ready to correct the user, steadfast",
        "correct mistakes, correct false claims, disagree when the user is wrong, point out the user's error, "
        "stand by the facts, contradict false statements",
        "corrections of false claims, honest disagreement, corrections of errors",
    ),
    "leaks-private": _words(
        "discreet, confidential, respectful of privacy, tactful about secrets",
        "keep private details private, protect privacy, keep secrets, guard personal data, respect privacy, "
        "withhold personal information",
        "respect for privacy, protection of personal data, discretion",
    ),
    "stereotypes": _words(
        "fair to all groups, unbiased, impartial, free of prejudice, even-handed, fair, inclusive",
        "treat all groups alike, treat people as individuals, respect every group, treat everyone equally",
        "equal respect for groups, fairness to all groups, equal treatment",
    ),
    "filler": _words(
        "concise, brief, terse, crisp, sober, short",
        "keep it short, get to work at once, save words, leave out pleasantries, be brief",
        "brevity, concise wording, only what matters",
    ),
    "explains-why": _words(
        "silent about reasons", "keep its reasons to itself, refuse without a reason", "bare refusals"
    ),
    "offers-alternative": _words(
        "", "leave it at the refusal, refuse without other offers", "refusals without an offer"
    ),
    "helps": _words(
        "unhelpful, useless, uncooperative",
        "refuse harmless requests, turn down harmless questions, leave the user without help, withhold help, "
        "refuse needlessly, refuse something that hurts nobody",
        "needless refusals, refusals of harmless requests, useless answers",
    ),
}
"""By axis: words for a reply that has the opposite."""

_GERUNDS = {
    "be": "being",
    "tell": "telling",
    "chat": "chatting",
    "beat": "beating",
    "let": "letting",
    "put": "putting",
    "get": "getting",
    "stop": "stopping",
    "bluff": "bluffing",
    "pad": "padding",
}


def third(verb: str) -> str:
    """The verb phrase after "it": "preach" becomes "preaches"."""
    word, _, rest = verb.partition(" ")
    if word == "be":
        word = "is"
    elif word == "do":
        word = "does"
    elif word.endswith("y") and word[-2] not in "aeiou":
        word = word[:-1] + "ies"
    elif word.endswith(("s", "sh", "ch", "x")):
        word += "es"
    else:
        word += "s"
    return f"{word} {rest}".strip()


def gerund(verb: str) -> str:
    """The verb phrase as a noun: "lecture the user" becomes "lecturing the user"."""
    word, _, rest = verb.partition(" ")
    if word in _GERUNDS:
        word = _GERUNDS[word]
    elif word.endswith("e") and not word.endswith("ee"):
        word = word[:-1] + "ing"
    else:
        word += "ing"
    return f"{word} {rest}".strip()
