"""What a prompt says, whoever worded it: the package's prompts and ours are compared by content, and answered by it.

Every text of the generated users holds tokens of letters and numbers only: `u3q5` the question of pair 5 of user 3,
`u3g5` its chosen and `u3b5` its rejected answer, `u3e5` and `u3a5` an earlier turn of the user and the answer to it.
The scripted model signs its reasoning `r…` and its personas `p…` with a hash of what it was asked, so that a different
reasoning or persona makes a different prompt.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

_PART = re.compile(
    r"\[(?P<role>user|assistant|model)\]: "
    r"|\b(?P<token>u\d+[eaqgb]\d+|r[0-9a-f]{12}|p[0-9a-f]{12})\b"
    # "[[ ## preference ## ]]", "**TRUE USER PREFERENCE**: " and "Preference: "; "The user chose: ".
    r"|(?:(?i:preference)(?: ## \]\]\n|\*\*: |: )|chose: )(?P<label>First|Second)\b"
)


class Shown(NamedTuple):
    """One judgement in a prompt: its question, both answers as they stand, the reasoning that is shown with it, which
    answer is called preferred (First or Second; empty for the pair that is asked about), and the turns before."""

    question: str
    first: str
    second: str = ""
    reasoning: str = ""
    label: str = ""
    earlier: tuple[str, ...] = ()


class Content(NamedTuple):
    """A prompt: `judge` or `persona`, the persona in it, the judgements in order, and the pair to be judged."""

    kind: str
    persona: str
    judgements: tuple[Shown, ...]
    asked: Shown


def _judgements(text: str) -> tuple[Shown, ...]:
    """Turns, first and second answer, and the reasoning and label if any, again and again."""
    found: list[Shown] = []
    role = ""
    for part in _PART.finditer(text):
        token, label = part["token"] or "", part["label"]
        if part["role"]:
            role = part["role"]
        elif re.match(r"u\d+[eaq]", token) and (not found or found[-1].first):
            found.append(Shown("", ""))
        if not found:
            continue
        now = found[-1]
        if re.match(r"u\d+q", token):
            now = now._replace(question=token)
        elif re.match(r"u\d+[ea]", token):
            now = now._replace(earlier=(*now.earlier, f"{role} {token}"))
        elif token.startswith("u"):
            now = now._replace(second=token) if now.first else now._replace(first=token)
        elif token.startswith("r"):
            now = now._replace(reasoning=token)
        elif label:
            # The instruction names both labels after the last judgement.
            now = now._replace(label=now.label or label)
        found[-1] = now
    return tuple(found)


def content_of(messages: Sequence[Mapping[str, Any]]) -> Content:
    """What the messages of one request say."""
    texts = [str(message["content"]) for message in messages]
    if "past_judgements" in texts[0] or "choices that one person made" in texts[-1]:
        return Content("persona", "", _judgements(texts[-1]), Shown("", ""))
    personas = [part["token"] for part in _PART.finditer(texts[0]) if (part["token"] or "").startswith("p")]
    return Content("judge", next(iter(personas), ""), _judgements("\n".join(texts[:-1])), _judgements(texts[-1])[-1])


def is_package(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the package's prompt formatter made them: it names its fields in double brackets."""
    return "[[ ## " in str(messages[0]["content"])


def sign(content: Content) -> str:
    """Twelve hex digits that stand for a content."""
    return hashlib.sha256(repr(content).encode()).hexdigest()[:12]


def is_right(content: Content) -> bool:
    """Whether the scripted judge sees what the user chose: by content, more often with more judgements shown.

    Users differ: an even number is easy to understand, an odd one hard, so that winners, ties and pairs without a trace
    all come up.
    """
    user = int(content.asked[0][1:].split("q")[0])
    ease = (0.75 if user % 2 == 0 else 0.45) + 0.04 * min(len(content.judgements), 4)
    return int(sign(content), 16) / 16**12 < ease


def answer(body: Mapping[str, Any], right: Callable[[Content], bool] = is_right) -> str:
    """The scripted model's answer to a request of the package or of ours; `right` says where it sees the choice."""
    content = content_of(body["messages"])
    package = is_package(body["messages"])
    if content.kind == "persona":
        persona = f"Likes what p{sign(content)} likes."
        if not package:
            return persona
        return f"[[ ## reasoning ## ]]\nSo.\n\n[[ ## synthesized_persona ## ]]\n{persona}\n\n[[ ## completed ## ]]"
    good_is_first = "g" in content.asked[1]
    label = "First" if right(content) == good_is_first else "Second"
    reasoning = f"Because of r{sign(content)}."
    if not package:
        return f"{reasoning}\nPreference: {label}"
    return f"[[ ## reasoning ## ]]\n{reasoning}\n\n[[ ## preference ## ]]\n{label}\n\n[[ ## completed ## ]]"


def generated_user(number: int, n_fit: int, n_test: int) -> dict[str, list[dict[str, Any]]]:
    """Preferences of one user in the form that both sides read, without the coin of presentation.

    Every third conversation has earlier turns.
    """

    def row(place: int) -> dict[str, Any]:
        earlier = [
            {"role": "user", "content": f"Tell me about u{number}e{place}"},
            {"role": "assistant", "content": f"That was u{number}a{place}"},
        ]
        question = {"role": "user", "content": f"Tell me about u{number}q{place}"}
        return {
            "user_id": f"user{number}",
            "pair_id": f"pair{place}",
            "conversation_id": f"conversation{place}",
            "context": [*(earlier if place % 3 == 2 else ()), question],
            "chosen": {"role": "assistant", "content": f"This is u{number}g{place}"},
            "rejected": {"role": "assistant", "content": f"This is u{number}b{place}"},
        }

    return {"fit": [row(i) for i in range(n_fit)], "test": [row(n_fit + i) for i in range(n_test)]}
