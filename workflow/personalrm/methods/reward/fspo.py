"""Few-shot preference optimisation: a language model learns to answer as the user prefers whose votes it is shown.

Two stages (Singh et al., 2025, section 4 and appendix A.3): the likelihood of preferred answers (Pref-FT), then
preferences (IPO, or DPO) from where the first one ended, with that model, shown the same votes, as the frozen
reference. Differs: prompts and their headings are ours; whole shots are dropped where they do not fit, the oldest
first; and where the model describes the user, the loss on descriptions is of the first stage alone.

A user's reward is the implicit one, beta (log pi(answer) - log ref(answer)), given the user's votes. For the first
stage and without training beta is 1. The reference of an untrained model is the same model without votes: what the
votes change is what counts, and not how probable a text is anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.records import PreferencePair, Turn
from personalrm.judge.prompting import load_prompt
from personalrm.methods.few_shot import Shown, VotesShown
from personalrm.methods.reward.few_shot_settings import RECIPES, FSPOHyper, PrefFTHyper, Recipe
from personalrm.methods.reward.shots import (
    PROMPT,
    STOPS,
    Pairs,
    Window,
    answer_prompt,
    apart,
    chronological,
    description_prompt,
    latest,
    windows,
)
from personalrm.train.fine_tuning import Tuned, put_weights
from personalrm.train.policy import Policy, open_policy
from personalrm.train.policy_fit import fit_choices, fit_texts
from personalrm.train.policy_settings import Choice, Generated, PolicySettings, Text, Tuning
from personalrm.train.trainer import Run

DESCRIBED = 64
"""Most tokens of a description that the model writes, or a quarter of those that it takes."""


class Taught(NamedTuple):
    """A user to learn from: pairs, and the planted taste where the model learns to describe it."""

    pairs: Pairs
    description: str = ""


class Question(NamedTuple):
    """A conversation that ends with a question, votes of the user who asks, and a description instead of the
    model's own, if any."""

    shots: Pairs
    context: tuple[Turn, ...]
    description: str = ""


@dataclass(frozen=True, eq=False)
class FewShot:
    """A language model that is shown a user's votes (`methods.base.TrainedReward`); made by `open_few_shot`.

    Attributes:
        policy: the model, with its reference.
        recipe: what prompts show.
        beta: of the implicit reward.
        seen: numbers of prompts, of shots in them, and of shots that were dropped.
    """

    policy: Policy
    recipe: Recipe
    beta: float = 1.0
    seen: Counter[str] = field(default_factory=Counter)

    def adapt(self, pairs: Sequence[PreferencePair], system: str = "") -> VotesShown:
        """The log-odds of a user with these votes. `system` describes the user instead of the model's own words,
        which it writes where the method says so."""
        shots = tuple(chronological(pairs))
        described = cache(self._described)

        def read(targets: Sequence[PreferencePair]) -> list[Shown]:
            said = [system or described(_apart(shots, one)) for one in targets]
            kept = [self.fitting(shots, one, text) for one, text in zip(targets, said, strict=True)]
            prompts = [answer_prompt(*each) for each in zip(kept, (one.context for one in targets), said, strict=True)]
            found = self._margins(prompts, targets, reference=False)
            if self.policy.tuning is None:
                prompts = [self.prompt((), one) for one in targets]
            found -= self._margins(prompts, targets, reference=self.policy.tuning is not None)
            rewards = (self.beta * found).tolist()
            counts = ((len(each), len(shots) - len(each)) for each in kept)
            return [Shown(reward, *count) for reward, count in zip(rewards, counts, strict=True)]

        return VotesShown(read)

    def prompt(self, shots: Pairs, target: PreferencePair, description: str = "") -> str:
        """The prompt of a pair, the same for both answers, with the votes of `fitting`."""
        return answer_prompt(self.fitting(shots, target, description), target.context, description)

    def fitting(self, shots: Pairs, target: PreferencePair, description: str = "") -> Pairs:
        """The latest shots that fit in the prompt of a pair, without those that may show its choice: another user may
        have voted on the same answers."""

        def fits(kept: Pairs) -> bool:
            prompt = answer_prompt(kept, target.context, description)
            both = (self.policy.tokens(Text(prompt, one)) for one in (target.chosen, target.rejected))
            return not any(one.context_cut for one in both)

        return self._latest(_apart(shots, target), fits)

    def answers(self, asked: Sequence[Question], most: int) -> list[Generated]:
        """Answers of at most `most` tokens, the most probable token each time, in the order of what is asked. Prompts
        show the votes and the description as they do where pairs are judged."""
        described = cache(self._described)
        prompts = []
        for shots, context, description in asked:
            shown = shots if self.recipe.shots else ()
            said = description or described(shown)
            prompt = partial(answer_prompt, context=context, description=said)
            prompts.append(self._with_room(prompt, shown, most))
        return self.policy.generate(prompts, max_new_tokens=most, stop=STOPS)

    def description_prompt(self, shots: Pairs) -> str:
        """The prompt of a description, with the latest shots that leave room for it."""
        return self._with_room(description_prompt, shots, self._described_tokens)

    def _with_room(self, prompt: Callable[[Pairs], str], shots: Pairs, tokens: int) -> str:
        """A prompt with the latest shots that leave room for so many tokens."""

        def fits(kept: Pairs) -> bool:
            one = self.policy.tokens(Text(prompt(kept), ""))
            return not one.context_cut and len(one.ids) + tokens <= self.policy.limit

        return prompt(self._latest(shots, fits))

    def _latest(self, shots: Pairs, fits: Callable[[Pairs], bool]) -> Pairs:
        kept = latest(shots, fits)
        self.seen.update(prompts=1, shots=len(kept), shots_dropped=len(shots) - len(kept))
        return kept

    @property
    def _described_tokens(self) -> int:
        return min(DESCRIBED, self.policy.limit // 4)

    def _described(self, shots: Pairs) -> str:
        if not (self.recipe.describes and shots):
            return ""
        prompt = self.description_prompt(shots)
        (made,) = self.policy.generate([prompt], max_new_tokens=self._described_tokens, stop=("\n",))
        return made.text.strip()

    def _margins(self, prompts: Sequence[str], targets: Sequence[PreferencePair], *, reference: bool) -> Any:  # noqa: ANN401
        """log pi(chosen) - log pi(rejected) of each, (targets,)."""
        read = self.policy.reference_log_probs if reference else self.policy.log_probs
        answers = ((prompt, one) for prompt, pair in zip(prompts, targets, strict=True) for one in _sides(pair))
        sums = read([Text(prompt, one) for prompt, one in answers])
        return sums[::2] - sums[1::2]


def _apart(shots: Pairs, target: PreferencePair) -> Pairs:
    """The shots that show nothing of the target's choice."""
    return tuple(shot for shot in shots if apart(shot, target))


def _sides(pair: PreferencePair) -> tuple[str, str]:
    return pair.chosen, pair.rejected


def fit(
    model: FewShot,
    train: Sequence[Taught],
    held_out: Sequence[Taught],
    hyper: PrefFTHyper | FSPOHyper,
    seed: int,
    run: Run,
) -> Tuned:
    """Train one stage in place, on windows of each train user; the curve is measured on windows of validation users,
    one for each of their pairs.

    Users' names and order change nothing. Raises as `fit_choices`, and DataError where there is no window.
    """
    learned = [(window, one.description) for one in train for window in _windows(one, hyper, seed, hyper.windows)]
    if not learned:
        raise DataError(
            f"no user to learn from has the {hyper.shots + 2} votes of a window of {hyper.shots} shots; "
            "set windows (per user) in hyper, or fewer shots"
        )
    others = [(window, one.description) for one in held_out for window in _windows(one, hyper, seed, len(one.pairs))]
    if isinstance(hyper, FSPOHyper):
        choices = [_choice(model, *one) for one in learned]
        seen = dict(model.seen)
        tuned = fit_choices(model.policy, choices, [_choice(model, *one) for one in others], hyper, seed, run)
    else:
        texts = [text for one in learned for text in _texts(model, *one)]
        seen = dict(model.seen)
        measured = [text for one in others for text in _texts(model, *one)]
        tuned = fit_texts(model.policy, texts, measured, hyper, seed, run)
    said = {"windows": len(learned), "prompt": load_prompt(PROMPT).id, **seen}
    return tuned._replace(card=tuned.card | said)


def _windows(user: Taught, hyper: PrefFTHyper | FSPOHyper, seed: int, count: int) -> list[Window]:
    return windows(user.pairs, hyper.shots, count, seed, mixed=hyper.mixed)


def _choice(model: FewShot, window: Window, description: str) -> Choice:
    shots = window.shots if model.recipe.shots else ()
    return Choice(model.prompt(shots, window.target, description), *_sides(window.target))


def _texts(model: FewShot, window: Window, description: str) -> Iterator[Text]:
    choice = _choice(model, window, description)
    yield Text(choice.prompt, choice.chosen)
    if model.recipe.describes and window.shots:
        yield Text(model.description_prompt(window.shots), description)


@contextmanager
def open_new(
    settings: PolicySettings, tuning: Tuning, seed: int, method: str, start: Sequence[Path]
) -> Iterator[FewShot]:
    """The model of a method at the start of its training: with the weights of the folders `start`."""
    with open_policy(settings, tuning, seed, start=start) as policy:
        yield FewShot(policy, RECIPES[method])


@contextmanager
def open_few_shot(settings: PolicySettings, method: str, folders: Sequence[Path]) -> Iterator[FewShot]:
    """The model of a method, with the weights of its trainings in the order in which they followed each other; none for
    a method without training.

    Raises DataError that names the folder whose files are missing or damaged, or are of another base.
    """
    recipe = RECIPES[method]
    if not folders:
        with open_policy(settings, None, 0) as policy:
            yield FewShot(policy, recipe)
        return
    *start, own = folders
    tensors, card = Tuned.load(own)
    try:
        tuning, beta = Tuning(**card["tuning"]), float(card["hyper"].get("beta", 1.0))
    except (KeyError, TypeError) as error:
        raise DataError(f"{own}: no card of a policy ({error}); train again") from error
    with open_policy(settings, tuning, 0, start=start) as policy:
        if card.get("base") != policy.identity:
            raise DataError(
                f"{own}: trained on another base ({card.get('base')}, now {policy.identity}); give the base that it "
                "was trained on, or train again"
            )
        try:
            put_weights(policy.model, tensors)
        except DataError as error:
            raise DataError(f"{own}: {error}; train again") from error
        yield FewShot(policy, recipe, beta)


def taught(users: Iterable[tuple[Pairs, str | None]], recipe: Recipe) -> list[Taught]:
    """Users as a recipe learns them: without users whose planted taste it needs and who have none."""
    if recipe.describes:
        return [Taught(pairs, description) for pairs, description in users if description]
    return [Taught(pairs) for pairs, _ in users]
