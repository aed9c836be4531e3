"""The authors' package and ours on the same generated users, asked through a server that the caller runs."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.content import generated_user
from parity.environment import package_python
from personalrm import SynthesizeMe
from personalrm.app.library.data import transcript
from personalrm.methods.synthesizeme.variants import PUBLISHED
from personalrm.studies.config_load import load_config

SEED = 42
Items = list[dict[str, Any]]
Users = dict[str, dict[str, Items]]
"""By user id: the preferences to `fit` on and to `test` on (none: nothing is evaluated)."""
Found = dict[str, dict[str, Any]]
"""What a side learned and judged, by user; `fitted` holds the clock's seconds when its `fit` began and ended, `error`
what the package failed with."""

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


def with_coins(users: Users) -> Users:
    """The users with a stored coin of presentation, as the rows of the authors' sets have; it is not ours."""
    for name, user in users.items():
        for rows in user.values():
            for row in rows:
                row["flip"] = random.Random(f"{name} {row['pair_id']}").random() < 0.5
    return users


def make_users(count: int, n_test: int = 3) -> Users:
    """Generated users of 4 to 20 pairs."""
    numbers = range(count)
    return with_coins({f"user{i}": generated_user(i, n_fit=4 + (7 * i) % 17, n_test=n_test) for i in numbers})


def program_file(folder: Path) -> str:
    """Path of `PROGRAM` as a file."""
    path = folder / "program.json"
    path.write_text(json.dumps(PROGRAM), encoding="utf-8")
    return str(path)


def run_script(name: str, arguments: Sequence[str | Path], folder: Path) -> None:
    """Run a script that lies beside this file in the package's environment; home and cache are in `folder`."""
    own = {"DSPY_CACHEDIR": str(folder / "cache"), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": str(folder)}
    done = subprocess.run(
        [package_python(), Path(__file__).with_name(name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, **own},
    )
    if done.returncode:
        raise RuntimeError(f"the package failed:\n{done.stderr[-3000:]}")


def run_package(users: Users, url: str, folder: Path, *, may_fail: bool = False, **options: object) -> Found:
    """The package, its cache on and empty, in a process of its own. `options` are those of its `SynthesizeMe`. A user
    whom it fails on raises, unless it `may_fail`."""
    files = {name: folder / f"{name}.json" for name in ("users", "results")}
    files["users"].write_text(json.dumps(users), encoding="utf-8")
    given = json.dumps({"model_url": url, "persona_synthesis_program_path": program_file(folder), **options})
    run_script("package_side.py", [files["users"], given, files["results"]], folder)
    found: Found = json.loads(files["results"].read_text(encoding="utf-8"))
    failed = {name: user["error"] for name, user in found.items() if "error" in user}
    if failed and not may_fail:
        raise RuntimeError(f"the package failed: {failed}")
    return found


def shipped_options() -> dict[str, Any]:
    """How `config/config.yaml` has `as_published` learn, as parameters of our `SynthesizeMe`."""
    learn = load_config(Path(__file__).parents[2] / "config" / "config.yaml").learn
    most, search = learn.search.max_bootstrapped_demos, learn.search
    return {
        "num_search_candidates": search.num_search_candidates,
        "max_bootstrapped_demos": -1 if most == "all" else most,
        "max_labeled_demos": search.max_labeled_demos,
        "stop_at_score": search.stop_of(PUBLISHED),
        "learn": {
            "bootstrap": learn.bootstrap.model_dump(),
            "persona": learn.persona.model_dump(),
            "search": {"special_candidates": search.special_candidates},
            "rebootstrap": learn.rebootstrap,
        },
    }


def run_ours(
    users: Users,
    url: str,
    variant: str = PUBLISHED,
    learn: Mapping[str, Any] | None = None,
    **options: Any,  # noqa: ANN401  (as the class takes them)
) -> Found:
    """The library in this process. `options` are those of our `SynthesizeMe`, `learn` its `learn_options`."""
    given = {"model_id": "openai/scripted", "model_url": url, "learn_options": learn, "variant": variant, **options}
    return asyncio.run(ours(users, **given))


async def ours(users: Users, **options: Any) -> Found:  # noqa: ANN401  (as the class takes them)
    """One user after another."""
    found: Found = {}
    for name, user in users.items():
        learner = SynthesizeMe(user_id=name, seed=SEED, **options)
        begun = time.time()
        profile = (await learner.afit(user["fit"])).profile
        ended = time.time()
        verdicts = (await learner.aevaluate(user["test"])).verdicts if user["test"] else ()
        found[name] = {
            "fitted": [begun, ended],
            "persona": learner.get_persona(),
            "shown": [transcript(demo.pair.context) for demo in profile.demonstrations],
            "scores": [[c.seed, c.score] for c in profile.search["with_persona"]],
            "winners": profile.winners,
            # The package lists all pairs in one order, then all in the other.
            "results": [int(v.outcome == "correct") for v in sorted(verdicts, key=lambda v: v.swapped is True)],
            "events": profile.events,
        }
    return found
