"""Which connector leads to a host."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opsqueue.connectors.local import LocalShell
from opsqueue.connectors.shell import Shell
from opsqueue.errors import HostUnreachable
from opsqueue.model.host import Host
from opsqueue.settings import Settings

if TYPE_CHECKING:
    from opsqueue.connectors.ssh.ways import Ways


@dataclass(slots=True)
class Reach:
    """The ways of one process; called with a host it gives the way to it."""

    settings: Settings
    hosts: Callable[[str], Host]
    """A host by its name, for gateways."""
    own_host: str = ""
    """The host whose own worker this is."""
    _ssh: Ways | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, host: Host) -> Shell:
        """The way to this host, not opened yet; HostUnreachable when only its own worker has one."""
        if host.connector == "ssh":
            return self.ways.shell(host)
        if host.connector == "worker" and host.name != self.own_host:
            raise HostUnreachable(
                f"{host.name} is reached by its own worker only: `opsqueue worker --host {host.name}`, on it"
            )
        return LocalShell()

    @property
    def ways(self) -> Ways:
        """The SSH connections of this process."""
        with self._lock:
            if self._ssh is None:
                self._ssh = self._opened()
            return self._ssh

    def _opened(self) -> Ways:
        # Fabric and paramiko cost a quarter of a second at start-up, which only those pay who use them.
        from opsqueue.connectors.ssh.ways import Ways  # noqa: PLC0415

        given = self.settings.ssh
        return Ways(
            self.settings.known_hosts,
            given.connect_timeout,
            given.keep_seconds,
            given.key_passphrase.resolve if given.key_passphrase else None,
            self.hosts,
        )
