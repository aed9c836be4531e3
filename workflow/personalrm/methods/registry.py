"""Methods: what a judge is told about a user, and the two judges that need no model.

A method is a name and a function from what may be seen of a user (context and validation pairs, survey, planted taste)
and the user's profile to what the judge is shown; `criteria` alone has a judge of its own. To add one, add an entry to
`METHODS` (ARCHITECTURE.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from personalrm.core.errors import ConfigError
from personalrm.core.files import stable_hash
from personalrm.core.records import Demonstration, PreferencePair, Profile, UserData, Verdict
from personalrm.judge.judge import DIRECT, Judge, JudgeContext, on_tie, position_of_chosen, presented_swapped
from personalrm.judge.prompting import load_prompt
from personalrm.methods.criteria import CRITERIA
from personalrm.methods.criteria import PROMPTS as CRITERIA_PROMPTS

Needs = Literal["nothing", "judge", "profile"]
Show = Callable[[UserData, Profile | None], JudgeContext | None]
DEMOGRAPHIC_QUESTIONS: dict[str, str] = {
    "age": "age",
    "gender": "gender",
    "employment_status": "employment",
    "education": "education",
    "marital_status": "marital status",
    "english_proficiency": "English",
    "religion": "religion",
    "religion.simplified": "religion",
    "ethnicity": "ethnicity",
    "ethnicity.simplified": "ethnicity",
    "location.birth_country": "country of birth",
    "location.reside_country": "country of residence",
}
"""Survey questions (PRISM's names) that describe a person, and how the judge reads them, in this order. What people
said of their preferences or values (`self_description`, `system_string`, `stated_prefs`) is left out: our choice."""
ALL_STAGES = ("bootstrap", "search", "persona", "rebootstrap", "search_persona")


class Mark(NamedTuple):
    """How every figure draws a method: a colour (hex) and a marker (matplotlib's letter).

    Colours are apart for the colour-blind, and no two methods share a marker, so that figures can be read in grey.
    """

    colour: str
    marker: str


@dataclass(frozen=True)
class Method:
    """One method. `show` returns None where it does not apply to a user, or one that `learns` has no pairs to show.

    `stages` names the profile stages whose responses the method's results rest on, `prompts` the prompt files that it
    uses beside the judge's; `learns` says that it reads the user's votes although it needs no profile. `judge` says how
    pairs are judged with what is shown. `label` is its name in tables and figures, `mark` how figures draw it; a method
    without a mark gets a free one, made from its name (`mark_of`).
    """

    name: str
    needs: Needs
    show: Show
    stages: tuple[str, ...] = ()
    learns: bool = False
    prompts: tuple[str, ...] = ()
    judge: Judge = DIRECT
    label: str = ""
    mark: Mark | None = None


def _nothing(user: UserData, profile: Profile | None) -> JudgeContext | None:
    del user, profile
    return JudgeContext()


def _oracle(user: UserData, profile: Profile | None) -> JudgeContext | None:
    del profile
    return JudgeContext(persona=user.planted_taste) if user.planted_taste else None


def _demographics(user: UserData, profile: Profile | None) -> JudgeContext | None:
    """What the survey says of the person (paper, baselines; which fields is our choice), never of their preferences."""
    del profile
    answers = {question: text for question, text in user.survey.items() if question in DEMOGRAPHIC_QUESTIONS}
    if not answers:
        return None
    return JudgeContext(
        persona=load_prompt("demographics").render("persona", answers=answers, names=DEMOGRAPHIC_QUESTIONS)
    )


def _history(user: UserData, profile: Profile | None) -> JudgeContext | None:
    """The raw context pairs with their labels: all of them, whatever k."""
    del profile
    return _raw(user.part("context"))


def _history_validation(user: UserData, profile: Profile | None) -> JudgeContext | None:
    """The same with the validation pairs: the labels that SynthesizeMe learns from and chooses its winner by."""
    del profile
    return _raw([*user.part("context"), *user.part("validation")])


def _raw(pairs: Sequence[PreferencePair]) -> JudgeContext | None:
    """Pairs with their labels, most recent last; the oldest are dropped where the window is full."""
    pairs = sorted(pairs, key=lambda pair: pair.order)
    shown = tuple(Demonstration(pair=pair, swapped=presented_swapped(pair, "history")) for pair in pairs)
    return JudgeContext(demonstrations=shown, droppable=True) if shown else None


def _demos(user: UserData, profile: Profile | None) -> JudgeContext | None:
    del user
    return JudgeContext(demonstrations=profile.plain_demonstrations) if profile else None


def _persona(user: UserData, profile: Profile | None) -> JudgeContext | None:
    del user
    return JudgeContext(persona=profile.persona) if profile else None


def _memory(user: UserData, profile: Profile | None) -> JudgeContext | None:
    """Facts about the user as a list, in the place of the persona (paper, baselines)."""
    del user
    return JudgeContext("\n".join(f"- {fact}" for fact in profile.memory) or None) if profile else None


def _both(user: UserData, profile: Profile | None) -> JudgeContext | None:
    del user
    return JudgeContext(profile.persona, profile.demonstrations) if profile else None


def _both_that_fit(user: UserData, profile: Profile | None) -> JudgeContext | None:
    shown = _both(user, profile)
    return replace(shown, droppable=True) if shown else None


BLACK, GREY, BLUE, SKY, GREEN = "#222222", "#595959", "#0173b2", "#56b4e9", "#029e73"
ORANGE, RED, PURPLE, BROWN, INDIGO = "#de8f05", "#d55e00", "#cc78bc", "#a6692f", "#4b3a9e"
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("random", "nothing", _nothing, label="Random", mark=Mark(GREY, "x")),
        Method("longer", "nothing", _nothing, label="Longer answer", mark=Mark(GREY, "+")),
        Method("default", "judge", _nothing, label="Default", mark=Mark(BLACK, "o")),
        Method(
            "demographics",
            "judge",
            _demographics,
            prompts=("demographics",),
            label="Demographics",
            mark=Mark(PURPLE, "v"),
        ),
        Method("memory", "profile", _memory, ("memory",), label="Memory (extracted facts)", mark=Mark(ORANGE, "s")),
        Method("history", "judge", _history, learns=True, label="History (raw context pairs)", mark=Mark(GREEN, "<")),
        Method(
            "history_validation",
            "judge",
            _history_validation,
            learns=True,
            label="History (context and validation)",
            mark=Mark(GREEN, ">"),
        ),
        Method(
            "demos",
            "profile",
            _demos,
            ("bootstrap", "search"),
            label="SynthesizeMe: demonstrations",
            mark=Mark(SKY, "^"),
        ),
        Method(
            "persona",
            "profile",
            _persona,
            ("bootstrap", "search", "persona"),
            label="SynthesizeMe: persona",
            mark=Mark(RED, "D"),
        ),
        Method(
            "both",
            "profile",
            _both,
            ALL_STAGES,
            label="SynthesizeMe: persona + demonstrations",
            mark=Mark(BLUE, "P"),
        ),
        Method(
            "criteria",
            "profile",
            _both_that_fit,
            ALL_STAGES,
            prompts=CRITERIA_PROMPTS,
            judge=CRITERIA,
            label="Criteria judge (opt-in)",
            mark=Mark(BROWN, "X"),
        ),
        Method("oracle", "judge", _oracle, label="Oracle (planted taste)", mark=Mark(INDIGO, "*")),
    )
}
"""Methods by name, in the order of tables and figures."""

FREE_MARKS = tuple(Mark(colour, marker) for marker in "ph8d" for colour in (RED, BLUE, ORANGE, PURPLE, GREEN, INDIGO))
"""Marks that no method has, for methods that declare none."""


def mark_of(name: str) -> Mark:
    """The mark of a method; one that is unknown or declares none has one of `FREE_MARKS`, the same in every figure."""
    method = METHODS.get(name)
    if method is not None and method.mark is not None:
        return method.mark
    return FREE_MARKS[int(stable_hash("mark", name), 16) % len(FREE_MARKS)]


@dataclass(frozen=True)
class MethodUse:
    """A method as the config asks for it: `name`, or `name@all` to judge all of a user's pairs and not only the test
    pairs (only for methods that learn nothing from the user's votes)."""

    method: Method
    all_pairs: bool

    @property
    def spec(self) -> str:
        """The entry of the config, and the method's id in the tables."""
        return f"{self.method.name}@all" if self.all_pairs else self.method.name


def parse_method(spec: str) -> MethodUse:
    """Read a config entry. Raises ConfigError for an unknown method, or `@all` on one that learns."""
    name, at, part = spec.partition("@")
    if name not in METHODS:
        raise ConfigError(f"methods: unknown method {spec!r}; known: {', '.join(METHODS)}")
    if at and part != "all":
        raise ConfigError(f"methods: {spec!r}: only '@all' may follow a method's name")
    method = METHODS[name]
    if at and (method.needs == "profile" or method.learns):
        raise ConfigError(f"methods: {spec!r}: a method that learns from votes can be judged on test pairs only")
    return MethodUse(method, bool(at))


def visible_part(user: UserData) -> UserData:
    """What a method may see of a user: everything but the test pairs."""
    return user.model_copy(update={"pairs": tuple(pair for pair in user.pairs if pair.split != "test")})


def decide_without_model(method: Method, pair: PreferencePair, seed: int) -> tuple[Verdict, ...]:
    """Verdicts of `random` (a fair coin, seeded by content) and `longer` (more characters) in both orders.

    On a tie the coin is always wrong, and `longer` right where both answers are equally long.
    """
    verdicts = (_decide(method, pair, swapped, seed) for swapped in (False, True))
    return tuple(map(on_tie, verdicts)) if pair.tie else tuple(verdicts)


def _decide(method: Method, pair: PreferencePair, swapped: bool, seed: int) -> Verdict:
    if method.name == "random":
        toss = int(stable_hash("random", str(seed), pair.user_id, pair.pair_id, str(swapped)), 16) % 2
        said: Literal["first", "second"] = "first" if toss else "second"
    else:
        lead = len(pair.chosen) - len(pair.rejected)
        if lead == 0:
            return Verdict(pair_id=pair.pair_id, swapped=swapped, outcome="tie")
        said = "first" if (lead > 0) != swapped else "second"
    outcome: Literal["correct", "wrong"] = "correct" if said == position_of_chosen(swapped) else "wrong"
    return Verdict(pair_id=pair.pair_id, swapped=swapped, outcome=outcome, said=said)
