"""Candidates of the demonstration search: which judgements each seed draws, in all variants alike.

Seeds: -3 nothing, -2 labelled pairs only, -1 verified traces in the order of the pairs, 0 … n-1 traces of the pairs
as that seed shuffles them, as many as it draws. Labelled pairs fill up what the traces leave of `max_labelled`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from personalrm.core.records import Demonstration, PreferencePair, Trace
from personalrm.judge.judge import learned_swapped

ZERO_SHOT, LABELLED, UNSHUFFLED = -3, -2, -1


def labelled(pair: PreferencePair, salt: str) -> Demonstration:
    """A demonstration that shows the user's choice without reasoning."""
    return Demonstration(pair=pair, swapped=learned_swapped(pair, salt))


def draw_candidate(
    seed: int,
    pairs: Sequence[PreferencePair],
    traces: Mapping[str, Trace],
    *,
    max_bootstrapped: int,
    max_labelled: int,
    salt: str,
) -> tuple[Demonstration, ...]:
    """Judgements of one candidate, those with a trace first. `pairs` are the context pairs, oldest first.

    The generators are those of the package, seed by seed and draw by draw, so that its candidates are found again.
    """
    if seed == ZERO_SHOT:
        return ()
    most_labelled = min(max_labelled, len(pairs))
    if seed == LABELLED:
        return tuple(labelled(pair, salt) for pair in random.Random(0).sample(list(pairs), most_labelled))
    order, size = list(pairs), min(max_bootstrapped, len(pairs))
    if seed >= 0:
        random.Random(seed).shuffle(order)
        size = random.Random(seed).randint(1, max(1, size))
    traced = [pair for pair in order if pair.pair_id in traces][:size]
    used = {pair.pair_id for pair in traced}
    others = [pair for pair in order if pair.pair_id not in used]
    random.Random(0).shuffle(others)
    fillers = random.Random(0).sample(others, min(max(0, most_labelled - len(traced)), len(others)))
    return (
        *(_with_trace(pair, traces[pair.pair_id]) for pair in traced),
        *(labelled(pair, salt) for pair in fillers),
    )


def _with_trace(pair: PreferencePair, trace: Trace) -> Demonstration:
    return Demonstration(pair=pair, swapped=trace.swapped, reasoning=trace.reasoning)
