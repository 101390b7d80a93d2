"""Looking operations at work: every host is asked at once, as far as threads go; answers are kept as they come."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

from opsqueue.errors import HostNotTrusted, HostUnreachable
from opsqueue.model.alike import told
from opsqueue.model.fact import bounded
from opsqueue.model.kind import OperationKind
from opsqueue.model.names import Stage, TargetState
from opsqueue.model.record import Operation, Target
from opsqueue.pipeline.desk import shell_to
from opsqueue.pipeline.lease import Lease
from opsqueue.pipeline.move import InTransaction, Move
from opsqueue.pipeline.outcome import settled, skipped
from opsqueue.pipeline.share import Shared, done_with, not_reached, rest, share
from opsqueue.pipeline.submit import params_for
from opsqueue.pipeline.world import World
from opsqueue.store import operations
from opsqueue.store import targets as store_targets

_log = logging.getLogger("opsqueue.pipeline")
_KEPT_EVERY = 0.5
"""Seconds after which new answers are written down, so that they can be seen and outlive a crash."""


def look(world: World, operation: Operation, kind: OperationKind, targets: tuple[Target, ...]) -> Move | InTransaction:
    """Ask every target that is not settled yet; those that cannot be reached are asked again later."""
    shared = share(world, operation, [target for target in targets if not target.state.settled])
    looking = Looking(world, operation, kind, Lease.of(world, operation))
    seen = {target.host: target for target in (*targets, *looking.at(shared.here))}
    if shared.waiting:
        return rest(world, operation, looking.unsaved)
    if shared.elsewhere:
        heard = _heard(world, operation, shared)
        seen.update({target.host: target for target in heard})
        looking.unsaved += [target for target in heard if target.state is TargetState.UNREACHABLE]
    move = _decided(world, operation, looking, [seen[target.host] for target in targets])
    return done_with(move) if shared.elsewhere else move


def _decided(world: World, operation: Operation, looking: Looking, seen: Sequence[Target]) -> Move:
    """All were asked: it is over, or those that were not reached are asked again."""
    away = [target for target in looking.unsaved if target.state is TargetState.UNREACHABLE]
    if away and operation.attempts < operation.retry_count and not looking.cancelled:
        return _again(world, operation, looking.unsaved, away)
    ended = replace(operation, cancel_asked=looking.cancelled or operation.cancel_asked)
    return settled(ended, seen, unsaved=looking.unsaved)


def _heard(world: World, operation: Operation, shared: Shared) -> list[Target]:
    """What other workers wrote of their hosts."""
    with world.store.read() as connection:
        theirs = [target for target in store_targets.of(connection, operation.id) if target.host in shared.elsewhere]
    return [not_reached(world, target, shared.said.get(target.host, {})) for target in theirs]


def _again(world: World, operation: Operation, unsaved: Sequence[Target], away: Sequence[Target]) -> Move:
    tried = replace(operation, attempts=operation.attempts + 1)
    waiting = [replace(t, state=TargetState.PENDING) if t.state is TargetState.UNREACHABLE else t for t in unsaved]
    return Move(
        operation=tried,
        to=Stage.EXECUTE,
        result="retrying",
        why=why_away(away),
        due_at=world.now() + world.backoff(operation.attempts),
        write=lambda tx: store_targets.save(tx, waiting),
    )


def why_away(away: Sequence[Target]) -> str:
    """Who could not be reached, and why."""
    return told(((target.host, problem) for target in away for problem in target.problems), most=_NAMED)


_NAMED = 5


@dataclass(slots=True)
class Looking:
    """Some targets of a looking operation in this process' hands."""

    world: World
    operation: Operation
    kind: OperationKind
    lease: Lease
    unsaved: list[Target] = field(default_factory=list)
    """Looked at, not written down yet."""
    cancelled: str = ""
    _until: float = 0.0

    def at(self, targets: Sequence[Target]) -> list[Target]:
        """The targets as they were found."""
        self.cancelled = self.operation.cancel_asked
        began = min((t.started_at for t in targets if t.started_at), default=self.world.now())
        self._until = began + self.operation.timeout
        if len(targets) <= 1:  # no thread for one host
            self.unsaved = [self._look_at(target) for target in targets]
            return list(self.unsaved)
        with ThreadPoolExecutor(min(self.world.settings.worker.side_by_side, len(targets))) as pool:
            return self._as_they_come({pool.submit(self._look_at, target) for target in targets})

    def _as_they_come(self, left: set[Future[Target]]) -> list[Target]:
        seen: list[Target] = []
        try:
            while left:
                ended, left = wait(left, _KEPT_EVERY, FIRST_COMPLETED)
                fresh = [future.result() for future in ended]
                seen.extend(fresh)
                self.unsaved.extend(fresh)
                if left:
                    self._keep()
        finally:  # the lease is lost: what is not asked yet is another's to ask
            for future in left:
                future.cancel()
        return seen

    def _keep(self) -> None:
        now = self.world.now()
        if now - self.lease.kept_at < _KEPT_EVERY:
            return
        # One that is to be asked again is written with the decision to do so, and not before.
        written = [target for target in self.unsaved if target.state is not TargetState.UNREACHABLE]
        with self.world.store.begin(lasting=False) as tx:
            self.lease.renew(tx)
            store_targets.save(tx, written)
            self.cancelled = operations.cancel_asked(tx, self.operation.id)
        self.unsaved = [target for target in self.unsaved if target.state is TargetState.UNREACHABLE]

    def _look_at(self, target: Target) -> Target:
        started = self.world.now()
        if self.cancelled:
            return skipped(target, f"cancelled: {self.cancelled}", started)
        if started > self._until:
            return skipped(target, f"not begun within the operation's {self.operation.timeout} s", started)
        begun = replace(target, started_at=target.started_at or started)
        try:
            return self._asked(begun)
        except HostUnreachable as error:
            away = replace(begun, state=TargetState.UNREACHABLE, attempt=target.attempt + 1, problems=(error.message,))
            return replace(away, finished_at=self.world.now())
        except HostNotTrusted as error:
            bad = replace(begun, state=TargetState.FAILED, problems=(error.message,))
            return replace(bad, finished_at=self.world.now())
        except Exception as error:  # noqa: BLE001  # what one host answered must not keep the others from being judged
            _log.exception("ERROR: %s could not be judged", target.host, extra={"operation_id": self.operation.id})
            why = f"a fault of ours: its answers could not be judged: {type(error).__name__}: {error}"
            return replace(begun, state=TargetState.FAILED, problems=(why,), finished_at=self.world.now())

    def _asked(self, target: Target) -> Target:
        host = self.world.inventory.get(target.host)
        if host is None:
            now = self.world.now()
            gone = (f"{target.host} is not in the inventory any more",)
            return replace(target, state=TargetState.FAILED, problems=gone, finished_at=now)
        params = params_for(self.kind, self.operation.parameters, host)
        facts = [bounded(fact, self.operation.timeout) for fact in self.kind.facts(params)]
        after = shell_to(self.world, self.operation, self.kind, host).ask(facts)
        problems = self.kind.verify(params, {}, after)
        state = TargetState.FAILED if problems else TargetState.SUCCEEDED
        now = self.world.now()
        return replace(target, state=state, problems=problems, after=after, verified_at=now, finished_at=now)
