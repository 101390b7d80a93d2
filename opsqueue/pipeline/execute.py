"""Stage three: every target settled; looking operations all at once, changing ones wave after wave."""

from __future__ import annotations

from opsqueue.model.names import Stage
from opsqueue.model.record import Operation
from opsqueue.pipeline.look import look
from opsqueue.pipeline.move import InTransaction, Move
from opsqueue.pipeline.rollout import RolledOut
from opsqueue.pipeline.world import World
from opsqueue.store import targets as store_targets


def execute(world: World, operation: Operation) -> Move | InTransaction:
    """Do the work on every target that is not settled yet."""
    if operation.outcome is not None:
        return Move(operation=operation, to=Stage.COLLECT, result="skipped")
    kind = world.kind(operation.type)
    with world.store.read() as connection:
        targets = store_targets.of(connection, operation.id)
    if kind.looking:
        return look(world, operation, kind, targets)
    return RolledOut(world, operation, kind, {target.host: target for target in targets}).go()
