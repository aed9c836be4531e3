"""The passage of some users through all stages of a run, with stand-ins in the place of models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from personalrm.core.files import stable_hash
from personalrm.core.records import CallRef, PreferencePair, Profile, UserData, UserTraces
from personalrm.data.filters.filter_settings import RELEASED, FilterSettings
from personalrm.data.filters.filters import Said, personalizable, sample_of, survivors
from personalrm.data.filters.rate import panel_votes, rate_pair
from personalrm.data.filters.ratings import PairRating, PanelVote
from personalrm.data.sources.votes import decided
from personalrm.judge.call_recorder import CallRecorder, Listener
from personalrm.judge.judge import JudgeContext
from personalrm.methods.registry import parse_method
from personalrm.methods.synthesizeme.bootstrap import BootstrapSettings, bootstrap_pairs
from personalrm.methods.synthesizeme.context_subsets import N_PARTS
from personalrm.methods.synthesizeme.profile import ProfileSettings, context_subset, learn_profile, with_theta
from personalrm.personas.axes import name_axes
from personalrm.personas.records import AxisSet, UserFidelity, UserRecovery
from personalrm.personas.recovery import read_rubric
from personalrm.studies.estimate.assumptions import Bound
from personalrm.studies.estimate.fake_model import FakeModel
from personalrm.studies.estimate.thetas import find_theta, stand_in_theta
from personalrm.studies.estimate.work import Tally, Work
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import optimised_thetas
from personalrm.studies.synthesizeme.stages.analysing import FIRST_DRAW, judge_fidelity, tag_profile
from personalrm.studies.synthesizeme.stages.filtering import refiltered
from personalrm.studies.synthesizeme.stages.judging import judge_user
from personalrm.studies.synthesizeme.stages.learn import learn_traces, used_by_theta
from personalrm.studies.synthesizeme.stages.recovering import judge_recovery
from personalrm.studies.synthesizeme.stages.runner import is_evaluated
from personalrm.studies.synthesizeme.stages.settings import (
    axes_question,
    draws_for,
    fidelity_question,
    judge_settings,
    judged_methods,
    panel_settings,
    profile_settings,
    recovery_question,
    tag_question,
)

Learned = dict[tuple[str, str, int], list[Profile]]
"""Profiles by variant, model and k, a draw after the other."""


def sample_users(users: Sequence[UserData], most: int) -> list[UserData]:
    """At most so many users, by a stable hash."""
    return sorted(users, key=lambda user: stable_hash("rehearsal", user.dataset, user.user_id))[:most]


class Simulation:
    """Takes users through the stages and books what was asked.

    Args:
        config: the run.
        models: a stand-in for each of its models.
        bound: what adapts is as assumed, or as little or as much as can be.
        most: users of a data set that are taken; they stand for all of it.
        tally: where to book what is asked.
        share: how much of it counts: the same users may pass several times.
    """

    def __init__(
        self, config: Config, models: Mapping[str, FakeModel], bound: Bound, most: int, tally: Tally, share: float = 1.0
    ) -> None:
        self.config, self.models, self.bound, self.most = config, models, bound, most
        self.tally, self.share = tally, share
        for model in models.values():
            model.vague = bound == "most"
            if bound == "least":
                model.right = 1.0

    async def dataset(self, name: str, users: Sequence[UserData]) -> int:
        """Take a sample of one data set's users through all stages; returns how many stand for the others."""
        config = self.config
        people = [user for user in users if user.pairs]
        counted = [user for user in people if is_evaluated(user, config.evaluate_users)]
        sampled = sample_users(counted, self.most)
        if not sampled:
            return 0
        share, weight = len(people) / len(sampled), len(counted) / len(sampled)
        learned: dict[str, Learned] = {}
        seen: list[UserData] = []
        for user in sampled:
            self._meet(user)
            left = await self._filters(user, share)
            seen.append(left)
            await self._baselines(left, weight)
            learned[user.user_id] = await self._learn(left, weight)
            await self._judge(left, learned[user.user_id], weight)
        await self._read_personas(seen, learned, weight)
        await self._axes(name, learned.values(), weight, len(counted))
        return len(sampled)

    async def thetas(self, users: Sequence[UserData]) -> None:
        """Find the Thetas that the run finds itself, on `users`, all that there are."""
        for theta, name in optimised_thetas(self.config):
            optimiser = self.config.thetas[theta].optimise
            book = partial(self.book, "theta")
            asked = await find_theta(self.config, theta, self.models[name], users, self.most, book)
            proposer = (optimiser and optimiser.proposer) or name
            for used, times in asked:
                self.tally.setdefault(("theta", proposer), Work()).add(used, times * self.share)

    def book(self, stage: str, weight: float, refs: Iterable[CallRef] = ()) -> None:
        """Book what was asked since the last time, under the stage that its reference names, else under `stage`."""
        owners = {ref.key: ref.stage for ref in refs}
        for name, model in self.models.items():
            for key, used in model.take().items():
                self.tally.setdefault((owners.get(key, stage), name), Work()).add(used, weight * self.share)

    def _meet(self, user: UserData) -> None:
        for model in self.models.values():
            model.meet(user)

    async def _filters(self, user: UserData, weight: float) -> UserData:
        """The user with the pairs that the filters leave."""
        settings = self.config.datasets[user.dataset]
        filters = settings.filters
        if filters is None:
            return user
        said = await self._rated(user, filters, weight)
        votes = await self._voted(user, filters, said, weight)
        if not filters.apply:
            return user
        steps = survivors({user.user_id: user.pairs}, Said(said, votes), filters)
        return refiltered(user, steps[-1][1][user.user_id], settings)

    async def _rated(self, user: UserData, filters: FilterSettings, weight: float) -> dict[str, PairRating]:
        rated = filters.personalizable
        if rated is None or rated.model == RELEASED:
            return {}
        style, listener = self.config.models[rated.model].prompts, Listener(self.models[rated.model], "rate")
        pairs = sample_of(user, filters.sample)
        ratings = [await rate_pair(listener, pair, style, rated.max_tokens) for pair in pairs]
        self.book("rate", weight)
        return {rating.pair_id: rating for rating in ratings}

    async def _voted(
        self, user: UserData, filters: FilterSettings, said: Mapping[str, PairRating], weight: float
    ) -> dict[str, list[PanelVote]]:
        votes: dict[str, list[PanelVote]] = {}
        rated = filters.personalizable
        for model in filters.disagreement.models if filters.disagreement else ():
            if model == RELEASED:
                break
            listener, settings = (
                Listener(self.models[model], "panel"),
                panel_settings(self.config, user.dataset, model),
            )
            for pair in decided(sample_of(user, filters.sample)):
                if rated is None or personalizable(said.get(pair.pair_id), rated):
                    votes.setdefault(pair.pair_id, []).extend(await panel_votes(listener, pair, settings))
        self.book("panel", weight)
        return votes

    async def _baselines(self, user: UserData, weight: float) -> None:
        for judge in self.config.judge_models:
            await self._methods(user, judge, None, judged_methods(self.config, profile=None, judge=judge))
        self.book("baseline", weight)

    async def _methods(self, user: UserData, judge: str, profile: Profile | None, specs: Sequence[str]) -> None:
        entry = self.config.models[judge]
        for use in map(parse_method, specs):
            for mode in entry.verdicts:
                await judge_user(self.models[judge], user, use, judge_settings(entry, mode), profile)

    async def _learn(self, user: UserData, weight: float) -> Learned:
        """Profiles of all variants, models and k."""
        config, learned = self.config, Learned()
        for variant in config.variants:
            for model in config.learn.models:
                theta = stand_in_theta(config, variant, model, self.models[model])
                if used_by_theta(config, variant, user, theta):
                    continue
                settings = self._bounded(with_theta(profile_settings(config, model, variant), theta))
                traces = await self._traces(user, model, settings, weight)
                for k in dict.fromkeys([*config.ks, *config.axes_ks]):
                    learned[variant, model, k] = [
                        await self._profile(user, traces, model, k, draw, settings, weight)
                        for draw in draws_for(config, k)
                    ]
        return learned

    def _bounded(self, settings: ProfileSettings) -> ProfileSettings:
        search = settings.search
        if self.bound == "least":
            # The first candidate, once scored, ends the search.
            search = replace(search, stop_at_score=0.0, exhaustive=False)
        elif self.bound == "most" and search.strategy == "exact":
            search = replace(search, exhaustive=True)
        return replace(settings, search=search)

    async def _traces(self, user: UserData, model: str, settings: ProfileSettings, weight: float) -> UserTraces:
        pairs = user.part("context")
        await self._attempts(model, pairs, JudgeContext(), settings.bootstrap)
        traces = await learn_traces(self.models[model], user, settings.variant, settings.bootstrap)
        self.book("bootstrap", weight)
        return traces

    async def _attempts(
        self, model: str, pairs: Sequence[PreferencePair], shown: JudgeContext, settings: BootstrapSettings
    ) -> None:
        """Ask for as many attempts as there can be; answers that are asked for again count once."""
        stand_in = self.models[model]
        if self.bound != "most":
            return
        assumed, stand_in.right = stand_in.right, 0.0
        await bootstrap_pairs(stand_in, pairs, shown, settings)
        stand_in.right = assumed

    async def _profile(
        self,
        user: UserData,
        traces: UserTraces,
        model: str,
        k: int,
        draw: int,
        settings: ProfileSettings,
        weight: float,
    ) -> Profile:
        profile = await learn_profile(self.models[model], user, traces, k, draw, settings)
        self.book("search", weight, profile.calls)
        if settings.rebootstrap and profile.persona and k not in N_PARTS:
            pairs = context_subset(user.part("context"), k, draw, settings.seed)
            await self._attempts(model, pairs, JudgeContext(persona=profile.persona), settings.bootstrap)
            self.book("rebootstrap", weight)
        return profile

    async def _judge(self, user: UserData, learned: Learned, weight: float) -> None:
        config = self.config
        combinations = [(model, model, k) for model in config.learn.models for k in config.ks]
        combinations += [(profile, judge, config.largest_k) for profile, judge in config.transfer_pairs]
        for profile_model, judge, k in combinations:
            specs = judged_methods(config, profile=profile_model, judge=judge)
            for variant in config.variants:
                for profile in learned.get((variant, profile_model, k), ()):
                    await self._methods(user, judge, profile, specs)
            self.book("judge" if profile_model == judge else "transfer", weight)

    async def _read_personas(self, users: Sequence[UserData], learned: Mapping[str, Learned], weight: float) -> None:
        """Fidelity and recovery, which read the users' own personas and others'."""
        config, k = self.config, self.config.largest_k
        facts = read_rubric(config.analysis.recovery.rubric) if config.analysis.recovery else {}
        for variant in config.variants:
            for stage, pairs in (("fidelity", config.fidelity_pairs), ("recovery", config.recovery_pairs)):
                for model, judge in pairs:
                    personas = _personas(learned, (variant, model, k))
                    who = {"variant": variant, "model": model, "judge": judge}
                    for user in users:
                        if stage == "fidelity":
                            asked, base = fidelity_question(config, judge), UserFidelity.of(user, **who, k=k)
                            await judge_fidelity(self.models[judge], user, personas, base, asked)
                        else:
                            sought, blank = recovery_question(config, judge), UserRecovery.of(user, **who, k=k)
                            blank = blank.model_copy(update={"facts": facts.get(user.user_id, ())})
                            await judge_recovery(self.models[judge], personas, blank, sought)
                self.book(stage, weight)

    async def _axes(self, dataset: str, learned: Iterable[Learned], weight: float, users: int) -> None:
        config, asked = self.config, self.config.axes_asked
        if config.analysis.axes is None or asked is None:
            return
        everybody, personas = list(learned), users * len(config.axes_models)
        for variant in config.variants:
            shown = [p for mine in everybody for p in _of(mine, variant, config.axes_models, [config.largest_k])]
            shown = [profile for profile in shown if profile.draw == FIRST_DRAW]
            # The same personas under other names, as many as there will be.
            times = -(-personas // max(1, len(shown)))
            named = [p.model_copy(update={"user_id": f"{p.user_id} {n}"}) for p in shown for n in range(times)]
            recorder = CallRecorder(self.models[asked], "axes")
            found = await name_axes(recorder, named[:personas], axes_question(config, asked))
            self.book("axes", 1.0)
            known = AxisSet(dataset=dataset, variant=variant, model=asked, axes=found.axes, shown=found.shown)
            for mine in everybody:
                for profile in _of(mine, variant, config.axes_models, config.axes_ks):
                    await tag_profile(self.models[asked], profile, known, tag_question(config, asked))
            self.book("tag", weight)


def _of(learned: Learned, variant: str, models: Sequence[str], ks: Sequence[int]) -> list[Profile]:
    return [profile for model in models for k in ks for profile in learned.get((variant, model, k), ())]


def _personas(learned: Mapping[str, Learned], key: tuple[str, str, int]) -> dict[str, str]:
    """Personas of the first draw, by user."""
    first = {user: mine[key][0].persona for user, mine in learned.items() if mine.get(key)}
    return {user: persona for user, persona in first.items() if persona}
