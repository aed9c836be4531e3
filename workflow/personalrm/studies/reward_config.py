"""How a config describes trained reward models, in every study."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from personalrm.core.errors import ConfigError
from personalrm.core.files import canonical_json, stable_hash
from personalrm.data.cross_validation import Pools
from personalrm.data.filters.filter_settings import once_each
from personalrm.methods.reward.hyper import FINE_TUNED, HYPER, read_hyper, rests_on, shared_hyper
from personalrm.train.base_names import base_identity, kind_of_base

Positive = Annotated[int, Field(strict=True, ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What numpy takes, with which the libraries of fine-tuning draw."""
Regime = Literal["unseen", "all-but-test"]


_OF_HELD_OUT: dict[str, dict[str, str]] = {
    "frozen_bt": {"l2_grid": "give l2"},
    "user_map": {"shared.l2_grid": "give l2_grid of user_map, from which folds choose"},
    "lore": {"k_grid": "give k", "reference.l2_grid": "give reference.l2"},
    "vpl": {"stack": "leave it out"},
    "pal_a": {"stack": "leave it out"},
}
"""What validation users alone read, by method, each with what to do where there are none."""


def _known(name: str) -> str:
    if name not in HYPER:
        raise ValueError(f"no reward model; known: {', '.join(HYPER)}")
    return name


RewardName = Annotated[str, AfterValidator(_known)]


class RewardModelConfig(BaseModel):
    """Reward models that are trained on the votes of users: methods that share a base and the same training pairs, so
    that they can be compared (docs/methods.md). Needs the extra `train`."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    base: str = "smollm2-135m"
    """Base model whose hidden states are the features: an id of `personalrm models list`, a folder, or a hub id
    (`owner/name`)."""
    revision: str | None = None
    """Of a hub id: a commit, branch or tag."""
    methods: Annotated[list[RewardName], Field(min_length=1), AfterValidator(once_each)] = [
        "frozen_bt",
        "user_map",
        "lore",
    ]
    """What is trained on the features: `frozen_bt` (one reward for all users, the control of all others), `user_map`,
    `lore`, `vpl`, `pal_a`, `gpo`, `gpo_pairs`; or what fine-tunes the base: `bt` (one reward for all users),
    `bt_persona`, `bt_both`, `bt_measured_persona` and `bt_oracle`, which also read what the prompts of `persona`,
    `both`, `measured_persona` and `oracle` say of the user, and the control `bt_persona_other_user`; or language models
    that are shown the user's votes: `fspo` (few-shot preference optimisation) and what it is compared with,
    `few_shot_prompt`, `pref_ft_no_user`, `pref_ft`, `pref_ft_description`, `ipo`, `fspo_no_shots`, `fspo_other_user`,
    `fspo_description` and `fspo_oracle`."""
    regime: Regime = "unseen"
    """Whose pairs train the weights that users share. `unseen`: those of the train users of the user split; validation
    users choose hyper-parameters and when to stop, and the test users are judged. `all-but-test`: those of all users
    but their test pairs; all users are judged."""
    train_on: Literal["unfiltered", "benchmark"] | Annotated[list[Path], Field(min_length=1)] = "unfiltered"
    """Pairs that the fine-tuned models learn, in a data set with filters that ask models: also those that the filters
    took away (as in the paper), or those of the benchmark alone. Or files of pairs that name no users, as the authors
    released them for `bt`, which is trained on them instead of the users' pairs; only with regime `all-but-test`
    (docs/methods.md)."""
    train_on_dataset: str | None = None
    """Name of the data set whose users all weights are trained on (for instance invented users). Of other data sets all
    users are judged, or the test users (`evaluate_users`); none may have the name of a user of this one. None: each
    data set has weights of its own."""
    train_users: Positive | None = None
    """How many train users the weights are learned from, drawn by the run's seed; a smaller number is a part of a
    larger one. Entries that differ in it and in methods alone make the figure `train_users`. None: all."""
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(once_each)] = [0, 1, 2]
    """Seeds of training. Each is a draw in the tables, so that the standard deviation of draws is theirs."""
    datasets: list[str] | None = None
    """Data sets; all if none are given."""
    text: Literal["chat", "answer"] = "chat"
    """What is read: conversation and answer in the chat template of the base, or the answer alone."""
    pooling: Literal["mean", "mean_answer", "last"] = "mean"
    """How the hidden states become features: mean of all tokens, mean of those of the answer, or the last token."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of the base and its activations; features and rewards are float32, as are all weights that are fine-tuned."""
    max_tokens: Positive | None = None
    """Longest text in tokens; none for what the base takes. The conversation loses its oldest tokens first."""
    batch_tokens: Positive = 2048
    """Most tokens of a batch, padding included."""
    device: Annotated[str, Field(pattern=r"^[a-z]+(:\d+)?$")] = "cpu"
    """Where torch computes: `cpu`, or `cuda`."""
    threads: Positive = 2
    """Threads of torch in a job. Other numbers may change the last bits of results."""
    mem_mb: Positive = 4000
    """Memory of a job that makes features or trains, in MB; a further attempt asks for more."""
    hyper: dict[RewardName, dict[str, JsonValue]] = {}
    """Hyper-parameters by method (`methods/reward/hyper.py`); the others have the published values, where there are
    any. Infinity is `"inf"`. Those of `bt` are those of all `bt_…`, those of `pref_ft` of all that learn by likelihood
    alone, and those of `fspo` of all that learn preferences after it; each may change some."""

    def hyper_of(self, method: str) -> Any:  # noqa: ANN401 - a dataclass of the method
        """The hyper-parameters of a method. Raises ConfigError as `read_hyper` does."""
        return read_with_control(method, self._given(method), self.hyper.get("frozen_bt", {}), self.regime)

    def _given(self, method: str) -> dict[str, JsonValue]:
        return {**self.hyper.get(shared_hyper(method), {}), **self.hyper.get(method, {})}

    @property
    def trainings(self) -> list[str]:
        """Methods that are trained: those that are judged, and those on whose trainings these rest."""
        return list(dict.fromkeys(name for method in self.methods for name in rests_on(method)))

    @property
    def pair_files(self) -> list[Path]:
        """Files of pairs that name no users, where these are learned."""
        return self.train_on if isinstance(self.train_on, list) else []

    def file_problems(self) -> list[str]:
        """What `pair_files` do not go with, one line per problem."""
        nameless = "the files of train_on name no users"
        wrong = {
            f"methods: {nameless}, and teach bt alone; give methods: [bt]": self.methods != ["bt"],
            f"regime: {nameless}, so that 'unseen' could leave out nobody; give regime: all-but-test, which leaves out "
            "what has the text of a test pair": self.regime == "unseen",
            "train_on_dataset: train_on gives files already; remove one of them": self.train_on_dataset is not None,
        }
        return [problem for problem, found in wrong.items() if found and self.pair_files]

    def train_users_problems(self) -> list[str]:
        """Why there are no train users to draw from, or nothing that would learn from them, if so."""
        untrained = [method for method in self.methods if not rests_on(method)]
        wrong = {
            "only regime 'unseen' has train users; remove train_users, or give regime: unseen": self.regime != "unseen",
            f"{', '.join(untrained)} learns from no user; leave it to an entry without train_users": bool(untrained),
        }
        return [f"train_users: {told}" for told, found in wrong.items() if found and self.train_users is not None]

    def seeds_of(self, method: str) -> list[int]:
        """The seeds of a method: one alone where nothing is trained."""
        return self.seeds if rests_on(method) else self.seeds[:1]

    def on_folds(self, pools: Pools) -> Self:
        """The same with the folds of a data set instead of its name in `datasets`."""
        named = [one for name in self.datasets or () for one in pools.get(name, [name])]
        return self.model_copy(update={"datasets": named}) if named != (self.datasets or []) else self

    def source(self, dataset: str) -> str:
        """The data set whose users the weights are trained on with which users of `dataset` are judged."""
        return self.train_on_dataset or dataset

    @property
    def tuned(self) -> list[str]:
        """Methods that fine-tune the base."""
        return [method for method in self.methods if method in FINE_TUNED]

    @property
    def on_features(self) -> list[str]:
        """Methods that learn from features."""
        return [method for method in self.methods if method not in FINE_TUNED]

    def hyper_problems(self) -> list[str]:
        """What is wrong with `hyper`, one line per problem, each with the path of the key below the section."""
        problems, known = [], {*self.trainings, *map(shared_hyper, self.trainings)}
        for method in self.hyper:
            if method not in known:
                trained = f"not trained by itself; trained are: {', '.join(self.trainings) or 'none'}"
                found = f"not among methods ({', '.join(self.methods)})"
                problems.append(f"hyper.{method}: {trained if method in self.methods else found}")
                continue
            try:
                hyper = self.hyper_of(method)
            except ConfigError as error:
                problems += [f"hyper.{method}.{line}" for line in str(error).splitlines()]
                continue
            if self.regime == "all-but-test":
                problems += [f"hyper.{method}.{line}" for line in without_held_out(method, self._given(method))]
                if getattr(hyper, "keep", "last") == "best":
                    problems.append(f"hyper.{method}.keep: best needs held-out users, and regime all-but-test has none")
        return problems

    @property
    def encoder(self) -> dict[str, Any]:
        """How texts become features: the fields of `train.encoders.EncoderSettings`."""
        names = {"base", "revision", "text", "pooling", "dtype", "max_tokens", "batch_tokens", "device"}
        return self.model_dump(include=names)

    @property
    def encoder_id(self) -> str:
        """Name of the folder of the features: entries with the same encoder share it."""
        base = re.sub(r"[^A-Za-z0-9._-]", "-", Path(self.base).name).strip(".-")[:40]
        return f"{base}-{self.pooling}-{stable_hash(canonical_json([self.encoder, self.threads]))[:8]}"

    @property
    def gpus(self) -> int:
        """Graphics processors of a job."""
        return int(self.device != "cpu")

    @property
    def score_threads(self) -> int:
        """Threads of a job that judges: what was fine-tuned reads texts."""
        return self.threads if self.tuned else 1

    @property
    def score_mb(self) -> int:
        """Memory of a job that judges."""
        return self.mem_mb if self.tuned else 2000

    @property
    def score_gpus(self) -> int:
        """Graphics processors of a job that judges."""
        return self.gpus if self.tuned else 0

    def base_problem(self) -> str | None:
        """Why there is no such base, if that can be seen on this machine."""
        try:
            kind_of_base(self.base, self.revision)
        except ConfigError as error:
            return str(error)
        return None

    def base_identity(self) -> str:
        """As `train.base_names.base_identity` has it."""
        return base_identity(self.base, self.revision)

    def judge_name(self, name: str) -> str:
        """How tables name the reward models of the entry `name`: the regime is part of it, what all weights are trained
        on, if it is not the data set itself, and the number of train users, if it is not all."""
        source = "pairs without users" if self.pair_files else self.train_on_dataset
        parts = [self.regime, f"trained on {source}" if source else ""]
        parts.append(f"{self.train_users} train users" if self.train_users else "")
        return f"{name} ({', '.join(filter(None, parts))})"


def read_with_control(method: str, given: Mapping[str, Any], control: Mapping[str, Any], regime: str) -> Any:  # noqa: ANN401
    """As `read_hyper`, with the penalties of `frozen_bt` for the linear Bradley-Terry inside a method, where the result
    rests on it and it has none of its own: the control of a method is the row `frozen_bt`.

    Args:
        method: name.
        given: for it.
        control: given for `frozen_bt`.
        regime: in `all-but-test`, folds choose the penalty of `user_map`, and nothing is stacked.

    >>> read_with_control("user_map", {}, {"l2_grid": [3], "hidden": 8}, "unseen").shared.l2_grid
    (3.0,)
    """
    linear = {name: control[name] for name in ("l2", "l2_grid") if name in control}
    unseen = regime == "unseen"
    inner = {"user_map": "shared" if unseen else "", "lore": "reference" if given.get("alpha") else ""}.get(method)
    if inner and linear and isinstance(own := given.get(inner, {}), Mapping):
        given = {**given, inner: {**linear, **own}}
    hyper = read_hyper(method, given)
    if linear and unseen and getattr(hyper, "stack", False):
        return replace(hyper, stack=read_hyper("frozen_bt", linear))
    return hyper


def without_held_out(method: str, given: Mapping[str, Any]) -> Iterator[str]:
    """Problems of the hyper-parameters of a method that are `given` and that nothing reads without validation users,
    each with its path.

    >>> list(without_held_out("lore", {"k_grid": [1, 5]}))
    ['k_grid: validation users choose, and regime all-but-test has none; give k']
    """
    for path, advice in _OF_HELD_OUT.get(method, {}).items():
        value: Any = given
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if value not in (None, False):
            yield f"{path}: validation users choose, and regime all-but-test has none; {advice}"
