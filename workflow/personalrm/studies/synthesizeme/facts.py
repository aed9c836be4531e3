"""What the manifest of this study says in addition to that of every study."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from personalrm.core.files import sha256_file
from personalrm.core.records import CallRef
from personalrm.data.card import source_facts
from personalrm.judge.attribute_bank import DEFAULT_BANK
from personalrm.methods.registry import parse_method
from personalrm.results.lazy import pd
from personalrm.results.tables.cost_sources import analysis_calls, filter_calls, scoring_calls
from personalrm.studies.manifest import usage_of, version_of
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.settings import constitution_of
from personalrm.train import WEIGHTS

TRAINING = ("torch", "transformers", "safetensors", "trl", "peft")
"""Packages that decide what trained reward models are."""


def facts_of(plan: Plan) -> dict[str, Any]:
    """Rules in use, data, draws, reward models and the calls that results rest on."""
    config = plan.config
    return {
        "constitution": constitution_in_use(config),
        "attributes": attributes_in_use(config),
        "packages": {name: version_of(name) for name in TRAINING if config.reward_models},
        **_reward_models(plan),
        "seeds": {"draws": config.draws},
        "data": {name: _data(config, name) for name in config.datasets},
        "usage": _usage(Path(plan.run), _other_calls(plan)),
    }


def constitution_in_use(config: Config) -> dict[str, str] | None:
    """Label and text of the rules above what prompts show of a user; None where no prompt of the run has them."""
    guarded = any(parse_method(spec).method.guarded for spec in config.methods)
    rules = constitution_of(config, guarded=guarded)
    return asdict(rules) if rules else None


def attributes_in_use(config: Config) -> dict[str, Any] | None:
    """SHA-256 of the bank and ids of the attributes that pairs are scored by; None where none are."""
    if config.scoring is None:
        return None
    bank = config.scoring.bank or DEFAULT_BANK
    found = {"bank_sha256": sha256_file(bank), "ids": list(config.scoring.selected().ids)}
    return found if config.scoring.kinds == "none" else {**found, "kinds": config.scoring.kinds}


def _reward_models(plan: Plan) -> dict[str, Any]:
    """SHA-256 of the weights of each trained reward model, by its folder; nothing where the run has none."""
    cards = [Path(path) for path in plan.paths("reward_model")]
    found = {str(card.parent.relative_to(plan.run)): sha256_file(card.with_name(WEIGHTS)) for card in cards}
    return {"reward_models": found} if found else {}


def _data(config: Config, name: str) -> dict[str, Any]:
    settings = config.datasets[name]
    funnel = Path(config.results) / config.run / "data" / name / "funnel.json"
    return {
        "source": settings.source,
        **source_facts(settings),
        "funnel": json.loads(funnel.read_text(encoding="utf-8")),
    }


def _usage(run: Path, others: Iterable[CallRef]) -> dict[str, Any]:
    """Calls, tokens and list cost of the responses that results, filters and analyses rest on."""
    calls = pd.read_parquet(run / "data" / "calls.parquet")
    asked = [ref.model_dump(exclude={"schema_version", "stage"}) for ref in others]
    return usage_of(pd.concat([calls, pd.DataFrame(asked)] if asked else [calls]))


def _other_calls(plan: Plan) -> Iterator[CallRef]:
    """Responses that the data sets' filters, the scores by attributes and the analyses of personas rest on."""
    ratings = [Path(path) for name in plan.filtered for path in plan.rating_paths(name)]
    panels = [Path(path) for name in plan.filtered for path in plan.panel_paths(name)]
    personas = (plan.analysed_profiles(), plan.paths("fidelity"), plan.paths("recovery"), plan.paths("axes"))
    analyses = analysis_calls(*(map(Path, paths) for paths in (*personas, plan.paths("tag"))))
    scores = scoring_calls(map(Path, plan.paths("score_attributes")))
    return (call.ref for call in chain(filter_calls(ratings, panels), scores, analyses))
