"""Convert a slice of PRISM pairs to the vote format of personalrm (docs/data.md).

    python examples/convert_prism_slice.py pairs.jsonl.gz votes.jsonl

Input, one JSON object per line: `user_id`, `conversation_id`, `turn` (0 = opening turn), `pair_id`, `context`
(list of {role, content}; earlier assistant turns hold the answer that the participant chose), `chosen`,
`rejected` (strings), `survey`. These are our own names already, so that nothing is renamed: the converter
picks the fields (a column that we do not know stays behind) and touches no text; a missing column stops it.
The workflow checks each line when it reads the output. There are no times: a participant's pairs are
ordered by conversation, turn and pair id.

PRISM: Kirk et al. 2024; human text CC-BY-4.0, model text CC-BY-NC-4.0. Its terms forbid any attempt to
re-identify participants. Keep the output out of the repository.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from personalrm.core.files import atomic_write_lines, canonical_json
from personalrm.data.sources.rows import read_rows

FIELDS = ("user_id", "conversation_id", "turn", "pair_id", "context", "chosen", "rejected", "survey")


def convert(source: Path) -> Iterator[dict[str, object]]:
    """Yield our rows from PRISM rows."""
    for row in read_rows(source):
        yield {name: row[name] for name in FIELDS}


def main(arguments: list[str] | None = None) -> int:
    """Convert one file and report the votes of each participant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path, help="pairs.jsonl.gz")
    parser.add_argument("output", type=Path, help="votes.jsonl to write")
    given = parser.parse_args(arguments)
    rows = list(convert(given.source))
    atomic_write_lines(given.output, (canonical_json(row) for row in rows))
    votes = Counter(str(row["user_id"]) for row in rows)
    sys.stdout.write(f"{len(rows)} votes of {len(votes)} participants: {dict(sorted(votes.items()))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
