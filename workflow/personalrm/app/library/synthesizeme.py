"""SynthesizeMe for one user: learn from preferences, then judge, explain and keep what was learned."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError

from personalrm import __version__
from personalrm.app.library.base import PersonalRM, run_blocking
from personalrm.app.library.data import Item, transcript, user_data
from personalrm.app.library.learning import Progress, learn
from personalrm.app.library.models import DATASET, DEFAULT_MODEL, MODEL, StopScore, learn_section, object_config
from personalrm.core.addresses import without_credentials
from personalrm.core.errors import ConfigError, DataError, NotFittedError
from personalrm.core.files import atomic_write_text
from personalrm.core.records import Demonstration, Profile, Record, UserData
from personalrm.data.sharding import shard_name
from personalrm.judge.judge import LABELS, JudgeContext, under_constitution
from personalrm.judge.prompting import load_prompt
from personalrm.llm.types import LanguageModel
from personalrm.methods.base import Known
from personalrm.methods.synthesizeme.profile import with_theta
from personalrm.methods.synthesizeme.search import ZERO_SHOT
from personalrm.methods.synthesizeme.theta import read_theta
from personalrm.studies.synthesizeme.stages.learn import profile_settings
from personalrm.studies.synthesizeme.stages.settings import constitution_of

_RENAMED = {"persona_program": "persona_synthesis_program_path"}
"""Names in files of version 0.1.0, to those of today."""
logger = logging.getLogger("personalrm.app.library")


class SavedProfile(Record):
    """The file of a fitted object: the parameters that the object was made with, and what was learned. Never a key.

    `model_id` is the model that learned; `settings` says how to reach it again, unless it was an `lm` (`own_model`).
    """

    kind: Literal["personalrm.SynthesizeMe"] = "personalrm.SynthesizeMe"
    personalrm: str
    model_id: str
    own_model: bool = False
    settings: dict[str, Any]
    profile: Profile


class SynthesizeMe(PersonalRM):
    """A judge that learns one user's taste: a persona and demonstrations (paper, section 3), by one model.

    Args:
        model_id: see `personalrm.app.library.models` for the forms.
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
        progress_update_hook: called in `fit` as hook(percent, message), with a percentage that never falls.
        method: what the judge is shown: `both`, `persona` or `demos`; or `criteria`, a judge of its own
            (`personalrm.methods.criteria`). Or a method that reads the pairs as they are, so that `fit` makes no call:
            `scorecard`, a judge of its own (`personalrm.methods.scorecard`), `history`, `history_validation`.
        variant: of the method, as in the config.
        model_options: further keys of a model's entry in the config (config/README.md): `context_length`, `prompts`,
            `verdicts`, `max_tokens`, `api_key_env`, …
        constitution: rules that no persona can override: "default", ours; the path of a text file with your own; "off",
            none. "auto": ours in the generation prompt, and in judge prompts of methods that are not the paper's.
        learn_options: further keys of the config's section `learn`: `{"bootstrap": {"attempts": 1}, "rebootstrap":
        False}`. max_failed_share: share of provider errors above which `fit` and `evaluate` raise.

    Raises:
        ConfigError: for settings that no call could be made with.
    """

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
        self._given = {name: value for name, value in locals().items() if name in _SAVED}
        if not isinstance(train_val_ratio, int | float) or not 0 < train_val_ratio <= 1:
            raise ConfigError(f"train_val_ratio: must be above 0 and at most 1, not {train_val_ratio!r}")
        if num_workers_bootstrap is not None and num_workers_bootstrap < 1:
            raise ConfigError(f"num_workers_bootstrap: must be a whole number from 1, not {num_workers_bootstrap!r}")
        demos = max_bootstrapped_demos, max_labeled_demos, num_search_candidates
        learn = learn_section(model_id, *demos, stop_at_score, learn_options)
        asked = {"variants": [variant], "seed": seed, "learn": learn, "max_failed_share": max_failed_share}
        asked["constitution"] = str(constitution)
        config = object_config(model_id, model_url, num_workers, model_options, method, **asked)
        super().__init__(config, model_id, lm, output_dir)
        if self._method.needs != "profile" and not self._method.learns:
            raise ConfigError(f"method: {method!r} learns nothing; use both, persona, demos, or DefaultJudge")
        # Read now, for its errors: what is wrong with the file is reported before any call is paid for.
        program = persona_synthesis_program_path and read_theta(Path(persona_synthesis_program_path))
        self.user_id = user_id
        self.progress_update_hook = progress_update_hook
        self._train_val_ratio = train_val_ratio
        self._fit_workers = num_workers_bootstrap or num_workers
        settings = profile_settings(config, MODEL, variant)
        wide = replace(settings, search=replace(settings.search, places=self._fit_workers))
        self._learning = with_theta(wide, program or None)
        self._profile: Profile | None = None

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

    def fit(self, data: Sequence[Item], val_data: Sequence[Item] | None = None) -> Self:
        """Learn persona and demonstrations from preferences, oldest first; returns the object.

        Without `val_data` the last 1 - `train_val_ratio` of `data` choose among demonstrations; where that leaves none,
        nothing is searched, and the first form of demonstrations is taken. Where neither persona nor demonstrations
        come out, the judge is shown nothing, like `DefaultJudge`; that is logged, and stands in `profile.events`. With
        `output_dir` the profile is saved there.

        Raises:
            DataError: the data are empty, wrong (place and field are named), or of several users.
            ModelCallError: the provider failed, more often than `max_failed_share`; the object stays as it was, and
                what was answered is kept, so that another `fit` asks only for the rest.
        """
        return run_blocking(lambda: self.afit(data, val_data))

    async def afit(self, data: Sequence[Item], val_data: Sequence[Item] | None = None) -> Self:
        """As `fit`, in the caller's event loop."""
        user, events = user_data(data, val_data, self.user_id, self._train_val_ratio)
        progress = Progress(self.progress_update_hook)
        if self._method.needs == "profile":
            async with self._opened(self._fit_workers, progress.answered) as model:
                profile = await learn(model, user, self._learning, self.config.max_failed_share, progress)
        else:
            profile = self._raw(user)
        self._take(profile.model_copy(update={"events": (*events, *profile.events)}))
        if profile.lost:
            lost = sum(profile.lost.values())
            logger.warning("user %s: %d calls lost to provider errors; fit again asks for them", profile.user_id, lost)
        if self.output_dir is not None:
            self.save(self.output_dir)
        progress.report(100.0, "fitted")
        return self

    def _raw(self, user: UserData) -> Profile:
        """The profile for a method that shows pairs as they are: these pairs, in the place of demonstrations."""
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
        shown = self._shown()
        known = {"persona": shown.persona, "demonstrations": tuple(shown.demonstrations)}
        system = load_prompt("generation").render("system", **known)
        return under_constitution(system, shown, constitution_of(self.config, guarded=True))

    def save(self, path: Path | str | None = None) -> Path:
        """Write settings and profile as JSON; returns the file.

        `path` is a file that ends in .json, or a folder, in which the file is named after the user (default:
        `output_dir`). The file holds the user's texts, and never a key. Raises NotFittedError, DataError where it
        cannot be written.
        """
        settings: dict[str, Any] = self._given | {"model_options": dict(self._given["model_options"] or {})}
        for values, name in ((settings, "model_url"), (settings["model_options"], "api_base")):
            if values.get(name):
                values[name] = without_credentials(values[name])
        for name in ("persona_synthesis_program_path", "constitution"):
            if settings[name]:
                settings[name] = str(settings[name])
        saved = SavedProfile(
            personalrm=__version__,
            model_id=self.model_id,
            own_model=self.lm is not None,
            settings=settings,
            profile=self.profile,
        )
        file = _file_of(self._place(path), saved.profile.user_id)
        try:
            atomic_write_text(file, saved.model_dump_json(indent=1) + "\n")
        except OSError as error:
            raise DataError(f"{file}: cannot be written ({error.strerror or error}); give another path") from error
        return file

    def load(self, path: Path | str | None = None) -> Self:
        """Take over a saved profile; returns the object, which is then as good as fitted.

        The object keeps its own model and settings: a profile may be shown to another model than the one that learned
        it. `from_saved` makes an object as the saved one was. `path` is a file or a folder (default: `output_dir`),
        in which the file is that of `user_id`, or the only one. Raises DataError.
        """
        self._take(_read_saved(self._place(path), self.user_id).profile)
        return self

    @classmethod
    def from_saved(
        cls,
        path: Path | str,
        user_id: str | None = None,
        *,
        lm: LanguageModel | None = None,
        output_dir: Path | str | None = None,
        progress_update_hook: Callable[[float, str], object] | None = None,
        **changes: Any,  # noqa: ANN401  (parameters of the class, checked there)
    ) -> Self:
        """An object as it was saved, model and parameters included; `changes` are parameters that shall differ.

        An object that was made with an `lm` needs one again. Raises DataError, ConfigError.
        """
        saved = _read_saved(Path(path), user_id)
        if saved.own_model and lm is None and "model_id" not in changes:
            raise ConfigError(f"lm: the profile was learned by an lm ({saved.model_id}); give it, or a model_id")
        given = {_RENAMED.get(name, name): value for name, value in saved.settings.items()} | changes
        if odd := sorted(given.keys() - _SAVED):
            raise ConfigError(f"{', '.join(odd)}: no setting of this version of personalrm")
        made = cls(**given, lm=lm, output_dir=output_dir, progress_update_hook=progress_update_hook)
        made._take(saved.profile)
        return made

    def _shown(self) -> JudgeContext:
        profile = self.profile
        if self._method.needs != "profile":
            return JudgeContext(demonstrations=profile.demonstrations, droppable=True)
        known = Known(UserData(dataset=DATASET, user_id=profile.user_id), profile=profile)
        shown = self._method.adapt(known)
        return shown if isinstance(shown, JudgeContext) else JudgeContext()

    def _place(self, path: Path | str | None) -> Path:
        place = path or self.output_dir
        if place is None:
            raise ConfigError("path: give a file or a folder, or make the object with output_dir")
        return Path(place)


def _demo(demonstration: Demonstration) -> dict[str, str]:
    pair, swapped = demonstration.pair, demonstration.swapped
    shown = {
        "conversation": transcript(pair.context),
        "first_completion": pair.rejected if swapped else pair.chosen,
        "second_completion": pair.chosen if swapped else pair.rejected,
        "preference": LABELS["standard"][1 if swapped else 0],
    }
    return shown if demonstration.reasoning is None else shown | {"reasoning": demonstration.reasoning}


def _file_of(path: Path, user_id: str) -> Path:
    """The file for a user: `path`, where it ends in .json, else one in the folder `path`, named after the user."""
    return path if path.suffix == ".json" else path / f"{shard_name(user_id)}.profile.json"


def _read_saved(path: Path, user_id: str | None) -> SavedProfile:
    """Read the file `path`, or in a folder that of `user_id`, or its only one.

    Raises DataError where there is none, several, another user's, or one that this version does not know.
    """
    files = [path if path.is_file() else _file_of(path, user_id or "")]
    if path.is_dir() and user_id is None:
        files = list(path.glob("*.profile.json"))
        if len(files) > 1:
            raise DataError(f"{path}: holds profiles of {len(files)} users; give user_id, or the file of one")
    if not files or not files[0].is_file():
        whose = "" if user_id is None else f" of user {user_id!r}"
        raise DataError(f"{path}: no saved profile{whose} there; fit and save(path) first, or correct the path")
    (file,) = files
    try:
        saved = SavedProfile.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); save the fitted object again") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise DataError(
            f"{file}: {where}: {first['msg']}; not a profile that this version of personalrm wrote: fit and save again"
        ) from error
    if user_id is not None and saved.profile.user_id != user_id:
        raise DataError(
            f"{file}: is the profile of user {saved.profile.user_id!r}, not of {user_id!r}; correct path or user_id"
        )
    return saved


_SAVED = inspect.signature(SynthesizeMe).parameters.keys() - {"user_id", "output_dir", "lm", "progress_update_hook"}
"""Parameters that a file of a saved object keeps."""
