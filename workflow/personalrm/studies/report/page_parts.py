"""What both pages share: templates that escape, the base of their style, scripts, and data inside a page."""

from __future__ import annotations

import base64
import functools
import hashlib
import zlib
from pathlib import Path

import jinja2
from markupsafe import Markup

from personalrm.results.html_tables import page_style

FOLDER = Path(__file__).parent


def render(template: str, **values: object) -> str:
    """A template of this folder, filled. Every value is escaped unless it is `Markup`; undefined names are errors."""
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
    )


def asset(name: str) -> Markup:
    """A style sheet or script of this folder, to be put into a page."""
    return Markup((FOLDER / name).read_text(encoding="utf-8"))


def style(name: str, *shared: str) -> Markup:
    """A style sheet of this folder, after `shared` ones that pages of tables have, too."""
    return Markup(page_style(*shared)) + asset(name)


def script(*names: str) -> Markup:
    """Scripts of this folder as one, after the one that unpacks what `packed` makes."""
    return Markup("\n").join(map(asset, ("packed.js", *names)))


def script_hash(text: str) -> str:
    """What the page's security policy names, so that this script runs and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def packed(data: bytes) -> str:
    """Data compressed and in base64 (RFC 1950 and 4648), so that no sign of it can end an element or an attribute.

    >>> zlib.decompress(base64.b64decode(packed(b"</script>")))
    b'</script>'
    """
    return base64.b64encode(zlib.compress(data, level=9)).decode("ascii")
