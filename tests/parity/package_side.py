"""Fit and evaluate users with the authors' package. Runs in its own environment: no import of ours.

python package_side.py USERS.json PROGRAM.json URL RESULTS.json
"""

import json
import sys
from pathlib import Path

from synthesizeme.personalrm.synthesizeme import SynthesizeMe


def main(users: str, program: str, url: str, results: str) -> None:
    """One object a user, as the package's README does it; what is learned and judged goes to `results`."""
    found = {}
    for name, user in json.loads(Path(users).read_text(encoding="utf-8")).items():
        model = SynthesizeMe(
            user_id=name,
            model_id="scripted",
            model_url=url,
            persona_synthesis_program_path=program,
            progress_update_hook=lambda *_: None,
        )
        fitted = model.fit(user["fit"])
        demos = fitted.judge_persona.predict.demos
        found[name] = {
            "persona": model.get_persona(),
            # Labelled demonstrations have other fields, and reach no prompt (defect D1).
            "shown": [demo["conversation"] for demo in demos if "reasoning" in demo],
            "hidden": sum("reasoning" not in demo for demo in demos),
            "scores": [[c["seed"], c["score"]] for c in sorted(fitted.candidate_programs, key=lambda c: c["seed"])],
            "results": [int(result) for result in model.evaluate(user["test"])["results"]],
        }
    Path(results).write_text(json.dumps(found), encoding="utf-8")


main(*sys.argv[1:])
