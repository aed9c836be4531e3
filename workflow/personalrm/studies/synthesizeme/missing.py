"""What a run of this study needs and lacks, in addition to what runs of all studies need."""

from __future__ import annotations

from personalrm.core.errors import DataError
from personalrm.data.prepare import read_users, select_user_ids
from personalrm.data.sources.reading import ReadReport
from personalrm.methods.synthesizeme.theta import read_theta
from personalrm.methods.synthesizeme.variants import parse_variant
from personalrm.studies.preflight import lacking
from personalrm.studies.study import Needs
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.config_checks import no_user_split


def missing(config: Config, needs: Needs) -> list[str]:
    """Problems of Thetas and, where they are needed, of reward models."""
    rewards = not needs.stages.isdisjoint(("features", "reward_model", "score"))
    return _theta_problems(config) + (_reward_problems(config) if rewards else [])


def _theta_problems(config: Config) -> list[str]:
    """Errors in the program files of the Thetas that variants use."""
    problems = []
    for name in sorted({used for variant in config.variants if (used := parse_variant(variant).theta)}):
        path = config.thetas[name].path
        try:
            if path is not None:
                read_theta(path)
        except DataError as error:
            problems.append(f"thetas.{name}.path: {error}")
        if path is None:
            problems += lacking("theta", f"thetas.{name}.optimise")
    return problems


def _reward_problems(config: Config) -> list[str]:
    """The extra that is not installed, bases that are nowhere, and small data sets whose users have no split for the
    regime `unseen`."""
    problems = lacking("train", "reward_models")
    for name, reward in config.reward_models.items():
        if (problem := reward.base_problem()) is not None:
            problems.append(f"reward_models.{name}.{problem}")
        absent = [path for path in reward.pair_files if not path.is_file()]
        problems += [f"reward_models.{name}.train_on: no file {path}; put it there, or correct it" for path in absent]
    for name, entry in config.datasets.items():
        files = entry.source_files()
        unseen = list(no_user_split(config, name))
        if unseen and files and all(path.is_file() for path in files):
            few = len(select_user_ids(entry)) < entry.user_split.min_users
            # A release may name the parts of its users, however few they are.
            if few and not any(user.user_split == "train" for user in read_users(entry, ReadReport()).users):
                problems += unseen
    return problems
