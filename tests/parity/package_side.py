"""Fit and evaluate users with the authors' package. Runs in its own environment: no import of ours.

python package_side.py USERS.json OPTIONS RESULTS.json (OPTIONS: JSON of its parameters; `max_tokens` of an answer, for
which the package has none, gives it a model made as its own, which is made with 8192)
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import dspy
from synthesizeme.personalrm.synthesizeme import SynthesizeMe


def peak_mb() -> float:
    """Peak memory of this process (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def one_user(model: SynthesizeMe, user: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Fit, then judge the test pairs, if there are any."""
    begun = time.time()
    fitted = model.fit(user["fit"])
    ended = time.time()
    demos = fitted.judge_persona.predict.demos
    return {
        "fitted": [begun, ended],
        "persona": model.get_persona(),
        # Labelled demonstrations have other fields, and reach no prompt (defect D1).
        "shown": [demo["conversation"] for demo in demos if "reasoning" in demo],
        "hidden": sum("reasoning" not in demo for demo in demos),
        "scores": [[c["seed"], c["score"]] for c in sorted(fitted.candidate_programs, key=lambda c: c["seed"])],
        "results": [int(r) for r in model.evaluate(user["test"])["results"]] if user["test"] else [],
    }


def main(users: str, options: str, results: str) -> None:
    """One object a user, as the package's README does it; what is learned and judged goes to `results`."""
    found = {}
    given = {"model_id": "scripted", "progress_update_hook": lambda *_: None, **json.loads(options)}
    max_tokens = given.pop("max_tokens", None)
    if max_tokens is not None:
        name = f"litellm_proxy/{given['model_id']}"
        given["lm"] = dspy.LM(
            name, api_base=given["model_url"], api_key="local", model_type="chat", max_tokens=max_tokens
        )
        dspy.configure(lm=given["lm"])
    for name, user in json.loads(Path(users).read_text(encoding="utf-8")).items():
        begun = time.time()
        try:
            found[name] = one_user(SynthesizeMe(user_id=name, **given), user)
        except Exception as error:  # noqa: BLE001  (whatever the package ends with; the caller decides)
            found[name] = {"fitted": [begun, time.time()], "error": f"{type(error).__name__}: {error}"}
        found[name]["peak_mb"] = peak_mb()
    Path(results).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
