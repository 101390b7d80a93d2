"""What all probes share: the way to connect, phases, error words."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opsqueue.connectors.probes import authorities

_PER_ADDRESS = 2.0
"""Seconds until the next address of a name is tried."""
_NO_WAY = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM}
_CUT_OFF = {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED}


class ProbeError(ValueError):
    """The probe itself cannot be made: a fault of the checker or of its options, not of the target."""


class TargetError(Exception):
    """The target did not do what it should; `word` is for programs, the text for people."""

    def __init__(self, word: str, detail: str) -> None:
        super().__init__(detail)
        self.word = word


class Kit:
    """Things that are dear to make, kept for one run."""

    def __init__(self) -> None:
        self._trust: dict[str, ssl.SSLContext] = {}

    def trust(self, ca_file: str | None = None) -> ssl.SSLContext:
        """A context that verifies chain and name against the system's authorities, or only those of `ca_file`."""
        key = ca_file or ""
        if key not in self._trust:
            try:
                self._trust[key] = ssl.create_default_context(cadata=authorities.read(ca_file) if ca_file else None)
            except (OSError, ValueError) as error:  # an empty file, or a path with a zero byte
                raise ProbeError(f"the authorities in ca_file {ca_file} cannot be read: {error}") from None
        return self._trust[key]


def trusting_nobody() -> ssl.SSLContext:
    """A context that takes any certificate; for reading one, never for believing it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Watch:
    """Phases of one attempt in ms; `at` is the phase that was under way last, so the one that failed."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.phases: dict[str, float] = {}
        self.at = "start"
        self._began = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what happens inside; a phase that fails leaves no time."""
        self.at = name
        began = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds to a phase; phases that come again (redirects) add up."""
        self.phases[name] = round(self.phases.get(name, 0.0) + seconds * 1000, 2)

    def done(self) -> dict[str, float]:
        """All phases, with the total since the attempt began."""
        total = round((time.perf_counter() - self._began) * 1000, 2)
        return {**self.phases, "total": total}


async def resolve(host: str, port: int, watch: Watch) -> str:
    """The first address of a host, timed as the phase `dns`; later look-ups of this run find it at once."""
    with watch.phase("dns"):
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return str(found[0][4][0])


@contextmanager
def abandoned(writer: asyncio.StreamWriter) -> Iterator[None]:
    """Cut the connection at the end without waiting for the other side's goodbye."""
    try:
        yield
    finally:
        writer.transport.abort()


async def connect(host: str, port: int, watch: Watch) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """An open TCP connection, with the phases `dns` and `connect`."""
    await resolve(host, port, watch)
    with watch.phase("connect"):
        return await asyncio.open_connection(host, port, happy_eyeballs_delay=0.25)


async def dial(host: str, port: int, watch: Watch) -> socket.socket:
    """A connected socket for those who speak without asyncio; the addresses in turn."""
    await resolve(host, port, watch)
    with watch.phase("connect"):
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for place in found[:-1]:
            if connection := await _tried(place):
                return connection
        return await _dialled(found[-1])


async def _tried(place: tuple[Any, ...]) -> socket.socket | None:
    try:
        async with asyncio.timeout(_PER_ADDRESS):
            return await _dialled(place)
    except OSError:
        return None  # of several, what the last one says is told


async def _dialled(place: tuple[Any, ...]) -> socket.socket:
    family, kind, proto, _, address = place
    connection = socket.socket(family, kind, proto)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


async def secure(writer: asyncio.StreamWriter, options: Mapping[str, Any], watch: Watch) -> None:
    """Begin TLS where the options say so (tls, verify_tls, ca_file), with the phase `tls`."""
    if not option(options, "tls", bool, False):
        return
    verify = option(options, "verify_tls", bool, True)
    context = watch.kit.trust(options.get("ca_file")) if verify else trusting_nobody()
    with watch.phase("tls"):
        await writer.start_tls(context, server_hostname=option(options, "host", str))


def option(options: Mapping[str, Any], name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
    """An option of the right kind; ProbeError names the one that is missing or wrong."""
    value = options.get(name, default)
    if value is None and default is None and name not in options:
        raise ProbeError(f"the option {name} is wanted and missing")
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise ProbeError(f"the option {name} has the wrong kind: {type(value).__name__}")
    return value


def word_of(error: BaseException) -> tuple[str, str] | None:
    """The word and the detail for an error of the network; `None` when it is none."""
    for found in family_of(error):
        word = _word(found)
        if word:
            return word, _detail(found)
    return None


def family_of(error: BaseException) -> Iterator[BaseException]:
    """The causes first: the library's own wrapping says less."""
    for child in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from family_of(child)
    cause = error.__cause__ or error.__context__
    if cause is not None:
        yield from family_of(cause)
    yield error


def _word(error: BaseException) -> str | None:
    kinds: tuple[tuple[type[BaseException], str], ...] = (
        (ssl.SSLError, "tls_failed"),
        (socket.gaierror, "dns_failed"),
        (ConnectionRefusedError, "refused"),
        (ConnectionResetError, "reset"),
        (TimeoutError, "timeout"),
    )
    for kind, word in kinds:
        if isinstance(error, kind):
            return word
    return _word_of_number(error) if isinstance(error, OSError) else None


def _word_of_number(error: OSError) -> str | None:
    # asyncio folds the errors of several addresses into one text and drops their numbers.
    inside = re.search(r"\[Errno (\d+)\]", str(error))
    number = error.errno or (int(inside[1]) if inside else None)
    if number == errno.ECONNREFUSED:
        return "refused"
    if number == errno.ETIMEDOUT:
        return "timeout"
    if number in _CUT_OFF:
        return "reset"
    return "unreachable" if number in _NO_WAY else None


def _detail(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
