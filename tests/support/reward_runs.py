"""Runs of reward models whose stages are done in process: sixteen users with a planted taste, in two shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from personalrm.core.records import JudgedUser, PreferencePair, UserData, UserPart, read_records, write_records
from personalrm.llm.open import RuntimeSettings
from personalrm.methods.reward.hyper import rests_on, shared_hyper
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.runner import Job
from support.models import pair

PARTS: tuple[UserPart, ...] = ("train", "validation", "test", "test")
SPLITS = ("context",) * 4 + ("validation",) * 2 + ("test",) * 3
BT: dict[str, Any] = {"published": "trl", "tuning": "lora", "lr": 0.02, "epochs": 1, "rank": 2}
"""Nine updates or so; rows of a killed run are compared with those of a whole one."""
FEW: dict[str, Any] = {
    **{"shots": 2, "windows": 4, "tuning": "lora", "rank": 2, "alpha": 4, "lr": 0.02, "optimiser": "adamw"},
    **{"warmup": 0, "batch": 4, "at_once": 4},
}
"""Four updates, of four windows each."""
LORE = {"k": 2, "k_grid": [1, 2], "steps": 12, "adapt_steps": 5, "evaluate_every": 4}


def people(count: int = 16) -> list[UserData]:
    """Users in all parts of the user split; odd ones like even words, the others odd ones."""
    found = []
    for number in range(count):
        pairs = []
        for place, split in enumerate(SPLITS):
            words = [f"w{(7 * number + 5 * place + n) % 30 * 2}" for n in range(3)]
            sides = " ".join(words), " ".join(f"w{int(word[1:]) + 1}" for word in words)
            chosen, rejected = sides if number % 2 else sides[::-1]
            made = pair(f"p{number} {place}", chosen=chosen, rejected=rejected, split=split)  # type: ignore[arg-type]
            pairs.append(made.model_copy(update={"user_id": f"u{number}", "order": place}))
        part = PARTS[number // 2 % 4]
        found.append(UserData(dataset="d", user_id=f"u{number}", user_split=part, pairs=tuple(pairs)))
    return found


class Made:
    """A run of one data set in two shards, whose stages are done in process."""

    def __init__(
        self,
        folder: Path,
        base: str,
        users: list[UserData],
        more: dict[str, Any] | None = None,
        **entry: Any,  # noqa: ANN401
    ) -> None:
        entry = {"base": base, "dtype": "float32", "threads": 1, "seeds": [0, 1], **entry}
        methods = entry.get("methods", ["lore", "user_map"])
        # What validation users choose from is refused where there are none.
        unread = {"k_grid"} if entry.get("regime") == "all-but-test" else set()
        lore = {name: value for name, value in LORE.items() if name not in unread}
        hyper = {"lore": lore, "user_map": {"penalties": [1.0]}, "bt": BT, "pref_ft": FEW, "fspo": FEW}
        asked = {shared_hyper(name) for method in methods for name in rests_on(method)}
        entry.setdefault("hyper", {name: values for name, values in hyper.items() if name in asked})
        config = parse_config(
            {
                **{"run": "r", "results": str(folder), "seed": 3, "methods": ["longer"], "k": [2, "all"], "draws": 2},
                "datasets": {"d": {"path": "votes.jsonl", "shards": 2}},
                "reward_models": {"tiny": entry},
                **(more or {}),
            }
        )
        self.plan, self.job = Plan(config), Job(config, RuntimeSettings(folder / "servers", 1))
        for number, path in enumerate(self.plan.shard_paths("d")):
            write_records(Path(path), users[number::2])

    def do(self, name: str, **only: str) -> list[Path]:
        stage = self.plan.stages[name]
        for job in self.plan.jobs(name, **only):
            out = Path(self.plan.path(name, **job._asdict()))
            stage.work(**self.plan.arguments(name, job, job=self.job, out=out))
        return [Path(path) for path in self.plan.paths(name, **only)]

    def verdicts(self) -> list[Path]:
        for name in ("features", "reward_model"):
            self.do(name)
        return self.do("score")

    def rows(self) -> list[JudgedUser]:
        return [row for path in self.verdicts() for row in read_records(path, JudgedUser)]


def exchanged(one: PreferencePair) -> PreferencePair:
    return one.model_copy(update={"chosen": one.rejected, "rejected": one.chosen})


def flipped(users: list[UserData], wanted: Callable[[UserData, PreferencePair], bool]) -> list[UserData]:
    """The users with the labels of some pairs exchanged."""
    return [
        user.model_copy(update={"pairs": tuple(exchanged(p) if wanted(user, p) else p for p in user.pairs)})
        for user in users
    ]


def odds(rows: list[JudgedUser]) -> dict[tuple[str, str, str, int, str], float]:
    return {
        (row.user_id, row.method, str(row.k), row.draw, one.pair_id): float(one.log_odds or 0)
        for row in rows
        for one in row.verdicts
    }
