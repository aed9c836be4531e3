"""Build one data set: a file of users for each shard, the funnel, and a data card; and plan it, before any job runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.files import atomic_write_text
from personalrm.core.records import write_records
from personalrm.data.card import data_card
from personalrm.data.filters.funnel import Funnel
from personalrm.data.filters.released_judgments import JUDGMENTS, judgments_of
from personalrm.data.settings import Dataset, LocalDataset, ProcessedDataset
from personalrm.data.sharding import chosen_shards, name_of_users_shard, shard_names
from personalrm.data.sources.fields import Spoken
from personalrm.data.sources.open import read_source, read_votes, users_of
from personalrm.data.sources.reading import ReadReport
from personalrm.data.sources.spool import VoteSpool
from personalrm.data.users import Built, UserBuilder, build_users, pick_users


def prepare_dataset(settings: Dataset, out_dir: Path, shards: Mapping[str, Path] | None = None) -> Funnel:
    """Read the source, build its users, and write them, `funnel.json` and `card.md`.

    `shards` maps shard names to the files to write (default: `<out_dir>/<shard>.jsonl` for all shards); a shard
    without users gets an empty file, and a user that a filter removed gets a row with the reason. All
    input is read and checked before the first file is written, and each file is written whole. Memory holds one user
    at a time: votes are kept on disk, next to `out_dir`, and take about the space of the input. The filters' columns
    of a processed set go to `judgments.jsonl`, one line per pair.

    Raises DataError for bad data, ConfigError where `shards` does not fit the data.
    """
    report = ReadReport()
    planted = load_planted(settings.planted)
    # Before the first job of a run `out_dir` does not exist.
    existing = next((each for each in (out_dir, *out_dir.parents) if each.is_dir()), out_dir)
    with VoteSpool(existing) as votes:
        votes.add(read_source(settings, report))
        votes.add_users(report.users)
        builder = UserBuilder(votes, settings, planted)
        if not report.lines:
            raise DataError(f"{settings.source_files()[0]}: no votes in the file; give a file with one vote per line")
        spread = chosen_shards(settings.shards, len(builder.users))
        files = _shard_files(settings.name, shard_names(spread, builder.users), out_dir, shards)
        members: dict[str, list[str]] = {name: [] for name in files}
        for user in builder.users:
            members[name_of_users_shard(user, spread)].append(user)
        for name, path in files.items():
            write_records(path, builder.build(members[name]))
        if isinstance(settings, ProcessedDataset):
            kept = (vote for user in builder.users for vote in builder.kept(user))
            write_records(out_dir / JUDGMENTS, judgments_of(kept))
    funnel = builder.funnel()
    funnel = funnel.model_copy(
        update={
            "lines": report.lines,
            "dropped": {"bad_line": report.bad, **report.dropped, **funnel.dropped},
            "ignored_fields": dict(sorted(report.ignored.items())),
            "problems": tuple(report.problems),
            "notes": tuple(report.notes),
        }
    )
    atomic_write_text(out_dir / "card.md", data_card(settings, funnel))
    atomic_write_text(out_dir / "funnel.json", funnel.model_dump_json(indent=2) + "\n")
    return funnel


def read_users(settings: Dataset, report: ReadReport) -> Built:
    """Read the source and build its users, all in memory; `report` is filled on the way.

    Raises DataError for bad data.
    """
    return build_users(
        read_source(settings, report), settings, planted=load_planted(settings.planted), seen=report.users
    )


class _Planted(BaseModel):
    taste: Spoken


def load_planted(path: Path | None) -> dict[str, str]:
    """Planted tastes by user from a JSON file {user: {"taste": text, …}}, if any. Raises DataError for another
    shape."""
    if path is None:
        return {}
    try:
        planted = TypeAdapter(dict[str, _Planted]).validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); correct planted") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = f", user {first['loc'][0]!r}" if first["loc"] else ""
        raise DataError(f'{path}{where}: {first["msg"]}; write {{user: {{"taste": text}}}}') from error
    return {user: entry.taste for user, entry in planted.items()}


def _shard_files(
    dataset: str, names: Sequence[str], out_dir: Path, shards: Mapping[str, Path] | None
) -> dict[str, Path]:
    """The file of each shard; checks that the caller's shards are those of the data."""
    if shards is None:
        return {name: out_dir / f"{name}.jsonl" for name in names}
    if set(shards) != set(names):
        odd = sorted(set(shards) ^ set(names))[:5]
        raise ConfigError(
            f"datasets.{dataset}.shards: the shards asked for are not those of the data ({', '.join(odd)}); "
            "the file has changed since the workflow was planned: run again"
        )
    return dict(shards)


def select_user_ids(settings: Dataset) -> list[str]:
    """Users of the run, sorted: exactly those for which `prepare_dataset` writes a row.

    The data are read only as far as needed: not at all for a list of users, without checks where all users
    are taken, and in full for `max_users`, whose choice depends on the number of usable pairs. Bad lines are skipped
    here; the job that builds the data reports them. Raises ConfigError that names `datasets.<name>.shards` where a
    released data set names no users, or the file is missing, and DataError where it cannot be read to its end.
    """
    if settings.max_users is None and settings.users is not None:
        return sorted(set(settings.users))
    key = f"datasets.{settings.name}"
    if settings.source != "local":
        raise ConfigError(
            f"{key}.shards: {settings.shards} needs the user ids before any job runs; list them under {key}.users, or "
            "give a number of shards (PRISM 8, Chatbot Arena 2)"
        )
    if not settings.path.is_file():
        raise ConfigError(
            f"{key}.shards: per_user and auto read the user ids from {settings.path}, which is not there; correct "
            f"{key}.path, list the ids under {key}.users, or give a number of shards"
        )
    contents: dict[str, set[str]] = {}
    if settings.max_users is None:
        contents = {user: set() for user in users_of(settings)}
    else:
        for vote in read_votes(settings.path, on_bad="drop", columns=settings.columns):
            if not vote.tie and vote.chosen != vote.rejected:
                contents.setdefault(vote.user_id, set()).add(vote.content_hash)
    counts = {user: len(distinct) for user, distinct in contents.items()}
    return pick_users(counts, settings.users, settings.max_users, settings.min_pairs)


def refuse_no_user(settings: LocalDataset) -> None:
    """Raise ConfigError where no user of a file has enough pairs, with what is wrong. Reads until one is found.

    Bad lines are passed over here, as the job that builds the data reports them. Raises DataError where the file cannot
    be read.
    """
    key, report = f"datasets.{settings.name}", ReadReport()
    listed = None if settings.users is None else set(settings.users)
    contents: dict[str, set[str]] = {}
    for vote in read_votes(settings.path, on_bad="drop", report=report, columns=settings.columns):
        if vote.tie or vote.chosen == vote.rejected or (listed is not None and vote.user_id not in listed):
            continue
        mine = contents.setdefault(vote.user_id, set())
        mine.add(vote.content_hash)
        if len(mine) >= settings.min_pairs:
            return
    shown = f"`personalrm import {settings.path}` shows what is read"
    if not report.votes:
        why = f"; {report.problems[0]}" if report.problems else ""
        raise ConfigError(f"{key}.path: no vote in {settings.path} ({report.lines} rows){why}; {shown}")
    most = max(map(len, contents.values()), default=0)
    if listed is not None:
        raise ConfigError(
            f"{key}.users: no listed user has {settings.min_pairs} pairs in {settings.path} (at most {most}); correct "
            f"the list; {shown}"
        )
    raise ConfigError(
        f"{key}.min_pairs: none of {len(report.users)} users has {settings.min_pairs} pairs (at most {most}) in "
        f"{settings.path}; give min_pairs (at least 3), or name the column of users under {key}.columns; {shown}"
    )
