"""Probe an SSH server: what it says of itself, and whether its host key is the wanted one; nobody logs in."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import paramiko

from opsqueue.connectors.probes.kit import TargetError, Watch, dial, option
from opsqueue.connectors.ssh.transport import Wire
from opsqueue.connectors.ssh.trust import HostKey

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


async def probe(options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Options: host, port, host_keys (fingerprints as ssh-keygen prints them; any one of them is right).

    Where the key that the server shows first is not wanted, its keys of other kinds are looked at too.
    """
    wanted = {text.rstrip("=") for text in option(options, "host_keys", (list, tuple), ())}
    answer: dict[str, Any] = {}
    keys: list[HostKey] = []
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
        "shown": [str(key) for key in keys],
        "expected": not wanted or keys[-1].fingerprint in wanted,
        "phases": watch.done(),
    }


async def _look(options: Mapping[str, Any], kinds: Sequence[str], watch: Watch) -> tuple[dict[str, Any], HostKey]:
    """One connection up to the exchange of keys, with a key of one of these kinds; none: whichever it likes best."""
    connection = await dial(option(options, "host", str), option(options, "port", int, 22), watch)
    address = str(connection.getpeername()[0])
    with _wire(connection) as wire:
        if kinds:
            wire.get_security_options().key_types = list(kinds)
        with watch.phase("banner"):
            await _first_word(connection)
        with watch.phase("keys"):
            await _exchanged(wire)
        key = wire.get_remote_server_key()
        return {"address": address, "banner": str(wire.remote_version)[:255]}, HostKey(key.get_name(), key.get_base64())


@contextmanager
def _wire(connection: socket.socket) -> Iterator[Wire]:
    wire = Wire(connection, seconds=_PATIENCE_S)
    try:
        yield wire
    finally:
        # It waits for its own thread, and nobody here needs to.
        threading.Thread(target=wire.end, name="probe-ssh-end", daemon=True).start()


async def _first_word(connection: socket.socket) -> None:
    """Wait until something has come, and leave it there."""
    loop, come = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection, come.set)
    try:
        await come.wait()
    finally:
        loop.remove_reader(connection)


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


async def _exchanged(wire: Wire) -> None:
    told = _Told()
    wire.start_client(event=told)
    await told.heard.wait()
    if wire.is_active():
        return
    error = wire.get_exception() or paramiko.SSHException("it ended the connection")
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer) or not isinstance(error, paramiko.SSHException):
        raise error
    raise TargetError("protocol_error", f"this is no SSH server, or not a sound one: {error}")
