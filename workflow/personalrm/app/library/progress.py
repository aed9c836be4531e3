"""Progress of a call such as `fit`: percentages for the user's hook, or a bar on a terminal and in notebooks."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

Hook = Callable[[float, str], object]


class Progress:
    """Reports how far a call is, as a percentage that never falls, after each answer.

    Only an upper bound of the number of calls is known, so a stage may end before its last percent. A context manager:
    its end removes the bar.

    Args:
        hook: called as hook(percent, message); None: a bar of tqdm, where that is installed and standard error is a
            terminal or a notebook's, else nothing.
    """

    def __init__(self, hook: Hook | None) -> None:
        self._hook = hook
        self._bar = _bar() if hook is None else None
        self._what, self._most, self._done = "", 1, 0
        self._start = self._end = self._reported = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def stage(self, what: str, most: int, start: float, end: float) -> None:
        """Begin a stage of at most `most` calls, which leads from `start` to `end` percent."""
        self._what, self._most, self._done, self._start, self._end = what, max(1, most), 0, start, end
        self.report(start, what)
        if self._bar is not None:
            # At once: its first answer may take long.
            self._bar.refresh()

    def answered(self) -> None:
        """Count one more answer."""
        self._done += 1
        share = min(1.0, self._done / self._most)
        self.report(self._start + share * (self._end - self._start), f"{self._what}: {self._done} answers")

    def report(self, percent: float, message: str) -> None:
        """Call the hook, or move the bar."""
        self._reported = max(self._reported, percent)
        if self._hook is not None:
            self._hook(self._reported, message)
        elif self._bar is not None:
            self._bar.set_description_str(message, refresh=False)
            self._bar.update(self._reported - self._bar.n)


def _bar() -> Any:  # noqa: ANN401  (of a library without types, which may not be installed)
    """A bar of 100 percent, or None where none can be shown."""
    notebook = type(sys.stderr).__module__ == "ipykernel.iostream"
    if not (notebook or sys.stderr.isatty()):
        return None
    try:
        tqdm: Any = importlib.import_module("tqdm").tqdm
    except ImportError:
        return None
    # `miniters=0`: the line changes with each answer, however small its share is.
    form = "{percentage:3.0f} %|{bar}| {elapsed}  {desc}"
    return tqdm(total=100, file=sys.stderr, leave=False, bar_format=form, mininterval=0.1, miniters=0)
