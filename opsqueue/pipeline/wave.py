"""Some hosts of a changing operation, side by side: each is brought to its end, or it is said why it is put off."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from opsqueue.errors import DatabaseUnreachable, HostNotTrusted, HostUnreachable, LeaseLost
from opsqueue.gates import combined
from opsqueue.model.kind import OperationKind
from opsqueue.model.names import Stage, TargetState
from opsqueue.model.record import Operation, Target
from opsqueue.model.rollout import Rollout
from opsqueue.model.verdict import Pass
from opsqueue.pipeline.desk import shell_to
from opsqueue.pipeline.lease import Lease
from opsqueue.pipeline.outcome import DONE, seconds_of_work, skipped
from opsqueue.pipeline.submit import params_for
from opsqueue.pipeline.target import Closed, Drifted, Job, StillBusy, give_up, run
from opsqueue.pipeline.window import asked
from opsqueue.pipeline.world import World
from opsqueue.store import events, operations
from opsqueue.store import targets as store_targets

_log = logging.getLogger("opsqueue.pipeline")
_LOOK_AGAIN = 1.0
_MOST_PLANS = 5
_MOST_LOOKS = 4
"""How often a host that went away in the middle is looked at again, at least: about half a minute."""
_MOST_FAULTS = 3
"""How often a host on which something fails that nobody foresaw is tried again."""
_NOT_TRIED = {TargetState.UNREACHABLE, TargetState.SKIPPED}


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOff:
    """A target that is not settled yet: what is to happen next, and when."""

    result: str
    why: str
    wait: float = 0.0
    """Seconds until the next look."""
    to: Stage = Stage.EXECUTE
    attempts: int = 0
    """Of the operation, from now on; 0: this was no failed try."""
    target: Target | None = None
    """As it is to be written."""

    def as_json(self) -> dict[str, Any]:
        """What another worker needs to know of it; the target is written where it belongs."""
        return {"put_off": {**asdict(replace(self, target=None)), "to": self.to.value}}


@dataclass(slots=True)
class Wave:
    """Some targets of a changing operation in this process' hands, side by side."""

    world: World
    operation: Operation
    kind: OperationKind
    lease: Lease
    total: int
    """How many hosts the whole operation has."""
    others: Sequence[Target] = ()
    """Those that ended in earlier waves."""
    ended: list[Target] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, targets: Sequence[Target]) -> list[Target | PutOff]:
        """Bring each to its end, or say why it is put off."""
        if len(targets) <= 1:
            return [self._one(target) for target in targets]
        with ThreadPoolExecutor(min(self.world.settings.worker.side_by_side, len(targets))) as pool:
            return list(pool.map(self._one, targets))

    def _one(self, target: Target) -> Target | PutOff:
        begun = target.state is not TargetState.PENDING
        stop = "" if begun else why_stop(self.world, self.operation, [*self.others, *self.ended, target], self.total)
        if stop and not half(self.kind, target):
            return skipped(target, stop, self.world.now())
        after = self._worked(target, stop)
        # A worker died on it: what was found decides, it is never applied again.
        if not begun and isinstance(after, Target):
            after = self._retried(after)
        if isinstance(after, Target):
            with self._lock:
                self.ended.append(after)
        return after

    def _worked(self, target: Target, stop: str = "") -> Target | PutOff:
        """Bring it to its end; with a reason to `stop`, only lead it back."""
        if (gone := self._gone(target)) is not None:
            return gone
        try:
            return give_up(self._job(target), target, stop) if stop else run(self._job(target), target)
        except (Drifted, Closed, StillBusy) as later:
            return self._later(target, later)
        except HostUnreachable as error:
            return self.away(target, error.message)
        except HostNotTrusted as error:
            return self._end(target.host, error.message, unreached=False)
        except (LeaseLost, DatabaseUnreachable):
            raise
        except Exception as error:  # noqa: BLE001  # whatever is wrong with one host, it is not that of all the others
            return self._fault(target, error)

    def _fault(self, target: Target, fault: Exception) -> Target | PutOff:
        """Nobody foresaw this: tried again, for it may pass; then ended, as unknown where something was sent."""
        _log.exception("ERROR on %s", target.host, extra={"operation_id": self.operation.id})
        why = f"a fault of ours, {type(fault).__name__}: {fault}"
        if (tries := self.operation.attempts) < _MOST_FAULTS:
            said = f"{target.host}: {why}"
            return PutOff(result="retrying", why=said, wait=self.world.backoff(tries), attempts=tries + 1)
        return self._end(target.host, why, unreached=False)

    def _later(self, target: Target, why: Drifted | Closed | StillBusy) -> Target | PutOff:
        if isinstance(why, Drifted):
            return self._anew(target, str(why))
        if isinstance(why, StillBusy):
            return PutOff(result="looking", why=str(why), wait=_LOOK_AGAIN)
        return self._worked(target, str(why)) if half(self.kind, target) else PutOff(result="held", why=str(why))

    def _job(self, target: Target) -> Job:
        host = self.world.inventory[target.host]
        return Job(
            world=self.world,
            operation=self.operation,
            kind=self.kind,
            host=host,
            params=params_for(self.kind, self.operation.parameters, host),
            shell=shell_to(self.world, self.operation, self.kind, host, self.lease),
            lease=self.lease,
            may=lambda: self._may(target),
        )

    def _gone(self, target: Target) -> Target | PutOff | None:
        """What becomes of a target that is not, or not where, it was when it was verified; None when it still is."""
        begun = target.state is not TargetState.PENDING
        host = self.world.inventory.get(target.host)
        if host is None:
            return self._end(target.host, f"{target.host} is not in the inventory any more", unreached=begun)
        place = self.world.inventory.whereabouts(host)
        if place == target.place or not target.place:
            return None
        moved = f"{target.host} was {target.place} when its plan was verified, and is {place} now"
        if not begun:
            return self._anew(target, moved)
        return self._end(target.host, f"{moved}: it is not known how the one of before stands", unreached=True)

    def _may(self, target: Target) -> bool:
        with self.world.store.read() as connection:
            verdicts, _ = asked(connection, self.world, self.operation, (target,))
            open_still = isinstance(combined(verdicts), Pass)
            return open_still and not operations.cancel_asked(connection, self.operation.id)

    def _anew(self, target: Target, why: str) -> Target | PutOff:
        """Back to verify; a host that never keeps still for as long as it takes to act on its plan fails."""
        with self.world.store.read() as connection:
            times = events.count_results(connection, self.operation.id, "replanned")
        if times < _MOST_PLANS:
            return PutOff(result="replanned", why=why, to=Stage.VERIFY)
        gone = f"{why}, for the {times + 1}th time: something else keeps changing it"
        return replace(target, state=TargetState.FAILED, problems=(gone,), finished_at=self.world.now())

    def away(self, target: Target, why: str) -> Target | PutOff:
        """A target that was not reached: tried again, or ended."""
        tries = 0 if self.ended else self.operation.attempts  # hosts were reached meanwhile: it is counted anew
        # To look at what was changed is no second try: a host whose sshd restarts is away for a moment.
        touched = target.changed or target.state is not TargetState.PENDING
        if tries < max(self.operation.retry_count, _MOST_LOOKS if touched else 0):
            said = f"{target.host} cannot be reached: {why}"
            wait = self.world.backoff(tries)
            return PutOff(result="retrying", why=said, wait=wait, attempts=tries + 1)
        return self._end(target.host, why, unreached=True)

    def _end(self, host: str, why: str, *, unreached: bool) -> Target:
        """End a target of which no more can be learned; commands may have been sent before the host went away."""
        with self.world.store.read() as connection:
            now_stands = {t.host: t for t in store_targets.of(connection, self.operation.id)}[host]
        state = _away(now_stands)
        if state is TargetState.UNREACHABLE and not unreached:
            state = TargetState.FAILED
        ended = replace(now_stands, state=state, problems=(*now_stands.problems, why), finished_at=self.world.now())
        with self.world.store.begin() as tx:
            self.lease.renew(tx)
            store_targets.save(tx, [ended])
        return ended

    def _retried(self, target: Target) -> Target | PutOff:
        """A target that went wrong is tried once more, if the operation allows it and the state is known."""
        again = target.state in {TargetState.FAILED, TargetState.ROLLED_BACK} and target.changed
        redo = target.state is TargetState.APPLYING
        if not redo and not (again and not self.kind.redo):
            return target
        if target.attempt > self.operation.retry_count:
            return target
        fresh = replace(target, state=TargetState.PENDING, attempt=target.attempt + 1, finished_at=None)
        why = f"{target.host}: {'; '.join(target.problems)} (try {target.attempt} of {self.operation.retry_count + 1})"
        wait = self.world.backoff(target.attempt - 1)
        return PutOff(result="retrying", why=why, wait=wait, attempts=target.attempt, target=fresh)


def why_stop(world: World, operation: Operation, targets: Sequence[Target], total: int) -> str:
    """Why no further target is to be begun, given those that ended or were begun; empty: go on."""
    with world.store.read() as connection:
        if cancelled := operations.cancel_asked(connection, operation.id):
            return f"cancelled: {cancelled}"
    tried = reached(targets)
    failed = [target.host for target in tried if target.state not in DONE]
    if failed and Rollout(**operation.rollout).stops(total, len(tried), len(failed)):
        return f"not begun, because it went wrong on {', '.join(failed)}"
    if seconds_of_work(targets, world.now()) > operation.timeout:
        return f"not begun within the operation's {operation.timeout} s"
    return ""


def half(kind: OperationKind, target: Target) -> bool:
    """Whether it is between two tries that nothing led back: never left so, whatever closes meanwhile."""
    return kind.redo and target.changed and target.state is TargetState.PENDING


def reached(targets: Sequence[Target]) -> list[Target]:
    """Those that were tried: a host that nobody reached has shown nothing, and is no canary."""
    return [target for target in targets if target.state.settled and target.state not in _NOT_TRIED]


def _away(target: Target) -> TargetState:
    """How a target ends that cannot be reached any more."""
    if target.state is not TargetState.PENDING:
        return TargetState.UNKNOWN
    return TargetState.FAILED if target.changed else TargetState.UNREACHABLE
