"""What the authors' package does where it is known to be wrong. Runs in its own environment: no import of ours.

python package_defects.py JOB.json RESULTS.json (JOB: `url`, `program`, `folder`, and the `users` of the scenarios).
The model of each request says whose it is: `<how the scripted model behaves>.<defect>`.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
from package_side import one_user
from synthesizeme.personalrm.synthesizeme import SynthesizeMe

Facts = dict[str, Any]


class Scenarios:
    """One method a defect; each says in plain values what was seen."""

    def __init__(self, job: Facts) -> None:
        self.job = job
        self.users: dict[str, dict[str, list[Facts]]] = job["users"]

    def learner(self, model: str, **options: Any) -> SynthesizeMe:  # noqa: ANN401  (as the class takes them)
        """An object with one random candidate a search and a persona program without demonstrations."""
        given = {"model_url": self.job["url"], "persona_synthesis_program_path": self.job["program"], "user_id": "ann"}
        quiet = {"progress_update_hook": lambda *_: None, "num_search_candidates": 1}
        return SynthesizeMe(model_id=model, **{**given, **quiet, **options})

    def fit(self, model: str, user: str = "user0", **options: Any) -> Facts:  # noqa: ANN401
        """What is learned of a user."""
        return one_user(self.learner(model, **options), self.users[user])

    def d1(self) -> Facts:
        """Also D10: what cannot be shown of the winner."""
        learner = self.learner("helped.d1")
        found = one_user(learner, self.users["user0"])
        return found | {"get_demos": said(learner.get_demos), "prompt": said(learner.get_llm_judge_prompt)}

    def d2(self) -> Facts:
        return self.fit("half.d2")

    def d3(self) -> Facts:
        return self.fit("sampled.d3")

    def d4(self) -> Facts:
        return self.fit("wrong.d4", max_labeled_demos=0)

    def d5(self) -> Facts:
        learner = self.learner("narrow.d5")
        self.configure("narrow.d5", num_retries=0)  # it waits for seconds before each
        return {"fit": said(lambda: learner.fit(self.users["user0"]["fit"]))}

    def d6(self) -> Facts:
        own = dspy.LM("litellm_proxy/right.d6-own", api_base=self.job["url"], api_key="local")
        first, _ = self.learner("right.d6-first"), self.learner("right.d6-second")
        first.fit(self.users["user0"]["fit"])
        self.learner("unused", lm=own).fit(self.users["user2"]["fit"])
        return {}

    def d7(self) -> Facts:
        learner = self.learner("right.d7")
        calls = {"predict": lambda: learner.predict_pairwise("x", "y", "z"), "persona": learner.get_persona}
        return {name: said(call) for name, call in calls.items()}

    def d8(self) -> Facts:
        """Also D9: where the files of an object with an `output_dir` go, and whose they are."""
        rows = self.users["user0"]["fit"]
        folder = Path(self.job["folder"])
        learner = self.learner("right.d8", user_id=None, output_dir=str(folder / "out"))
        learner.fit(rows)
        path = f"{folder}/saved/"
        learner.save(path)
        loaded = self.learner("right.d8", user_id=learner.user_id)
        loaded.load(path)
        return {
            "in_data": rows[0]["user_id"],
            "user_id": learner.user_id,
            "inside": [file.name for file in (folder / "out").iterdir()],
            "beside": [file.name for file in folder.glob("out?*")],
            "predict": said(lambda: loaded.predict_pairwise("x", "y", "z")),
        }

    def d11(self) -> Facts:
        learner = self.learner("right.d11-fit")
        learner.fit(self.users["user0"]["fit"])
        row = self.users["user0"]["test"][0]
        self.configure("right.d11-evaluate")
        learner.evaluate([row])
        self.configure("right.d11-predict")
        learner.predict_pairwise(row["context"], row["chosen"], row["rejected"])
        return {}

    def d12(self) -> Facts:
        rows = [{k: v for k, v in row.items() if k != "flip"} for row in self.users["user0"]["fit"]]
        for seed in (1, 2):
            self.learner(f"right.d12-seed{seed}", seed=seed).fit(rows)
        self.learner("right.d12-reversed").fit(rows[::-1])
        return {}

    def d13(self) -> Facts:
        learner = self.learner("right.d13-fit")
        learner.fit(self.users["user0"]["fit"])
        self.configure("right.d13", temperature=1.0)
        learner.evaluate(self.users["user2"]["fit"])
        return {}

    def d14(self) -> Facts:
        learner = self.learner("failing.d14")
        learner.fit(self.users["user0"]["fit"])
        self.configure("failing.d14", num_retries=0)
        return {"mean": float(learner.evaluate(self.users["failing"]["test"])["mean"])}

    def d15(self) -> Facts:
        return self.fit("right.d15")

    def d16(self) -> Facts:
        return {"default": SynthesizeMe().lm.model}

    def d17(self) -> Facts:
        return {"requires": importlib.metadata.requires("SynthesizeMe")}

    def d20(self) -> Facts:
        return self.fit("right.d20-3b", persona_synthesis_program_path=None)

    def configure(self, model: str, **options: Any) -> None:  # noqa: ANN401
        """Make a model the one that everything asks."""
        lm = dspy.LM(f"litellm_proxy/{model}", api_base=self.job["url"], api_key="local", **options)
        dspy.configure(lm=lm)


def said(call: Callable[[], object]) -> str:
    """The kind of error that a call ends with, `fine` where it ends well."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  (whatever the package ends with)
        return type(error).__name__
    return "fine"


def main(job: str, results: str) -> None:
    """Run all scenarios."""
    scenarios = Scenarios(json.loads(Path(job).read_text(encoding="utf-8")))
    names = [name for name in vars(Scenarios) if name[0] == "d" and name[1:].isdigit()]
    Path(results).write_text(json.dumps({name: getattr(scenarios, name)() for name in names}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
