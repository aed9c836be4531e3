"""Files of fitted objects: what was learned, and the parameters that the object was made with. Never a key."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import ValidationError

from personalrm import __version__
from personalrm.app.library.base import PersonalRM
from personalrm.core.addresses import without_credentials
from personalrm.core.errors import ConfigError, DataError
from personalrm.core.files import atomic_write_text
from personalrm.core.records import Record
from personalrm.data.sharding import shard_name
from personalrm.llm.types import LanguageModel


class Saved(Record):
    """The file of a fitted object. `what` names what was learned, in messages and in the names of files.

    `model_id` is the model that learned; `settings` says how to reach it again, unless it was an `lm` (`own_model`).
    """

    what: ClassVar[str]
    personalrm: str
    model_id: str
    own_model: bool = False
    settings: dict[str, Any]

    @property
    @abstractmethod
    def user(self) -> str:
        """Id of the user who was learned."""


S = TypeVar("S", bound=Saved)


class LearningRM(PersonalRM, Generic[S]):
    """A judge that learns something, and can be saved, loaded and made again.

    A subclass sets `_saved_as`, and in its `__init__` `_given`: the parameters that its file keeps.
    """

    _saved_as: type[S]
    _renamed: ClassVar[Mapping[str, str]] = {}
    """Names of parameters in files of earlier versions, to those of today."""
    _given: dict[str, Any]

    @abstractmethod
    def _to_save(self, **common: Any) -> S:  # noqa: ANN401 - fields of Saved
        """The content of the file. Raises NotFittedError."""

    @abstractmethod
    def _take_saved(self, saved: S) -> None:
        """Make what was saved the object's own. Raises DataError where it does not go with the object."""

    @classmethod
    def _parameters(cls) -> frozenset[str]:
        """Parameters of the class that a file of a saved object keeps."""
        here = {"self", "user_id", "output_dir", "lm", "progress_update_hook"}
        return frozenset(inspect.signature(cls.__init__).parameters.keys() - here)

    def save(self, path: Path | str | None = None) -> Path:
        """Write settings and what was learned as JSON; returns the file.

        `path` is a file that ends in .json, or a folder, in which the file is named after the user (default:
        `output_dir`). The file holds the user's texts, and never a key. Raises NotFittedError, DataError where it
        cannot be written.
        """
        saved = self._to_save(
            personalrm=__version__,
            model_id=self.model_id,
            own_model=self.lm is not None,
            settings=_without_secrets(self._given),
        )
        file = _file_of(self._place(path), saved.user, self._saved_as)
        try:
            atomic_write_text(file, saved.model_dump_json(indent=1) + "\n")
        except OSError as error:
            raise DataError(f"{file}: cannot be written ({error.strerror or error}); give another path") from error
        return file

    def load(self, path: Path | str | None = None) -> Self:
        """Take over what was saved; returns the object, which is then as good as fitted.

        The object keeps its own settings; `from_saved` makes an object as the saved one was. `path` is a file or a
        folder (default: `output_dir`), in which the file is that of `user_id`, or the only one. Raises DataError.
        """
        self._take_saved(_read_saved(self._place(path), self.user_id, self._saved_as))
        return self

    @classmethod
    def from_saved(
        cls,
        path: Path | str,
        user_id: str | None = None,
        *,
        lm: LanguageModel | None = None,
        output_dir: Path | str | None = None,
        progress_update_hook: Callable[[float, str], object] | None = None,
        **changes: Any,  # noqa: ANN401  (parameters of the class, checked there)
    ) -> Self:
        """An object as it was saved, model and parameters included; `changes` are parameters that shall differ.

        An object that was made with an `lm` needs one again. Raises DataError, ConfigError.
        """
        saved = _read_saved(Path(path), user_id, cls._saved_as)
        if saved.own_model and lm is None and "model_id" not in changes:
            raise ConfigError(f"lm: the {saved.what} was learned by an lm ({saved.model_id}); give it, or a model_id")
        given = {cls._renamed.get(name, name): value for name, value in saved.settings.items()} | changes
        if odd := sorted(given.keys() - cls._parameters()):
            raise ConfigError(f"{', '.join(odd)}: no setting of this version of personalrm")
        make: Callable[..., Self] = cls
        made = make(**given, user_id=user_id, lm=lm, output_dir=output_dir, progress_update_hook=progress_update_hook)
        made._take_saved(saved)
        return made

    def _place(self, path: Path | str | None) -> Path:
        place = path or self.output_dir
        if place is None:
            raise ConfigError("path: give a file or a folder, or make the object with output_dir")
        return Path(place)


def _without_secrets(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as JSON has them, and addresses without credentials."""
    settings: dict[str, Any] = {**given, "model_options": dict(given["model_options"] or {})}
    for values, name in ((settings, "model_url"), (settings["model_options"], "api_base")):
        if values.get(name):
            values[name] = without_credentials(values[name])
    return {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}


def _file_of(path: Path, user_id: str, kind: type[Saved]) -> Path:
    """The file for a user: `path`, where it ends in .json, else one in the folder `path`, named after the user."""
    return path if path.suffix == ".json" else path / f"{shard_name(user_id)}.{kind.what}.json"


def _read_saved(path: Path, user_id: str | None, kind: type[S]) -> S:
    """Read the file `path`, or in a folder that of `user_id`, or its only one.

    Raises DataError where there is none, several, another user's, or one that this version does not know.
    """
    what = kind.what
    files = [path if path.is_file() else _file_of(path, user_id or "", kind)]
    if path.is_dir() and user_id is None:
        files = list(path.glob(f"*.{what}.json"))
        if len(files) > 1:
            raise DataError(f"{path}: holds {what}s of {len(files)} users; give user_id, or the file of one")
    if not files or not files[0].is_file():
        whose = "" if user_id is None else f" of user {user_id!r}"
        raise DataError(f"{path}: no saved {what}{whose} there; fit and save(path) first, or correct the path")
    (file,) = files
    try:
        saved = kind.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); save the fitted object again") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise DataError(
            f"{file}: {where}: {first['msg']}; not a {what} that this version of personalrm wrote: fit and save again"
        ) from error
    if user_id is not None and saved.user != user_id:
        raise DataError(f"{file}: is the {what} of user {saved.user!r}, not of {user_id!r}; correct path or user_id")
    return saved
