from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.files import sha256_file
from personalrm.core.records import UserData, read_records
from personalrm.data.prepare import load_planted, prepare_dataset, refuse_no_user, select_user_ids
from personalrm.data.settings import LocalDataset
from personalrm.data.sharding import name_of_users_shard, shard_name, shard_names
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.plan import Plan

from .vote_rows import Row, row, without, write_rows

HOSTILE = ["../../x", "a/b", "🙂", "x" * 300, "Aa", "aA", "a\x00b"]


def many_users(sizes: dict[str, int]) -> list[Row]:
    return [row(user, number) for user, size in sizes.items() for number in range(size)]


def settings_for(path: Path, **changes: object) -> LocalDataset:
    return LocalDataset.model_validate({"name": "mine", "path": path} | changes)


def written(out: Path) -> dict[str, list[UserData]]:
    return {path.stem: list(read_records(path, UserData)) for path in sorted(out.glob("*.jsonl"))}


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_file_a_user_with_hostile_ids(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "votes.jsonl", many_users(dict.fromkeys(HOSTILE, 5) | {"few": 4}))
    out = tmp_path / "data" / "mine"
    funnel = prepare_dataset(settings_for(path), out)
    found = written(out)
    assert {name: rows[0].user_id for name, rows in found.items()} == {shard_name(u): u for u in [*HOSTILE, "few"]}
    assert all(len(rows) == 1 for rows in found.values())
    assert found[shard_name("few")][0].excluded == "4 pairs, fewer than 5"
    assert (funnel.users_written, funnel.users_excluded) == (7, 1)
    # Nothing outside the folder, and no temporary file left.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "votes.jsonl"]
    assert sorted(p.name for p in out.iterdir()) == sorted([*(f"{n}.jsonl" for n in found), "card.md", "funnel.json"])


def test_numbered_shards_hold_the_same_users_and_may_be_empty(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "votes.jsonl", many_users({f"u{n}": 5 for n in range(6)}))
    prepare_dataset(settings_for(path), tmp_path / "one")
    prepare_dataset(settings_for(path, shards=40), tmp_path / "many")
    single = {rows[0].user_id: rows[0] for rows in written(tmp_path / "one").values()}
    numbered = written(tmp_path / "many")
    assert sorted(numbered) == shard_names(40)
    assert {user.user_id: user for rows in numbered.values() for user in rows} == single
    assert all(name_of_users_shard(u.user_id, 40) == name for name, rows in numbered.items() for u in rows)
    assert sum(not rows for rows in numbered.values()) >= 34


def test_more_users_than_jobs_of_their_own_share_the_shards_that_were_planned(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "votes.jsonl", many_users({f"u{n}": 5 for n in range(65)}))
    config = parse_config({"run": "r", "datasets": {"mine": {"path": str(path)}}, "methods": ["random"]})
    planned = [Path(name).name for name in Plan(config).shard_paths("mine")]
    assert planned == [f"s0{n}.jsonl" for n in range(8)]
    prepare_dataset(settings_for(path), tmp_path / "out", {Path(name).stem: tmp_path / name for name in planned})
    assert sum(len(list(read_records(tmp_path / name, UserData))) for name in planned) == 65


@pytest.mark.parametrize("changes", [{}, {"shards": 3, "max_users": 2, "max_pairs": 4}])
def test_equal_bytes_whatever_the_sequence_of_rows(tmp_path: Path, changes: dict[str, object]) -> None:
    rows = many_users({"a": 7, "b": 5, "c": 2, "d": 9})
    rows += [each | {"survey": {"age": str(number)}, "chosen": "again"} for number, each in enumerate(rows)]
    rows += rows[::5]
    found = []
    for seed in range(4):
        order = random.Random(seed).sample(rows, len(rows)) if seed else rows
        path = write_rows(tmp_path / f"votes{seed}.jsonl", order)
        prepare_dataset(settings_for(path, **changes), tmp_path / f"out{seed}")
        found.append(tree(tmp_path / f"out{seed}"))
    # The card names the source file and its hash, which differ.
    assert len({files.pop("card.md") for files in found}) == 4
    assert found == [found[0]] * 4


@given(
    st.dictionaries(st.text(min_size=1, max_size=3).filter(str.strip), st.integers(1, 6), max_size=6),
    st.sampled_from(["new", "\x00", "~~~~"]),
)
@settings(max_examples=20, deadline=None)
def test_a_further_user_changes_no_other_users_rows(sizes: dict[str, int], name: str) -> None:
    assume(name not in sizes)
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for out, users in (("one", {"old": 5} | sizes), ("two", {name: 5, "old": 5} | sizes)):
            path = write_rows(Path(folder) / "votes.jsonl", many_users(users))
            prepare_dataset(settings_for(path, shards=3, user_split={"min_users": 1}), Path(folder) / out)
            files.append(written(Path(folder) / out))
    assert {shard: [row for row in rows if row.user_id != name] for shard, rows in files[1].items()} == files[0]


def test_text_goes_through_unaltered(tmp_path: Path) -> None:
    text = "a\r\nb\rc\x00\u2028 🙂 e\u0301 \ufeff"
    rows = [row("u", n, chosen=f"{text}{n}", context=[{"role": "user", "content": f"{n} {text}"}]) for n in range(5)]
    path = write_rows(tmp_path / "votes.jsonl", rows)
    prepare_dataset(settings_for(path), tmp_path / "out")
    ((user,),) = written(tmp_path / "out").values()
    assert sorted(p.chosen for p in user.pairs) == [f"{text}{n}" for n in range(5)]
    assert sorted(p.context[0].content for p in user.pairs) == [f"{n} {text}" for n in range(5)]


@pytest.mark.parametrize(
    ("more", "changes", "shards", "message"),
    [
        ([row("a", 99, chosen="")], {}, None, r"votes\.jsonl, line 10, field chosen, user 'a': is empty"),
        ([row("a", 99, pair_id="p"), row("b", 9, pair_id="p"), *(row("b", n) for n in range(5))], {}, None, "pair_id"),
        ([], {"users": ["zed"]}, None, "no vote of 'zed'"),
        ([], {}, ["s07"], "run again"),
        ([], {"planted": "absent.json"}, None, "absent"),
    ],
)
def test_bad_input_leaves_nothing_written(
    tmp_path: Path, more: list[Row], changes: dict[str, object], shards: list[str] | None, message: str
) -> None:
    path = write_rows(tmp_path / "votes.jsonl", [*many_users({"a": 9}), *more])
    files = None if shards is None else {name: tmp_path / name for name in shards}
    with pytest.raises((DataError, ConfigError), match=message):
        prepare_dataset(settings_for(path, **changes), tmp_path / "data" / "out", files)
    assert list(tmp_path.iterdir()) == [path]


def test_bad_rows_may_be_dropped_and_counted(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "votes.jsonl", [*many_users({"a": 9}), row("a", 99, chosen="")])
    funnel = prepare_dataset(settings_for(path, on_bad="drop"), tmp_path / "out")
    assert (funnel.lines, funnel.votes, funnel.dropped["bad_line"]) == (10, 9, 1)
    assert "line 10, field chosen" in (tmp_path / "out" / "card.md").read_text(encoding="utf-8")


def test_a_user_with_bad_lines_only_still_has_a_row(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "votes.jsonl", [*many_users({"a": 5}), row("b", chosen=""), "not json"])
    settings = settings_for(path, on_bad="drop")
    prepare_dataset(settings, tmp_path / "out")
    assert written(tmp_path / "out")[shard_name("b")][0].excluded == "0 pairs, fewer than 5"
    assert select_user_ids(settings) == ["a", "b"]


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="no votes in the file"):
        prepare_dataset(settings_for(path, shards=2), tmp_path / "out")


def test_paths_given_by_the_caller(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "votes.jsonl", many_users({"a": 5, "b": 5}))
    shards = {shard_name(u): tmp_path / "else" / f"{u}.rows" for u in ("a", "b")}
    prepare_dataset(settings_for(path), tmp_path / "out", shards)
    assert [next(read_records(file, UserData)).user_id for file in shards.values()] == ["a", "b"]
    with pytest.raises(ConfigError, match=r"datasets\.mine\.shards: .*run again"):
        prepare_dataset(settings_for(path), tmp_path / "out2", {shard_name("a"): tmp_path / "a"})
    assert not (tmp_path / "out2").exists()


def test_funnel_and_card(tmp_path: Path) -> None:
    tie = without(row("a", 50, response_a="x", response_b="y", winner="tie"), "chosen", "rejected")
    path = write_rows(tmp_path / "votes.jsonl", [*many_users({"a": 10, "b": 3}), tie, row("a", 0, extra=1)])
    settings = settings_for(path, licence="CC-BY-4.0")
    funnel = prepare_dataset(settings, tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "funnel.json").read_text(encoding="utf-8"))
    assert stored == json.loads(funnel.model_dump_json())
    assert stored["dropped"] == {"bad_line": 0, "tie": 1, "equal_answers": 0, "duplicate": 1}
    assert stored["split_pairs"] == {"context": 5, "validation": 2, "test": 3}
    assert stored["split_grain"] == {"conversation": 1}
    assert stored["ignored_fields"] == {"extra": 1}
    card = (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
    assert sha256_file(path) in card
    assert "CC-BY-4.0" in card
    assert "`votes.jsonl`" in card
    assert "| users with at least 5 pairs | 1 | 10 | 10 |" in card
    assert str(tmp_path) not in card + json.dumps(stored)


def test_planted_tastes(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "votes.jsonl", many_users({"a": 5}))
    tastes = tmp_path / "tastes.json"
    tastes.write_text('{"a": {"taste": "likes brevity", "axis": "length"}}', encoding="utf-8")
    prepare_dataset(settings_for(path, planted=tastes), tmp_path / "out")
    assert written(tmp_path / "out")[shard_name("a")][0].planted_taste == "likes brevity"
    for content in ("[]", "{", '{"a": "text"}', '{"a": {"taste": ""}}', '{"a": {}}'):
        tastes.write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=r"tastes\.json"):
            load_planted(tastes)
    with pytest.raises(DataError, match="cannot be read"):
        load_planted(tmp_path / "absent.json")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_users": 3},
        {"max_users": 100},
        {"users": ["u1", "u8"]},
        {"users": ["u1", "u2", "u3", "u8"], "max_users": 2},
        {"max_users": 3, "min_pairs": 3, "shards": 4},
    ],
)
def test_users_selected_before_the_run_are_those_written(tmp_path: Path, changes: dict[str, object]) -> None:
    rows = many_users({f"u{n}": 3 + n for n in range(9)})
    # Repeats, ties and equal answers must not count as pairs in the choice either.
    rows += [
        row("u1", 0),
        row("u1", 1),
        row("u0", 70, chosen="s", rejected="s"),
        row("u0", 71, chosen="s", rejected="s"),
    ]
    rows += [
        without(row("u0", n, response_a="x", response_b="y", winner="tie"), "chosen", "rejected") for n in range(80, 85)
    ]
    path = write_rows(tmp_path / "votes.jsonl", rows)
    settings = settings_for(path, **changes)
    prepare_dataset(settings, tmp_path / "out")
    users = sorted(user.user_id for rows in written(tmp_path / "out").values() for user in rows)
    assert select_user_ids(settings) == users


def test_scan_reads_ids_only_and_names_the_key_of_a_missing_file(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "votes.jsonl", [row("b"), row(7), {"user_id": "a"}, {"user_id": None}, "x", {"user_id": ["u"]}]
    )
    assert select_user_ids(settings_for(path)) == ["7", "a", "b"]
    absent = tmp_path / "absent.jsonl"
    for limit in (None, 1):
        with pytest.raises(ConfigError, match=r"^datasets\.mine\.shards: "):
            select_user_ids(settings_for(absent, max_users=limit))
    assert select_user_ids(settings_for(absent, users=["z", "y"])) == ["y", "z"]


FIVE = [row("a", number) for number in range(5)]
NO_USER: list[tuple[list[Row], dict[str, object], str]] = [
    ([], {}, r"^datasets\.mine\.path: no vote in .* \(0 rows\); `personalrm import .*` shows what is read"),
    ([without(each, "user_id") for each in FIVE], {}, r"\.path: no vote .* \(5 rows\); line 1, field user_id"),
    ([row(number, number) for number in range(5)], {}, r"\.min_pairs: none of 5 users has 5 pairs \(at most 1\)"),
    ([*FIVE[:4], FIVE[0]], {}, r"none of 1 users has 5 pairs \(at most 4\)"),
    ([*FIVE[:4], row("a", 9, rejected="good answer 9"), row("a", 8, tie=True)], {}, r"\(at most 4\)"),
    (FIVE, {"users": ["b"]}, r"\.users: no listed user has 5 pairs in .* \(at most 0\)"),
    (FIVE, {"min_pairs": 6}, r"has 6 pairs \(at most 5\)"),
    (FIVE, {"columns": {"user_id": "who"}, "on_bad": "drop"}, r"has 5 pairs|no vote"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "changes", "said"), NO_USER)
def test_a_file_without_a_usable_user_is_refused_before_the_run(
    tmp_path: Path, rows: list[Row], changes: dict[str, object], said: str
) -> None:
    rows = [each if "columns" not in changes else without(each, "user_id") for each in rows]
    settings = settings_for(write_rows(tmp_path / "votes.jsonl", rows), **changes)
    with pytest.raises(ConfigError, match=said):
        refuse_no_user(settings)
    refuse_no_user(settings_for(write_rows(tmp_path / "votes.jsonl", [{"user_id": "b"}, *FIVE, "not read"])))


def test_scan_imports_no_heavy_library() -> None:
    code = "import sys, personalrm.data.prepare, personalrm.data.sharding; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "litellm", "datasets", "torch", "numpy"} & set(modules)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"surprise": 1}, "surprise"),
        ({"name": "../x"}, "name"),
        ({"name": ""}, "name"),
        ({"source": "ftp"}, "source"),
        ({"shards": 0}, "shards"),
        ({"shards": True}, "shards"),
        ({"shards": "per-user"}, "shards"),
        ({"users": []}, "users"),
        ({"users": [None]}, "users"),
        ({"max_users": 0}, "max_users"),
        ({"min_pairs": 2}, "min_pairs"),
        ({"split": {"fractions": [0.5, 0.5, 0.5]}}, "split"),
        ({"split": {"fractions": [0.5, 0.5, 0.0]}}, "split"),
        ({"split": {"fractions": [float("nan"), 0.5, 0.5]}}, "split"),
        ({"split": {"keep_together": "user"}}, "split"),
    ],
)
def test_bad_settings_are_refused_by_key(changes: dict[str, object], key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings_for(Path("votes.jsonl"), **changes)
    assert caught.value.errors()[0]["loc"][0] == key


def test_numbers_in_the_user_list_mean_ids() -> None:
    assert settings_for(Path("votes.jsonl"), users=[17, "x"]).users == ["17", "x"]


def test_ten_thousand_pairs_of_30_mb_stay_below_80_mb(tmp_path: Path) -> None:
    # A process of its own: the peak of this one says nothing about the job. Not ru_maxrss, which a new process
    # inherits from the one that it was forked from.
    if not Path("/proc/self/status").is_file():
        pytest.skip("peak memory is read from /proc")
    words = "word " * 300
    rows = (row(f"u{n % 200}", n, chosen=f"c{n} {words}", rejected=f"r{n} {words}") for n in range(10_000))
    path = write_rows(tmp_path / "v.jsonl", rows)
    code = (
        "import re, sys; from pathlib import Path; from personalrm.data.prepare import prepare_dataset as p;"
        "from personalrm.data.settings import LocalDataset as S;"
        "f = p(S(name='big', path=sys.argv[1], shards=4), Path(sys.argv[2]));"
        "print(f.votes, int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    votes, peak_mb = map(int, done.stdout.split())
    assert votes == 10_000
    # Held in memory, the votes would take it to 100 MB.
    assert peak_mb < 80
