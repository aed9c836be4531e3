"""The condition of a judgment: as columns of the collected verdicts, and as it is named in tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

from personalrm.core.conditions import MethodId, Pairs, PersonaFormat, VariantId, VerdictMode
from personalrm.core.records import BASELINE, JudgedUser
from personalrm.methods.registry import is_trained
from personalrm.results.labels import UNUSED, k_label, k_rank
from personalrm.results.lazy import pd

ROW_KEY: tuple[str, ...] = ("dataset", "variant", "profile_model", "judge_model", "method", "k")
"""Columns of a table that name a condition; `variant` and `method` are ids (`core.conditions`)."""
CONDITION_COLUMNS: tuple[str, ...] = (
    *("dataset", "method", "pairs", "verdict"),
    *("variant_base", "repair", "theta", "persona_format"),
    *("profile_model", "judge_model", "k"),
)
"""Columns of the collected verdicts that name a condition, in the order of `Condition`."""


class Condition(NamedTuple):
    """All that a judgment was made with but the draw: what a row of the main table stands for.

    `UNUSED` stands for a model, or a `k`, that the method does not use; `k` is a number or a name
    (`core.conditions.K`). The variant is `BASELINE` where no learned profile enters.
    """

    dataset: str
    method: MethodId = MethodId(UNUSED)
    variant: VariantId = VariantId(UNUSED)
    profile_model: str = UNUSED
    judge_model: str = UNUSED
    k: str = UNUSED

    @classmethod
    def of(cls, row: Mapping[str, object]) -> Condition:
        """The condition of a row of a table, from the columns `ROW_KEY`."""
        dataset, variant, profile, judge, method, k = (str(row[name]) for name in ROW_KEY)
        return cls(dataset, MethodId.parse(method), VariantId.parse(variant), profile, judge, k)

    @classmethod
    def of_user(cls, user: JudgedUser) -> Condition:
        """The condition of a row of a verdicts file."""
        models = user.profile_model or UNUSED, user.judge_model or UNUSED
        return cls(user.dataset, MethodId.parse(user.method), VariantId.parse(user.variant), *models, k_label(user.k))

    @classmethod
    def of_columns(cls, values: tuple[str, ...]) -> Condition:
        """The condition with these values of `CONDITION_COLUMNS`."""
        dataset, name, pairs, verdict, base, repair, theta, persona_format, *rest = values
        repair_of, theta_of, as_format = (None if text == UNUSED else text for text in (repair, theta, persona_format))
        method = MethodId(name, cast("Pairs", pairs), cast("VerdictMode", verdict))
        variant = VariantId(base, repair_of, theta_of, cast("PersonaFormat", as_format or "text"))
        return cls(dataset, method, variant, *rest)

    @property
    def columns(self) -> tuple[str, ...]:
        """Values of `CONDITION_COLUMNS`; what a condition does not have is `UNUSED`."""
        variant = self.variant if self.variant.base != BASELINE else (BASELINE, None, None, None)
        return (self.dataset, *self.method, *(part or UNUSED for part in variant), *self[3:])

    @property
    def row(self) -> dict[str, str]:
        """The columns `ROW_KEY` of a table."""
        return dict(zip(ROW_KEY, self.names, strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        """Values of `ROW_KEY`. Seeds of resamples are made of them."""
        models = self.profile_model, self.judge_model
        return self.dataset, str(self.variant), *models, str(self.method), self.k

    @property
    def order(self) -> tuple[object, ...]:
        """Sort key: `names`, with numbers before "all" as `k`."""
        return *self.names[:-1], k_rank(self.k)

    @property
    def default(self) -> Condition:
        """The unpersonalised judge: same data set, judge, pairs and kind of verdict. Nothing is left out of what learns
        nothing, so that it judges all pairs at once."""
        pairs: Pairs = "all" if self.method.pairs == "loo" else self.method.pairs
        method = self.method._replace(name="default", pairs=pairs)
        return Condition(self.dataset, method, VariantId(BASELINE), judge_model=self.judge_model)

    @property
    def judged(self) -> bool:
        """Whether a model judges."""
        return self.judge_model != UNUSED

    @property
    def own(self) -> bool:
        """Whether the judge is shown profiles that it learned itself, or none; a trained reward model learns none, and
        was trained with those that it is shown."""
        return self.profile_model in (self.judge_model, UNUSED) or is_trained(self.method.name)


def by_condition(frame: pd.DataFrame) -> Iterator[tuple[Condition, pd.DataFrame]]:
    """The rows of each condition of collected verdicts or calls, in the order of the conditions."""
    groups = frame.groupby(list(CONDITION_COLUMNS), observed=True, sort=False)
    found = [(Condition.of_columns(tuple(map(str, key))), rows) for key, rows in groups]
    yield from sorted(found, key=lambda group: group[0].order)
