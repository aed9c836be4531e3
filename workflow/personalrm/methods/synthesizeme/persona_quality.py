"""Personas that say nothing, by stated criteria (ours: the paper checks no persona).

A flaw is found in words alone, without a model:

- `empty`: fewer than `LEAST_WORDS` words, or none but those that any persona has ("likes answers that are liked").
- `echo`: runs of `ECHO_RUN` words or more that stand in the prompt make up half of it.
- `contradiction`: the same thing is liked and disliked, in half of what is said of the side that says less.
- `copy`: runs of `COPY_RUN` words or more of one answer, or of one demonstration of the prompt, make up half of it.

A word is a run of letters and digits; in scripts without blanks between words (Chinese, Japanese, Thai …) it is a
character, and runs are twice as long. Echo and copy are found in all languages. The words that any persona has, and
who likes or dislikes in running text, are known in English alone; fields of JSON are read in any language. So a flaw
in another language may be missed, and a good persona is not refused for its language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from personalrm.core.records import PersonaFlaw
from personalrm.methods.synthesizeme.persona_json import persona_fields

LEAST_WORDS = 2
ECHO_RUN, COPY_RUN = 5, 8
LEAST_SHARE = 0.5

SEVERITY: tuple[PersonaFlaw, ...] = ("contradiction", "copy", "echo", "empty")
"""From the least bad to the worst: what contradicts itself still names something, what is empty names nothing."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:'[^\W_{_UNSPACED}]+)*")


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_FRAME = _words(
    "a an the this that these those which who whom whose what it its he she they them their theirs his her him one "
    "ones is are was were be been being am do does did has have had of to in on at for from by with as and or but "
    "so if than then when where how very also both too just only not no nor any some all more most less other "
    "others another each either every much little many few such same because there here over between can cannot may "
    "might will would person persons people user users answer answers response responses reply replies assistant "
    "option options choice choices choose chooses chose chosen pair pairs like likes liked dislike dislikes disliked "
    "prefer prefers preferred preference preferences want wants value values valued avoid avoids avoided enjoy "
    "enjoys appreciate appreciates seem seems tend tends thing things something nothing none anything unknown "
    "unclear unsure uncertain"
)
"""Words that name no taste by themselves."""
_GLUE = _FRAME - _words(
    "not no nor cannot none nothing less more most much many little few too very only just any some all every over than"
)
"""The same for the comparison of two statements: there, words of degree and denial make a difference."""
_LIKE = _words("likes liked prefers preferred values valued enjoys enjoyed appreciates appreciated")
_LIKE_BARE = _words("like prefer value enjoy appreciate")
"""Verbs in a form that is often another word: they count after `_PLURAL` alone."""
_PLURAL = _words("they users people")
_DISLIKE = _words("dislike dislikes disliked avoids avoided hates hated")
_DENIAL = _words("doesn't don't didn't not never")
_ALSO_DISLIKED = re.compile(
    r"\b(?:likes?|liked)\b[^.;:!?\n]*?\b(?:also|both|and|but) (?:also )?(?:are )?dislike[sd]?\s*(?=[.;!?\n]|$)"
)
_NOT_JUST = re.compile(r"\bnot (?:just|only|merely) (?P<one>[^.;\n]+?),? but (?:also )?(?P<other>[^.,;\n]+)")


def persona_flaw(
    persona: str | None,
    *,
    instruction: str = "",
    start: str = "",
    sources: Iterable[str] = (),
    is_json: bool = False,
) -> PersonaFlaw | None:
    """Why a persona says nothing; None where it says something. Never raises.

    Args:
        persona: as the judge is shown it.
        instruction: what the prompt says in addition to the judgements.
        start: the beginning of the persona that the model was given.
        sources: texts that it must not repeat, each by itself: answers of the user's pairs, personas of demonstrations.
        is_json: whether it was asked for as JSON.

    >>> persona_flaw("This user likes short answers and dislikes lists.")
    >>> persona_flaw("喜歡簡短直接的回答，不喜歡客套話。")
    >>> persona_flaw("This user likes answers that the person liked."), persona_flaw(""), persona_flaw(None)
    ('empty', 'empty', 'empty')
    >>> persona_flaw("Likes short answers. Dislikes short answers.")
    'contradiction'
    >>> persona_flaw('{"likes": ["tea"], "dislikes": ["Tea!"]}', is_json=True)
    'contradiction'
    >>> ask = "Describe what they value and avoid in answers, as far as the choices support it."
    >>> persona_flaw("They value and avoid in answers what the choices support, kindly.", instruction=ask)
    'echo'
    >>> persona_flaw("They like boiled eggs that are left in hot water for seven minutes", sources=[
    ...     "Eggs are best when they are left in hot water for seven minutes."])
    'copy'
    """
    fields = persona_fields(persona or "") if is_json else None
    text = "\n".join(said for name in fields for said in fields[name]) if fields is not None else persona or ""
    own = words_of(text.removeprefix(start) if start else text)
    if len(own) < LEAST_WORDS:
        return "empty"
    if repeated_share(own, words_of(instruction), ECHO_RUN) >= LEAST_SHARE:
        return "echo"
    if _contradicts(fields) if fields is not None else _contradicts_in_words(text):
        return "contradiction"
    if any(repeated_share(own, words_of(source), COPY_RUN) >= LEAST_SHARE for source in sources):
        return "copy"
    return "empty" if _FRAME.issuperset(own) else None


def words_of(text: str) -> list[str]:
    """The words of a text in order, without case and accents.

    >>> words_of("Doesn’t like “Café” – 短い2")
    ["doesn't", 'like', 'cafe', '短', 'い', '2']
    """
    decomposed = unicodedata.normalize("NFKD", text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    plain = "".join(character for character in decomposed if not unicodedata.category(character).startswith("M"))
    return _WORD.findall(unicodedata.normalize("NFC", plain))


def repeated_share(words: Sequence[str], source: Sequence[str], run: int) -> float:
    """Share of `words` that stand in runs of at least `run` words that are in `source`, too; 0.0 for no words.

    >>> repeated_share("a b c d".split(), "x a b c".split(), 3)
    0.75
    >>> repeated_share([], ["a"], 3), repeated_share(["a"], [], 1)
    (0.0, 0.0)
    """
    if not words:
        return 0.0
    if 2 * sum(re.match(f"[{_UNSPACED}]", word) is not None for word in words) > len(words):
        run *= 2
    known = {tuple(source[begin : begin + run]) for begin in range(len(source) - run + 1)}
    repeated: set[int] = set()
    for begin in range(len(words) - run + 1):
        if tuple(words[begin : begin + run]) in known:
            repeated.update(range(begin, begin + run))
    return len(repeated) / len(words)


def _content(words: Iterable[str]) -> tuple[str, ...]:
    """What is compared, in order: "code over prose" is not "prose over code"."""
    return tuple(word for word in words if word not in _GLUE)


def _contradicts(fields: Mapping[str, Sequence[str]]) -> bool:
    """Whether fields of JSON like and dislike the same."""
    liked, disliked = ([_content(words_of(said)) for said in fields.get(name, ())] for name in ("likes", "dislikes"))
    return _same_on_both(liked, disliked)


def _contradicts_in_words(text: str) -> bool:
    """The same of sentences in English."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    if _ALSO_DISLIKED.search(plain):
        return True
    for said in _NOT_JUST.finditer(plain):
        one, other = _content(words_of(said["one"])), _content(words_of(said["other"]))
        if one and one == other:
            return True
    liked: list[tuple[str, ...]] = []
    disliked: list[tuple[str, ...]] = []
    for likes, words in _opinions(plain):
        (liked if likes else disliked).append(_content(words))
    return _same_on_both(liked, disliked)


def _same_on_both(liked: Sequence[tuple[str, ...]], disliked: Sequence[tuple[str, ...]]) -> bool:
    """Whether half of the side that says less stands on the other side, too."""
    sides = [{content for content in side if content} for side in (liked, disliked)]
    fewer = min(len(side) for side in sides)
    return fewer > 0 and len(sides[0] & sides[1]) >= LEAST_SHARE * fewer


def _opinions(text: str) -> Iterator[tuple[bool, list[str]]]:
    """What is liked (True) and disliked (False) in English sentences: the words from each such verb to the next one, or
    to the end of the sentence."""
    for sentence in re.split(r"[.;!?\n]+", text):
        before = ""
        opinion: tuple[bool, list[str]] | None = None
        for word in words_of(sentence):
            denied = before in _DENIAL and word in _LIKE | _LIKE_BARE
            likes = word in _LIKE or (word in _LIKE_BARE and before in _PLURAL)
            if likes or denied or word in _DISLIKE:
                if opinion is not None:
                    # The denial belongs to the verb that it stands before.
                    yield opinion[0], opinion[1][:-1] if denied else opinion[1]
                opinion = (likes and not denied, [])
            elif opinion is not None:
                opinion[1].append(word)
            before = word
        if opinion is not None:
            yield opinion
