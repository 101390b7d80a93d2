"""Probe an SSH server: what it says of itself, and whether its host key is the wanted one; nobody logs in."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import select
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import paramiko
from paramiko.packet import Packetizer

from opsqueue.connectors.probes.kit import TargetError, Watch, dial, option

# What goes wrong is told in the answer; paramiko would print every broken connection with its traceback.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

_KINDS = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
"""A server has a key of each kind, or of some; each look shows one of them."""
_PATIENCE_S = 60.0
"""Paramiko's own limits: beyond that of any attempt, which is kept from outside."""
_PACKET_MOST = 1 << 18
"""Bytes; PACKET_MAX_SIZE of OpenSSH."""
_GREETING_MOST, _LINE_MOST = 8192, 1024
_BETWEEN_LOOKS_S = 0.05


class Key(NamedTuple):
    """A host key by its kind and its fingerprint, as ssh-keygen prints it."""

    kind: str
    fingerprint: str


async def probe(options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Options: host, port, host_keys (fingerprints as ssh-keygen prints them; any one of them is right).

    Where the key that the server shows first is not wanted, its keys of other kinds are looked at too.
    """
    wanted = {text.rstrip("=") for text in option(options, "host_keys", (list, tuple), ())}
    answer: dict[str, Any] = {}
    keys: list[Key] = []
    for kinds in ((), *_KINDS):
        try:
            seen, key = await _look(options, kinds, watch)
        except paramiko.ssh_exception.IncompatiblePeer:
            if kinds:
                continue  # it has no key of this kind
            raise TargetError("protocol_error", "there is no common way to exchange keys") from None
        answer = answer or seen
        keys = list(dict.fromkeys([*keys, key]))
        if not wanted or key.fingerprint in wanted:
            break
    return {
        "ok": True,
        **answer,
        "key_type": keys[-1].kind,
        "fingerprint": keys[-1].fingerprint,
        "shown": [f"{key.kind} {key.fingerprint}" for key in keys],
        "expected": not wanted or keys[-1].fingerprint in wanted,
        "phases": watch.done(),
    }


async def _look(options: Mapping[str, Any], kinds: Sequence[str], watch: Watch) -> tuple[dict[str, Any], Key]:
    """One connection up to the exchange of keys, with a key of one of these kinds; none: whichever it likes best."""
    connection = await dial(option(options, "host", str), option(options, "port", int, 22), watch)
    address = str(connection.getpeername()[0])
    with _transport(connection) as transport:
        with watch.phase("banner"):
            await _first_word(connection)
        if kinds:
            transport.get_security_options().key_types = list(kinds)
        with watch.phase("keys"):
            await _exchanged(transport)
        key = transport.get_remote_server_key()
        seen = {"address": address, "banner": str(transport.remote_version)[:255]}
        return seen, Key(key.get_name(), _fingerprint(key.asbytes()))


def _fingerprint(key: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


class _Packets(Packetizer):  # type: ignore[misc]  # it comes without types
    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """Refuse a packet that is longer than any of OpenSSH's; its length is believed before any key is known."""
        if n > _PACKET_MOST:
            raise paramiko.SSHException(f"it announces a packet of {n} bytes")
        return bytes(super().read_all(n, check_rekey))


@contextmanager
def _transport(connection: socket.socket) -> Iterator[Any]:
    transport = paramiko.Transport(connection, packetizer_class=_Packets)
    transport.banner_timeout = transport.handshake_timeout = _PATIENCE_S
    try:
        yield transport
    finally:
        # It waits for its own thread, and nobody here needs to.
        threading.Thread(target=_end, args=(transport, connection), name="probe-ssh-end", daemon=True).start()


def _end(transport: Any, connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    transport.packetizer.complete_handshake()  # else its timer would hold up the end of the process
    transport.close()
    connection.close()


async def _first_word(connection: socket.socket) -> None:
    """Wait until it says that it speaks SSH, and leave that there: paramiko would read a line without end."""
    loop, come = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection, come.set)
    try:
        await come.wait()
    finally:
        loop.remove_reader(connection)
    # What has come stays there, so nothing wakes us for more of it.
    while not _greets(connection.recv(_GREETING_MOST, socket.MSG_PEEK | socket.MSG_DONTWAIT), _ended(connection)):  # noqa: ASYNC110
        await asyncio.sleep(_BETWEEN_LOOKS_S)


def _ended(connection: socket.socket) -> bool:
    """Whether nothing more will come after what is there."""
    look = select.poll()
    look.register(connection, getattr(select, "POLLRDHUP", 0))
    return bool(look.poll(0))


def _greets(heard: bytes, ended: bool) -> bool:
    """Whether the line that names the protocol is whole; other lines may come before it."""
    if not heard:
        raise TargetError("reset", "the server ended the connection")
    lines = heard.split(b"\n")
    if any(line.startswith(b"SSH-") for line in lines[:-1]):
        return True
    if ended or len(heard) >= _GREETING_MOST or any(len(line) > _LINE_MOST for line in lines):
        raise TargetError("protocol_error", f"this is no SSH server; it says {heard[:60]!r}")
    return False


class _Told(threading.Event):
    """Paramiko's event, which lets the loop know too."""

    def __init__(self) -> None:
        super().__init__()
        self._loop, self.heard = asyncio.get_running_loop(), asyncio.Event()

    def set(self) -> None:
        """From paramiko's thread."""
        super().set()
        with suppress(RuntimeError):  # the loop is over; nobody waits any more
            self._loop.call_soon_threadsafe(self.heard.set)


async def _exchanged(transport: Any) -> None:
    told = _Told()
    transport.start_client(event=told)
    await told.heard.wait()
    if transport.is_active():
        return
    error = transport.get_exception() or paramiko.SSHException("it ended the connection")
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer) or not isinstance(error, paramiko.SSHException):
        raise error
    raise TargetError("protocol_error", f"this is no SSH server, or not a sound one: {error}")
