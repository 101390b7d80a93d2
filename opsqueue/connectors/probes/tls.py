"""Probe a TLS server: its certificate is read even if nobody should trust it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from opsqueue.connectors.probes.certificates import chain_of, covers, describe
from opsqueue.connectors.probes.kit import (
    ProbeError,
    TargetError,
    Watch,
    abandoned,
    connect,
    option,
    trusting_nobody,
)

_LINES = 64
_POSTGRES_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


async def probe(options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Options: host, port, server_name (else the host), ca_file, starttls (smtp, imap or postgres).

    First as any client would, which also tells whether it is trusted; only if not, once more believing
    anything, so that the certificate can be shown.
    """
    name = option(options, "server_name", str, "") or option(options, "host", str)
    reason = ""
    try:
        answer, chain = await _look(options, watch, watch.kit.trust(options.get("ca_file")), name)
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message
        answer, chain = await _look(options, watch, trusting_nobody(), name)
    if not chain:
        raise TargetError("tls_failed", "the server sent no certificate")
    return {
        "ok": True,
        **answer,
        **describe(chain),
        "trusted": not reason,
        "reason": reason,
        "name_ok": covers(chain[0], name),
        "server_name": name,
        "phases": watch.done(),
    }


async def _look(
    options: Mapping[str, Any], watch: Watch, context: ssl.SSLContext, name: str
) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    host, port = option(options, "host", str), option(options, "port", int, 443)
    reader, writer = await connect(host, port, watch)
    with abandoned(writer):
        await _upgrade(options.get("starttls") or "", reader, writer, watch)
        with watch.phase("tls"):
            tls = await _handshake(reader, writer, context, name)
        cipher = tls.cipher()
        answer = {
            "address": str(writer.get_extra_info("peername")[0]),
            "protocol": tls.version(),
            "cipher": cipher[0] if cipher else None,
        }
        return answer, chain_of(tls)


async def _handshake(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext, name: str
) -> ssl.SSLObject:
    """The handshake by hand, over memory: the certificate can be read whatever came of it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    while True:
        done = _one_turn(tls)
        writer.write(outgoing.read())
        await writer.drain()
        if done:
            return tls
        more = await reader.read(65536)
        if not more:
            raise TargetError("tls_failed", "the server ended the connection during the handshake")
        incoming.write(more)


def _one_turn(tls: ssl.SSLObject) -> bool:
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


async def _upgrade(kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, watch: Watch) -> None:
    if not kind:
        return
    if kind not in _UPGRADES:
        raise ProbeError(f"starttls is one of {', '.join(_UPGRADES)}; found {kind!r}")
    with watch.phase("starttls"):
        await _UPGRADES[kind](reader, writer)


async def _smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _until(reader, b"220 ")
    await _say(writer, b"EHLO opsqueue.invalid\r\n")
    await _until(reader, b"250 ")
    await _say(writer, b"STARTTLS\r\n")
    await _until(reader, b"220 ")


async def _imap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _until(reader, b"* OK")
    await _say(writer, b"a1 STARTTLS\r\n")
    await _until(reader, b"a1 OK")


async def _postgres(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _say(writer, _POSTGRES_SSL_REQUEST)
    if await reader.read(1) != b"S":
        raise TargetError("tls_failed", "the server does not offer TLS on this port")


async def _say(writer: asyncio.StreamWriter, line: bytes) -> None:
    writer.write(line)
    await writer.drain()


async def _until(reader: asyncio.StreamReader, wanted: bytes) -> None:
    """Read lines until one begins as wanted; a last line of another code is a refusal."""
    for _ in range(_LINES):
        try:
            line = await reader.readline()
        except ValueError:
            break  # a line without end
        if line.startswith(wanted):
            return
        if not line or (line[:3].isdigit() and line[3:4] == b" "):
            break
    raise TargetError("tls_failed", "the server does not offer STARTTLS on this port")


_Upgrade = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_UPGRADES: Mapping[str, _Upgrade] = {"smtp": _smtp, "imap": _imap, "postgres": _postgres}
