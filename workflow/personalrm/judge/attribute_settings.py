"""Typed settings of the scores by attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from personalrm.judge.attribute_bank import Bank, Use, load_bank
from personalrm.judge.attributes import Orders

Kinds = Literal["none", "model", "conversation_type"]


class AttributeSettings(BaseModel):
    """Models score all pairs of the run by named attributes, whoever the user is. Where the section is not given, this
    is done only for methods that need scores (docs/methods.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    bank: Path | None = None
    """File of attributes, in the form of `resources/attributes.yaml`, which is used if none is given."""
    use: Use = "all"
    """Attributes that models are asked about: all of the file, those marked `core`, or a list of ids."""
    orders: Orders = "both"
    """`one`: each pair is asked about in one order, which a coin of its content decides, at half the calls. What the
    model prefers for its position alone is then not removed from the scores."""
    models: list[str] | None = None
    """Models that score; all of `learn.models` if none are given."""
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    """Longest list of ratings, in tokens. Models whose first of `verdicts` is not `text` write none."""
    json_schema: bool = True
    """Hold ratings to a JSON schema (`response_format`). `false` for endpoints that reject it."""

    kinds: Kinds = "none"
    """Kinds of question on which a user's weights may depend, at most four per user. `model`: each model that scores
    names them from the user's own prompts, in one call per user. `conversation_type`: as the source calls them."""

    def selected(self) -> Bank:
        """The attributes that are asked about. Raises DataError for a file or an id that cannot be used."""
        return load_bank(self.bank).select(self.use)
