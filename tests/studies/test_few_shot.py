"""Language models that are shown votes, in their stages: what they learn, what is shown, controls, another data set."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

from support.killed import Killed
from support.reward_runs import FEW, Made, flipped, odds, people
from support.tiny_models import tiny_llama

from personalrm.core.errors import DataError
from personalrm.core.records import JudgedUser, PreferencePair, Turn, UserData, write_records
from personalrm.methods.reward import fspo
from personalrm.methods.reward.few_shot_settings import RECIPES
from personalrm.methods.reward.hyper import read_hyper
from personalrm.studies.synthesizeme.stages import few_shot
from personalrm.studies.synthesizeme.stages.reward_data import hidden_pairs
from personalrm.studies.synthesizeme.stages.rewards import score_stage
from personalrm.train import policy_fit
from personalrm.train.policy_settings import PolicySettings
from personalrm.train.trainer import Run

ALL = ["few_shot_prompt", "pref_ft", "ipo", "fspo", "fspo_no_shots", "fspo_other_user"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokens=160)


def made(folder: Path, base: str, users: list[UserData], **more: Any) -> Made:  # noqa: ANN401
    return Made(folder, base, users, **{"methods": ["fspo"], "seeds": [0], **more})


def by_method(rows: list[JudgedUser], method: str) -> dict[tuple[str, str, str, int, str], float]:
    return {key: value for key, value in odds(rows).items() if key[1] == method}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, base: str) -> tuple[Made, list[JudgedUser]]:
    """A run of all methods without descriptions, and its rows."""
    torch.set_num_threads(1)
    run = made(tmp_path_factory.mktemp("plain"), base, people(), methods=ALL)
    return run, run.rows()


def test_rows_and_cards(plain: tuple[Made, list[JudgedUser]]) -> None:
    run, rows = plain
    found = [row for row in rows if row.user_id == "u4"]
    ks = [(2, 0), (2, 1), ("all", 0)]
    by_k = [(name, *turn) for name in ("few_shot_prompt", "pref_ft", "fspo", "fspo_other_user") for turn in ks]
    for_all = [(name, None, 0) for name in ("ipo", "fspo_no_shots")]
    assert sorted((row.method, str(row.k), row.draw) for row in found) == sorted(
        (name, str(k), draw) for name, k, draw in (*by_k, *for_all)
    )
    assert {(len(row.verdicts), row.judge_model, *row.prompts) for row in found} == {
        (3, "tiny (unseen)", "few_shot_preferences")
    }
    assert {row.status for row in rows if row.user_id == "u0"} == {"empty"}
    shown = {(row.method, str(row.k), one.shots, one.shots_dropped) for row in found for one in row.verdicts}
    counts = {"2": (2, 0), "all": (4, 0), "None": (None, None)}
    assert shown == {(name, str(k), *counts[str(k)]) for name, k, _ in (*by_k, *for_all)}
    cards = {Path(path).parts[-3]: json.loads(Path(path).read_text()) for path in run.plan.paths("reward_model")}
    assert set(cards) == {"pref_ft", "pref_ft_no_user", "fspo", "ipo"}
    for name, card in cards.items():
        assert (card["train_users"], card["train_pairs"], card["validation_users"]) == (4, 36, 4)
        assert (card["windows"], card["steps"], len(card["curve"])) == (16, 4, 4)
        assert card["prompt"].startswith("few_shot_preferences v1-")
        assert (card["shots"] > 0) == (name in ("pref_ft", "fspo"))
        assert (card["loss"], card["dataset"], card["method"]) == ("sft" if "pref" in name else "ipo", "d", name)
    # The second stage begins where the first one ended.
    assert cards["fspo"]["base"].startswith(f"{cards['pref_ft']['base']} + sha256:")


def test_the_controls_judge_with_the_weights_of_fspo(plain: tuple[Made, list[JudgedUser]]) -> None:
    run, rows = plain
    folder = Path(run.plan.run, "reward_models/d/tiny")
    folders = [folder / name / "0" for name in ("pref_ft", "fspo")]
    users = {user.user_id: user for user in people()}
    test = users["u4"].part("test")
    with fspo.open_few_shot(settings(run), "fspo", folders) as model:
        alone, voted = model.adapt(())(test), model.adapt(users["u4"].part("context"))(test)
        others = {name: model.adapt(user.part("context"))(test) for name, user in users.items()}
    by_name = {name: by_method(rows, name) for name in ALL}

    def judged(name: str, k: str) -> list[float]:
        return [by_name[name]["u4", name, k, 0, one.pair_id] for one in test]

    assert judged("fspo_no_shots", "None") == pytest.approx(alone, abs=1e-5)
    assert judged("fspo", "all") == pytest.approx(voted, abs=1e-5)
    shown = judged("fspo_other_user", "all")
    whose = [name for name, found in others.items() if found == pytest.approx(shown, abs=1e-5)]
    assert len(whose) == 1
    assert whose[0] != "u4"
    # Votes matter, and whose they are.
    assert max(abs(a - b) for a, b in zip(alone, voted, strict=True)) > 1e-3
    assert max(abs(a - b) for a, b in zip(shown, voted, strict=True)) > 1e-3


def settings(run: Made) -> Any:  # noqa: ANN401
    return few_shot._settings(run.job.config.reward_models["tiny"], "cpu")


def test_the_implicit_reward_by_hand(plain: tuple[Made, list[JudgedUser]]) -> None:
    run, _ = plain
    folder = Path(run.plan.run, "reward_models/d/tiny")
    user = people()[4]
    shots, test = user.part("context")[:2], user.part("test")
    card = json.loads((folder / "fspo/0/card.json").read_text())

    def margins(model: fspo.FewShot, shown: Sequence[PreferencePair]) -> Any:  # noqa: ANN401
        prompts = [fspo.answer_prompt(shown, one.context) for one in test]
        texts = [
            fspo.Text(p, one) for p, pair in zip(prompts, test, strict=True) for one in (pair.chosen, pair.rejected)
        ]
        found = model.policy.log_probs(texts)
        return found[::2] - found[1::2]

    with fspo.open_few_shot(settings(run), "fspo", [folder / "pref_ft/0", folder / "fspo/0"]) as model:
        policy, found = margins(model, shots), model.adapt(shots)(test)
    with fspo.open_policy(settings(run), None, 0, start=[folder / "pref_ft/0"]) as first:
        reference = margins(fspo.FewShot(first, RECIPES["fspo"]), shots)
    assert found == pytest.approx(list(card["hyper"]["beta"] * (policy - reference)), abs=1e-4)
    with fspo.open_few_shot(settings(run), "few_shot_prompt", []) as model:
        assert model.adapt(shots)(test) == pytest.approx(list(margins(model, shots) - margins(model, ())), abs=1e-4)
        assert model.adapt(())(test) == [0.0, 0.0, 0.0]


def test_weights_of_another_start_are_refused(plain: tuple[Made, list[JudgedUser]], tmp_path: Path) -> None:
    run, _ = plain
    folder = Path(run.plan.run, "reward_models/d/tiny")
    for folders, said in (
        ([folder / "pref_ft_no_user/0", folder / "fspo/0"], "fspo/0: trained on another base"),
        ([folder / "fspo/0"], "fspo/0: trained on another base"),
        ([tmp_path / "none"], "none: no trained weights"),
    ):
        with pytest.raises(DataError, match=said), fspo.open_few_shot(settings(run), "fspo", folders):
            pass


def test_exchanged_answers_of_judged_pairs_change_signs_alone(
    plain: tuple[Made, list[JudgedUser]], tmp_path: Path, base: str
) -> None:
    run, rows = plain
    turned = flipped(people(), lambda user, one: user.user_split == "test" and one.split == "test")
    methods = ["fspo", "fspo_other_user"]
    other = made(tmp_path, base, turned, methods=methods)
    found = odds(other.rows())
    assert {key: -value for key, value in found.items()} == {
        key: value for key, value in odds(rows).items() if key[1] in methods
    }
    for path in other.plan.paths("reward_model"):
        same = Path(run.plan.run, Path(path).relative_to(other.plan.run)).with_name("weights.safetensors")
        assert same.read_bytes() == Path(path).with_name("weights.safetensors").read_bytes()


def test_other_names_and_orders_give_the_same_weights(
    plain: tuple[Made, list[JudgedUser]], tmp_path: Path, base: str
) -> None:
    run, _ = plain

    def renamed(user: UserData) -> UserData:
        name = f"x{user.user_id}"
        pairs = (one.model_copy(update={"user_id": name, "pair_id": f"x{one.pair_id}"}) for one in user.pairs[::-1])
        return user.model_copy(update={"user_id": name, "pairs": tuple(pairs)})

    named = [renamed(user) for user in people()[::-1]]
    other = made(tmp_path, base, named)
    for path in other.do("reward_model"):
        same = Path(run.plan.run, path.relative_to(other.plan.run))
        for name in ("card.json", "weights.safetensors"):
            assert path.with_name(name).read_bytes() == same.with_name(name).read_bytes()


def test_nothing_of_a_judged_or_validation_user_is_learned(
    plain: tuple[Made, list[JudgedUser]], tmp_path: Path, base: str
) -> None:
    run, _ = plain
    for place, part in enumerate(("other", "train")):
        turned = flipped(people(), lambda user, _, part=part: (user.user_split == "train") == (part == "train"))  # type: ignore[misc]
        other = made(tmp_path / str(place), base, turned, methods=["pref_ft"])
        (card,) = other.do("reward_model")
        same = Path(run.plan.run, card.relative_to(other.plan.run)).with_name("weights.safetensors")
        assert (card.with_name("weights.safetensors").read_bytes() == same.read_bytes()) == (part == "other")


def test_all_but_test_learns_context_and_validation_pairs(tmp_path: Path, base: str) -> None:
    run = made(tmp_path, base, people(), methods=["pref_ft"], regime="all-but-test")
    (card,) = run.do("reward_model")
    said = json.loads(card.read_text())
    assert (said["train_users"], said["train_pairs"], said["windows"]) == (16, 16 * 6, 64)


def test_users_with_too_few_votes_for_the_published_windows_are_named(tmp_path: Path, base: str) -> None:
    run = made(tmp_path, base, people(), methods=["pref_ft"], hyper={"pref_ft": FEW | {"windows": 0, "shots": 8}})
    with pytest.raises(DataError, match="no user to learn from has the 10 votes of a window of 8 shots; set windows"):
        run.do("reward_model")


@pytest.mark.parametrize("method", ["pref_ft", "fspo"])
def test_each_stage_learns_what_was_chosen(method: str, base: str) -> None:
    pairs = people()[0].pairs
    hyper = read_hyper(method, {**FEW, "windows": 18, "epochs": 4, "lr": 0.05})
    with fspo.open_new(PolicySettings(base, dtype="float32"), hyper.weights, 0, method, []) as model:
        fspo.fit(model, [fspo.Taught(pairs)], [], hyper, 0, Run())
        found = model.adapt(pairs)(pairs)
    # Nats by which the model prefers chosen answers more than at its start.
    assert sum(found) > 5


def test_descriptions_are_learned_from_planted_tastes(tmp_path: Path, base: str) -> None:
    tastes = {f"u{n}": "w1 w3" if n % 2 else "w0 w2" for n in range(16)}
    # One train user has none, and is left out.
    users = [one.model_copy(update={"planted_taste": tastes[one.user_id]}) for one in people()]
    users[0] = users[0].model_copy(update={"planted_taste": None})
    methods = ["fspo_description", "fspo_oracle"]
    run = made(tmp_path / "a", base, users, methods=methods)
    rows = run.rows()
    cards = {Path(path).parts[-3]: json.loads(Path(path).read_text()) for path in run.plan.paths("reward_model")}
    assert set(cards) == {"pref_ft_description", "fspo_description"}
    assert {card["train_users"] for card in cards.values()} == {3}
    # Answers, and descriptions wherever there are votes to describe.
    assert 12 < cards["pref_ft_description"]["texts"] < 24
    assert cards["fspo_description"]["choices"] == 12
    assert {row.method for row in rows if row.user_id == "u4" and row.status == "ok"} == set(methods)
    described, told = by_method(rows, methods[0]), by_method(rows, methods[1])
    assert described.keys() != told.keys()
    # Test users without a taste have a description, and nothing to be told.
    bare = [one if one.user_split == "train" else one.model_copy(update={"planted_taste": None}) for one in users]
    found = made(tmp_path / "b", base, bare, methods=methods).rows()
    assert {row.status for row in found if row.user_id == "u4" and row.method == methods[1]} == {"not_applicable"}
    assert by_method(found, methods[0]) == described
    with pytest.raises(DataError, match="no pair whose user has a planted taste to learn from in regime unseen"):
        made(tmp_path / "c", base, people(), methods=methods).do("reward_model")


def test_weights_of_another_data_set(tmp_path: Path, base: str) -> None:
    sets = {"datasets": {name: {"path": "votes.jsonl", "shards": 1} for name in ("d", "real")}}
    entry = {"methods": ["pref_ft", "bt", "frozen_bt"], "train_on_dataset": "d", "datasets": ["real"]}
    run = made(tmp_path, base, people(), more=sets, **entry)
    write(run, "d", people())
    copies = [one.model_copy(update={"user_id": f"r{one.user_id}", "dataset": "real"}) for one in people()]
    real = [asking_otherwise(one) for one in copies]
    write(run, "real", real)
    rows = run.rows()
    assert {row.judge_model for row in rows} == {"tiny (unseen, trained on d)"}
    # Whatever part of the user split they are in, nothing was learned from them.
    assert {row.status for row in rows} == {"ok"}
    assert len({row.user_id for row in rows}) == 16
    cards = [json.loads(Path(path).read_text()) for path in run.plan.paths("reward_model")]
    assert {card["dataset"] for card in cards} == {"d"}
    write(run, "real", [*real[:3], real[3].model_copy(update={"user_id": "u9"})])
    with pytest.raises(DataError, match="data set real, user u9: has the name of a user of d, whose"):
        run.do("score")
    # Nothing was learned from test users of the source, who may be judged once more.
    apart = [one.model_copy(update={"dataset": "real"}) for one in people() if one.user_split == "test"]
    write(run, "real", apart)
    run.do("score")
    # The same votes under other names, those that were changed a little included.
    shouted = [one.model_copy(update={"chosen": f"{one.chosen.upper()}!"}) for one in copies[3].pairs]
    write(run, "real", [*real[:3], copies[3].model_copy(update={"pairs": tuple(shouted)})])
    with pytest.raises(DataError, match="data set real, user ru3, pair p3 6: user u3 voted on the same answers in d"):
        run.do("score")


def test_test_users_of_the_source_are_learned_from_in_the_other_regime() -> None:
    apart = [one.model_copy(update={"dataset": "real"}) for one in people() if one.user_split == "test"]
    few_shot.refuse_trained(apart, people(), "unseen")
    with pytest.raises(DataError, match="has the name of a user of d"):
        few_shot.refuse_trained(apart, people(), "all-but-test")


def test_votes_that_training_left_out_are_no_reason_to_refuse() -> None:
    users = people()
    train, test = (next(one for one in users if one.user_split == part) for part in ("train", "test"))
    same = train.pairs[0].model_copy(update={"context": test.part("test")[0].context})
    same = same.model_copy(update={side: getattr(test.part("test")[0], side) for side in ("chosen", "rejected")})
    source = [train.model_copy(update={"pairs": (same, *train.pairs[1:])}), test]
    again = test.model_copy(update={"dataset": "real"})
    few_shot.refuse_trained([again], source, "unseen", hidden_pairs(source, "unseen"))
    # Where the source does not judge the user, or did not once filters had taken the pair away, the vote was learned.
    for judged in (source[:1], [source[0], test.model_copy(update={"pairs": test.pairs[:1]})]):
        with pytest.raises(DataError, match="voted on the same answers in d"):
            few_shot.refuse_trained([again], source, "unseen", hidden_pairs(judged, "unseen"))


def test_what_filters_took_away_was_learned_and_hides_nothing(tmp_path: Path, base: str) -> None:
    sets = {"datasets": {name: {"path": "votes.jsonl", "shards": 1} for name in ("d", "real")}}
    run = made(tmp_path, base, [], more=sets, methods=["pref_ft"], train_on_dataset="d", datasets=["real"])
    train, test = (next(one for one in people() if one.user_split == part) for part in ("train", "test"))
    # A vote of a train user, and a test pair of a user who is judged there, on the answers of a test pair here.
    same = test.part("test")[0]
    other = same.model_copy(update={"user_id": train.user_id, "pair_id": "same", "split": "context"})
    before = [train.model_copy(update={"pairs": (*train.pairs, other)}), test]
    after = [train, test.model_copy(update={"pairs": test.pairs[:1]})]
    people_here = [test.model_copy(update={"user_id": "r", "dataset": "real"})]
    files = {name: tmp_path / f"{name}.jsonl" for name in ("before", "after", "here")}
    for name, users in (("before", before), ("after", after), ("here", people_here)):
        write_records(files[name], users)
    with pytest.raises(DataError, match=f"user r, pair {same.pair_id}: user {train.user_id} voted on the same answers"):
        score_stage(
            run.job,
            users=files["here"],
            models=[],
            out=tmp_path / "out",
            dataset="real",
            reward="tiny",
            trained=[files["after"]],
            unfiltered=[files["before"]],
        )


def asking_otherwise(user: UserData) -> UserData:
    """The user with other questions, so that the votes are other ones."""
    asked = [Turn(role="user", content=f"Another question: {one.context[0].content}") for one in user.pairs]
    pairs = zip(user.pairs, asked, strict=True)
    return user.model_copy(update={"pairs": tuple(one.model_copy(update={"context": (turn,)}) for one, turn in pairs)})


def write(run: Made, dataset: str, users: list[UserData]) -> None:
    (path,) = run.plan.shard_paths(dataset)
    write_records(Path(path), users)


def test_another_user_is_the_next_one_in_an_order_of_texts() -> None:
    users = people()
    found = few_shot.other_users(users, "unseen", all_judged=False)
    assert set(found) == {user.user_id for user in users if user.user_split == "test"}
    shown = {name: other.user_id for name, other in found.items()}
    assert all(name != other for name, other in shown.items())
    assert set(shown) == set(shown.values())
    mixed = random.Random(1).sample(users, len(users))
    assert few_shot.other_users(mixed, "unseen", all_judged=False) == found
    assert set(few_shot.other_users(users, "unseen", all_judged=True)) == {user.user_id for user in users}
    # What is judged does not decide it.
    turned = flipped(users, lambda _, one: one.split == "test")
    again = few_shot.other_users(turned, "unseen", all_judged=False)
    assert {name: other.user_id for name, other in again.items()} == shown
    # Nobody is another user to oneself.
    assert few_shot.other_users(users[:1], "all-but-test", all_judged=False) == {}


def test_a_killed_second_stage_ends_with_the_same_weights(
    plain: tuple[Made, list[JudgedUser]], tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made(tmp_path, base, people())
    monkeypatch.setattr(few_shot, "CHECKPOINT_S", 0.0)
    run.do("reward_model", method="pref_ft")
    killed = Killed(monkeypatch, policy_fit._Trainer, 2, torn=False)
    killed.run(run.do, "reward_model", method="fspo")
    checkpoints = Path(run.plan.run, "checkpoints")
    assert [path.name for path in checkpoints.iterdir()] == ["d-tiny-fspo-0"]
    (found,) = run.do("reward_model", method="fspo")
    assert killed.steps == [2, 3]
    wanted = Path(plain[0].plan.run, found.relative_to(run.plan.run))
    names = ("card.json", "weights.safetensors")
    assert all(found.with_name(name).read_bytes() == wanted.with_name(name).read_bytes() for name in names)
    assert not list(checkpoints.iterdir())
