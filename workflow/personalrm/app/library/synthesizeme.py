"""SynthesizeMe for one user: learn from preferences, then judge, explain and keep what was learned."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

from personalrm.app.library.base import generation_prompt
from personalrm.app.library.calls import run_blocking
from personalrm.app.library.data import (
    Votes,
    as_rows,
    refuse_other_users,
    to_item,
    transcript,
    usable_pairs,
    user_data,
)
from personalrm.app.library.learning import learn
from personalrm.app.library.models import DATASET, DEFAULT_MODEL, MODEL, StopScore, learn_section, object_config
from personalrm.app.library.progress import Progress
from personalrm.app.library.saving import LearningRM, Saved
from personalrm.core.errors import ConfigError, NotFittedError
from personalrm.core.records import Demonstration, Profile, UserData
from personalrm.judge.judge import LABELS, JudgeContext
from personalrm.llm.types import LanguageModel
from personalrm.methods.base import Known
from personalrm.methods.synthesizeme.profile import with_theta
from personalrm.methods.synthesizeme.search import ZERO_SHOT
from personalrm.methods.synthesizeme.theta import read_theta
from personalrm.studies.synthesizeme.stages.learn import profile_settings
from personalrm.studies.synthesizeme.stages.settings import constitution_of

logger = logging.getLogger("personalrm.app.library")


class FittedOn(NamedTuple):
    """The votes that a profile was learned from, and those that chose, where they were given apart."""

    user_id: str
    data: list[dict[str, Any]]
    val_data: list[dict[str, Any]] | None


class SavedProfile(Saved):
    """The file of a fitted `SynthesizeMe`."""

    what = "profile"
    kind: Literal["personalrm.SynthesizeMe"] = "personalrm.SynthesizeMe"
    profile: Profile

    @property
    def user(self) -> str:
        """Id of the profile's user."""
        return self.profile.user_id


class SynthesizeMe(LearningRM[SavedProfile]):
    """A judge that learns one user's taste: a persona and demonstrations (paper, section 3), by one model.

    Args:
        model_id: docs/library.md, "Models and their ids", has the forms.
        user_id: the user; by default the one that the data name, else a name made of their content.
        train_val_ratio: share of the data, from its beginning, that is learned from where `fit` gets no `val_data`; the
            others choose the demonstrations.
        max_bootstrapped_demos: demonstrations with reasoning at most; -1: as many as there are pairs.
        max_labeled_demos: demonstrations without reasoning at most; -1: as many as there are pairs.
        num_search_candidates: random sets of demonstrations that are tried, beside none, the first labelled ones, and
            the first with reasoning.
        output_dir: folder for the answers of the model, which are then never paid for twice, and for the profile.
        model_url: base URL of an OpenAI-compatible endpoint.
        seed: of the coin that decides which answer of a pair stands first, and of the interval's resamples.
        stop_at_score: percent of right validation verdicts at which the search ends; None: never. By default 80 for
            `as_published`, as published, and never for `corrected`: with few validation pairs 80 often ends the search
            before any demonstration is tried (config/README.md).
        num_workers: calls at once.
        persona_synthesis_program_path: a program file with an optimised persona prompt
            (`personalrm.methods.synthesizeme.theta`), such as
            those of an installed `SynthesizeMe`; None: this library's own prompt.
        lm: a `LanguageModel` (`personalrm.llm.types`) of one's own, instead of `model_id`; it is asked in whatever
            event loop the call runs in, and its answers are kept for the length of that call.
        num_workers_bootstrap: calls at once while fitting; None: `num_workers`.
        progress_update_hook: called in `fit`, `evaluate` and `predict_many` as hook(percent, message), with a
            percentage that never falls during one of them. None: a bar of tqdm, if that is installed, on a terminal and
            in notebooks.
        method: what the judge is shown: `both`, `persona` or `demos`; or `criteria`, a judge of its own
            (`personalrm.methods.criteria`). Or a method that reads the pairs as they are, so that `fit` makes no call:
            `scorecard`, a judge of its own (`personalrm.methods.scorecard`), `history`, `history_validation`.
        variant: of the method, as in the config.
        model_options: further keys of a model's entry in the config (config/README.md): `context_length`, `prompts`,
            `verdicts`, `max_tokens`, `api_key_env`, …
        constitution: rules that no persona can override: "default", ours; the path of a text file with your own; "off",
            none. "auto": ours in the generation prompt, and in judge prompts of methods that are not the paper's.
        learn_options: further keys of the config's section `learn`, as `{"bootstrap": {"attempts": 1}}`.
        max_failed_share: share of provider errors above which `fit` and `evaluate` raise.

    Raises:
        ConfigError: for settings that no call could be made with.
    """

    _saved_as = SavedProfile
    _renamed: ClassVar[Mapping[str, str]] = {"persona_program": "persona_synthesis_program_path"}

    def __init__(
        self,
        model_id: str = DEFAULT_MODEL,
        user_id: str | None = None,
        train_val_ratio: float = 0.7,
        max_bootstrapped_demos: int = -1,
        max_labeled_demos: int = 4,
        num_search_candidates: int = 10,
        output_dir: Path | str | None = None,
        model_url: str | None = None,
        seed: int = 42,
        stop_at_score: StopScore = "variant",
        num_workers: int = 8,
        persona_synthesis_program_path: Path | str | None = None,
        lm: LanguageModel | None = None,
        num_workers_bootstrap: int | None = 24,
        progress_update_hook: Callable[[float, str], object] | None = None,
        *,
        method: str = "both",
        variant: str = "corrected",
        model_options: Mapping[str, Any] | None = None,
        learn_options: Mapping[str, Any] | None = None,
        constitution: Path | str = "auto",
        max_failed_share: float = 0.01,
    ) -> None:
        given = dict(locals())
        self._given = {name: given[name] for name in sorted(self._parameters())}
        if not isinstance(train_val_ratio, int | float) or not 0 < train_val_ratio <= 1:
            raise ConfigError(f"train_val_ratio: must be above 0 and at most 1, not {train_val_ratio!r}")
        if num_workers_bootstrap is not None and num_workers_bootstrap < 1:
            raise ConfigError(f"num_workers_bootstrap: must be a whole number from 1, not {num_workers_bootstrap!r}")
        demos = max_bootstrapped_demos, max_labeled_demos, num_search_candidates
        learn = learn_section(model_id, *demos, stop_at_score, learn_options)
        asked: dict[str, Any] = {
            "variants": [variant],
            "seed": seed,
            "learn": learn,
            "max_failed_share": max_failed_share,
        }
        asked["constitution"] = str(constitution)
        config = object_config(model_id, model_url, num_workers, model_options, method, **asked)
        super().__init__(config, model_id, lm, output_dir, user_id)
        if self._method.needs != "profile" and not self._method.learns:
            raise ConfigError(f"method: {method!r} learns nothing; use both, persona, demos, or DefaultJudge")
        # Read now, for its errors: what is wrong with the file is reported before any call is paid for.
        program = persona_synthesis_program_path and read_theta(Path(persona_synthesis_program_path))
        self.progress_update_hook = progress_update_hook
        self._train_val_ratio = train_val_ratio
        self._fit_workers = num_workers_bootstrap or num_workers
        settings = profile_settings(config, MODEL, variant)
        wide = replace(settings, search=replace(settings.search, places=self._fit_workers))
        self._learning = with_theta(wide, program or None)
        self._profile: Profile | None = None
        self._votes: FittedOn | None = None

    def __repr__(self) -> str:
        learned = "not fitted"
        if self._profile is not None:
            persona = "a persona" if self._profile.persona else "no persona"
            learned = f"{persona} and {len(self._shown().demonstrations)} demonstrations of user {self.user_id!r}"
        return f"SynthesizeMe({self.model_id!r}, {self._method.name!r}, {learned})"

    @property
    def is_fitted(self) -> bool:
        """Whether there is a profile."""
        return self._profile is not None

    @property
    def profile(self) -> Profile:
        """All that was learned, with where it came from; `events` says what a reader should know of it.

        Raises NotFittedError before `fit` or `load`.
        """
        if self._profile is None:
            raise NotFittedError("nothing was learned yet: call fit(data), or load(path), first")
        return self._profile

    def fit(self, data: Votes, val_data: Votes | None = None) -> Self:
        """Learn persona and demonstrations from preferences, oldest first; returns the object.

        Where neither persona nor demonstrations come out, the judge is shown nothing, like `DefaultJudge`; that is
        logged, and stands in `profile.events`. With `output_dir` the profile is saved there.

        Args:
            data: votes, oldest first.
            val_data: votes that choose among demonstrations. Without them the last 1 - `train_val_ratio` of `data` do;
                where that leaves none, nothing is searched, and the first form of demonstrations is taken.

        Raises:
            DataError: the data are empty, wrong (place and field are named), or of several users.
            ModelCallError: the provider failed, more often than `max_failed_share`; the object stays as it was, and
                what was answered is kept, so that another `fit` asks only for the rest.
        """
        return run_blocking(lambda: self.afit(data, val_data))

    async def afit(self, data: Votes, val_data: Votes | None = None) -> Self:
        """As `fit`, in the caller's event loop."""
        with Progress(self.progress_update_hook) as progress:
            await self._learn(data, val_data, progress)
            progress.report(100.0, "fitted")
        return self

    def add(self, votes: Votes) -> Self:
        """Learn again, from the votes of `fit` and these; returns the object.

        Persona and demonstrations are those that `fit` finds with all votes. What was asked before is not asked again:
        its answers are in the store. Where `fit` had no `val_data`, the last 1 - `train_val_ratio` of all votes choose
        among demonstrations; else these votes are learned from, and `val_data` chooses.

        Args:
            votes: further votes of the same user, newer than those of `fit`.

        Raises:
            NotFittedError: before `fit`. A saved profile does not hold the votes: after `load`, call `fit` with all.
            DataError: votes that name another user, unless the object was made with `user_id`; and as `fit`.
            ModelCallError: as `fit`.

        Example:
            ``rm = SynthesizeMe("embedded/qwen2.5-coder-0.5b").fit(votes[:10]); rm.add(votes[10:])``
        """
        return run_blocking(lambda: self.aadd(votes))

    async def aadd(self, votes: Votes) -> Self:
        """As `add`, in the caller's event loop."""
        if self._votes is None:
            raise NotFittedError("the votes so far are not known (a saved profile has none): call fit with all votes")
        user_id, data, val_data = self._votes
        rows = as_rows(votes, "votes")
        usable_pairs(rows, "votes", user_id)  # names a wrong row by its place in `votes`
        if self._given_user is None:
            refuse_other_users(rows, "votes", user_id)
        # The votes of `fit` name their user, so that the user stays.
        return await self.afit([*data, *rows], val_data)

    async def _learn(self, data: Votes, val_data: Votes | None, progress: Progress) -> None:
        """Learn a profile, make it the object's own, and save it where there is a folder."""
        user, events = user_data(data, val_data, self._given_user, self._train_val_ratio)
        if self._method.needs == "profile":
            async with self._opened(self._fit_workers, progress.answered) as model:
                profile = await learn(model, user, self._learning, self.config.max_failed_share, progress)
        else:
            profile = self._raw(user)
        self._take(profile.model_copy(update={"events": (*events, *profile.events)}))
        context, validation = ([to_item(pair) for pair in user.part(part)] for part in ("context", "validation"))
        apart = (context, validation) if val_data is not None else ([*context, *validation], None)
        self._votes = FittedOn(user.user_id, *apart)
        if profile.lost:
            lost = sum(profile.lost.values())
            logger.warning("user %s: %d calls lost to provider errors; fit again asks for them", profile.user_id, lost)
        if self.output_dir is not None:
            self.save(self.output_dir)

    def _raw(self, user: UserData) -> Profile:
        """The profile for a method that shows pairs as they are: these pairs, instead of demonstrations."""
        shown = self._method.adapt(Known.of(user, pairs=user.part("context"), k="all"))
        return Profile(
            dataset=user.dataset,
            user_id=user.user_id,
            model=self.model_id,
            variant=self._learning.variant,
            k="all",
            draw=0,
            status="ok",
            demonstrations=tuple(shown.demonstrations) if isinstance(shown, JudgeContext) else (),
        )

    def _take(self, profile: Profile) -> None:
        """Make `profile` the object's own, and say so where the judge is left with little or nothing."""
        self._profile = profile
        self.user_id = profile.user_id
        shown = self._shown()
        if shown.demonstrations or (shown.persona and self._method.name == "persona"):
            return
        if not shown.persona:
            event = "neither persona nor demonstrations: the judge is shown nothing, as DefaultJudge"
            logger.warning("user %s: %s", profile.user_id, event)
        elif profile.winners.get("with_persona") == ZERO_SHOT:
            event = "no demonstrations: the set without any was best, or reached stop_at_score first"
        else:
            return
        if event not in profile.events:
            self._profile = profile.model_copy(update={"events": (*profile.events, event)})

    def get_persona(self) -> str | None:
        """The persona; None where the model wrote none (`profile.events` says so). Raises NotFittedError."""
        return self.profile.persona

    def get_demos(self) -> list[dict[str, str]]:
        """The demonstrations that the judge is shown, as the published package gives them: `conversation`,
        `first_completion`, `second_completion`, `preference` (First or Second) and, where there is one, `reasoning`.

        `profile.demonstrations` has them as records. Raises NotFittedError.
        """
        return [_demo(demonstration) for demonstration in self._shown().demonstrations]

    def get_generation_prompt(self) -> str:
        """A system prompt for a model that is to write for this user; it ends with the constitution unless that is
        "off" (nothing stored rests on this prompt). Raises NotFittedError."""
        return generation_prompt(self._shown(), constitution_of(self.config, guarded=True))

    def _to_save(self, **common: Any) -> SavedProfile:  # noqa: ANN401 - fields of Saved
        return SavedProfile(**common, profile=self.profile)

    def _take_saved(self, saved: SavedProfile) -> None:
        """A profile may be shown to another model than the one that learned it."""
        self._votes = None
        self._take(saved.profile)

    def _shown(self) -> JudgeContext:
        profile = self.profile
        if self._method.needs != "profile":
            return JudgeContext(demonstrations=profile.demonstrations, droppable=True)
        known = Known(UserData(dataset=DATASET, user_id=profile.user_id), profile=profile)
        shown = self._method.adapt(known)
        return shown if isinstance(shown, JudgeContext) else JudgeContext()


def _demo(demonstration: Demonstration) -> dict[str, str]:
    pair, swapped = demonstration.pair, demonstration.swapped
    shown = {
        "conversation": transcript(pair.context),
        "first_completion": pair.rejected if swapped else pair.chosen,
        "second_completion": pair.chosen if swapped else pair.rejected,
        "preference": LABELS["standard"][1 if swapped else 0],
    }
    return shown if demonstration.reasoning is None else shown | {"reasoning": demonstration.reasoning}
