"""Persona inference end to end without Snakemake: a scripted model, and numbers that were computed by hand."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
from support.persona_judge import answer, pair, swapped
from support.scripted_server import Answer, Fault, ScriptedServer

from personalrm.core.errors import ConfigError, ModelCallError
from personalrm.core.persona_pairs import PairPersonas
from personalrm.core.records import read_records
from personalrm.studies.config_load import parse_config
from personalrm.studies.run_results import REPORTED, RunResults
from personalrm.studies.tailoring.config import PaperModel
from personalrm.studies.tailoring.plan import Plan
from personalrm.studies.tailoring.study import STUDY
from studies.tailoring.cases import raw, run, table

PAIRS = [
    *(pair(0), pair(1, "always-first"), pair(2, "mumbles")),
    *(pair(3, "refuses contrary"), pair(4, "mumbles")),
]


def accuracies(plan: Plan, column: str = "accuracy") -> list[float]:
    return [round(float(value), 2) for value in table(plan, "persona_accuracy")[column]]


def shares(plan: Plan) -> list[float]:
    (row,) = table(plan, "persona_preferences").to_dict("records")
    return [round(row[name], 2) for name in ("chosen", "tie", "rejected")]


def test_accuracy_and_preferences_are_those_computed_by_hand(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        plan = run(tmp_path, PAIRS, server.url)
        asked = server.count
    # Chosen: right twice, once, never (unparsed, refused, unparsed); rejected: right twice, once, and twice each.
    assert accuracies(plan) == [30.0, 90.0, 60.0]
    # Refusals are nulls, which the paper's code skips; an answer that cannot be read is wrong there, too.
    assert accuracies(plan, "accuracy_read") == [37.5, 90.0, 66.67]
    rows = table(plan, "persona_accuracy")
    assert list(rows["n_verdicts"]) == [10, 10, 20]
    assert list(rows["unparsed"]) == [4, 0, 4]
    assert list(rows["refused"]) == [2, 0, 2]
    assert rows["standard_error"][0] == pytest.approx(100 * (0.375 * 0.625 / 8) ** 0.5, abs=0.01)
    # Of the paper: GPT-4 on SHP, and the mean of both sides.
    assert rows["reported"][2] == pytest.approx((rows["reported"][0] + rows["reported"][1]) / 2)
    assert rows["reported"][0] > rows["reported"][1] > 80
    # p0 chosen, p1 named the first each time, p3 rejected; the others cannot be read.
    assert shares(plan) == [33.33, 33.33, 33.33]
    assert table(plan, "persona_preferences")["n_unread"].tolist() == [2]
    assert asked == 5 * 2 + 5 * 4 + 5 * 2


def test_the_first_line_is_kept_and_the_other_side_is_asked_with_the_labels_exchanged(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        plan = run(tmp_path, PAIRS[:1], server.url)
    rows = [row for path in plan.paths("infer_personas") for row in read_records(Path(path), PairPersonas)]
    (row,) = rows
    assert row.personas == {
        "chosen": "The user wants the better answer 0,",
        "rejected": "The user wants the worse answer 0,",
    }
    assert all(request["temperature"] == 0 for request in server.requests)
    # Five worked examples between the instruction and the question.
    roles = [message["role"] for message in server.requests[0]["messages"]]
    assert roles == ["system", *["user", "assistant"] * 5, "user"]


def always_first(body: dict[str, Any]) -> Answer:
    return answer(body) if "Preferred response" in body["messages"][-1]["content"] else Answer("Preference: First")


def test_a_judge_that_always_names_the_first_gets_half_and_only_ties(tmp_path: Path) -> None:
    with ScriptedServer(always_first) as server:
        plan = run(tmp_path, [pair(number) for number in range(5)], server.url)
    assert accuracies(plan) == [50.0, 50.0, 50.0]
    assert accuracies(plan, "share_first") == [100.0, 100.0, 100.0]
    assert shares(plan) == [0.0, 100.0, 0.0]


def test_swapping_the_labels_of_the_data_flips_the_sides(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        straight, turned = (tmp_path / name for name in ("straight", "turned"))
        straight.mkdir()
        turned.mkdir()
        rows = [*PAIRS, pair(5)]
        one = run(straight, rows, server.url)
        other = run(turned, [swapped(row) for row in rows], server.url)
    chosen, rejected, both = accuracies(one)
    assert accuracies(other) == [rejected, chosen, both]
    (before,), (after,) = (table(plan, "persona_preferences").to_dict("records") for plan in (one, other))
    assert (before["n_chosen"], before["n_rejected"], before["n_tie"]) == (2, 1, 1)
    assert (after["n_chosen"], after["n_rejected"], after["n_tie"]) == (1, 2, 1)


def odds(body: dict[str, Any]) -> Answer:
    if "Paris" in body["messages"][-2]["content"]:
        return Answer(" A", logprobs=[[(" A", -0.1), (" B", -2.4)]])
    return answer(body)


def test_labels_are_read_from_log_probabilities_after_the_start_of_the_answer(tmp_path: Path) -> None:
    with ScriptedServer(odds) as server:
        read = {"prompts": "compact", "verdicts": ["logprob", "logprob_both"]}
        model = raw(tmp_path, server.url)["models"]["m"] | read
        plan = run(tmp_path, [pair(0), pair(1, "always-first")], server.url, models={"m": model})
    # In each order, then with the mean of both, which is a tie where the first is named in both.
    assert accuracies(plan) == [75.0, 75.0, 75.0, 50.0, 50.0, 50.0]
    begun = [request["messages"][-1] for request in server.requests if request.get("logprobs")]
    assert {"role": "assistant", "content": "Preference:"} in begun


def test_orders_and_sides_of_a_pair_are_no_further_observations(tmp_path: Path) -> None:
    with ScriptedServer(odds) as server:
        read = {"prompts": "compact", "verdicts": ["logprob", "logprob_both"]}
        model = raw(tmp_path, server.url)["models"]["m"] | read
        plan = run(tmp_path, [pair(number) for number in range(4)], server.url, models={"m": model})
    rows = table(plan, "persona_accuracy")
    assert set(rows["n_verdicts"]) == {4, 8, 16}
    # Of four pairs that are all right, however often each was judged.
    assert rows["ci_low"].nunique() == 1
    words = table(plan, "persona_saliency").set_index("word")["ci_low"]
    assert words["better"] == rows["ci_low"][0]


def test_lost_calls_are_in_no_number_and_too_many_end_the_job(tmp_path: Path) -> None:
    def faults(_: int, body: dict[str, Any]) -> Fault | None:
        judged = "The person: The user wants the better answer 1" in body["messages"][-1]["content"]
        return Fault("status", 500) if judged else None

    model = raw(tmp_path, "http://x/v1")["models"]["m"] | {"max_attempts": 1}
    with ScriptedServer(answer, faults=faults) as server:
        models = {"m": model | {"api_base": server.url}}
        plan = run(tmp_path, [pair(0), pair(1)], server.url, models=models, max_failed_share=0.5)
        with pytest.raises(ModelCallError, match="judge_personas calls failed at the provider"):
            run(tmp_path, [pair(0), pair(1)], server.url, models=models)
    rows = table(plan, "persona_accuracy")
    assert list(rows["provider_error"]) == [2, 0, 2]
    assert list(rows["accuracy"]) == [100.0, 100.0, 100.0]
    assert list(rows["outage"]) == [True, False, True]


def test_personas_of_the_data_are_judged_and_a_missing_one_is_not_asked_about(tmp_path: Path) -> None:
    gold = {"chosen_persona_gold": "wants the better answer 0,", "rejected_persona_gold": ""}
    with ScriptedServer(answer) as server:
        plan = run(tmp_path, [pair(0) | gold], server.url, infer={"released": True})
    rows = table(plan, "persona_accuracy")
    assert list(rows["model"]) == ["released"] * 3
    assert list(rows["no_persona"]) == [0, 1, 1]
    assert list(rows["n_verdicts"]) == [2, 0, 2]
    assert pd.isna(rows["accuracy"][1])
    (row,) = table(plan, "persona_preferences").to_dict("records")
    assert (row["n_pairs"], row["no_persona"], row["n_unread"]) == (0, 1, 0)
    assert server.count == 2


def test_figures_show_every_model_and_word(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        plan = run(tmp_path, PAIRS, server.url)
    results = RunResults(plan)
    for result in results.results:
        results.make(result.rule)
    figure = (Path(plan.run) / "figures" / "persona_saliency.svg").read_text(encoding="utf-8")
    assert all(word in figure for word in ("better", "worse"))
    assert "paper (judge GPT-4o)" in (Path(plan.run) / "figures" / "persona_accuracy.svg").read_text(encoding="utf-8")


def test_the_report_says_why_there_are_no_preferences(tmp_path: Path) -> None:
    values = raw(tmp_path, "http://x/v1", infer={"given": {"learned": "x"}})
    said = dict(STUDY.not_run(parse_config(values), ()))
    assert said["Table persona preferences"] == "no model writes both personas of a pair"
    values["judge"] = {}
    assert dict(STUDY.not_run(parse_config(values), ()))["Table persona accuracy"] == "judge.accuracy names no model"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["infer"].update(models=["x"]), "infer.models: no model 'x' under 'models' (there are: m)"),
        (lambda c: c["infer"].update(models=["m", "m"]), "infer.models: 'm' is given twice"),
        (lambda c: c["infer"].update(models=[], reported={}), "infer.models: no model infers personas"),
        (lambda c: c["judge"].update(accuracy=["y"]), "judge.accuracy: no model 'y'"),
        (lambda c: c["infer"]["reported"].update(z="GPT-4"), "infer.reported: 'z' is not among infer.models"),
        (lambda c: c["infer"].update(reported={"m": "GPT4"}), "infer.reported.m: Input should be 'Llama-3.1-8B'"),
        (
            lambda c: c["saliency"].update(contrast=["whole_words"] * 2),
            "saliency.contrast: 'whole_words' is given twice",
        ),
        (lambda c: c["models"]["m"].update(api_base="host:80/v1"), "models.m.api_base: 'host:80/v1' has no scheme"),
        (lambda c: c["models"]["m"].update(prompts="compact"), "models.m.verdicts: 'text' is not read"),
        (
            lambda c: c["models"].update(released=c["models"]["m"]),
            "models.released: stands for the personas of",
        ),
        (lambda c: c["infer"].update(given={"released": "x"}), "infer.given.released: is the name of"),
        (
            lambda c: c["datasets"]["d"].update(name="e"),
            "datasets: d has the name 'e', but the key is the name; leave name out",
        ),
        (lambda c: c["datasets"]["d"].update(pormpt="shp"), "datasets.d.pormpt: unknown key; did you mean 'prompt'?"),
        (lambda c: c.update(learn={}), "learn: unknown key"),
        (lambda c: c.update(study="boat"), "study: must be one of synthesizeme, tailoring, fspo (given: 'boat')"),
    ],
)
def test_a_wrong_config_is_named_by_its_key(change: Callable[[Any], Any], said: str, tmp_path: Path) -> None:
    values = raw(tmp_path, "http://x/v1")
    change(values)
    with pytest.raises(ConfigError) as caught:
        parse_config(values)
    assert said in str(caught.value)


def test_no_two_judges_share_a_file(tmp_path: Path) -> None:
    values = raw(tmp_path, "http://x/v1", infer={"models": ["m", "m-by-m"]}, judge={"accuracy": ["m"]})
    values["models"]["m-by-m"] = values["models"]["m"]
    parse_config(values)
    values["judge"] = {"accuracy": ["m", "m-by-m"]}
    with pytest.raises(ConfigError, match="would share the file 'm-by-m-by-m'; rename a model"):
        parse_config(values)


def test_every_model_of_the_paper_can_be_named() -> None:
    with (REPORTED / "tailoring.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["model"] for row in rows} == set(get_args(PaperModel))
    assert all(
        round(100 * int(row["correct"]) / int(row["judgments"]), 2) == float(row["accuracy_percent"]) for row in rows
    )
    assert len(rows) == 72


def test_neither_shards_nor_the_order_of_rows_change_a_result(tmp_path: Path) -> None:
    made = []
    with ScriptedServer(answer) as server:
        for number, rows in enumerate((PAIRS, PAIRS[::-1])):
            folder = tmp_path / str(number)
            folder.mkdir()
            entry = raw(folder, server.url)["datasets"]["d"] | {"shards": 1 + number}
            plan = run(folder, rows, server.url, datasets={"d": entry})
            for name in ("persona_accuracy", "persona_preferences", "persona_saliency"):
                table(plan, name)
            made.append([path.read_bytes() for path in sorted((Path(plan.run) / "tables").glob("*"))])
    assert len(made[0]) == 12
    assert made[0] == made[1]
