"""The table of training: what each reward model saw, what its training chose, and its curve."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.errors import DataError
from personalrm.results.columns import Columns
from personalrm.results.labels import method_label, method_rank
from personalrm.results.lazy import pd
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, table_rows
from personalrm.results.tables.comparison_text import Shown, block_of, dataset_note, number

KEY: tuple[str, ...] = ("dataset", "name", "regime", "method")
TEXTS: tuple[str, ...] = (*KEY, "penalty")
WHOLE: tuple[str, ...] = (
    *("seed", "tokens", "contexts_cut", "answers_cut", "train_users", "train_pairs", "validation_users"),
    *("steps", "best_step", "k", "active_units", "latent", "step"),
)
COLUMNS = Columns(
    (
        *(*KEY, "seed", "tokens", "contexts_cut", "answers_cut", "train_users", "train_pairs", "validation_users"),
        *(
            "steps",
            "best_step",
            "k",
            "l2",
            "penalty",
            "active_units",
            "latent",
            "held_out",
            "step",
            "loss",
            "held_out_at_step",
        ),
    ),
    texts=TEXTS,
    whole=WHOLE,
)
TRAINING: tuple[str, ...] = (*KEY, "seed")
"""What names one training."""
DIGITS = 6
"""Of losses and accuracies; more would differ between machines."""


def training_table(cards: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per training and point of its curve, columns `COLUMNS`; a training without a curve has one row.

    - tokens: read by the base for the features of the whole data set, which trainings share, or, where the base was
      tuned, those of the training pairs; contexts_cut, answers_cut: texts whose conversation, or answer, was too long.
    - train_users, train_pairs: whose pairs the weights were trained on; validation_users: who chose the rest (where the
      base was tuned: nothing, or the step with `keep: best`).
    - steps: of training in all; best_step: whose weights were kept (0 of neither for a closed solution).
    - k (shared rewards or prototypes), l2, penalty (`inf`: no deviation): chosen on held-out users, else as given.
    - active_units of latent: units of VPL's latent vector whose mean varies over train users.
    - held_out: accuracy on the validation users (or held-out users) with the weights and values that were kept.
    - step, loss, held_out_at_step: a point of the curve: mean loss since the point before.

    Args:
        cards: the `card.json` of each training.
    """

    def order(card: Mapping[str, Any]) -> tuple[object, ...]:
        return card["dataset"], card["name"], card["regime"], method_rank(card["method"]), card["seed"]

    return COLUMNS.frame(row for card in sorted(cards, key=order) for row in _rows(card))


def _rows(card: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    hyper, curve = card.get("hyper", {}), card.get("curve") or []
    known = {name: card[name] for name in (*TRAINING, "train_users", "train_pairs", "validation_users")}
    # A card without features is of a base that was tuned, and counts its texts itself.
    counted = card.get("features") or [card]
    for name in ("tokens", "contexts_cut", "answers_cut"):
        known[name] = sum(part.get(name, 0) for part in counted) if "tokens" in counted[0] else None
    known |= {
        "steps": curve[-1][0] if curve else 0,
        "best_step": card.get("best_step", 0) if curve else 0,
        "k": card.get("k", hyper.get("k")),
        "l2": card.get("l2"),
        "penalty": str(card.get("penalty", "")),
        "active_units": card.get("active_units"),
        "latent": hyper.get("latent"),
        "held_out": _rounded(_held_out(card, curve)),
    }
    points = [{"step": step, "loss": _rounded(loss), "held_out_at_step": _rounded(at)} for step, loss, at in curve]
    yield from (known | point for point in points or [{}])


def _held_out(card: Mapping[str, Any], curve: Sequence[Sequence[Any]]) -> float | None:
    """Accuracy of what was kept: the best among values that were tried, else that of the kept step."""
    tried = card.get("held_out")
    if isinstance(tried, Mapping):
        return max(tried.values(), default=None)
    return next((at for step, _, at in curve if step == card.get("best_step")), None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


read_training_table = COLUMNS.read


def by_training(table: pd.DataFrame) -> pd.DataFrame:
    """The last row of each training: the loss there is that of its last steps."""
    return table.drop_duplicates(list(TRAINING), keep="last")


def training_block(table: pd.DataFrame) -> Block:
    """The table for people: one row per training."""
    several = table["dataset"].nunique() != 1
    heads = ({"dataset": "Data set"} if several else {}) | {"name": "Features", "regime": "Regime", "method": "Method"}
    shown: Shown = {
        "Seed": "seed",
        "Tokens read": "tokens",
        "Train users": "train_users",
        "Train pairs": "train_pairs",
        "Validation users": "validation_users",
        "Steps": lambda row: f"{row['best_step']} of {row['steps']}" if row["steps"] else EMPTY,
        "Loss at the end": lambda row: number(row["loss"], ".3f"),
        "Held out %": lambda row: number(100 * row["held_out"], ".1f"),
        "Values": chosen_text,
    }
    rows = [row | {"method": method_label(str(row["method"]))} for row in table_rows(by_training(table))]
    return block_of(rows, heads, shown, "", len(heads))


def chosen_text(row: Mapping[str, Any]) -> str:
    """What validation users or folds chose, and what became of the latent vector.

    >>> nan = float("nan")
    >>> chosen_text({"k": 5, "l2": nan, "penalty": "", "active_units": None, "latent": None})
    'K = 5'
    >>> chosen_text({"k": None, "l2": 0.01, "penalty": "inf", "active_units": None, "latent": None})
    'l2 0.01, penalty inf'
    >>> chosen_text({"k": None, "l2": nan, "penalty": "", "active_units": 3, "latent": 64})
    '3 of 64 units active'
    """
    parts = {
        f"K = {row['k']}": _is_known(row["k"]),
        f"l2 {row['l2']:g}": _is_known(row["l2"]),
        f"penalty {row['penalty']}": bool(row["penalty"]),
        f"{row['active_units']} of {row['latent']} units active": _is_known(row["active_units"]),
    }
    return ", ".join(text for text, shown in parts.items() if shown) or EMPTY


def _is_known(value: Any) -> bool:  # noqa: ANN401 - a cell of a frame
    return not (value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)))


def training_notes(table: pd.DataFrame, best: Sequence[str] = ()) -> list[str]:
    """What a reader of the table must know; `best` names the tuned bases whose best weights were kept."""
    collapsed = by_training(table)["active_units"].eq(0).any()
    cut = table[["contexts_cut", "answers_cut"]].max().fillna(0).astype(int)
    return [
        *dataset_note(table),
        "Tokens read: for the features of all pairs of the data set, once for all trainings on them; where "
        "the base was tuned, in one pass over the training pairs. Time is in the table of cost. At "
        f"most {cut['contexts_cut']:,} texts lost the oldest part of their conversation, and "
        f"{cut['answers_cut']:,} the end of their answer.",
        "Train users and pairs: what the shared weights have seen; test pairs of judged users are not among them. "
        "Steps: whose weights were kept, of those that were made. Loss: mean over the last steps; losses of different "
        "methods are not of one scale. Linear methods are solved, not trained by steps.",
        "Held out: accuracy on validation users, who chose the step and the values of the last column (in "
        "all-but-test: on train users that were held out in turn, for user_map alone). What was chosen by it is "
        "better on it than on new users: it is no result. Where the base was tuned, it chose nothing: the last weights "
        f"are kept{_kept_text(best)}.",
        *(
            [
                "0 active units: over train users, the mean of no unit of the latent vector has a variance above "
                "0.005. The vector is nearly the same for all users, so that VPL hardly adapts to votes."
            ]
            * bool(collapsed)
        ),
    ]


def left_out_note(cards: Iterable[Mapping[str, Any]]) -> list[str]:
    """How many votes on test pairs of others were not learned, where there were any."""
    most = max((card.get("pairs_left_out", 0) for card in cards), default=0)
    told = f"Up to {most:,} pairs were left out of a training: their question and answers are those of a test pair."
    return [told] * bool(most)


def _kept_text(best: Sequence[str]) -> str:
    return f", but of {', '.join(best)} those with the lowest loss on validation users (keep: best)" if best else ""


def kept_best(cards: Iterable[Mapping[str, Any]]) -> list[str]:
    """Method and name of the trainings of which a held-out loss chose the weights, each once."""
    kept = [card for card in cards if card.get("hyper", {}).get("keep") == "best"]
    kept.sort(key=lambda card: (card["name"], method_rank(card["method"])))
    return list(dict.fromkeys(f"{method_label(card['method'])} ({card['name']})" for card in kept))


def read_cards(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """The cards of trainings. Raises DataError that names a file which is no card."""
    found = []
    for path in paths:
        try:
            card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path}: no card of a training ({error}); delete its folder and run again") from error
        found.append(card)
    return found


def build(training_cards: list[Path]) -> Table:
    """Make the table from the cards of a run."""
    cards = read_cards(training_cards)
    table = training_table(cards)
    return Table(table, [training_block(table)], [*training_notes(table, kept_best(cards)), *left_out_note(cards)])


RESULT = TableResult(
    name="training",
    order=45,
    title="Training of reward models",
    caption=(
        "What each trained reward model saw, and what its training chose: users and pairs, steps, loss, accuracy on "
        "validation users, penalties, K, and active units of VPL's latent vector. The csv file has the curves."
    ),
    build=build,
    when="reward_models",
)
