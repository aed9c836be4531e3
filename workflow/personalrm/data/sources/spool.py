"""Votes by user on disk: written in any order, read one user at a time."""

from __future__ import annotations

import pickle
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from personalrm.core.errors import DataError
from personalrm.data.sources.votes import Vote


class VoteSpool(Mapping[str, list[Vote]]):
    """A mapping from users to their votes, each user's in the order in which they came in.

    Memory holds the ids of users and 8 bytes per vote; looking a user up reads that user's votes. The file is in
    `folder` and has no name there, so that nothing is left behind however the process ends. It takes about the space
    of the input. Users are in the order in which they were added.

    Raises DataError where the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[str, array[int]] = {}

    def __enter__(self) -> Self:
        with self._written():
            self._file = tempfile.TemporaryFile(dir=self._folder)
        return self

    def __exit__(self, *error: object) -> None:
        # The votes are not read again: a full disk must not hide the first error.
        with suppress(OSError):
            self._file.close()

    def add(self, votes: Iterable[Vote]) -> None:
        """Add votes."""
        place = self._file.seek(0, 2)
        for vote in votes:
            # Pickle is safe here: no other process can write into a file that has no name.
            stored = pickle.dumps(vote, pickle.HIGHEST_PROTOCOL)
            with self._written():
                self._file.write(stored)
            self._places.setdefault(vote.user_id, array("Q")).append(place)
            place += len(stored)

    def add_users(self, users: Iterable[str]) -> None:
        """Add users that may have no votes."""
        for user in users:
            self._places.setdefault(user, array("Q"))

    def __getitem__(self, user: str) -> list[Vote]:
        votes = []
        for place in self._places[user]:
            # The last votes are written to the disk only now.
            with self._written():
                self._file.seek(place)
            votes.append(pickle.load(self._file))
        return votes

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, user: object) -> bool:
        # The inherited method would read the user's votes.
        return user in self._places

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self._folder}: votes cannot be kept here while they are sorted by user ({error.strerror}); free as "
                "much space as the input takes, or write elsewhere"
            ) from error
