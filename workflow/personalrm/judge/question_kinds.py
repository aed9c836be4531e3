"""Kinds of question that a user asks, named by a model from the user's prompts alone. The method is ours.

No answer and no choice is shown, so that the prompts of test pairs may be sorted with the others: their labels are in
nothing that the model reads, and a verdict needs the kind of its pair.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from personalrm.core.errors import ModelCallError
from personalrm.core.files import canonical_json
from personalrm.core.records import PreferencePair, QuestionKinds
from personalrm.judge.judge import failure_outcome, is_cut, is_refused
from personalrm.judge.own_words import own_words
from personalrm.judge.parsing import json_objects
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.llm.types import LanguageModel, Request

MOST = 4
"""Kinds of one user."""
LONGEST_PROMPT, LONGEST_NAME = 300, 60
"""Characters of a prompt that are shown, and of the name of a kind; a longer one is prose."""
MAX_TOKENS = 512
CUT = " […]"
_LINE = re.compile(
    r"^[^\w\n]*(?:\d+[.)][^\w\n]+)?(?P<name>[^\W\d][^:\n]{0,79}|\d[^:\n]{0,79}):[\s*]*"
    r"(?P<numbers>\[?\d+(?:(?:\s*,\s*|\s+and\s+|\s+)\d+)*\]?)\W*$",
    re.M,
)
"""A line that may have a number of its own. No two parts of the pattern match the same characters, so that an answer
without end is read in linear time."""


def kinds_prompt() -> Prompt:
    """The prompt file."""
    return load_prompt("question_kinds")


def prompts_of(pairs: Iterable[PreferencePair]) -> dict[str, list[str]]:
    """The distinct prompts of a user, oldest first, with the ids of their pairs: the last words of the user."""
    found: dict[str, list[str]] = {}
    for pair in sorted(pairs, key=lambda pair: (pair.order, pair.pair_id)):
        said = next((turn.content for turn in reversed(pair.context) if turn.role == "user"), "")
        if text := " ".join(said.split()):
            found.setdefault(text[:LONGEST_PROMPT] + (CUT if len(text) > LONGEST_PROMPT else ""), []).append(
                pair.pair_id
            )
    return found


async def name_kinds(
    model: LanguageModel, pairs: Sequence[PreferencePair], *, json_schema: bool = True
) -> QuestionKinds | None:
    """Kinds of the pairs of one user by one call, or why there are none; None for a user with fewer than two prompts.

    A prompt that is in no kind, or in two, has none. Permanent errors are raised.
    """
    prompts = prompts_of(pairs)
    if len(prompts) < 2:
        return None
    schema = kinds_schema() if json_schema else None
    messages = kinds_prompt().messages(prompts=list(prompts), most=MOST)
    try:
        response = await model.complete(Request(messages, max_tokens=MAX_TOKENS, json_schema=schema))
    except ModelCallError as error:
        return QuestionKinds(reason=failure_outcome(error))
    if is_refused(response):
        return QuestionKinds(reason="refused", calls=(response.key,))
    named = parse_kinds(response.text, len(prompts), cut=is_cut(response))
    names = {name: named[number] for number, ids in enumerate(prompts.values(), 1) if number in named for name in ids}
    return QuestionKinds(names=names, reason=None if names else "unparsed", calls=(response.key,))


async def kind_of(
    model: LanguageModel,
    pair: PreferencePair,
    others: Sequence[PreferencePair],
    names: Mapping[str, str],
    *,
    json_schema: bool = True,
) -> str | None:
    """The kind of a user's pair that came after kinds were named: that of most of the user's `others` which the model
    sorts into one kind with it, of equally many the first by name; None where it is with none of them.

    `names` are the kinds of the others by pair id. One call, as `name_kinds` makes it: for a prompt that one of the
    others has, too, it is the call that named them. Permanent errors are raised.
    """
    order = 1 + max((one.order for one in others), default=0)
    # Under an id that none of the others has: the pair's own may be one of theirs.
    last = pair.model_copy(update={"pair_id": "", "order": order})
    found = await name_kinds(model, [*others, last], json_schema=json_schema)
    sorted_to = found.names if found else {}
    with_it = [one for one, kind in sorted_to.items() if kind == sorted_to.get(last.pair_id)]
    counts = Counter(names[one] for one in with_it if one in names)
    return max(sorted(counts), key=counts.__getitem__, default=None)


def kinds_from_source(pairs: Sequence[PreferencePair]) -> QuestionKinds:
    """The types of conversation that the source names, at most the `MOST` that this user has most of."""
    found = {pair.pair_id: pair.conversation_type for pair in pairs if pair.conversation_type}
    counts = Counter(found.values())
    kept = sorted(counts, key=lambda name: (-counts[name], name))[:MOST]
    return QuestionKinds(names={name: kind for name, kind in found.items() if kind in kept})


def kinds_schema() -> str:
    """JSON schema of the answer: a list of kinds, each with its name and the numbers of its questions.

    OpenAI's strict mode has no objects whose keys are not known before; `parse_kinds` reads both forms.
    """
    fields = {"name": {"type": "string"}, "questions": {"type": "array", "items": {"type": "integer"}}}
    kinds = {"type": "array", "items": _closed(fields)}
    return canonical_json(_closed({"kinds": kinds}))


def _closed(fields: Mapping[str, object]) -> dict[str, object]:
    """Schema of an object with these fields, all required, and no others."""
    return {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}


def parse_kinds(text: str, count: int, *, cut: bool = False) -> dict[int, str]:
    r"""The kind of each question by its number, from 1 to `count`, of at most `MOST` kinds, those with most questions.

    Read is the last JSON object with lists of numbers by name, or in the form of `kinds_schema`, or else lines such as
    `cooking: 1, 4`, in a text that was not `cut` at the token limit. A question in two kinds has none. Nothing counts
    in thinking and in quotations. Never raises.

    >>> parse_kinds('```json\n{"Cooking": [1, 3], "work": [2, "4", 9]}\n```', 4)
    {1: 'cooking', 3: 'cooking', 2: 'work', 4: 'work'}
    >>> parse_kinds('{"kinds": [{"name": "Cooking", "questions": [1, 3]}, {"name": "work", "questions": [2]}]}', 3)
    {1: 'cooking', 3: 'cooking', 2: 'work'}
    >>> parse_kinds("- **Cooking**: 1, 3\n- Work: 2 and 3", 3), parse_kinds("I cannot say: all.", 3)
    ({1: 'cooking', 2: 'work'}, {})
    >>> parse_kinds('{"a": [1]', 2, cut=True), parse_kinds("", 2)
    ({}, {})
    """
    words = own_words(text)
    if words is None or cut:
        return {}
    listed: Mapping[str, Sequence[int]] = {}
    with contextlib.suppress(RecursionError):
        for found in json_objects(words.unquoted):
            listed = _listed(_members(found.value)) or listed
    if not listed:
        lines = (match.groupdict() for match in _LINE.finditer(words.unquoted))
        listed = _listed((line["name"], re.findall(r"\d+", line["numbers"])) for line in lines)
    valid = {name: sorted({one for one in numbers if 1 <= one <= count}) for name, numbers in listed.items()}
    kept = sorted((name for name in valid if valid[name]), key=lambda name: (-len(valid[name]), name))[:MOST]
    times = Counter(number for name in kept for number in valid[name])
    return {number: name for name in kept for number in valid[name] if times[number] == 1}


def _members(value: Any) -> Iterable[tuple[str, Any]]:  # noqa: ANN401 - JSON
    """Names and lists of an object: its members, those of its one member, or a list of objects with both."""
    inner = next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else None
    if isinstance(inner, dict):
        value = inner
    if isinstance(inner, list) and all(isinstance(one, dict) for one in inner):
        for one in inner:
            name = next((part for part in one.values() if isinstance(part, str)), "")
            yield name, next((part for part in one.values() if isinstance(part, list)), ())
        return
    yield from value.items() if isinstance(value, dict) else ()


def _listed(members: Iterable[tuple[str, Any]]) -> dict[str, list[int]]:
    """Numbers of questions by name, in small letters; what is no list of numbers is left out."""
    found: dict[str, list[int]] = {}
    for name, numbers in members:
        said = " ".join(str(name).split()).strip(" .*_\"'").lower()
        if said and len(said) <= LONGEST_NAME and isinstance(numbers, list):
            found.setdefault(said, []).extend(int(one) for one in numbers if re.fullmatch(r"\d{1,6}", str(one)))
    return found
