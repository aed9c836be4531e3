"""Stage `fit`: what one method learns from other users of a data set, for all methods that read it."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.files import stable_hash
from personalrm.core.records import (
    CallRef,
    Fitted,
    NoResult,
    PairScores,
    UserData,
    UserScores,
    read_all,
    read_records,
    write_records,
)
from personalrm.methods.base import Training
from personalrm.methods.registry import METHODS, parse_method
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.study_config import NO_MODEL
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.runner import Job, read_users

MOST_GROUPS = 20
"""Without a user split each user is judged with what was learned from users of other groups; with no more users than
this, each group is one user."""


CROSSED_GROUPS = 5
"""Groups of train users, each of which is measured with what the others teach, for reward models that learn from it."""
MEASURED = "attributes"
"""The method whose artefact measured tastes rest on, whether or not the run has that method."""


def artefacts_read(specs: Iterable[str]) -> list[str]:
    """Names of the methods whose artefacts these entries of `methods` read, each once."""
    return list(dict.fromkeys(name for spec in specs if (name := parse_method(spec).method.reads)))


def training_sets(
    users: Sequence[UserData], *, crossed: bool = False
) -> Iterator[tuple[tuple[str, ...] | None, list[UserData]]]:
    """Users that may be judged (`Fitted.left_out`), and users to learn from, with the pairs that may be learned from.

    With a user split these are the train users with all their pairs; if `crossed`, then also for each group of train
    users those of other groups. Without one, for each group of users all users of other groups without their test
    pairs.
    """
    people = sorted(users, key=lambda user: stable_hash("fit", user.dataset, user.user_id))
    split = any(user.user_split for user in people)
    if split:
        people = [user for user in people if user.user_split == "train"]
        yield None, [_learned(user) for user in people]
        if not crossed:
            return
    groups = min(CROSSED_GROUPS if split else MOST_GROUPS, len(people))
    for number in range(groups):
        others = [_learned(user, test=split) for place, user in enumerate(people) if place % groups != number]
        yield tuple(sorted(user.user_id for user in people[number::groups])), others


def _learned(user: UserData, *, test: bool = True) -> UserData:
    """The user with the pairs that may be learned from: those of a part, none of them a tie."""
    kept = (pair for pair in user.pairs if pair.split and not pair.tie and (test or pair.split != "test"))
    return user.model_copy(update={"pairs": tuple(kept)})


def fit_stage(
    job: Job,
    *,
    users: Sequence[Path],
    out: Path,
    dataset: str,
    method: str,
    model: str = NO_MODEL,
    scores: Sequence[Path] = (),
) -> None:
    """Write one `Fitted` for each training set of a data set. `scores` are those of its pairs by `model`."""
    fit, people = METHODS[method].fit, [user for path in users for user in read_users(path)]
    scored = {row.user_id: by_pair(row.pairs) for row in read_all(scores, UserScores)}
    if fit is None:
        raise ValueError(f"method {method}: has no fit, though a method reads its artefact")
    rows = [
        Fitted(
            dataset=dataset,
            method=method,
            model=None if model == NO_MODEL else model,
            left_out=left_out,
            n_users=sum(bool(user.pairs) for user in others),
            n_pairs=sum(len(user.pairs) for user in others),
            artefact=fit(Training(others, job.config.seed, scored)),
        )
        for left_out, others in training_sets(people, crossed=_is_crossed(job.config, method))
    ]
    write_records(out, rows)


def _is_crossed(config: Config, method: str) -> bool:
    return method == MEASURED and config.measures_train_users


def by_pair(scores: Iterable[PairScores]) -> dict[str, list[PairScores]]:
    """Scores by pair id: one entry for each order."""
    found: dict[str, list[PairScores]] = {}
    for one in scores:
        found.setdefault(one.pair_id, []).append(one)
    return found


def scores_in(row: UserScores) -> dict[str, Any]:
    """What a method may know of the scores of a user, as fields of `Known`."""
    return {"scores": by_pair(row.pairs), "kinds": row.kinds.names if row.kinds else {}}


def scores_calls(row: UserScores, pair_ids: Container[str]) -> list[CallRef]:
    """The calls behind the scores of some pairs, and behind the kinds of question."""
    keys = {key for one in row.pairs if one.pair_id in pair_ids for key in one.calls}
    keys.update(row.kinds.calls if row.kinds else ())
    return [ref for ref in row.calls if ref.key in keys]


def read_fitted(paths: Iterable[Path]) -> dict[str, list[Fitted]]:
    """Rows of artefact files, by method."""
    found: dict[str, list[Fitted]] = {}
    for row in (row for path in paths for row in read_records(path, Fitted)):
        found.setdefault(row.method, []).append(row)
    return found


def fitted_for(rows: Iterable[Fitted], user: UserData) -> Fitted | NoResult:
    """The row that was learned without the user, or why there is none."""
    for row in rows:
        if row.left_out is None and user.user_split == "train":
            return NoResult("empty", f"{row.method} was fitted on the train users")
        if row.left_out is None or user.user_id in row.left_out:
            return row
    raise ValueError(f"user {user.user_id}: not among the users of the artefact; remove its file and run again")


def fitted_paths(plan: Plan, dataset: str, specs: Iterable[str], model: str = "") -> list[str]:
    """Artefact files that these entries of `methods` read; those made from scores are made from those of `model`."""
    return [
        plan.path("fit", dataset=dataset, method=name, model=model if METHODS[name].needs == "scores" else NO_MODEL)
        for name in artefacts_read(specs)
    ]


def _fits(plan: Plan) -> Iterator[Wildcards]:
    methods = plan.config.methods
    trained = [name for entry in plan.config.reward_models.values() for name in entry.methods]
    measured = [MEASURED] if any(parse_method(spec).method.shows_taste for spec in (*methods, *trained)) else []
    for dataset, name in itertools.product(plan.config.judged, dict.fromkeys([*artefacts_read(methods), *measured])):
        models = plan.config.scoring_models if METHODS[name].needs == "scores" else [NO_MODEL]
        yield from (Wildcards(dataset=dataset, method=name, model=model) for model in models)


def _inputs(plan: Plan, job: Wildcards) -> Files:
    scores = [] if job.model == NO_MODEL else plan.score_paths(job.dataset, job.model)
    return {"users": plan.shard_paths(job.dataset), "scores": scores}


FIT: Stage[Plan] = Stage(
    name="fit",
    output="fitted/{dataset}/{method}/{model}.jsonl",
    combinations=_fits,
    inputs=_inputs,
    reads=lambda plan, job: {
        "seed": plan.config.seed,
        "groups": MOST_GROUPS,
        "settings": dict(METHODS[job.method].settings),
        **({"crossed": CROSSED_GROUPS} if _is_crossed(plan.config, job.method) else {}),
    },
    work=fit_stage,
)
