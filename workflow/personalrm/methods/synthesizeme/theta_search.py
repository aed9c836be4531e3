"""Finding a Theta: the persona prompt optimised with DSPy's MIPROv2 (paper, stage 2).

The paper names the optimiser; trials, candidates, proposer and metric are not published, so that these are
parameters of ours. The metric is the judge's accuracy on a user's validation pairs, given the persona that the
prompt induces from the user's judgements (stage 1's winner). DSPy proposes and chooses; personas and verdicts are
made by this library's own stages, over the response store, so that a repeated trial costs nothing.

Users are split once more: demonstrations and what the proposer is shown come from one part, scores from the other. No
prompt for a user's persona holds a demonstration of the same user.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

from personalrm.core.errors import BudgetExceeded, ContextOverflow, DataError, ModelCallError, Refused
from personalrm.core.files import stable_hash
from personalrm.core.records import Demonstration, PreferencePair
from personalrm.core.threads import beside
from personalrm.judge.judge import JudgeContext, JudgeSettings, judge_pairs
from personalrm.llm.types import LanguageModel, Message, Request
from personalrm.methods.synthesizeme.persona import PersonaSettings, induce_persona, persona_messages
from personalrm.methods.synthesizeme.theta import PersonaDemonstration, Theta, ThetaOptimiser

PREDICTOR = "synthesize"
GOOD_SHARE = 0.75
"""A persona that judges this share of a user's validation pairs right may become a demonstration (our choice)."""


@dataclass(frozen=True)
class ThetaSettings:
    """How a Theta is searched for: how personas are written and judged, and the settings of the optimiser."""

    persona: PersonaSettings
    judge: JudgeSettings
    optimiser: ThetaOptimiser = field(default_factory=ThetaOptimiser)
    seed: int = 0


class Student(NamedTuple):
    """A train user: the judgements that the persona is made from, and the pairs that it is tried on."""

    user_id: str
    judgements: tuple[Demonstration, ...]
    validation: tuple[PreferencePair, ...]

    @property
    def pairs(self) -> tuple[PreferencePair, ...]:
        """All pairs of the user that the search may show to a model."""
        return (*(judgement.pair for judgement in self.judgements), *self.validation)


class Trial(NamedTuple):
    """One combination that was tried: its instruction, its number of demonstrations, its score in percent."""

    instruction: str
    n_demonstrations: int
    score: float


class Found(NamedTuple):
    """The best Theta, and all trials in their order; the first is the prompt as it was."""

    theta: Theta
    best_score: float
    trials: tuple[Trial, ...]


async def search_theta(
    model: LanguageModel, proposer: LanguageModel, students: Sequence[Student], settings: ThetaSettings, name: str
) -> Found:
    """Run MIPROv2 over `students`; an outage ends the search.

    Raises DataError where they are too few to be split, and ModelCallError as the client does.
    """
    bridge = _Bridge(model, proposer, students, settings, asyncio.get_running_loop())
    # DSPy is synchronous: it runs in a thread and asks this loop.
    return await beside(partial(_compile, bridge, split_users(students, settings), name))


class Parts(NamedTuple):
    """Places of the students whose personas may become demonstrations, and of those that are scored."""

    demonstrating: tuple[int, ...]
    scored: tuple[int, ...]


def split_users(students: Sequence[Student], settings: ThetaSettings) -> Parts:
    """Students in two parts without a common user, by a hash of the user: one of several data sets (folds of one, such
    as they are) stands in one part with all its rows. Raises DataError for fewer than two users."""
    people = sorted(
        {student.user_id for student in students}, key=lambda user: stable_hash("theta", str(settings.seed), user)
    )
    if len(people) < 2:
        raise DataError(
            f"a Theta needs two train users with judgements and validation pairs, one to demonstrate and one to be "
            f"scored; there are {len(people)}: raise max_users or the share of train users"
        )
    scored = set(people[: min(len(people) - 1, max(1, int(settings.optimiser.scored_share * len(people))))])
    by_part = [tuple(n for n, one in enumerate(students) if (one.user_id in scored) == part) for part in (False, True)]
    return Parts(*by_part)


class _Bridge:
    """Runs calls of DSPy's threads in the event loop of the clients. Copies of a program share it."""

    def __init__(
        self,
        model: LanguageModel,
        proposer: LanguageModel,
        students: Sequence[Student],
        settings: ThetaSettings,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.model, self.proposer, self.students, self.settings = model, proposer, students, settings
        self._loop = loop
        self.outage: ModelCallError | BudgetExceeded | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> _Bridge:
        return self

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
        """Run a coroutine in the loop and wait for it; the first failure is kept, because DSPy ignores errors."""
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except (ModelCallError, BudgetExceeded) as error:
            self.outage = self.outage or error
            raise

    async def persona(self, student: Student, theta: Theta) -> str:
        """The persona that a prompt induces, without demonstrations of the same user; empty where the input does not
        fit, or the model refused."""
        theta = replace(theta, demonstrations=theta.without(student.pairs))
        try:
            induced = await induce_persona(self.model, student.judgements, replace(self.settings.persona, theta=theta))
        except (ContextOverflow, Refused):
            return ""
        return induced.persona or ""

    async def accuracy(self, student: Student, persona: str) -> float:
        """Share of correct verdicts on the validation pairs. Raises ModelCallError where the provider failed one:
        trials are compared on the same judgments, and what was answered is stored for the next attempt."""
        shown = JudgeContext(persona=persona or None)
        verdicts = await judge_pairs(self.model, student.validation, shown, self.settings.judge)
        outcomes = [verdict.outcome for verdict in verdicts]
        if lost := outcomes.count("provider_error"):
            raise ModelCallError(f"user {student.user_id}: {lost} verdicts lost; run the same command again")
        return outcomes.count("correct") / len(outcomes)


def judgements_text(judgements: Sequence[Demonstration], settings: PersonaSettings) -> str:
    """Judgements as the persona prompt shows them, without its request."""
    messages = persona_messages(judgements, replace(settings, theta=Theta("", "\0")))
    return next(message.content for message in messages if "\0" in message.content).partition("\0")[0].strip()


def _compile(bridge: _Bridge, parts: Parts, name: str) -> Found:
    import dspy

    settings = bridge.settings
    examples = [
        dspy.Example(user=place, past_judgements=judgements_text(student.judgements, settings.persona)).with_inputs(
            "user", "past_judgements"
        )
        for place, student in enumerate(bridge.students)
    ]

    def metric(example: Any, prediction: Any, trace: object = None) -> float:  # noqa: ANN401
        del trace
        student = bridge.students[example.user]
        return float(bridge.wait(bridge.accuracy(student, prediction.synthesized_persona)))

    program = _program(bridge, settings.persona.prompt.render("request"), name)
    lm = _language_model(bridge)
    optimiser = dspy.MIPROv2(
        metric=metric,
        prompt_model=lm,
        task_model=lm,
        auto=None,
        num_candidates=settings.optimiser.num_candidates + 1,
        max_bootstrapped_demos=settings.optimiser.max_demos,
        max_labeled_demos=0,
        max_errors=1,
        seed=settings.seed,
        metric_threshold=GOOD_SHARE,
    )
    with dspy.context(lm=lm, adapter=_lenient_adapter()):
        best = optimiser.compile(
            program,
            trainset=[examples[place] for place in parts.demonstrating],
            valset=[examples[place] for place in parts.scored],
            num_trials=settings.optimiser.num_trials,
            minibatch=False,
            program_aware_proposer=False,
            data_aware_proposer=settings.optimiser.data_aware,
            fewshot_aware_proposer=settings.optimiser.fewshot_aware,
        )
    if bridge.outage is not None:
        raise bridge.outage
    return _found(best, bridge.students, name)


def _theta(predictor: Any, students: Sequence[Student], name: str) -> Theta:  # noqa: ANN401
    """What a predictor holds. Its demonstrations name the student, whose judgements are kept as such."""
    shown = tuple(
        PersonaDemonstration(students[demo["user"]].judgements, demo["synthesized_persona"]) for demo in predictor.demos
    )
    return Theta(name, str(predictor.signature.instructions), shown)


def _found(best: Any, students: Sequence[Student], name: str) -> Found:  # noqa: ANN401
    """What MIPROv2 logged, trial by trial; the first is the prompt as it was."""
    logs = [best.trial_logs[number] for number in sorted(best.trial_logs)]
    tried = [(log["full_eval_program"], float(log["full_eval_score"])) for log in logs if "full_eval_program" in log]
    trials = tuple(
        Trial(theta.instruction, len(theta.demonstrations), score)
        for program, score in tried
        for theta in [_theta(getattr(program, PREDICTOR), students, name)]
    )
    theta = _theta(getattr(best, PREDICTOR), students, name)
    return Found(theta, float(best.score), trials)


def _program(bridge: _Bridge, instruction: str, name: str) -> Any:  # noqa: ANN401
    """A DSPy program of one predictor, which holds the instruction and demonstrations and calls our persona step."""
    import dspy

    class InducePersona(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            signature = dspy.Signature("past_judgements -> synthesized_persona", instruction)
            setattr(self, PREDICTOR, dspy.Predict(signature))

        def forward(self, user: int, past_judgements: str) -> Any:  # noqa: ANN401
            predictor = getattr(self, PREDICTOR)
            theta = _theta(predictor, bridge.students, name)
            persona = bridge.wait(bridge.persona(bridge.students[user], theta))
            prediction = dspy.Prediction(synthesized_persona=persona)
            if dspy.settings.trace is not None:
                shown = {"user": user, "past_judgements": past_judgements}
                dspy.settings.trace.append((predictor, shown, prediction))
            return prediction

    return InducePersona()


def _language_model(bridge: _Bridge) -> Any:  # noqa: ANN401
    """The proposing model as DSPy's proposer calls it."""
    import dspy

    class ModelClient(dspy.BaseLM):  # type: ignore[misc]
        def __deepcopy__(self, memo: dict[int, Any]) -> Any:  # noqa: ANN401
            return self

        def forward(
            self,
            prompt: str | None = None,
            messages: Sequence[dict[str, Any]] | None = None,
            **options: Any,  # noqa: ANN401
        ) -> Any:  # noqa: ANN401
            turns = messages or [{"role": "user", "content": prompt or ""}]
            sample = int(options.get("rollout_id") or self.kwargs.get("rollout_id") or 0)
            request = Request(
                tuple(Message(turn["role"], str(turn["content"])) for turn in turns),
                max_tokens=bridge.settings.persona.max_tokens,
                temperature=float(options.get("temperature") or self.kwargs.get("temperature") or 0.0),
                seed=sample,
                sample_index=sample,
            )
            response = bridge.wait(bridge.proposer.complete(request))
            message = SimpleNamespace(content=response.text, tool_calls=None, role="assistant")
            choice = SimpleNamespace(message=message, finish_reason=response.finish_reason, index=0)
            return SimpleNamespace(choices=[choice], usage={}, model=self.model)

    return ModelClient(model=bridge.proposer.spec.name, cache=False)


def _lenient_adapter() -> Any:  # noqa: ANN401
    """DSPy's chat format for the proposer; a model that does not keep to it has its whole text taken."""
    import dspy
    from dspy.utils.exceptions import AdapterParseError

    class Lenient(dspy.ChatAdapter):  # type: ignore[misc]
        def parse(self, signature: Any, completion: str) -> dict[str, Any]:  # noqa: ANN401
            try:
                return dict(super().parse(signature, completion))
            except AdapterParseError:
                return dict.fromkeys(signature.output_fields, completion.strip())

    return Lenient(use_json_adapter_fallback=False)
