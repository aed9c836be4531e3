"""The section `tailor` of the config: systems that write answers for personas, and the models that are trained for
them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from personalrm.core.errors import ConfigError
from personalrm.data.pair_sets import FEW_SHOT, PairSet
from personalrm.personas.tailored import Inference, TrainType
from personalrm.studies.model_config import Positive
from personalrm.studies.reward_config import Seed
from personalrm.studies.study_config import Name, Section
from personalrm.train.policy_settings import ChoiceHyper, PolicySettings, TextHyper, Tuning

Step = Literal["sft", "dpo"]
_HYPER: dict[Step, Any] = {"sft": TypeAdapter(TextHyper), "dpo": TypeAdapter(ChoiceHyper)}
_LEARNED = ("examples", "sft_train", "sft_val", "dpo_train", "dpo_val")
"""Keys of splits that systems learn from, or are shown."""
Splits = Annotated[list[str], Field(min_length=1)]


class PolicyConfig(Section):
    """A base model, and how it is trained. Needs the extra `train`. Defaults are those of the paper's code; it used
    trl 0.13, peft 0.14 and transformers 4.47, and trained with `SFTTrainer` and `DPOTrainer` of that time."""

    base: str = "smollm2-135m"
    """Base model: an id of `personalrm models list`, a folder, or a hub id (`owner/name`)."""
    revision: str | None = None
    """Of a hub id: a commit, branch or tag."""
    tuning: Literal["lora", "full"] = "lora"
    """What is trained: low-rank adapters, or all weights."""
    rank: Positive = 16
    """Rank of the adapters."""
    alpha: Positive = 32
    """Scale of the adapters."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Dropout of the adapters, in supervised fine-tuning."""
    layers: Literal["default", "all"] = "default"
    """Layers with adapters: PEFT's default for the architecture, or all linear ones."""
    max_length: Positive = 512
    """Longest text that is learned, in tokens. A prompt loses its start, where the published code loses the end of the
    text."""
    max_prompt_length: Positive = 128
    """Longest prompt of the preference optimisation, in tokens."""
    sft: dict[str, JsonValue] = {}
    """Hyper-parameters of supervised fine-tuning (`train/policy_settings.py`, `TextHyper`)."""
    dpo: dict[str, JsonValue] = {}
    """Hyper-parameters of preference optimisation (the same file, `ChoiceHyper`)."""
    seed: Seed = 0
    """Seed of training."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of activations, and of weights that are not trained."""
    batch_tokens: Positive = 2048
    """Most tokens of a batch outside of training, padding included."""
    device: Annotated[str, Field(pattern=r"^[a-z]+(:\d+)?$")] = "cpu"
    """Where torch computes: `cpu`, or `cuda`."""
    threads: Positive = 2
    """Threads of torch in a job. Other numbers may change the last bits of results."""
    mem_mb: Positive = 4000
    """Memory of a job, in MB; a further attempt asks for more."""

    @property
    def gpus(self) -> int:
        """Graphics processors of a job."""
        return int(self.device.startswith("cuda"))

    def hyper_of(self, step: Step) -> Any:  # noqa: ANN401 - a dataclass of the step
        """The hyper-parameters of a step. Raises ConfigError, with one line per problem."""
        given = getattr(self, step)
        known = TextHyper if step == "sft" else ChoiceHyper
        unknown = sorted(given.keys() - known.__dataclass_fields__.keys())
        if unknown:
            fields = ", ".join(known.__dataclass_fields__)
            raise ConfigError("\n".join(f"{step}.{name}: unknown hyper-parameter; known: {fields}" for name in unknown))
        try:
            return _HYPER[step].validate_python(given)
        except ValidationError as error:
            lines = (f"{step}.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise ConfigError("\n".join(lines)) from None

    def settings(self, step: Step | None, device: str) -> PolicySettings:
        """How the model is opened for a training, or (None) for generation."""
        return PolicySettings(
            base=self.base,
            revision=self.revision,
            device=device,
            dtype=self.dtype,
            max_tokens=self.max_length if step else None,
            max_prompt_tokens=self.max_prompt_length if step == "dpo" else None,
            batch_tokens=self.batch_tokens,
        )

    @property
    def tuned(self) -> Tuning:
        """What a training changes."""
        return Tuning(self.tuning, self.rank, self.alpha, self.dropout, self.layers)


class SystemConfig(Section):
    """One system that writes an answer to each prompt."""

    strategy: Literal["few_shot", "sft", "dpo"]
    """`few_shot`: a model is shown examples; `sft`: a base is fine-tuned on responses; `dpo`: and then on preferences
    between the responses of a pair."""
    train: TrainType = "chosen"
    """Rows that it learns, or is shown as examples: with personas of chosen responses, of rejected ones, of both, or
    without personas (`none`); the latter are given a persona in the first person at the end of the prompt."""
    inference: Inference
    """The persona that an answer is tailored to: of the pair itself (`gold_…`), of the most similar training prompt
    (`retr_…`), the same for a whole data set (`system`), or none."""
    policy: str | None = None
    """A name under `tailor.policies`."""
    model: str | None = None
    """For `few_shot`, in place of `policy`: a name under `models`."""
    datasets: Annotated[list[str], Field(min_length=1)] | None = None
    """Data sets; all if none are given."""


class TailorConfig(Section):
    """Systems that write answers for personas, compared under `compare`."""

    policies: dict[Name, PolicyConfig] = {}
    """Base models by a name of your own."""
    systems: dict[Name, SystemConfig] = {}
    """Systems by a name of your own."""
    personas: dict[str, str] = {}
    """Persona by data set, for the inference type `system`: "The user is …"."""
    max_new_tokens: Positive = 512
    """Longest answer, in tokens."""
    min_new_tokens: Annotated[int, Field(ge=0)] = 10
    """Shortest answer of a fine-tuned model, in tokens."""
    answered: Splits = ["test"]
    """Splits whose prompts are answered."""
    examples: Splits = [FEW_SHOT]
    """Splits with the examples of `few_shot`."""
    shots: Positive = 5
    """Most examples: the first pairs by their ids."""
    sft_train: Splits = ["sft_train"]
    """Splits that supervised fine-tuning learns from."""
    sft_val: Splits = ["sft_val"]
    """Splits that choose its weights."""
    dpo_train: Splits = ["dpo_train"]
    """Splits that preference optimisation learns from."""
    dpo_val: Splits = ["dpo_val"]
    """Splits that choose its weights."""

    def splits_of(self, system: SystemConfig) -> list[str]:
        """Splits that a system reads."""
        read = [*self.answered]
        if system.strategy == "few_shot":
            return [*read, *self.examples]
        read += [*self.sft_train, *self.sft_val]
        return [*read, *self.dpo_train, *self.dpo_val] if system.strategy == "dpo" else read

    def told(self, datasets: Mapping[str, object]) -> dict[str, dict[str, Inference]]:
        """The persona that each system is told, by data set."""
        return {
            name: {one: entry.inference for one in datasets if entry.datasets is None or one in entry.datasets}
            for name, entry in self.systems.items()
        }


def tailor_problems(
    config: TailorConfig, datasets: Mapping[str, PairSet], models: Mapping[str, object], given: Mapping[str, object]
) -> Iterator[str]:
    """What is wrong in the section; `given` are systems whose answers are given. Each problem begins with its key."""
    for name, policy in config.policies.items():
        key = f"tailor.policies.{name}"
        for step in _HYPER:
            try:
                policy.hyper_of(step)
            except ConfigError as error:
                yield from (f"{key}.{line}" for line in str(error).splitlines())
    for key in _LEARNED:
        if config.systems and (both := sorted({*getattr(config, key)} & {*config.answered})):
            yield f"tailor.{key}: {', '.join(both)} is answered, too (tailor.answered); learn from other splits"
    for name in config.personas:
        if name not in datasets:
            yield f"tailor.personas.{name}: no such data set (there are: {', '.join(datasets)})"
    for name, system in config.systems.items():
        if name in given:
            yield f"tailor.systems.{name}: is a name under compare.given, too; give it another one"
        yield from _system_problems(f"tailor.systems.{name}", config, system, datasets, models)


def _system_problems(
    key: str,
    config: TailorConfig,
    system: SystemConfig,
    datasets: Mapping[str, PairSet],
    models: Mapping[str, object],
) -> Iterator[str]:
    if (system.model is None) == (system.policy is None):
        yield f"{key}: give policy or model, one of them"
    elif system.model is not None and system.strategy != "few_shot":
        yield f"{key}.model: only few_shot asks a model; give a policy, which is trained"
    for what, given, known in (("model", system.model, models), ("policy", system.policy, config.policies)):
        if given is not None and given not in known:
            yield f"{key}.{what}: no {what} {given!r} (there are: {', '.join(known) or 'none'})"
    for name in system.datasets or datasets:
        if name not in datasets:
            yield f"{key}.datasets: no data set {name!r} (there are: {', '.join(datasets)})"
            continue
        if system.inference == "system" and name not in config.personas:
            yield f"{key}.inference: tailor.personas has none for {name}; add one"
        splits = datasets[name].splits
        needed = config.splits_of(system)
        absent = [one for one in needed if (one == FEW_SHOT if splits is None else one not in splits)]
        if absent:
            read, add = (", ".join(dict.fromkeys(splits)) for splits in (needed, absent))
            yield f"{key}: reads the splits {read}; add {add} to datasets.{name}.splits"
