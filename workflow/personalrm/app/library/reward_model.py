"""RewardModel: a reward model that a run trained on frozen features, as an object that scores answers for a user."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from personalrm.app.library.data import Answer, Context, Votes, answers_of, one_answer, usable_pairs
from personalrm.app.library.reward import Completion, comparisons, completion_text
from personalrm.core.errors import ConfigError, DataError
from personalrm.core.extras import require_extra
from personalrm.train import CARD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from personalrm.core.records import PreferencePair, Turn
    from personalrm.methods.reward.base import RewardMethod
    from personalrm.train.checkpoint import Fitted
    from personalrm.train.encoders import Encoder
    from personalrm.train.features import Pairs

    Text = tuple[tuple[Turn, ...], str]


class RewardModel:
    """A trained reward model with its encoder; made by `load`.

    All users have the reward of a user without votes until `adapt` gives it votes.
    """

    def __init__(self, fitted: Fitted, method: RewardMethod[Any, Any], encoder: Encoder, votes: Pairs) -> None:
        self._fitted, self._method, self._encoder, self._votes = fitted, method, encoder, votes
        self._state = method.adapt(fitted, votes)

    @classmethod
    def load(
        cls, path: Path | str, *, base: Path | str | None = None, device: str = "cpu", threads: int | None = None
    ) -> Self:
        """The model of a folder `reward_models/<data set>/<entry>/<method>/<seed>` of a run. Needs the extra `train`.

        Args:
            path: the folder, with `weights.safetensors` and `card.json`.
            base: where the base model is now, if it is not where the run found it.
            device: where the base model computes, as torch names it.
            threads: of torch, in the whole process; None leaves their number as it is.

        Raises:
            DataError: the folder has no weights of a reward model on frozen features, or they are damaged.
            ConfigError: the extra is missing; the base is not found, or is not the one whose features the weights are
                for.
        """
        require_extra("train", "RewardModel")
        from personalrm.methods.reward.load import REWARD_METHODS, reward_method
        from personalrm.train.checkpoint import Fitted
        from personalrm.train.encoders import EncoderSettings, open_encoder

        folder = Path(path)
        fitted = Fitted.load(folder)
        cards: Sequence[Mapping[str, Any]] = fitted.card.get("features") or ()
        if not cards or fitted.card.get("method") not in REWARD_METHODS:
            known = json.dumps({name: fitted.card.get(name) for name in ("method", "base")})
            raise DataError(f"{folder / CARD}: is of no reward model on frozen features ({known})")
        settings = {**cards[0]["encoder"], "device": device} | ({} if base is None else {"base": str(base)})
        with ExitStack() as opening:
            encoder = opening.enter_context(open_encoder(EncoderSettings(**settings), threads=threads))
            if encoder.card["base"] != cards[0]["base"]:
                raise ConfigError(
                    f"{folder}: was trained on features of the base {cards[0]['base']}, and {settings['base']} is now "
                    f"{encoder.card['base']}; give the base that it was trained with (base=…)"
                )
            kept = opening.pop_all()
        method = reward_method(fitted.card["method"])
        made = cls(fitted, method, encoder, _no_votes(encoder))
        # Files of a base may be unpacked for as long as its encoder is used.
        weakref.finalize(encoder, kept.close)
        return made

    def __repr__(self) -> str:
        card = self._fitted.card
        seen = f"{card['train_pairs']} pairs of {card['train_users']} users"
        mine = f"{len(self._votes)} votes of a user" if len(self._votes) else "no votes of a user"
        return f"RewardModel({self._method.name!r}, trained on {seen}, {mine})"

    @property
    def card(self) -> dict[str, Any]:
        """How the weights were trained: method, hyper-parameters, seed, regime, users and pairs, curve."""
        return dict(self._fitted.card)

    @property
    def adapts(self) -> bool:
        """Whether a user's votes change the rewards. `frozen_bt` has one reward for all users."""
        return self._method.adapts

    def adapt(self, votes: Votes) -> Self:
        """The model of the user with these votes; no weight changes, and this object stays as it is.

        Rows with equal answers, repeated rows and ties are left out, as in `fit` of the library's judges. Raises
        DataError for a wrong row.
        """
        from personalrm.train.features import encode_pairs

        pairs = usable_pairs(votes, "votes", "user").pairs
        encoded = encode_pairs(self._encoder, pairs)[0] if pairs else _no_votes(self._encoder)
        return type(self)(self._fitted, self._method, self._encoder, encoded)

    def score(self, context: Context, answers: Iterable[Answer], votes: Votes | None = None) -> list[float]:
        """The reward of each answer to the conversation, for the user with these votes (None: those of `adapt`).

        Differences of rewards are log-odds of the one answer being preferred (of PAL-A and `dist`, distances). The
        methods `gpo` and `gpo_pairs` compare answers and rate none alone: their reward is the mean log-odds against
        the other answers, and needs two. Raises DataError for an answer or context that cannot be read, and for one
        answer alone where it has to be compared.
        """
        if votes is not None:
            return self.adapt(votes).score(context, answers)
        texts = [one_answer(context, answer, f"answers[{place}]") for place, answer in enumerate(answers_of(answers))]
        if self._method.rewards is not None:
            return self._rated(texts)
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
        if self._method.rewards is None:
            return self._compared(prompts, completions, reference)
        texts = _texts(prompts, completions, "completions")
        if reference is None:
            return self._rated(texts)
        # All at once: equal texts are read once, so that a completion that is its reference has the reward 0.
        found = self._rated([*texts, *_texts(prompts, reference, "reference")])
        return [one - other for one, other in zip(found[: len(texts)], found[len(texts) :], strict=True)]

    def _rated(self, texts: Sequence[Text]) -> list[float]:
        assert self._method.rewards is not None, "of a method that rates answers"
        features: NDArray[Any] = self._encoder.encode(texts).features
        found: list[float] = self._method.rewards(self._fitted, self._state, features).tolist()
        return found

    def _compared(
        self, prompts: Sequence[Any], completions: Sequence[Completion], reference: Sequence[Completion] | None
    ) -> list[float]:
        compared = comparisons(prompts, completions, reference, "user")
        return compared.rewards(self._margins(compared.pairs))

    def _margins(self, pairs: Sequence[PreferencePair]) -> dict[str, float]:
        from personalrm.train.features import encode_pairs

        if not pairs:
            return {}
        encoded, _ = encode_pairs(self._encoder, pairs)
        odds = self._method.log_odds(self._fitted, self._state, encoded)
        return dict(zip(encoded.ids, odds.tolist(), strict=True))


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


def _no_votes(encoder: Encoder) -> Pairs:
    import numpy as np

    from personalrm.train.features import Pairs

    nothing = np.zeros((0, encoder.dim), dtype=np.float32)
    return Pairs((), nothing, nothing)
