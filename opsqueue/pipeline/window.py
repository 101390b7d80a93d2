"""Stage two: may it, now. On pass the slot and the locks of all hosts are taken in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opsqueue.gates import BEFORE_EXECUTE, ask, combined
from opsqueue.gates.maintenance_window import open_hosts
from opsqueue.model.names import Outcome, Stage
from opsqueue.model.record import Operation, Target
from opsqueue.model.verdict import Deny, Hold, Pass, Verdict
from opsqueue.pipeline.evidence import gather, limits, recorded
from opsqueue.pipeline.move import InTransaction, Known, Move
from opsqueue.pipeline.verify import ended
from opsqueue.pipeline.world import World
from opsqueue.store import holds
from opsqueue.store import targets as store_targets
from opsqueue.store.engine import Connection

_RACE_LOST = 1.0


def window(world: World, operation: Operation, known: Known = None) -> Move | InTransaction:
    """Ask all gates about the operation as it was planned."""
    if operation.outcome is not None:
        return Move(operation=operation, to=Stage.EXECUTE, result="skipped", targets=known)
    return lambda tx: replace(_decide(tx, world, operation, known), targets=known)


def _decide(tx: Connection, world: World, operation: Operation, known: Known) -> Move:
    targets = store_targets.of(tx, operation.id) if known is None else known
    if operation.cancel_asked:
        return ended(operation, Outcome.CANCELLED, f"cancelled: {operation.cancel_asked}", targets=targets)
    left = tuple(target for target in targets if not target.state.settled)
    verdicts, open_now = asked(tx, world, operation, left or targets)
    verdict = combined(verdicts)
    judged = replace(operation, verdicts=recorded(verdicts))
    if isinstance(verdict, Deny):
        return ended(judged, Outcome.DENIED, verdict.why, result="denied", targets=targets)
    if isinstance(verdict, Hold):
        return held(judged, verdict, verdicts)
    return _cleared(tx, world, judged, open_now)


def _cleared(tx: Connection, world: World, operation: Operation, open_now: Sequence[str]) -> Move:
    # Hosts whose window is closed are not taken: they wait, and others may change them meanwhile.
    hosts = [] if operation.looking else open_now
    pools = limits(world.settings, operation.type)
    if holds.take(tx, operation.id, hosts=hosts, limits=pools, now=world.now()):
        return Move(operation=operation, to=Stage.EXECUTE, result="passed")
    lost = Hold("another operation was quicker to take a slot or a host", world.now() + _RACE_LOST)
    return held(operation, lost, (("concurrency", lost),))


def asked(
    connection: Connection, world: World, operation: Operation, targets: tuple[Target, ...]
) -> tuple[tuple[tuple[str, Verdict], ...], tuple[str, ...]]:
    """Every gate's verdict on the operation as it stands now, and the hosts whose window is open."""
    evidence = gather(world, connection, operation, targets)
    return ask(BEFORE_EXECUTE, evidence), open_hosts(evidence)


def held(operation: Operation, verdict: Hold, verdicts: Sequence[tuple[str, Verdict]]) -> Move:
    """The operation stays where it is until the hold ends; the gates that hold it are named."""
    gates = tuple(gate for gate, said in verdicts if not isinstance(said, Pass))
    waiting = replace(operation, hold=gates, attempts=0)
    return Move(operation=waiting, to=operation.stage, result="held", why=verdict.why, due_at=verdict.until)
