"""Times of votes: the unit of a number, years in which no vote can have been given, and numbers that only count.

A number of seconds, milliseconds, microseconds or nanoseconds since 1970 is recognised by its size: between 1990 and
2100 the four ranges do not overlap. A small number is no date. Where no row of a file has a date, small numbers are
taken as a counter, which orders votes as well; next to dates they are refused (our choice).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from personalrm.data.sources.fields import FieldError, shown

FIRST_YEAR, LAST_YEAR = 1990, 2099
_FIRST = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp()
_END = datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp()
_UNITS = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
_COUNTER = "counter"
_LARGEST_COUNT = 1e8
"""From here on a number of seconds lies in a year after 1973, and is more likely a wrong date than a count."""
_ADVICE = "write Unix seconds or ISO 8601 (2025-01-31T12:00:00Z), or leave it out"


class Time(NamedTuple):
    """Unix seconds and the unit that they were given in; or a count."""

    value: float
    unit: str

    @property
    def is_date(self) -> bool:
        """Whether it is a point in time, and no count."""
        return self.unit != _COUNTER


def time_of(value: object) -> Time:
    """A time, given as a number or as text (ISO 8601, or a number).

    UTC is taken where ISO 8601 names no zone (our choice). Raises FieldError for what is no time, and for years before
    1990 and after 2099.

    >>> time_of(1700000000000), time_of("2023-11-14T22:13:20")
    (Time(value=1700000000.0, unit='milliseconds'), Time(value=1700000000.0, unit='ISO 8601'))
    >>> time_of(12)
    Time(value=12.0, unit='counter')
    """
    if isinstance(value, str) and not re.fullmatch(r"\s*\d+(\.\d*)?\s*", value):
        return Time(unix_seconds(value), "ISO 8601")
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.nan
    if not math.isfinite(number):
        raise FieldError("", f"is {shown(value)}, not a time", _ADVICE)
    if 0 <= number < _LARGEST_COUNT:
        return Time(number, _COUNTER)
    for unit, per_second in _UNITS.items():
        if _FIRST <= number / per_second < _END:
            return Time(number / per_second, unit)
    raise _impossible(value)


def unix_seconds(value: str) -> float:
    """Unix seconds of a time in ISO 8601; UTC is taken where it names no zone (our choice). Raises FieldError."""
    try:
        # As databases write it.
        moment = datetime.fromisoformat(re.sub(r"(?<!\s)\s+UTC$", "Z", value.strip()))
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise FieldError("", f"is {shown(value)}, not a time in ISO 8601", "") from None
    if not _FIRST <= seconds < _END:
        raise _impossible(value)
    return seconds


def _impossible(value: object) -> FieldError:
    years = f"in no unit between the years {FIRST_YEAR} and {LAST_YEAR}"
    return FieldError("", f"is {shown(value)}, {years}: not the time of a vote", _ADVICE)


class FileTimes:
    """The times of one file: their units, counted, and counts next to dates, refused."""

    def __init__(self, all_values: Callable[[], Iterable[object]]) -> None:
        """`all_values` are the times of all rows as they stand there: read where a count is met, once."""
        self._all_values = all_values
        self._has_dates: bool | None = None
        self._units: Counter[str] = Counter()

    def check(self, value: object) -> None:
        """Count the unit of a row's time, which may be None. Raises FieldError as `time_of` does, and for a count in a
        file that has dates."""
        if value is None:
            return
        if type(value) is int and _FIRST <= value < _END:  # the usual case, and many votes
            self._units["seconds"] += 1
            return
        time = time_of(value)
        if not time.is_date and self._some_date():
            problem = f"is {shown(value)}, which is no date, while other rows have dates"
            raise FieldError("timestamp", problem, _ADVICE)
        self._units[time.unit] += 1

    def _some_date(self) -> bool:
        if self._has_dates is None:
            self._has_dates = any(map(_is_date, self._all_values()))
        return self._has_dates

    def notes(self) -> list[str]:
        """What a reader of the data card should know: units other than Unix seconds and ISO 8601, and counters."""
        if self._units[_COUNTER]:
            return [
                f"The numbers in `timestamp` are no dates: they are taken as a counter ({self._units[_COUNTER]} votes)."
            ]
        if self._units.keys() <= {"seconds", "ISO 8601"}:
            return []
        units = ", ".join(f"{unit} {count}" for unit, count in sorted(self._units.items()))
        return [f"Units of `timestamp`, recognised by size and brought to seconds: {units}."]


def _is_date(value: object) -> bool:
    try:
        return value is not None and time_of(value).is_date
    except FieldError:
        return False
