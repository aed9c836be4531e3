"""Sets of pairs without users: their settings, and the pairs from their files.

A row has `prompt` (text) or `context` (list of {role, content}), `chosen` and `rejected`, and may have `split`,
`config`, an id and persona columns, as the released sets of "Whose Boat Does it Float?" (Balepur et al., ACL 2025), our
own format of votes and exported benchmarks do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.persona_pairs import SIDES, PersonaPair, Side
from personalrm.data.filters.filter_settings import Settings
from personalrm.data.hub import check_files
from personalrm.data.settings import HubSource
from personalrm.data.sharding import name_of_users_shard
from personalrm.data.sources.fields import Advice, FieldError, Row, SoundRow, Spoken, Text, checked, shown
from personalrm.data.sources.rows import raw_rows
from personalrm.data.sources.votes import parse_vote, tie_of

FEW_SHOT = "fewshot"
SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")
_SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System"}
_COUNT = re.compile(r"-\d{5}-of-\d{5}$")
_ADVICE = Advice(
    "give a text", missing=("is missing", "a row has prompt (or context), chosen and rejected; add it, or correct path")
)


class PairSet(Settings):
    """A set of pairs without users: a local file or folder (`path`), or files of the hub (`hub`), one of them."""

    name: str
    path: Path | None = None
    """JSON lines (`.jsonl`, `.jsonl.gz`) or Parquet, or a folder with such files."""
    hub: HubSource | None = None
    """Files on the hub, in place of `path`."""
    licence: str = ""
    """Stated in the manifest."""
    config: str | None = None
    """Only rows whose column `config` has this value."""
    splits: list[str] | None = None
    """Only rows of these splits, by the column `split`, or else by the name of the file; all but `fewshot` by default,
    which repeats rows of the others in the released sets."""
    max_pairs: Annotated[int, Field(ge=1)] | None = None
    """The first n pairs by a stable hash of their texts."""
    retrieval: Literal["shipped", "tfidf"] = "shipped"
    """Personas of the most similar training prompt: those that the data come with (for exact replication), or the gold
    ones of the nearest training prompt by TF-IDF."""
    shards: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1
    """Jobs that each stage is cut into."""
    prompt: Literal["beavertails", "everyday", "hhh", "mnemonic", "shp"] = "everyday"
    """Prompts with worked examples for data of this kind (`judge/prompts/tailoring/`)."""
    reported: Literal["Anthropic HHH", "BeaverTails", "Mnemonic", "SHP"] | None = None
    """The paper's data set whose reported numbers stand next to ours."""

    @model_validator(mode="after")
    def _one_place(self) -> PairSet:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give path (a file or folder) or hub (repo, revision, files), one of them")
        return self

    def source_files(self) -> list[Path]:
        """Files that the pairs are read from, sorted by name; `path` itself where it names no folder."""
        if self.hub is not None:
            return sorted(self.hub.paths)
        path = self.path or Path()
        if not path.is_dir():
            return [path]
        return sorted(each for each in path.glob("**/*") if each.is_file() and each.name.endswith(SUFFIXES))


class _PairRow(SoundRow):
    prompt: Spoken
    # The released test rows of Mnemonic have no responses.
    chosen: Text
    rejected: Text


class _Personas(SoundRow):
    chosen_persona_gold: str | None = None
    rejected_persona_gold: str | None = None
    chosen_persona_retr: str | None = None
    rejected_persona_retr: str | None = None

    def of(self, kind: str) -> dict[Side, str]:
        """Personas of a kind; an empty one is none."""
        found = {side: str(getattr(self, f"{side}_persona_{kind}") or "").strip() for side in SIDES}
        return {side: text for side, text in found.items() if text}


def without_markers(text: str, *, response: bool = False) -> str:
    r"""`text` without the speakers' names of HH-RLHF around it, and without outer blanks.

    A prompt loses a leading "Human:" and a trailing "Assistant:", a response a leading "Assistant:". Names inside of it
    stay: they tell later turns apart.

    >>> without_markers("\n\nHuman: Why?\n\nAssistant:"), without_markers(" Assistant: So.", response=True)
    ('Why?', 'So.')
    """
    text = text.strip()
    if response:
        return text.removeprefix("Assistant:").strip()
    return text.removeprefix("Human:").removesuffix("Assistant:").strip()


def read_pairs(settings: PairSet) -> list[PersonaPair]:
    """All pairs of a set, in the order of its files. Ties are left out.

    Raises DataError for files that are missing or changed, and for a row that is broken, with its line.
    """
    if settings.hub is not None:
        check_files(settings.name, settings.hub)
    files = settings.source_files()
    if not files:
        raise DataError(f"{settings.path}: no {', '.join(SUFFIXES)} in the folder; correct datasets.{settings.name}")
    pairs = list(_pairs_of(files, settings))
    absent = sorted(set(settings.splits or ()) - {pair.split for pair in pairs})
    if pairs and absent:
        raise DataError(f"{files[0]}: no pair of split {', '.join(absent)}; correct datasets.{settings.name}.splits")
    if not pairs:
        raise DataError(
            f"{files[0]}: no pair of datasets.{settings.name}; correct its config ({settings.config}) or splits"
        )
    named = {pair.pair_id for pair in pairs}
    if len(named) < len(pairs):
        raise DataError(f"{files[0]}: datasets.{settings.name}: two pairs of a split have the same id; number them")
    if settings.max_pairs is None or len(pairs) <= settings.max_pairs:
        return pairs
    first = sorted(pairs, key=lambda pair: stable_hash("pair", pair.prompt, pair.chosen, pair.rejected, pair.pair_id))
    kept = {pair.pair_id for pair in first[: settings.max_pairs]}
    return [pair for pair in pairs if pair.pair_id in kept]


def _pairs_of(files: Iterable[Path], settings: PairSet) -> Iterator[PersonaPair]:
    rows: Counter[str] = Counter()
    for path in files:
        split_of_file = _COUNT.sub("", path.name.partition(".")[0])
        # Files that are parts of one split number its rows as one file would.
        before = rows[split_of_file]
        for number, read in raw_rows(path):
            rows[split_of_file] = before + number
            try:
                row = read()
                split = str(row.get("split") or split_of_file)
                wanted = split != FEW_SHOT if settings.splits is None else split in settings.splits
                if settings.config not in (None, row.get("config")) or not wanted:
                    continue
                pair = _pair(row, settings.name, split, before + number)
            except FieldError as error:
                where = f", field {error.field}" if error.field else ""
                raise DataError(f"{path}, line {number}{where}: {error}; {error.advice}") from None
            if pair is not None:
                yield pair


def _pair(row: Row, dataset: str, split: str, number: int) -> PersonaPair | None:
    """The pair of a row, by default with the id of its number (from 1); None for a tie."""
    texts = _of_vote(row, number) if "context" in row else _of_prompt(row)
    if texts is None or tie_of(row):
        return None
    prompt, (chosen, rejected) = texts[0], (without_markers(text, response=True) for text in texts[1:])
    known = next((row[name] for name in ("id", "pair_id", "row_id") if row.get(name) is not None), number - 1)
    if not isinstance(known, str | int) or known == "":
        raise FieldError("id", f"is {shown(known)}, no text and no whole number", "give one, or leave it out")
    personas, user = checked(_Personas, row, _ADVICE), row.get("user_id")
    return PersonaPair(
        dataset=dataset,
        pair_id=f"{split}-{known}",
        split=split,
        user_id=None if user is None else str(user),
        prompt=without_markers(prompt),
        chosen=chosen,
        rejected=rejected,
        gold=personas.of("gold"),
        retrieved=personas.of("retr"),
    )


def _of_prompt(row: Row) -> tuple[str, str, str]:
    read = checked(_PairRow, row, _ADVICE)
    return read.prompt, read.chosen, read.rejected


def _of_vote(row: Row, number: int) -> tuple[str, str, str] | None:
    """The texts of a vote in our own format, which may name its user; a conversation keeps the speakers' names."""
    known = row.get("user_id")
    vote = parse_vote({**row, "user_id": "nobody" if known is None else known}, number)
    said = "\n\n".join(f"{_SPEAKERS[role]}: {content}" for role, content in vote.context)
    return None if vote.tie else (said, vote.chosen, vote.rejected)


def in_shards(pairs: Iterable[PersonaPair], shards: int, names: Sequence[str]) -> dict[str, list[PersonaPair]]:
    """Pairs by the name of their shard, which the id of a pair decides."""
    found: dict[str, list[PersonaPair]] = {name: [] for name in names}
    for pair in pairs:
        found[name_of_users_shard(pair.pair_id, shards)].append(pair)
    return found
