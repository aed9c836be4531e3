"""The data card of a data set in Markdown (source, licence, filters, counts, hashes), and its source in a manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from personalrm.core.files import sha256_file
from personalrm.data.filters.filter_settings import RELEASED
from personalrm.data.filters.funnel import Funnel
from personalrm.data.hub import noted_commit
from personalrm.data.settings import Dataset, Untimed


def source_facts(settings: Any) -> dict[str, Any]:  # noqa: ANN401 - the settings of a data set of any study
    """Where the rows of a data set come from: SHA-256 of its files by their paths below the folder that holds them all,
    licence, and of files of the hub the commit."""
    source, files = settings.hub, settings.source_files()
    folder = os.path.commonpath([path.parent for path in files]) if files else ""
    hub = {"repo": source.repo, "revision": source.revision, "commit": noted_commit(source)} if source else None
    return {
        "source_sha256": {path.relative_to(folder).as_posix(): sha256_file(path) for path in files},
        "licence": settings.licence,
        **({"hub": hub} if hub else {}),
    }


def data_card(settings: Dataset, funnel: Funnel) -> str:
    """Card of a prepared data set. It holds no time and no machine's path: equal input, equal bytes."""
    split = settings.split
    lines = [
        f"# Data card: {settings.name}",
        "",
        "| | |",
        "|---|---|",
        f"| source | {settings.source} |",
        *_hub_rows(settings),
        *(f"| file `{path.name}` | SHA-256 `{sha256_file(path)}` |" for path in settings.source_files()),
        f"| licence | {settings.licence or 'not stated in the config'} |",
        f"| users | {funnel.users_written}, and {funnel.users_excluded} excluded with a reason |",
        f"| user filter | at least {settings.min_pairs} pairs |",
        f"| listed users | {'all' if settings.users is None else len(settings.users)} |",
        f"| max_users | {settings.max_users or 'no limit'} |",
        f"| max_pairs of a user | {settings.max_pairs or 'no limit'} |",
        *(["| ties | kept, to be judged; not counted by the limits above |"] if settings.ties == "keep" else []),
        f"| shards | {settings.shards} |",
        f"| split in a user | {_list(dict(zip(funnel.split_pairs, split.fractions, strict=True)))} |",
        f"| kept together | {split.keep_together} |",
        f"| near-duplicate prompts | {_similarity(settings)} |",
        f"| split of users | {_user_split(settings)} |",
        *_filter_rows(settings),
        "",
        "## Funnel",
        "",
        "| step | users | conversations | pairs |",
        "|---|---:|---:|---:|",
        *(f"| {s.step} | {s.users} | {s.conversations} | {s.pairs} |" for s in funnel.steps),
        "",
        f"- Lines read: {funnel.lines}. Votes dropped: {_list(funnel.dropped)}.",
        f"- Kept votes that contradict each other: {funnel.contradictions} pairs of votes.",
        f"- Survey questions that a user answered in two ways (newest kept): {funnel.survey_conflicts}.",
        f"- Pairs by split: {_list(funnel.split_pairs)}.",
        *([f"- Of these, ties: {_list(funnel.split_ties)}."] if funnel.split_ties else []),
        f"- Users by the grain that kept their pairs together: {_list(funnel.split_grain)}.",
        *_near_duplicates(funnel),
        *_incomplete_times(settings, funnel),
        f"- Fields of the file that are not read: {_list(funnel.ignored_fields)}.",
        *(f"- {note}" for note in funnel.notes),
        *([f"- Filters that ask models: {_list(funnel.filters)}."] if funnel.filters else []),
        "",
        "## Rules",
        "",
        f"- A user's pairs are ordered by time, or {_WITHOUT_TIMES[settings.untimed]}.",
        "- The oldest pairs are context, the newest test. Pairs of one conversation (or turn), and pairs with "
        "the same last user turn but for case and blanks, stay in one part; near-duplicates do, too, as stated above.",
        "- A user with fewer than three such groups is split at the next finer grain (turn, then pair), so that each "
        "part has a pair. Where prompts are so alike that no grain leaves three groups, near-duplicates are not kept "
        "together.",
        "- Text is as in the source; only the names of roles are mapped to those of chat models.",
    ]
    if funnel.problems:
        lines += ["", "## Lines that were dropped", "", *(f"- {problem}" for problem in funnel.problems)]
    return "\n".join(lines) + "\n"


_WITHOUT_TIMES: Mapping[Untimed, str] = {
    "oldest": "by conversation, turn and pair id where none has one; pairs without a time come before those with one",
    "conversation": "by conversation, turn and pair id where one of them has none",
    "file": "by their sequence in the file where one of them has none",
}
"""The order of pairs without times."""


def _incomplete_times(settings: Dataset, funnel: Funnel) -> list[str]:
    counts = funnel.incomplete_times
    if not counts:
        return []
    return [
        f"- Users whose pairs have times only in part: {counts['users']} ({counts['pairs_without']} pairs without a "
        f"time). `untimed: {settings.untimed}` orders them."
    ]


def _hub_rows(settings: Dataset) -> list[str]:
    source = settings.hub
    if source is None:
        return []
    commit = noted_commit(source)
    return [f"| hub | `{source.repo}`, revision `{source.revision}`{f', commit `{commit}`' if commit else ''} |"]


def _user_split(settings: Dataset) -> str:
    split = settings.user_split
    shares = " / ".join(f"{share:g}" for share in split.fractions)
    return f"train / validation / test {shares} by hash, from {split.min_users} users on"


def _similarity(settings: Dataset) -> str:
    split = settings.split
    if split.keep_together == "none" or split.similarity is None:
        return "not kept together"
    return (
        f"kept together: {split.similarity:g} or more of their letters in common, case, blanks, punctuation and digits "
        "folded"
    )


def _near_duplicates(funnel: Funnel) -> list[str]:
    counts = funnel.near_duplicates
    if not counts:
        return []
    return [
        f"- Pairs that near-duplicate prompts moved together: {counts['pairs_joined']}. Users whose prompts are too "
        f"alike for that: {counts['users_too_alike']}.",
        f"- Test pairs whose prompt is a near-duplicate of one that methods learn from: {counts['test_pairs_leaked']}.",
    ]


def _filter_rows(settings: Dataset) -> list[str]:
    filters = settings.filters
    if filters is None:
        return ["| filters that ask models | none |"]
    how = "applied" if filters.apply else f"reported only, on {filters.sample or 'all'} pairs of each user"
    rows = [f"| filters that ask models | {how} |"]
    release = "the release's columns"
    if rated := filters.personalizable:
        rater = release if rated.model == RELEASED else rated.model
        rows.append(
            f"| personalizable | rated by {rater}: query {rated.min_query:g}, responses {rated.min_responses:g} "
            "or more of 5 |"
        )
    if panel := filters.disagreement:
        members = release if panel.models == [RELEASED] else ", ".join(panel.models)
        rows.append(f"| disagreement | panel {members}; removed from an agreement of {panel.remove_from:g} on |")
    return rows


def _list(counts: dict[str, int] | dict[str, float]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
