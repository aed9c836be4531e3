"""Fine-tuned reward models in their stages: what they learn, what they are told of users, and killed trainings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

from support.killed import Killed
from support.reward_runs import Made, flipped, odds, people
from support.tiny_models import tiny_llama

from personalrm.core.errors import DataError
from personalrm.core.records import JudgedUser, PreferencePair, Profile, Turn, UserData, read_records, write_records
from personalrm.core.tastes import UserTaste
from personalrm.results.tables.training_table import training_table
from personalrm.studies.synthesizeme.stages import few_shot, fine_tuning

PERSONA: dict[str, Any] = {
    "models": {"m": {"model": "m", "api_base": "http://127.0.0.1:9/v1"}},
    "learn": {"models": ["m"]},
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llama(tmp_path_factory.mktemp("base"))


def made(folder: Path, base: str, users: list[UserData], **more: Any) -> Made:  # noqa: ANN401
    return Made(folder, base, users, **{"methods": ["bt"], "seeds": [0], **more})


@pytest.mark.parametrize("regime", ["unseen", "all-but-test"])
def test_labels_of_judged_test_pairs_reach_no_weight(regime: str, tmp_path: Path, base: str) -> None:
    users = people()
    judged = {user.user_id for user in users if regime == "all-but-test" or user.user_split == "test"}
    plain = odds(made(tmp_path / "a", base, users, regime=regime).rows())
    assert {key[0] for key in plain} == judged
    other = flipped(users, lambda user, one: user.user_id in judged and one.split == "test")
    # The same answers are preferred, so that what was right is wrong.
    found = odds(made(tmp_path / "b", base, other, regime=regime).rows())
    assert {key: -value for key, value in found.items()} == plain
    assert any(plain.values())
    # A test that could not fail: labels that are learned from do change the weights.
    learned = flipped(users, lambda user, one: user.user_split == "train" and one.split == "context")
    assert odds(made(tmp_path / "c", base, learned, regime=regime).rows()) != plain


def test_in_unseen_no_pair_of_a_test_or_validation_user_is_learned(tmp_path: Path, base: str) -> None:
    users = people()
    run = made(tmp_path / "a", base, users)
    (card,) = run.do("reward_model")
    plain = card.with_name("weights.safetensors").read_bytes()
    changed = flipped(users, lambda user, one: user.user_split != "train")
    (other,) = made(tmp_path / "b", base, changed).do("reward_model")
    assert other.with_name("weights.safetensors").read_bytes() == plain
    said = json.loads(card.read_text(encoding="utf-8"))
    assert (said["regime"], said["train_users"], said["train_pairs"]) == ("unseen", 4, 4 * 9)
    assert (said["validation_users"], said["validation_pairs"]) == (4, 4 * 9)
    assert (said["contexts_cut"], said["answers_cut"], said["systems_cut"]) == (0, 0, 0)
    assert [point[0] for point in said["curve"]] == list(range(1, 6))


def test_rows_have_one_verdict_per_pair_and_a_draw_per_seed(tmp_path: Path, base: str) -> None:
    rows = made(tmp_path, base, people(), seeds=[4, 7]).rows()
    mine = [row for row in rows if row.user_id == "u4"]
    assert [(row.method, row.k, row.draw, row.judge_model) for row in mine] == [
        ("bt", None, 0, "tiny (unseen)"),
        ("bt", None, 1, "tiny (unseen)"),
    ]
    assert [len(row.verdicts) for row in mine] == [3, 3]
    assert {(one.swapped, one.outcome, (one.log_odds or 0) > 0) for row in mine for one in row.verdicts} <= {
        (None, "correct", True),
        (None, "wrong", False),
    }
    # Another seed has another head and another order of pairs.
    assert mine[0].verdicts != mine[1].verdicts
    assert {row.reason for row in rows if row.user_id == "u0"} == {"the reward model was trained on this user"}


def test_users_and_pairs_in_another_order_give_the_same_weights(tmp_path: Path, base: str) -> None:
    users = people()
    (one,) = made(tmp_path / "a", base, users).do("reward_model")
    turned = [user.model_copy(update={"pairs": user.pairs[::-1]}) for user in users[::-1]]
    (other,) = made(tmp_path / "b", base, turned).do("reward_model")
    for name in ("card.json", "weights.safetensors"):
        assert one.with_name(name).read_bytes() == other.with_name(name).read_bytes()


def test_features_are_made_only_for_methods_that_read_them(tmp_path: Path, base: str) -> None:
    assert made(tmp_path, base, people()).plan.jobs("features") == []
    assert made(tmp_path, base, people(), methods=["bt", "frozen_bt"]).plan.jobs("features")


class Personas:
    """Runs with profiles of all users at each k, as the stage `profile` would write them."""

    def __init__(self, folder: Path, base: str, personas: dict[str, str | None], **more: Any) -> None:  # noqa: ANN401
        self.users, status = more.pop("users", None) or people(), more.pop("status", "ok")
        config = PERSONA | more.pop("config", {})
        entry = {"methods": ["bt_persona"], **more}
        self.made = made(folder, base, self.users, more=config, **entry)
        for job in self.made.plan.jobs("profile"):
            people_of_shard = list(read_records(Path(self.made.plan.users(job)), UserData))
            draws = range(2) if job.k != "all" else range(1)
            rows = [
                Profile(
                    **{"dataset": "d", "user_id": user.user_id, "model": "m", "variant": "corrected", "k": job.k},
                    **{"draw": draw, "status": status, "persona": personas.get(user.user_id)},
                )
                for user in people_of_shard
                for draw in draws
            ]
            write_records(Path(self.made.plan.path("profile", **job._asdict())), rows)

    def weights(self) -> bytes:
        (card,) = self.made.do("reward_model")
        return card.with_name("weights.safetensors").read_bytes()


TASTES: dict[str, str | None] = {f"u{n}": "w1 w3" if n % 2 else "w0 w2" for n in range(16)}


def test_labels_that_a_persona_was_made_from_are_not_learned_with_it(tmp_path: Path, base: str) -> None:
    plain = Personas(tmp_path / "a", base, TASTES).weights()
    # k = all: context and validation pairs of train users made their personas.
    secret = flipped(people(), lambda user, one: user.user_split == "train" and one.split != "test")
    assert Personas(tmp_path / "b", base, TASTES, users=secret).weights() == plain
    # Labels that it learns do change the weights.
    learned = flipped(people(), lambda user, one: user.user_split == "train" and one.split == "test")
    assert Personas(tmp_path / "c", base, TASTES, users=learned).weights() != plain


def test_the_persona_is_read(tmp_path: Path, base: str) -> None:
    run = Personas(tmp_path / "a", base, TASTES)
    run.weights()
    plain = odds([row for path in run.made.do("score") for row in read_records(path, JudgedUser)])
    assert {(key[1], key[2], key[3]) for key in plain} == {
        *{("bt_persona", "2", draw) for draw in (0, 1)},
        ("bt_persona", "all", 0),
    }
    rows = [row for path in run.made.plan.paths("score") for row in read_records(Path(path), JudgedUser)]
    row = next(row for row in rows if row.status == "ok")
    assert (row.variant, row.profile_model, list(row.prompts)) == ("corrected", "m", ["reward_system"])
    # Test users with the personas of others: the same weights, other rewards.
    other = Personas(tmp_path / "b", base, {**TASTES, "u4": TASTES["u5"], "u5": TASTES["u4"]})
    other.weights()
    changed = odds([row for path in other.made.do("score") for row in read_records(path, JudgedUser)])
    assert {key[0] for key, value in changed.items() if value != plain[key]} == {"u4", "u5"}


def test_the_gain_vanishes_with_the_persona_of_another_user(tmp_path: Path, base: str) -> None:
    users = people(160)
    told = {user.user_id: TASTES[f"u{place % 2}"] for place, user in enumerate(users)}
    hyper = {"bt": {"published": "trl", "tuning": "full", "lr": 0.01, "batch": 16, "at_once": 16, "steps": 80}}
    methods = ["bt_persona", "bt_persona_other_user"]
    run = Personas(tmp_path, base, told, users=users, methods=methods, hyper=hyper, config={"k": ["all"], "draws": 1})
    # One training for both.
    run.weights()
    rows = {(row.method, row.user_id): row for path in run.made.do("score") for row in read_records(path, JudgedUser)}
    others = few_shot.other_users(users, "unseen", all_judged=False)
    assert len(others) == 80
    right: dict[str, list[bool]] = {name: [] for name in methods}
    for name in others:
        own, other = (rows[method, name].verdicts for method in methods)
        right["bt_persona"] += [one.outcome == "correct" for one in own]
        right["bt_persona_other_user"] += [one.outcome == "correct" for one in other]
        # The other user, whose persona it is, may have the same taste.
        assert (own == other) == (told[name] == told[others[name].user_id])
    own_share, other_share = (sum(found) / len(found) for found in right.values())
    assert own_share > 0.9
    assert 0.3 < other_share < 0.7
    reasons = {rows["bt_persona_other_user", user.user_id].reason for user in users if user.user_split == "train"}
    assert reasons == {"the reward model was trained on this user"}


def test_a_single_user_has_no_other_whose_persona_could_be_shown(tmp_path: Path, base: str) -> None:
    users = [user for user in people() if user.user_split != "test" or user.user_id == "u4"]
    run = Personas(tmp_path, base, TASTES, users=users, methods=["bt_persona_other_user"], config={"k": [2]})
    run.weights()
    rows = [row for path in run.made.do("score") for row in read_records(path, JudgedUser) if row.user_id == "u4"]
    assert {(row.status, row.reason) for row in rows} == {("empty", "there is no other user to tell the model of")}


def test_the_other_user_is_one_whose_persona_is_learned(tmp_path: Path, base: str) -> None:
    # Pairs whose prompts are those of secret pairs would be left out.
    apart = [user.model_copy(update={"pairs": tuple(map(asked_apart, user.pairs))}) for user in people()]
    told: dict[str, Any] = {"users": apart, "methods": ["bt_persona_other_user"], "regime": "all-but-test"}
    run = Personas(tmp_path, base, TASTES, **told, config={"k": [2], "draws": 1, "evaluate_users": "test"})
    judged = {user.user_id for user in run.users if user.user_split == "test"}
    for path in map(Path, run.made.plan.paths("profile")):
        write_records(path, [row for row in read_records(path, Profile) if row.user_id in judged])
    run.weights()
    rows = [row for path in run.made.do("score") for row in read_records(path, JudgedUser)]
    assert {row.user_id for row in rows} == judged
    assert {(row.status, len(row.verdicts)) for row in rows} == {("ok", 3)}


def test_a_user_who_is_excluded_has_the_same_reason_in_the_control(tmp_path: Path, base: str) -> None:
    why = {"pairs": (), "excluded": "2 pairs, of 3 that are needed"}
    users = [user.model_copy(update=why if user.user_id == "u5" else {}) for user in people()]
    run = Personas(tmp_path, base, TASTES, users=users, methods=["bt_persona", "bt_persona_other_user"])
    run.weights()
    rows = [row for path in run.made.do("score") for row in read_records(path, JudgedUser) if row.user_id == "u5"]
    assert {(row.method, row.status, row.reason) for row in rows} == {
        (method, "empty", why["excluded"]) for method in ("bt_persona", "bt_persona_other_user")
    }


def test_the_measured_persona_is_read(tmp_path: Path, base: str) -> None:
    # Pairs whose prompts are those of secret pairs would be left out.
    users = [user.model_copy(update={"pairs": tuple(map(asked_apart, user.pairs))}) for user in people()]
    more = {**PERSONA, "k": [2], "draws": 1, "attributes": {}}
    run = made(tmp_path, base, users, more=more, methods=["bt_measured_persona"], regime="all-but-test")
    for path, shard in zip(run.plan.paths("taste"), run.plan.shard_paths("d"), strict=True):
        rows = [
            UserTaste(
                dataset="d", user_id=one.user_id, model="m", k=2, draw=0, status="ok", persona=TASTES[one.user_id]
            )
            for one in read_records(Path(shard), UserData)
        ]
        write_records(Path(path), rows)
    (card,) = run.do("reward_model")
    # Of six pairs that are no test pairs, two context and two validation pairs are in the taste.
    said = json.loads(card.read_text(encoding="utf-8"))
    assert (said["train_users"], said["train_pairs"]) == (16, 16 * 2)
    found = [row for path in run.do("score") for row in read_records(path, JudgedUser) if row.status == "ok"]
    assert {(row.method, row.k, row.profile_model, row.variant) for row in found} == {
        ("bt_measured_persona", 2, "m", "baseline")
    }


def test_in_unseen_train_users_are_told_by_their_training_personas(tmp_path: Path, base: str) -> None:
    more = {**PERSONA, "k": [2], "draws": 1, "attributes": {}}
    # Pairs whose prompts are those of secret pairs would be left out.
    apart = [user.model_copy(update={"pairs": tuple(map(asked_apart, user.pairs))}) for user in people()]

    def trained(training_persona: str | None, regime: str = "unseen") -> tuple[dict[str, Any], bytes]:
        run = made(tmp_path / regime, base, apart, more=more, methods=["bt_measured_persona"], regime=regime)
        for path, shard in zip(run.plan.paths("taste"), run.plan.shard_paths("d"), strict=True):
            rows = []
            for one in read_records(Path(shard), UserData):
                row = {"dataset": "d", "user_id": one.user_id, "model": "m", "k": 2, "draw": 0}
                if one.user_split == "train":
                    row |= {"status": "empty", "reason": "fitted on them", "training_persona": training_persona}
                else:
                    row |= {"status": "ok", "persona": TASTES[one.user_id]}
                rows.append(UserTaste.model_validate(row))
            write_records(Path(path), rows)
        (card,) = run.do("reward_model")
        return json.loads(card.read_text(encoding="utf-8")), card.with_name("weights.safetensors").read_bytes()

    card, weights = trained("w1 w3")
    # Two context pairs and three test pairs of each train user: the persona rests on the others.
    assert (card["train_users"], card["train_pairs"]) == (4, 4 * 5)
    assert trained("w5 w7")[1] != weights
    # Where nothing is sure, nothing is said.
    assert trained("")[0]["train_users"] == 4
    with pytest.raises(DataError, match=r"no pair to learn from in regime unseen, with what 'measured_persona' says"):
        trained(None)
    # Where train users are judged, too, these personas rest on pairs that are judged.
    assert trained("w1 w3", "all-but-test")[0]["train_users"] == 12


def test_a_user_without_persona_is_judged_as_by_the_plain_text(tmp_path: Path, base: str) -> None:
    nobody: dict[str, str | None] = dict.fromkeys(TASTES)
    users = [
        user.model_copy(update={"pairs": tuple(p for p in user.pairs if p.split == "test")})
        if user.user_split == "train"
        else user
        for user in people()
    ]
    persona = Personas(tmp_path / "a", base, nobody, users=users)
    persona.weights()
    found = [row for path in persona.made.do("score") for row in read_records(path, JudgedUser) if row.k == "all"]
    plain = made(tmp_path / "b", base, users).rows()
    # Bit for bit: the same pairs were learned and judged.
    assert [row.verdicts for row in found] == [row.verdicts for row in plain]


def test_all_but_test_learns_what_personas_do_not_rest_on(tmp_path: Path, base: str) -> None:
    # Pairs whose prompts are those of secret pairs would be left out.
    users = [user.model_copy(update={"pairs": tuple(map(asked_apart, user.pairs))}) for user in people()]
    more: dict[str, Any] = {"regime": "all-but-test", "config": {"k": [2]}}
    run = Personas(tmp_path, base, {}, users=users, status="failed", **more).made
    method = fine_tuning.METHODS["bt_persona"]
    entry = run.job.config.reward_models["tiny"]
    paths = [Path(path) for path in run.plan.shard_paths("d")]
    found = fine_tuning.lessons_for(run.job.config, entry, "d", method, paths, [])
    assert found.held_out == []
    # Four context pairs, two of which made the persona, as did both validation pairs.
    assert {len(lesson.pairs) for lesson in found.train} == {2}
    assert {pair.split for lesson in found.train for pair in lesson.pairs} == {"context"}
    with pytest.raises(DataError, match=r"no pair to learn from in regime all-but-test, with what 'persona' says"):
        run.do("reward_model")


def test_pairs_of_files_without_users_are_learned_in_the_place_of_theirs(tmp_path: Path, base: str) -> None:
    users = [user.model_copy(update={"pairs": tuple(map(asked_apart, user.pairs))}) for user in people()]
    free = [released(f"w{n} w{n + 20}", f"w{2 * n} w4", f"w{2 * n + 1} w5") for n in range(12)]
    # The prompt of all users' newest test pairs, with other answers.
    showing = released("iiiiiiiii", "w1 w3 w5", "w0 w2 w4")

    def trained(name: str, rows: list[dict[str, Any]]) -> tuple[dict[str, Any], bytes]:
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        run = made(tmp_path / name, base, users, regime="all-but-test", train_on=[str(file)])
        (card,) = run.do("reward_model")
        if name == "plain":
            assert {row.judge_model for path in run.do("score") for row in read_records(path, JudgedUser)} == {
                "tiny (all-but-test, trained on pairs without users)"
            }
        return json.loads(card.read_text(encoding="utf-8")), card.with_name("weights.safetensors").read_bytes()

    card, weights = trained("plain", free)
    assert (card["train_pairs"], card["train_users"], card["train_on"]) == (12, None, ["plain.jsonl"])
    assert training_table([card])["train_users"].isna().all()
    assert trained("more", [*free, showing])[1] == weights
    turned = {**free[0], "chosen": free[0]["rejected"], "rejected": free[0]["chosen"]}
    assert trained("turned", [turned, *free[1:]])[1] != weights


def released(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    """A row as the authors release pairs for reward models: whole conversations, and no user."""
    asked = {"role": "user", "content": prompt}
    sides = {"chosen": chosen, "rejected": rejected}
    whole = {name: [asked, {"role": "assistant", "content": text}] for name, text in sides.items()}
    return {**whole, "chosen_score": 80, "rejected_score": 20}


def test_planted_tastes_rest_on_no_pair(tmp_path: Path, base: str) -> None:
    users = [user.model_copy(update={"planted_taste": TASTES[user.user_id]}) for user in people()]
    run = made(tmp_path, base, users, methods=["bt_oracle"])
    rows = run.rows()
    card = json.loads(Path(run.plan.paths("reward_model")[0]).read_text(encoding="utf-8"))
    assert (card["train_pairs"], card["method"]) == (4 * 9, "bt_oracle")
    assert {(row.status, row.k) for row in rows if row.user_id == "u4"} == {("ok", None)}
    assert run.plan.inputs("score", dataset="d", reward="tiny", shard=run.plan.shards("d")[0])["profiles"] == []


def asked_apart(pair: PreferencePair) -> PreferencePair:
    """The pair with a prompt of its own."""
    return pair.model_copy(update={"context": (Turn(role="user", content="abcdefghi"[pair.order] * 9),)})


@pytest.mark.parametrize("at", [1, 4, 5])
def test_a_killed_training_ends_with_the_same_weights(
    at: int, tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from personalrm.methods.reward import bt
    from personalrm.train import fine_tuning as tuning

    monkeypatch.setattr(fine_tuning, "CHECKPOINT_S", 0.0)
    # A point of the loss, and so a checkpoint, after each second update.
    monkeypatch.setattr(tuning, "POINTS", 2)
    (wanted,) = made(tmp_path / "whole", base, people()).do("reward_model")
    run = made(tmp_path / "killed", base, people())
    killed = Killed(monkeypatch, bt._Trainer, at - 1)
    killed.run(run.do, "reward_model")
    checkpoints = Path(run.plan.run, "checkpoints")
    assert list(checkpoints.iterdir())
    (found,) = run.do("reward_model")
    # Two parts of a batch in each of five updates; those before the checkpoint are not repeated.
    assert killed.steps == [step for step in range((at - 1) // 2 * 2, 5) for _ in range(2 if step < 4 else 1)]
    for name in ("card.json", "weights.safetensors"):
        assert found.with_name(name).read_bytes() == wanted.with_name(name).read_bytes()
    assert not list(checkpoints.iterdir())
