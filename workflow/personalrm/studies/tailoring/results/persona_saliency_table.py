"""The table of persona saliency: words that tell personas of chosen responses from those of rejected ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from personalrm.core.persona_pairs import RELEASED, SIDES, PairPersonas, PersonaPair, Side
from personalrm.core.records import read_all
from personalrm.personas.saliency import MARKERS, Contrast, salient_words
from personalrm.results.columns import Columns
from personalrm.results.comparisons import seed_of
from personalrm.results.lazy import pd
from personalrm.results.scores import percents
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.statistics import share_interval
from personalrm.results.tables.comparison_text import Shown, block_of, interval
from personalrm.studies.tailoring.results.persona_accuracy_table import HEADINGS

SALIENCY_KEY = ("dataset", "model", "contrast", "side")
SHARE = ("share", "ci_low", "ci_high")
SALIENCY_COLUMNS = Columns(
    (*SALIENCY_KEY, "rank", "word", "count", "n_pairs", *SHARE),
    texts=(*SALIENCY_KEY, "word"),
    whole=("rank", "count", "n_pairs"),
)
Personas = Mapping[tuple[str, str], Sequence[Mapping[Side, str]]]
"""Personas of the pairs of a data set by a model."""


def saliency_table(
    personas: Personas, *, contrasts: Iterable[Contrast], cutoff: int, top: int, seed: int, n_resamples: int
) -> pd.DataFrame:
    """One row for each data set, model, form of the contrast markers, side and word; columns `SALIENCY_COLUMNS`.

    - count: occurrences of the word in personas of both sides; n_pairs: pairs with a persona that has it.
    - share: P(side | word) in percent, bounds from a bootstrap over these pairs.
    """
    rows = []
    for contrast in contrasts:
        for (dataset, model), mine in personas.items():
            for side, words in salient_words(mine, contrast, cutoff=cutoff, top=top).items():
                key = (dataset, model, contrast, side)
                for rank, word in enumerate(words, start=1):
                    hits, counts = [one[SIDES.index(side)] for one in word.counts], list(map(sum, word.counts))
                    own = seed_of(seed, *key, word.word)
                    found = share_interval(hits, counts, seed=own, n_resamples=n_resamples, units=len(hits))
                    numbers = {"rank": rank, "word": word.word, "count": word.count, "n_pairs": len(hits)}
                    rows.append({**dict(zip(SALIENCY_KEY, key, strict=True)), **numbers, **percents(found, *SHARE)})
    return SALIENCY_COLUMNS.frame(rows)


def personas_by_model(pairs: Iterable[Path], personas: Iterable[Path], *, released: bool) -> Personas:
    """Personas that models wrote and, on request, those that the data come with."""
    found: dict[tuple[str, str], dict[str, Mapping[Side, str]]] = {}
    for pair in read_all(pairs, PersonaPair) if released else ():
        found.setdefault((pair.dataset, RELEASED), {})[pair.pair_id] = pair.gold
    for row in read_all(personas, PairPersonas):
        found.setdefault((row.dataset, row.model), {})[row.pair_id] = row.personas
    return {key: [mine[pair] for pair in sorted(mine)] for key, mine in found.items()}


read_saliency_table = SALIENCY_COLUMNS.read


def build(
    pairs: list[Path],
    personas: list[Path],
    *,
    released: bool,
    contrasts: Sequence[Contrast],
    cutoff: int,
    top: int,
    seed: int,
    n_resamples: int,
) -> Table:
    """Make the table from the files of a run."""
    known = personas_by_model(pairs, personas, released=released)
    table = saliency_table(known, contrasts=contrasts, cutoff=cutoff, top=top, seed=seed, n_resamples=n_resamples)
    markers = {"contrast": "Markers"} if len(contrasts) > 1 else {}
    columns = {**HEADINGS, **markers, "side": "Persona of"}
    del columns["judge"]
    shown: Shown = {
        "Rank": "rank",
        "Word": "word",
        "P(side | word) % [95 % CI]": interval(*SHARE),
        "Count": "count",
        "Pairs": "n_pairs",
    }
    had = set(zip(table["dataset"], table["model"], strict=True))
    lacking = [f"{dataset} by {model}" for dataset, model in known if (dataset, model) not in had]
    notes = [
        f"Words that occur {cutoff} times or more in personas of both sides; in the first sentence, before "
        f"{', '.join(MARKERS)}. Intervals: bootstrap over pairs that have the word; the words were picked for their "
        "shares, so that these lie too high.",
        *([f"No word occurs so often: {', '.join(lacking)}."] if lacking else []),
    ]
    return Table(table, (block_of(table, columns, shown, n_names=len(columns) + 2),), notes)


RESULT = TableResult(
    name="persona_saliency",
    order=30,
    title="Which words tell personas of chosen responses from those of rejected ones?",
    caption=(
        "Words with the largest share of their occurrences in personas of chosen, or of rejected, responses, with 95 % "
        "intervals clustered by pair."
    ),
    when="personas",
    mem_mb=2000,
    build=build,
)
