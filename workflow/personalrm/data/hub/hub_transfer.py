"""One file from a data set repository of the Hugging Face hub: what the hub says of it, and its bytes.

`huggingface_hub` does the work (redirects, large-file storage, the user's own cache, resumes); here its many errors
become one line each, and those that may pass are tried again. No text of the server is repeated: it could quote a
token.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from personalrm.core.addresses import without_credentials
from personalrm.core.errors import ConfigError, DataError, PersonalRMError
from personalrm.data.settings import HubSource

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

Result = TypeVar("Result")

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LONGEST_PAUSE_S = 30.0


class TransientDataError(DataError):
    """The hub failed in a way that may pass: worth another attempt."""


@dataclass(frozen=True)
class RemoteFile:
    """What the hub says of a file: the commit that the revision names, bytes, and SHA-256 (large files only)."""

    commit: str
    size: int | None
    sha256: str | None


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _shown_endpoint() -> str:
    return without_credentials(_endpoint())


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE (or, as for the library, TRANSFORMERS_OFFLINE) forbids all access to the hub."""
    return (os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or "").lower() in {
        "1",
        "true",
        "yes",
        "on",
    }


@dataclass(frozen=True)
class HubTransfer:
    """Access to the repository of a data set; `dataset` is its name in the config, for messages.

    Passing failures (408, 429, 5xx, cut connections, damaged bodies) are tried `attempts` times in all, after pauses of
    `pause_s`, twice that, and so on. `note` gets a line for each.
    """

    dataset: str
    source: HubSource
    note: Callable[[str], object]
    attempts: int = 4
    pause_s: float = 1.0

    def look_up(self, name: str, revision: str) -> RemoteFile:
        """Ask for a file's size and checksum. Raises DataError or ConfigError, in one line that says what to do."""
        hub = self._library()
        url = hub.hf_hub_url(self.source.repo, name, repo_type="dataset", revision=revision, endpoint=_endpoint())
        found = self.insist(name, lambda: hub.get_hf_file_metadata(url, endpoint=_endpoint()))
        if not found.commit_hash or not found.etag:
            raise self._error(f"{_shown_endpoint()} answers, but not as a hub does; correct HF_ENDPOINT, or unset it")
        is_sha256 = re.fullmatch(r"[0-9a-f]{64}", found.etag)
        return RemoteFile(found.commit_hash, found.size, found.etag if is_sha256 else None)

    def download(self, name: str, commit: str, into: Path) -> Path:
        """Bring one file into a folder, complete in size; its checksum is the caller's to see to."""
        hub = self._library()
        # A library's bar is for people who watch; in a log it would be noise.
        bars = nullcontext() if sys.stderr.isatty() else hub.utils.disable_progress_bars()
        with bars:
            return Path(
                hub.hf_hub_download(
                    self.source.repo,
                    name,
                    repo_type="dataset",
                    revision=commit,
                    local_dir=into,
                    endpoint=_endpoint(),
                )
            )

    def insist(self, name: str, action: Callable[[], Result]) -> Result:
        """Run `action`, again while its failures may pass, and translate the last one."""
        from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

        def say(state: RetryCallState) -> None:
            if state.outcome is not None and state.next_action is not None:
                self.note(f"{state.outcome.exception()}; again in {state.next_action.sleep:g} s")

        retrying = Retrying(
            retry=retry_if_exception_type(TransientDataError),
            stop=stop_after_attempt(self.attempts),
            wait=wait_exponential(multiplier=self.pause_s, max=_LONGEST_PAUSE_S),
            before_sleep=say,
            reraise=True,
        )
        result: Result = retrying(self._once, name, action)
        return result

    def require_room(self, name: str, size: int | None, folder: Path) -> None:
        """Refuse a download that would fill the disk."""
        free = shutil.disk_usage(folder).free
        if size is not None and size > free:
            raise self._no_room(f"{name} has {size / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free")

    def _once(self, name: str, action: Callable[[], Result]) -> Result:
        import httpx

        # The causes are cut off (`from None`): a traceback of the library could show a header.
        try:
            return action()
        except PersonalRMError:
            raise
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise self._translate(name, error) from None

    def _translate(self, name: str, error: BaseException) -> PersonalRMError:
        import httpx
        from huggingface_hub.errors import (
            FileMetadataError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
        )

        endpoint = _shown_endpoint()
        if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
            return self._translate(name, error.__cause__)
        if isinstance(error, HfHubHTTPError):
            return self._refusal(name, error)
        if isinstance(error, OfflineModeIsEnabled):
            return self._offline()
        if isinstance(error, FileMetadataError):
            return self._error(f"{endpoint} answers, but not as a hub does; correct HF_ENDPOINT, or unset it")
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            return ConfigError(f"HF_ENDPOINT: no usable address ({type(error).__name__}); correct it, or unset it")
        if isinstance(error, httpx.HTTPError):
            return TransientDataError(
                f"{self._where()}: {endpoint} could not be reached, or hung up on {name} ({type(error).__name__}); "
                f"check the connection and HF_ENDPOINT, or put the files into {self.source.folder} by hand"
            )
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return self._no_room(f"{name} did not fit ({os.strerror(error.errno)})")
        if isinstance(error, OSError) and error.errno is not None:
            return self._error(f"cannot write {name} to {self.source.folder}: {os.strerror(error.errno)}")
        if isinstance(error, OSError):
            # The library's check of the size, after the last byte came.
            return TransientDataError(f"{self._where()}: {name} came with a wrong number of bytes")
        return ConfigError(f"datasets.{self.dataset}.hub: the hub's library refuses {name!r} or {self.source.repo!r}")

    def _refusal(self, name: str, error: HfHubHTTPError) -> PersonalRMError:
        """What an answer of 4xx or 5xx means."""
        from huggingface_hub import errors

        status, endpoint, key = (
            error.response.status_code,
            _shown_endpoint(),
            f"datasets.{self.dataset}.hub",
        )
        page, revision = f"{endpoint}/datasets/{self.source.repo}", self.source.revision
        if isinstance(error, errors.GatedRepoError | errors.RepositoryNotFoundError) or status == 401:
            return self._no_access(error, page)
        if isinstance(error, errors.RevisionNotFoundError):
            return self._error(f"there is no revision {revision}; correct {key}.revision; see {page}/commits/main")
        if isinstance(error, errors.EntryNotFoundError):
            named = ", ".join(self.source.files)
            return self._error(f"there is no file {name!r}; {key}.files names {named}; see {page}/tree/{revision}")
        if status in {408, 429} or status >= 500:
            return TransientDataError(f"{self._where()}: {endpoint} answers HTTP {status} for {name}; try again later")
        advice = "the account of HF_TOKEN may not read it; " if status == 403 else ""
        return self._error(f"{endpoint} answers HTTP {status} for {name}; {advice}see {page}")

    def _no_access(self, error: HfHubHTTPError, page: str) -> DataError:
        """The hub's answers differ little between a repository that is gated, private or absent, and a bad token."""
        from huggingface_hub import errors, get_token

        token, said = get_token() is not None, error.response.headers.get("X-Error-Message", "")
        absent = isinstance(error, errors.RepositoryNotFoundError) and not said.startswith("Invalid")
        if isinstance(error, errors.GatedRepoError):
            whose = (
                "with the account of the HF_TOKEN in use" if token else "and set HF_TOKEN to a token of that account"
            )
            return self._error(f"it is gated; accept the terms at {page} {whose} (approval may take time)")
        if token and not absent:
            return self._error(f"{page} refuses the HF_TOKEN in use (wrong or expired); make a new one, or unset it")
        hint = "the account of the HF_TOKEN in use may not see it" if token else "it is private: then set HF_TOKEN"
        return self._error(f"there is no data set {page}, or {hint}; correct datasets.{self.dataset}.hub.repo")

    def _where(self) -> str:
        return f"datasets.{self.dataset}.hub: {self.source.repo}, revision {self.source.revision}"

    def _error(self, text: str) -> DataError:
        return DataError(f"{self._where()}: {text}")

    def _offline(self) -> DataError:
        return self._error(
            f"files are missing and HF_HUB_OFFLINE is set; unset it, or put them into {self.source.folder} by hand"
        )

    def _no_room(self, what: str) -> DataError:
        return self._error(
            f"no room below {self.source.folder}: {what}; free some, or make data/ a link to a larger disk"
        )

    def _library(self) -> Any:  # noqa: ANN401
        if is_offline():
            raise self._offline()
        # Read by the library as it is imported. No telemetry; and plain HTTP, whose failures can be told apart, rather
        # than the Xet protocol, which mirrors do not speak.
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
        import huggingface_hub

        # Its warnings quote addresses that may be signed; ours say the same.
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        token = huggingface_hub.get_token()
        if token and not (token.isascii() and token.isprintable() and " " not in token):
            raise ConfigError("HF_TOKEN: holds characters that no token has; set it again")
        return huggingface_hub
