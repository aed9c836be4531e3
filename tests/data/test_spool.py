from __future__ import annotations

import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalrm.core.errors import DataError
from personalrm.core.records import UserData, read_records
from personalrm.data.prepare import prepare_dataset, read_users
from personalrm.data.settings import LocalDataset
from personalrm.data.sources.reading import ReadReport
from personalrm.data.sources.spool import VoteSpool
from personalrm.data.sources.votes import Vote

from .vote_rows import row, write_rows

TEXTS = st.text(max_size=30)


@st.composite
def any_vote(draw: st.DrawFn) -> Vote:
    return Vote(
        user_id=draw(st.sampled_from(["a", "../../b", "🙂", "a\x00", "A", "x" * 300])),
        context=(("system", draw(TEXTS)), ("user", draw(TEXTS))),
        chosen=draw(TEXTS),
        rejected=draw(TEXTS),
        tie=draw(st.booleans()),
        pair_id=draw(st.none() | TEXTS),
        turn=draw(st.none() | st.integers(0, 9)),
        timestamp=draw(st.none() | st.floats(allow_nan=False)),
        survey=draw(st.dictionaries(TEXTS, TEXTS, max_size=2)),
        line=draw(st.integers(0, 10**9)),
        user_split=draw(st.sampled_from([None, "train"])),
        judgments=draw(st.dictionaries(TEXTS, st.none() | st.booleans() | st.lists(TEXTS, max_size=2), max_size=2)),
    )


@given(st.lists(st.lists(any_vote(), max_size=8), max_size=4), st.data())
@settings(max_examples=60)
def test_users_come_out_whole_and_unaltered_in_any_order(batches: list[list[Vote]], data: st.DataObject) -> None:
    grouped: dict[str, list[Vote]] = {}
    with tempfile.TemporaryDirectory() as folder, VoteSpool(Path(folder)) as spool:
        for batch in batches:
            spool.add(batch)
            for vote in batch:
                grouped.setdefault(vote.user_id, []).append(vote)
            # Reading in between neither loses votes nor overwrites any.
            if grouped:
                user = data.draw(st.sampled_from(sorted(grouped)))
                assert spool[user] == grouped[user]
        assert list(spool) == list(grouped)
        assert len(spool) == len(grouped)
        for user in data.draw(st.permutations(list(grouped))):
            assert spool[user] == grouped[user]


def vote_of(user: str, number: int = 0) -> Vote:
    return Vote(user, (("user", f"question {number}"),), f"good {number}", f"bad {number}")


def test_users_without_votes(tmp_path: Path) -> None:
    with VoteSpool(tmp_path) as spool:
        spool.add([vote_of("a")])
        spool.add_users(["b", "a"])
        assert dict(spool) == {"a": [vote_of("a")], "b": []}
        assert "b" in spool
        assert "c" not in spool
        with pytest.raises(KeyError):
            spool["c"]


def test_nothing_is_left_behind_by_an_error(tmp_path: Path) -> None:
    def breaking() -> Iterator[Vote]:
        for number in range(1000):
            yield vote_of("a", number)
        raise DataError("line 1001 is bad")

    with VoteSpool(tmp_path) as spool:
        # The file has no name even while it is in use.
        with pytest.raises(DataError, match="line 1001"):
            spool.add(breaking())
        assert len(spool["a"]) == 1000
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="closed"):
        spool["a"]


def test_nothing_is_left_behind_by_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from personalrm.data.sources.spool import VoteSpool as S;"
        "from personalrm.data.sources.votes import Vote as V; s = S(Path(sys.argv[1])).__enter__();"
        "s.add(V('u', (), 'x' * 1000, str(n)) for n in range(1000)); print(len(s['u']), flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "1000\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("votes", [1, 1000])
def test_a_full_disk_is_a_clear_error(tmp_path: Path, votes: int) -> None:
    # A limit on the size of files stands for the disk; one vote fails only when the buffer is written out.
    def fill() -> None:
        with VoteSpool(tmp_path) as spool:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
            spool.add(vote_of("a", number) for number in range(votes))
            spool["a"]

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(DataError) as caught:
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value).startswith(f"{tmp_path}: votes cannot be kept here")


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"absent: votes cannot be kept here .*No such file"),
        VoteSpool(tmp_path / "absent"),
    ):
        pass


def test_users_built_on_disk_are_those_built_in_memory(tmp_path: Path) -> None:
    rows = [row(user, number) for user, size in {"a": 7, "b": 3, "c": 6}.items() for number in range(size)]
    path = write_rows(tmp_path / "votes.jsonl", [*rows[::2], *rows[1::2], *rows[:2], "bad"])
    dataset = LocalDataset(name="d", path=path, shards=1, on_bad="drop", max_pairs=5)
    built = read_users(dataset, ReadReport())
    funnel = prepare_dataset(dataset, tmp_path / "out")
    assert list(read_records(tmp_path / "out" / "s00.jsonl", UserData)) == built.users
    assert funnel.dropped == {"bad_line": 1} | built.funnel.dropped
    assert funnel.steps == built.funnel.steps
    assert funnel.split_pairs == built.funnel.split_pairs
