"""Probe a TCP port: connect, optionally send a line and wait for a text."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from opsqueue.connectors.probes.kit import Watch, abandoned, connect, option

_MOST_BYTES = 4096


async def probe(options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Options: host, port, send (text), expect (text that must come, as it is and not as a pattern)."""
    host, port = option(options, "host", str), option(options, "port", int)
    send, expect = option(options, "send", str, ""), option(options, "expect", str, "")
    reader, writer = await connect(host, port, watch)
    with abandoned(writer):
        answer: dict[str, Any] = {"ok": True, "address": str(writer.get_extra_info("peername")[0])}
        if send:
            writer.write(send.encode())
            await writer.drain()
        if expect:
            with watch.phase("banner"):
                heard = await _listen(reader, expect.encode())
            answer |= {"banner": heard.decode(errors="replace"), "expected": expect.encode() in heard}
    return {**answer, "phases": watch.done()}


async def _listen(reader: asyncio.StreamReader, expect: bytes) -> bytes:
    """What came until the text was there, the other side ended, or enough was read."""
    heard = b""
    while expect not in heard and len(heard) < _MOST_BYTES:
        more = await reader.read(_MOST_BYTES)
        if not more:
            break
        heard += more
    return heard[:_MOST_BYTES]
