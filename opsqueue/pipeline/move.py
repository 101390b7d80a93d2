"""What a stage decided; `advance` writes it down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opsqueue.model.names import Stage
from opsqueue.model.record import Event, Operation, Target
from opsqueue.store.engine import Connection


def _nothing(_tx: Connection) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The operation as it shall stand, where it shall rest, and what else belongs in the same transaction."""

    operation: Operation
    to: Stage
    result: str
    """One word for people: passed, held, denied, skipped, failed, retrying, delivered …"""
    why: str = ""
    due_at: float | None = None
    """When to look again, if it stays or goes back; a move to the next stage is due at once."""
    events: tuple[Event, ...] = ()
    write: Callable[[Connection], object] = _nothing
    targets: tuple[Target, ...] | None = None
    """All targets as they stand once this is written, where they are known: the next stage need not read them."""
    wake: bool = False
    """Whether somebody who waited for a slot or a lock may go now."""


Known = tuple[Target, ...] | None
"""The targets as the stage before left them, in the same process and under the same lease; None: read them."""
InTransaction = Callable[[Connection], Move]
"""A decision that must be taken in the transaction that writes it down."""
