"""All that gates may look at, gathered once; a gate itself looks at no clock, no database, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from opsqueue.model.host import Host
from opsqueue.model.record import Delivery, Freeze, Operation, Target
from opsqueue.model.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorAnswer:
    """What one verification coordinator said of the present digest."""

    coordinator: str
    status: str
    """PASSED lets go; anything else holds or denies."""
    why: str = ""
    digest: str | None = None
    reached: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The state of the world as far as a gate may care. Times are UNIX seconds."""

    now: float
    operation: Operation
    hosts: tuple[Host, ...] = ()
    coordinators: tuple[CoordinatorAnswer, ...] = ()
    windows: tuple[Window, ...] = ()
    """All windows of the configuration."""
    desk: bool = False
    """Whether the type changes the record alone, so that windows of hosts do not count."""
    own_window: Window | None = None
    """The window that the operation itself asks for."""
    takes: float | None = None
    """Seconds that the work on a host usually takes at most; None: not known."""
    freezes: tuple[Freeze, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    """Most operations at once by pool: `all`, and type names that have a limit of their own."""
    running: Mapping[str, int] = field(default_factory=dict)
    """Operations that hold a slot now, by pool, this one not counted."""
    locks: Mapping[str, str] = field(default_factory=dict)
    """The operation that is changing a host, by host, this one not counted."""
    targets: tuple[Target, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
