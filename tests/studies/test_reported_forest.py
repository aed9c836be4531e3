"""The files of reported numbers, and the forest of all of them: filled by generated verdicts, and empty."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.comparison_cases import assert_readable, default, texts_of
from support.generated_verdicts import write_cells
from support.reported_cases import LLAMA, MISSING, MODELS, NUMBERS, paper_like, tables_of
from support.result_cases import write_result, written_twice

from personalrm.core.errors import DataError
from personalrm.methods.registry import mark_of
from personalrm.results.scores import collect_verdicts, write_frame
from personalrm.results.table_formats import write_table
from personalrm.studies.synthesizeme.results.reported_figure import reported_caption, reported_figure, stacks_of
from personalrm.studies.synthesizeme.results.reported_matching import ThetaOrigin
from personalrm.studies.synthesizeme.results.reported_numbers import ServedModel, read_numbers, read_served
from personalrm.studies.synthesizeme.results.reported_table import (
    RESULT,
    read_reported_table,
    reported_blocks,
    reported_notes,
    reported_table,
)


def test_the_reported_numbers_agree_with_each_other() -> None:
    numbers, served = read_numbers(NUMBERS), read_served(MODELS)
    assert len(numbers) == 118
    value = {(n.table, n.data_set, n.model, n.label, n.statistic): n.value for n in numbers}
    assert len(value) == len(numbers)
    main = {key[1:4]: number for key, number in value.items() if key[0] == "main results"}
    claims = {key[1:4]: number for key, number in value.items() if key[4] == "difference_points"}
    best = {name: main[name, LLAMA, "SynthesizeMe: Just Demos"] for name in ("arena", "prism")}
    for data_set, other in (("arena", "Memory"), ("arena", "Default"), ("prism", "Default"), ("prism", "Demographics")):
        claim = claims[data_set, LLAMA, f"SynthesizeMe (best) − {other}"]
        assert claim == pytest.approx(best[data_set] - main[data_set, LLAMA, other], abs=0.005)
    # Arena's numbers are all k of 568 judgments.
    for one in (n for n in numbers if n.n == 568):
        assert round(100 * round(one.value * 5.68) / 568, 2) == one.value
    assert {n.model for n in numbers if n.certainty == "secondary source"} - {s.model for s in served} <= {
        *("not stated", "o4-mini", "Llama-3.1-8B-Instruct judge")
    }


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("value", "many", "value: Input should be a valid number"),
        ("value", "nan", "value"),
        ("value", "101", "no percentage"),
        ("half_width", "", "half_width and interval belong together"),
        ("half_width", "-1", "half_width"),
        ("method", "nonsense", "no method 'nonsense'"),
        ("against", "memory", "against is for differences"),
        ("certainty", "sure", "certainty"),
        ("statistic", "f1", "statistic"),
        ("source", "", "source"),
    ],
)
def test_a_wrong_row_is_named_with_file_and_line(tmp_path: Path, column: str, text: str, message: str) -> None:
    frame = pd.read_csv(NUMBERS, dtype=str, keep_default_na=False).iloc[:3]
    frame.loc[1, column] = text
    frame.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(DataError, match=r"bad\.csv, line 3: .*") as error:
        read_numbers(tmp_path / "bad.csv")
    assert message in str(error.value)


def test_a_served_model_that_differs_must_say_how(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("model,id,snapshot,same,note\na,b,,yes,\na,c,,no,\n")
    with pytest.raises(DataError, match=r"m\.csv, line 3: .*note must say why"):
        read_served(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text("model,id,snapshot,same,note\na,b,,yes,,more\n")
    with pytest.raises(DataError, match="beyond the last column"):
        read_served(tmp_path / "m.csv")
    assert all(isinstance(entry, ServedModel) for entry in read_served(MODELS))


def test_generated_verdicts_fill_table_and_forest(tmp_path: Path) -> None:
    frame, identity = paper_like(tmp_path / "v")
    table = reported_table(read_numbers(NUMBERS), frame, identity, tables_of(frame), seed=1, n_resamples=49)
    filled = table[table["status"] == "comparable"]
    assert len(filled) == 18
    assert set(filled["revision"]) == {"0125"}
    assert filled[["ours", "difference", "reported_in_ours"]].notna().all(axis=None)
    made = write_table(
        table,
        tmp_path / "reported",
        caption=RESULT.title,
        notes=reported_notes(table),
        blocks=reported_blocks(table),
    )
    assert len(made) == 4
    figure = reported_figure(table, title_note="generated verdicts")
    marks = {mark_of(str(name).partition(" ")[0]).marker for name in filled["our_method"]}
    ours = [line for axes in figure.axes for line in axes.lines if line.get_marker() in marks]
    assert len(ours) == len(filled)
    assert "18 numbers" in reported_caption(table)


def test_a_run_of_other_data_and_models_has_not_run_anything_and_says_so(tmp_path: Path) -> None:
    frame = collect_verdicts(write_cells(tmp_path / "v", [default("smollm2-135m", dataset="quickstart")], [2, 2]))
    write_frame(frame, tmp_path / "verdicts.parquet")
    files = {"verdicts": tmp_path / "verdicts.parquet", "reported_numbers": NUMBERS, "reported_models": MODELS}
    files["reported_missing"] = MISSING
    # The run has no judgments of fidelity.
    for name in ("main", "scaling"):
        files[f"table_{name}"] = tmp_path / f"{name}.csv"
        getattr(tables_of(frame), name).to_csv(tmp_path / f"{name}.csv", index=False)
    settings: dict[str, object] = {"answering_sets": {}, "differs": {}, "identities": {"s": ["smollm2-135m", ""]}}
    settings["theta_origins"] = {"as_published+x": ThetaOrigin("as_published", "s", "")}
    stem = written_twice("table_reported", tmp_path, **files, **settings, n_resamples=9)
    csv = stem.with_suffix(".csv")
    write_result("figure_reported", tmp_path / "one", table_reported=csv)
    table = read_reported_table(csv)
    assert set(table["status"]) == {"not run"}
    assert table["ours"].isna().all()
    drawn = reported_figure(table)
    assert_readable(drawn)
    places = sum(len(stack.rows) for stack in stacks_of(table).values())
    assert texts_of(drawn).count("not run") == places == 91
    first = reported_blocks(table)[0].texts.iloc[0]
    assert (first["Reported"], first["Certainty"]) == ("56.69 ± 4.05", "secondary source")
    assert first["Ours [95 % CI]"] == "not run"
