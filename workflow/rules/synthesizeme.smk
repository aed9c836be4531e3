"""The rules of SynthesizeMe, and what they need to know.

INPUTS   data/<dataset>/shards/<shard>.jsonl
OUTPUTS  PAGES, further pages of a run
"""

from personalrm.methods.registry import METHODS


def of_method(field):
    """What a method needs to learn from other users, as a function of the wildcards."""
    return lambda wildcards: getattr(METHODS[wildcards.method].resources, field)


FIT_MB, FIT_MINUTES = of_method("mem_mb"), of_method("runtime")


def of_reward(field):
    """What the jobs of a reward model need, from its entry in the config, as a function of the wildcards."""

    def ask(wildcards):
        entries = CONFIG.reward_models
        if hasattr(wildcards, "reward"):
            return getattr(entries[wildcards.reward], field)
        # Features are shared by all entries with the same encoder.
        shared = (e for e in entries.values() if e.encoder_id == wildcards.encoder)
        return max(getattr(entry, field) for entry in shared)

    return ask


REWARD_MB = of_reward("mem_mb")


include: "filters.smk"
include: "attributes.smk"
include: "bootstrap.smk"
include: "thetas.smk"
include: "profiles.smk"
include: "verdicts.smk"
include: "rewards.smk"
include: "personas.smk"
include: "transcripts.smk"


PAGES = rules.transcripts.output
