"""Learn one bundled, invented user's taste with the library, look at it, predict, and evaluate.

With a model that is downloaded once and served on this machine (no key; some two minutes):

    python examples/library.py --model embedded/smollm2-135m --quick

With any server that speaks the OpenAI protocol, or a hosted model (its key in the environment or in .env):

    python examples/library.py --model Qwen/Qwen2.5-7B-Instruct --url http://localhost:8000/v1
    python examples/library.py --model openai/gpt-4o-mini-2024-07-18
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from personalrm import DefaultJudge, SynthesizeMe
from personalrm.datasets import LocalDataset

VOTES = Path(__file__).resolve().parents[1] / "resources" / "quickstart" / "votes.jsonl"
QUICK = {"bootstrap": {"attempts": 1, "max_tokens": 16}, "persona": {"max_tokens": 32}, "rebootstrap": False}
"""For slow models: one attempt per pair, a short persona, and the traces of stage 1 in stage 3, too."""


def main(arguments: list[str] | None = None) -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="personalrm as a library, on bundled data.")
    parser.add_argument("--model", default="embedded/smollm2-135m", help="model id (see personalrm.app.library.models)")
    parser.add_argument("--url", default=None, help="base URL of an OpenAI-compatible endpoint")
    parser.add_argument("--data", type=Path, default=VOTES, help="a JSON-lines file of votes")
    parser.add_argument("--user", default=None, help="user id (default: the first)")
    parser.add_argument("--output", type=Path, default=None, help="folder that keeps answers and profile")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter calls")
    given = parser.parse_args(arguments)

    dataset = LocalDataset(given.data)
    user = given.user or dataset.get_user_ids()[0]
    train, val, test = dataset.get_user_data(user)
    say(f"{user}: {len(train)} pairs to learn from, {len(val)} to choose with, {len(test)} to test on")

    judge = SynthesizeMe(
        model_id=given.model,
        model_url=given.url,
        num_search_candidates=0 if given.quick else 10,
        output_dir=given.output,
        learn_options=QUICK if given.quick else None,
        progress_update_hook=lambda percent, message: say(f"{percent:5.1f} %  {message}", end="\r"),
    )
    judge.fit(train, val)
    say(f"\nPersona: {judge.get_persona()}")
    say(f"Demonstrations: {len(judge.get_demos())}. Worth knowing: {'; '.join(judge.profile.events) or 'nothing'}")

    pair = test[0]
    preferred = judge.predict_pairwise(pair["context"], pair["chosen"], pair["rejected"])
    say(f"First test pair: {preferred} (1: what the user chose, -1: the other, 0: neither)")

    default = DefaultJudge(model_id=given.model, model_url=given.url, output_dir=given.output)
    say(f"Accuracy with the profile:    {judge.evaluate(test)}")
    say(f"Accuracy without any profile: {default.evaluate(test)}")


def say(text: str, end: str = "\n") -> None:
    """Write a line for people."""
    sys.stdout.write(text + end)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
