"""Stages `features`, `reward_model` and `score`: hidden states of answers, reward models trained on them, and verdicts.

What needs torch is imported in the jobs that use it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.core.errors import DataError
from personalrm.core.files import canonical_json, stable_hash
from personalrm.core.records import JudgedUser, NoResult, PreferencePair, UserData, write_records
from personalrm.judge.prompting import load_prompt
from personalrm.methods.base import Known, LogOdds, TrainedReward
from personalrm.methods.registry import METHODS, MethodUse
from personalrm.methods.reward.few_shot_settings import FEW_SHOT
from personalrm.methods.reward.hyper import FINE_TUNED, rests_on
from personalrm.methods.synthesizeme.profile import context_subset
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.reward_config import RewardModelConfig
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.config_checks import no_user_split
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.few_shot import open_voted, other_users, refuse_trained, tune_few_shot
from personalrm.studies.synthesizeme.stages.fine_tuning import (
    CHECKPOINT_S,
    Learned,
    base_reads,
    learned_inputs,
    open_tuned,
    tune,
    tuning_reads,
    unfiltered_inputs,
)
from personalrm.studies.synthesizeme.stages.reward_data import (
    hidden_pairs,
    left_out,
    some_train_users,
    told_of,
    training_pairs,
    why_not_judged,
)
from personalrm.studies.synthesizeme.stages.runner import Job, evaluated_users, read_users, users_of
from personalrm.studies.synthesizeme.stages.seen import turns_of
from personalrm.studies.synthesizeme.stages.settings import draws_for
from personalrm.studies.synthesizeme.stages.weighing import weigh_user
from personalrm.train import CARD, WEIGHTS

if TYPE_CHECKING:
    from personalrm.methods.reward.base import RewardMethod
    from personalrm.train.checkpoint import Fitted
    from personalrm.train.features import Pairs

logger = logging.getLogger(__name__)
VERSION = 1
"""Raised when the code of these stages changes what they would write."""


def entry_of(config: Config, encoder: str) -> RewardModelConfig:
    """An entry with this encoder; what its features depend on is the same in all of them."""
    return next(entry for entry in config.reward_models.values() if entry.encoder_id == encoder)


def features_stage(job: Job, *, users: Path, out: Path, encoder: str) -> None:
    """Write features of all pairs of a shard that belong to a part, each pair once."""
    from personalrm.train.encoders import EncoderSettings, open_encoder
    from personalrm.train.features import encode_pairs, save_pairs

    entry = entry_of(job.config, encoder)
    pairs = [pair for user in read_users(users) for pair in user.pairs if pair.split]
    with open_encoder(EncoderSettings(**entry.encoder), threads=entry.threads) as opened:
        made, counts = encode_pairs(opened, pairs)
        save_pairs(out, made, opened.card | counts)
    logger.info("features of %d pairs: %s", len(pairs), ", ".join(f"{name} {n}" for name, n in counts.items()))


def reward_model_stage(
    job: Job,
    plan: Plan,
    *,
    users: Sequence[Path],
    features: Sequence[Path] = (),
    unfiltered: Sequence[Path] = (),
    profiles: Sequence[Path] = (),
    tastes: Sequence[Path] = (),
    starts: Sequence[Path] = (),
    out: Path,
    dataset: str,
    reward: str,
    method: str,
    seed: str,
) -> None:
    """Write the weights and the card (`out`) of one training, on features or by tuning the base.

    A killed training resumes from its checkpoint, which lies outside the outputs: Snakemake deletes those of a failed
    job. Raises DataError where there is no train user, and for features of two versions of the base.
    """
    names = Wildcards(dataset=dataset, reward=reward, method=method, seed=seed)
    if method in FEW_SHOT:
        tune_few_shot(job, users, unfiltered, [path.parent for path in starts if path.name == CARD], out, names)
    elif method in FINE_TUNED:
        tune(job, users, unfiltered, Learned.read(profiles, tastes), out, names)
    else:
        _train_on_features(job, plan, users, features, out, names)


def _train_on_features(
    job: Job, plan: Plan, users: Sequence[Path], features: Sequence[Path], out: Path, names: Wildcards
) -> None:
    from personalrm.methods.reward.base import HeldOut, TrainingData
    from personalrm.methods.reward.load import reward_method
    from personalrm.train.checkpoint import Fitted
    from personalrm.train.features import join, load_pairs
    from personalrm.train.trainer import Run

    dataset, reward, method, seed = names.dataset, names.reward, names.method, names.seed
    entry = job.config.reward_models[reward]
    loaded = [load_pairs(path) for path in features]
    bases = {card["base"]: path for path, (_, card) in zip(features, loaded, strict=True)}
    if len(bases) > 1:
        # A hub's branch has moved, or a folder was written again, while features were made.
        told = "; ".join(f"{path}: {base}" for base, path in bases.items())
        raise DataError(
            f"features of one data set are of several versions of the base ({told}); delete them, run again"
        )
    known = join([pairs for pairs, _ in loaded])
    hidden = hidden_pairs(users_of(users), entry.regime)
    drawn = some_train_users(users_of(users), entry.train_users, job.config.seed)
    seen = training_pairs(drawn, entry.regime, hidden)
    if not any(seen.users):
        none = f"data set {dataset}: no pair to learn from{told_of(seen.left_out)}"
        raise DataError(none if seen.left_out else "\n".join(no_user_split(job.config, dataset)) or none)
    chosen = [HeldOut(_features(known, context), _features(known, targets)) for context, targets in seen.held_out]
    data = TrainingData.of((_features(known, pairs) for pairs in seen.users), chosen)
    key = stable_hash(canonical_json(dict(_model_reads(plan, names))), data.fingerprint)[:16]
    checkpoint = Path(plan.run, "checkpoints", f"{dataset}-{reward}-{method}-{seed}-{key}.safetensors")
    run = Run(checkpoint, CHECKPOINT_S, entry.threads, entry.device)
    fitted = reward_method(method).fit(data, entry.hyper_of(method), int(seed), run)
    made = {"dataset": dataset, "name": reward, "regime": entry.regime, "features": [card for _, card in loaded]}
    Fitted(fitted.tensors, fitted.card | made | left_out(seen.left_out)).save(out.parent)
    for path in checkpoint.parent.glob(f"{checkpoint.name}*"):
        path.unlink(missing_ok=True)
    count, more = fitted.card["train_pairs"], told_of(seen.left_out)
    logger.info("%s: %s train pairs of %s users%s", out, count, fitted.card["train_users"], more)


def _features(known: Pairs, pairs: Sequence[PreferencePair]) -> Pairs:
    return known.select(pair.pair_id for pair in pairs)


@dataclass(frozen=True)
class Trained:
    """A trained reward model with the features of users' pairs (`methods.base.TrainedReward`)."""

    method: RewardMethod[Any, Any]
    fitted: Fitted
    features: Pairs

    def adapt(self, pairs: Sequence[PreferencePair], _system: str = "") -> LogOdds:
        """The log-odds of a user with these context pairs."""
        state = self.method.adapt(self.fitted, _features(self.features, pairs))

        def log_odds(targets: Sequence[PreferencePair]) -> Sequence[float]:
            found: list[float] = self.method.log_odds(self.fitted, state, _features(self.features, targets)).tolist()
            return found

        return log_odds


def score_stage(
    job: Job,
    *,
    users: Path,
    models: Sequence[Path],
    out: Path,
    dataset: str,
    reward: str,
    features: Sequence[Path] = (),
    profiles: Sequence[Path] = (),
    tastes: Sequence[Path] = (),
    others: Sequence[Path] = (),
    trained: Sequence[Path] = (),
    unfiltered: Sequence[Path] = (),
) -> None:
    """Write one `JudgedUser` for each user, method, seed, k and draw.

    `draw` counts the draws of context pairs of the first seed, then those of the second: at k = all, or without k, it
    is the place of the seed. `others` are all users of the data set, for controls that are told of another user;
    `trained` those of the data set that was trained on, where it is another one, and `unfiltered` the same before the
    filters: none of them may be judged, and nobody on answers that they voted on and that were learned.
    """
    config, entry = job.config, job.config.reward_models[reward]
    people, learned = evaluated_users(users, config.evaluate_users), Learned.read(profiles, tastes)
    hidden = hidden_pairs(users_of(trained), entry.regime)
    refuse_trained(people, users_of([*trained, *unfiltered]), entry.regime, hidden)
    away = entry.source(dataset) != dataset
    judged = (user for path in others for user in evaluated_users(path, config.evaluate_users))
    swapped = other_users(judged, entry.regime, all_judged=away)
    folders = {(path.parent.parent.name, path.parent.name): path.parent for path in models}
    rows = {user.user_id: list[JudgedUser]() for user in people}
    for method, (place, seed) in _judging(entry):
        used = [folders[name, str(seed)] for name in rests_on(method)]
        # One at a time: a base may fill the memory.
        with _opened(entry, method, used, features) as model:
            for user in people:
                # Without context pairs the reason why there is no verdict is the user's own.
                swap = METHODS[method].other_user and user.part("context")
                read = swapped.get(user.user_id) if swap else user
                rows[user.user_id] += _rows(config, user, read, reward, (method, place), model, learned)
    write_records(out, itertools.chain.from_iterable(rows.values()))


@contextmanager
def _opened(
    entry: RewardModelConfig, method: str, folders: Sequence[Path], features: Sequence[Path]
) -> Iterator[TrainedReward]:
    """The model whose trainings are in folders, its own in the last.

    Raises DataError where the weights are missing or damaged, or were trained on another version of the base.
    """
    if method in FEW_SHOT:
        with open_voted(entry, method, folders) as model:
            yield model
        return
    if method in FINE_TUNED:
        with open_tuned(entry, method, folders[-1]) as tuned:
            yield tuned
        return
    from personalrm.methods.reward.load import reward_method
    from personalrm.train.checkpoint import Fitted
    from personalrm.train.features import load_pairs

    (known, card), fitted = load_pairs(features[0]), Fitted.load(folders[-1])
    if card["base"] != (base := fitted.card["features"][0]["base"]):
        raise DataError(
            f"{features[0]}: features of another version of the base ({card['base']}) than {folders[-1]} was trained "
            f"on ({base}); delete the older of both, run again"
        )
    yield Trained(reward_method(method), fitted, known)


def _judging(entry: RewardModelConfig) -> Iterator[tuple[str, tuple[int, int]]]:
    """(method, (place of the seed, seed)) of all that judges on one data set."""
    return ((method, numbered) for method in entry.methods for numbered in enumerate(entry.seeds_of(method)))


def _rows(
    config: Config,
    user: UserData,
    read: UserData | None,
    reward: str,
    which: tuple[str, int],
    model: TrainedReward,
    learned: Learned,
) -> Iterator[JudgedUser]:
    """The rows of one training on a user, for each k and draw of the context; `read` is who the model is told of."""
    (method, place), entry = which, config.reward_models[reward]
    use = MethodUse(METHODS[method])
    seen = user if use.method.learns else user.model_copy(update={"pairs": ()})
    absent = why_not_judged(user, entry.regime) if entry.source(user.dataset) == user.dataset else None
    if read is None:
        absent = absent or NoResult("empty", "there is no other user to tell the model of")
    for k, draw in turns_of(config, use):
        draws = 1 if k is None else len(draws_for(config, k))
        pairs = context_subset(read.part("context"), k, draw, config.seed) if read and k is not None else ()
        known = Known.of(seen, pairs=pairs, absent=absent, k=k, draw=draw, seed=config.seed)
        known = replace(known, reward=model, **(learned.of(use.method, read, k, draw) if read else {}))
        row = weigh_user(user, use, known, judge=entry.judge_name(reward))
        yield row.model_copy(update={"draw": place * draws + draw})


def _models(plan: Plan, job: Wildcards) -> list[str]:
    """Cards of the trainings that a job of `score` reads."""
    entry = plan.config.reward_models[job.reward]
    name = {"dataset": entry.source(job.dataset), "reward": job.reward}
    return [
        plan.path("reward_model", **name, method=method, seed=str(seed))
        for method, seed in itertools.product(entry.trainings, entry.seeds)
    ]


def _weights(cards: Sequence[str]) -> list[str]:
    return [str(Path(card).with_name(WEIGHTS)) for card in cards]


def _feature_paths(plan: Plan, job: Wildcards) -> list[str]:
    encoder = plan.config.reward_models[job.reward].encoder_id
    return [
        plan.path("features", dataset=job.dataset, encoder=encoder, shard=shard) for shard in plan.shards(job.dataset)
    ]


def _model_inputs(plan: Plan, job: Wildcards) -> Files:
    users = {"users": plan.shard_paths(job.dataset)}
    if job.method not in FINE_TUNED:
        return {**users, "features": _feature_paths(plan, job)}
    shown = learned_inputs(plan, job.dataset, [job.method], [plan.config.largest_k], plan.shards(job.dataset))
    found = {**users, "unfiltered": unfiltered_inputs(plan, job), **shown}
    starts = [plan.path("reward_model", **job._replace(method=one)._asdict()) for one in rests_on(job.method)[:-1]]
    return {**found, "starts": starts, "start_weights": _weights(starts)} if starts else found


def _score_inputs(plan: Plan, job: Wildcards) -> Files:
    entry = plan.config.reward_models[job.reward]
    name = {"dataset": job.dataset, "encoder": entry.encoder_id, "shard": job.shard}
    source = entry.source(job.dataset)
    swaps = any(METHODS[method].other_user for method in entry.methods)
    before = unfiltered_inputs(plan, job._replace(dataset=source)) if entry.tuned else []
    return {
        "users": plan.users(job),
        "features": [plan.path("features", **name)] if entry.on_features else [],
        # The other user of a user may be in any shard.
        **learned_inputs(
            plan, job.dataset, entry.tuned, plan.config.ks, plan.shards(job.dataset) if swaps else [job.shard]
        ),
        "models": _models(plan, job),
        "weights": _weights(_models(plan, job)),
        **({"others": plan.shard_paths(job.dataset)} if swaps else {}),
        **({"trained": plan.shard_paths(source), "unfiltered": before} if source != job.dataset else {}),
    }


def _feature_reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    entry = entry_of(plan.config, job.encoder)
    return {"version": VERSION, "encoder": entry.encoder, "threads": entry.threads, "base": entry.base_identity()}


def _model_reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    entry = plan.config.reward_models[job.reward]
    hyper = asdict(entry.hyper_of(job.method))
    where: dict[str, Any] = {"threads": entry.threads, "device": entry.device}
    where |= tuning_reads(plan, job) if job.method in FINE_TUNED else {}
    where |= {"train_users": [entry.train_users, plan.config.seed]} if entry.train_users else {}
    return {"version": VERSION, "method": job.method, "hyper": hyper, "regime": entry.regime, "seed": job.seed, **where}


def _score_reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    config, entry = plan.config, plan.config.reward_models[job.reward]
    turns = {name: turns_of(config, MethodUse(METHODS[name])) for name in entry.methods}
    seen = {"seed": config.seed, "users": config.evaluate_users, "seeds": entry.seeds, "turns": turns}
    shown = {name for method in entry.tuned for name in METHODS[method].prompts}
    prompts = {"prompts": [load_prompt(name).sha for name in sorted(shown)]} if shown else {}
    # Of a model that was trained, its weights and card are inputs.
    untrained = not all(map(rests_on, entry.methods))
    base = {**base_reads(entry), "threads": entry.threads, "device": entry.device} if untrained else {}
    return {"version": VERSION, "judge": entry.judge_name(job.reward), **seen, **prompts, **base}


def _encoders(plan: Plan) -> Iterator[Wildcards]:
    config = plan.config
    for dataset in config.datasets:
        entries = {**config.trained_on(dataset), **config.rewards_on(dataset)}.values()
        encoders = {entry.encoder_id for entry in entries if entry.on_features}
        yield from (Wildcards(dataset=dataset, encoder=encoder) for encoder in sorted(encoders))


def _training_jobs(plan: Plan) -> Iterator[Wildcards]:
    for dataset in plan.config.datasets:
        for reward, entry in plan.config.trained_on(dataset).items():
            for method, seed in itertools.product(entry.trainings, entry.seeds):
                yield Wildcards(dataset=dataset, reward=reward, method=method, seed=str(seed))


def _score_jobs(plan: Plan) -> Iterator[Wildcards]:
    for dataset in plan.config.datasets:
        yield from (Wildcards(dataset=dataset, reward=reward) for reward in plan.config.rewards_on(dataset))


FEATURES: Stage[Plan] = Stage(
    name="features",
    output="features/{dataset}/{encoder}/{shard}.safetensors",
    combinations=_encoders,
    inputs=lambda plan, job: {"users": plan.users(job)},
    reads=_feature_reads,
    work=features_stage,
)
REWARD_MODEL: Stage[Plan] = Stage(
    name="reward_model",
    output=f"reward_models/{{dataset}}/{{reward}}/{{method}}/{{seed}}/{CARD}",
    combinations=_training_jobs,
    inputs=_model_inputs,
    reads=_model_reads,
    work=reward_model_stage,
)
SCORE: Stage[Plan] = Stage(
    name="score",
    output="verdicts/{dataset}/reward/{reward}/{shard}.jsonl",
    combinations=_score_jobs,
    inputs=_score_inputs,
    reads=_score_reads,
    work=score_stage,
    account="judge",
)
