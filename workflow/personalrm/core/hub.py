"""Files of the Hugging Face hub, or of a mirror of it (`HF_ENDPOINT`): looked up, downloaded, resumed, checked.

`huggingface_hub` makes the requests. Here its errors become one line each, without any text of the server, which could
quote a token. Its `hf_hub_download` deletes an unfinished file when it fails; `http_get` below it does not, so that the
next attempt, of this process or of another one, requests only the bytes that are missing.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from personalrm.core.addresses import proxy_problem, without_credentials
from personalrm.core.errors import PersonalRMError
from personalrm.core.extras import require_extra
from personalrm.core.files import sha256_file

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_HUB = "answers, but not as a hub does; correct HF_ENDPOINT, or unset it"


class HubError(PersonalRMError):
    """A file is not available from the hub. The message of one line says why and what to do; the caller adds the place.

    `passing`: the failure (408, 429, 5xx, cut connection, damaged body) may be gone at the next attempt.
    """

    def __init__(self, message: str, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True)
class HubFile:
    """A file of a repository (`owner/name`). `revision` is a commit, a branch or a tag."""

    repo: str
    name: str
    revision: str = "main"
    kind: Literal["model", "dataset"] = "dataset"

    @property
    def page(self) -> str:
        """Address of the repository, for messages."""
        return f"{_shown_endpoint()}/{'datasets/' * (self.kind == 'dataset')}{self.repo}"


@dataclass(frozen=True)
class RemoteFile:
    """What the hub states about a file: the commit that the revision names, bytes, and the checksum.

    `etag` is the SHA-256 of a large file and the git hash (SHA-1) of a small one. `location` is where the bytes are:
    the hub itself, or another host.
    """

    commit: str
    size: int | None
    etag: str
    location: str

    @property
    def sha256(self) -> str | None:
        """The SHA-256, known for large files only."""
        return self.etag if re.fullmatch(r"[0-9a-f]{64}", self.etag) else None

    def is_content_of(self, path: Path) -> bool:
        """Whether a file holds what the hub has, as far as its checksum tells."""
        if self.sha256:
            return sha256_file(path) == self.sha256
        content = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        with path.open("rb") as stream:
            hashlib.file_digest(stream, lambda: content)
        return not re.fullmatch(r"[0-9a-f]{40}", self.etag) or content.hexdigest() == self.etag


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE (or, as for the library, TRANSFORMERS_OFFLINE) forbids all access to the hub."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.lower() in {"1", "true", "yes", "on"}


def look_up(file: HubFile, timeout_s: float = 10.0) -> RemoteFile:
    """Ask the hub for a file's size and checksum. Raises HubError; `timeout_s` limits connecting and answering."""
    hub = _library()
    with _one_line_errors(file):
        url = hub.hf_hub_url(file.repo, file.name, repo_type=file.kind, revision=file.revision, endpoint=_endpoint())
        found = hub.get_hf_file_metadata(url, endpoint=_endpoint(), timeout=timeout_s)
    if not found.commit_hash or not found.etag:
        raise HubError(f"{_shown_endpoint()} {_NO_HUB}")
    return RemoteFile(found.commit_hash, found.size, found.etag, found.location)


def download(file: HubFile, remote: RemoteFile, target: Path) -> None:
    """Download a file to `target`, whole and with the hub's checksum, or raise HubError.

    A `target` that is right already is left alone. Until it is complete, the file is `<target>.<etag>.part`; bytes
    in there from an earlier attempt are not requested again. The token is sent to the hub's own host only.
    """
    hub = _library()
    with _one_line_errors(file, target.parent):
        if target.is_file() and remote.is_content_of(target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{remote.etag[:12]}.part")
        have = part.stat().st_size if part.is_file() else 0
        if remote.size is not None and (free := shutil.disk_usage(target.parent).free) < remote.size - have:
            raise _no_room(
                target.parent, f"{file.name} has {remote.size / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free"
            )
        if have != remote.size:
            _receive(hub, file, remote, part, have)
        if not remote.is_content_of(part):
            part.unlink()
            raise HubError(f"{file.name} was damaged on the way: its checksum is not the hub's", passing=True)
        os.replace(part, target)


def _receive(hub: Any, file: HubFile, remote: RemoteFile, part: Path, have: int) -> None:  # noqa: ANN401
    """Append the missing bytes to `part`."""
    from huggingface_hub.file_download import http_get

    headers = hub.utils.build_hf_headers()
    # Scheme and host: a token must not go over http where the hub is at https either.
    if urlsplit(remote.location)[:2] != urlsplit(_endpoint())[:2]:
        headers.pop("authorization", None)
    # Bytes must not be compressed on the way, or ranges would count other bytes.
    headers["Accept-Encoding"] = "identity"
    bars = nullcontext() if sys.stderr.isatty() else hub.utils.disable_progress_bars()
    with bars, part.open("ab") as stream:
        http_get(
            remote.location,
            stream,
            resume_size=have,
            headers=headers,
            expected_size=remote.size,
            displayed_filename=file.name,
        )
        stream.flush()
        os.fsync(stream.fileno())


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _shown_endpoint() -> str:
    return without_credentials(_endpoint())


def _library() -> Any:  # noqa: ANN401
    if is_offline():
        raise HubError("HF_HUB_OFFLINE is set; unset it, or put the files there by hand")
    # Read by the library as it is imported. No telemetry; and plain HTTP, whose failures can be told apart, rather
    # than the Xet protocol, which mirrors do not speak.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    require_extra("data", "files of the hub", "huggingface_hub")
    import huggingface_hub

    # Its warnings quote addresses that may be signed; ours say the same.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    # The library removes line ends from a token, and sends what is left.
    token = os.environ.get("HF_TOKEN", "").strip() or huggingface_hub.get_token()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise HubError("HF_TOKEN holds characters that no token has; set it again")
    return huggingface_hub


@contextmanager
def _one_line_errors(file: HubFile, folder: Path = Path()) -> Iterator[None]:
    """Raise HubError for what the library raises; causes are cut off, as their tracebacks could show a header."""
    import httpx
    from huggingface_hub import errors

    try:
        yield
    except HubError:
        raise
    except errors.HfHubHTTPError as error:
        raise _refusal(file, error) from None
    except errors.FileMetadataError:
        raise HubError(f"{_shown_endpoint()} {_NO_HUB}") from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise HubError(f"HF_ENDPOINT is no usable address ({type(error).__name__}); correct it, or unset it") from None
    except httpx.HTTPError as error:
        raise HubError(
            f"{_shown_endpoint()} could not be reached, or hung up on {file.name} ({type(error).__name__}); check the "
            "connection and HF_ENDPOINT, or put the file there by hand",
            passing=True,
        ) from None
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _no_room(folder, f"{file.name} did not fit ({os.strerror(error.errno or 0)})") from None
        if error.errno is not None:
            raise HubError(f"{folder / file.name} cannot be written: {os.strerror(error.errno)}") from None
        # The library's check of the size, after the last byte came.
        raise HubError(f"{file.name} came with a wrong number of bytes", passing=True) from None
    except ImportError:
        raise HubError("a SOCKS proxy needs the package socksio; install it, or unset the proxy") from None
    except ValueError:
        if problem := proxy_problem():
            raise HubError(problem) from None
        raise HubError(f"the hub's library refuses the name {file.name!r} or {file.repo!r}; correct it") from None


def _no_room(folder: Path, what: str) -> HubError:
    return HubError(f"no room below {folder}: {what}; free some, or make the folder a link to a larger disk")


def _refusal(file: HubFile, error: HfHubHTTPError) -> HubError:
    """What an answer of 4xx or 5xx means. The hub's answers differ little between a repository that is gated, private
    or absent, and a bad token."""
    from huggingface_hub import errors, get_token

    status, token, where = error.response.status_code, get_token() is not None, f"see {file.page}"
    bad_token = error.response.headers.get("X-Error-Message", "").startswith("Invalid")
    if isinstance(error, errors.GatedRepoError):
        whose = "with the account of the HF_TOKEN in use" if token else "and set HF_TOKEN to a token of that account"
        return HubError(f"it is gated; accept the terms at {file.page} {whose} (approval may take time)")
    if token and (bad_token or status == 401):
        return HubError(f"{file.page} refuses the HF_TOKEN in use (wrong or expired); make a new one, or unset it")
    if isinstance(error, errors.RepositoryNotFoundError) or status == 401:
        hint = "the account of the HF_TOKEN in use may not see it" if token else "it is private: then set HF_TOKEN"
        return HubError(f"there is no repository {file.page}, or {hint}; correct repo")
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(f"there is no revision {file.revision}; correct revision; {where}/commits/main")
    if isinstance(error, errors.EntryNotFoundError):
        return HubError(f"there is no file {file.name!r}; correct files; {where}/tree/{file.revision}")
    if status in {408, 429} or status >= 500:
        return HubError(f"{_shown_endpoint()} answers HTTP {status} for {file.name}; try again later", passing=True)
    advice = "the account of HF_TOKEN may not read it; " if status == 403 else ""
    return HubError(f"{_shown_endpoint()} answers HTTP {status} for {file.name}; {advice}{where}")
