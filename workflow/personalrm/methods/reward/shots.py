"""Windows of a user's votes: shots that a language model is shown, and a pair that it has to tell (FSPO).

A user is a task: in a window, some votes of the user stand in the prompt, and another vote of the same user is learned
(Singh et al., 2025, section 4). Shots stand in the order of the user's history, the latest last, so that what is
dropped where they do not fit are the oldest, each as a whole. (The authors' code keeps the start of the prompt: it cuts
late shots off.)
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from personalrm.core.files import stable_hash
from personalrm.core.records import PreferencePair, Turn
from personalrm.judge.prompting import load_prompt

PROMPT = "few_shot_preferences"
STOPS = ("\nOther:", "\n##", "\nQuestion:")
"""Where a model that goes on after its answer begins another part of the prompt."""
Pairs = tuple[PreferencePair, ...]


class Window(NamedTuple):
    """Shots, oldest first, and the pair that is learned; all of one user."""

    shots: Pairs
    target: PreferencePair


def windows(pairs: Sequence[PreferencePair], shots: int, count: int, seed: int, *, mixed: bool) -> list[Window]:
    """Windows of one user, none of which has its target among its shots.

    Targets are the pairs in a random order, over and over, so that each is one as often as any other, give or take
    once. Shots are drawn among the pairs that are `apart` from the target, fewer where there are not enough. Random
    numbers follow from texts and their order in the history: names of users and pairs change nothing.

    Args:
        pairs: of the user; none for no window.
        shots: number of shots.
        count: number of windows; 0: as the authors' code, which cuts the user's pairs into windows of N shots, a target
            and a pair that is not used, 2 (N + 1) times.
        seed: of the training.
        mixed: draw the number of shots of each window from 0 to `shots`, all equally probable.
    """
    ordered = chronological(pairs)
    draw = Random(stable_hash("windows", str(seed), *map(content, ordered)))
    made: list[Window] = []
    left: list[PreferencePair] = []
    for _ in range((count or 2 * (shots + 1) * (len(ordered) // (shots + 2))) if ordered else 0):
        if not left:
            left = draw.sample(ordered, len(ordered))
        target = left.pop()
        others = [place for place, one in enumerate(ordered) if apart(one, target)]
        wanted = draw.randint(0, shots) if mixed else shots
        places = sorted(draw.sample(others, min(wanted, len(others))))
        made.append(Window(tuple(ordered[place] for place in places), target))
    return made


def chronological(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """The pairs, oldest first; of equally old ones, by their texts."""
    return sorted(pairs, key=lambda pair: (pair.order, content(pair)))


def content(pair: PreferencePair) -> str:
    """Hash of the texts of a pair and of which answer was chosen."""
    turns = [text for turn in pair.context for text in (turn.role, turn.content)]
    return stable_hash(*turns, pair.chosen, pair.rejected)


def apart(shot: PreferencePair, target: PreferencePair) -> bool:
    """Whether a shot shows nothing of the target's choice: another conversation, and other texts.

    A later vote of the same conversation has the answer that was chosen in it, also where conversations have no id; a
    vote on the same answers is the same.
    """
    if shot.pair_id == target.pair_id:
        return False
    if shot.conversation_id is not None and shot.conversation_id == target.conversation_id:
        return False
    asked = len(target.context)
    said = {shot.chosen, shot.rejected, *(turn.content for turn in shot.context[asked:])}
    return shot.context[:asked] != target.context or not said & {target.chosen, target.rejected}


def answer_prompt(shots: Sequence[PreferencePair], context: Sequence[Turn], description: str = "") -> str:
    """The prompt whose completion is an answer to the last question of a conversation."""
    return _rendered("answer", shots=shots, description=description, context=context)


def description_prompt(shots: Sequence[PreferencePair]) -> str:
    """The prompt whose completion describes the user."""
    return _rendered("describe", shots=shots)


def _rendered(part: str, **values: object) -> str:
    # What follows is a line of its own.
    return f"{load_prompt(PROMPT).render(part, **values)}\n"


def latest(shots: Sequence[PreferencePair], fits: Callable[[Pairs], bool]) -> Pairs:
    """The most of the latest shots that fit, in their order: the oldest are dropped, each as a whole."""
    kept = tuple(shots)
    if not kept or fits(kept):
        return kept
    # With each further shot that is dropped the prompt is shorter.
    return kept[bisect.bisect_left(range(1, len(kept)), True, key=lambda dropped: fits(kept[dropped:])) + 1 :]
