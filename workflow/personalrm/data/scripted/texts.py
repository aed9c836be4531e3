"""Conversations and answers composed from a vocabulary, each answer with its value on every axis.

An axis is a way in which answers differ (`vocabulary.yaml`): warm or blunt, list or prose, tradition or novelty. Each
value is drawn by itself, so that axes are independent; the rest of a text is advice on its topic, which no axis
decides. Only the length is not drawn: its value is what the text turned out to be. All of this is our choice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar

import yaml

Draw = Callable[[], float]
"""The next random number in [0, 1), as `random.Random(key).random`, whose sequence Python keeps for all versions."""

LENGTH = "length"
LEVELS: tuple[tuple[float, int], ...] = ((0.25, 0), (0.41, 1), (0.5, 2), (0.59, -2), (0.75, -1), (1.0, 0))
"""Upper bounds of the random number, and the number of wordings of the one pole or of the other (below 0) that an
answer has: none in half of the answers."""
MOST = 2
"""Wordings of one axis in an answer at most; an axis' value is their number divided by this, from -1 to 1."""
WORDS = (20, 80)
"""Least and most words of an answer (between blanks); the middle has value 0 on the axis `length`."""
SENTENCES = (2, 5)
"""Least and most sentences of advice in an answer."""
THREE_TURNS = 0.2
"""Share of conversations of three turns; the others have one."""

T = TypeVar("T")


class Pole(NamedTuple):
    """One end of an axis: the words for it in a sentence on taste, and its wordings in answers."""

    likes: str
    wordings: tuple[str, ...]


class Axis(NamedTuple):
    """One way in which answers differ. `named`: a general list of attributes of answers would name it."""

    name: str
    group: str
    named: bool
    plus: Pole
    minus: Pole

    def pole(self, sign: float) -> Pole:
        """The pole that a positive, or a negative, number means."""
        return self.plus if sign > 0 else self.minus


class Answer(NamedTuple):
    """An answer, and its values from -1 to 1 in the order of `axes()`."""

    text: str
    values: tuple[float, ...]


class Offer(NamedTuple):
    """A conversation, as turns of (role, content), and two answers to it."""

    topic: str
    context: tuple[tuple[str, str], ...]
    first: Answer
    second: Answer


@cache
def _vocabulary() -> Mapping[str, Any]:
    text = files("personalrm.data.scripted").joinpath("vocabulary.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Any] = yaml.safe_load(text)
    return found


@cache
def axes() -> tuple[Axis, ...]:
    """All axes, in the order of an answer's values."""
    return tuple(
        Axis(name, entry["group"], entry["named"], *(_pole(entry[sign]) for sign in ("plus", "minus")))
        for name, entry in _vocabulary()["axes"].items()
    )


def _pole(entry: Mapping[str, Any]) -> Pole:
    return Pole(entry["likes"], tuple(entry.get("wordings", ())))


@cache
def _phrase_axes() -> tuple[tuple[int, Axis], ...]:
    """Axes whose wordings are sentences of their own, with their places."""
    inside = {LENGTH, "form", "hedging", "register"}
    return tuple((place, axis) for place, axis in enumerate(axes()) if axis.name not in inside)


@cache
def _place() -> Mapping[str, int]:
    return {axis.name: place for place, axis in enumerate(axes())}


def topics() -> int:
    """Number of topics."""
    return len(_vocabulary()["topics"])


def draw_offer(topic: int, draw: Draw) -> Offer:
    """A conversation on the topic of that number, and two answers that are drawn independently of each other."""
    about = _vocabulary()["topics"][topic]
    context = _conversation(about, draw)
    return Offer(about["doing"], context, _answer(about, draw), _answer(about, draw))


def short_axes() -> tuple[str, ...]:
    """Names of the axes on which short answers can differ."""
    return tuple(axis.name for _, axis in _phrase_axes())


def draw_short_offer(topic: int, draw: Draw, names: Sequence[str]) -> Offer:
    """A question on the topic of that number, and two answers of one sentence that differ on one axis of `names`: each
    is a wording of another pole, and has the value 0 on all other axes."""
    words, about = _vocabulary(), _vocabulary()["topics"][topic]
    question = str(pick(words["questions"], draw)).format(detail="", thing=about["thing"], doing=about["doing"]).strip()
    place, axis = pick([one for one in _phrase_axes() if one[1].name in names], draw)

    def answer(sign: int) -> Answer:
        values = [0.0] * len(axes())
        values[place] = sign / MOST
        return Answer(capital(_filled(pick(axis.pole(sign).wordings, draw), draw)), tuple(values))

    one, other = shuffled((1, -1), draw)
    return Offer(about["doing"], (("user", question),), answer(one), answer(other))


def pick(options: Sequence[T], draw: Draw) -> T:
    """One of the options, each with equal probability."""
    return options[int(draw() * len(options))]


def some(items: Sequence[T], count: int, draw: Draw) -> list[T]:
    """So many of the items, in random order."""
    left = list(items)
    return [left.pop(int(draw() * len(left))) for _ in range(count)]


def shuffled(items: Sequence[T], draw: Draw) -> list[T]:
    """All items, in random order."""
    return some(items, len(items), draw)


def _conversation(about: Mapping[str, str], draw: Draw) -> tuple[tuple[str, str], ...]:
    words = _vocabulary()

    def said(kind: str, detail: str) -> str:
        return str(pick(words[kind], draw)).format(detail=detail, thing=about["thing"], doing=about["doing"])

    one, other = some(words["details"], 2, draw)
    if draw() >= THREE_TURNS:
        return (("user", said("questions", one)),)
    return ("user", said("openings", one)), ("assistant", said("replies", "")), ("user", said("follow_ups", other))


def _answer(about: Mapping[str, Any], draw: Draw) -> Answer:
    """Values are drawn again until the answer has neither too few words nor too many."""
    place = _place()
    least, most = WORDS
    while True:
        counts = [_count(draw) for _ in place]
        text = _composed(about, counts, draw)
        words = len(text.split())
        if least <= words <= most:
            values = [count / MOST for count in counts]
            values[place[LENGTH]] = round((2 * words - least - most) / (most - least), 2)
            return Answer(text, tuple(values))


def _count(draw: Draw) -> int:
    number = draw()
    return next(count for bound, count in LEVELS if number < bound)


def _composed(about: Mapping[str, Any], counts: Sequence[int], draw: Draw) -> str:
    """Sentences of advice as one block, with the sentences of the other axes before and after it."""
    phrases = [
        capital(_filled(wording, draw))
        for place, axis in _phrase_axes()
        if counts[place]
        for wording in some(axis.pole(counts[place]).wordings, abs(counts[place]), draw)
    ]
    phrases = shuffled(phrases, draw)
    cut = int(draw() * (len(phrases) + 1))
    form = counts[_place()["form"]]
    block = _laid_out(_advice(about, counts, draw), form, draw)
    gap = "\n" if form == MOST else " "
    return gap.join(filter(None, [" ".join(phrases[:cut]), block, " ".join(phrases[cut:])]))


def _advice(about: Mapping[str, Any], counts: Sequence[int], draw: Draw) -> list[str]:
    """Sentences without capital and full stop, as many hedged and in a register as the counts say."""
    words, place = _vocabulary(), _place()
    least, most = SENTENCES
    number = least + int(draw() * (most - least + 1))

    def worded(name: str, otherwise: Sequence[str]) -> list[str]:
        count = counts[place[name]]
        chosen = some(axes()[place[name]].pole(count).wordings, abs(count), draw)
        return shuffled([*chosen, *otherwise][:number], draw)

    leads = worded("register", some(words["neutral_leads"], number, draw))
    hedges = worded("hedging", [""] * number)
    acts = some(about["advice"], number // 2, draw) + some(words["advice"], number - number // 2, draw)
    acts = [act.format(doing=about["doing"]) for act in shuffled(acts, draw)]
    return [" ".join(filter(None, parts)) for parts in zip(hedges, leads, acts, strict=True)]


def _laid_out(sentences: Sequence[str], form: int, draw: Draw) -> str:
    """The sentences as lines of a list, as a list in the text, one by one, or some or all of them joined."""
    entry = _vocabulary()["axes"]["form"]["plus"]
    if form == MOST:
        lines = zip(pick(entry["lines"], draw), sentences, strict=False)
        return "\n".join(f"{mark}{capital(sentence)}." for mark, sentence in lines)
    if form > 0:
        marks = pick(entry["inline"], draw)
        return " ".join(f"{capital(mark)} {sentence}." for mark, sentence in zip(marks, sentences, strict=False))
    joints = some(axes()[_place()["form"]].minus.wordings, len(sentences), draw)
    joined = len(sentences) - 1 if form == -MOST else -form
    text = ""
    for number, sentence in enumerate(sentences):
        if number == 0:
            text = capital(sentence)
        elif number <= joined:
            text += joints[number] + sentence
        else:
            text += ". " + capital(sentence)
    return f"{text}."


_SLOT = re.compile(r"\{(\w+)\}")


def _filled(wording: str, draw: Draw) -> str:
    """The wording with a random word in each of its slots."""
    if "{" not in wording:
        return wording
    slots = _vocabulary()["slots"]
    return _SLOT.sub(lambda found: pick(slots[found[1]], draw), wording)


def capital(sentence: str) -> str:
    """The sentence with its first letter as a capital.

    >>> capital("(1)"), capital("it helps")
    ('(1)', 'It helps')
    """
    return sentence[:1].upper() + sentence[1:]
