"""An invented raw release in PRISM's format, of any size: for benchmarks."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

CONVERSATIONS = 8_011
UTTERANCES = 68_371
USERS = 1_396
"""Counts of the real release: users are those with conversations."""

_ANSWER_CHARS = (565, 388)
_PROMPT_CHARS = (70, 62)
"""Mean and standard deviation of text lengths, by the release's codebook."""

_TYPES = ("unguided", "values guided", "controversy guided")


class RawPrism(NamedTuple):
    """What was written."""

    users: int
    conversations: int
    utterances: int


def generate_raw_prism(folder: Path, conversations: int = CONVERSATIONS, seed: int = 0) -> RawPrism:
    """Write `conversations.jsonl` and `survey.jsonl` into `folder`.

    Users, conversations, answers, turns and lengths of texts stand in the proportions of the real release: 8,011
    conversations have 68,371 answers. Same arguments, same bytes.
    """
    rng = random.Random(f"raw prism {seed}")
    folder.mkdir(parents=True, exist_ok=True)
    users = max(1, conversations * USERS // CONVERSATIONS)
    text = _prose(rng)
    total = 0
    with (folder / "conversations.jsonl").open("w", encoding="utf-8") as whole:
        for number, answers in enumerate(_answers_a_turn(rng, conversations)):
            row = _conversation(rng, text, number, number % users, answers)
            whole.write(json.dumps(row, ensure_ascii=False) + "\n")
            total += sum(answers)
    with (folder / "survey.jsonl").open("w", encoding="utf-8") as file:
        for user in range(users):
            file.write(json.dumps(_survey_row(rng, text, user), ensure_ascii=False) + "\n")
    return RawPrism(users, conversations, total)


def _answers_a_turn(rng: random.Random, conversations: int) -> list[list[int]]:
    """Numbers of answers by turn: four, then two a turn, so that the total is in proportion."""
    plan = [[4, 2] for _ in range(conversations)]
    left = conversations * UTTERANCES // CONVERSATIONS - 6 * conversations
    while left >= 2:
        rng.choice(plan).append(2)
        left -= 2
    if left:
        plan[0][1] += 1
    return plan


def _prose(rng: random.Random) -> str:
    """A million characters of invented words, some not ASCII, for texts to be cut from."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(3_000)]
    words += ["naïve", "東京", "🙂", "\n\n", "“so”", "-"]
    return " ".join(rng.choices(words, k=150_000))


def _cut(rng: random.Random, text: str, size: tuple[int, int]) -> str:
    length = max(3, round(rng.gauss(*size)))
    start = rng.randrange(len(text) - length)
    return text[start : start + length].strip() or "yes"


def _conversation(rng: random.Random, text: str, number: int, user: int, answers: list[int]) -> dict[str, object]:
    history: list[dict[str, object]] = []
    for turn, count in enumerate(answers):
        history.append({"turn": turn, "role": "user", "content": _cut(rng, text, _PROMPT_CHARS)})
        scores = [rng.randint(1, 100) for _ in range(count)]
        best = scores.index(max(scores))
        for within, score in enumerate(scores):
            history.append(
                {
                    "turn": turn,
                    "role": "model",
                    "content": _cut(rng, text, _ANSWER_CHARS),
                    "model_name": f"model-{rng.randrange(21)}",
                    "model_provider": "invented",
                    "score": score,
                    "if_chosen": within == best,
                    "within_turn_id": within,
                }
            )
    moment = datetime(2023, 11, 22, tzinfo=UTC) + timedelta(seconds=rng.randrange(2_592_000))
    return {
        "conversation_id": f"c{number}",
        "user_id": f"user{user}",
        "included_in_balanced_subset": rng.random() < 0.8,
        "conversation_type": rng.choice(_TYPES),
        "opening_prompt": history[0]["content"],
        "conversation_turns": len(answers),
        "conversation_history": history,
        "performance_attributes": {"values": rng.randint(1, 100), "fluency": None},
        "choice_attributes": {"values": rng.randint(1, 100), "fluency": None},
        "open_feedback": _cut(rng, text, (160, 106)),
        "generated_datetime": moment.strftime("%Y-%m-%d %H:%M:%S"),
        "timing_duration_s": 500.5,
        "timing_duration_mins": 8.34,
    }


def _survey_row(rng: random.Random, text: str, user: int) -> dict[str, object]:
    return {
        "user_id": f"user{user}",
        "survey_only": False,
        "consent": "yes",
        "lm_familiarity": rng.choice(["Very familiar", "Somewhat familiar"]),
        "self_description": _cut(rng, text, (240, 130)),
        "system_string": _cut(rng, text, (260, 130)),
        "age": rng.choice(["18-24 years old", "25-34 years old"]),
        "religion": {"self_described": "none", "categorised": "Non-religious", "simplified": "No Affiliation"},
        "stated_prefs": {name: rng.randint(0, 100) for name in ("values", "creativity", "fluency", "safety")},
    }
