"""Progress of a download: a bar on a terminal, one plain line a part in a log file."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, Self, TextIO


class Progress(Protocol):
    """What a download reports. Sizes are in bytes."""

    def note(self, text: str) -> None:
        """Say one line."""
        ...

    def start(self, label: str, total: int, done: int = 0) -> None:
        """Begin a download of `total` bytes, of which `done` are here already."""
        ...

    def update(self, done: int) -> None:
        """So many bytes are here now; may be called often."""
        ...

    def part(self, text: str, done: int) -> None:
        """A part is finished: `text` names it."""
        ...


class PlainProgress:
    """One line a part, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._label, self._total = "", 0

    def note(self, text: str) -> None:
        """See Progress."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def start(self, label: str, total: int, done: int = 0) -> None:
        """See Progress."""
        self._label, self._total = label, total
        resumed = f", resumed at {done / 1e6:.0f} MB" if done else ""
        self.note(f"{label}: {total / 1e6:.0f} MB{resumed}")

    def update(self, done: int) -> None:
        """Nothing: a log wants no moving numbers."""

    def part(self, text: str, done: int) -> None:
        """See Progress."""
        self.note(f"{self._label}: {text}, {done / 1e6:.0f} of {self._total / 1e6:.0f} MB")


class BarProgress:
    """A moving bar on the terminal (rich), removed when the download ends."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as RichBar

        self._bar = RichBar(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._label = ""
        self._task = self._bar.add_task("", total=None, visible=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """See Progress."""
        self._bar.console.print(text, markup=False, highlight=False)

    def start(self, label: str, total: int, done: int = 0) -> None:
        """See Progress."""
        self._label = label
        self._bar.reset(self._task, total=total, completed=done, description=label, visible=True)

    def update(self, done: int) -> None:
        """See Progress."""
        self._bar.update(self._task, completed=done)

    def part(self, text: str, done: int) -> None:
        """See Progress."""
        self._bar.update(self._task, completed=done, description=f"{self._label}, {text}")
