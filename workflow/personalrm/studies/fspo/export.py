"""Export of a domain's labels as votes in the project's format, with the planted tastes and a card.

The files have the names and forms of those of the scripted generator (`data/scripted/synthesise.py`): `votes.jsonl` is
what methods read, `tastes.json` is for oracles, and `card.json` says how both were made.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from personalrm.core.errors import DataError
from personalrm.core.files import atomic_write_lines, atomic_write_text, sha256_file, stable_hash
from personalrm.core.records import UserPart, read_all
from personalrm.core.synthetic import PARTS, SyntheticPair, SyntheticPart, SyntheticUser, UserLabels
from personalrm.data.scripted.synthesise import CARD, DAY, FIRST_TIME, TASTES, VOTES
from personalrm.personas.synthetic.describe import decided_labels
from personalrm.studies.config_load import parse_config
from personalrm.studies.fspo.config import Config
from personalrm.studies.fspo.plan import Plan
from personalrm.studies.fspo.stages.labels import DESCRIBE, LABEL
from personalrm.studies.fspo.stages.texts import PAIR
from personalrm.studies.publish import MANIFEST
from personalrm.studies.study_config import of_study

USER_SPLIT: Mapping[SyntheticPart, UserPart] = {
    "train": "train",
    "validation": "validation",
    "held_out": "test",
    "interpolated": "test",
}
"""The part of each user in the user split that the votes name."""


def export_votes(run: Path, domain: str, folder: Path, *, force: bool = False) -> dict[str, Any]:
    """Write the kept labels of a domain of the finished run in folder `run` as votes, and return the card.

    Equal runs give equal bytes. Each user's votes stand in a seeded order, which their times follow. Raises DataError
    where the run is not finished, is another study's, or has no such domain, and for a folder that cannot be made or
    is not empty, unless `force`.
    """
    manifest, config = _finished(run)
    if domain not in config.datasets:
        raise DataError(f"{run}: has no domain {domain!r}; there are {', '.join(config.datasets)}")
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not force)):
        raise DataError(f"{folder}: is not an empty folder; give another one, or --force to replace its files")
    whole = run.resolve()
    plan = Plan(config.model_copy(update={"results": whole.parent, "run": whole.name}))
    described, paired, labelled = (
        [Path(path) for path in plan.paths(name, dataset=domain)] for name in (DESCRIBE.name, PAIR.name, LABEL.name)
    )
    if missing := [str(path) for path in (*described, *paired, *labelled) if not path.is_file()]:
        raise DataError(f"{run}: no {', '.join(missing)}; run the workflow first")
    people = sorted(read_all(described, SyntheticUser), key=lambda user: user.user_id)
    pairs = {pair.pair_id: pair for pair in read_all(paired, SyntheticPair)}
    labels = {row.user_id: row for row in read_all(labelled, UserLabels)}
    known = {label.pair_id for row in labels.values() for label in row.labels}
    if labels.keys() != {user.user_id for user in people} or not known <= pairs.keys():
        raise DataError(f"{run}: the labels of {domain} are not of its users and pairs; run the workflow again")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror}); give another folder") from error
    rows = [row for user in people for row in _votes(user, labels[user.user_id], pairs, config.seed)]
    atomic_write_lines(folder / VOTES, (json.dumps(row, ensure_ascii=False) for row in rows))
    tastes = {user.user_id: _taste(user) for user in people}
    atomic_write_text(folder / TASTES, json.dumps(tastes, indent=1, ensure_ascii=False) + "\n")
    card = _card(manifest, config, domain, people, rows) | {
        "files": {name: sha256_file(folder / name) for name in (VOTES, TASTES)}
    }
    atomic_write_text(folder / CARD, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return card


def _finished(run: Path) -> tuple[dict[str, Any], Config]:
    """The manifest and the config of a finished run."""
    try:
        found = json.loads((run / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{run}: no finished run of the study fspo ({MANIFEST}: {error}); run the workflow") from None
    config = found.get("config") if isinstance(found, dict) else None
    if not isinstance(config, dict) or config.get("study") != "fspo":
        raise DataError(f"{run}: no run of the study fspo ({MANIFEST} is of something else); give another folder")
    return found, of_study(parse_config(config), Config)


def _votes(
    user: SyntheticUser, labels: UserLabels, pairs: Mapping[str, SyntheticPair], seed: int
) -> Iterator[dict[str, object]]:
    decided = decided_labels(labels.labels)
    order = sorted(decided, key=lambda pair_id: stable_hash("time", str(seed), user.key, pair_id))
    for number, pair_id in enumerate(order):
        pair = pairs[pair_id]
        answers = (pair.first, pair.second) if decided[pair_id] == "first" else (pair.second, pair.first)
        name = f"{user.user_id}-{pair_id}"
        yield {
            "user_id": user.user_id,
            "pair_id": name,
            "conversation_id": name,
            "timestamp": FIRST_TIME + number * DAY,
            "context": [{"role": "user", "content": pair.question}],
            "chosen": {"role": "assistant", "content": answers[0]},
            "rejected": {"role": "assistant", "content": answers[1]},
            "user_split": USER_SPLIT[user.part],
        }


def _taste(user: SyntheticUser) -> dict[str, object]:
    return {"taste": user.description, "facts": [user.seed, *user.facts], "part": user.part, "traits": user.traits}


def _card(
    manifest: Mapping[str, Any],
    config: Config,
    domain: str,
    people: list[SyntheticUser],
    rows: list[dict[str, object]],
) -> dict[str, Any]:
    users, facts = Counter(user.part for user in people), manifest["data"][domain]
    voters = Counter(row["user_id"] for row in rows)
    votes = Counter({user.part: 0 for user in people})
    for user in people:
        votes[user.part] += voters[user.user_id]
    asked = sorted({config.asker, *config.answer.models, config.label.model})
    return {
        "made_by": "personalrm synthesise --run",
        "source": "synthetic: questions, answers and labels by language models (FSPO, Singh et al., 2025)",
        "licence": config.datasets[domain].licence or "not stated in the config",
        "config": {"path": VOTES, "planted": TASTES},
        "run": {name: manifest[name] for name in ("run", "config_sha256", "prompts")},
        "models": {name: manifest["models"][name] for name in asked},
        "measured": {part: {"users": users[part], "votes": votes[part]} for part in PARTS if users[part]},
        "users_without_votes": sorted(user.user_id for user in people if not voters[user.user_id]),
        "labels": {"all": facts["labels"], "kept": facts["labels_kept"]},
    }


def summary(card: Mapping[str, Any], folder: Path) -> str:
    """The card as lines, and the entry of a config that reads the files."""
    parts = [f"{part}: {row['users']} users, {row['votes']} votes" for part, row in card["measured"].items()]
    kept = f"labels kept: {card['labels']['kept']} of {card['labels']['all']}"
    entry = {**card["config"], "path": str(folder / VOTES), "planted": str(folder / TASTES)}
    return "\n".join([*parts, kept, "", "datasets:", f"  synthetic: {json.dumps(entry)}"]) + "\n"
