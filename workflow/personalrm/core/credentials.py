"""Keys of providers as people paste them, and `.env` files as editors save them. No message shows a value."""

from __future__ import annotations

import codecs
import io
import os
import re
import unicodedata
from pathlib import Path

from personalrm.core.errors import ConfigError

_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
_QUOTES = "'\"`\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2032\u2033"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PREFIX = re.compile(
    r"(sk|pk|rk|gsk|hf|xai|r8|nvapi|pplx|csk|tgp|fw|ghp|glpat|key)_((?=.*\d)(?=.*[a-z])|(?=.*[A-Za-z]{16}))"
    r"|AIza|AKIA|eyJ"
)
"""Beginnings of keys. Those of Hugging Face have no digit."""
_HEADER = re.compile(r"\A(?:authorization:\s*)?bearer\s+", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{[A-Za-z_]\w*\}|\$[A-Z_][A-Z0-9_]*|%[A-Z_][A-Z0-9_]*%")
_RUN = re.compile(r"[A-Za-z0-9]{16,}")
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
"""The longer ones first: that of UTF-16 begins that of UTF-32."""


def clean_key(text: str) -> str:
    r"""A key without blanks, line ends, zero-width characters and quotes around it, and without the words of a header
    before it.

    >>> clean_key(" \u201csk-1\u200b\u201d\n"), clean_key("Authorization: Bearer sk-1")
    ('sk-1', 'sk-1')
    """
    kept = "".join(character for character in text if character not in _INVISIBLE)
    return _HEADER.sub("", kept.strip().strip(_QUOTES).strip()).strip()


def key_problem(text: str) -> str | None:
    """Why a key that was cleaned cannot be sent, without its value; None where it can."""
    for place, character in enumerate(text, 1):
        if not "!" <= character <= "~":
            name = unicodedata.name(character, f"U+{ord(character):04X}").lower()
            name = "a line end" if character in "\r\n" else name
            return f"character {place} of {len(text)} is {name}, which no key has; copy the key again"
    if _REFERENCE.fullmatch(text):
        return "it refers to another variable, whose value is not inserted; give the key itself"
    return None


def clean_environment() -> None:
    """Clean the keys of providers in the environment, which libraries read by themselves."""
    for name, value in os.environ.items():
        if name.endswith(("_API_KEY", "_TOKEN")) and value != clean_key(value):
            os.environ[name] = clean_key(value)


def is_key(name: str) -> bool:
    """Whether what stands where the name of an environment variable belongs is, or may be, a key itself.

    >>> [is_key(name) for name in ("OPENAI_API_KEY", "sk-proj-1", "gsk_4fTz9Qw8", "0123456789abcdef")]
    [False, True, True, True]
    """
    if name in os.environ:
        return False
    odd = any(re.search(r"\d", run) and re.search(r"[A-Za-z]", run) for run in _RUN.findall(name))
    return not _NAME.fullmatch(name) or bool(_PREFIX.match(name)) or odd


def read_dotenv(path: Path) -> io.StringIO:
    """The text of a `.env` file in UTF-8, or in UTF-16 or UTF-32 as Windows saves it.

    Raises ConfigError if the file has another encoding or cannot be read.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; make it readable, or move it away") from None
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if raw.startswith(mark)), "utf-8")
    if encoding == "utf-8" and raw[1:2] == b"\0":
        encoding = "utf-16-le"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    if "\0" in text:
        raise ConfigError(f"{path}: not a text file (it holds NUL); save it as UTF-8")
    return io.StringIO(text)
