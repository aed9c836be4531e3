"""Fine-tuned reward models in the stages `reward_model` and `score`: the texts that they learn, and their verdicts.

What is said of a user comes from the first of the run's variants, by the first model that learns; a measured taste
from the first model that scores. Training reads that of the largest k (first draw), verdicts that of the row.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from personalrm.core.conditions import K
from personalrm.core.errors import DataError
from personalrm.core.extras import require_extra
from personalrm.core.records import Profile, UserData, read_all
from personalrm.core.tastes import UserTaste
from personalrm.judge.judge import JudgeContext
from personalrm.judge.prompting import load_prompt
from personalrm.methods.base import Known, Method
from personalrm.methods.registry import METHODS
from personalrm.methods.synthesizeme.profile import context_subset
from personalrm.methods.trained import system_turn
from personalrm.run.stage import Files, Wildcards
from personalrm.studies.reward_config import RewardModelConfig
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.reward_data import (
    NOBODY,
    Lesson,
    Lessons,
    hidden_pairs,
    left_out,
    lessons,
    nameless_pairs,
    some_train_users,
    told_of,
)
from personalrm.studies.synthesizeme.stages.runner import Job, users_of
from personalrm.train import one_gpu

if TYPE_CHECKING:
    from personalrm.methods.reward.bt import Example, Network
    from personalrm.train.fine_tuning import Tuned

logger = logging.getLogger(__name__)
CHECKPOINT_S = 60.0
"""Seconds between checkpoints of a training."""


class Learned(NamedTuple):
    """Profiles and tastes by user, k and draw."""

    profiles: Mapping[tuple[str, K, int], Profile]
    tastes: Mapping[tuple[str, K, int], UserTaste]

    @classmethod
    def read(cls, profiles: Iterable[Path], tastes: Iterable[Path]) -> Learned:
        """From their files."""
        return cls(
            {(row.user_id, row.k, row.draw): row for row in read_all(profiles, Profile)},
            {(row.user_id, row.k, row.draw): row for row in read_all(tastes, UserTaste)},
        )

    def of(self, method: Method[Any], user: UserData, k: K | None, draw: int) -> dict[str, Any]:
        """What a method needs of a user, as fields of `Known`; without what the user does not have."""
        key = (user.user_id, k or "all", draw)
        profile = self.profiles.get(key) if shows_profile(method) else None
        taste = self.tastes.get(key) if method.tastes else None
        return {name: value for name, value in (("profile", profile), ("taste", taste)) if value is not None}


def shows_profile(method: Method[Any]) -> bool:
    """Whether a fine-tuned model reads a user's profile."""
    return bool(method.shows) and METHODS[method.shows].needs == "profile"


def learned_inputs(plan: Plan, dataset: str, methods: Sequence[str], ks: Iterable[K], shards: Sequence[str]) -> Files:
    """Files of profiles and of tastes that methods read."""
    config, found = plan.config, [METHODS[name] for name in methods]
    names = {"variant": config.variants[0], "model": next(iter(config.learn.models), "")}
    profiles = [
        plan.path("profile", dataset=dataset, k=k, shard=shard, **names)
        for k in (ks if any(map(shows_profile, found)) else ())
        for shard in shards
    ]
    measured = config.scoring_models[:1] if any(method.tastes for method in found) else []
    tastes = [plan.path("taste", dataset=dataset, model=model, shard=shard) for model in measured for shard in shards]
    return {"profiles": profiles, "tastes": tastes}


def unfiltered_inputs(plan: Plan, job: Wildcards) -> list[str]:
    """Files of the users before the filters, where their pairs are learned, too; or those files of pairs without users
    that are there (the preflight names others), where these are learned."""
    entry = plan.config.reward_models[job.reward]
    if entry.pair_files:
        return [str(path) for path in entry.pair_files if path.is_file()]
    # The plan of an estimate has a single data set, which may not be the one that was trained on.
    settings = plan.config.datasets.get(job.dataset)
    wanted = entry.train_on == "unfiltered" and settings is not None and settings.filters
    return plan.prepared_paths(job.dataset) if wanted else []


def base_reads(entry: RewardModelConfig) -> dict[str, Any]:
    """Settings that what a base says of texts depends on."""
    found = {"base": entry.base_identity(), "text": entry.text, "dtype": entry.dtype}
    return {**found, "max_tokens": entry.max_tokens, "batch_tokens": entry.batch_tokens}


def tuning_reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    """Settings that a fine-tuned model depends on, in addition to those of every reward model."""
    entry, method = plan.config.reward_models[job.reward], METHODS[job.method]
    shown: dict[str, Any] = {"prompts": [load_prompt(name).id for name in method.prompts]} if method.prompts else {}
    shown |= {"k": plan.config.largest_k} if method.shows else {}
    split = plan.config.datasets[job.dataset].split.model_dump(mode="json")
    train_on = list(map(str, entry.pair_files)) or entry.train_on
    return {**base_reads(entry), **shown, "train_on": train_on, "run": plan.config.seed, "split": split}


def tune(
    job: Job, users: Sequence[Path], unfiltered: Sequence[Path], learned: Learned, out: Path, names: Wildcards
) -> None:
    """Write weights and card (`out`) of one fine-tuning. Raises DataError where there is nothing to learn."""
    require_extra("train", f"reward model {names.method!r}")
    entry, method = job.config.reward_models[names.reward], METHODS[names.method]
    device = one_gpu(entry.device)
    from personalrm.methods.reward.bt import fit, open_network
    from personalrm.train.trainer import Run

    found = lessons_for(job.config, entry, names.dataset, method, users, unfiltered)
    if entry.regime == "unseen":
        # Priors of train users rest on pairs that the other regime judges.
        learned = learned._replace(tastes={key: row.for_training for key, row in learned.tastes.items()})
    train, held_out = (_examples(job.config, method, part, learned) for part in (found.train, found.held_out))
    if not train:
        what = f", with what {method.shows!r} says of each user and rests on other pairs" if method.shows else ""
        raise DataError(
            f"data set {names.dataset}: no pair to learn from in regime {entry.regime}{what}{told_of(found.left_out)}"
        )
    hyper = entry.hyper_of(names.method)
    run = Run(checkpoint_folder(job.config, names), CHECKPOINT_S, entry.threads, device)
    pairs, validation = ([one for _, examples in part for one in examples] for part in (train, held_out))
    settings = _settings(entry, device)
    with open_network(settings, hyper, int(names.seed)) as network:
        tuned = fit(network, pairs, validation, hyper, int(names.seed), run)
    # Pairs of files are nobody's.
    known = None if entry.pair_files else len(train)
    made = {"train_users": known, "validation_users": len(held_out), **left_out(found.left_out)}
    save_tuned(tuned, job, names, settings, out, **made)


def save_tuned(tuned: Tuned, job: Job, names: Wildcards, settings: Any, out: Path, **more: Any) -> None:  # noqa: ANN401
    """Write weights and card (`out`), which says how the base reads texts (`settings`) and has `more` fields; remove
    the checkpoints."""
    entry = job.config.reward_models[names.reward]
    card: dict[str, Any] = {"dataset": names.dataset, "name": names.reward, "method": names.method}
    card |= {"regime": entry.regime, "train_on": [path.name for path in entry.pair_files] or entry.train_on}
    card |= {"base_settings": asdict(settings), **more}
    tuned._replace(card=tuned.card | card).save(out.parent)
    shutil.rmtree(checkpoint_folder(job.config, names), ignore_errors=True)


def checkpoint_folder(config: Config, names: Wildcards) -> Path:
    """Where the unfinished training of a job is kept: outside the outputs, which Snakemake deletes if it fails."""
    name = f"{names.dataset}-{names.reward}-{names.method}-{names.seed}"
    return Path(config.results, config.run, "checkpoints", name)


def _settings(entry: RewardModelConfig, device: str) -> Any:  # noqa: ANN401 - of a module that needs torch
    from personalrm.train.encoders import EncoderSettings

    return replace(EncoderSettings(**entry.encoder), device=device)


def lessons_for(
    config: Config,
    entry: RewardModelConfig,
    dataset: str,
    method: Method[Any],
    users: Sequence[Path],
    unfiltered: Sequence[Path],
) -> Lessons:
    """The pairs that a method learns in the entry's regime, read from files of users, or instead of their pairs
    from files that name none."""
    whole = {} if entry.pair_files else {user.user_id: user for user in users_of(unfiltered)}
    return lessons_of(config, entry, dataset, method, lambda: users_of(users), whole)


def lessons_of(
    config: Config,
    entry: RewardModelConfig,
    dataset: str,
    method: Method[Any],
    people: Callable[[], Iterable[UserData]],
    unfiltered: Mapping[str, UserData] | None = None,
) -> Lessons:
    """The same of users, which are read twice; `unfiltered`: the same by id, before the filters."""

    def rests_on(user: UserData) -> set[str]:
        if not (method.shows and method.learns):
            return set()
        context = context_subset(user.part("context"), config.largest_k, 0, config.seed)
        return {pair.pair_id for pair in (*context, *user.part("validation"))}

    similarity = config.datasets[dataset].split.similarity
    if entry.pair_files:
        pairs = nameless_pairs(filter(Path.is_file, entry.pair_files), people(), similarity)
        return Lessons([Lesson(UserData(dataset=dataset, user_id=NOBODY), pairs)], [])
    drawn = some_train_users(people(), entry.train_users, config.seed)
    more: dict[str, Any] = {"unfiltered": unfiltered or None, "rests_on": rests_on, "similarity": similarity}
    return lessons(drawn, entry.regime, hidden_pairs(people(), entry.regime), **more)


def _examples(
    config: Config, method: Method[Any], part: Iterable[Lesson], learned: Learned
) -> list[tuple[UserData, list[Example]]]:
    """Users with their pairs as examples; without users of whom the method knows nothing that it could say, or who
    have no pairs."""
    from personalrm.methods.reward.bt import Example

    found = []
    for user, pairs in part:
        system = _system_of(config, method, user, learned)
        if system is not None and pairs:
            found.append((user, [Example.of(pair, system) for pair in pairs]))
    return found


def _system_of(config: Config, method: Method[Any], user: UserData, learned: Learned) -> str | None:
    """What is said of a train user; None where the method does not apply to the user."""
    if not method.shows:
        return ""
    given = learned.of(method, user, config.largest_k, 0)
    if len(given) < shows_profile(method) + method.tastes or any(one.status != "ok" for one in given.values()):
        return None
    state = METHODS[method.shows].adapt(Known.of(user, k=config.largest_k, seed=config.seed, **given))
    return system_turn(state) if isinstance(state, JudgeContext) else None


@contextmanager
def open_tuned(entry: RewardModelConfig, method: str, folder: Path) -> Iterator[Network]:
    """The model whose weights are in a folder. Raises DataError as `bt.open_trained` does."""
    require_extra("train", f"reward model {method!r}")
    device = one_gpu(entry.device)
    from personalrm.methods.reward.bt import open_trained
    from personalrm.train.trainer import deterministic

    with deterministic(entry.threads), open_trained(folder, _settings(entry, device)) as network:
        yield network
        logger.info("%s judged: %s", folder, ", ".join(f"{name} {n}" for name, n in network.seen.items()))
