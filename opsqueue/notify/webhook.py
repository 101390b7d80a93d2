"""Webhooks: one POST with a JSON body, straight to the address, no redirect followed, under one deadline.

Not sent through Apprise, which follows a redirect with an empty GET and calls that a success.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import queue
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from opsqueue.notify.address import origin, web_problem
from opsqueue.notify.guard import Refused, reach
from opsqueue.notify.receipt import ACCEPTED, Receipt, final_http, refused
from opsqueue.notify.signature import signed
from opsqueue.notify.text import one_line

_MOST_ANSWER = 512
_OK = range(200, 300)
_REDIRECT = range(300, 400)


def post(
    url: str,
    payload: Mapping[str, Any] | list[Any],
    *,
    event_id: str,
    timeout: float,
    key: str = "",
    private: bool = False,
) -> Receipt:
    """Send the payload; `event_id` is the idempotency key of the receiver. At most `timeout` seconds in total.

    With a `key` it is signed; `private`: a public name may lead to an address of the inside.

    The error of the receipt may still hold pieces of the address: whoever shows it masks it.
    """
    problem = web_problem(url)
    if problem:
        return refused(f"this is no address of a webhook: {problem}", permanent=True)
    parts = urlsplit(url)
    connection = _connection(parts, timeout, private=private)
    body = json.dumps(payload, allow_nan=False).encode()
    headers = {**_headers(parts, event_id), **(signed(key, body, time.time()) if key else {})}
    answers: queue.SimpleQueue[Receipt] = queue.SimpleQueue()
    # The time limits of sockets begin anew with each byte, and looking up a name has none at all.
    threading.Thread(target=lambda: answers.put(_exchange(connection, url, body, headers)), daemon=True).start()
    try:
        return answers.get(timeout=timeout)
    except queue.Empty:
        _hang_up(connection)
        return refused(f"{origin(url)} gave no answer within {timeout:g} s; it may still have got the message")


class _Plain(http.client.HTTPConnection):
    """To an address that was looked at before it is connected to."""

    private = False
    reached: socket.socket | None = None
    """What it is connected to, which the library forgets as soon as an answer goes on until the end."""

    def connect(self) -> None:
        self.sock = self.reached = reach(self.host, self.port, self.timeout or 0.0, private=self.private)


class _Tls(_Plain):
    """Likewise, and its certificate is that of the name."""

    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        super().connect()
        self.sock = self.reached = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _connection(parts: SplitResult, timeout: float, *, private: bool) -> _Plain:
    kind = _Tls if parts.scheme == "https" else _Plain
    # Without a port the library looks for one in the host, and finds the last part of an IPv6 address.
    connection = kind(parts.hostname or "", parts.port or kind.default_port, timeout=timeout)
    connection.private = private
    return connection


def _headers(parts: SplitResult, event_id: str) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "opsqueue",
        "X-Opsqueue-Event": one_line(event_id, 200).encode("ascii", "backslashreplace").decode(),
    }
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return headers


def _path(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~?[]")
    return f"{path}?{query}" if query else path


def _exchange(connection: http.client.HTTPConnection, url: str, body: bytes, headers: Mapping[str, str]) -> Receipt:
    try:
        connection.request("POST", _path(urlsplit(url)), body=body, headers=dict(headers))
        return _judge(connection.getresponse(), origin(url))
    except Refused as error:
        return refused(str(error), permanent=True)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return refused(f"{origin(url)} could not be asked: {type(error).__name__}: {error}")
    finally:
        connection.close()


def _judge(answer: http.client.HTTPResponse, who: str) -> Receipt:
    if answer.status in _OK:
        return ACCEPTED
    if answer.status in _REDIRECT:
        return refused(
            f"{who} answered {answer.status}, a redirect to {_place(answer.headers.get('Location', ''))}; redirects "
            "are not followed: configure the address that it leads to",
            permanent=True,
        )
    said = answer.read(_MOST_ANSWER).decode(errors="replace").strip()
    return refused(
        f"{who} answered {answer.status} {answer.reason}" + (f": {said}" if said else ""),
        permanent=final_http(answer.status),
        wait=_asked_to_wait(answer.headers.get("Retry-After", ""), answer.headers.get("Date", "")),
    )


def _place(location: str) -> str:
    # Where it leads may carry a token of its own; the host is enough to know what to configure.
    return "somewhere else on the same host" if web_problem(location) else origin(location)


def _asked_to_wait(text: str, its_now: str) -> float:
    """Seconds; a point in time is told by the receiver's clock, and so is what that shows now."""
    if text.isascii() and text.isdigit():
        return float(text) if len(text) < 10 else 0.0  # noqa: PLR2004 - 30 years
    try:
        return (parsedate_to_datetime(text) - parsedate_to_datetime(its_now)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _hang_up(connection: _Plain) -> None:
    # Wakes the thread that waits for the answer; closing alone would not.
    if connection.reached is not None:
        with contextlib.suppress(OSError):
            connection.reached.shutdown(socket.SHUT_RDWR)
