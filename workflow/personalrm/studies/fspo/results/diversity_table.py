"""The table of diversity: how similar are the answers to one question, by how they were asked for?"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from personalrm.core.records import read_all
from personalrm.core.synthetic import QuestionAnswers, SyntheticAnswer
from personalrm.results.columns import Columns
from personalrm.results.comparisons import seed_of
from personalrm.results.lazy import pd
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.statistics import share_interval
from personalrm.results.tables.comparison_text import Shown, block_of, decimals, interval
from personalrm.studies.fspo.reported import reported_values

ENSEMBLE = "all models"
KEY = ("dataset", "model", "way", "temperature")
NUMBERS = ("similarity", "ci_low", "ci_high")
DIVERSITY_COLUMNS = Columns(
    (*KEY, "n_questions", "n_answers", "n_empty", "n_cut", "words", *NUMBERS, "median"),
    texts=KEY,
    whole=("n_questions", "n_answers", "n_empty", "n_cut"),
)
_WORD = re.compile(r"\w+")
Vector = Mapping[str, float]


def vectors(texts: Sequence[str]) -> list[Vector]:
    """Unit vectors of texts: counts of words, each times ln((1 + n) / (1 + texts with it)) + 1."""
    counts = [Counter(_WORD.findall(text.lower())) for text in texts]
    among = Counter(word for mine in counts for word in mine)
    found: list[Vector] = []
    for mine in counts:
        weighed = {word: n * (math.log((1 + len(texts)) / (1 + among[word])) + 1) for word, n in mine.items()}
        length = math.sqrt(math.fsum(value * value for value in weighed.values())) or 1.0
        found.append({word: value / length for word, value in weighed.items()})
    return found


def cosine(one: Vector, other: Vector) -> float:
    """Cosine of two unit vectors."""
    return math.fsum(value * other[word] for word, value in one.items() if word in other)


def diversity_table(rows: Iterable[QuestionAnswers], *, seed: int, n_resamples: int) -> pd.DataFrame:
    """One row for each model, way and temperature of a domain, and for all models together; columns
    `DIVERSITY_COLUMNS`.

    - similarity: mean over questions of the mean cosine between TF-IDF vectors of two answers to the same question,
      from 0 to 1, with bounds from a bootstrap over questions; document frequencies are those of all answers of the
      domain. median: over all such pairs.
    - words: mean length of answers; n_empty: answers that are missing; n_cut: those that ended at their limit.
    """
    found: dict[tuple[str, ...], dict[str, list[tuple[SyntheticAnswer, Vector]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    missing: Counter[tuple[str, ...]] = Counter()
    for dataset, mine in sorted(_by_domain(rows).items()):
        known = [(row.question_id, answer) for row in mine for answer in row.answers]
        vector = dict(zip(texts := [answer.text for _, answer in known if answer.text], vectors(texts), strict=True))
        several = len({answer.model for _, answer in known}) > 1
        for question, answer in known:
            for model in (answer.model, ENSEMBLE) if several else (answer.model,):
                key = (dataset, model, answer.way, f"{answer.temperature:g}")
                if answer.text:
                    found[key][question].append((answer, vector[answer.text]))
                else:
                    missing[key] += 1
    order = sorted({*found, *missing}, key=lambda key: (key[0], key[1] == ENSEMBLE, *key[1:]))
    return DIVERSITY_COLUMNS.frame(_row(key, found[key], missing[key], seed, n_resamples) for key in order)


def _by_domain(rows: Iterable[QuestionAnswers]) -> dict[str, list[QuestionAnswers]]:
    grouped: defaultdict[str, list[QuestionAnswers]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.question_id, row.model)):
        grouped[row.dataset].append(row)
    return grouped


def _row(
    key: tuple[str, ...],
    answers: Mapping[str, Sequence[tuple[SyntheticAnswer, Vector]]],
    missing: int,
    seed: int,
    n_resamples: int,
) -> dict[str, Any]:
    pairs = {
        question: [cosine(one, other) for (_, one), (_, other) in itertools.combinations(mine, 2)]
        for question, mine in sorted(answers.items())
    }
    means = [math.fsum(mine) / len(mine) for mine in pairs.values() if mine]
    every = [answer for mine in answers.values() for answer, _ in mine]
    values: dict[str, Any] = {}
    if means:
        interval_of = share_interval(means, [1] * len(means), seed=seed_of(seed, *key), n_resamples=n_resamples)
        values = {name: round(number, 4) for name, number in zip(NUMBERS, interval_of, strict=True)}
        values["median"] = round(median(itertools.chain.from_iterable(pairs.values())), 4)
    return {
        **dict(zip(KEY, key, strict=True)),
        "n_questions": len(answers),
        "n_answers": len(every),
        "n_empty": missing,
        "n_cut": sum(answer.cut for answer in every),
        "words": round(sum(len(answer.text.split()) for answer in every) / len(every), 1) if every else None,
        **values,
    }


def build(answers: list[Path], reported_fspo: Path, *, seed: int, n_resamples: int) -> Table:
    """Make the table from the files of a run."""
    table = diversity_table(read_all(answers, QuestionAnswers), seed=seed, n_resamples=n_resamples)
    shown: Shown = {
        "Similarity [95 % CI]": interval(*NUMBERS, digits=(3, 2)),
        "Median": decimals("median", ".3f"),
        "Questions": "n_questions",
        "Answers": "n_answers",
        "Missing": "n_empty",
        "Cut": "n_cut",
        "Words": decimals("words"),
    }
    columns = {"dataset": "Domain", "model": "Answers by", "way": "Way", "temperature": "Temperature"}
    theirs = reported_values(reported_fspo, "mean similarity of answers")
    notes = [
        "Mean cosine between TF-IDF vectors of two answers to the same question: 1 for equal words, 0 for no word in "
        "common. Intervals: bootstrap over questions.",
        f"The paper's second version is reported to give {theirs}, by embeddings (third-party notes): another measure, "
        "not comparable.",
    ]
    return Table(table, (block_of(table, columns, shown),), notes)


RESULT = TableResult(
    name="diversity",
    order=10,
    title="How similar are the answers to one question?",
    caption="Mean similarity of two answers to the same question, by model, way of asking and temperature.",
    build=build,
)
