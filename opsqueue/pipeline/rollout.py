"""A changing operation over its hosts: wave after wave, the gates asked before each, stopped where too much fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opsqueue.gates import combined
from opsqueue.model.kind import OperationKind
from opsqueue.model.names import Stage, TargetState
from opsqueue.model.record import Operation, Target
from opsqueue.model.rollout import Rollout
from opsqueue.model.verdict import Deny, Hold, Pass
from opsqueue.pipeline.evidence import recorded
from opsqueue.pipeline.lease import Lease
from opsqueue.pipeline.move import InTransaction, Move
from opsqueue.pipeline.outcome import settled, skipped, summary
from opsqueue.pipeline.share import AWAY, handed_out, rest, share
from opsqueue.pipeline.wave import PutOff, Wave, half, reached, why_stop
from opsqueue.pipeline.window import asked, held
from opsqueue.pipeline.world import World
from opsqueue.store import holds, operations, shards
from opsqueue.store import targets as store_targets
from opsqueue.store.engine import Connection


@dataclass(slots=True)
class RolledOut:
    """A changing operation in this worker's hands."""

    world: World
    operation: Operation
    kind: OperationKind
    targets: dict[str, Target]
    """By host, in their order, as they stand."""

    def go(self) -> Move | InTransaction:
        """Wave after wave, until all have ended or something is to be waited for."""
        if given := handed_out(self.world, self.operation):  # the last wave is not over: other workers have hosts of it
            unsettled = [t for t in self.targets.values() if not t.state.settled]
            here = [t for t in unsettled if t.state is not TargetState.PENDING and t.host not in given]
            if (move := self._wave([*here, *(self.targets[host] for host in sorted(given))])) is not None:
                return move
        while True:
            wave = self._next()
            if not isinstance(wave, list):
                return wave
            if (move := self._wave(wave)) is not None:
                return move

    def _wave(self, targets: Sequence[Target]) -> Move | InTransaction | None:
        """Work one wave, here and with other workers; None when all of it has ended."""
        shared = share(self.world, self.operation, targets)
        others = [t for t in self.targets.values() if t.state.settled]
        lease = Lease.of(self.world, self.operation)
        hands = Wave(self.world, self.operation, self.kind, lease, len(self.targets), others)
        came = hands.run([target for target in shared.here if not target.state.settled])
        put_off = [one for one in came if isinstance(one, PutOff)]
        self.targets.update({one.host: one for one in came if isinstance(one, Target)})
        if shared.waiting:
            return rest(self.world, self.operation, [one.target for one in put_off if one.target is not None])
        if shared.elsewhere:
            put_off += self._heard(shared.said, hands)
        return self._put_off(put_off) if put_off else None

    def _heard(self, said: Mapping[str, Mapping[str, Any]], hands: Wave) -> list[PutOff]:
        """What other workers made of their hosts; their shards are done with."""
        with self.world.store.begin() as tx:
            hands.lease.renew(tx)
            self.targets.update({target.host: target for target in store_targets.of(tx, self.operation.id)})
            shards.forget(tx, self.operation.id, Stage.EXECUTE)
        put_off = []
        for host, words in said.items():
            if AWAY in words:
                came = hands.away(self.targets[host], str(words[AWAY]))
                if isinstance(came, Target):
                    self.targets[host] = came
                else:
                    put_off.append(came)
            elif "put_off" in words:
                put_off.append(PutOff(**{**words["put_off"], "to": Stage(words["put_off"]["to"])}))
        return put_off

    def _next(self) -> list[Target] | Move | InTransaction:
        """The next wave, or how it goes on when there is none."""
        left = [target for target in self.targets.values() if not target.state.settled]
        if begun := [target for target in left if target.state is not TargetState.PENDING]:
            return begun  # a worker died on them: they are brought to their end whatever happened since
        ended = [target for target in self.targets.values() if target.state.settled]
        if not left:
            return self._over(left)
        halves = [target for target in left if half(self.kind, target)]  # what closes now, they are still led back
        if stop := why_stop(self.world, self.operation, [*ended, *halves], len(self.targets)):
            return halves or self._over(left, stop)
        return self._gates(left, len(ended), halves)

    def _gates(self, left: list[Target], done: int, halves: list[Target]) -> list[Target] | Move | InTransaction:
        with self.world.store.read() as connection:
            locked = holds.locked(connection, self.operation.id)
            ours = tuple(target for target in left if target.host in locked)
            verdicts, open_now = asked(connection, self.world, self.operation, ours)
        if not ours:
            return self._back(Move(operation=self.operation, to=Stage.WINDOW, result="waiting", why=self._so_far()))
        verdict = combined(verdicts)
        if shut := [target for target in halves if not isinstance(verdict, Pass) or target.host not in open_now]:
            return shut
        if isinstance(verdict, Hold):
            return lambda tx: self._held(tx, ours)
        if isinstance(verdict, Deny):
            judged = replace(self.operation, verdicts=recorded(verdicts))
            return self._over(left, verdict.why, judged=judged, denied=not done)
        may = [target for target in ours if target.host in open_now]
        tried = len(reached(list(self.targets.values())))
        return may[: Rollout(**self.operation.rollout).wave(len(self.targets), tried)]

    def _so_far(self) -> str:
        return summary(list(self.targets.values()))

    def _held(self, tx: Connection, ours: tuple[Target, ...]) -> Move:
        # Asked again where it is written down, so that a freeze that is lifted just now is not waited for.
        verdicts, _ = asked(tx, self.world, self.operation, ours)
        verdict = combined(verdicts)
        if isinstance(verdict, Hold):
            return self._back(held(replace(self.operation, verdicts=recorded(verdicts)), verdict, verdicts))
        now = self.world.now()
        return Move(operation=self.operation, to=Stage.EXECUTE, result="looking", why="nothing holds it", due_at=now)

    def _back(self, move: Move) -> Move:
        """No host is half done: it waits where it would have waited, and others may have its slot and its locks."""
        due = self.world.now() if move.result == "waiting" else move.due_at
        let_go = self.operation.id
        return replace(move, to=Stage.WINDOW, due_at=due, write=lambda tx: holds.release(tx, let_go), wake=True)

    def _put_off(self, put_off: Sequence[PutOff]) -> Move:
        """The soonest of what is to happen next; to plan anew goes before all else."""
        first = min(put_off, key=lambda one: (one.to is not Stage.VERIFY, one.wait))
        fresh = [one.target for one in put_off if one.target is not None]
        return Move(
            operation=replace(self.operation, attempts=max(one.attempts for one in put_off)),
            to=first.to,
            result=first.result,
            why="; ".join(one.why for one in put_off[:3]),
            due_at=self.world.now() + first.wait,
            write=lambda tx: store_targets.save(tx, fresh),
        )

    def _over(
        self, left: Sequence[Target], stop: str = "", *, judged: Operation | None = None, denied: bool = False
    ) -> Move:
        now = self.world.now()
        self.targets.update({target.host: skipped(target, stop, now) for target in left})
        with self.world.store.read() as connection:
            cancelled = operations.cancel_asked(connection, self.operation.id)
        ended = replace(judged or self.operation, cancel_asked=cancelled)
        return settled(ended, list(self.targets.values()), denied=denied)
