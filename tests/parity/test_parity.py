"""`as_published` decides as the authors' package does: same prompts in content, same winners, same verdicts.

Both are driven by one scripted model behind one local server; it answers by the content of a prompt (`content.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.scripted_server import ScriptedServer

from parity.content import Content, answer, content_of, generated_user, is_package
from parity.environment import package_python
from personalrm import SynthesizeMe
from personalrm.api.data import usable_pairs
from personalrm.judge import presented_swapped
from personalrm.variants import CORRECTED, PUBLISHED

SEED = 42
Users = dict[str, dict[str, list[dict[str, Any]]]]

PROGRAM = {
    "synthesize.predict": {
        "lm": None,
        "traces": [],
        "train": [],
        "demos": [],
        "signature": {
            "instructions": "Describe the user.",
            "fields": [
                {"prefix": "Past Judgements:", "description": "choices"},
                {"prefix": "Reasoning:", "description": "thoughts"},
                {"prefix": "Synthesized Persona:", "description": "persona"},
            ],
        },
    },
    "metadata": {"dependency_versions": {"python": "3.12", "dspy": "2.6.12", "cloudpickle": "3.1"}},
}
"""A persona program without the shipped one's 20,000 tokens of demonstrations, which are the authors'."""


def make_users(count: int) -> Users:
    """Users of 4 to 20 pairs. The package is given our coin of presentation in the field that its data sets have."""
    users: Users = {}
    for number in range(count):
        user = generated_user(number, n_fit=4 + (7 * number) % 17, n_test=3)
        for rows in user.values():
            for row, pair in zip(rows, usable_pairs(rows, "rows").pairs, strict=True):
                row["flip"] = not presented_swapped(pair, str(SEED))
        users[f"user{number}"] = user
    return users


@dataclass
class Side:
    """What one side learned and judged, by user, and the distinct contents that it asked about."""

    found: dict[str, dict[str, Any]]
    asked: set[Content]


def package_side(users: Users, folder: Path) -> Side:
    python = package_python()
    files = {name: folder / f"{name}.json" for name in ("users", "program", "results")}
    files["users"].write_text(json.dumps(users), encoding="utf-8")
    files["program"].write_text(json.dumps(PROGRAM), encoding="utf-8")
    own = {"DSPY_CACHEDIR": str(folder / "cache"), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": str(folder)}
    with ScriptedServer(answer) as server:
        script = Path(__file__).with_name("package_side.py")
        done = subprocess.run(
            [python, script, files["users"], files["program"], server.url, files["results"]],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env={**os.environ, **own},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        asked = {content_of(body["messages"]) for body in server.requests}
        assert all(is_package(body["messages"]) for body in server.requests)
    return Side(json.loads(files["results"].read_text(encoding="utf-8")), asked)


def our_side(users: Users, variant: str = PUBLISHED, **search: object) -> Side:
    found = {}
    with ScriptedServer(answer) as server:
        for name, user in users.items():
            learner = SynthesizeMe(
                user_id=name,
                model_id="openai/scripted",
                model_url=server.url,
                seed=SEED,
                variant=variant,
                learn_options={"search": search},
            )
            learner.fit(user["fit"])
            profile = learner.profile
            # The package lists all pairs in one order, then all in the other.
            verdicts = sorted(learner.evaluate(user["test"]).verdicts, key=lambda verdict: verdict.swapped is True)
            found[name] = {
                "persona": learner.get_persona(),
                "shown": [f"[user]: {demo.pair.context[0].content}" for demo in profile.demonstrations],
                "scores": [[c.seed, c.score] for c in profile.search["with_persona"]],
                "winner": profile.winners["with_persona"],
                "results": [int(verdict.outcome == "correct") for verdict in verdicts],
                "events": profile.events,
            }
        asked = {content_of(body["messages"]) for body in server.requests}
    return Side(found, asked)


def check_parity(users: Users, folder: Path) -> None:
    package = package_side(users, folder)
    ours = our_side(users, exhaustive=True)
    for name in users:
        theirs, mine = package.found[name], ours.found[name]
        for what in ("persona", "shown", "results"):
            assert mine[what] == theirs[what], (name, what)
        assert [[seed, round(score, 2)] for seed, score in mine["scores"]] == theirs["scores"], name
        # The last event counts traces; before it stands what the last search said.
        hidden = f"{theirs['hidden']} labelled demonstrations were drawn and reach no prompt (as published)"
        assert (mine["events"][-2:-1] == (hidden,)) == (theirs["hidden"] > 0), (name, mine["events"])
    assert ours.asked == package.asked
    # The exact bound finds the same with a part of the calls, and asks nothing that the package does not ask.
    bounded = our_side(users)
    same = ("persona", "shown", "winner", "results")
    assert [[u[w] for w in same] for u in bounded.found.values()] == [[u[w] for w in same] for u in ours.found.values()]
    assert bounded.asked < package.asked


@pytest.mark.timeout(600)
def test_as_published_decides_as_the_package(tmp_path: Path) -> None:
    check_parity(make_users(5), tmp_path)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_as_published_decides_as_the_package_on_fifty_users(tmp_path: Path) -> None:
    check_parity(make_users(50), tmp_path)


def test_the_defects_are_absent_from_the_corrected_variant() -> None:
    """D1: labelled demonstrations reach the prompt. D2: among equals no demonstrations do not win."""
    users = make_users(4)
    published, corrected = our_side(users), our_side(users, CORRECTED)
    assert any(not user["shown"] for user in published.found.values())
    assert any("reach no prompt" in event for user in published.found.values() for event in user["events"])
    assert not any("reach no prompt" in event for user in corrected.found.values() for event in user["events"])
    labelled = [shown for content in corrected.asked for shown in content.judgements if not shown.reasoning]
    assert labelled
    judged = [content for content in published.asked if content.kind == "judge"]
    assert all(shown.reasoning for content in judged for shown in content.judgements)
