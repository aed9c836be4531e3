"""A trained reward model as an object: its scores are those of the run, for users with and without votes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

from support.reward_runs import Made, odds, people
from support.tiny_models import tiny_llama

from personalrm import RewardModel
from personalrm.app.library.data import usable_pairs
from personalrm.core.errors import ConfigError, DataError
from personalrm.core.records import PreferencePair, Profile, UserData, read_records, write_records
from personalrm.methods.reward.base import TrainingData
from personalrm.methods.reward.few_shot_settings import FEW_SHOT, trainings_of
from personalrm.methods.reward.load import REWARD_METHODS, reward_method
from personalrm.train.checkpoint import Fitted
from personalrm.train.encoders import EncoderSettings, open_encoder
from personalrm.train.features import encode_pairs
from personalrm.train.trainer import Run

TURNS = [{"role": "user", "content": "w1 w2"}]
ANSWERS = ["w3 w5", "w4 w6 w8", "w7"]
HYPER: dict[str, dict[str, Any]] = {
    "user_map": {"penalty": 1.0, "penalties": (1.0,)},
    "gpo": {"width": 8, "depth": 1, "layers": 1, "heads": 2, "steps": 3, "context": 4, "targets": 2},
    "gpo_pairs": {"width": 8, "depth": 1, "layers": 1, "heads": 2, "steps": 3, "context": 4, "targets": 2},
    "frozen_bt": {},
    "lore": {"k": 2, "steps": 4, "adapt_steps": 3},
    "vpl": {"latent": 4, "hidden": 8, "steps": 2},
    "pal_a": {"k": 2, "width": 4, "steps": 2},
}


def votes(*, odd: bool, count: int = 6) -> list[dict[str, Any]]:
    """Votes for odd words, or for even ones."""
    made = []
    for n in range(count):
        sides = [f"w{(7 * n + 4) % 30 * 2 + one} w{(5 * n + 1) % 30 * 2 + one}" for one in (1, 0)]
        chosen, rejected = sides if odd else sides[::-1]
        made.append({"context": TURNS, "chosen": chosen, "rejected": rejected})
    return made


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each method, as the workflow writes them."""
    folder = tmp_path_factory.mktemp("models")
    base = tiny_llama(folder / "base")
    torch.set_num_threads(1)
    with open_encoder(EncoderSettings(base=base, dtype="float32"), threads=1) as encoder:
        people = [encode_pairs(encoder, usable_pairs(votes(odd=bool(n % 2)), "v", f"u{n}").pairs)[0] for n in range(6)]
        for name, hyper in HYPER.items():
            method = reward_method(name)
            fitted = method.fit(TrainingData.of(people), method.hyper(**hyper), 0, Run())
            fitted.card["features"] = [encoder.card]
            fitted.save(folder / name)
    return folder


def test_scores_are_those_of_the_method_on_the_same_features(saved: Path) -> None:
    model = RewardModel.load(saved / "user_map", threads=1)
    method, mine = reward_method("user_map"), votes(odd=True)
    with open_encoder(EncoderSettings(base=str(saved / "base"), dtype="float32"), threads=1) as encoder:
        context = encode_pairs(encoder, usable_pairs(mine, "v", "x").pairs)[0]
        features = encoder.encode([(usable_pairs(mine, "v").pairs[0].context, text) for text in ANSWERS]).features
    fitted = Fitted.load(saved / "user_map")
    wanted = method.rewards(fitted, method.adapt(fitted, context), features)  # type: ignore[misc]
    assert model.score(TURNS, ANSWERS, mine) == pytest.approx(wanted.tolist(), abs=1e-5)
    # One user's votes change nothing for others, and several forms of a conversation are the same.
    plain = model.score("w1 w2", [{"role": "assistant", "content": text} for text in ANSWERS])
    assert plain == model.score(TURNS, ANSWERS)
    assert plain != model.score(TURNS, ANSWERS, votes(odd=False)) != model.score(TURNS, ANSWERS, mine)
    assert model.adapt(mine).score(TURNS, ANSWERS) == model.score(TURNS, ANSWERS, mine)
    assert "trained on 36 pairs of 6 users, no votes" in repr(model)
    assert "6 votes of a user" in repr(model.adapt(mine))


def test_a_method_without_adaptation_has_one_reward_for_all(saved: Path) -> None:
    model = RewardModel.load(saved / "frozen_bt", threads=1)
    assert not model.adapts
    assert model.score(TURNS, ANSWERS, votes(odd=True)) == model.score(TURNS, ANSWERS)


def test_rewards_in_the_form_of_trl(saved: Path) -> None:
    model = RewardModel.load(saved / "user_map", threads=1).adapt(votes(odd=True))
    scores = model.score(TURNS, ANSWERS)
    assert model.reward([TURNS] * 3, ANSWERS, completion_ids=[[1]] * 3) == scores
    said = [[{"role": "assistant", "content": text}] for text in ANSWERS]
    against = model.reward([TURNS] * 3, said, reference=[ANSWERS[0]] * 3)
    assert against == pytest.approx([one - scores[0] for one in scores])
    assert model.reward([], []) == []
    assert model.reward.__name__ == "reward"
    with pytest.raises(DataError, match="3 completions for 1 prompts"):
        model.reward([TURNS], ANSWERS)
    with pytest.raises(DataError, match=r"^completions\[1\]: is int"):
        model.reward([TURNS] * 2, ["w1", 3])  # type: ignore[list-item]


def test_a_method_that_compares_answers_rewards_them_by_comparison(saved: Path) -> None:
    model = RewardModel.load(saved / "gpo_pairs", threads=1).adapt(votes(odd=True))
    scores = model.score(TURNS, ANSWERS)
    assert sum(scores) == pytest.approx(0, abs=1e-6)
    assert np.abs(scores).min() > 0
    assert model.reward([TURNS] * 3, ANSWERS) == scores
    with pytest.raises(DataError, match=r"completions\[0\]: is the only one of its prompt"):
        model.score(TURNS, ANSWERS[:1])


def test_gpo_rates_an_answer_alone_and_the_docstring_names_what_does_not(saved: Path) -> None:
    model = RewardModel.load(saved / "gpo", threads=1).adapt(votes(odd=True))
    alone = [model.score(TURNS, [answer])[0] for answer in ANSWERS]
    assert alone == pytest.approx(model.score(TURNS, ANSWERS), abs=1e-5)
    assert np.ptp(alone) > 1e-4
    named = set(re.findall(r"`(\w+)`", str(RewardModel.score.__doc__))) & {*REWARD_METHODS, *FEW_SHOT}
    assert named & {*REWARD_METHODS} == {name for name in REWARD_METHODS if reward_method(name).rewards is None}
    # Of few-shot preference optimisation, all trained models compare: each is named, or begins as one that is.
    assert all(name.startswith(tuple(named)) for name in FEW_SHOT if trainings_of(name))


def test_what_cannot_be_used_is_named(saved: Path, tmp_path: Path) -> None:
    model = RewardModel.load(saved / "frozen_bt", threads=1)
    with pytest.raises(DataError, match=r"^answers\[1\], answer\.content: is missing"):
        model.score(TURNS, ["w1", {"role": "assistant"}])
    with pytest.raises(DataError, match="answers: is one answer"):
        model.score(TURNS, "w1")
    with pytest.raises(DataError, match="no trained weights"):
        RewardModel.load(tmp_path)
    other = tiny_llama(tmp_path / "base", template=None)
    with pytest.raises(ConfigError, match=r"trained on features of the base folder .*; give the base"):
        RewardModel.load(saved / "frozen_bt", base=other)
    card = saved / "frozen_bt" / "card.json"
    for name in ("card.json", "weights.safetensors"):
        (tmp_path / name).write_bytes(card.with_name(name).read_bytes())
    known = json.loads(card.read_text(encoding="utf-8"))
    wrong: list[dict[str, Any]] = [
        {"method": "sft"},
        {"method": "bt", "features": []},
        {"method": ["bt"]},
        {"features": [{}]},
        {"features": 3},
        {"features": [], "base_settings": 3},
    ]
    for entry in wrong:
        (tmp_path / "card.json").write_text(json.dumps(known | entry), encoding="utf-8")
        said = re.escape(json.dumps((known | entry)["method"]))
        with pytest.raises(DataError, match=rf'card\.json: is of no reward model .*"method": {said}.*run again'):
            RewardModel.load(tmp_path)
    for field, said in (("bits", "bits is unknown"), ("dtype", "dtype is 'int4': Input should be 'bfloat16'")):
        features = [{**known["features"][0], "encoder": known["features"][0]["encoder"] | {field: "int4"}}]
        (tmp_path / "card.json").write_text(json.dumps(known | {"features": features}), encoding="utf-8")
        with pytest.raises(DataError, match=rf"card\.json: settings of the base: {said}.*; load it with the version"):
            RewardModel.load(tmp_path)
    (tmp_path / "card.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(DataError, match="no trained weights"):
        RewardModel.load(tmp_path)
    with pytest.raises(ConfigError, match="persona: frozen_bt reads none"):
        model.adapt(persona="w1")
    with pytest.raises(ConfigError, match="persona: is list; give its text"):
        model.adapt(persona=["w1"])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="threads: is 0; give at least 1"):
        RewardModel.load(saved / "frozen_bt", threads=0)


@pytest.mark.parametrize("method", HYPER)
def test_weights_and_a_card_that_do_not_belong_together_are_refused(method: str, saved: Path, tmp_path: Path) -> None:
    RewardModel.load(saved / method, threads=1)
    known = json.loads((saved / method / "card.json").read_text(encoding="utf-8"))
    own = (saved / method / "weights.safetensors").read_bytes()
    # `gpo` and `gpo_pairs` have networks of one kind, and the weights of `frozen_bt` are part of those of `user_map`.
    foreign = {"frozen_bt": "gpo", "user_map": "lore"}.get(method, "frozen_bt")
    wrong: list[tuple[dict[str, Any], bytes]] = [
        (known, (saved / foreign / "weights.safetensors").read_bytes()),
        (known | {"method": "pal_a" if method != "pal_a" else "vpl"}, own),
        (known | {"dim": 7}, own),
        ({name: value for name, value in known.items() if name != "dim"}, own),
    ]
    if method != "frozen_bt":
        wrong.append(({name: value for name, value in known.items() if name not in ("hyper", "penalty")}, own))
    for card, weights in wrong:
        (tmp_path / "card.json").write_text(json.dumps(card), encoding="utf-8")
        (tmp_path / "weights.safetensors").write_bytes(weights)
        with pytest.raises(
            DataError, match=rf"^{tmp_path}: weights and card do not belong together as '{card['method']}'"
        ):
            RewardModel.load(tmp_path)


PERSONAS = {f"u{n}": "w1 w3" if n % 2 else "w0 w2" for n in range(6)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, dict[tuple[str, str, str, int, str], float]]:
    """A run of models that are tuned, and the log-odds of its verdicts. Profiles hold a persona and a pair."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    users = [user.model_copy(update={"planted_taste": PERSONAS[user.user_id]}) for user in people(6)]
    more: dict[str, Any] = {"models": {"m": {"model": "m", "api_base": "http://127.0.0.1:9/v1"}}}
    more |= {"learn": {"models": ["m"]}, "k": ["all"], "draws": 1}
    methods = ["bt", "bt_both", "bt_oracle", "ipo", "fspo", "fspo_description"]
    base = tiny_llama(folder / "base", tokens=160)
    made = Made(folder, base, users, more=more, methods=methods, seeds=[0])
    for job in made.plan.jobs("profile"):
        rows = map(profile, read_records(Path(made.plan.users(job)), UserData))
        write_records(Path(made.plan.path("profile", **job._asdict())), rows)
    return made, odds(made.rows())


def profile(user: UserData) -> Profile:
    demonstration = {"pair": user.part("context")[1], "swapped": False}
    named = {"dataset": "d", "user_id": user.user_id, "model": "m", "variant": "corrected", "k": "all", "draw": 0}
    known = {"persona": PERSONAS[user.user_id], "demonstrations": [demonstration]}
    return Profile.model_validate({**named, "status": "ok", **known})


def items(pairs: tuple[PreferencePair, ...]) -> list[dict[str, Any]]:
    return [one.model_dump(mode="json", include={"context", "chosen", "rejected"}) for one in pairs]


@pytest.mark.parametrize(
    ("method", "k", "known"),
    [
        ("bt", "None", {}),
        ("bt_oracle", "None", {"persona": "w0 w2"}),
        ("bt_both", "all", {"persona": "w0 w2", "votes": slice(1, 2)}),
        ("ipo", "None", {}),
        ("fspo", "all", {"votes": slice(None)}),
        ("fspo_description", "all", {"votes": slice(None)}),
    ],
)
def test_scores_of_a_tuned_model_are_the_verdicts_of_the_run(
    method: str,
    k: str,
    known: dict[str, Any],
    run: tuple[Made, dict[tuple[str, str, str, int, str], float]],
) -> None:
    made, verdicts = run
    model = RewardModel.load(Path(made.plan.run, "reward_models/d/tiny", method, "0"), threads=1)
    user = people()[4]
    said: dict[str, Any] = {
        "persona": known.get("persona"),
        "votes": items(user.part("context")[known.get("votes", slice(0))]),
    }
    told = model.adapt(**said)
    assert model.adapts == ("votes" in known)
    assert f"RewardModel({method!r}, trained on " in repr(told)
    assert f"{len(said['votes']) or 'no'} votes{' and a persona' if said['persona'] else ''} of a user" in repr(told)
    for pair in user.part("test"):
        context, answers = [turn.model_dump() for turn in pair.context], [pair.chosen, pair.rejected]
        wanted = verdicts["u4", method, k, 0, pair.pair_id]
        messages = [[{"role": "assistant", "content": one}] for one in answers]
        against = told.reward([context] * 2, messages, reference=answers[::-1])
        assert against == pytest.approx([wanted, -wanted], abs=1e-4)
        scores = told.score(context, answers)
        # Of a model that compares answers, each has its log-odds against the other.
        twice = 2 if "fspo" in method or method == "ipo" else 1
        assert scores[0] - scores[1] == pytest.approx(twice * wanted, abs=1e-4)
        assert (model.score(context, answers) == scores) == (not known)


def test_a_tuned_model_without_what_it_rests_on_is_refused(
    run: tuple[Made, dict[tuple[str, str, str, int, str], float]], tmp_path: Path
) -> None:
    made, _ = run
    trained = Path(made.plan.run, "reward_models/d/tiny")
    for method in ("bt", "fspo"):
        folder = tmp_path / method / "0"
        folder.mkdir(parents=True)
        for name in ("card.json", "weights.safetensors"):
            (folder / name).write_bytes((trained / method / "0" / name).read_bytes())
    with pytest.raises(DataError, match="pref_ft/0: no trained weights"):
        RewardModel.load(tmp_path / "fspo/0")
    other = tiny_llama(tmp_path / "base", template=None)
    with pytest.raises(DataError, match=r"bt/0: trained on another base .*; give the base that it was trained on"):
        RewardModel.load(tmp_path / "bt/0", base=other)
    with pytest.raises(ConfigError, match="persona: bt reads none"):
        RewardModel.load(tmp_path / "bt/0").adapt(persona="w1")
    for method in ("bt", "fspo"):
        card = tmp_path / method / "0/card.json"
        known = json.loads(card.read_text(encoding="utf-8"))
        known["base_settings"]["bits"] = 4
        card.write_text(json.dumps(known), encoding="utf-8")
        with pytest.raises(DataError, match=r"card\.json: settings of the base: bits is unknown"):
            RewardModel.load(card.parent)
