"""The typed columns of a table: the frame that is written as csv, and the same frame read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.results.lazy import pd


class Columns(tuple[str, ...]):
    """Names of the columns in their order. `texts`, `whole` numbers (which may be missing) and `flags` (truth values)
    name those of that type; all others are floats."""

    kinds: dict[str, Any]
    """Column to its pandas type."""

    def __new__(
        cls, names: Iterable[str], *, texts: Sequence[str] = (), whole: Sequence[str] = (), flags: Sequence[str] = ()
    ) -> Columns:
        """Raises ValueError if a type is given for a column that does not exist."""
        self = super().__new__(cls, names)
        self.kinds = dict.fromkeys(self, "float64")
        for kind, typed in (("str", texts), ("Int64", whole), ("bool", flags)):
            if unknown := set(typed) - set(self):
                raise ValueError(f"no such columns: {', '.join(sorted(unknown))}")
            self.kinds |= dict.fromkeys(typed, kind)
        return self

    @classmethod
    def text(cls, *names: str) -> Columns:
        """Columns that are all texts."""
        return cls(names, texts=names)

    @classmethod
    def joined(cls, *parts: Columns | str) -> Columns:
        """The columns of all parts in their order; a part that is a name is a column of floats."""
        columns = [cls((part,)) if isinstance(part, str) else part for part in parts]
        made = cls(name for part in columns for name in part)
        made.kinds = {name: kind for part in columns for name, kind in part.kinds.items()}
        return made

    def prefixed(self, prefix: str) -> Columns:
        """The same columns with a prefix in their names."""
        made = Columns(prefix + name for name in self)
        made.kinds = {prefix + name: kind for name, kind in self.kinds.items()}
        return made

    def frame(self, rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
        """A frame with a row for each of `rows`; what a row does not have is missing."""
        return self.typed(pd.DataFrame(list(rows), columns=list(self)))

    def typed(self, table: pd.DataFrame) -> pd.DataFrame:
        """The same table, its columns with their types."""
        return table.astype(self.kinds)

    def read(self, path: Path) -> pd.DataFrame:
        """The frame from its csv file."""
        # Ids may read "NA" or "1e5": they stay text, and only an empty field is a missing number.
        text = pd.read_csv(path, dtype="str", keep_default_na=False)
        for name, kind in self.kinds.items():
            if kind == "bool":
                text[name] = text[name] == "True"
            elif kind != "str":
                text[name] = text[name].mask(text[name] == "")
        return self.typed(text)
