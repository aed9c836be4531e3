"""Votes of planted users: each answer is long or short, and a list or not; a rule decides by taste, or a coin."""

from __future__ import annotations

import random
from typing import Any, Literal, get_args

from personalrm.core.records import PreferencePair, UserData

Taste = Literal["long", "short", "list", "prose", "coin"]
TASTES: tuple[Taste, ...] = get_args(Taste)
WORDS = ["tea", "bread", "river", "stone", "window", "morning", "paper", "garden", "letter", "bridge", "colour"]


def answer(rng: random.Random, *, long: bool, listed: bool) -> str:
    """An answer without any other surface feature."""
    lines = [" ".join(rng.choices(WORDS, k=rng.randint(4, 8))) for _ in range(9 if long else 3)]
    return "\n".join(f"- {line}" for line in lines) if listed else " ".join(lines)


def vote(user: str, number: int, taste: Taste, rng: random.Random) -> dict[str, Any]:
    """One vote. The answers differ in length and in form, each way round in half of the votes."""
    lists, longs = rng.random() < 0.5, rng.random() < 0.5
    answers = [(longs, lists), (not longs, not lists)]
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


def planted_users(users: dict[str, Taste], pairs: int = 20, seed: int = 0) -> list[UserData]:
    """The same as users: half of the pairs context, 20 % validation, the newest test."""
    found = {user: list[PreferencePair]() for user in users}
    for row in planted_votes(users, pairs, seed):
        number = row["timestamp"]
        split = "context" if number < pairs / 2 else "validation" if number < 0.7 * pairs else "test"
        named = {"pair_id": f"{row['user_id']}-{number}", "order": number, "split": split}
        found[row["user_id"]].append(PreferencePair.model_validate({**row, **named}))
    return [UserData(dataset="d", user_id=user, pairs=tuple(mine)) for user, mine in found.items()]
