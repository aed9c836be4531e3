"""What both pages share: templates that escape, the base of their style, and data inside a page."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path

import jinja2
from markupsafe import Markup

from personalrm.core.files import canonical_json
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


def script_hash(text: str) -> str:
    """What the page's security policy names, so that this script runs and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def embedded_json(value: object) -> Markup:
    r"""JSON that can be put into a `<script type="application/json">`, whatever texts it holds.

    Pure ASCII (so U+2028, U+2029 and lone surrogates are escapes), and no `<`, `>` or `&`: nothing can close the
    element or open a comment.

    >>> str(embedded_json({"a": "</script>&"}))
    '{"a":"\\u003c/script\\u003e\\u0026"}'
    """
    text = canonical_json(value)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
