"""The two runs of the reference: their configs, their votes, and where their answers come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.projects import ANYWHERE, Project, quickstart_votes, write_votes

from .answers import embedded, scripted
from .recording import Source

HERE = Path(__file__).parent
SMOLLM, CONTEXT = "smollm2-135m", 2048
SMOLLM_SHA = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""SHA-256 of the weights that were recorded: what the store knows of the model."""

METHODS = ["random", "longer", "default", "default@all", "demographics", "memory", "history", "history_validation"]
METHODS += ["demos", "persona", "both", "criteria", "oracle", "oracle@all"]
ABOUT = {
    "amara": ("25-34 years old", "I like to be comforted when things go wrong."),
    "bjorn": ("45-54 years old", "Tell me plainly what is wrong."),
    "chen": ("25-34 years old", "Give me steps that I can follow."),
    "dalia": ("25-34 years old", "I want to understand why."),
    "elena": ("65+ years old", "I am careful, and want to know the risks."),
    "farid": ("25-34 years old", "I decide for myself."),
}
"""Age and self-description, from the survey."""
LEFT_OUT = ("bjorn later", "dalia later", "grace later")


@dataclass(frozen=True)
class ReferenceRun:
    """A run: its config for a server's address, its votes, what is made of it (nothing: all), who is asked."""

    name: str
    config: Callable[[str], dict[str, Any]]
    votes: Callable[[], list[dict[str, Any]]]
    targets: tuple[str, ...]
    source: Callable[[Path], AbstractContextManager[Source]]

    @property
    def recording(self) -> Path:
        """File of the recorded answers."""
        return HERE / f"{self.name}.jsonl.gz"

    def project(self, folder: Path, url: str) -> Project:
        """A working folder in which the run's models are at `url`."""
        made = Project(folder, self.config(url))
        write_votes(made.folder / "votes.jsonl", self.votes())
        return made

    def make(self, project: Project, cores: int = 2, hash_seed: int = 0) -> None:
        """Run the workflow. Raises AssertionError with its output where it fails."""
        project.snakemake(*self.targets, cores=cores, PYTHONHASHSEED=str(hash_seed))


def embedded_config(url: str) -> dict[str, Any]:
    """Two bundled users in two leave-out folds, judged by SmolLM2-135M, with personas as text and as JSON.

    As `support.projects.embedded_project`, with backend `openai` and the weights' hash as `snapshot` in place of
    backend `embedded`: the same requests with the same identity, sent to `url`.
    """
    model = {
        "backend": "openai",
        "model": SMOLLM,
        "snapshot": SMOLLM_SHA,
        "same_weights": True,
        "api_base": url,
        "price_in": 0,
        "price_out": 0,
    }
    model |= {"context_length": CONTEXT, "prompts": "compact", "verdicts": ["logprob_both"], "max_concurrency": 4}
    search = {"num_search_candidates": 1, "special_candidates": ["unshuffled"]}
    return {
        "run": "embedded",
        "seed": 1,
        "datasets": {"people": {"path": "votes.jsonl", "shards": 1, "max_pairs": 8, "split": {"folds": 2}}},
        "models": {SMOLLM: model},
        "k": ["all"],
        "variants": ["corrected", "corrected+json"],
        "methods": ["longer", "default", "default@all", "demos", "persona", "both"],
        "learn": {
            "models": [SMOLLM],
            "bootstrap": {"attempts": 2, "max_tokens": 16},
            "persona": {"max_tokens": 24},
            "search": {**search, "max_bootstrapped_demos": 2, "max_labeled_demos": 2},
            "rebootstrap": False,
        },
        "statistics": {"resamples": 200},
        "max_failed_share": 0,
    }


def embedded_votes() -> list[dict[str, Any]]:
    """All votes of two bundled users."""
    return [vote for vote in quickstart_votes() if vote["user_id"] in ("chen", "hugo")]


def scripted_config(url: str) -> dict[str, Any]:
    """All methods, both variants and a Theta, all verdict modes, transfer, filters, analyses."""
    big = {"backend": "openai", "model": "big", "api_base": url, "price_in": 2, "price_out": 4, "max_concurrency": 4}
    big |= ANYWHERE
    tiny = {**big, "model": "tiny", "prompts": "compact", "verdicts": ["logprob_both"], "price_in": 0.5}
    asked = {"personalizable": {"model": "big"}, "disagreement": {"models": ["tiny", "big"], "remove_from": 1}}
    people = {"path": "votes.jsonl", "shards": 1, "licence": "MIT", "ties": "keep", "min_pairs": 4, "filters": asked}
    people |= {"planted": "resources/quickstart/tastes.json"}
    people |= {"user_split": {"min_users": 8, "fractions": [0.4, 0.1, 0.5]}}
    return {
        "run": "scripted",
        "seed": 1,
        "datasets": {"people": people},
        "models": {"big": {**big, "verdicts": ["text", "logprob"]}, "tiny": tiny},
        "k": [2, "all"],
        "draws": 2,
        "variants": ["as_published", "corrected", "corrected+ours"],
        "thetas": {"ours": {"optimise": {"model": "big", "num_candidates": 3, "num_trials": 4, "max_demos": 2}}},
        "methods": METHODS,
        "learn": {
            "models": ["big", "tiny"],
            "bootstrap": {"attempts": 2, "max_tokens": 64},
            "persona": {"max_tokens": 64},
            "memory": {"max_tokens": 64},
            "search": {"num_search_candidates": 1, "max_bootstrapped_demos": 3, "max_labeled_demos": 3},
        },
        "transfer": {"pairs": [["tiny", "big"]], "methods": ["demos", "persona", "both", "criteria"]},
        "analysis": {
            "fidelity": {"models": ["big"], "matches": True},
            "recovery": {"models": ["big"], "others": 1},
            "axes": {"models": ["big"], "disjoint": ["halves"]},
        },
        "statistics": {"resamples": 200},
        "max_failed_share": 0,
    }


def scripted_votes() -> list[dict[str, Any]]:
    """13 users of seven votes: bundled users, and their later votes as users without a planted taste. Two are ties.

    Most users answered a survey; one group of it has 10 users, which the table of demographics shows by itself.
    """
    rows = []
    for number, vote in enumerate(quickstart_votes()):
        place, name = number % 14, vote["user_id"]
        row = {**vote, "user_id": name if place < 7 else f"{name} later", "turn": place % 2}
        if name in ABOUT:
            age, words = ABOUT[name]
            row["survey"] = {"age": age, "gender": "Female" if place < 7 else "Male", "self_description": words}
        if name != "hugo":
            row["survey"] = row.get("survey", {}) | {"location.reside_country": "Sweden"}
        if number in (2, 40):
            row |= {"response_a": row.pop("chosen"), "response_b": row.pop("rejected"), "winner": "tie"}
        rows.append(row)
    return [row for row in rows if row["user_id"] not in LEFT_OUT]


@contextmanager
def _script(folder: Path) -> Iterator[Source]:
    yield scripted


def _model(folder: Path) -> AbstractContextManager[Source]:
    return embedded(SMOLLM, CONTEXT, folder)


RUNS = {
    run.name: run
    for run in (
        ReferenceRun(
            "embedded",
            embedded_config,
            embedded_votes,
            tuple(
                f"results/embedded/{path}"
                for path in (
                    *(f"tables/{name}.csv" for name in ("main", "differences", "power", "ablation")),
                    "figures/main.txt",
                )
            ),
            _model,
        ),
        ReferenceRun("scripted", scripted_config, scripted_votes, (), _script),
    )
}
