"""Probe a Redis: PING, and what INFO says of role, memory, loading and saving, over one connection of our own.

The protocol is spoken here: a client library tries again by itself, and so takes far longer than it was given.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from opsqueue.connectors.probes import hearers
from opsqueue.connectors.probes.kit import ProbeError, TargetError, Watch, abandoned, connect, option, secure

_MOST = 1 << 20
"""Bytes of one answer."""
_LONGEST = 40
"""Characters of one thing that INFO tells; they are kept with every check."""
_NOT_OURS = {"NOAUTH", "WRONGPASS", "NOPERM", "DENIED"}
"""What Redis says where the checker lacks a password or a right: nothing of how the server is."""
_NOT_READY = {"LOADING", "MASTERDOWN", "BUSY"}
"""What it says while it cannot serve anybody."""


class _Refused(Exception):
    """An error that Redis answers; `code` is its first word."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]


async def probe(options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Options: host, port, user, password, tls, verify_tls, ca_file.

    A login that is refused is a fault of the check; a server that cannot serve is `ready: false`.
    """
    reader, writer = await connect(option(options, "host", str), option(options, "port", int, 6379), watch)
    with abandoned(writer):
        answer = {"ok": True, "address": str(writer.get_extra_info("peername")[0])}
        await secure(writer, options, watch)
        try:
            await _log_in(reader, writer, options, watch)
            with watch.phase("ping"):
                ready = await _ping(reader, writer)
            with watch.phase("info"):
                info = await _info(reader, writer)
        except _Refused as refused:
            if refused.code in _NOT_OURS or watch.at == "auth":
                raise ProbeError(f"Redis refuses the check: {refused}") from None
            raise TargetError("rejected", str(refused)) from None
    return {**answer, **ready, **info, "phases": watch.done()}


async def _log_in(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, options: Mapping[str, Any], watch: Watch
) -> None:
    user, password = option(options, "user", str, ""), option(options, "password", str, "")
    if password:
        if not hearers.may_hear(str(writer.get_extra_info("peername")[0]), options):
            raise ProbeError(f"a password is told only to who is surely the one that is meant: {hearers.WAY}")
        with watch.phase("auth"):
            await _ask(reader, writer, "AUTH", *([user] if user else []), password)


async def _ping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, Any]:
    try:
        said = await _ask(reader, writer, "PING")
    except _Refused as refused:
        if refused.code in _NOT_READY:
            return {"ready": False, "expected": False, "why_not": str(refused)[:200]}
        raise
    if said != "PONG":
        raise TargetError("protocol_error", f"PING was answered with {said[:80]!r}")
    return {"ready": True, "expected": True, "why_not": ""}


async def _info(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, Any]:
    """The numbers that INFO tells; `{"info_refused": reason}` where it does not."""
    try:
        text = await _ask(reader, writer, "INFO")
    except _Refused as refused:
        return {"info_refused": str(refused)[:200]}
    told = {key: value for key, _, value in (line.partition(":") for line in text.splitlines()) if value}
    used, most = _number(told.get("used_memory")), _number(told.get("maxmemory"))
    told = {key: value[:_LONGEST] for key, value in told.items()}
    return {
        "version": told.get("redis_version", ""),
        "role": {"master": "primary", "slave": "replica"}.get(told.get("role", ""), told.get("role")),
        "link": told.get("master_link_status"),
        "replicas": _number(told.get("connected_slaves")),
        "memory": used,
        "memory_most": most,
        "memory_percent": round(100 * used / most, 1) if used is not None and most else None,
        "loading": told.get("loading") == "1",
        "last_save": told.get("rdb_last_bgsave_status"),
        "last_append": told.get("aof_last_write_status") if told.get("aof_enabled") == "1" else None,
        "clients": _number(told.get("connected_clients")),
        "clients_most": _number(told.get("maxclients")),
    }


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,18}", text) else None


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *words: str) -> str:
    """One command and its answer; raises _Refused."""
    coded = [word.encode() for word in words]
    parts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in coded)
    writer.write(b"*%d\r\n%s" % (len(coded), parts))
    await writer.drain()
    return await _reply(reader)


async def _reply(reader: asyncio.StreamReader) -> str:
    try:
        line = await reader.readuntil(b"\r\n")
    except asyncio.LimitOverrunError:
        raise TargetError("protocol_error", "the answer is a line without end") from None
    except asyncio.IncompleteReadError:
        raise TargetError("reset", "the server ended the connection") from None
    sign, rest = line[:1], line[1:-2].decode(errors="replace")
    if sign == b"+":
        return rest
    if sign == b"-":
        raise _Refused(rest)
    if sign != b"$" or not re.fullmatch(r"\d{1,9}", rest) or int(rest) > _MOST:
        raise TargetError("protocol_error", f"this is no answer of a Redis: {line[:80]!r}")
    return await _text(reader, int(rest))


async def _text(reader: asyncio.StreamReader, size: int) -> str:
    try:
        return (await reader.readexactly(size + 2))[:-2].decode(errors="replace")
    except asyncio.IncompleteReadError:
        raise TargetError("reset", "the server ended the connection") from None
