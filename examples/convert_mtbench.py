"""Convert human votes on MT-bench answers to the vote format of personalrm (docs/data.md).

    python examples/convert_mtbench.py judgments.jsonl.gz votes.jsonl [--turns 1|2|all]

The workflow reads such files without this too (source `mtbench`, whose rules these are): it shows what a converter is.

Input, one JSON object per line: `user_id` (the judge), `judgment_id`, `question_id`, `turn` (1 or 2),
`conversation_a` and `conversation_b` (what follows the judged turn is cut off), `winner` (model_a, model_b, tie).

What is the context of a vote? It must be shared by both answers.
- Turn 1: the question. The answers are the two first answers.
- Turn 2: the two conversations usually part at the first answer, so their shared beginning is again the first
  question alone. The rest of each conversation, first answer, second question and second answer, is the
  answer, as a transcript in blocks "[role]: text" (the form in which the judge prompt shows contexts). A judge
  needs all of it: many second questions are about the first answer ("Rewrite your previous response …"), and
  the human judge had the whole conversation in view too. The other ways lose more: both questions as context
  without first answers makes such votes undecidable, and one conversation's first answer in the context is wrong for
  the other. Where both first answers are equal, they are in the context and only the second answers are compared.
- `conversation_id` is the question's id: the questions are fixed, so no question may stand on both sides of a split.

Votes about an answer without text are left out and counted (a model said nothing; there is nothing to judge).
`winner` is written as a, b or tie; the workflow drops ties. Licence of the votes: CC-BY-4.0 (LMSYS).
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from personalrm.core.errors import DataError
from personalrm.core.files import atomic_write_lines, canonical_json
from personalrm.data.sources.battles import local_vote
from personalrm.data.sources.fields import FieldError, Row
from personalrm.data.sources.rows import read_rows


def convert_row(row: Row) -> dict[str, object] | None:
    """Our row for a judgment; None where a judged answer has no text. Raises FieldError for a broken row."""
    made, reason = local_vote(row)
    if reason == "different_questions":
        raise FieldError("conversation_b", "has other questions than conversation_a", "remove the judgment")
    return None if reason else made | {"conversation_id": str(made["conversation_id"])}


def convert(source: Path, turns: str = "all") -> Iterator[dict[str, object] | None]:
    """Yield a row, or None, for each judgment of the wanted turns. Raises DataError for a broken one."""
    for row in read_rows(source):
        if turns in ("all", str(row["turn"])):
            try:
                yield convert_row(row)
            except FieldError as error:
                where = f"{source}, judgment {row.get('judgment_id')}, field {error.field}"
                raise DataError(f"{where}: {error}; {error.advice}") from error


def main(arguments: list[str] | None = None) -> int:
    """Convert one file and report the votes of each judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path, help="judgments.jsonl.gz")
    parser.add_argument("output", type=Path, help="votes.jsonl to write")
    parser.add_argument("--turns", choices=["1", "2", "all"], default="all", help="which turns' votes to keep")
    given = parser.parse_args(arguments)
    made = list(convert(given.source, given.turns))
    rows = [row for row in made if row is not None]
    atomic_write_lines(given.output, (canonical_json(row) for row in rows))
    votes = Counter(str(row["user_id"]) for row in rows)
    sys.stdout.write(
        f"{len(rows)} votes of {len(votes)} judges, {len(made) - len(rows)} left out (no text): "
        f"{dict(sorted(votes.items()))}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
