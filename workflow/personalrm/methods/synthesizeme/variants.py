"""Variants of the method: what the authors' package does, and what of it is repaired.

`as_published` decides as `SynthesizeMe` 0.0.11a1 does, its defects included; `corrected` has every repair.
`as_published-with-<repair>` and `corrected-without-<repair>` differ by one, so that an ablation can say which of them
matters. By default the two bases differ in one setting, too: the search of `as_published` and of its relatives ends
at a score of 80, that of `corrected` and of its relatives never (`config.StopScores`). Two things are repaired
everywhere, because no result could be trusted with them: an outage never counts as a wrong verdict (D14), and the coin
of presentation, where the data store none (`flip`), is seeded by the pair's content (D12). Behind a `+` stands what
changes the persona step alone: `+<theta>` an optimised prompt, `+json` personas as JSON (`persona_json.py`).

Known differences between `as_published` and the package, which no repair names (`tests/parity` holds the rest equal,
with the search of `config/config.yaml`):

- Prompts are our own: same content, other words. The package has the persona written after a chain of thought; ours
  is asked for the persona at once.
- The package asks up to four times where no verdict can be read, and each time once more for JSON; ours counts the
  answer as `unparsed`. At temperature 0, its default, its repeats are the same question again.
- The package lets every answer be 8,192 tokens long; ours are as long as `max_tokens` says (1,024 in
  `config/config.yaml`, for verdicts, reasoning and persona). An answer that is cut has no verdict.
- Rows that repeat a context with its two answers are one pair here; the package learns from each of them.
- Where the data store no `flip`, the package throws one coin after another from a constant seed, so that a pair's order
  depends on its place in the file; ours depends on the pair and the run's seed.
- The package gives a user up after ten errors while bootstrapping; here `max_failed_share` decides for all users.
- The answers of validation pairs that the package could not have count as wrong there, and not at all here (D14).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from personalrm.core.conditions import JSON, PersonaFormat, VariantId
from personalrm.core.errors import ConfigError

PUBLISHED, CORRECTED = "as_published", "corrected"


@dataclass(frozen=True)
class Repairs:
    """Which defects of the package are mended, by the numbers that `tests/parity/test_defects.py` lists.

    Attributes:
        labelled_demos: labelled demonstrations reach the judge's prompt; in the package only their number counts (D1).
        ranking: among candidates of equal score the larger mean log-odds wins (where the judge gives them), then more
            demonstrations with reasoning, then more demonstrations, then the smaller seed; in the package, whose scores
            have two digits, the smaller seed, which is "no demonstrations" (D2).
        resampling: a wrong first guess is sampled again; in the package the pair never gets a trace (D3).
        fallback: where no demonstration was found the persona reads all labelled pairs; in the package it is made of
            nothing (D4).
        shortening: the persona step leaves out whole judgements until they fit; in the package the user fails (D5).
        both_orders: validation pairs are judged in both orders; in the package in one.
        persona_check: a persona that says nothing is sampled again (`persona_quality.py`); the package keeps it.
    """

    labelled_demos: bool = True
    ranking: bool = True
    resampling: bool = True
    fallback: bool = True
    shortening: bool = True
    both_orders: bool = True
    persona_check: bool = True


REPAIRS: tuple[str, ...] = tuple(field.name for field in fields(Repairs))
ALL = Repairs()
NONE = Repairs(**dict.fromkeys(REPAIRS, False))


def _known() -> dict[str, Repairs]:
    known = {CORRECTED: ALL, PUBLISHED: NONE}
    known |= {f"{PUBLISHED}-with-{name}": replace(NONE, **{name: True}) for name in REPAIRS}
    known |= {f"{CORRECTED}-without-{name}": replace(ALL, **{name: False}) for name in REPAIRS}
    return known


VARIANTS: dict[str, Repairs] = _known()
"""Every variant without a Theta, by its name in the config, the tables and the folders of a run."""


@dataclass(frozen=True)
class Variant:
    """A variant as the config names it: `corrected`, `corrected+<theta>` with an optimised persona prompt, or
    `corrected+json`. Not both: a Theta is an instruction to write text."""

    repairs: Repairs
    theta: str | None
    persona_format: PersonaFormat = "text"


def parse_variant(name: str) -> Variant:
    """Read a name. Raises ConfigError for an unknown one; that the Theta exists is checked with the config."""
    asked = VariantId.parse(name)
    if asked.code not in VARIANTS or str(asked) != name:
        raise ConfigError(
            f"variants: no variant {name!r}; known: {', '.join(VARIANTS)}, and each with +<theta> or +{JSON}"
        )
    return Variant(VARIANTS[asked.code], asked.theta, asked.persona_format)
