"""Stage three: every target settled; looking operations all at once, changing ones wave after wave."""

from __future__ import annotations

from opsqueue.model.names import Stage
from opsqueue.model.record import Operation
from opsqueue.pipeline.look import look
from opsqueue.pipeline.move import InTransaction, Known, Move
from opsqueue.pipeline.rollout import RolledOut
from opsqueue.pipeline.world import World


def execute(world: World, operation: Operation, known: Known = None) -> Move | InTransaction:
    """Do the work on every target that is not settled yet."""
    if operation.outcome is not None:
        return Move(operation=operation, to=Stage.COLLECT, result="skipped", targets=known)
    kind = world.kind(operation.type)
    targets = world.targets(operation, known)
    if operation.looking:
        return look(world, operation, kind, targets)
    return RolledOut(world, operation, kind, {target.host: target for target in targets}).go()
