"""What lets a worker write about targets: the lease of the operation, or of a shard of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opsqueue.model.record import Operation
from opsqueue.pipeline.world import World
from opsqueue.store import operations
from opsqueue.store.engine import Connection


@dataclass(slots=True)
class Lease:
    """Renewed in every transaction that writes about a target; LeaseLost there, and nothing is written."""

    world: World
    stretch: Callable[[Connection, float], None]
    kept_at: float

    @classmethod
    def of(cls, world: World, operation: Operation) -> Lease:
        """The lease of a whole operation."""
        return cls(world, lambda tx, until: operations.renew(tx, operation, until), world.now())

    def renew(self, tx: Connection) -> None:
        """Stretch it from now on; LeaseLost when somebody else has it."""
        now = self.world.now()
        self.stretch(tx, now + self.world.settings.worker.lease_seconds)
        self.kept_at = now
