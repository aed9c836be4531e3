"""`personalrm check`: exit codes and lines for other people's continuous integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from personalrm.app.check import check
from personalrm.app.cli import EXIT_UNMET, main
from personalrm.core.errors import DataError

TABLE = """\
dataset,judge_model,method,k,n_judgments,provider_error,accuracy,ci_low,ci_high,status
people,m,default,-,100,0,55.0,45.0,65.0,ok
people,m,both,all,100,0,70.0,61.5,78.0,ok
people,m,both,4,90,10,75.0,61.5,78.0,ok
people,m,memory,all,0,0,,,,not applicable
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "main.csv").write_text(TABLE, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--min-accuracy", "70", "--method", "both", "--k", "all"], 0),
        (["--min-accuracy", "70.1", "--method", "both", "--k", "all"], EXIT_UNMET),
        (["--min-accuracy", "61.5", "--method", "both", "--k", "all", "--lower-bound"], 0),
        (["--min-accuracy", "62", "--method", "both", "--k", "all", "--lower-bound"], EXIT_UNMET),
        (["--min-accuracy", "50", "--method", "scorecard"], 1),
        (["--min-accuracy", "50", "--judge", "other"], 1),
        (["--min-accuracy", "50", "--dataset", "people", "--method", "default"], 0),
    ],
)
def test_the_exit_code_says_whether_all_rows_reach_it(run: Path, options: list[str], code: int) -> None:
    assert main(["check", str(run), *options]) == code


def test_a_row_of_which_too_much_was_lost_does_not_pass(run: Path) -> None:
    held, text = check(run, 60, {"method": "both", "k": "4"})
    assert not held
    assert text == "FAILED  people · both · m · 4: 75.0 [61.5, 78.0]; 10.0 % lost\n"
    assert check(run, 60, {"method": "both", "k": "4"}, largest_loss=10)[0]


def test_one_row_that_fails_is_enough_wherever_it_stands(run: Path) -> None:
    for least in (72, 60):
        table = TABLE.replace(",75.0,", ",50.0,") if least == 60 else TABLE
        (run / "tables" / "main.csv").write_text(table, encoding="utf-8")
        held, text = check(run, least, {"method": "both"}, largest_loss=20)
        assert not held
        assert sorted(line.split()[0] for line in text.splitlines()) == ["FAILED", "ok"]


@pytest.mark.parametrize("least", ["0.7", "1", "-1", "101", "nan"])
def test_what_is_no_percentage_is_refused(run: Path, least: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(run), "--min-accuracy", least, "--method", "default"]) == 1
    assert capsys.readouterr().err == f"personalrm: --min-accuracy: is {least}; give percent, such as 60\n"


def test_a_row_that_is_not_there_is_answered_with_those_that_are(run: Path) -> None:
    with pytest.raises(DataError, match="no row with method bot, k all; there are method: default, both, memory; k: -"):
        check(run, 60, {"method": "bot", "k": "all", "dataset": None})


def test_a_row_without_a_number_is_an_error(run: Path) -> None:
    with pytest.raises(DataError, match=r"people · memory · m · all: no accuracy \(not applicable\)"):
        check(run, 60, {})
    with pytest.raises(DataError, match="run the workflow first"):
        check(run / "tables", 60, {})


def test_rows_of_several_variants_are_told_apart(run: Path) -> None:
    table = "variant," + TABLE.replace("people", "paper,people").replace("paper", "free", 2)
    (run / "tables" / "main.csv").write_text(table, encoding="utf-8")
    _, text = check(run, 60, {"method": "both"}, largest_loss=20)
    assert [line.partition(":")[0].split(" · ")[-1] for line in text.splitlines()] == ["free", "paper"]
