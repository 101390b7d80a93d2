"""The little of PostgreSQL's protocol (version 3) that a probe needs: log in, ask, read rows of text."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Mapping

from opsqueue.connectors.probes import hearers
from opsqueue.connectors.probes.kit import ProbeError, TargetError
from opsqueue.connectors.probes.scram import Scram

_VERSION = 196_608
_MOST = 1 << 20
"""Bytes of one message."""
_MOST_ROWS = 100
_OK, _CLEARTEXT, _MD5, _SASL, _CONTINUE, _FINAL = 0, 3, 5, 10, 11, 12
_SCRAM = b"SCRAM-SHA-256"


class Refused(Exception):
    """An error that the server answers, with its SQLSTATE."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.code = fields.get("C", "")
        super().__init__(f"{self.code}: {fields.get('M', 'no message')[:300]}")


class Wire:
    """One connection. `may_tell_password`: the server is surely the one that is meant, and nobody listens.

    `may_tell_digest`: it is that, or on this machine. The password can be guessed from its MD5, fast.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        may_tell_password: bool = False,
        may_tell_digest: bool = False,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._may_tell, self._may_tell_digest = may_tell_password, may_tell_digest

    async def log_in(self, user: str, database: str, password: str) -> None:
        """As this user; ProbeError where a password is wanted and there is none, Refused when it is not let in."""
        pairs = {"user": user, "database": database, "application_name": "opsqueue", "client_encoding": "UTF8"}
        text = b"".join(f"{name}\0{value}\0".encode() for name, value in pairs.items())
        await self._send(b"", struct.pack("!i", _VERSION) + text + b"\0")
        scram: Scram | None = None
        while True:
            kind, body = await self._message()
            if kind == b"Z":
                return
            if kind == b"R":
                scram = await self._prove(body, user, password, scram)

    async def ask(self, sql: str) -> list[list[str | None]]:
        """The rows of all its statements; raises Refused."""
        await self._send(b"Q", sql.encode() + b"\0")
        rows: list[list[str | None]] = []
        while True:
            kind, body = await self._message()
            if kind == b"D" and len(rows) < _MOST_ROWS:
                rows.append(_row(body))
            elif kind == b"Z":
                return rows

    async def end(self) -> None:
        """Say goodbye, so that the server's log tells of no broken connection."""
        await self._send(b"X", b"")

    async def _prove(self, body: bytes, user: str, password: str, scram: Scram | None) -> Scram | None:
        """Answer one question of the login."""
        (wanted,), rest = struct.unpack("!i", body[:4].ljust(4, b"\xff")), body[4:]
        if wanted != _OK and not password:
            raise ProbeError("PostgreSQL wants a password, and the check has none: give `password`")
        if wanted == _CLEARTEXT:
            if not self._may_tell:
                raise ProbeError("PostgreSQL wants the password in clear text; it is told only with tls and verify_tls")
            await self._send(b"p", password.encode() + b"\0")
        elif wanted == _MD5:
            if not self._may_tell_digest:
                raise ProbeError(
                    "PostgreSQL wants the password as MD5, from which it can be guessed: "
                    f"let it be kept as SCRAM-SHA-256, or {hearers.WAY}"
                )
            await self._send(b"p", _md5(user, password, rest[:4]) + b"\0")
        elif wanted == _SASL and _SCRAM in rest.split(b"\0"):
            scram = Scram(password)
            first = scram.first()
            await self._send(b"p", _SCRAM + b"\0" + struct.pack("!i", len(first)) + first)
        elif wanted == _CONTINUE and scram:
            await self._send(b"p", scram.proof(rest))
        elif wanted == _FINAL and scram:
            scram.confirm(rest)
        elif wanted != _OK:
            raise ProbeError(f"PostgreSQL wants a login of another kind (number {wanted}) than with a password")
        return scram

    async def _send(self, kind: bytes, body: bytes) -> None:
        self._writer.write(kind + struct.pack("!i", len(body) + 4) + body)
        await self._writer.drain()

    async def _message(self) -> tuple[bytes, bytes]:
        """The next one; raises Refused for an error."""
        try:
            head = await self._reader.readexactly(5)
            size = struct.unpack("!i", head[1:])[0] - 4
            if not 0 <= size <= _MOST:
                raise TargetError("protocol_error", f"this is no answer of a PostgreSQL: {head!r}")
            body = await self._reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise TargetError("reset", "the server ended the connection") from None
        if head[:1] == b"E":
            raise Refused(_fields(body))
        return head[:1], body


def _md5(user: str, password: str, salt: bytes) -> bytes:
    inner = hashlib.md5(f"{password}{user}".encode(), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()


def _fields(body: bytes) -> dict[str, str]:
    parts = [part.decode(errors="replace") for part in body.split(b"\0")]
    return {part[0]: part[1:] for part in parts if part}


def _row(body: bytes) -> list[str | None]:
    """The columns of one row; TargetError when it is cut."""
    try:
        (count,), place, found = struct.unpack("!h", body[:2]), 2, []
        for _ in range(count):
            (size,) = struct.unpack("!i", body[place : place + 4])
            place += 4
            found.append(None if size < 0 else body[place : place + size].decode(errors="replace"))
            place += max(size, 0)
    except struct.error:
        raise TargetError("protocol_error", "a row came in pieces") from None
    return found
