"""A scripted model for synthetic users: answers say what they offer, and a user prefers what the description wants.

Answers hold `offers <thing>`; descriptions `wants <thing>`. The judge picks the answer that offers what is wanted;
where neither or both do, it says that the description does not decide. A fact says `wants` what the preferred answer
offers. Views are the things.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

from support.scripted_server import Answer

THINGS = ("red", "blue", "green")
_ANSWERS = re.compile(
    r"Answer (?:First|A):\n(.*?)\n\nAnswer (?:Second|B):\n(.*?)\n\nWhich answer does the person prefer", re.DOTALL
)
_RIVALS = re.compile(r"Answer (?:First|A):\n(.*?)\n\nAnswer (?:Second|B):\n(.*?)\n\nThe person: ", re.DOTALL)
_OFFER, _WANT = re.compile(r"offers (\w+)"), re.compile(r"wants (\w+)")
SURE, UNSURE = ((-0.05, -3.05), (-0.7, -0.7))


def world(things: Sequence[str] = THINGS) -> Callable[[dict[str, Any]], Answer | str]:
    """The scripted model of a world with these things."""

    def answer(body: dict[str, Any]) -> Answer | str:
        system = body["messages"][0]["content"]
        asked = next(message["content"] for message in reversed(body["messages"]) if message["role"] == "user")
        if system.startswith("You invent questions"):
            trait = re.search(r"this is true: (.*)", asked)
            count = int(re.search(r"Write (\d+)", asked)[1])  # type: ignore[index]
            draw = random.Random(f"{body['seed']} {trait[1] if trait else ''}")
            # The last one repeats the first but for the case.
            lines = [f"What of {''.join(draw.choices('abcdefghijklmnopqrstuvwxyz', k=30))}?" for _ in range(count)]
            return "\n".join(f"{n + 1}. {line}" for n, line in enumerate([*lines, lines[0].upper()]))
        if system.startswith("You list different views"):
            return "\n".join(f"- It offers {thing} to all." for thing in things)
        if system.startswith("You complete the description"):
            preferred = asked.partition("Preferred answer:\n")[2].partition("\n\nOther answer")[0]
            begun = "" if body["messages"][-1]["role"] == "assistant" else "The person"
            return f"{begun} wants {_OFFER.search(preferred)[1]}.\nMore text."  # type: ignore[index]
        if found := _ANSWERS.search(asked):
            return _judged(body, system, found[1], found[2])
        if found := _RIVALS.search(asked):
            return _judged(body, asked.partition("The person: ")[2], found[1], found[2])
        if body.get("logprobs"):
            # The probe of labels.
            return Answer(" A", logprobs=[[(" A", SURE[0]), (" B", SURE[1])]])
        # What a view, a description, or the latest of earlier choices say.
        kept = re.search(r"(?:throughout|About the person): (.*)", system)
        kept = ([None, *re.finditer(r"person preferred: (.*)", system)] if kept is None else [kept])[-1]
        thing = re.search(r"(?:offers|wants) (\w+)", kept[1]) if kept else None
        shade = thing[1] if thing else "nothing"
        return f"In answer to this: {asked.split()[-1]} It offers {shade}." + f" So {shade}." * 6

    return answer


def _judged(body: dict[str, Any], system: str, first: str, second: str) -> Answer:
    wanted = set(_WANT.findall(system))
    likes = [set(_OFFER.findall(text)) & wanted != set() for text in (first, second)]
    decided = likes[0] != likes[1]
    if body.get("logprobs"):
        lead, rest = SURE if decided else UNSURE
        a, b = (lead, rest) if likes[0] or not decided else (rest, lead)
        return Answer(" A", logprobs=[[(" A", a), (" B", b)]])
    if not decided:
        return Answer("Preference: Tie")
    return Answer(f"Preference: {'First' if likes[0] else 'Second'}")
