"""Probe a web server: status, headers, body, phases and certificate of one request."""

from __future__ import annotations

import time
from collections.abc import Mapping
from ssl import SSLContext, SSLObject
from typing import Any

import httpx

from opsqueue.connectors.probes import bodies
from opsqueue.connectors.probes.certificates import chain_of, describe
from opsqueue.connectors.probes.kit import ProbeError, TargetError, Watch, option, resolve, trusting_nobody

_MOST_REDIRECTS = 5
_MOST_HEADERS = 100
_LONGEST_HEADER = 1000
_PORTS = {"http": 80, "https": 443}
_PHASES = {"connection.connect_tcp": "connect", "connection.start_tls": "tls"}
_REQUEST_BEGINS = "http11.send_request_headers.started"
_FIRST_BYTE = "http11.receive_response_headers.complete"


async def probe(options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Options: url, method, headers, body, follow_redirects, verify_tls, ca_file, max_bytes, expect_status.

    The proxy variables of the environment are ignored; at most `max_bytes` of the body are read.
    """
    url = _url(option(options, "url", str))
    address = await resolve(url.host, url.port or _PORTS[url.scheme], watch)
    try:
        async with httpx.AsyncClient(
            trust_env=False,
            verify=_trust(options, watch),
            timeout=None,  # noqa: S113 - per read it would mean nothing; the whole attempt has one deadline
        ) as client:
            return {**await _exchange(client, url, options, watch), "address": address, "phases": watch.done()}
    except (httpx.InvalidURL, httpx.LocalProtocolError, UnicodeError) as error:
        raise ProbeError(f"this request cannot be sent: {error}") from None
    except httpx.UnsupportedProtocol as error:
        raise TargetError("protocol_error", f"redirected to something that is not HTTP: {error}") from None
    except httpx.RemoteProtocolError as error:
        word = "reset" if "disconnected" in str(error) else "protocol_error"
        raise TargetError(word, str(error)) from None


def _url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ProbeError(f"the url cannot be read: {error}") from None
    if url.scheme not in _PORTS or not url.host:
        raise ProbeError("the url begins with http:// or https:// and names a host")
    return url


def _trust(options: Mapping[str, Any], watch: Watch) -> SSLContext:
    if str(options.get("url", "")).startswith("http:") and not options.get("follow_redirects"):
        return trusting_nobody()  # not used; the real one is dear to make
    if not option(options, "verify_tls", bool, True):
        return trusting_nobody()
    return watch.kit.trust(options.get("ca_file"))


async def _exchange(
    client: httpx.AsyncClient, url: httpx.URL, options: Mapping[str, Any], watch: Watch
) -> dict[str, Any]:
    watch.at = "connect"
    request = client.build_request(
        option(options, "method", str, "GET"),
        url,
        headers={"user-agent": "opsqueue", "accept-encoding": "identity", **option(options, "headers", Mapping, {})},
        content=option(options, "body", str, "") or None,
        extensions={"trace": _Trace(watch)},
    )
    response, redirects = await _asked(client, request, follow=option(options, "follow_redirects", bool, False))
    try:
        return {**await _told(response, options, watch), "redirects": redirects}
    finally:
        await response.aclose()


async def _asked(client: httpx.AsyncClient, request: httpx.Request, *, follow: bool) -> tuple[httpx.Response, int]:
    """The last answer, still open, and how many redirects led to it; httpx itself would read their bodies whole."""
    for count in range(_MOST_REDIRECTS + 1):
        response = await client.send(request, stream=True)
        if not follow or response.next_request is None:
            return response, count
        await response.aclose()
        request = response.next_request
    raise TargetError("too_many_redirects", f"more than {_MOST_REDIRECTS} redirects")


async def _told(response: httpx.Response, options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    with watch.phase("body"):
        encoding, most = response.headers.get("content-encoding", ""), option(options, "max_bytes", int, 65_536)
        body, whole = await bodies.read(response.aiter_raw(), encoding, most)
    return {
        "ok": True,
        "status": response.status_code,
        "expected": _as_expected(response.status_code, options.get("expect_status")),
        "url": str(response.url),
        "http_version": response.http_version,
        "headers": _headers(response),
        "body": _text(body, response.charset_encoding),
        "body_bytes": len(body),
        "truncated": not whole,
        "certificate": _certificate(response),
    }


def _text(body: bytes, charset: str | None) -> str:
    try:
        return body.decode(charset or "utf-8", errors="replace")
    except (LookupError, UnicodeError):  # the server names an encoding that there is not, or that is none for a body
        return body.decode("utf-8", errors="replace")


def _headers(response: httpx.Response) -> dict[str, str]:
    kept = list(response.headers.items())[:_MOST_HEADERS]
    return {name: value[:_LONGEST_HEADER] for name, value in kept if name != "set-cookie"}


def _certificate(response: httpx.Response) -> dict[str, Any] | None:
    stream = response.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream is not None else None
    chain = chain_of(tls) if isinstance(tls, SSLObject) else ()
    return describe(chain) if chain else None


def _as_expected(status: int, expect: Any) -> bool:
    if isinstance(expect, str):
        return len(expect) == 3 and expect[0] == str(status // 100)  # noqa: PLR2004 - such as 2xx
    return status in expect if isinstance(expect, list | tuple) else True


class _Trace:
    """Turns httpcore's events into phases."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._began: dict[str, float] = {}

    async def __call__(self, event: str, _info: Mapping[str, Any]) -> None:
        now = time.perf_counter()
        name, _, moment = event.rpartition(".")
        if event == _REQUEST_BEGINS:
            self._watch.at = "ttfb"
            self._began["ttfb"] = now
        elif event == _FIRST_BYTE:
            self._watch.add("ttfb", now - self._began.get("ttfb", now))
        elif name in _PHASES and moment == "started":
            self._watch.at = _PHASES[name]
            self._began[name] = now
        elif name in _PHASES and moment == "complete":
            self._watch.add(_PHASES[name], now - self._began[name])
