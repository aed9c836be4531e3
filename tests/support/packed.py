"""What pages hold compressed, read and written as a browser would."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any

_DATA = re.compile(r'(?<=<script type="application/zlib" id="data">)[^<]*')


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text, validate=True))


def data_in(page: str) -> dict[str, Any]:
    """The data of a page of transcripts."""
    (held,) = _DATA.findall(page)
    data: dict[str, Any] = json.loads(unpacked(held))
    return data


def damaged(page: str) -> str:
    """The page with one sign of all that it holds compressed changed."""
    broken = re.sub(r'(data-packed="|id="data">)(.{20}).', r"\1\2!", page)
    assert broken != page
    return broken


def with_data(page: str, data: str) -> str:
    """The page with other data, as JSON."""
    return _DATA.sub(base64.b64encode(zlib.compress(data.encode("ascii"))).decode("ascii"), page)
