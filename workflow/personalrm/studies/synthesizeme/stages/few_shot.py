"""Language models that are shown votes (`methods/reward/fspo.py`) in the stages `reward_model` and `score`: whom they
learn from, and whose votes the controls show."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.core.errors import DataError
from personalrm.core.extras import require_extra
from personalrm.core.records import PreferencePair, UserData
from personalrm.methods.registry import METHODS
from personalrm.methods.reward.few_shot_settings import RECIPES
from personalrm.methods.reward.shots import content
from personalrm.run.stage import Wildcards
from personalrm.studies.reward_config import Regime, RewardModelConfig
from personalrm.studies.synthesizeme.stages.fine_tuning import (
    CHECKPOINT_S,
    checkpoint_folder,
    lessons_for,
    save_tuned,
)
from personalrm.studies.synthesizeme.stages.reward_data import left_out, texts_of, told_of, why_not_judged
from personalrm.studies.synthesizeme.stages.runner import Job
from personalrm.train import one_gpu

if TYPE_CHECKING:
    from personalrm.methods.reward.fspo import FewShot

logger = logging.getLogger(__name__)
Pairs = Sequence[PreferencePair]


def tune_few_shot(
    job: Job, users: Sequence[Path], unfiltered: Sequence[Path], starts: Sequence[Path], out: Path, names: Wildcards
) -> None:
    """Write weights and card (`out`) of one stage of a training, which begins with the weights of the folders
    `starts`. Raises DataError where there is nothing to learn."""
    require_extra("train", f"reward model {names.method!r}")
    entry, method = job.config.reward_models[names.reward], METHODS[names.method]
    recipe, hyper = RECIPES[names.method], entry.hyper_of(names.method)
    device = one_gpu(entry.device)
    from personalrm.methods.reward.fspo import fit, open_new, taught
    from personalrm.train.trainer import Run

    found = lessons_for(job.config, entry, names.dataset, method, users, unfiltered)
    train, held_out = (
        taught(((pairs, user.planted_taste) for user, pairs in part if pairs), recipe)
        for part in (found.train, found.held_out)
    )
    if not train:
        what = " whose user has a planted taste" if recipe.describes else ""
        raise DataError(
            f"data set {names.dataset}: no pair{what} to learn from in regime {entry.regime}{told_of(found.left_out)}"
        )
    run = Run(checkpoint_folder(job.config, names), CHECKPOINT_S, entry.threads, device)
    settings = _settings(entry, device)
    with open_new(settings, hyper.weights, int(names.seed), names.method, starts) as model:
        tuned = fit(model, train, held_out, hyper, int(names.seed), run)
    made = {"train_users": len(train), "train_pairs": sum(len(one.pairs) for one in train)}
    made |= {"validation_users": len(held_out), **_as_rewards(tuned.card), **left_out(found.left_out)}
    save_tuned(tuned, job, names, settings, out, **made)


def _as_rewards(card: Mapping[str, Any]) -> dict[str, Any]:
    """What the table of training reads, under the names that all cards have."""
    curve = [(one["step"], one.get("loss"), one.get("held_out_accuracy")) for one in card["curve"]]
    return {"contexts_cut": card["prompts_cut"], "answers_cut": card["completions_cut"], "curve": curve}


def _settings(entry: RewardModelConfig, device: str) -> Any:  # noqa: ANN401 - of a module that needs the extra
    from personalrm.train.policy_settings import PolicySettings

    known = entry.encoder
    kept = {name: known[name] for name in ("base", "revision", "dtype", "max_tokens", "batch_tokens")}
    return PolicySettings(**kept, device=device)


@contextmanager
def open_voted(entry: RewardModelConfig, method: str, folders: Sequence[Path]) -> Iterator[FewShot]:
    """The model whose weights are in folders, those of its last stage in the last. Raises DataError as
    `fspo.open_few_shot` does."""
    require_extra("train", f"reward model {method!r}")
    device = one_gpu(entry.device)
    from personalrm.methods.reward.fspo import open_few_shot
    from personalrm.train.trainer import deterministic

    with deterministic(entry.threads), open_few_shot(_settings(entry, device), method, folders) as model:
        yield model
        counts = {**model.seen, **model.policy.seen}
        logger.info("%s judged: %s", method, ", ".join(f"{name} {n}" for name, n in counts.items()))


def other_users(users: Iterable[UserData], regime: Regime, *, all_judged: bool) -> dict[str, UserData]:
    """For each user who is judged and has context pairs, the next one, in an order of these texts alone. A single user
    has nobody next."""
    judged = [user for user in users if all_judged or why_not_judged(user, regime) is None]
    voted = sorted(
        (user for user in judged if user.part("context")),
        key=lambda user: sorted(map(content, user.part("context"))),
    )
    following = voted[1:] + voted[:1]
    pairs = zip(voted, following, strict=True)
    return {user.user_id: other for user, other in pairs if other is not user}


def refuse_trained(
    judged: Iterable[UserData], source: Iterable[UserData], regime: Regime, hidden: Collection[str] = ()
) -> None:
    """Raise DataError where a user who is judged has the name of a user of the data set `source` that was trained on,
    or is judged on answers that one of these voted on: the same users may have other names. In the regime `unseen` test
    users of the source are not trained on, and in none are votes on its `hidden` pairs (`hidden_pairs`)."""
    people = {user.user_id: user for user in judged}
    asked = ((texts_of(pair), (user, pair)) for user in people.values() for pair in user.part("test"))
    voted = {texts: whose for texts, whose in asked if texts not in hidden}
    for other in source:
        if regime == "unseen" and other.user_split == "test":
            continue
        known = f"{other.dataset}, whose users the reward models were trained on (train_on_dataset)"
        if user := people.get(other.user_id):
            raise DataError(
                f"data set {user.dataset}, user {user.user_id}: has the name of a user of {known}; if they are not "
                "the same, rename one"
            )
        found = next((one for pair in other.pairs if not pair.tie and (one := voted.get(texts_of(pair)))), None)
        if found:
            user, pair = found
            raise DataError(
                f"data set {user.dataset}, user {user.user_id}, pair {pair.pair_id}: user {other.user_id} voted on the "
                f"same answers in {known}; take what is in both out of one of them"
            )
