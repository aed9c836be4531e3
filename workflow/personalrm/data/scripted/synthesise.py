"""Votes of invented users as files: the project's vote format, their tastes, and what a control may read.

`votes.jsonl` is what methods read; `tastes.json` is for oracles (`planted` in a config), `axes.jsonl` for controls, and
`card.json` says how all three were made, what they hold, and what can be reached at best.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.files import atomic_open, atomic_write_text, sha256_file
from personalrm.data.scripted.settings import ScriptedSettings
from personalrm.data.scripted.tastes import Planted, ScriptedUser, axis_text, facts, sentence, stream
from personalrm.data.scripted.texts import Answer, Draw, Offer, axes, draw_offer, draw_short_offer, some, topics

VERSION = 1
"""Raised whenever the same settings give other files."""
VOTES, TASTES, AXES, CARD = "votes.jsonl", "tastes.json", "axes.jsonl", "card.json"
FIRST_TIME = 1_735_725_600
"""Unix seconds of each user's first vote; one vote per day."""
DAY = 86_400


def synthesise(settings: ScriptedSettings, folder: Path, *, force: bool = False) -> dict[str, Any]:
    """Write users, votes and tastes to `folder`, and return the card.

    Equal settings give equal bytes. Memory does not grow with users and pairs. The card is written last.

    Raises DataError where the folder cannot be made, or holds anything, unless `force` says to replace the files
    (others stay); ConfigError for settings that cannot be met, before any file is written.
    """
    planted = Planted(settings)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is a file; give a folder")
    if not force and folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder}: is not empty; give another folder, or --force to replace the files of this command")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror}); give another folder") from error
    tallies: defaultdict[tuple[str, str], _Tally] = defaultdict(_Tally)
    with ExitStack() as stack:
        votes, tastes, values = (stack.enter_context(atomic_open(folder / name)) for name in (VOTES, TASTES, AXES))
        for number, user in enumerate(planted.users()):
            tally = tallies[user.part, user.kind]
            tally.users += 1
            tastes.write(f"{',' if number else '{'}\n{_line(user.user_id)}: {_line(_taste(user))}".encode())
            for vote in user_votes(planted, user):
                votes.write(f"{_line(vote.row())}\n".encode())
                values.write(f"{_line(vote.values())}\n".encode())
                tally.add(vote, planted)
        tastes.write(b"\n}\n")
    card = _card(planted, tallies) | {"files": {name: sha256_file(folder / name) for name in (VOTES, TASTES, AXES)}}
    atomic_write_text(folder / CARD, json.dumps(card, indent=2) + "\n")
    return card


class ScriptedVote(NamedTuple):
    """A vote, and what decided it.

    `log_odds` are those of the chosen answer by the user's weights, without label noise; `flipped` says that the vote
    was turned round afterwards, so that `log_odds` are of the answer that would have been rejected.
    """

    user: ScriptedUser
    number: int
    offer: Offer
    chosen: Answer
    rejected: Answer
    log_odds: float
    flipped: bool

    @property
    def pair_id(self) -> str:
        """Unique in the data set."""
        return f"{self.user.user_id}-{self.number:03d}"

    def row(self) -> dict[str, object]:
        """The vote in the project's format."""
        return {
            "user_id": self.user.user_id,
            "pair_id": self.pair_id,
            "conversation_id": self.pair_id,
            "timestamp": FIRST_TIME + self.number * DAY,
            "context": [{"role": role, "content": content} for role, content in self.offer.context],
            "chosen": {"role": "assistant", "content": self.chosen.text},
            "rejected": {"role": "assistant", "content": self.rejected.text},
        }

    def values(self) -> dict[str, object]:
        """Both answers' values by axis, and what decided the vote."""
        names = [axis.name for axis in axes()]
        return {
            "pair_id": self.pair_id,
            "user_id": self.user.user_id,
            "topic": self.offer.topic,
            "chosen": dict(zip(names, self.chosen.values, strict=True)),
            "rejected": dict(zip(names, self.rejected.values, strict=True)),
            "log_odds": round(self.log_odds, 6),
            "flipped": self.flipped,
        }


def user_votes(planted: Planted, user: ScriptedUser) -> Iterator[ScriptedVote]:
    """The votes of one user, oldest first; further pairs add votes at the end."""
    settings = planted.settings
    coin = stream(settings.seed, "votes", user.number)
    for number, offer in enumerate(_offers(settings, user)):
        differences = (one - other for one, other in zip(offer.first.values, offer.second.values, strict=True))
        gain = sum(weight * each for weight, each in zip(user.weights, differences, strict=True))
        log_odds = gain / settings.temperature
        first, flipped = coin() < _chance(log_odds), coin() < settings.label_noise
        answers = (offer.first, offer.second) if first != flipped else (offer.second, offer.first)
        yield ScriptedVote(user, number, offer, *answers, log_odds if first != flipped else -log_odds, flipped)


def _offers(settings: ScriptedSettings, user: ScriptedUser) -> Iterator[Offer]:
    """The pairs that the user sees: each topic once before any comes again, or some of the pool."""
    if settings.pool is not None:
        for place in _distinct(settings, user):
            draw = stream(settings.seed, "pool", place)
            yield _offer(settings, int(draw() * topics()), draw)
        return
    draw = stream(settings.seed, "texts", user.number)
    order: list[int] = []
    for _ in range(settings.pairs):
        order = order or some(range(topics()), topics(), draw)
        yield _offer(settings, order.pop(), draw)


def _offer(settings: ScriptedSettings, topic: int, draw: Draw) -> Offer:
    return draw_short_offer(topic, draw, settings.own_axes) if settings.short else draw_offer(topic, draw)


def _distinct(settings: ScriptedSettings, user: ScriptedUser) -> Iterator[int]:
    """Places in the pool, none twice."""
    draw, seen = stream(settings.seed, "choice", user.number), set[int]()
    while len(seen) < settings.pairs:
        place = int(draw() * (settings.pool or 0))
        if place not in seen:
            seen.add(place)
            yield place


def _chance(log_odds: float) -> float:
    """The logistic function."""
    if log_odds < 0:
        return 1 - _chance(-log_odds)
    return 1 / (1 + math.exp(-log_odds))


def _taste(user: ScriptedUser) -> dict[str, object]:
    """A user's entry of `tastes.json`."""
    return {
        "axis": axis_text(user),
        "taste": sentence(user.weights),
        "facts": facts(user),
        "kind": user.kind,
        "part": user.part,
        "type": user.type,
        "weights": _by_axis(user.weights),
        "own": _by_axis(user.own),
    }


def _by_axis(weights: tuple[float, ...]) -> dict[str, float]:
    """Weights that are not 0."""
    return {axis.name: round(weight, 6) for axis, weight in zip(axes(), weights, strict=True) if weight}


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


@dataclass
class _Tally:
    """Sums over the votes of one kind of users in one part."""

    users: int = 0
    pairs: int = 0
    longer: float = 0.0
    population: float = 0.0
    best: float = 0.0
    ceiling: float = 0.0
    flipped: int = 0

    def add(self, vote: ScriptedVote, planted: Planted) -> None:
        """Count one vote."""
        self.pairs += 1
        self.longer += _half(len(vote.chosen.text) - len(vote.rejected.text))
        both = zip(planted.population, vote.chosen.values, vote.rejected.values, strict=True)
        self.population += _half(round(sum(weight * (one - other) for weight, one, other in both), 9))
        self.best += _half(round(vote.log_odds, 9))
        sure, noise = _chance(abs(vote.log_odds)), planted.settings.label_noise
        self.ceiling += sure * (1 - noise) + (1 - sure) * noise
        self.flipped += vote.flipped

    def shares(self) -> dict[str, float | int]:
        """Number of users and pairs, and shares of the pairs."""
        sums = {
            "longer_chosen": self.longer,
            "chosen_by_population": self.population,
            "chosen_by_true_weights": self.best,
            "ceiling": self.ceiling,
            "flipped": self.flipped,
        }
        return {"users": self.users, "pairs": self.pairs} | {
            name: round(value / self.pairs, 4) for name, value in sums.items()
        }


def _half(difference: float) -> float:
    """1 for a positive difference, one half for none."""
    return 0.5 if difference == 0 else float(difference > 0)


def _card(planted: Planted, tallies: Mapping[tuple[str, str], _Tally]) -> dict[str, Any]:
    settings = planted.settings
    total = _Tally()
    for tally in tallies.values():
        for name, value in vars(tally).items():
            setattr(total, name, getattr(total, name) + value)
    return {
        "made_by": "personalrm synthesise --scripted",
        "version": VERSION,
        "options": settings.as_options(),
        "licence": "MIT",
        "config": {
            "path": VOTES,
            "planted": TASTES,
            "user_split": {"fractions": list(settings.user_split), "min_users": 1},
        },
        "axes": [
            {"name": axis.name, "group": axis.group, "named": axis.named}
            | {"plus": axis.plus.likes, "minus": axis.minus.likes}
            for axis in axes()
        ],
        "population": _by_axis(planted.population),
        "measured": {"all": total.shares()}
        | {f"{part}, {kind}": tally.shares() for (part, kind), tally in sorted(tallies.items())},
    }


def summary(card: Mapping[str, Any], folder: Path) -> str:
    """The card as a table, and the entry of a config that reads the files."""
    from tabulate import tabulate

    measured: Mapping[str, Mapping[str, float]] = card["measured"]
    rows = [{"part, kind": name, **shares} for name, shares in measured.items()]
    table = tabulate(rows, headers="keys", floatfmt=".3f")
    entry = {**card["config"], "path": str(folder / VOTES), "planted": str(folder / TASTES)}
    return f"{table}\n\ndatasets:\n  scripted: {json.dumps(entry)}\n"
