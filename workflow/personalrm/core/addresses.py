"""Addresses of servers: what is wrong with one, and how messages and files may show it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0"})
"""Hosts of servers on this machine. Calls to them use no proxy."""
_NO_ADDRESS = "is no address; write it as in http://localhost:8000/v1"


def without_credentials(url: str) -> str:
    """An address without user, password and query: for messages and files."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def address_problem(url: str) -> str | None:
    """What is wrong with the address of a server, and what to write; None where nothing is.

    >>> address_problem("localhost:8000/v1")
    "'localhost:8000/v1' has no scheme; write http://localhost:8000/v1"
    >>> address_problem("ftp://example.org/v1")
    "'ftp://example.org/v1': the scheme is not http or https; correct the address"
    >>> address_problem("http://localhost:80000/v1")
    "'http://localhost:80000/v1': the port is no number up to 65535; correct the address"
    >>> address_problem("http:///v1")
    "'http:///v1' names no host; correct the address"
    >>> address_problem("http://localhost:8000/v1")
    """
    *schemes, rest = url.strip().split("://", 1)
    scheme = "".join(schemes)
    # A password may hold the characters that end a host.
    shown = re.split("[?#]", rest.rpartition("@")[2])[0]
    try:
        parts = urlsplit(f"{scheme or 'http'}://{rest}")
    except ValueError:  # brackets that are no IPv6 address
        return _NO_ADDRESS
    if not scheme:
        if shown and not re.search(r"[.:]|^localhost\b", shown):  # which may be a key
            return _NO_ADDRESS
        scheme = "http" if ":" in shown or shown.startswith("localhost") else "https"
        return f"{shown!r} has no scheme; write {scheme}://{shown or 'localhost:8000/v1'}"
    shown = f"{scheme}://{shown}"
    if parts.scheme not in ("http", "https"):
        return f"{shown!r}: the scheme is not http or https; correct the address"
    if not parts.hostname:
        return f"{shown!r} names no host; correct the address"
    try:
        _ = parts.port
    except ValueError:
        return f"{shown!r}: the port is no number up to 65535; correct the address"
    return None


def proxy_problem() -> str | None:
    """Message about an environment variable with an unusable proxy; None if there is no such variable. The message does
    not contain the value, which may hold a password."""
    for kind, proxy in getproxies().items():
        address = proxy if "://" in proxy else f"http://{proxy}"
        if kind in ("http", "https", "all") and address_problem(address):
            return f"{kind.upper()}_PROXY in the environment is no address of an HTTP proxy; correct it, or unset it"
    return None
