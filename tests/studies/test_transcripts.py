"""Transcripts hold what was sent and said, each text once, and no text can leave its place."""

from __future__ import annotations

import asyncio
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.packed import data_in, unpacked

from personalrm.core.records import JudgedUser, Profile, Weights, read_records, write_records
from personalrm.judge.judge import JudgeContext
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.open import RuntimeSettings
from personalrm.llm.types import Message, Request
from personalrm.methods.base import Known, Method, Training
from personalrm.methods.registry import METHODS, parse_method
from personalrm.methods.synthesizeme.persona import PersonaSettings, persona_messages, persona_request
from personalrm.studies.config_load import write_resolved
from personalrm.studies.report.judgments import choose_whole
from personalrm.studies.report.page_parts import packed
from personalrm.studies.settings import judge_settings
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.fit import fit_stage, read_fitted
from personalrm.studies.synthesizeme.stages.judging import judge_user
from personalrm.studies.synthesizeme.stages.learn import learned_settings
from personalrm.studies.synthesizeme.stages.runner import Job
from personalrm.studies.synthesizeme.stages.seen import known_of, turns_of
from personalrm.studies.synthesizeme.stages.taste_on import as_one
from personalrm.studies.synthesizeme.transcript_data import Transcripts

from .transcript_cases import Made, StoringModel, config_of, make_run, prompt_of, user_of

HOSTILE = (
    "</script><script>document.title='run'</script><img src=x onerror=\"document.title='run'\"><!-- \u2028 & \U0001f600"
)


class Elements(HTMLParser):
    """Elements of a page, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def test_prompts_and_answers_are_those_of_the_calls(tmp_path: Path) -> None:
    made = make_run(tmp_path, [user_of("ann", 2), user_of("bob")])
    data = data_in(made.page())
    # Two orders of three pairs by three methods, and a persona each.
    assert len(data["calls"]) == len(made.sent) == 2 * 3 * 3 + 2
    for call in data["calls"]:
        assert prompt_of(data, call) == made.sent[call["key"]]
        assert data["texts"][call["answer"]["text"]].startswith(f"Because. {call['key'][:6]}")
    shown = {call["swapped"] for call in data["calls"]}
    assert shown == {True, False, None}
    by_method = {data["rows"][row]["method"]: (row, pair, verdicts) for row, pair, verdicts in data["items"]}
    row, pair, verdicts = by_method["both"]
    assert [verdict[:3] for verdict in verdicts] == [[False, "correct", "first"], [True, "wrong", "first"]]
    profile = data["profiles"][data["rows"][row]["profile"]]
    assert profile["persona"] == "Likes good."
    assert data["pairs"][profile["demonstrations"][0][0]]["id"].endswith("-0")
    assert data["texts"][data["pairs"][pair]["chosen"]].startswith("good")
    # A row without a verdict is there, with its reason, and comes last of its user.
    users = [(data["rows"][row]["user"], pair is None) for row, pair, _ in data["items"]]
    assert users == sorted(users)
    row, pair, verdicts = by_method["random"]
    assert (pair, verdicts, data["rows"][row]["reason"]) == (None, [], "no test pairs")


@pytest.mark.parametrize("variant", ["corrected", "as_published", "corrected+mine", "corrected+json"])
def test_persona_prompts_of_every_variant_are_built_again(tmp_path: Path, variant: str) -> None:
    program = {"synthesize.predict": {"signature": {"instructions": "Say who this is."}, "demos": []}}
    (tmp_path / "mine.json").write_text(json.dumps(program))
    users = [user_of("ann", n_context=3)]
    thetas = {"mine": {"path": str(tmp_path / "mine.json")}}
    made = make_run(tmp_path, users, variants=[variant], thetas=thetas, methods=["persona"])
    data = data_in(made.page())
    (call,) = (data["calls"][place] for place in data["profiles"][0]["calls"])
    prompt = prompt_of(data, call)
    assert prompt == made.sent[call["key"]]
    assert prompt[-1].content.count("--- Choice") == 3
    assert ("Say who this is." in prompt[-1].content) == (variant == "corrected+mine")
    # A Theta whose file is gone costs the prompt, not the page.
    (tmp_path / "mine.json").unlink()
    data = data_in(made.page())
    assert (data["calls"][data["profiles"][0]["calls"][0]]["prompt"] is None) == (variant == "corrected+mine")


def test_a_persona_that_was_made_of_nothing_and_one_whose_input_was_shortened(tmp_path: Path) -> None:
    made = make_run(tmp_path, [user_of("ann", n_context=3)], variants=["as_published"], methods=["persona"])
    (path,) = Plan(made.config).profile_paths()
    (profile,) = read_records(Path(path), Profile)
    settings, (sent,) = PersonaSettings(max_tokens=1024), profile.calls
    spec = made.config.models["m"].spec("m")
    for kept in ((), profile.plain_demonstrations[-1:]):
        key = request_key(spec.identity, Request(persona_messages(kept, settings), max_tokens=1024))
        pairs = profile.persona_pairs if kept else ()
        changed = {"calls": (sent.model_copy(update={"key": key}),), "persona_pairs": pairs}
        write_records(Path(path), [profile.model_copy(update=changed)])
        data = data_in(made.page())
        (call,) = (data["calls"][place] for place in data["profiles"][0]["calls"])
        assert prompt_of(data, call) == persona_messages(kept, settings)


def test_all_attempts_at_a_persona_that_says_nothing_are_shown_and_the_persona_marked(tmp_path: Path) -> None:
    made = make_run(tmp_path, [user_of("ann", n_context=3)], methods=["persona"])
    (path,) = Plan(made.config).profile_paths()
    (profile,) = read_records(Path(path), Profile)
    assert data_in(made.page())["profiles"][0]["flaw"] is None
    settings, (sent,) = learned_settings(made.config, "m", "corrected").persona, profile.calls
    identity, messages = made.config.models["m"].spec("m").identity, made.sent[sent.key]
    keys = [request_key(identity, persona_request(messages, settings, attempt)) for attempt in range(3)]
    assert (keys[0], len(set(keys))) == (sent.key, 3)
    calls = tuple(sent.model_copy(update={"key": key}) for key in keys)
    write_records(Path(path), [profile.model_copy(update={"calls": calls, "persona_flaw": "echo"})])
    data = data_in(made.page())
    (shown,) = data["profiles"]
    assert shown["flaw"] == "echo"
    assert [prompt_of(data, data["calls"][place]) for place in shown["calls"]] == [messages] * 3


def test_criteria_and_the_scores_on_them_are_built_again(tmp_path: Path) -> None:
    answer = "Weight 3: brief\nCriterion 1: First 7, Second 4\n"
    made = make_run(tmp_path, [user_of("ann", 2)], answer=answer, methods=["criteria"])
    data = data_in(made.page())
    # A persona; criteria and two scores of each of two pairs.
    assert len(data["calls"]) == len(made.sent) == 1 + 2 * 3
    assert all(prompt_of(data, call) == made.sent[call["key"]] for call in data["calls"])
    assert [call["swapped"] for call in data["calls"]].count(None) == 1 + 2
    made.config.store.unlink()
    lost = data_in(made.page())
    assert sum(call["prompt"] is None for call in lost["calls"]) == 4


@pytest.mark.parametrize("constitution", ["auto", "off"])
def test_scorecards_and_the_rules_above_them_are_built_again(tmp_path: Path, constitution: str) -> None:
    made = make_run(tmp_path, [user_of("ann", 2)], methods=["scorecard"], constitution=constitution)
    data = data_in(made.page())
    shown = [prompt_of(data, data["calls"][place]) for item in data["items"] for said in item[2] for place in said[4]]
    assert sorted(map(str, shown)) == sorted(str(sent) for sent in made.sent.values() if "scorecard" in sent[0].content)
    assert len(shown) == 2 * 2
    assert all(("Facts, safety and law" in prompt[0].content) == (constitution == "auto") for prompt in shown)


def test_verdicts_of_default_that_took_the_place_of_weighed_ratings_are_built_again(tmp_path: Path) -> None:
    made = make_run(tmp_path, [user := user_of("ann", 2)], methods=["default"])
    (row,) = (row for path in Plan(made.config).verdict_paths() for row in read_records(Path(path), JudgedUser))
    first = [verdict for verdict in row.verdicts if verdict.pair_id == user.part("test")[0].pair_id]
    plain = as_one(first, user.part("test")[0])
    with ResponseStore(made.config.store) as store:
        found = Transcripts(config_of(tmp_path, methods=["default", "attributes"]), store)
        found.add_user(user)
        found.add_judged(row.model_copy(update={"method": "attributes", "verdicts": (plain,), "set_aside": (plain,)}))
        calls = found.data()["calls"]
    assert sorted(call["key"] for call in calls) == sorted(plain.calls)
    assert [call["swapped"] for call in sorted(calls, key=lambda call: call["swapped"])] == [False, True]
    assert all(call["prompt"] is not None for call in calls)


def test_history_is_shown_as_far_as_it_fitted(tmp_path: Path) -> None:
    model = {"backend": "openai", "model": "m-1", "api_base": "http://127.0.0.1:9/v1", "max_tokens": 64}
    users = [user_of("ann", 1, n_context=9, text="many words " * 20)]
    made = make_run(tmp_path, users, models={"m": {**model, "context_length": 2000}}, methods=["history"])
    data = data_in(made.page())
    (call, other) = (data["calls"][place] for verdict in data["items"][0][2] for place in verdict[4])
    # The instruction, with the pairs that fit as data, and the question.
    assert len(call["prompt"]) == 2
    assert 0 < str(prompt_of(data, call)).count("--- Choice ") < 9
    assert prompt_of(data, call) == made.sent[call["key"]]
    assert prompt_of(data, other) == made.sent[other["key"]]


def test_each_text_and_message_stands_once(tmp_path: Path) -> None:
    data = data_in(make_run(tmp_path, [user_of("ann", 3)]).page())
    assert len(set(data["texts"])) == len(data["texts"])
    assert len({tuple(message) for message in data["messages"]}) == len(data["messages"])
    # The persona of two methods is one text, and so is the default's instruction of all its prompts.
    assert sum(role == "system" for role, _ in data["messages"]) == 3


def test_no_text_leaves_its_place(tmp_path: Path) -> None:
    made = make_run(tmp_path, [user_of(f"ann{HOSTILE}", text=HOSTILE)], answer=HOSTILE, persona=HOSTILE)
    page = made.page()
    assert Elements(page).tags.count("script") == 2
    assert "img" not in Elements(page).tags
    data = data_in(page)
    assert data["users"][0]["user"] == f"ann{HOSTILE}"
    assert data["profiles"][0]["persona"] == HOSTILE
    assert any(text.startswith(f"{HOSTILE} ") for text in data["texts"])


@given(st.binary())
def test_packed_data_is_inert_and_whole(data: bytes) -> None:
    held = packed(data)
    assert held.isascii()
    assert not set(held) & set("<>&\"' ")
    assert unpacked(held) == data
    assert len(packed(data * 1000)) < len(data) * 20 + 100


def test_what_the_store_lacks_is_said_and_asked_of_nobody(tmp_path: Path) -> None:
    made = make_run(tmp_path, [user_of("ann")])
    made.config.store.unlink()
    data = data_in(made.page())
    assert {call["answer"] for call in data["calls"]} == {None}
    assert prompt_of(data, data["calls"][0]) == made.sent[data["calls"][0]["key"]]
    assert not made.config.store.exists()


def test_a_prompt_that_was_not_sent_is_not_shown(tmp_path: Path) -> None:
    made = make_run(tmp_path, [user_of("ann")])
    longer = made.config.models["m"].model_copy(update={"max_tokens": 65})
    write_resolved(made.config_file, made.config.model_copy(update={"models": {"m": longer}}))
    data = data_in(made.page())
    judged = {place for _, _, verdicts in data["items"] for verdict in verdicts for place in verdict[4]}
    assert {data["calls"][place]["prompt"] for place in judged} == {None}
    assert all(data["calls"][place]["answer"] for place in judged)


def test_a_page_has_whole_users_up_to_its_limit_and_the_same_each_time(tmp_path: Path) -> None:
    made = make_run(tmp_path, [user_of(name, 2) for name in "abcdef"])
    # A user has 3 methods x 2 pairs x 2 orders, and one row without a verdict.
    page = made.page(max_judgments=27)
    data = data_in(page)
    assert len(data["users"]) == 2
    assert len({item[0] for item in data["items"]}) == 8
    assert "26 of 78 judgments" in " ".join(page.split())
    assert "2 of 6 users (chosen by their ids alone" in " ".join(page.split())
    assert page == made.page(max_judgments=27)


counts = st.dictionaries(
    st.tuples(st.sampled_from(["d", "e"]), st.text(max_size=3)), st.integers(1, 20), min_size=1, max_size=12
)


@given(counts, st.integers(0, 100))
def test_chosen_users_keep_the_limit_and_ignore_the_order(judgments: dict[tuple[str, str], int], limit: int) -> None:
    chosen = choose_whole(judgments, limit)
    assert chosen == choose_whole(dict(reversed(judgments.items())), limit)
    assert sum(judgments[key] for key in chosen) <= limit or len(chosen) == 1
    assert choose_whole(judgments, sum(judgments.values())) == frozenset(judgments)
    # Data sets take turns.
    of_d = sum(dataset == "d" for dataset, _ in chosen)
    all_d = sum(dataset == "d" for dataset, _ in judgments)
    of_e, all_e = len(chosen) - of_d, len(judgments) - all_d
    assert abs(of_d - of_e) <= 1 or of_d == all_d or of_e == all_e


def test_a_prompt_that_shows_what_others_taught_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def learned(training: Training) -> Weights:
        return Weights(names=tuple(user.user_id for user in training.users), mean=(), scale=())

    def adapt(known: Known) -> JudgeContext:
        assert known.artefact
        return JudgeContext(persona=f"others: {', '.join(known.artefact.names)}; {len(known.pairs)} own")

    shown = Method("shown", "judge", adapt, fit=learned, reads="shown", learns=True, by_k=True)
    monkeypatch.setitem(METHODS, "shown", shown)
    config = config_of(tmp_path, methods=["shown"], k=[1, "all"])
    plan, spec, sent = Plan(config), config.models["m"].spec("m"), dict[str, tuple[Message, ...]]()
    users, use = [user_of("ann", n_context=3), user_of("bob", n_context=3)], parse_method("shown")
    write_records(Path(plan.shard_paths("people")[0]), users)
    (fitted,), (verdicts,) = plan.paths("fit"), plan.verdict_paths()
    job = Job(config, RuntimeSettings(tmp_path, 1))
    fit_stage(job, users=[Path(plan.shard_paths("people")[0])], out=Path(fitted), dataset="people", method="shown")
    artefacts, settings = read_fitted([Path(fitted)]), judge_settings(config.models["m"], "text")
    with ResponseStore(config.store) as store:
        model = StoringModel(spec, store, "Because.", sent)
        rows = [
            asyncio.run(
                judge_user(model, user, use, settings, known_of(config, user, shown, artefacts, k=k, draw=draw))
            )
            for user in users
            for k, draw in turns_of(config, use)
        ]
    write_records(Path(verdicts), rows)
    write_resolved(tmp_path / "config.json", config)
    data = data_in(Made(config, tmp_path / "config.json", sent).page())
    # Two orders of a pair at two k by two users.
    assert len(data["calls"]) == len(sent) == 2 * 2 * 2
    assert [prompt_of(data, call) for call in data["calls"]] == [sent[call["key"]] for call in data["calls"]]
    assert "others: bob; 1 own" in str(sent)
