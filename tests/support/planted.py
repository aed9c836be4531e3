"""Votes of planted users, made by rules: each answer is long or short and with a list or without; a user's taste decides,
or a coin."""

from __future__ import annotations

import random
from typing import Any, Literal

Taste = Literal["long", "short", "list", "prose", "coin"]
WORDS = "tea bread river stone window morning paper garden letter bridge number colour".split()


def answer(rng: random.Random, *, long: bool, listed: bool) -> str:
    """An answer without any other surface feature."""
    lines = [" ".join(rng.choices(WORDS, k=rng.randint(4, 8))) for _ in range(9 if long else 3)]
    return "\n".join(f"- {line}" for line in lines) if listed else " ".join(lines)


def vote(user: str, number: int, taste: Taste, rng: random.Random) -> dict[str, Any]:
    """One vote. The answers differ in length and in form, each way round in half of the votes."""
    lists, longs = rng.random() < 0.5, rng.random() < 0.5
    answers = [(longs, lists), (not longs, not lists)] if rng.random() < 0.5 else [(longs, not lists), (not longs, lists)]
    wanted = {"long": (0, True), "short": (0, False), "list": (1, True), "prose": (1, False)}
    if taste == "coin":
        rng.shuffle(answers)
    else:
        place, value = wanted[taste]
        answers.sort(key=lambda made: made[place] != value)
    chosen, rejected = (answer(rng, long=long, listed=listed) for long, listed in answers)
    question = [{"role": "user", "content": f"{user} asks about {rng.choice(WORDS)} no. {number}: {rng.random()}"}]
    return {"user_id": user, "context": question, "chosen": chosen, "rejected": rejected, "timestamp": number}


def planted_votes(users: dict[str, Taste], pairs: int = 20, seed: int = 0) -> list[dict[str, Any]]:
    """Votes of all users."""
    return [
        vote(user, number, taste, random.Random(f"{seed} {user} {number}"))
        for user, taste in users.items()
        for number in range(pairs)
    ]
