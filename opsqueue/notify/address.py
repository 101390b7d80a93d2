"""Addresses of channels: whether one can be used, and how to speak of it without its secrets."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote, urlsplit

_HARMLESS = frozenset(
    {"to", "from", "cc", "bcc", "name", "smtp", "mode", "format", "overflow", "verify", "rto", "cto", "method"}
)
_LEAST_SECRET = 4
"""Shorter pieces are no secrets, and hiding them would make a text unreadable (a path of `/500` is one)."""
_HOST = re.compile(
    r"(?:localhost|(?:[\w-]+\.)+[a-z]{2,12}|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\])(?::\d+)?", re.IGNORECASE
)
_HIDDEN = "***"


def is_web(url: str) -> bool:
    """Whether the address begins as one of HTTP."""
    return url.lower().startswith(("http://", "https://"))


def web_problem(url: str) -> str:
    """Why this cannot be the address of a webhook, in words without its secrets; empty when it can."""
    if re.search(r"[\x00-\x20\x7f]", url):
        return "it holds a space or control character"
    if not is_web(url):
        return "it begins neither with http:// nor with https://"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "its host or port cannot be read"
    if not parts.hostname or port == 0:
        return "it has no host" if not parts.hostname else "port 0 cannot be connected to"
    return ""


def origin(url: str) -> str:
    """Scheme, host and port of a web address: the part that can be shown."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def mask(text: str, url: str) -> str:
    """The text with every piece of this address that may be a secret replaced by `***`.

    User, password, path, and all that stands where Apprise may have a token (the host too, unless it looks
    like one); hiding too much is harmless, hiding too little is not.
    """
    for piece in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(piece, _HIDDEN)
    return text


def _secrets(url: str) -> set[str]:
    rest = url.partition("://")[2] or url
    where, _, query = rest.partition("?")
    user, _, host_and_path = where.rpartition("@")
    host, _, path = host_and_path.partition("/")
    raw = {url, rest, user, path, *re.split(r"[/:@#]", user), *re.split(r"[/:@#]", path), *_values(query)}
    if not _HOST.fullmatch(host):
        raw |= {host, *host.split(":")}
    raw |= {unquote(piece) for piece in raw}
    raw |= {base64.b64encode(piece.encode(errors="replace")).decode() for piece in (user, unquote(user)) if piece}
    return {piece for piece in raw if len(piece) >= _LEAST_SECRET}


def _values(query: str) -> set[str]:
    pairs = (pair.partition("=") for pair in re.split(r"[&;#]", query))
    return {value or key for key, _, value in pairs if key.lower() not in _HARMLESS}
