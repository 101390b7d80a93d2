"""The ways to all hosts of one process: one connection for each, kept and shared."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from opsqueue.connectors.ssh.login import KeyRing, user_of
from opsqueue.connectors.ssh.shell import SshShell
from opsqueue.connectors.ssh.trust import HostKey
from opsqueue.connectors.ssh.way import Terms, Way
from opsqueue.errors import HostUnreachable, OpsqueueError
from opsqueue.model.host import Host

_Key = tuple[object, ...]
_MOST_HOPS = 8
_OFTEN_S, _SELDOM_S = 0.05, 30.0

_PARENTS: list[dict[_Key, Way]] = []
"""What a process has from its parent: never used, and never freed, because paramiko would say goodbye over it."""


class Ways:
    """Made once for each process and used by all of its threads; a process that was forked opens its own.

    `connect_timeout`: seconds until a connection stands, with everything before it. `keep_seconds`: how long an unused
    one is kept. `passphrase` unlocks private keys that have one. `hosts` finds a gateway by its name, or raises an
    error.
    """

    def __init__(
        self,
        known_hosts: Path,
        connect_timeout: float = 10.0,
        keep_seconds: float = 600.0,
        passphrase: Callable[[], str] | None = None,
        hosts: Callable[[str], Host] | None = None,
    ) -> None:
        self._given = known_hosts, connect_timeout, keep_seconds
        self._passphrase = passphrase
        self._hosts = hosts
        self._begin()

    def _begin(self) -> None:
        known_hosts, connect_timeout, keep_seconds = self._given
        self._terms = Terms(
            known_hosts=known_hosts,
            connect_timeout=connect_timeout,
            keep_seconds=keep_seconds,
            ring=KeyRing(self._passphrase),
            opened=self._watch,
        )
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._ways: dict[_Key, Way] = {}
        self._sweeper: threading.Thread | None = None
        self._bell = threading.Event()

    def shell(self, host: Host) -> SshShell:
        """The way to this host; nothing is opened yet. Raises HostUnreachable when its gateway cannot be found."""
        return SshShell(self._way(host))

    def presented(self, host: Host) -> HostKey:
        """The key that the host shows now; nobody logs in to it, though to its gateways. Raises HostUnreachable."""
        return self._way(host).presented()

    def close(self) -> None:
        """Hang up everywhere; what is asked afterwards opens it again."""
        with self._lock:
            ways = list(self._ways.values())
        for way in reversed(ways):  # gateways last
            way.close()
        self._bell.set()

    def _way(self, host: Host) -> Way:
        if self._process != os.getpid():
            _PARENTS.append(self._ways)
            self._begin()
        with self._lock:
            return self._known(host, self._gateways(host, _MOST_HOPS))

    def _watch(self) -> None:
        """Something was opened, so something is to be closed one day."""
        with self._lock:
            if self._sweeper is None:
                self._sweeper = threading.Thread(target=self._sweep, name="ssh ways", daemon=True)
                self._sweeper.start()

    def _gateways(self, host: Host, hops: int) -> tuple[Host, ...]:
        """The gateways, the one next to us first."""
        if not host.gateway:
            return ()
        if not hops:
            raise HostUnreachable(f"{host.name} cannot be reached: its gateways lead in a circle", host=host.name)
        try:
            found = self._hosts(host.gateway) if self._hosts else None
        except (LookupError, OpsqueueError):
            found = None
        if found is None:
            raise HostUnreachable(
                f"{host.name} cannot be reached: its gateway {host.gateway!r} is not in the inventory", host=host.name
            )
        return (*self._gateways(found, hops - 1), found)

    def _known(self, host: Host, gateways: tuple[Host, ...]) -> Way:
        """One and the same way for all who mean the same; the lock is held."""
        gateway = self._known(gateways[-1], gateways[:-1]) if gateways else None
        login = user_of(host), host.key_file, host.certificate_file
        key = host.name, host.where, *login, id(gateway) if gateway else None
        return self._ways.setdefault(key, Way(host, self._terms, gateway))

    def _sweep(self) -> None:
        """Close what is not used any more, until nothing is left to close."""
        keep = self._terms.keep_seconds
        while True:
            self._bell.wait(min(max(keep / 4, _OFTEN_S), _SELDOM_S))
            self._bell.clear()
            with self._lock:
                ways = list(self._ways.values())
            closed = [way.close(unless_used_since=time.monotonic() - keep) for way in ways]
            with self._lock:
                if all(closed) and len(closed) == len(self._ways):
                    self._sweeper = None
                    return
