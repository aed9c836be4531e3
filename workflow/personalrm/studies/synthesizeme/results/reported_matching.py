"""Which data set and model of a run a reported number is about, and how they differ from those of the number.

The rule is strict: ours is `comparable` with a reported number only if data set, release, users, splits, model, method,
variant, k and kind of verdict are those of the number. Where all that is known of the number's conditions is the same,
and something of them is not known, ours is `set beside` it, with what is not known. What the run has nothing of is `not
run`; what it has, but otherwise, is `not comparable`, with every reason. `reported_claims` applies the rule.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from personalrm.core.conditions import VariantId
from personalrm.data.settings import Dataset, ProcessedDataset
from personalrm.results.labels import UNUSED
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.results.benchmark_reported import limits_of, reported_set
from personalrm.studies.synthesizeme.results.reported_numbers import (
    BOTH,
    NO_MODEL,
    NOT_STATED,
    ReportedNumber,
    ServedModel,
)

COMPARABLE, BESIDE, NOT_COMPARABLE, NOT_RUN = "comparable", "set beside", "not comparable", "not run"
STATUSES = (COMPARABLE, BESIDE, NOT_COMPARABLE, NOT_RUN)
SHOWN = (COMPARABLE, BESIDE)
"""What ours is shown for."""
AUTHORS_SETS = ("MichaelR207/prism_personalized_0125", "MichaelR207/chatbot_arena_personalized_0125")
"""The releases behind the paper's tables. The authors load them without naming a commit, so the release's name is all
that is known of the revision; the run's manifest holds the commit that was read."""
PAPER_SETS = ("arena", "prism")
LARGEST = "meta-llama/Llama-3.3-70B-Instruct"
PAPER_MODELS = ("meta-llama/Llama-3.2-3B-Instruct", "meta-llama/Llama-3.1-8B-Instruct", LARGEST)
"""Data sets and models of the paper's main results: a number whose source does not name its own is about some."""
DISTILLED = "distilled"
"""Theta in the variant of a number that was made with the largest model's Theta, given to a smaller one."""
LARGEST_THETA = "llama70b.json"
"""File of the authors' package with that Theta."""
TRAINED = "users, pairs, features and settings with which the reported model was trained are not all published"
OWN_THETA = "with a Theta that this run found; how the paper's was found (trials, candidates, users) is not known"


class ThetaOrigin(NamedTuple):
    """Variant without its Theta; the model of the run that found the Theta, or the name of the file that it is in."""

    base: str
    model: str
    file: str


class RunIdentity(NamedTuple):
    """Identity of a run: data set to the reported set that it answers to, data set to how it differs from that,
    model to its id and snapshot in the config; who serves the reported models; and variant to where its Theta is from.
    """

    answers_to: Mapping[str, str]
    differs: Mapping[str, Sequence[str]]
    models: Mapping[str, Sequence[str]]
    served: Sequence[ServedModel]
    thetas: Mapping[str, ThetaOrigin] = {}


class Place(NamedTuple):
    """A data set and a judge of the run that a reported number may be about: `answer` and `model` are what the number's
    paper calls them; `served` says who serves the model, `differs` how the data differ."""

    dataset: str
    judge: str
    answer: str
    model: str
    served: ServedModel | None
    differs: Sequence[str]


def answering_sets(config: Config) -> dict[str, str]:
    """Data sets of a run that are some release or rebuild of a reported set, and which."""
    return {name: found.partition("_")[0] for name, entry in config.datasets.items() if (found := reported_set(entry))}


def how_sets_differ(config: Config) -> dict[str, list[str]]:
    """Data set to all that makes its users or pairs others than those of the paper's tables; empty where nothing does.

    The authors' processed sets at their release are the paper's data: their filters' judgments and both levels of split
    come with them. A set that is rebuilt from the raw votes is not: thresholds of the two filters that ask models, and
    the assignment of users to parts, are not published, so that it has other users, other pairs and other test pairs.
    Its accuracy may be near the reported one or not; neither says anything about the replication of that number.
    """
    return {name: _differences(config.datasets[name], config.evaluate_users) for name in answering_sets(config)}


def _differences(settings: Dataset, evaluated: str) -> list[str]:
    if not isinstance(settings, ProcessedDataset):
        return ["rebuilt benchmark"]
    found = []
    if settings.hub is None:
        found.append("a local folder, whose release is not known")
    elif settings.hub.repo not in AUTHORS_SETS:
        found.append(f"{settings.hub.repo} is not the release of the paper's tables")
    if not settings.keep_splits:
        found.append("splits made anew")
    if settings.filters is not None and settings.filters.apply:
        found.append("filtered again")
    if limits := limits_of(settings):
        found.append(f"only part of the data ({limits})")
    if evaluated != "test":
        found.append("users of all parts are judged")
    return found


def identities(config: Config) -> dict[str, list[str]]:
    """Model to its id and snapshot, as the config has them; of reward models, the base and its revision."""
    trained = {
        entry.judge_name(name): [entry.base, entry.revision or ""] for name, entry in config.reward_models.items()
    }
    return {name: [entry.model, entry.snapshot] for name, entry in config.models.items()} | trained


def theta_origins(config: Config) -> dict[str, ThetaOrigin]:
    """Variant to where its Theta is from, for variants whose Theta one model found for all, or is read from a file."""
    found: dict[str, ThetaOrigin] = {}
    for variant in config.variants:
        parsed = VariantId.parse(variant)
        if theta := config.thetas.get(parsed.theta or ""):
            origin = ThetaOrigin(
                parsed.code, (theta.optimise and theta.optimise.model) or "", theta.path.name if theta.path else ""
            )
            found |= {variant: origin} if origin.model or origin.file else {}
    return found


def places(number: ReportedNumber, run: RunIdentity, datasets: Container[str]) -> list[Place] | str:
    """Data sets and judges of the run that a number may be about, or why there are none: those that it names, or what
    the paper's main results are about where its source names none."""
    answers = PAPER_SETS if number.data_set in (NOT_STATED, BOTH) else (number.data_set,)
    ours = [(name, answer) for name, answer in run.answers_to.items() if answer in answers and name in datasets]
    if not ours:
        return f"no data set of this run answers to {' or '.join(answers)}"
    names = PAPER_MODELS if number.model == NOT_STATED else (number.model,)
    models = [(reported, *model) for reported in names for model in _models(reported, run)]
    if not models:
        return f"no model of this run is {' or '.join(names)}"
    return [
        Place(dataset, judge, answer, reported, served, run.differs[dataset])
        for dataset, answer in ours
        for reported, judge, served in models
    ]


def unlike(number: ReportedNumber, place: Place) -> list[str]:
    """Why data and model of a place are not those of the number; empty where they are."""
    reasons = list(place.differs)
    if number.revision == NOT_STATED:
        reasons.append("the source does not state the release of the data")
    if place.served is not None and place.served.same == "no":
        reasons.append(place.served.note)
    return reasons


def variants_like(variant: str, judge: str, run: RunIdentity) -> Mapping[str, str]:
    """Variants of the run that answer to that of a number with this judge, each with what is not known of it.

    `…+distilled` are those with the Theta of the largest model: the authors' file, or one that this model found here.
    """
    asked = VariantId.parse(variant)
    if asked.theta != DISTILLED:
        return {variant: ""}
    largest = {name for name, served in _models(LARGEST, run) if served is not None and served.same == "yes"}
    return {
        name: "" if theta.file else OWN_THETA
        for name, theta in run.thetas.items()
        if theta.base == asked.code and judge not in largest and (theta.model in largest or theta.file == LARGEST_THETA)
    }


def _models(reported: str, run: RunIdentity) -> list[tuple[str, ServedModel | None]]:
    """Models of the run whose id is one by which the reported model is served (a provider's prefix may lead it), each
    with the entry that says so: the one of its snapshot, or one that says what the snapshot would have to be."""
    if reported == NO_MODEL:
        return [(UNUSED, None)]
    found: list[tuple[str, ServedModel | None]] = []
    for name, (ours, snapshot) in run.models.items():
        known = [
            entry
            for entry in run.served
            if entry.model == reported and f"/{ours}".casefold().endswith(f"/{entry.id}".casefold())
        ]
        if known:
            exact = [entry for entry in known if entry.snapshot == snapshot]
            other = known[0].model_copy(update={"same": "no", "note": f"snapshot {snapshot!r} is not listed for it"})
            found.append((name, exact[0] if exact else other))
    return found
