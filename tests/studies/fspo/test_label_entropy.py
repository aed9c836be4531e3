"""What becomes of labels, and their entropy: counted by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from personalrm.core.records import Outcome, Verdict
from personalrm.core.synthetic import PairLabel, SyntheticPart, SyntheticUser, UserLabels
from personalrm.studies.fspo.results.label_entropy_table import FATES, entropy_table, fate_of


def label(*outcomes: Outcome) -> PairLabel:
    verdicts = [Verdict(pair_id="p", swapped=bool(n), outcome=outcome) for n, outcome in enumerate(outcomes)]
    return PairLabel(pair_id="p", verdicts=tuple(verdicts))


KEPT, TURNED, OPEN = label("wrong", "wrong"), label("correct", "wrong"), label("tie", "correct")
UNREAD, LOST = label("unparsed", "correct"), label("correct", "provider_error")


def user(name: str, part: SyntheticPart, before: tuple[PairLabel, ...], after: tuple[PairLabel, ...]) -> SyntheticUser:
    values = {"dataset": "d", "user_id": name, "key": name, "part": part, "traits": {}, "seed": "Is calm."}
    return SyntheticUser.model_validate({**values, "before": before, "after": after, "facts": ("Reads.",)})


def test_a_pair_has_one_fate_and_one_that_is_lost_is_no_label() -> None:
    fates = [fate_of(each) for each in (KEPT, TURNED, OPEN, UNREAD, LOST)]
    assert fates == list(FATES)
    assert [each.label for each in (KEPT, TURNED, OPEN, UNREAD, LOST)] == ["second", None, None, None, None]
    assert fate_of(label("unparsed", "provider_error")) == "lost"


def test_shares_and_entropies_are_those_computed_by_hand() -> None:
    mine = {"a": (KEPT, TURNED, LOST), "b": (KEPT, KEPT, OPEN, UNREAD)}
    parts: dict[str, SyntheticPart] = {"a": "train", "b": "held_out"}
    people = [user(name, parts[name], (TURNED, LOST), labels) for name, labels in mine.items()]
    rows = [
        UserLabels(dataset="d", user_id=name, part=parts[name], model="m", labels=labels)
        for name, labels in mine.items()
    ]
    found = entropy_table(people, rows, seed=0, n_resamples=99).set_index("part")
    assert found.loc["train", list(FATES)].tolist() == [1, 1, 0, 0, 1]
    assert found.loc["held_out", list(FATES)].tolist() == [2, 0, 1, 1, 0]
    # Of pairs that are not lost: 1 of 2, 2 of 4, 3 of 6.
    assert found["kept_share"].tolist() == [50, 50, 50]
    # Neither lost nor unread labels have an entropy: ln 2 alone before; after, those of one half and of 3/4.
    three_quarters = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found["before"].tolist() == pytest.approx([math.log(2)] * 3, abs=1e-4)
    expected = [math.log(2) / 2, three_quarters / 3, (math.log(2) + three_quarters) / 5]
    assert found["after"].tolist() == pytest.approx(expected, abs=1e-4)
    assert found["facts"].tolist() == [1, 1, 1]


def test_other_names_of_users_change_neither_shares_nor_entropies_nor_their_intervals() -> None:
    def made(names: list[str]) -> pd.DataFrame:
        mine = {name: (KEPT,) * (2 + place) + (TURNED,) * (6 - place) for place, name in enumerate(names)}
        people = [user(name, "train", labels[1:], labels) for name, labels in mine.items()]
        rows = [UserLabels(dataset="d", user_id=n, part="train", model="m", labels=each) for n, each in mine.items()]
        return entropy_table(people, rows, seed=0, n_resamples=999)

    names = [f"u{number}" for number in range(6)]
    pd.testing.assert_frame_equal(made(names), made(names[3:] + names[2::-1]))
