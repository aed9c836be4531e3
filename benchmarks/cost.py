"""What taste weights and SynthesizeMe take per judged pair, learning included: `python benchmarks/cost.py`.

The workflow runs on bundled users with a scripted model, by words (hosted) and by labels (local), and the numbers are
those of its table of cost. The model's server counts as cached the whole messages at the start of a prompt that it has
seen before, whatever their length, so that each message is evaluated once after the same messages before it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.projects import ANYWHERE, Project, quickstart_votes, write_votes
from support.scripted_judge import Answer, fraction, judge
from support.scripted_server import ScriptedServer

from personalrm.results.table_formats import table_rows
from personalrm.results.tables.cost_table import ALL_STEPS, EACH, METHOD, read_cost_table

METHODS = ("attributes", "measured_persona", "persona", "both")
LEARN: dict[str, Any] = {"bootstrap": {"attempts": 3, "max_tokens": 1024}, "persona": {"max_tokens": 1024}}
QUICK: dict[str, Any] = {
    "bootstrap": {"attempts": 2, "max_tokens": 24},
    "persona": {"max_tokens": 64},
    "rebootstrap": False,
    "search": {
        "num_search_candidates": 1,
        "special_candidates": ["unshuffled"],
        "max_bootstrapped_demos": 2,
        "max_labeled_demos": 2,
    },
}
HOSTED: dict[str, Any] = {}
LOCAL: dict[str, Any] = {"prompts": "compact", "verdicts": ["logprob_both"]}


class Setting(NamedTuple):
    """A run: how its model is asked, how pairs are scored, how profiles are learned, in which variants."""

    name: str
    model: dict[str, Any]
    attributes: dict[str, Any]
    learn: dict[str, Any]
    variants: list[str]


SETTINGS = (
    Setting("hosted", HOSTED, {}, LEARN, ["as_published", "corrected"]),
    Setting("local, quickstart", LOCAL, {"use": "core", "orders": "one"}, QUICK, ["corrected"]),
    Setting("local, all attributes in both orders", LOCAL, {}, LEARN, ["as_published", "corrected"]),
)
MOST_CALLS, MOST_TOKENS = 1.0, 2.0
"""Bars of `attributes`: hosted calls over SynthesizeMe's; local tokens, uncached and written, over those of `both`."""


class Caching:
    """Answers of the scripted judge, also to prompts about attributes, with the cached tokens of the prompt."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, body: dict[str, Any]) -> Answer:
        """The answer to a request."""
        answer, sent, tokens, cached = _answer(body), "", 0, 0
        for message in body["messages"]:
            sent += json.dumps(message)
            tokens += len(str(message["content"])) // 4 + 1
            cached = tokens if sent in self._seen else cached
            self._seen.add(sent)
        written = 1 if body.get("logprobs") else len(str(answer.text)) // 4 + 1
        return Answer(answer.text, answer.logprobs, answer.finish_reason, None, None, tokens, written, cached)


def _answer(body: dict[str, Any]) -> Answer:
    everything = "\n".join(str(message["content"]) for message in body["messages"])
    listed = re.findall(r"^\d+\. (\w+): ", str(body["messages"][0]["content"]), re.MULTILINE)
    if listed and not body.get("logprobs"):
        return Answer(json.dumps({name: int(5 * fraction(name + everything)) - 2 for name in listed}))
    said = judge(body)
    if body.get("logprobs") and not said.logprobs:
        labels = (" First", " Second") if "Response First:" in everything else (" A", " B")
        odds = sorted(zip((-0.3, -1.4), labels if fraction(everything) < 0.5 else labels[::-1], strict=True))[::-1]
        return Answer(odds[0][1], logprobs=[[(label, odd) for odd, label in odds]], finish_reason="length")
    return said


def measured(setting: Setting, users: int) -> list[dict[str, Any]]:
    """The rows of the table of cost of a run in this setting, of `METHODS`."""
    with tempfile.TemporaryDirectory() as folder, ScriptedServer(Caching()) as server:
        model = {"backend": "openai", "model": "m", "api_base": server.url, "max_concurrency": 16, **ANYWHERE}
        config = {
            "run": "cost",
            "seed": 1,
            "datasets": {"people": {"path": "votes.jsonl", "shards": 1, "max_users": users}},
            "models": {"m": model | setting.model},
            "k": ["all"],
            "variants": setting.variants,
            "methods": list(METHODS),
            "attributes": setting.attributes,
            "learn": {"models": ["m"], **setting.learn},
            "statistics": {"resamples": 100},
            "max_failed_share": 0,
        }
        project = Project(Path(folder), config)
        write_votes(project.folder / "votes.jsonl", quickstart_votes())
        project.snakemake("results/cost/tables/cost.csv")
        table = read_cost_table(project.run / "tables" / "cost.csv")
    rows = table_rows(table[(table["level"] == METHOD) & (table["stage"] == ALL_STEPS)])
    return [row | {"method": row["method"].partition(".")[0]} for row in rows]


def shares(setting: Setting, rows: list[dict[str, Any]]) -> dict[str, float]:
    """What `attributes` takes as a share of each rival, in the unit of the setting's bar."""
    (own,) = [row for row in rows if row["method"] == "attributes"]
    names, rivals = (EACH[:1], ("persona", "both")) if setting.model is HOSTED else ((EACH[1], EACH[3]), ("both",))
    return {
        f"{row['method']}, {row['variant']}": sum(own[name] for name in names) / sum(row[name] for name in names)
        for row in rows
        if row["method"] in rivals
    }


def main() -> int:
    """Measure and print. Returns 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=4)
    users, missed = parser.parse_args().users, False
    print("| run | method | variant | calls | prompt, not cached | prompt, cached | written |")
    print("|---" * 7 + "|")
    said = []
    for setting in SETTINGS:
        rows = measured(setting, users)
        for row in rows:
            numbers = " | ".join(f"{row[name]:,.1f}" for name in EACH)
            print(f"| {setting.name} | `{row['method']}` | {row['variant']} | {numbers} |", flush=True)
        what, bar = ("calls", MOST_CALLS) if setting.model is HOSTED else ("tokens", MOST_TOKENS)
        for rival, share in shares(setting, rows).items():
            missed |= share > bar
            said.append(f"{setting.name}: {what} of attributes over {rival}: {share:.2f} (bar {bar:g})")
    print("\n".join(["", *said]))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
