"""From a user's data to a profile, by the functions of the workflow's stages `bootstrap` and `profile`."""

from __future__ import annotations

from personalrm.app.library.calls import TrackedModel
from personalrm.app.library.progress import Progress
from personalrm.core.concurrency import concurrently
from personalrm.core.errors import ModelCallError
from personalrm.core.records import Profile, UserData, UserTraces
from personalrm.judge.call_recorder import CallRecorder
from personalrm.methods.synthesizeme.profile import ProfileSettings, learn_profile
from personalrm.methods.synthesizeme.search import search_first
from personalrm.studies.runner import refuse_outage
from personalrm.studies.synthesizeme.stages.learn import learn_traces


async def learn(
    model: TrackedModel, user: UserData, settings: ProfileSettings, max_failed_share: float, progress: Progress
) -> Profile:
    """The profile of a user, status `ok`.

    Raises ModelCallError where the provider failed for more than `max_failed_share` of the attempts, or so that there
    is no profile; its subclass where one is known.
    """
    context, validation = user.part("context"), user.part("validation")
    attempts = len(context) * settings.bootstrap.attempts * (1 if settings.bootstrap.judge.mode == "text" else 2)
    progress.stage("attempts at pairs", attempts, 0.0, 30.0)
    concurrent = settings.search.parallel > 1
    made = learn_traces(model, user, settings.variant, settings.bootstrap, side_by_side=concurrent)
    traces, _ = await concurrently(made, _ahead(model, user, settings)) if concurrent else (await made, None)
    lost = (trace.outcome == "provider_error" for trace in traces.traces)
    refuse_outage(lost, "attempts", max_failed_share, model.outage)
    trials = 2 * len(settings.search.seeds) * len(validation) * 2
    progress.stage("search and persona", trials + attempts + 1, 30.0, 99.0)
    counted = CallRecorder(model, "profile")
    profile = await learn_profile(counted, user, traces, "all", 0, settings)
    if profile.status != "ok":
        outcome = (profile.reason or "").partition(":")[0]
        cause = next((error for name, error in model.failures.items() if name == outcome), None)
        raise cause or ModelCallError(f"fit: {profile.reason}")
    refuse_outage(counted.lost(), "calls", max_failed_share, model.outage)
    return profile


async def _ahead(model: TrackedModel, user: UserData, settings: ProfileSettings) -> None:
    """Make calls that do not depend on traces while traces are made; their answers are then found in the store.

    The first candidate of the first search does not. Where it ends that search, and later traces are made anew with the
    persona known, nothing of the profile does.
    """
    context, validation = user.part("context"), user.part("validation")
    found = await search_first(model, context, validation, settings.search, allow_empty=False)
    if found is not None and settings.rebootstrap:
        unknown = UserTraces(
            dataset=user.dataset, user_id=user.user_id, model=model.spec.name, variant=settings.variant, status="ok"
        )
        await learn_profile(model, user, unknown, "all", 0, settings)
