"""Measure one bundled, invented user's taste: what it is in words, what it predicts, and why.

With a model that is downloaded once (491 MB) and served on this machine, without a key (some 105 CPU seconds):

    python examples/taste.py

With any server that speaks the OpenAI protocol, or a hosted model (its key in the environment or in .env):

    python examples/taste.py --model openai/gpt-4o-mini-2024-07-18
    python examples/taste.py --model Qwen/Qwen2.5-7B-Instruct --url http://localhost:8000/v1
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from personalrm import TasteModel
from personalrm.datasets import LocalDataset

VOTES = Path(__file__).resolve().parents[1] / "resources" / "quickstart" / "votes.jsonl"


def main(arguments: list[str] | None = None) -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="The taste of one user, measured.")
    parser.add_argument("--model", default="embedded/qwen2.5-coder-0.5b", help="model id")
    parser.add_argument("--url", default=None, help="base URL of an OpenAI-compatible endpoint")
    parser.add_argument("--data", type=Path, default=VOTES, help="a JSON-lines file of votes")
    parser.add_argument("--user", default="chen", help="user id")
    parser.add_argument("--output", type=Path, default=None, help="folder that keeps answers and taste")
    given = parser.parse_args(arguments)

    train, val, test = LocalDataset(given.data).get_user_data(given.user)
    rm = TasteModel(given.model, model_url=given.url, use="core", orders="one", output_dir=given.output)
    rm.fit(train, val)
    say(rm)
    say(f"Persona: {rm.get_persona()}")
    alone = rm.leave_one_out()
    say(f"Votes predicted from the others: {alone.n_right} of {alone.n_votes}")
    say(f"Test pairs: {rm.evaluate(test)}")

    question = "How do I get the lime out of my kettle?"
    steps = "1. Half fill it with vinegar and water. 2. Boil it. 3. Wait 20 minutes. 4. Rinse twice."
    prose = "Lime dissolves in acid, so that vinegar, boiled and left to stand for a while, will lift it off."
    say(f"Prefers the first of two answers with probability {rm.predict_proba(question, steps, prose):.2f}, because:")
    for reason in rm.explain(question, steps, prose)[:3]:
        say(f"  {reason}")


def say(line: object) -> None:
    """Write a line for people."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
