"""Probe a name server: one question, the code of its answer, the records and their time to live."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver

from opsqueue.connectors.probes.kit import ProbeError, TargetError, Watch, option
from opsqueue.connectors.probes.loop import ours, refuse

_PER_SERVER = 2.0
"""Seconds until the next of the system's name servers is asked."""


async def probe(options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Options: name, rtype, resolver (`address`, `address:port`; else the system's), expect (order-free).

    Any code from the server is an answer; only silence is a failure. A name is taken as it is written: no
    search domains.
    """
    query = _question(option(options, "name", str), option(options, "rtype", str, "A"))
    resolver = option(options, "resolver", str, "")
    servers = _servers(resolver)
    with watch.phase("query"), nullcontext() if resolver else ours():
        server, reply = await _first_reply(query, servers)
    answers, ttl = _read(reply)
    code = dns.rcode.to_text(reply.rcode())
    expect = option(options, "expect", (list, tuple), ())
    wanted = {_plain(text) for text in expect}
    return {
        "ok": True,
        "rcode": code,
        "answers": answers,
        "ttl": ttl,
        "resolver": server,
        "expected": code == "NOERROR"
        and bool(answers)
        and (not wanted or wanted == {_plain(text) for text in answers}),
        "phases": watch.done(),
    }


def _question(name: str, rtype: str) -> dns.message.Message:
    try:
        return dns.message.make_query(dns.name.from_text(name), dns.rdatatype.from_text(rtype), use_edns=0)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ProbeError(f"{name!r} {rtype!r} is no question for a name server: {error}") from None


def _servers(resolver: str) -> list[tuple[str, int]]:
    if resolver:
        return [_server(resolver)]
    try:
        system = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration as error:
        raise ProbeError(f"the worker has no name server configured: {error}") from None
    return [(str(address), system.port) for address in system.nameservers]


def _server(text: str) -> tuple[str, int]:
    host, port = text, "53"
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.lstrip(":") or "53"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        server = str(ipaddress.ip_address(host)), int(port)
    except ValueError:
        raise ProbeError(f"resolver is an address such as 192.0.2.53 or 192.0.2.53:5353; found {text!r}") from None
    refuse(server[0])
    return server


async def _first_reply(query: dns.message.Message, servers: list[tuple[str, int]]) -> tuple[str, dns.message.Message]:
    """The first server that answers; the last one may take all the time that is left."""
    for number, (address, port) in enumerate(servers, start=1):
        limit = _PER_SERVER if number < len(servers) else None
        try:
            reply, _ = await dns.asyncquery.udp_with_fallback(query, address, timeout=limit, port=port)
        except dns.exception.Timeout:
            continue
        except dns.exception.DNSException as error:
            raise TargetError("protocol_error", f"{address} sent no proper answer: {error}") from None
        return f"{address}:{port}" if port != 53 else address, reply  # noqa: PLR2004 - the port of DNS
    raise TargetError("timeout", "no name server answered")


def _read(reply: dns.message.Message) -> tuple[list[str], int | None]:
    if not isinstance(reply, dns.message.QueryMessage):
        return [], None
    try:
        chain = reply.resolve_chaining()
    except dns.exception.DNSException:
        return [], None
    if chain.answer is None:
        return [], None
    return sorted(record.to_text() for record in chain.answer), int(chain.minimum_ttl)


def _plain(text: str) -> str:
    return text.lower().rstrip(".")
