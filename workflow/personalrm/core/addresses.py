"""Addresses of servers: what is wrong with one, and how messages and files may show it."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


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
    url = url.strip()
    if "://" not in url:
        shown = without_credentials(f"//{url}").removeprefix("//")
        scheme = "http" if ":" in shown or shown.startswith("localhost") else "https"
        return f"{shown!r} has no scheme; write {scheme}://{shown or 'localhost:8000/v1'}"
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that are no IPv6 address
        return "is no address; write it as in http://localhost:8000/v1"
    shown = without_credentials(url)
    if parts.scheme not in ("http", "https"):
        return f"{shown!r}: the scheme is not http or https; correct the address"
    if not parts.hostname:
        return f"{shown!r} names no host; correct the address"
    try:
        _ = parts.port
    except ValueError:
        return f"{shown!r}: the port is no number up to 65535; correct the address"
    return None
