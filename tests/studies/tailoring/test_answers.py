"""Comparisons of generated answers, without Snakemake: a scripted judge, and numbers that were computed by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.answer_judge import answer, compared
from support.scripted_server import Answer, Fault, ScriptedServer

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.generations import Generation, JudgedAnswers
from personalrm.core.records import read_all
from personalrm.studies.config_load import parse_config
from personalrm.studies.preflight import missing
from personalrm.studies.run_results import RunResults
from personalrm.studies.study import Needs
from personalrm.studies.tailoring.plan import Plan
from personalrm.studies.tailoring.stages.answers import given_stage
from personalrm.studies.tailoring.stages.prepare import prepare_stage
from studies.tailoring.cases import PROMPTS, Texts, judged, raw, table
from studies.tailoring.cases import compared_systems as config

OTTER = dict(
    zip(PROMPTS, ("good otter", "bad otter", "good otter", "good", "good", "good otter", "x", "same"), strict=True)
)
PLAIN = dict(zip(PROMPTS, ("bad", "good", "bad", "bad otter", "bad otter", "bad", "y", "same"), strict=True))
"""Quality: W L W W, a tie by place, unread twice, equal. Personalization: W W W L, a tie by place, unread, equal."""


def run(
    folder: Path, systems: Mapping[str, Texts], script: Callable[[dict[str, Any]], Answer] = answer, **compare: object
) -> tuple[Plan, ScriptedServer]:
    with ScriptedServer(script) as server:
        return judged(config(folder, server.url, systems, **compare), folder), server


def rows_of(plan: Plan) -> dict[str, dict[str, Any]]:
    """Rows of the table by rubric."""
    return {row["rubric"]: row for row in table(plan, "tailoring").to_dict("records")}


def test_shares_and_delta_pq_are_those_computed_by_hand(tmp_path: Path) -> None:
    plan, server = run(tmp_path, {"otter": OTTER, "plain": PLAIN})
    rows = rows_of(plan)
    quality, personal = rows["quality"], rows["personalization"]
    counts = ("n_win", "n_tie", "n_loss", "n_pairs", "n_equal", "n_unread", "n_lost")
    assert [quality[name] for name in counts] == [3, 2, 1, 6, 1, 2, 0]
    assert [personal[name] for name in counts] == [3, 2, 1, 6, 1, 2, 0]
    assert quality["difference"] == pytest.approx(50)
    assert (quality["win"], quality["tie"], quality["loss"]) == pytest.approx((50, 33.33, 16.67), abs=0.01)
    assert (quality["win_rate"], quality["differ"]) == (75.0, 20.0)
    assert rows["both (ΔPQ)"]["difference"] == pytest.approx(50)
    assert rows["both (ΔPQ)"]["ci_low"] < 50 < rows["both (ΔPQ)"]["ci_high"]
    # Both orders and both rubrics of seven pairs whose answers differ.
    assert server.count == 7 * 2 * 2
    text = (Path(plan.run) / "tables" / "tailoring.md").read_text(encoding="utf-8")
    assert "50.0 / 33.3 / 16.7" in text


def test_delta_pq_is_the_mean_over_rubrics_of_their_own_pairs(tmp_path: Path) -> None:
    test = {"Q0?": "good", "Q1?": "good", "Q2?": "good otter"}
    base = {"Q0?": "bad otter", "Q1?": "bad", "Q2?": "bad"}
    rows = rows_of(run(tmp_path, {"otter": test, "plain": base})[0])
    # Quality: 3 W. Personalization: L, a tie by place, W.
    assert [rows["quality"][name] for name in ("n_win", "n_tie", "n_loss")] == [3, 0, 0]
    assert [rows["personalization"][name] for name in ("n_win", "n_tie", "n_loss")] == [1, 1, 1]
    assert rows["both (ΔPQ)"]["difference"] == pytest.approx(50)


def test_delta_pq_is_not_defined_where_one_rubric_has_only_ties(tmp_path: Path) -> None:
    rows = rows_of(run(tmp_path, {"otter": {"Q0?": "good"}, "plain": {"Q0?": "bad"}})[0])
    assert (rows["quality"]["difference"], rows["personalization"]["tie"]) == (100.0, 100.0)
    assert math.isnan(rows["both (ΔPQ)"]["difference"])


def test_swapping_the_systems_flips_every_sign(tmp_path: Path) -> None:
    made = []
    for number, order in enumerate(((0, 1), (1, 0))):
        folder = tmp_path / str(number)
        folder.mkdir()
        systems = [("otter", OTTER), ("plain", PLAIN)]
        made.append(rows_of(run(folder, dict(systems[place] for place in order))[0]))
    for rubric, row in made[0].items():
        other = made[1][rubric]
        assert other["difference"] == -row["difference"]
        if rubric != "both (ΔPQ)":
            assert [other[name] for name in ("n_win", "n_tie", "n_loss")] == [
                row[name] for name in ("n_loss", "n_tie", "n_win")
            ]
            assert other["controlled"] == pytest.approx(100 - row["controlled"], abs=0.01)
            assert (other["words_test"], other["longer"] > 0) == (row["words_base"], True)


def test_a_judge_that_always_names_the_first_gives_ties_only_and_no_delta_pq(tmp_path: Path) -> None:
    plan, _ = run(tmp_path, {"otter": OTTER, "plain": PLAIN}, lambda _: Answer("Preference: First"))
    rows = rows_of(plan)
    assert (rows["quality"]["tie"], rows["quality"]["differ"]) == (100.0, 100.0)
    assert all(math.isnan(row["difference"]) for row in rows.values())
    text = (Path(plan.run) / "tables" / "tailoring.md").read_text(encoding="utf-8")
    # In the three rows, and in the matrix of systems.
    assert text.count("only ties") == 5


def test_lost_calls_and_missing_answers_are_in_no_number(tmp_path: Path) -> None:
    def faults(_: int, body: dict[str, Any]) -> Fault | None:
        shown = compared(body)
        lost = shown["prompt"] == "Q0?" and shown["first"].startswith("good")
        return Fault("status", 500) if lost else None

    base = dict(list(PLAIN.items())[:4])
    with ScriptedServer(answer, faults=faults) as server:
        values = config(tmp_path, server.url, {"otter": OTTER, "plain": base})
        values["models"]["m"] |= {"max_attempts": 1}
        files = values["compare"]["given"]["plain"]["files"]
        # The last answer was refused to the system: nothing is judged.
        ids = {"dataset": "d", "pair_id": "any", "system": "other"}
        texts = [*(("ok", p, r) for p, r in list(base.items())[:3]), ("refused", "Q3?", "")]
        made = [Generation(**ids, prompt=p, response=r, outcome=outcome) for outcome, p, r in texts]  # type: ignore[arg-type]
        Path(files["d"]).write_text("".join(one.model_dump_json() + "\n" for one in made), encoding="utf-8")
        plan = judged(values | {"max_failed_share": 0.5}, tmp_path)
    rows = rows_of(plan)
    counts = ("n_win", "n_tie", "n_loss", "n_pairs", "n_lost", "no_answer", "n_unread")
    assert [rows["quality"][name] for name in counts] == [1, 0, 1, 2, 1, 1, 0]
    assert rows["quality"]["outage"]
    assert rows["quality"]["difference"] == 0.0
    # One of the two verdicts on the first pair is there, and does not make it a tie.
    assert rows["both (ΔPQ)"]["n_pairs"] == 2


def test_unlike_systems_are_compared_and_each_with_the_generic_answer(tmp_path: Path) -> None:
    """The published code builds the condition of the test from the arguments of the base, so that both are alike."""
    third = dict.fromkeys(PROMPTS, "good otter")
    plan, _ = run(tmp_path, {"otter": OTTER, "strong": third, "plain": PLAIN})
    jobs = [(job.system, job.base) for job in plan.jobs("judge_generations")][::2]
    assert jobs == [("otter", "strong"), ("otter", "plain")]
    rows = list(read_all([Path(path) for path in plan.paths("judge_generations")], JudgedAnswers))
    by_pair = {(row.pair_id, row.base, row.rubric): row.winner for row in rows}
    assert by_pair["test-p1", "strong", "quality"] == "base"
    assert by_pair["test-p3", "strong", "personalization"] == "base"
    assert by_pair["test-p0", "strong", "quality"] == "tie"
    assert by_pair["test-p0", "plain", "quality"] == "test"
    table(plan, "tailoring")
    matrix = (Path(plan.run) / "tables" / "tailoring.md").read_text(encoding="utf-8")
    assert "| ΔPQ of | otter | strong | plain |" in matrix
    # Read by row, with the other sign where the columns are compared with it.
    assert "| otter | – | -100.0 | +50.0 |" in matrix
    assert "| strong | +100.0 | – | – |" in matrix


def test_pairs_with_the_same_prompt_are_told_apart(tmp_path: Path) -> None:
    """The published code keys verdicts by the text of the instruction, which merges such pairs."""
    with ScriptedServer(answer) as server:
        values = config(tmp_path, server.url, {"otter": {"Q0?": "good"}, "plain": {"Q0?": "bad"}})
        # In one shard, or else the two pairs are never in one place.
        values["datasets"]["d"]["shards"] = 1
        rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()][:2]
        twice = "".join(json.dumps(row | {"prompt": "Same?"}) + "\n" for row in rows)
        (tmp_path / "pairs.jsonl").write_text(twice, encoding="utf-8")
        for name, texts in (("otter", ("good", "bad")), ("plain", ("bad", "good"))):
            answers = "".join(json.dumps({"prompt": "Same?", "response": text}) + "\n" for text in texts)
            (tmp_path / f"{name}.jsonl").write_text(answers, encoding="utf-8")
        row = rows_of(judged(values, tmp_path))["quality"]
    assert [row[name] for name in ("n_win", "n_tie", "n_loss")] == [1, 0, 1]


def test_no_file_has_an_empty_part_in_its_path(tmp_path: Path) -> None:
    """The published code looks for verdicts under a path with a doubled slash."""
    plan = Plan(parse_config(config(tmp_path, "http://x/v1", {"otter": OTTER, "plain": PLAIN})))
    made = plan.makers()
    assert not [path for path in made if "//" in path.removeprefix("/")]
    assert all(plan.parse(path) == made[path] for path in plan.paths("judge_generations"))


def test_markers_are_removed_before_a_judge_sees_them_and_counted(tmp_path: Path) -> None:
    test = {"Q0?": "Response: good</s>", "Q1?": "good"}
    plan, server = run(tmp_path, {"otter": test, "plain": {"Q0?": "Assistant: bad", "Q1?": "bad"}})
    assert {compared(body)["first"] for body in server.requests} == {"good", "bad"}
    row = rows_of(plan)["quality"]
    assert (row["stripped_test"], row["stripped_base"], row["words_test"]) == (1, 1, 1.0)
    with ScriptedServer(answer) as server:
        folder = tmp_path / "published"
        folder.mkdir()
        judged(config(folder, server.url, {"otter": test, "plain": {"Q0?": "bad"}}, clean_up="as_published"), folder)
    assert "Response: good" in {compared(body)["first"] for body in server.requests}


def test_labels_of_both_orders_make_one_verdict(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        values = config(tmp_path, server.url, {"otter": OTTER, "plain": PLAIN})
        values["models"]["m"] |= {"prompts": "compact", "verdicts": ["logprob", "logprob_both"]}
        rows = table(judged(values, tmp_path), "tailoring")
    assert list(rows["verdict"]) == ["logprob"] * 3 + ["logprob_both"] * 3
    # Where the orders differ, the mean of their log-odds is 0 here, which is a tie, too.
    assert rows["n_tie"].dropna().tolist() == [2, 2, 2, 2]


def test_neither_shards_nor_the_order_of_answers_change_a_table(tmp_path: Path) -> None:
    made = []
    for number, turned in enumerate((False, True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        systems = {
            name: dict(list(texts.items())[:: -1 if turned else 1]) for name, texts in (("o", OTTER), ("plain", PLAIN))
        }
        with ScriptedServer(answer) as server:
            values = config(folder, server.url, systems)
            values["datasets"]["d"]["shards"] = 1 + number
            plan = judged(values, folder)
        table(plan, "tailoring")
        made.append([path.read_bytes() for path in sorted((Path(plan.run) / "tables").glob("*"))])
    assert len(made[0]) == 4
    assert made[0] == made[1]


def test_the_papers_rows_stand_beside_and_are_not_comparable(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        values = config(tmp_path, server.url, {"otter": OTTER, "plain": PLAIN})
        values["datasets"]["d"]["reported"] = "Anthropic HHH"
        values["compare"]["pairs"][0]["reported"] = "DPO retr"
        plan = judged(values, tmp_path)
    results = RunResults(plan)
    assert all(results.fingerprint(result) for result in results.results)
    table(plan, "tailoring")
    rows = table(plan, "tailoring_reported").set_index("comparison")
    assert rows.loc["DPO retr", ["delta_pq", "difference", "status"]].tolist() == [8.4, 50.0, "not comparable"]
    assert rows.loc["PT-DPO retr chosen", ["personalization_win", "delta_pq", "status"]].tolist() == [
        40.8,
        3.3,
        "not run",
    ]
    assert len(rows) == 10
    text = (Path(plan.run) / "tables" / "tailoring_reported.md").read_text(encoding="utf-8")
    assert "The sign of ΔPQ is the paper's in 1 of 1 comparisons" in text


def test_a_run_without_comparisons_says_so_and_one_without_personas_makes_no_table_of_them(tmp_path: Path) -> None:
    plan = Plan(parse_config(config(tmp_path, "http://x/v1", {"otter": OTTER, "plain": PLAIN})))
    assert [result.rule for result in RunResults(plan).results if result.kind == "table"] == [
        "table_tailoring",
        "table_cost",
    ]
    plan = Plan(parse_config(raw(tmp_path, "http://x/v1")))
    assert "table_tailoring" not in {result.rule for result in RunResults(plan).results}


def test_files_that_are_missing_or_fit_nothing_are_named(tmp_path: Path) -> None:
    values = config(tmp_path, "http://x/v1", {"otter": {"other": "x"}, "plain": PLAIN})
    parsed = parse_config(values)
    plan = Plan(parsed)
    prepare_stage(plan, "d")
    arguments = plan.arguments("given_answers", plan.jobs("given_answers")[0], out=tmp_path / "x")
    with pytest.raises(
        DataError, match=r"otter\.jsonl: no prompt is that of a pair of d; correct compare\.given\.otter"
    ):
        given_stage(**arguments)
    (tmp_path / "otter.jsonl").unlink()
    assert missing(parsed, Needs())[0].startswith("compare.given.otter: no file ")
    values["compare"]["prometheus"] = {"judges": ["m"]}
    values["compare"]["judges"] = []
    assert any("package prometheus-eval, which is not" in problem for problem in missing(parse_config(values), Needs()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c: c["pairs"].append({"test": "x", "base": "plain"}),
            "compare.pairs: no system 'x' (there are: otter,",
        ),
        (lambda c: c["pairs"].append({"test": "plain", "base": "plain"}), "compared with itself; name another base"),
        (lambda c: c["pairs"].append(c["pairs"][0]), "compare.pairs: 'otter' is compared with 'plain' twice"),
        (lambda c: c.update(judges=[]), "compare.judges: no model judges"),
        (lambda c: c.update(judges=["n"]), "compare.judges: no model 'n' under 'models'"),
        (lambda c: c.update(prometheus={"judges": ["m"]}), "'m' is given twice; for both prompts"),
        (lambda c: c.update(rubrics=["quality"] * 2), "compare.rubrics: 'quality' is given twice"),
        (lambda c: c.update(generic="otter"), "compare.generic: 'otter' is no system without personas"),
        (lambda c: c["given"]["otter"]["files"].update(e="x"), "compare.given.otter.files: no data set 'e'"),
        (
            lambda c: c["given"]["plain"].update(persona="gold_chosen"),
            "'otter' is compared with no generic answer to d, the rival that matters; systems without personas",
        ),
    ],
)
def test_a_wrong_section_is_named_by_its_key(change: Callable[[Any], Any], said: str, tmp_path: Path) -> None:
    values = config(tmp_path, "http://x/v1", {"otter": OTTER, "plain": PLAIN})
    change(values["compare"])
    with pytest.raises(ConfigError) as caught:
        parse_config(values)
    assert said in str(caught.value)


def test_a_generic_system_that_stands_first_is_a_rival_too(tmp_path: Path) -> None:
    values = config(tmp_path, "http://x/v1", {"plain": PLAIN, "otter": OTTER, "tiger": OTTER})
    values["compare"]["pairs"].append({"test": "otter", "base": "tiger"})
    jobs = Plan(parse_config(values)).jobs("judge_generations")
    assert {(job.system, job.base) for job in jobs} == {("plain", "otter"), ("otter", "tiger")}


def test_of_several_generic_systems_one_must_be_named(tmp_path: Path) -> None:
    values = config(tmp_path, "http://x/v1", {"otter": OTTER, "tiger": OTTER, "plain": PLAIN, "sft-plain": PLAIN})
    with pytest.raises(ConfigError, match=r"plain, sft-plain; name one of them as compare\.generic"):
        parse_config(values)
    values["compare"]["generic"] = "sft-plain"
    jobs = Plan(parse_config(values)).jobs("judge_generations")
    assert {(job.system, job.base) for job in jobs} == {("otter", "tiger"), ("otter", "sft-plain")}


def test_the_table_of_cost_counts_each_stored_answer_once(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        values = config(tmp_path, server.url, {"otter": OTTER, "plain": PLAIN})
        values["models"]["m"] |= {"price_in": 1.0, "price_out": 2.0}
        values["datasets"]["d"]["shards"] = 2
        plan = judged(values, tmp_path)
    whole, stage = table(plan, "cost").to_dict("records")
    assert (whole["calls"], stage["calls"]) == (28, 28)
    assert (stage["stage"], stage["dataset"], stage["judge_model"]) == ("judge_generations", "d", "m")
    assert whole["cost_usd_list"] == pytest.approx((whole["tokens_in"] + 2 * whole["tokens_out"]) / 1e6)


def test_personas_that_were_retrieved_here_are_said_to_be_so(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        values = config(tmp_path, server.url, {"otter": OTTER, "plain": PLAIN})
        trained = {"id": "t", "prompt": "Q0", "chosen": "x", "rejected": "y", "split": "train"}
        trained |= {"chosen_persona_gold": "The user likes plain."}
        with (tmp_path / "pairs.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(trained) + "\n")
        values["datasets"]["d"] |= {"retrieval": "tfidf", "splits": ["test"]}
        plan = judged(values, tmp_path)
    # Nobody has an answer that names it, so that the place decides wherever the retrieved persona is shown.
    assert rows_of(plan)["personalization"]["win"] == 0
    text = (Path(plan.run) / "tables" / "tailoring.md").read_text(encoding="utf-8")
    assert "Retrieved personas of d: nearest training prompt by TF-IDF; as shipped for 0 of 8 pairs." in text


def test_the_figure_shows_every_comparison_and_says_where_there_are_only_ties(tmp_path: Path) -> None:
    systems = {"otter": OTTER, "tiger": OTTER, "plain": PLAIN}
    plan, _ = run(tmp_path, systems)
    results = RunResults(plan)
    for result in results.results:
        results.make(result.rule)
    figure = (Path(plan.run) / "figures" / "tailoring.svg").read_text(encoding="utf-8")
    assert [name for name in systems if name not in figure] == []
    # Equal answers of two systems are ties.
    assert "ΔPQ: only ties" in figure
    assert "d: 8 pairs at most" in (Path(plan.run) / "figures" / "tailoring.txt").read_text(encoding="utf-8")
