"""What a new method touches: its module. It is fitted, judged at each k, tabled, estimated and named in the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
from support.planted import planted_votes
from support.projects import ROOT, Project, write_votes

from .test_new_stage import changed

MODULE = '''"""Method `toy`: the length that others prefer, unless the user's own votes say otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from personalrm.core.records import PreferencePair, Verdict, Weights
from personalrm.judge.judge import sign_outcome
from personalrm.methods.base import Known, Method, NoPairs, Resources, Training


def lead(pairs: Sequence[PreferencePair]) -> float:
    return float(sum(len(pair.chosen) - len(pair.rejected) for pair in pairs))


def fit(training: Training) -> Weights:
    liked = lead([pair for user in training.users for pair in user.pairs])
    return Weights(names=("length",), mean=(liked,), scale=(1.0,))


def adapt(known: Known) -> float | NoPairs:
    return lead(known.pairs) or (known.artefact.mean[0] if known.artefact else 0.0) if known.pairs else NoPairs()


def judge(liked: float, pairs: Sequence[PreferencePair]) -> tuple[Verdict, ...]:
    odds = [lead([pair]) * liked for pair in pairs]
    return tuple(
        Verdict(pair_id=pair.pair_id, swapped=None, outcome=sign_outcome(value), log_odds=value)
        for pair, value in zip(pairs, odds, strict=True)
    )


TOY = Method(
    "toy", "nothing", adapt, judge=judge, fit=fit, reads="toy", learns=True, by_k=True, resources=Resources(threads=2)
)
'''


def test_a_method_that_learns_is_one_module(tmp_path: Path) -> None:
    project = Project(tmp_path / "work")
    (project.folder / "workflow").unlink()
    workflow = project.folder / "workflow"
    shutil.copytree(ROOT / "workflow", workflow, ignore=shutil.ignore_patterns("__pycache__"))
    (workflow / "personalrm" / "methods" / "toy.py").write_text(MODULE, encoding="utf-8")
    assert len(changed(workflow)) == 1
    tastes = {"a": "long", "b": "short", "c": "long", "d": "coin"}
    write_votes(project.folder / "votes.jsonl", planted_votes(tastes))  # type: ignore[arg-type]
    project.config = {
        "run": "small",
        "datasets": {"people": {"path": "votes.jsonl", "shards": 2}},
        "methods": ["random", "surface", "toy", "surface_user"],
        "k": [1, "all"],
    }
    wanted = [f"results/small/tables/{name}.csv" for name in ("main", "differences", "scaling")]
    said = project.snakemake(*wanted)
    assert said.count("Learning from other users: toy on people") == 1
    main = pd.read_csv(project.run / "tables" / "main.csv", keep_default_na=False)
    rows = {(row["method"], row["k"]): float(row["accuracy"]) for _, row in main.iterrows()}
    by_k = {(name, k) for name in ("toy", "surface_user") for k in ("1", "all")}
    assert set(rows) == {("random", "-"), ("surface", "-")} | by_k
    assert rows["toy", "all"] > rows["surface", "-"]
    assert rows["surface_user", "all"] > rows["surface", "-"]
    scaled = pd.read_csv(project.run / "tables" / "scaling.csv", keep_default_na=False)
    assert set(scaled["method"]) == {"toy", "surface_user"}
    compared = pd.read_csv(project.run / "tables" / "differences.csv", keep_default_na=False)
    assert {(row["method"], row["reference"]) for _, row in compared.iterrows()} == {("surface_user", "surface")}
    # Nothing is asked, so that nothing is paid; a second run has nothing to do.
    estimated = json.loads(project.personalrm("estimate", "--config", "run.yaml", "--json", "--untimed"))
    assert {row["calls"] for row in estimated["rows"]} == {0}
    assert "Nothing to be done" in project.snakemake(*wanted)
    # Another list of features reruns what rests on it, and not the toy's artefact.
    surface = workflow / "personalrm" / "methods" / "surface.py"
    text = surface.read_text(encoding="utf-8")
    surface.write_text(text.replace(r'"questions": r"\?"', r'"questions": r"\?+"'), encoding="utf-8")
    assert len(changed(workflow)) == 2
    said = project.snakemake(wanted[0])
    assert "Learning from other users: surface on people" in said
    assert "Learning from other users: toy" not in said
    assert (project.run / "fitted/people/surface/none.jsonl").is_file()
