"""The seat of a host's own worker: one lease in the record, so that no two machines work under one name.

Whoever wrote down a host's plan must be on the machine on which it is carried out. The lease is held by all processes
of one `opsqueue worker --host NAME` together, stretched while that one lives, and asked for again with each shard.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from opsqueue.errors import Conflict, LeaseLost
from opsqueue.model.instant import utc_text
from opsqueue.store import holds
from opsqueue.store.engine import Connection, Store

_LOOK_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class Seat:
    """Who sits there: a process of a machine, since then (UNIX seconds); `key` tells two of the same number apart."""

    host: str
    machine: str = field(default_factory=lambda: os.uname().nodename)
    process: int = field(default_factory=os.getpid)
    since: float = field(default_factory=time.time)
    key: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def holder(self) -> str:
        """How the record names it."""
        return f"{self.key} {self.since:.3f} {self.process} {self.machine}"

    def take(self, store: Store, seconds: float, tell: Callable[[str], None]) -> None:
        """Sit down for so many seconds; Conflict when somebody else sits there and lives.

        Whether it lives is seen by its lease: it is stretched, or it lapses. `tell` is told that this is waited for.
        """
        first, until = self._tried(store, seconds), time.monotonic() + 2 * seconds
        if first is not None:
            tell(f"{_taken(self.host, first[0])}. Looking whether it still lives ...")
        found = first
        while found is not None:
            if found != first or time.monotonic() > until:
                raise _conflict(self.host, found[0])
            time.sleep(_LOOK_AGAIN_S)
            found = self._tried(store, seconds)

    def stretch(self, store: Store, seconds: float) -> None:
        """Stay for so many seconds more; LeaseLost when somebody else sits there now."""
        found = self._tried(store, seconds)
        if found is not None:
            raise LeaseLost(_conflict(self.host, found[0]).message)

    def leave(self, store: Store) -> None:
        """Let another one sit down at once."""
        with store.begin() as tx:
            holds.give_lease_back(tx, _name(self.host), holder=self.holder)

    def _tried(self, store: Store, seconds: float) -> tuple[str, float] | None:
        """None when it is ours; else who has it, and until when."""
        now = time.time()
        with store.begin() as tx:
            if still_seated(tx, self.host, self.holder, now=now, until=now + seconds):
                return None
            return holds.lease_of(tx, _name(self.host))


def still_seated(tx: Connection, host: str, holder: str, *, now: float, until: float) -> bool:
    """Whether this worker is the host's own one, and then until then; always, where it is no host's."""
    return not host or holds.take_lease(tx, _name(host), holder=holder, now=now, until=until)


def _name(host: str) -> str:
    return f"host.{host}"


def _taken(host: str, holder: str) -> str:
    _key, since, process, machine = holder.split(" ", 3)
    return f"{host} has a worker of its own already: process {process} on {machine}, since {utc_text(float(since))}"


def _conflict(host: str, holder: str) -> Conflict:
    return Conflict(
        f"{_taken(host, holder)}. With two of them what was planned on one machine could be done on the other. "
        f"End that one if this is {host}; else start this one with the name of the host that it runs on.",
        host=host,
        holder=holder,
    )
