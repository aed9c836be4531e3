"""RewardModel: a reward model that a run trained, as an object that scores answers for a user."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from personalrm.app.library.data import Answer, Context, Votes, answers_of, one_answer, usable_pairs
from personalrm.app.library.reward import Completion, comparisons, completion_text
from personalrm.core.errors import ConfigError, DataError
from personalrm.core.extras import require_extra
from personalrm.core.records import Demonstration
from personalrm.judge.judge import JudgeContext
from personalrm.methods.registry import METHODS
from personalrm.methods.reward.few_shot_settings import FEW_SHOT, RECIPES, trainings_of
from personalrm.methods.reward.hyper import FINE_TUNED
from personalrm.methods.reward.load import REWARD_METHODS, reward_method
from personalrm.methods.trained import system_turn
from personalrm.train import CARD

if TYPE_CHECKING:
    from personalrm.core.records import PreferencePair, Turn
    from personalrm.methods.base import LogOdds

    Text = tuple[tuple[Turn, ...], str]
    Card = Mapping[str, Any]


class _User(NamedTuple):
    """What a model says for one user: log-odds of pairs; rewards of texts, or None where it rates no answer alone."""

    log_odds: LogOdds
    rewards: Callable[[Sequence[Text]], Sequence[float]] | None = None


@dataclass(frozen=True, eq=False)
class _Opened:
    """A trained model in memory: what it says for a user, from votes and a persona, and which of these it reads."""

    user: Callable[[Sequence[PreferencePair], str], _User]
    votes: bool
    persona: bool = False


class RewardModel:
    """A trained reward model with its base model; made by `load`.

    All users have the reward of a user of whom nothing is known until `adapt` says something of one.
    """

    def __init__(
        self, card: Card, opened: _Opened, votes: Sequence[PreferencePair] = (), persona: str | None = None
    ) -> None:
        self._card, self._opened = card, opened
        self._known = f"{len(votes) or 'no'} votes{' and a persona' if persona else ''} of a user"
        self._user = opened.user(votes, persona or "")

    @classmethod
    def load(
        cls, path: Path | str, *, base: Path | str | None = None, device: str = "cpu", threads: int | None = None
    ) -> Self:
        """The model of a folder `reward_models/<data set>/<entry>/<method>/<seed>` of a run. Needs the extra `train`.

        Args:
            path: the folder, with `weights.safetensors` and `card.json`. A model of two stages (`fspo`, `ipo`) also
                needs the folder of its first one, where the run has it: `../../pref_ft/<seed>`.
            base: where the base model is now, if it is not where the run found it.
            device: where the base model computes, as torch names it.
            threads: of torch, in the whole process; None leaves their number as it is.

        Raises:
            DataError: the folder has no weights of a reward model, or they are damaged, or are not those of the card,
                or of another base.
            ConfigError: the extra is missing; the base is not found, or is not the one whose features the weights are
                for.
        """
        require_extra("train", "RewardModel")
        from personalrm.train.checkpoint import read_card
        from personalrm.train.trainer import use_threads

        folder = Path(path)
        card = read_card(folder)
        try:
            # Features have a card for each file, all with the same encoder.
            found = dict(card["features"][0]["encoder"] if card.get("features") else card["base_settings"])
            opener = next(opener for names, opener in _OPENERS if card["method"] in names)
        except (KeyError, IndexError, TypeError, ValueError, StopIteration):
            known = json.dumps({name: card.get(name) for name in ("method", "base")})
            raise DataError(
                f"{folder / CARD}: is of no reward model that says how its base reads texts ({known}); give a folder "
                "reward_models/<data set>/<entry>/<method>/<seed> of a run; if an earlier version wrote it, delete it "
                "and run again"
            ) from None
        use_threads(threads)
        settings = {**found, "device": device} | ({} if base is None else {"base": str(base)})
        with ExitStack() as opening:
            opened = opening.enter_context(opener(folder, card, settings))
            kept = opening.pop_all()
        made = cls(card, opened)
        # Files of a base may be unpacked for as long as the model is used.
        weakref.finalize(opened, kept.close)
        return made

    def __repr__(self) -> str:
        seen = f"{self._card['train_pairs']} pairs of {self._card['train_users'] or 'unnamed'} users"
        return f"RewardModel({self._card['method']!r}, trained on {seen}, {self._known})"

    @property
    def card(self) -> dict[str, Any]:
        """How the weights were trained: method, hyper-parameters, seed, regime, users and pairs, curve."""
        return dict(self._card)

    @property
    def adapts(self) -> bool:
        """Whether a user's votes change the rewards. `frozen_bt` and `bt`, for instance, have one for all users."""
        return self._opened.votes

    def adapt(self, votes: Votes = (), *, persona: str | None = None) -> Self:
        """The model of the user with these votes and this persona; no weight changes, and this object stays as it is.

        Rows with equal answers, repeated rows and ties are left out, as in `fit` of the library's judges. `bt_both`
        reads votes as the demonstrations of a profile.

        Raises DataError for a wrong row, and ConfigError for a persona that is no text, or where the model reads none.
        """
        if persona is not None and not isinstance(persona, str):
            raise ConfigError(f"persona: is {type(persona).__name__}; give its text")
        if persona and not self._opened.persona:
            raise ConfigError(f"persona: {self._card['method']} reads none; leave it out")
        return type(self)(self._card, self._opened, usable_pairs(votes, "votes", "user").pairs, persona)

    def score(self, context: Context, answers: Iterable[Answer], votes: Votes | None = None) -> list[float]:
        """The reward of each answer to the conversation, for a user of whom these votes alone are known (None: the user
        of `adapt`).

        Differences of rewards are log-odds of the one answer being preferred (of PAL-A and `dist`, distances). The
        method `gpo_pairs`, and `pref_ft`, `fspo`, `ipo` with their variants, compare answers and rate none alone: their
        reward is the mean log-odds against the other answers, and needs two. Raises DataError for an answer or context
        that cannot be read, and for one answer alone where it has to be compared.
        """
        if votes is not None:
            return self.adapt(votes).score(context, answers)
        texts = [one_answer(context, answer, f"answers[{place}]") for place, answer in enumerate(answers_of(answers))]
        if self._user.rewards is not None:
            return list(self._user.rewards(texts))
        return self._compared([context] * len(texts), [text for _, text in texts], None)

    def reward(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Completion],
        reference: Sequence[Completion] | None = None,
        **columns: Any,  # noqa: ANN401  (of the training data)
    ) -> list[float]:
        """Rewards of completions, in the form of TRL's trainers: `reward_funcs=model.adapt(votes).reward`.

        The reward of a completion is that of `score`, minus that of the answer in the column `reference` where the
        training data have one. `columns` are ignored. Raises DataError as `score`, and for lists of different lengths.
        """
        del columns
        if self._user.rewards is None:
            return self._compared(prompts, completions, reference)
        texts = _texts(prompts, completions, "completions")
        if reference is None:
            return list(self._user.rewards(texts))
        # All at once: equal texts are read once, so that a completion that is its reference has the reward 0.
        found = self._user.rewards([*texts, *_texts(prompts, reference, "reference")])
        return [one - other for one, other in zip(found[: len(texts)], found[len(texts) :], strict=True)]

    def _compared(
        self, prompts: Sequence[Any], completions: Sequence[Completion], reference: Sequence[Completion] | None
    ) -> list[float]:
        compared = comparisons(prompts, completions, reference, "user")
        odds = self._user.log_odds(compared.pairs) if compared.pairs else ()
        return compared.rewards(dict(zip((pair.pair_id for pair in compared.pairs), odds, strict=True)))


def _texts(prompts: Sequence[Any], completions: Sequence[Completion], name: str) -> list[Text]:
    """Conversations and answers. Raises DataError for lists of different lengths, and what cannot be read."""
    if len(prompts) != len(completions):
        raise DataError(f"reward: {len(completions)} {name} for {len(prompts)} prompts; give one for each prompt")
    return [
        one_answer(prompt, completion_text(one, where), where)
        for prompt, one, where in (
            (prompt, one, f"{name}[{place}]")
            for place, (prompt, one) in enumerate(zip(prompts, completions, strict=True))
        )
    ]


@contextmanager
def _on_features(folder: Path, card: Card, settings: Mapping[str, Any]) -> Iterator[_Opened]:
    from personalrm.train.checkpoint import Fitted, base_settings
    from personalrm.train.encoders import EncoderSettings, open_encoder
    from personalrm.train.features import encode_pairs

    fitted, method = Fitted.load(folder), reward_method(card["method"])
    try:
        method.check(fitted)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error
    with open_encoder(base_settings(EncoderSettings, folder, settings), threads=None) as encoder:
        if encoder.card["base"] != (known := card["features"][0].get("base")):
            raise ConfigError(
                f"{folder}: was trained on features of the base {known}, and {settings['base']} is now "
                f"{encoder.card['base']}; give the base that it was trained with (base=…)"
            )

        def user(votes: Sequence[PreferencePair], _persona: str) -> _User:
            state = method.adapt(fitted, encode_pairs(encoder, votes)[0])

            def log_odds(pairs: Sequence[PreferencePair]) -> Sequence[float]:
                found: list[float] = method.log_odds(fitted, state, encode_pairs(encoder, pairs)[0]).tolist()
                return found

            def rewards(texts: Sequence[Text]) -> Sequence[float]:
                assert method.rewards is not None, "of a method that rates answers"
                found: list[float] = method.rewards(fitted, state, encoder.encode(texts).features).tolist()
                return found

            return _User(log_odds, rewards if method.rewards is not None else None)

        yield _Opened(user, method.adapts)


@contextmanager
def _fine_tuned(folder: Path, card: Card, settings: Mapping[str, Any]) -> Iterator[_Opened]:
    from personalrm.methods.reward.bt import open_trained
    from personalrm.train.checkpoint import base_settings
    from personalrm.train.encoders import EncoderSettings

    shows = METHODS[card["method"]].shows
    with open_trained(folder, base_settings(EncoderSettings, folder, settings)) as network:

        def user(votes: Sequence[PreferencePair], persona: str) -> _User:
            shown = votes if shows == "both" else ()
            demonstrations = [Demonstration(pair=pair, swapped=False) for pair in shown]
            system = system_turn(JudgeContext(persona, demonstrations))

            def rewards(texts: Sequence[Text]) -> Sequence[float]:
                found: list[float] = network.rewards([network.tokenise(*text, system) for text in texts]).tolist()
                return found

            return _User(network.adapt((), system), rewards)

        yield _Opened(user, shows == "both", bool(shows))


@contextmanager
def _few_shot(folder: Path, card: Card, settings: Mapping[str, Any]) -> Iterator[_Opened]:
    from personalrm.methods.reward.fspo import open_few_shot
    from personalrm.train.checkpoint import base_settings
    from personalrm.train.policy_settings import PolicySettings

    method = card["method"]
    trained = folder.resolve().parent.parent
    stages = [trained / name / folder.resolve().name for name in trainings_of(method)[:-1]]
    with open_few_shot(base_settings(PolicySettings, folder, settings), method, [*stages, folder]) as model:
        recipe = RECIPES[method]
        yield _Opened(lambda votes, persona: _User(model.adapt(votes, persona)), recipe.shots, recipe.describes)


_OPENERS: tuple[
    tuple[Collection[str], Callable[[Path, Card, Mapping[str, Any]], AbstractContextManager[_Opened]]], ...
] = (
    (REWARD_METHODS, _on_features),
    (FEW_SHOT, _few_shot),
    (FINE_TUNED, _fine_tuned),
)
"""Names of methods, and how a model of one is opened from its folder, its card and the settings of its base."""
