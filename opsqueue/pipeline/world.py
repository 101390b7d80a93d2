"""Everything that runs is handed in: the record, the clock, the way to hosts, to people, to workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from opsqueue.connectors.shell import Shell
from opsqueue.errors import NotFound
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory
from opsqueue.model.kind import OperationKind
from opsqueue.model.misspelt import nearest
from opsqueue.model.record import Operation, Shard, Target
from opsqueue.model.window import Window
from opsqueue.notify.message import Message
from opsqueue.notify.receipt import Receipt
from opsqueue.pipeline.heart import Heart
from opsqueue.settings import Settings
from opsqueue.store import targets
from opsqueue.store.engine import Store


def no_kind(name: str, kinds: Iterable[str]) -> str:
    """That there is no such type, with the nearest and all that there are."""
    here = sorted(kinds)
    what = f"there is no operation type {name[:80]!r}{nearest(name, here) or '.'}"
    return f"{what} This version has: {', '.join(here)}. `opsqueue types` tells of each."


class Coordinator(Protocol):
    """Somebody who is asked before anything is changed."""

    @property
    def name(self) -> str:
        """How its answers are signed."""
        ...

    def ask(self, kind: str, context: Mapping[str, Any]) -> Mapping[str, Any]:
        """An answer with `overall_status`; raises OSError when it cannot be reached."""
        ...


@dataclass(frozen=True, kw_only=True)
class World:
    """What the pipeline works with."""

    store: Store
    settings: Settings
    kinds: Mapping[str, OperationKind]
    connect: Callable[[Host], Shell]
    tell: Callable[[str, Message, str], Receipt]
    """Give a message to a channel by name, with the event's id as idempotency key."""
    recipients: Callable[[str], tuple[str, ...]] = lambda channel: (channel,)
    """The channels, one for each recipient, that a channel's name stands for."""
    dispatch: Callable[[Operation], None]
    """Nudge: send the chain of the stages that are left."""
    now: Callable[[], float]
    dispatch_shard: Callable[[Operation, Shard], None] = lambda _operation, _shard: None
    """Nudge: tell a worker of its shard; one that hears nothing is told again when the operation is looked at."""
    coordinators: tuple[Coordinator, ...] = ()
    worker: str = "local"
    """Who holds the leases taken here."""
    own_host: str = ""
    """The host whose own worker this is; empty: nobody's."""
    seat: str = ""
    """As whom this worker, with all of its processes, holds the lease of its own host; see `seat.py`."""
    heart: Heart = field(default_factory=Heart)
    directory: Callable[[], Inventory] = Inventory
    """The inventory as it is now."""
    windows: tuple[Window, ...] = ()
    usual: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    """How long the work on a host usually takes, by operation, with when that was looked up: each host asks for it."""

    def backoff(self, attempts: int) -> float:
        """Seconds before the next try after so many that came to nothing: doubled each time, a minute at most."""
        return float(min(60.0, self.settings.worker.retry_backoff_seconds * 2**attempts))

    def targets(self, operation: Operation, known: tuple[Target, ...] | None = None) -> tuple[Target, ...]:
        """The targets of an operation, read if they are not known."""
        if known is not None:
            return known
        with self.store.read() as connection:
            return targets.of(connection, operation.id)

    def kind(self, name: str) -> OperationKind:
        """The type with this name; NotFound names the nearest."""
        if name in self.kinds:
            return self.kinds[name]
        raise NotFound(no_kind(name, self.kinds), known=sorted(self.kinds))

    @property
    def inventory(self) -> Inventory:
        """Every host by name, as it is now."""
        return self.directory()

    def hosts(self, systems: tuple[str, ...]) -> tuple[Host, ...]:
        """The hosts that selectors stand for, each once; NotFound names the unknown."""
        return self.inventory.select(systems)
