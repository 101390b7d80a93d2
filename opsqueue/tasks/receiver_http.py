"""What HTTP says to the receiver: the head of a request, and whether what follows it is listened to at all."""

from __future__ import annotations

import hmac
import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.utils import formatdate
from http import HTTPStatus
from io import BytesIO

from opsqueue.notify.ack_link import PATH

HOOK = "/alertmanager"
HEALTH = "/healthz"
ACK = PATH
MOST_HEAD = 16_384
"""Bytes of a head; Alertmanager's has some hundred."""
_ALLOWED = {HOOK: ("POST",), HEALTH: ("GET", "HEAD")}
_WITH_LINKS = {**_ALLOWED, ACK: ("GET", "HEAD", "POST")}
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_VERSION = re.compile(r"HTTP/1\.[0-9]")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller is told."""

    status: HTTPStatus
    said: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict)
    page: str = ""
    """The same in HTML, for people; empty: JSON is sent."""


def refusal(
    method: str, path: str, headers: Message, *, token: str, most_bytes: int, links: bool = False
) -> Answer | None:
    """Why a request is not listened to, by its head alone; None: it is. An empty token: none is wanted.

    `links`: people come with links out of messages, which are judged by themselves.
    """
    allowed = _WITH_LINKS if links else _ALLOWED
    if path not in allowed:
        return no(
            HTTPStatus.NOT_FOUND, f"nothing is here: webhooks go to {HOOK}, and {HEALTH} says whether all is well"
        )
    if method not in allowed[path]:
        allow = ", ".join(allowed[path])
        return no(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} takes {allow}", {"Allow": allow})
    if path in {HEALTH, ACK}:
        return None
    if headers.get("Origin") is not None:
        return no(HTTPStatus.FORBIDDEN, "a page in a browser has nothing to say here")
    if token and not _bears(headers, token):
        words = "wanted: Authorization: Bearer TOKEN, with the token of this receiver"
        return no(HTTPStatus.UNAUTHORIZED, words, {"WWW-Authenticate": "Bearer"})
    return _bad_length(headers, most_bytes)


def no(status: HTTPStatus, why: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer that says why not."""
    return Answer(status, {"error": why}, headers or {})


def _bears(headers: Message, token: str) -> bool:
    scheme, _, given = str(headers.get("Authorization", "")).partition(" ")
    same = hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())
    return scheme.lower() == "bearer" and same


def _bad_length(headers: Message, most_bytes: int) -> Answer | None:
    lengths = headers.get_all("Content-Length", [])
    if "Transfer-Encoding" in headers or not lengths:
        return no(HTTPStatus.LENGTH_REQUIRED, "wanted: a body with a Content-Length, in one piece")
    if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit() and len(lengths[0]) < 20):  # noqa: PLR2004  # digits
        return no(HTTPStatus.BAD_REQUEST, "the Content-Length is no number of bytes")
    if int(lengths[0]) > most_bytes:
        why = f"a webhook has at most {most_bytes} bytes; this one has {lengths[0]}: set max_alerts in Alertmanager"
        return no(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why)
    return None


@dataclass(frozen=True, slots=True)
class Head:
    """What a caller said first."""

    method: str
    path: str
    """Without what follows a question mark."""
    query: str
    """What follows it: it may hold a token, and stands in no log."""
    headers: Message

    @property
    def waits(self) -> bool:
        """Whether it sends its body only once it is told to."""
        return str(self.headers.get("Expect", "")).lower() == "100-continue"


def head_of(raw: bytes) -> Head | Answer:
    """A head, or what to say of one that cannot be read."""
    lines = BytesIO(raw)
    words = lines.readline().decode("latin-1").split()
    if len(words) != 3 or not _VERSION.fullmatch(words[2]):  # noqa: PLR2004  # method, path, version
        return no(HTTPStatus.BAD_REQUEST, "wanted: METHOD PATH HTTP/1.1")
    if words[0] not in _METHODS:
        return no(HTTPStatus.NOT_IMPLEMENTED, "there is no such method")
    try:
        headers = http.client.parse_headers(lines)
    except http.client.HTTPException:
        return no(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head has too many fields")
    path, _, query = words[1].partition("?")
    return Head(words[0], path, query, headers)


def wire(answer: Answer, *, body: bool = True) -> bytes:
    """An answer as it is sent; without its body to HEAD."""
    data = (answer.page or json.dumps(answer.said)).encode() + b"\n"
    fixed = {
        "Server": "opsqueue",  # which Python runs here is nobody's business
        "Date": formatdate(usegmt=True),
        "Content-Type": "text/html; charset=utf-8" if answer.page else "application/json",
        "Content-Length": str(len(data)),
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {answer.status.value} {answer.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in {**fixed, **answer.headers}.items()]
    return "\r\n".join([*lines, "", ""]).encode() + (data if body else b"")
