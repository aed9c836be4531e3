"""What prompts show of a user's votes: which of them, how many, and descriptions; without weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

from support.reward_runs import people

from personalrm.core.records import PreferencePair
from personalrm.methods.registry import METHODS
from personalrm.methods.reward import fspo
from personalrm.methods.reward.few_shot_settings import RECIPES


class Recorded:
    """A policy that knows texts by their words, and takes so many of them."""

    tuning, limit = None, 75

    def __init__(self) -> None:
        self.asked: list[fspo.Text] = []
        self.described: list[str] = []

    def tokens(self, text: fspo.Text) -> Any:  # noqa: ANN401
        from personalrm.train.texts import Tokens

        words = f"{text.prompt} {text.completion}".split()
        return Tokens(tuple(range(min(len(words), self.limit))), 1, len(words) > self.limit, False)

    def log_probs(self, texts: Sequence[fspo.Text]) -> Any:  # noqa: ANN401
        self.asked += texts
        return torch.zeros(len(texts)).double().numpy()

    def generate(self, prompts: Sequence[str], **_more: object) -> Any:  # noqa: ANN401
        from personalrm.train.policy_settings import Generated

        self.described += prompts
        return [Generated(" likes lists ", False) for _ in prompts]


def test_the_oldest_votes_are_dropped_where_a_prompt_is_full() -> None:
    user = people()[4]
    context, target = user.part("context"), user.part("test")[0]
    model = fspo.FewShot(Recorded(), RECIPES["fspo"])  # type: ignore[arg-type]
    said = model.prompt(context, target)
    kept = [one for one in context if one.chosen in said]
    assert kept == list(context[-len(kept) :])
    assert 0 < len(kept) < len(context)
    assert dict(model.seen) == {"prompts": 1, "shots": len(kept), "shots_dropped": len(context) - len(kept)}
    # The longer answer of the two decides for both.
    longer = target.model_copy(update={"rejected": "w1 " * 20})
    assert model.prompt(context, longer) == model.prompt(context, longer.model_copy(update={"chosen": longer.rejected}))


def test_a_verdict_says_how_many_votes_its_prompt_shows() -> None:
    user = people()[4]
    context, test = user.part("context"), user.part("test")
    # One has a longer answer, and less room. A vote on the answers that are judged is not shown, either.
    test = (test[0], test[1].model_copy(update={"rejected": "w1 " * 20}), test[2])
    copy = test[2].model_copy(update={"pair_id": "another user's", "order": -1})
    model = fspo.FewShot(Recorded(), RECIPES["fspo"])  # type: ignore[arg-type]
    reward = model.adapt((copy, *context[-2:]))
    shown = [len(model.fitting((copy, *context[-2:]), one)) for one in test]
    found = METHODS["fspo"].judge(reward, test)  # type: ignore[operator]
    assert shown == [2, 1, 2]
    assert [(one.shots, one.shots_dropped) for one in found] == [(2, 1), (1, 2), (2, 1)]
    assert [one.log_odds for one in found] == list(reward(test))
    # Methods that show no votes have neither.
    (alone,) = METHODS["fspo_no_shots"].judge(model.adapt(()), test[:1])  # type: ignore[operator]
    assert "shots" not in alone.model_dump_json()


def test_a_vote_on_the_same_answers_is_not_shown() -> None:
    user = people()[4]
    target = user.part("test")[0]
    copy = target.model_copy(update={"pair_id": "another user's", "user_id": "v"})
    model = fspo.FewShot(Recorded(), RECIPES["fspo"])  # type: ignore[arg-type]
    assert model.prompt((copy,), target) == fspo.answer_prompt((), target.context)


def test_a_description_is_written_once_from_the_votes_and_then_shown() -> None:
    user = people()[4]
    shots, test = user.part("context")[:1], user.part("test")
    policy = Recorded()
    model = fspo.FewShot(policy, RECIPES["fspo_description"])  # type: ignore[arg-type]
    model.adapt(shots)(test)
    assert policy.described == [fspo.description_prompt(shots)]
    assert policy.asked[0].prompt == fspo.answer_prompt(shots, test[0].context, "likes lists")
    # A vote that may show the choice of a judged pair is in no description that stands before this pair.
    copy = test[0].model_copy(update={"pair_id": "another user's", "order": 9})
    policy.described, policy.asked = [], []
    model.adapt((*shots, copy))(test)
    assert policy.described == [fspo.description_prompt(shots), fspo.description_prompt((*shots, copy))]
    assert policy.asked[0].prompt == fspo.answer_prompt(shots, test[0].context, "likes lists")
    del policy.described[1:]
    # What is shown leaves room for it.
    several = user.part("context")
    two = policy.tokens(fspo.Text(fspo.description_prompt(several[-2:]), ""))
    policy.limit = len(two.ids)
    assert model.description_prompt(several) == fspo.description_prompt(several[-1:])
    policy.limit = 75
    # Told the truth, it writes none.
    model.adapt(shots, "planted")(test)
    assert len(policy.described) == 1
    assert policy.asked[-12].prompt == fspo.answer_prompt(shots, test[0].context, "planted")


def test_answers_are_generated_by_the_prompts_of_the_training() -> None:
    user, policy = people()[4], Recorded()
    context, asked = user.part("context"), [one.context for one in user.part("test")]

    def prompts(method: str, shots: Sequence[PreferencePair], said: str = "") -> list[str]:
        policy.described = []
        fspo.FewShot(policy, RECIPES[method]).answers([fspo.Question(shots, one, said) for one in asked], 30)  # type: ignore[arg-type]
        return policy.described

    def shown(shots: Sequence[PreferencePair], said: str = "") -> list[str]:
        return [fspo.answer_prompt(shots, one, said) for one in asked]

    # As many of the latest votes as leave room for 30 tokens.
    policy.limit = 30 + len(policy.tokens(fspo.Text(shown(context[-2:])[0], "")).ids)
    assert prompts("fspo", context) == shown(context[-2:])
    policy.limit = 500
    assert prompts("fspo", context[:1], "planted") == shown(context[:1], "planted")
    assert prompts("ipo", context) == shown(())
    # One description for all questions of a user.
    described = shown(context[:1], "likes lists")
    assert prompts("fspo_description", context[:1]) == [fspo.description_prompt(context[:1]), *described]
