"""Export of a run's benchmark in the columns of the authors' processed sets, with the filters' judgments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from personalrm.core.errors import DataError
from personalrm.core.records import UserData, UserPart, read_records
from personalrm.data.export import export_processed
from personalrm.data.filters.filter_settings import RELEASED
from personalrm.data.filters.filters import agreement
from personalrm.data.filters.ratings import PanelVote, UserPanel, UserRatings
from personalrm.data.filters.released_judgments import JUDGMENTS, PairJudgments
from personalrm.data.sources.processed import RATING_COLUMNS


def export_stage(run: Path, dataset: str, out: Path, licence: str = "") -> dict[UserPart, int]:
    """Write data set `dataset` of the run in folder `run` to `out`; returns the rows of each user part.

    Raises DataError where the run has no such data set (yet).
    """
    folder = run / "data" / dataset
    shards = sorted((folder / "shards").glob("*.jsonl"))
    if not shards:
        known = sorted(path.parent.name for path in run.glob("data/*/shards"))
        raise DataError(
            f"{folder}: no users of this run; run the workflow first (data sets: {', '.join(known) or 'none'})"
        )
    users = (user for path in shards for user in read_records(path, UserData))
    return export_processed(users, out, judgments=_judgments(folder), licence=licence)


def _judgments(folder: Path) -> dict[str, dict[str, object]]:
    """Ratings and panel votes by pair, under the authors' column names; a vote is `chosen` or `rejected`.

    The columns of a processed set are written unchanged, except those of a filter for which models were asked here.
    """
    ratings = [
        rating
        for path in sorted((folder / "ratings").glob("*.jsonl"))
        for row in read_records(path, UserRatings)
        for rating in row.ratings
        if row.model != RELEASED
    ]
    panel = list(_votes(folder / "panel"))
    found = _released(folder, ratings=not ratings, panel=not panel)
    for rating in ratings:
        found.setdefault(rating.pair_id, {}).update(
            {
                "personalizable_query": rating.query,
                "query_reasoning": rating.query_reasoning,
                "personalizable_responses": rating.responses,
                "response_reasoning": rating.responses_reasoning,
            }
        )
    votes: dict[str, list[PanelVote]] = {}
    for model, vote in panel:
        columns, flip = found.setdefault(vote.pair_id, {}), "flip_" if vote.swapped else ""
        columns |= {f"prediction_{flip}{model}": vote.favours, f"reasoning_{flip}{model}": vote.reasoning}
        votes.setdefault(vote.pair_id, []).append(vote)
    for pair_id, mine in votes.items():
        agreed = agreement(mine)
        found[pair_id]["agreement"] = agreed.share if agreed else None
    return found


def _released(folder: Path, *, ratings: bool, panel: bool) -> dict[str, dict[str, object]]:
    """Columns of the released data set, of the wanted kinds."""
    wanted = {True: ratings, False: panel}
    path = next((path for path in (folder / JUDGMENTS, folder / "unfiltered" / JUDGMENTS) if path.is_file()), None)
    return {
        row.pair_id: {name: value for name, value in row.columns.items() if wanted[name in RATING_COLUMNS]}
        for row in (read_records(path, PairJudgments) if path else ())
    }


def _votes(folder: Path) -> Iterator[tuple[str, PanelVote]]:
    for path in sorted(path for path in folder.glob("*/*.jsonl") if path.parent.name != RELEASED):
        for row in read_records(path, UserPanel):
            for vote in row.votes:
                yield row.model, vote
