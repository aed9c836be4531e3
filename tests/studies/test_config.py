from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from personalrm.core.conditions import K, MethodId
from personalrm.core.errors import ConfigError
from personalrm.judge.prompting import load_prompt
from personalrm.run.stage import Wildcards
from personalrm.studies.config_load import load_config, parse_config, read_resolved, write_resolved
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.seen import judged_methods

BASE: dict[str, Any] = {
    "run": "x",
    "datasets": {"d": {"path": "votes.jsonl"}},
    "models": {"m": {"backend": "openai", "model": "gpt", "api_base": "http://x/v1"}},
    "learn": {"models": ["m"]},
}


def changed(path: str, value: object) -> dict[str, Any]:
    raw = copy.deepcopy(BASE)
    *sections, key = path.split(".")
    inner = raw
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[key] = value
    return raw


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("colour", 1, "colour: unknown key"),
        ("models.m.backnd", 1, "models.m.backnd: unknown key; did you mean 'backend'?"),
        ("datasets.d.pth", 1, "datasets.d.pth: unknown key; did you mean 'path'?"),
        ("learn.bootstrap.attempts", "many", "learn.bootstrap.attempts: "),
        ("k", ["few"], "k.0: "),
        ("k", [0], "k.0: "),
        ("methods", ["defualt"], "methods: unknown method 'defualt'"),
        ("models.m.api_key", "sk-canary-1", "models.m.api_key: holds a credential?"),
        ("learn.models", ["n"], "learn.models: no model 'n' under 'models' (there are: m)"),
        ("transfer.pairs", [["m", "n"]], "transfer.pairs: no model 'n'"),
        ("models.m.prompts", "compact", "models.m.verdicts: 'text' is not read from compact prompts"),
        ("models.M", {"model": "q"}, "models.M: differs from 'm' by case only"),
        ("models.m-to-m", {"model": "q"}, "models.m-to-m: 'm' with judge 'm-to-m' and 'm-to-m' with judge 'm' would"),
        ("models.M-by-m", {"model": "q"}, "models.M-by-m: 'm' with judge 'M-by-m' and 'M-by-m' with judge 'm' would"),
        ("run", "../x", "run: '../x' becomes a folder"),
        ("models.m", {"backend": "openai", "model": "gpt"}, "models.m: backend 'openai' needs api_base"),
        ("datasets", {}, "datasets: "),
        ("results", "my {x}", "results: my {x}: Snakemake reads braces"),
        ("datasets.d.path", "{x}.jsonl", "datasets.d: {x}.jsonl: Snakemake reads braces"),
        ("datasets.d.planted", "{.json", "datasets.d: {.json: Snakemake reads braces"),
        ("datasets.d.shards", 0, "datasets.d.shards: "),
        ("learn.search.strategy", "halving", "learn.search.strategy: removed in version 0.2.0: delete this key."),
        ("models.m", {"model": "gpt", "batch": {}}, "models.m: batch: backend 'litellm' sends no batches; remove it"),
        ("models.m.batch", {"poll": 1}, "models.m.batch.poll: unknown key; did you mean 'poll_s'?"),
        ("models.m.batch.price", 50, "models.m.batch.price: "),
    ],
)
def test_each_problem_is_one_line_with_the_path_of_the_key(path: str, value: object, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(changed(path, value))
    message = str(caught.value)
    assert message.startswith(line)
    assert "\n" not in message
    assert "canary" not in message


def test_a_judge_that_reads_words_needs_a_model_with_text_verdicts() -> None:
    raw = changed("models.m.verdicts", ["logprob"])
    raw["methods"] = ["both", "criteria"]
    with pytest.raises(ConfigError, match="methods: 'criteria' reads no log-probabilities"):
        parse_config(raw)
    raw["models"]["n"] = BASE["models"]["m"]
    raw["learn"]["models"] = ["m", "n"]
    assert parse_config(raw).methods == ["both", "criteria"]


def test_all_problems_are_listed_at_once() -> None:
    raw = changed("colour", 1)
    raw["seed"] = "x"
    with pytest.raises(ConfigError) as caught:
        parse_config(raw)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: a\nmodels:\n  m: {model: x}\n  m: {model: y}\n", "line 4: 'm' is given twice (first in line 3)"),
        ("run: x\nk: [", "line 2: not valid YAML"),
        ("run: 2024-13-45\n", "not valid YAML: month must be in 1..12; put dates and numbers in quotes"),
        ("- a\n", "must hold keys"),
    ],
)
def test_yaml_problems_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_missing_and_non_utf8_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such config file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("run: caf\xe9\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    "name", ["config", "personalrewardbench", "open_models", "quickstart", "showcase", "local.example"]
)
def test_bundled_configs_are_valid(name: str) -> None:
    load_config(Path(__file__).parents[2] / "config" / f"{name}.yaml")


def test_quickstart_keeps_its_floors() -> None:
    config = load_config(Path(__file__).parents[2] / "config" / "quickstart.yaml")
    users = config.datasets["quickstart"].max_users
    assert users is None or users >= 4
    assert config.ks == ("all",)
    assert config.scoring is not None
    assert (config.scoring.use, config.scoring.orders) == ("core", "one")
    assert {"default", "both", "attributes", "attributes@loo", "words", "measured_persona"} <= set(config.methods)
    assert len(config.learn.search.seeds) <= 3
    assert config.learn.search.max_bootstrapped_demos in (2, 3)
    assert max(config.learn.bootstrap.max_tokens, config.learn.persona.max_tokens) <= 64
    assert config.variants == ["corrected"]


def test_resolved_config_round_trips(tmp_path: Path) -> None:
    config = parse_config(BASE)
    write_resolved(tmp_path / "c.json", config)
    assert read_resolved(tmp_path / "c.json") == config


def test_fingerprint_follows_what_a_stage_reads_and_nothing_else() -> None:
    config = parse_config(BASE)

    def prints(raw: dict[str, Any]) -> tuple[str, str, str]:
        plan = Plan(parse_config(raw))
        return (
            plan.reads("bootstrap", model="m", variant="corrected"),
            plan.reads("profile", model="m", variant="corrected", k="all"),
            plan.reads("judge", variant="corrected", model="m", judge="m", k="all"),
        )

    base = prints(BASE)
    assert prints(changed("models.m.timeout_s", 5)) == base
    # Another server is another model; another spelling of its address is not.
    assert prints(changed("models.m.api_base", "http://y/v1")) != base
    assert prints(changed("models.m.api_base", "HTTP://X:80/v1/")) == base
    assert prints(changed("models.m.batch", {"price": 0.4})) == base
    assert prints(changed("statistics.seed", 5)) == base
    attempts = prints(changed("learn.bootstrap.attempts", 9))
    assert attempts[0] != base[0]
    assert attempts[2] == base[2]
    persona = prints(changed("learn.persona.max_tokens", 9))
    assert (persona[0], persona[2]) == (base[0], base[2])
    assert persona[1] != base[1]
    assert all(a != b for a, b in zip(prints(changed("models.m.model", "other")), base, strict=True))
    exhaustive = prints(changed("learn.search.exhaustive", True))
    assert (exhaustive[0], exhaustive[2]) == (base[0], base[2])
    assert exhaustive[1] != base[1]
    judging = {"variant": "corrected", "model": "m", "judge": "m", "k": "all"}
    criteria = Plan(parse_config({**BASE, "methods": ["criteria"]})).reads("judge", **judging)
    assert all(load_prompt(name).id in criteria for name in ("criteria", "criteria_scores", "judge_standard"))
    assert config.ks == ("all",)


def test_method_ids_name_how_verdicts_are_read() -> None:
    raw = changed("models.m.verdicts", ["text", "logprob_both"])
    raw["methods"] = ["random", "default"]
    config = parse_config(raw)
    assert judged_methods(config, "nothing") == ["random"]
    (spec,) = judged_methods(config, "judge", judge="m")
    assert [str(MethodId.parse(spec)._replace(verdict=mode)) for mode in config.models["m"].verdicts] == [
        "default",
        "default.logprob_both",
    ]


def test_axes_are_of_the_largest_k_and_of_the_largest_with_several_draws() -> None:
    def ks(k: list[Any], draws: int) -> list[K]:
        return parse_config({**BASE, "k": k, "draws": draws, "analysis": {"axes": {}}}).axes_ks

    def jobs(config: Config, stage: str) -> list[Wildcards]:
        plan = Plan(config)
        return list(plan.stages[stage].combinations(plan))

    assert ks([1, 5, "all"], 2) == ["all", 5]
    assert ks([1, 5, "all"], 1) == ["all"]
    assert ks([1, 5], 2) == [5]
    config = parse_config({**BASE, "analysis": {"fidelity": {}, "axes": {}}})
    assert (config.axes_models, config.axes_asked) == (["m"], "m")
    assert {(job.model, job.judge) for job in jobs(config, "fidelity")} == {("m", "m")}
    bare = parse_config(BASE)
    assert (jobs(bare, "fidelity"), bare.axes_models, bare.axes_asked, bare.axes_ks) == ([], [], None, [])
    assert ks(["all"], 3) == ["all"]


def test_an_analysis_depends_on_its_own_settings_alone() -> None:
    base = parse_config({**BASE, "analysis": {"fidelity": {}, "axes": {}}})
    more = parse_config({**BASE, "analysis": {"fidelity": {"others": 2}, "axes": {}}})
    fewer = parse_config({**BASE, "analysis": {"fidelity": {}, "axes": {"max_axes": 3}}})

    def prints(config: Config) -> list[str]:
        return [Plan(config).reads(stage, judge="m") for stage in ("fidelity", "axes", "tag")]

    assert [a == b for a, b in zip(prints(base), prints(more), strict=True)] == [False, True, True]
    assert [a == b for a, b in zip(prints(base), prints(fewer), strict=True)] == [True, False, True]


def test_methods_that_are_given_twice_or_are_no_baselines_are_a_line_each() -> None:
    raw = {"run": "r", "datasets": {"d": {"path": "v"}}, "methods": ["random", "surface", "random"]}
    with pytest.raises(ConfigError) as caught:
        parse_config({**raw, "transfer": {"baselines": ["default@all", "defualt", "both", "default@some"]}})
    assert str(caught.value).splitlines() == [
        "methods: 'random' is given twice",
        *(
            f"transfer.baselines: {name!r} is not a method without a profile"
            for name in ("defualt", "both", "default@some")
        ),
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"learn": {"models": ["m", "m"]}}, "learn.models: 'm' is given twice"),
        ({"variants": ["corrected", "corrected"]}, "variants: 'corrected' is given twice"),
        ({"k": [1, "all", 1]}, "k: 1 is given twice"),
        ({"attributes": {"models": ["m", "m"]}}, "attributes.models: 'm' is given twice"),
        ({"transfer": {"pairs": [["m", "n"], ["m", "n"]]}}, "transfer.pairs: ('m', 'n') is given twice"),
        ({"transfer": {"pairs": [["m", "m"]]}}, "transfer.pairs: ('m', 'm') is no transfer"),
        ({"transfer": {"methods": ["both", "both"]}}, "transfer.methods: 'both' is given twice"),
        ({"transfer": {"baselines": ["default", "default"]}}, "transfer.baselines: 'default' is given twice"),
        ({"models": {"verdicts": ["text", "text"]}}, "models.m.verdicts: 'text' is given twice"),
    ],
)
def test_what_would_be_judged_twice_is_refused_before_the_run(changes: dict[str, Any], problem: str) -> None:
    model = {"backend": "openai", "model": "x", "api_base": "http://127.0.0.1:9/v1"}
    models = {"m": model | changes.pop("models", {}), "n": model | {"model": "y"}}
    config = {"run": "r", "datasets": {"d": {"path": "v.jsonl"}}, "models": models, "learn": {"models": ["m"]}}
    parse_config(config | {"models": {"m": model, "n": models["n"]}})
    with pytest.raises(ConfigError) as caught:
        parse_config(config | changes)
    assert str(caught.value).splitlines()[0].startswith(problem)
