"""Stages `no_model` and `weigh`: verdicts by methods that ask no model, from the texts of the pairs alone or from the
scores that a model gave to them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from personalrm.core.conditions import K, MethodId, VerdictMode
from personalrm.core.records import (
    Fitted,
    JudgedUser,
    NoResult,
    PreferencePair,
    UserData,
    UserScores,
    Verdict,
    read_records,
    write_records,
)
from personalrm.judge.judge import Judge, on_tie
from personalrm.judge.prompting import load_prompt
from personalrm.methods.attributes import weigh_by_default
from personalrm.methods.base import Known
from personalrm.methods.registry import MethodUse, parse_method
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.fit import fitted_paths, read_fitted, scores_calls, scores_in
from personalrm.studies.synthesizeme.stages.runner import Job, evaluated_users
from personalrm.studies.synthesizeme.stages.seen import (
    empty_row,
    judged_methods,
    known_of,
    method_reads,
    owed,
    pairs_of,
    state_of,
    turns_of,
)
from personalrm.studies.synthesizeme.stages.settings import common_reads
from personalrm.studies.synthesizeme.stages.taste_on import (
    default_rows,
    not_taste,
    rating_files,
    stated,
    taste_on_reads,
    thresholds,
)


def weigh_user(
    user: UserData,
    use: MethodUse,
    known: Known,
    *,
    judge: str | None = None,
    mode: VerdictMode = "text",
    scores: UserScores | None = None,
    general: Collection[str] = (),
    plain: JudgedUser | None = None,
) -> JudgedUser:
    """Verdicts on one user's pairs of a method that asks no model, or why there are none.

    `scores` are those of all pairs of the user, where the method needs them, by the model `judge`, whose verdicts are
    read by `mode`: the row stands beside that model's own. Pairs in `general` are no matter of taste: verdicts of that
    model without a user take the place of the method's, by its log-odds where these were scored, else in words those
    of its row of `default`, `plain`. Raises ValueError where that has none on such a pair.
    """
    row = empty_row(user, use, mode, judge, known)
    state = state_of(user, use, "text", known)
    if isinstance(state, NoResult):
        return row.model_copy(update=state._asdict())
    pairs = pairs_of(user, use)
    shown = {pair.pair_id for pair in (*known.user.pairs, *pairs)}
    calls = scores_calls(scores, shown) if scores else []
    labels = {name: load_prompt(name).label for name in use.method.prompts}
    own, aside = _on_ties(_verdicts(state, pairs, use), pairs), [pair for pair in pairs if pair.pair_id in general]
    instead = _on_ties(weigh_by_default(state, aside), pairs)
    if mode == "text" and len(instead) < len(aside):
        instead = stated(plain, aside)
        asked = {key for one in instead for key in one.calls}
        calls += [ref for ref in (plain.calls if plain else ()) if ref.key in asked]
        labels |= plain.prompts if plain else {}
    by_quality = {one.pair_id: one for one in instead}
    verdicts = tuple(by_quality.get(one.pair_id, one) for one in own)
    set_aside = tuple(one for one in own if one.pair_id in by_quality)
    return row.model_copy(update={"verdicts": verdicts, "set_aside": set_aside, **owed(use, known, calls, labels)})


def _on_ties(verdicts: Iterable[Verdict], pairs: Sequence[PreferencePair]) -> tuple[Verdict, ...]:
    ties = {pair.pair_id for pair in pairs if pair.tie}
    return tuple(on_tie(one) if one.pair_id in ties else one for one in verdicts)


def _verdicts(state: object, pairs: Sequence[PreferencePair], use: MethodUse) -> tuple[Verdict, ...]:
    """Verdicts of the method, which need not know of ties. Raises ValueError where they are not on these pairs."""
    judge = use.method.judge
    if isinstance(judge, Judge):
        raise ValueError(f"method {use.spec}: asks a model, and there is no client")
    found = judge(state, pairs)
    if {verdict.pair_id for verdict in found} != {pair.pair_id for pair in pairs}:
        raise ValueError(f"method {use.spec}: its judge gave no verdict on some pair, or one on another pair")
    return tuple(found)


def left_out(user: UserData) -> list[UserData]:
    """For each conversation of a user: its pairs as test pairs, and all pairs of other conversations as context."""
    pairs, found = [pair for pair in user.pairs if pair.split], []
    for place in dict.fromkeys(pair.conversation_id or pair.pair_id for pair in pairs):
        parts = ("test" if (pair.conversation_id or pair.pair_id) == place else "context" for pair in pairs)
        kept = (pair.model_copy(update={"split": part}) for pair, part in zip(pairs, parts, strict=True))
        found.append(user.model_copy(update={"pairs": tuple(kept)}))
    return found


def _joined(rows: Sequence[JudgedUser], user: UserData) -> JudgedUser:
    """One row of rows about the same user with one conversation left out of each."""
    absent = next((row for row in rows if row.status != "ok"), None)
    if absent is not None:
        return absent
    place = {pair.pair_id: number for number, pair in enumerate(user.pairs)}
    joined: dict[str, object] = {
        part: tuple(sorted((one for row in rows for one in getattr(row, part)), key=lambda one: place[one.pair_id]))
        for part in ("verdicts", "set_aside")
    }
    calls = {ref.key: ref for row in rows for ref in row.calls}
    return rows[0].model_copy(update={**joined, "calls": tuple(calls[key] for key in sorted(calls))})


@dataclass(frozen=True)
class _Shard:
    """What the methods of a job are given of the users of its shard: artefacts by method, and by user the scores and
    the rows of `default`."""

    config: Config
    fitted: Mapping[str, Sequence[Fitted]]
    scores: Mapping[str, UserScores]
    general: Collection[str] = ()
    plain: Mapping[str, JudgedUser] = field(default_factory=dict)

    def rows(self, user: UserData, use: MethodUse) -> Iterator[JudgedUser]:
        """The rows of one method, for each k and draw."""
        for turn in turns_of(self.config, use):
            if use.pairs == "loo":
                # A user without pairs has nothing to leave out, and a row that says so.
                rows = [self._row(seen, MethodUse(use.method), *turn) for seen in left_out(user) or [user]]
                method = MethodId.parse(rows[0].method)._replace(pairs=use.pairs)
                yield _joined(rows, user).model_copy(update={"method": str(method)})
            else:
                yield self._row(user, use, *turn)

    def _row(self, user: UserData, use: MethodUse, k: K | None, draw: int) -> JudgedUser:
        scores = self.scores.get(user.user_id)
        known = known_of(self.config, user, use.method, self.fitted, k=k, draw=draw)
        if scores is None:
            return weigh_user(user, use, known)
        mode, known = self.config.models[scores.model].verdicts[0], replace(known, **scores_in(scores))
        weighed = functools.partial(weigh_user, judge=scores.model, mode=mode, scores=scores, general=self.general)
        return weighed(user, use, known, plain=self.plain.get(user.user_id))


def weigh_stage(
    job: Job,
    *,
    users: Path,
    out: Path,
    fitted: Sequence[Path] = (),
    judge: str = "",
    scores: Path | None = None,
    ratings: Sequence[Path] = (),
    plain: Path | None = None,
) -> None:
    """Write one `JudgedUser` for each user, k and draw, by each method that asks no model.

    With `judge` the methods are those that need the `scores` that it gave, else those that need nothing. `fitted` are
    the files of what methods learned from other users, `ratings` those that say which pairs are no matter of taste, and
    `plain` has that model's verdicts on these in words.
    """
    config = job.config
    uses = [parse_method(spec) for spec in judged_methods(config, "scores" if judge else "nothing")]
    scored = {row.user_id: row for row in read_records(scores, UserScores)} if scores else {}
    people = list(evaluated_users(users, config.evaluate_users))
    rated = thresholds(config, people[0].dataset) if people and ratings else None
    shard = _Shard(config, read_fitted(fitted), scored, not_taste(ratings, rated), default_rows(plain) if plain else {})
    write_records(out, (row for user in people for use in uses for row in shard.rows(user, use)))


def _inputs(plan: Plan, job: Wildcards) -> Files:
    read: dict[str, str | list[str]] = {"users": plan.users(job)}
    read["fitted"] = fitted_paths(plan, job.dataset, _weighing(plan, job), job.judge)
    if job.judge:
        read["scores"] = plan.path("score_attributes", dataset=job.dataset, model=job.judge, shard=job.shard)
    if files := rating_files(plan, job):
        read["ratings"] = files
        if plan.config.models[job.judge].verdicts[0] == "text":
            # Ratings in words say nothing of what the model itself prefers.
            read["plain"] = plan.path("baseline", dataset=job.dataset, judge=job.judge, shard=job.shard)
    return read


def _weighing(plan: Plan, job: Wildcards) -> list[str]:
    return judged_methods(plan.config, "scores" if job.judge else "nothing")


def _reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    values = common_reads(plan.config) | method_reads(plan, _weighing(plan, job)) | {"draws": 1}
    if not job.judge:
        return values
    # Rows are named by it, and scores by either kind of log-probabilities are the same file.
    values["verdicts"] = plan.config.models[job.judge].verdicts[0]
    return values | taste_on_reads(plan, job)


_weighs = functools.partial(Stage[Plan], inputs=_inputs, reads=_reads, work=weigh_stage, account="judge")
NO_MODEL = _weighs(
    name="no_model",
    output="verdicts/{dataset}/baseline/none/{shard}.jsonl",
    combinations=lambda plan: [
        job for dataset in plan.config.judged if _weighing(plan, job := Wildcards(dataset=dataset))
    ],
)
WEIGH = _weighs(
    name="weigh",
    output="verdicts/{dataset}/attributes/{judge}/{shard}.jsonl",
    combinations=lambda plan: [
        job
        for dataset, judge in itertools.product(plan.config.judged, plan.config.scoring_models)
        if _weighing(plan, job := Wildcards(dataset=dataset, judge=judge))
    ],
)
