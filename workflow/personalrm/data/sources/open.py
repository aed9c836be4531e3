"""The votes of a data set, whatever its source: the place where a further source is added."""

from __future__ import annotations

from collections.abc import Iterator

from personalrm.data.hub import check_files
from personalrm.data.settings import ArenaDataset, Dataset, LocalDataset, MtBenchDataset, PrismDataset
from personalrm.data.sources.arena import read_arena
from personalrm.data.sources.local import read_votes
from personalrm.data.sources.mtbench import read_mtbench
from personalrm.data.sources.prism import read_prism
from personalrm.data.sources.processed import read_processed
from personalrm.data.sources.reading import ReadReport
from personalrm.data.sources.votes import Vote


def read_source(settings: Dataset, report: ReadReport) -> Iterator[Vote]:
    """Yield all votes of a data set; `report` is filled on the way. Raises DataError for bad data."""
    if isinstance(settings, LocalDataset):
        return read_votes(settings.path, on_bad=settings.on_bad, report=report)
    source = settings.hub
    if source is not None:
        check_files(settings.name, source)
    if isinstance(settings, PrismDataset):
        return read_prism(settings, report)
    if isinstance(settings, MtBenchDataset):
        return read_mtbench(settings, report)
    return read_arena(settings, report) if isinstance(settings, ArenaDataset) else read_processed(settings, report)
