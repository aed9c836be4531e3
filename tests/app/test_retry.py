"""What `personalrm retry` removes: the file that holds a lost call, what is made from it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from personalrm.app.retry import plan_retry, retry
from personalrm.core.errors import DataError
from personalrm.core.files import canonical_json
from personalrm.core.records import JudgedUser, Profile, Record, Trace, UserTraces, Verdict, write_records
from personalrm.data.filters.ratings import PanelVote, UserPanel, UserRatings
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import Response, Usage
from personalrm.personas.records import TaggedPersona, UserFidelity, UserRecovery
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan

LOST = Verdict(pair_id="p", swapped=False, outcome="provider_error")
HAD = LOST.model_copy(update={"outcome": "unparsed"})
NAMES = {"dataset": "d", "user_id": "u", "variant": "corrected"}
READ = NAMES | {"profile_model": "m", "judge_model": "m", "k": "all"}
RATED = {"dataset": "d", "user_id": "u", "model": "m"}
ROWS: dict[str, tuple[Record, Record]] = {
    "ratings": (UserRatings(**RATED), UserRatings(**RATED, failed=1)),
    "panel": (
        UserPanel(**RATED),
        UserPanel(**RATED, votes=(PanelVote(pair_id="p", swapped=False, favours=None, outcome="provider_error"),)),
    ),
    "traces": (
        UserTraces(**NAMES, model="m", status="ok"),
        UserTraces(
            **NAMES,
            model="m",
            status="ok",
            traces=(Trace(pair_id="p", swapped=False, reasoning="", outcome="provider_error"),),
        ),
    ),
    "profiles": (
        Profile(**NAMES, model="m", k="all", draw=0, status="ok"),
        Profile(**NAMES, model="m", k="all", draw=0, status="ok", lost={"search": 1}),
    ),
    "verdicts": (
        JudgedUser(**READ, method="both", draw=0, status="ok", verdicts=(HAD,)),
        JudgedUser(**READ, method="both", draw=0, status="ok", verdicts=(HAD, LOST)),
    ),
    "fidelity": (UserFidelity(**READ, verdicts=(HAD,)), UserFidelity(**READ, matches=(LOST,))),
    "recovery": (UserRecovery(**READ, asked=3), UserRecovery(**READ, asked=3, failed=1)),
    "tags": (
        TaggedPersona(**NAMES, profile_model="m", model="m", k="all", draw=0, status="ok"),
        TaggedPersona(**NAMES, profile_model="m", model="m", k="all", draw=0, status="ok", failed=1),
    ),
}
"""Of each kind of file a row that stands, and one that rests on a lost call."""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    filters = {"personalizable": {"model": "m"}, "disagreement": {"models": ["m", "n"]}}
    data = {"path": "votes.jsonl", "shards": 2}
    model = {"backend": "openai", "model": "x", "api_base": "http://x/v1"}
    return parse_config(
        {
            "run": "r",
            "datasets": {"d": data | {"filters": filters}, "e": data},
            "models": {"m": model, "n": model},
            "learn": {"models": ["m"]},
            "transfer": {"pairs": [["m", "n"]]},
            "methods": ["longer", "default", "both"],
            "k": [2, "all"],
            "draws": 2,
            "analysis": {"fidelity": {}, "axes": {}, "recovery": {}},
        }
    )


def write_all(config: Config) -> list[str]:
    """All files of the run: no row rests on a lost call."""
    plan = Plan(config)
    results = ["data/verdicts.parquet", "tables/main.csv", "tables/benchmark.csv", "figures/main.pdf", "report.html"]
    written = [*plan.lineage(), *plan.shard_paths("e"), *(f"{plan.run}/{name}" for name in results)]
    for path in written:
        kind = next((name for name in ROWS if f"/{name}/" in path), None)
        write_records(Path(path), [ROWS[kind][0]] if kind else [])
    return written


PERSONAS = {"analysis/fidelity/{}/", "analysis/recovery/{}/", "analysis/axes/{}/", "analysis/tags/{}/"}
"""Of a data set: other users' personas come from any shard, and the axes from all."""
MADE: dict[str, tuple[str, set[str]]] = {
    "verdicts/e/baseline/m/s01.jsonl": ("", set()),
    "verdicts/e/corrected/m-to-n/kall/s00.jsonl": ("", set()),
    "analysis/fidelity/e/corrected/m-by-m/s01.jsonl": ("", set()),
    "analysis/recovery/e/corrected/m-by-m/s01.jsonl": ("", set()),
    "analysis/tags/e/corrected/m/kall/s01.jsonl": ("", set()),
    "profiles/e/corrected/m/k2/s01.jsonl": (
        "",
        {"verdicts/e/corrected/m-to-m/k2/s01", "analysis/tags/e/corrected/m/k2/s01"},
    ),
    "profiles/e/corrected/m/kall/s01.jsonl": (
        "e",
        {"verdicts/e/corrected/m-to-m/kall/s01", "verdicts/e/corrected/m-to-n/kall/s01"},
    ),
    "traces/e/corrected/m/s00.jsonl": (
        "e",
        {
            *(f"profiles/e/corrected/m/{k}/s00" for k in ("k2", "kall")),
            *(f"verdicts/e/corrected/m-to-m/{k}/s00" for k in ("k2", "kall")),
            "verdicts/e/corrected/m-to-n/kall/s00",
        },
    ),
    "data/d/ratings/s01.jsonl": (
        "d",
        {"data/d/panel/m/s01", "data/d/panel/n/s01", "data/d/shards/", "traces/d/", "profiles/d/", "verdicts/d/"}
        | {"data/d/funnel", "data/d/card", "data/d/filter_sensitivity", "tables/benchmark"},
    ),
    "data/d/panel/n/s00.jsonl": (
        "d",
        {"data/d/shards/", "traces/d/", "profiles/d/", "verdicts/d/"}
        | {"data/d/funnel", "data/d/card", "data/d/filter_sensitivity", "tables/benchmark"},
    ),
}
"""A file to the data set whose analyses follow from it, and to the starts of the paths of all else that does."""
RESULTS = {"data/verdicts.parquet", "tables/main", "figures/main", "report"}


@pytest.mark.parametrize("spoilt", MADE)
def test_what_holds_a_lost_call_and_all_that_is_made_from_it_go_and_nothing_else(config: Config, spoilt: str) -> None:
    written = write_all(config)
    kind = next(name for name in ROWS if f"/{name}/" in f"/{spoilt}")
    write_records(Path("results/r", spoilt), ROWS[kind])
    found = plan_retry(config)
    assert found.rest == {Path("results/r", spoilt): 1}
    dataset, starts = MADE[spoilt]
    starts = {*starts, *RESULTS, spoilt, *(name.format(dataset) for name in PERSONAS if dataset)}
    expected = {path for path in written if path.removeprefix("results/r/").startswith(tuple(starts))}
    found.remove()
    assert {path for path in written if not Path(path).exists()} == expected
    assert plan_retry(config).rest == {}


def test_every_kind_of_row_says_what_it_lost(config: Config) -> None:
    kinds = {stage.record: stage.lost for stage in Plan(config).stages.values()}
    for kind, (stands, lost) in ROWS.items():
        count = kinds[type(stands)]
        assert count, kind
        assert (count(stands), count(lost)) == (0, 1), kind
    write_all(config)
    assert plan_retry(config).rest == {}


def test_what_cut_short_has_removed_is_found_again(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file with the lost call goes last."""
    write_all(config)
    spoilt = Path("results/r/profiles/e/corrected/m/k2/s01.jsonl")
    write_records(spoilt, ROWS["profiles"])
    removed: list[Path] = []
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: removed.append(path))
    plan_retry(config).remove()
    assert removed[-1] == spoilt
    assert removed[0].parts[-1] in ("report.html", "main.csv", "main.pdf", "verdicts.parquet")


def test_stored_failures_are_dropped_with_the_files_that_rest_on_them(config: Config) -> None:
    """An earlier version stored what a server broke off; each kind of it, and answers that stay."""
    written = write_all(config)
    Path("run.yaml").write_text(canonical_json(config.model_dump(mode="json")), encoding="utf-8")
    use = Usage(1, 1)
    kinds = {
        "a": Response("half a", "error", use),
        "b": Response("", "", use),
        "c": Response("", "insufficient_system_resource", use),
        "d": Response("", "stop", use),
        "e": Response("Preference: First", "", use),
        "f": Response("", "stop", use, model="says nothing"),
        "1": Response("", "stop", use, refusal="no"),
        "2": Response("", "length", use, reasoning="thinking"),
    }
    with ResponseStore(config.store) as store:
        for name, response in kinds.items():
            store.put(name * 64, "x@", response)
    spoilt = Path("results/r/verdicts/e/baseline/m/s01.jsonl")
    write_records(spoilt, [JudgedUser(**READ, method="both", draw=0, status="ok", verdicts=(HAD.model_copy(
        update={"calls": ("a" * 64, "e" * 64)}),))])  # fmt: skip
    axes = Path("results/r/analysis/axes/d/corrected.json")
    axes = axes if axes.is_file() else Path("results/r/analysis/axes/d/corrected.jsonl")
    axes.write_text(canonical_json({"calls": ["c" * 64]}), encoding="utf-8")
    assert "4 stored answers are failures" in retry(Path("run.yaml"), dry_run=True)
    assert spoilt.is_file()
    assert f"{spoilt}: 1" in retry(Path("run.yaml"))
    gone = {path for path in written if not Path(path).exists()}
    assert {str(spoilt), str(axes)} <= gone
    assert not any("/traces/" in path or "/profiles/" in path for path in gone)
    with ResponseStore(config.store) as store:
        assert {name for name in kinds if store.get(name * 64) is None} == set("abcd")
    assert "nothing to ask again" in retry(Path("run.yaml"))


def test_nothing_is_removed_while_snakemake_is_at_work(config: Config) -> None:
    write_all(config)
    write_records(Path("results/r/traces/e/corrected/m/s00.jsonl"), ROWS["traces"])
    Path("run.yaml").write_text(canonical_json(config.model_dump(mode="json")), encoding="utf-8")
    Path(".snakemake/locks").mkdir(parents=True)
    Path(".snakemake/locks/0.input.lock").touch()
    with pytest.raises(DataError, match="Snakemake is at work"):
        retry(Path("run.yaml"))
    assert "would be removed" in retry(Path("run.yaml"), dry_run=True)
    assert Path("results/r/traces/e/corrected/m/s00.jsonl").is_file()
    Path(".snakemake/locks/0.input.lock").unlink()
    assert "1 calls were lost" in retry(Path("run.yaml"))
    assert not config.store.exists()
