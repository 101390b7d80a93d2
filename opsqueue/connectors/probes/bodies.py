"""The body of an answer up to a limit: what is packed is unpacked at most once, and no further than that."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

from opsqueue.connectors.probes.kit import TargetError

_GZIP, _ZLIB, _BARE = 31, 15, -15
_IS_ZLIB = 8
"""The low half of the first byte of what zlib packed; some servers send their `deflate` without that head."""


async def read(pieces: AsyncIterator[bytes], encoding: str, most: int) -> tuple[bytes, bool]:
    """The body up to so many bytes, and whether that was all of it; a few bytes may stand for many gigabytes."""
    coded = [word for part in encoding.split(",") if (word := part.strip().lower()) not in {"", "identity"}]
    body, unpacker = b"", None
    async for piece in pieces:
        if coded and piece and unpacker is None:
            unpacker = _unpacker(coded, piece)
        body += _unpacked(unpacker, piece, most + 1 - len(body)) if unpacker else piece
        if len(body) > most:
            return body[:most], False
    return body, True


def _unpacker(coded: list[str], first: bytes) -> zlib._Decompress:
    if coded in (["gzip"], ["x-gzip"]):
        return zlib.decompressobj(_GZIP)
    if coded == ["deflate"]:
        return zlib.decompressobj(_ZLIB if first[0] & 15 == _IS_ZLIB else _BARE)
    raise TargetError(
        "protocol_error",
        f"the body is packed as {', '.join(coded)[:80]!r}; asked was for none, and at most one gzip or deflate is read",
    )


def _unpacked(unpacker: zlib._Decompress, piece: bytes, most: int) -> bytes:
    try:
        return unpacker.decompress(piece, most)
    except zlib.error as error:
        raise TargetError("protocol_error", f"the body is not what its Content-Encoding says: {error}") from None
