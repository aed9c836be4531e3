"""Times of votes: units, impossible years, counters, and users whose votes have times only in part."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from personalrm.core.errors import DataError
from personalrm.core.records import UserData, read_records
from personalrm.data.prepare import prepare_dataset
from personalrm.data.settings import LocalDataset, Untimed
from personalrm.data.sources.fields import FieldError
from personalrm.data.sources.open import read_votes
from personalrm.data.sources.reading import ReadReport
from personalrm.data.sources.times import time_of

from .vote_rows import Row, row, write_rows

SECONDS = 1_700_000_000
UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}


def prepared(tmp_path: Path, rows: list[Row], **options: object) -> tuple[list[str | None], str, Row]:
    """Conversations of the one user in their order, the card, and the funnel's own words."""
    path = write_rows(tmp_path / "votes.jsonl", rows)
    settings = LocalDataset.model_validate({"name": "mine", "path": path, "shards": 1, **options})
    out = tmp_path / "out"
    prepare_dataset(settings, out)
    (user,) = (user for file in out.glob("*.jsonl") for user in read_records(file, UserData))
    funnel = json.loads((out / "funnel.json").read_text())
    return [pair.conversation_id for pair in user.pairs], (out / "card.md").read_text(), funnel


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_of_a_number_is_recognised(unit: str) -> None:
    for moment in (631_152_000, SECONDS, 4_102_444_799):
        assert time_of(moment * UNITS[unit]) == (moment, unit)
        assert time_of(str(moment * UNITS[unit])) == (moment, unit)


@pytest.mark.parametrize(
    "value",
    [
        *(-1, 10**8, 631_151_999, 4_102_444_800, 5 * 10**12, 10**16, 10**19, 20250131120000),
        *("0001-01-01", "1989-12-31T23:59:59Z", "2100-01-01T00:00:00Z", "9999-12-31"),
    ],
)
def test_impossible_years_are_refused(value: object) -> None:
    with pytest.raises(FieldError, match="between the years 1990 and 2099"):
        time_of(value)


@pytest.mark.parametrize("text", [" 2023-11-14T22:13:20 ", "2023-11-14 22:13:20 UTC", "2023-11-14 22:13:20.000 UTC"])
def test_a_date_is_read_as_databases_write_it(text: str) -> None:
    assert time_of(text) == (1_700_000_000, "ISO 8601")


def test_seconds_beside_milliseconds_are_brought_to_one_unit_and_named_in_the_card(tmp_path: Path) -> None:
    scales = [1, 1000, 1, 1000, 1, 1000]
    rows = [row(number=n, timestamp=(SECONDS + n) * scales[n], conversation_id=f"c{9 - n}") for n in range(6)]
    order, card, _ = prepared(tmp_path, rows)
    assert order == ["c9", "c8", "c7", "c6", "c5", "c4"]
    assert "- Units of `timestamp`, recognised by size and brought to seconds: milliseconds 3, seconds 3." in card


def test_plain_seconds_and_dates_need_no_note(tmp_path: Path) -> None:
    rows = [row(number=n, timestamp=SECONDS + n) for n in range(4)] + [row(number=4, timestamp="2025-01-31T12:00:00")]
    _, card, funnel = prepared(tmp_path, rows)
    assert funnel["notes"] == []
    assert "incomplete_times" not in funnel
    assert "in part" not in card
    assert "incomplete_times" not in prepared(tmp_path, [row(number=n) for n in range(5)])[2]


def test_a_counter_orders_votes_and_the_card_says_that_it_is_no_date(tmp_path: Path) -> None:
    rows = [row(number=n, timestamp=n, conversation_id=f"c{9 - n}") for n in range(6)]
    order, card, _ = prepared(tmp_path, rows)
    assert order == ["c9", "c8", "c7", "c6", "c5", "c4"]
    assert "- The numbers in `timestamp` are no dates: they are taken as a counter (6 votes)." in card


@pytest.mark.parametrize("date", [SECONDS, SECONDS * 1000, "2025-01-31T12:00:00Z"])
def test_a_zero_next_to_dates_is_no_time_wherever_it_stands(tmp_path: Path, date: object) -> None:
    for place in range(3):
        times: list[object] = [date, date]
        times.insert(place, 0)
        path = write_rows(tmp_path / "v.jsonl", [row(number=n, timestamp=time) for n, time in enumerate(times)])
        with pytest.raises(DataError, match=f"line {place + 1}, field timestamp.* is 0, which is no date, while"):
            list(read_votes(path))
        report = ReadReport()
        assert [vote.line for vote in read_votes(path, on_bad="drop", report=report)] == [
            line for line in (1, 2, 3) if line != place + 1
        ]
        assert report.bad == 1


PARTLY = [
    row(number=n, timestamp=None if n == 3 else SECONDS + n, conversation_id=f"c{9 - n}", user="ann") for n in range(6)
]
"""The time of the fourth vote is missing; conversations are numbered backwards."""
ORDERS: dict[Untimed, list[int]] = {
    "oldest": [6, 9, 8, 7, 5, 4],
    "conversation": [4, 5, 6, 7, 8, 9],
    "file": [9, 8, 7, 6, 5, 4],
}


@pytest.mark.parametrize("untimed", ORDERS)
def test_one_missing_time_is_counted_and_the_config_says_what_orders_the_user(tmp_path: Path, untimed: Untimed) -> None:
    order, card, funnel = prepared(tmp_path, PARTLY, untimed=untimed)
    assert order == [f"c{number}" for number in ORDERS[untimed]]
    assert funnel["incomplete_times"] == {"users": 1, "pairs_without": 1}
    assert (
        f"- Users whose pairs have times only in part: 1 (1 pairs without a time). `untimed: {untimed}` orders them."
        in card
    )


def test_one_missing_time_does_not_make_the_newest_votes_context(tmp_path: Path) -> None:
    order, _, _ = prepared(tmp_path, PARTLY)
    assert order[-2:] == ["c5", "c4"]


def test_the_sequence_of_rows_decides_only_on_request(tmp_path: Path) -> None:
    rows = [row(number=n, conversation_id=f"c{9 - n}") for n in range(5)]
    for untimed in ("oldest", "conversation"):
        for shuffled in itertools.islice(itertools.permutations(rows), 0, 120, 40):
            assert prepared(tmp_path, list(shuffled), untimed=untimed)[0] == ["c5", "c6", "c7", "c8", "c9"]
    assert prepared(tmp_path, rows, untimed="file")[0] == ["c9", "c8", "c7", "c6", "c5"]
    # Complete times are used, and the sequence of rows does not order equal ones.
    same = [each | {"timestamp": SECONDS} for each in rows]
    assert prepared(tmp_path, same, untimed="file")[0] == ["c5", "c6", "c7", "c8", "c9"]
    timed = [each | {"timestamp": SECONDS - n} for n, each in enumerate(rows)]
    assert prepared(tmp_path, timed, untimed="file")[0] == ["c5", "c6", "c7", "c8", "c9"]
