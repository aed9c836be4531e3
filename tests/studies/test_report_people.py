"""The people of the report: which users, and what is shown of them, from files of a run that are made up."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pytest
from support.comparison_cases import Said, default, frame_of, learned

from personalrm.core.records import Demonstration, PreferencePair, Profile, Turn, UserData, write_records
from personalrm.core.tastes import Taste, TasteWeights, UserTaste
from personalrm.results.conditions import Condition
from personalrm.results.tables.differences_table import differences_table
from personalrm.studies.report.shown import People, Person, Weight, short
from personalrm.studies.synthesizeme import report_people
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.report_people import Telling, people_of
from personalrm.studies.synthesizeme.report_summary import telling_rows

from .test_report import config_of

NAMES = ("warm", "surface:characters", "default", "surface:code")


def plan_in(folder: Path) -> Plan:
    return Plan(
        config_of(
            results=str(folder),
            datasets={"d": {"path": "votes.jsonl", "shards": 1}},
            methods=["default", "both", "attributes"],
            attributes={"models": ["m"]},
        )
    )


def pair(user: str, number: int) -> PreferencePair:
    asked = Turn(role="user", content=f"question {number}\nof {user} " + "and more words " * 40)
    return PreferencePair(
        user_id=user, pair_id=f"{user}-{number}", context=(asked,), chosen="yes", rejected="no", order=number
    )


def user_of(name: str, pairs: int = 3) -> UserData:
    # The oldest pair stands last in the file's order of ids, not in the user's.
    held = tuple(pair(name, number) for number in reversed(range(pairs)))
    return UserData(dataset="d", user_id=name, pairs=held, planted_taste=f"what {name} likes")


def profile_of(user: str, **changes: object) -> Profile:
    base = Profile(
        dataset="d",
        user_id=user,
        model="m",
        variant="corrected",
        k="all",
        draw=0,
        status="ok",
        persona=f"the persona of {user}",
        demonstrations=(Demonstration(pair=pair(user, 0), swapped=False, reasoning="because"),),
    )
    return base.model_copy(update=changes)


def taste_of(user: str, *, own: bool = True, persona: str | None = "likes length") -> UserTaste:
    weights = TasteWeights(mean=(0.0,) * 4, sd=(1.0,) * 4, effect=(0.5, -2.0, 9.0, 0.0), effect_sd=(0.5, 0.5, 1.0, 0.0))
    taste = Taste(names=NAMES, bias=(0.0,) * 4, scale=(1.0,) * 4, weights=weights, own=own, n_votes=10)
    return UserTaste(dataset="d", user_id=user, model="m", k="all", draw=0, status="ok", taste=taste, persona=persona)


def people_in(folder: Path, said: Said, base: Said, *, rows: int = 3, folds: Collection[str] = ()) -> People:
    plan = plan_in(folder)
    (folder / "cells").mkdir(parents=True)
    verdicts = frame_of(folder / "cells", [(default(), base), (learned(), said)])
    users = sorted(base)
    write_records(Path(plan.shard_paths("d")[0]), [user_of(name) for name in users])
    write_records(Path(plan.profile_paths()[0]), [profile_of(name) for name in users])
    write_records(
        Path(plan.paths("taste")[0]), [taste_of(users[0]), *(taste_of(n, own=False, persona=None) for n in users[1:])]
    )
    differences = differences_table(verdicts, seed=1, n_resamples=49)
    held = telling_rows(differences, rows)
    telling = {name: [Telling(Condition.of(row), label) for label, row in rows.items()] for name, rows in held.items()}
    return people_of(plan, verdicts, telling, folds)


@pytest.fixture
def people(tmp_path: Path) -> People:
    return people_in(tmp_path, {"ann": "11e", "bob": "01."}, {"ann": "010", "bob": "11."})


def test_each_pair_is_shown_under_default_and_the_method_in_one_order(people: People) -> None:
    assert [person.user for person in people.shown] == ["ann", "bob"]
    assert people.total == 2
    ann, bob = people.shown
    assert [row.label for row in ann.dots] == ["Default", "SynthesizeMe: persona + demonstrations"]
    # The user's pairs are listed from the newest in this file.
    assert [list(row.marks) for row in ann.dots] == [["wrong", "right", "wrong"], ["none", "right", "right"]]
    assert [list(row.marks) for row in bob.dots] == [["right", "right"], ["right", "wrong"]]
    assert ann.dots[1].said == "SynthesizeMe: persona + demonstrations: 2 of 3 pairs right"


def test_personas_demonstrations_and_planted_tastes_are_those_of_the_user(people: People) -> None:
    ann, bob = people.shown
    assert [(one.source, one.text) for one in ann.personas] == [
        ("Measured from the votes (m)", "likes length"),
        ("Written by m", "the persona of ann"),
    ]
    assert bob.personas[0].text == "The votes show no taste that is sure enough to be put into words."
    (shown,) = ann.demonstrations
    assert (shown.chosen, shown.rejected, shown.reasoning) == ("yes", "no", "because")
    assert shown.question.startswith("question 0 of ann and more")
    assert shown.question.endswith(" more …")
    assert len(shown.question) < 245
    assert short("長" * 300) == "長" * 240 + " …"
    assert ann.planted == "what ann likes"
    assert ann.anchor == "user=d/ann"
    assert Person(dataset="a b", user="x/ü&").anchor == "user=a%20b/x%2F%C3%BC%26"
    assert Person(dataset="d", user="What is it?", pair="p/1").anchor == "pair=d/p%2F1"


def test_weights_are_the_surest_effects_with_the_words_of_the_preferred_pole(people: People) -> None:
    ann, bob = people.shown
    assert [weight.label for weight in ann.weights] == ["shorter answers", "warm, encouraging answers"]
    first = ann.weights[0]
    assert (first.value, round(first.low, 2), round(first.high, 2)) == (2.0, 1.02, 2.98)
    # Votes that show no taste of one's own give no weights.
    assert list(bob.weights) == []
    assert (people.high, people.low) == (3.0, -1.0)


def test_weights_of_nothing_have_a_scale() -> None:
    person = Person(dataset="d", user="u", weights=[Weight("longer answers", 0.0, -1.0, 1.0)])
    assert People([person], 1).low < 0 < People([person], 1).high


@pytest.mark.parametrize(("folds", "noun"), [((), "users"), (("d",), "users, counted in each fold")])
def test_users_of_folds_are_said_to_be_counted_in_each(tmp_path: Path, folds: Collection[str], noun: str) -> None:
    assert people_in(tmp_path, {"ann": "1"}, {"ann": "0"}, folds=folds).noun == noun


def test_orders_that_disagree_are_split(tmp_path: Path) -> None:
    verdicts = frame_of(tmp_path, [(default(), {"ann": "10"})])
    twice = pd.concat([verdicts.assign(swapped=False), verdicts.assign(swapped=True)])
    twice.loc[(twice["swapped"]) & (twice["pair_id"] == "ann-0"), "outcome"] = "wrong"
    cell = Condition.of(
        {"dataset": "d", "variant": "baseline", "profile_model": "-", "judge_model": "m", "method": "default", "k": "-"}
    )
    marks = dict(report_people._marks(twice, {"d": [Telling(cell, "Default")]}))
    assert marks[cell, "ann"] == {"ann-0": "split", "ann-1": "wrong"}


def test_thousands_of_users_are_capped_and_the_same_ones_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_people, "MOST_PEOPLE", 4)
    said = {f"u{number}": "1" for number in range(9)}
    one, two = (
        people_in(tmp_path / name, order, said) for name, order in (("a", said), ("b", dict(reversed(said.items()))))
    )
    assert (len(one.shown), one.total) == (4, 9)
    assert [person.user for person in one.shown] == [person.user for person in two.shown]


def test_pairs_are_shown_of_the_judge_with_the_largest_difference_that_is_no_outage(tmp_path: Path) -> None:
    base, more, most = ({f"u{number}": said for number in range(6)} for said in ("00", "10", "11"))
    cells = [
        (default("m"), base),
        (learned("persona", judge="m"), base),
        (learned("demos", judge="m"), more),
        (default("n"), {**base, "u0": "0e"}),
        (learned("both", judge="n", profile="n"), most),
    ]
    found = telling_rows(differences_table(frame_of(tmp_path, cells), seed=1, n_resamples=49), 3)
    assert list(found["d"]) == ["SynthesizeMe: demonstrations", "SynthesizeMe: persona"]
    assert [
        len(rows)
        for rows in telling_rows(differences_table(frame_of(tmp_path, cells), seed=1, n_resamples=49), 1).values()
    ] == [1]


def test_the_profile_of_the_shown_condition_is_taken_before_others() -> None:
    shown = Telling(
        Condition.of(
            {
                "dataset": "d",
                "variant": "corrected",
                "profile_model": "m",
                "judge_model": "m",
                "method": "both",
                "k": "2",
            }
        ),
        "",
    )
    rows = [
        profile_of("ann", k=k, variant=variant, draw=draw)
        for k, variant, draw in (
            ("all", "corrected", 0),
            (2, "as_published", 0),
            (2, "corrected", 1),
            (2, "corrected", 0),
        )
    ]
    assert report_people._best(rows, {"d": [shown]})["d", "ann"] is rows[-1]
    assert report_people._best(rows[:2], {})["d", "ann"] is rows[0]
