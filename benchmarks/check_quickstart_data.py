"""Check the bundled example preferences (resources/quickstart).

Without options: the structural checks. ``--classifiers`` (needs scikit-learn): surface features must not
give the choices away. ``--judge MODEL.gguf`` (needs xllamacpp): a real judge that is told the planted taste
(oracle), or not told it (default). Exit status 1 and a line for each fault if a check fails.
"""

import argparse
import collections
import json
import math
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Row = dict[str, Any]
Vectors = Callable[[list[int]], npt.NDArray[np.float64]]
FOLDER = Path(__file__).resolve().parent.parent / "resources" / "quickstart"
KEYS = {"user_id", "conversation_id", "timestamp", "context", "chosen", "rejected"}
TASTE_KEYS = {"axis", "taste", "facts", "opposite"}
USERS, PAIRS = 8, 14
BOUNDS = {"oracle": (0.85, 1.0), "default": (0.40, 0.60)}
SYSTEM = "You predict which of two responses {} user prefers."
QUESTION = "Conversation:\n{}\n\nResponse A:\n{}\n\nResponse B:\n{}\n\nWhich response does the user prefer?"
PREFILL = "The user prefers Response"


def texts(row: Row) -> tuple[str, str]:
    """The chosen and the rejected answer."""
    return row["chosen"]["content"], row["rejected"]["content"]


def words(text: str) -> int:
    """Words between blanks."""
    return len(text.split())


def longer_chosen(rows: list[Row]) -> int:
    """In how many pairs the answer of more characters is chosen."""
    return sum(len(chosen) > len(rejected) for chosen, rejected in map(texts, rows))


def by_user(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows of each user, in the order of the file."""
    groups: dict[str, list[Row]] = collections.defaultdict(list)
    for row in rows:
        groups[row["user_id"]].append(row)
    return dict(groups)


def check_row(row: Row) -> list[str]:
    """Faults of one pair."""
    if set(row) != KEYS or not isinstance(row["timestamp"], int):
        return [f"{row.get('conversation_id')}: keys {sorted(row)}, or a timestamp that is no integer"]
    faults = []
    roles = [turn["role"] for turn in row["context"]]
    if roles not in (["user"], ["user", "assistant", "user"]):
        faults.append(f"context roles {roles}")
    if not 6 <= words(row["context"][-1]["content"]) <= 18:
        faults.append("last user turn is not of 6 to 18 words")
    if sum(words(turn["content"]) for turn in row["context"][:-1]) > 35:
        faults.append("earlier turns have more than 35 words")
    for side in ("chosen", "rejected"):
        count = words(row[side]["content"])
        if row[side]["role"] != "assistant" or not 15 <= count <= 32:
            faults.append(f"{side}: role {row[side]['role']}, {count} words, not 15 to 32")
    if len(row["chosen"]["content"]) == len(row["rejected"]["content"]):
        faults.append("both answers are equally long")
    return [f"{row['conversation_id']}: {fault}" for fault in faults]


def check_user(user: str, rows: list[Row], tastes: dict[str, Row]) -> list[str]:
    """Faults of one user's pairs and of the planted taste."""
    faults = []
    stamps = [row["timestamp"] for row in rows]
    domains = {row["conversation_id"].split("-", 2)[2] for row in rows}
    taste = tastes.get(user, {})
    other = tastes.get(taste.get("opposite", ""), {})
    if len(rows) != PAIRS or len(domains) != PAIRS:
        faults.append(f"{len(rows)} pairs of {len(domains)} domains, not {PAIRS}")
    if stamps != sorted(set(stamps)):
        faults.append("timestamps do not increase")
    if not 5 <= longer_chosen(rows) <= 9:
        faults.append(f"longer answer chosen {longer_chosen(rows)} times, not 5 to 9")
    if set(taste) != TASTE_KEYS:
        faults.append("entry of tastes.json missing or with other keys")
    elif other.get("opposite") != user or other["axis"] != taste["axis"]:
        faults.append("the opposite user does not name this one or has another axis")
    return [f"{user}: {fault}" for fault in faults]


def check_structure(rows: list[Row], tastes: dict[str, Row]) -> list[str]:
    """Faults of the whole file."""
    faults = [fault for row in rows for fault in check_row(row)]
    groups = by_user(rows)
    if len(groups) != USERS or set(groups) != set(tastes):
        faults.append(f"users {sorted(groups)}, tastes of {sorted(tastes)}")
    for user, own in groups.items():
        faults += check_user(user, own, tastes)
    columns = {
        "conversation id": [row["conversation_id"] for row in rows],
        "prompt": [row["context"][-1]["content"] for row in rows],
        "answer": [text for row in rows for text in texts(row)],
    }
    faults += [f"the same {name} twice" for name, column in columns.items() if len(set(column)) < len(column)]
    multi = sum(len(row["context"]) > 1 for row in rows) / len(rows)
    share = longer_chosen(rows) / len(rows)
    if not 0.2 <= multi <= 0.3:
        faults.append(f"multi-turn share {multi:.3f}, not 0.2 to 0.3")
    if not 0.45 <= share <= 0.55:
        faults.append(f"longer answer chosen in {share:.3f}, not 0.45 to 0.55")
    per_user = {user: longer_chosen(own) for user, own in groups.items()}
    print(f"pairs {len(rows)}, multi-turn {multi:.3f}, longer chosen {share:.3f} {per_user}")
    return faults


def accuracy(groups: list[str], vectors: Vectors) -> float:
    """Accuracy of leave-one-group-out over pair vectors (chosen minus rejected).

    Both orders are trained on and no intercept is fitted, so chance is one half.
    ``vectors(train)`` gives the pair vectors of all rows, fitted on the training rows.
    """
    from sklearn.linear_model import LogisticRegression

    hits = 0.0
    for group in sorted(set(groups)):
        train = [i for i, own in enumerate(groups) if own != group]
        x = vectors(train)
        model = LogisticRegression(fit_intercept=False, max_iter=1000)
        model.fit(np.concatenate([x[train], -x[train]]), np.repeat([1, 0], len(train)))
        margins = model.decision_function(x[[own == group for own in groups]])
        hits += float((margins > 0).sum() + 0.5 * (margins == 0).sum())
    return hits / len(groups)


def check_classifiers(rows: list[Row], tastes: dict[str, Row]) -> list[str]:
    """Words, length or position alone must not predict the choices of unseen users."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    pairs = [texts(row) for row in rows]

    def bag(train: list[int]) -> npt.NDArray[np.float64]:
        tfidf = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]").fit([text for i in train for text in pairs[i]])
        sides = [tfidf.transform([pair[k] for pair in pairs]).toarray() for k in (0, 1)]
        return np.asarray(sides[0] - sides[1], dtype=np.float64)

    def surface(_train: list[int]) -> npt.NDArray[np.float64]:
        # position: the chosen answer stands first in every second pair
        lengths = [((len(a) - len(b)) / 100, (words(a) - words(b)) / 10) for a, b in pairs]
        return np.array([[*both, 1.0 if i % 2 else -1.0] for i, both in enumerate(lengths)])

    users = [row["user_id"] for row in rows]
    folds = {"leave-one-user-out": users, "leave-opposite-pair-out": [tastes[user]["axis"] for user in users]}
    faults = []
    for fold, groups in folds.items():
        for name, vectors in (("bag of words", bag), ("length-or-position", surface)):
            value = accuracy(groups, vectors)
            print(f"{name}, {fold}: {value:.3f}")
            if value > 0.60:
                faults.append(f"{name}, {fold}: accuracy {value:.3f} is above 0.60")
    return faults


def ask(url: str, taste: str, row: Row, first: str, second: str) -> tuple[float, int]:
    """Log-probability of "A" minus that of "B", and the number of prompt tokens."""
    talk = "\n".join(f"[{turn['role']}]: {turn['content']}" for turn in row["context"])
    system = f"{SYSTEM.format('a particular')}\n\nAbout this user: {taste}" if taste else SYSTEM.format("the")
    turns = {"system": system, "user": QUESTION.format(talk, first, second), "assistant": PREFILL}
    messages = [{"role": role, "content": content} for role, content in turns.items()]
    body = {"messages": messages, "max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=600) as answer:
        reply = json.load(answer)
    best = {"A": -math.inf, "B": -math.inf}
    for option in reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
        label = option["token"].strip()
        best[label] = max(best.get(label, -math.inf), option["logprob"])
    if -math.inf in (best["A"], best["B"]):
        raise ValueError(f"{row['conversation_id']}: A or B is not among the 20 tokens: {best}")
    return best["A"] - best["B"], reply["usage"]["prompt_tokens"]


def judge_user(url: str, rows: list[Row], taste: str) -> int:
    """Number of pairs whose chosen answer wins, log-probabilities summed over both orders."""
    hits, tokens = 0, 0
    for row in rows:
        chosen, rejected = texts(row)
        one, used = ask(url, taste, row, chosen, rejected)
        two, more = ask(url, taste, row, rejected, chosen)
        hits, tokens = hits + (one > two), tokens + used + more
        if taste and one <= two:
            print(f"  missed {row['conversation_id']}: {one:+.2f} {-two:+.2f}", flush=True)
    name = f"{rows[0]['user_id']}, {'oracle' if taste else 'default'}"
    print(f"{name}: {hits} of {len(rows)}, {tokens / len(rows) / 2:.1f} tokens a judgement", flush=True)
    return hits


def check_judge(rows: list[Row], tastes: dict[str, Row], options: argparse.Namespace) -> list[str]:
    """Oracle and default of a real judge; the bounds hold for all users together."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(options.judge)
    params.n_ctx, params.n_parallel, params.port, params.verbosity = 2048, 1, 0, -1
    server = xllamacpp.Server(params)
    url = server.listening_address + "/v1/chat/completions"
    groups = {user: own for user, own in by_user(rows).items() if user in options.users}
    faults = []
    for condition in options.conditions:
        known = condition == "oracle"
        hits = sum(judge_user(url, own, tastes[user]["taste"] if known else "") for user, own in groups.items())
        value = hits / sum(map(len, groups.values()))
        print(f"{condition}: {value:.3f} over {len(groups)} users", flush=True)
        low, high = BOUNDS[condition]
        if len(groups) == USERS and not low <= value <= high:
            faults.append(f"{condition} accuracy {value:.3f} is not within {low} to {high}")
    del server
    return faults


def main() -> int:
    """Read the options, run the checks, print the faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="with votes.jsonl and tastes.json")
    parser.add_argument("--classifiers", action="store_true", help="surface classifiers, too")
    parser.add_argument("--judge", type=Path, metavar="GGUF", help="ask this model, too")
    parser.add_argument("--users", nargs="+", metavar="USER", help="judge only these")
    parser.add_argument("--conditions", nargs="+", choices=sorted(BOUNDS), default=["oracle", "default"])
    options = parser.parse_args()
    rows = [json.loads(line) for line in (options.folder / "votes.jsonl").read_text("utf-8").splitlines()]
    tastes = json.loads((options.folder / "tastes.json").read_text("utf-8"))
    options.users = options.users or sorted(tastes)
    faults = check_structure(rows, tastes)
    if options.classifiers and not faults:
        faults += check_classifiers(rows, tastes)
    if options.judge is not None and not faults:
        faults += check_judge(rows, tastes, options)
    for fault in faults:
        print(f"FAULT {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
