"""Stage three: every target settled, one wave after the other, the gates asked again before each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from opsqueue.errors import HostUnreachable
from opsqueue.gates import combined
from opsqueue.model.fact import bounded
from opsqueue.model.kind import OperationKind
from opsqueue.model.names import Outcome, Stage, TargetState
from opsqueue.model.record import Operation, Target
from opsqueue.model.verdict import Deny, Hold, Pass, Verdict
from opsqueue.pipeline.evidence import recorded
from opsqueue.pipeline.move import InTransaction, Move
from opsqueue.pipeline.submit import params_for
from opsqueue.pipeline.target import Closed, Drifted, Job, StillBusy, run
from opsqueue.pipeline.window import asked, held
from opsqueue.pipeline.world import World
from opsqueue.store import events, holds, operations
from opsqueue.store import targets as store_targets
from opsqueue.store.engine import Connection

_SIDE_BY_SIDE = 16
_LOOK_AGAIN = 1.0
_MOST_PLANS = 5
_DONE = frozenset({TargetState.SUCCEEDED, TargetState.UNCHANGED})


def execute(world: World, operation: Operation) -> Move | InTransaction:
    """Do the work on every target that is not settled yet."""
    if operation.outcome is not None:
        return Move(operation=operation, to=Stage.COLLECT, result="skipped")
    kind = world.kind(operation.type)
    with world.store.read() as connection:
        targets = store_targets.of(connection, operation.id)
    if kind.looking:
        return _look(world, operation, kind, targets)
    return _Rollout(world, operation, kind).go(targets)


def _look(world: World, operation: Operation, kind: OperationKind, targets: tuple[Target, ...]) -> Move:
    if operation.cancel_asked:
        return _settled(operation, tuple(_skipped(target, "cancelled", world.now()) for target in targets))
    if len(targets) == 1:  # no thread for one host
        seen = [_look_at(world, operation, kind, targets[0])]
    else:
        with ThreadPoolExecutor(min(_SIDE_BY_SIDE, len(targets))) as pool:
            seen = list(pool.map(lambda target: _look_at(world, operation, kind, target), targets))
    away = [target for target in seen if target.state is TargetState.UNREACHABLE]
    if away and operation.attempts < operation.retry_count:
        waiting = [replace(t, state=TargetState.PENDING) if t in away else t for t in seen]
        return _again(world, operation, waiting, "; ".join(f"{t.host}: {', '.join(t.problems)}" for t in away))
    return _settled(operation, tuple(seen))


def _look_at(world: World, operation: Operation, kind: OperationKind, target: Target) -> Target:
    if target.state.settled:
        return target
    started = world.now()
    host = world.inventory[target.host]
    try:
        params = params_for(kind, operation.parameters, host)
        after = world.connect(host).ask([bounded(fact, operation.timeout) for fact in kind.facts(params)])
    except HostUnreachable as error:
        return replace(
            target,
            state=TargetState.UNREACHABLE,
            attempt=target.attempt + 1,
            problems=(error.message,),
            started_at=target.started_at or started,
            finished_at=world.now(),
        )
    now = world.now()
    problems = kind.verify(params, {}, after)
    return replace(
        target,
        state=TargetState.FAILED if problems else TargetState.SUCCEEDED,
        problems=problems,
        after=after,
        started_at=target.started_at or started,
        verified_at=now,
        finished_at=now,
    )


def _again(world: World, operation: Operation, targets: Sequence[Target], why: str) -> Move:
    tried = replace(operation, attempts=operation.attempts + 1)
    wait = min(60.0, world.settings.worker.retry_backoff_seconds * 2**operation.attempts)
    return Move(
        operation=tried,
        to=Stage.EXECUTE,
        result="retrying",
        why=why,
        due_at=world.now() + wait,
        write=lambda tx: store_targets.save(tx, targets),
    )


@dataclass(frozen=True, slots=True)
class _Rollout:
    """One host after the other; what goes wrong on one stops the rest."""

    world: World
    operation: Operation
    kind: OperationKind

    def go(self, targets: tuple[Target, ...]) -> Move | InTransaction:
        done: list[Target] = []
        for number, target in enumerate(targets):
            rest = targets[number:]
            if target.state.settled:
                done.append(target)
                continue
            if stop := self._stop(done, target):
                return self._over([*done, *(self._skip(other, stop) for other in rest)])
            if target.state is TargetState.PENDING and (move := self._gates(targets, done, rest)):
                return move
            outcome = self._one(target, targets)
            if isinstance(outcome, Move):
                return outcome
            done.append(outcome)
        return self._over(done)

    def _stop(self, done: list[Target], target: Target) -> str:
        """Why this and the following targets are not to be begun; empty: go on."""
        if target.state is not TargetState.PENDING:
            return ""  # begun already: it is brought to its end whatever happened since
        if cancelled := self._cancelled():
            return f"cancelled: {cancelled}"
        if failed := [t.host for t in done if t.state not in _DONE and t.state is not TargetState.UNREACHABLE]:
            return f"not begun, because it went wrong on {', '.join(failed)}"
        if _worked([*done, target], self.world.now()) > self.operation.timeout:
            return f"not begun within the operation's {self.operation.timeout} s"
        return ""

    def _cancelled(self) -> str:
        with self.world.store.read() as connection:
            return operations.cancel_asked(connection, self.operation.id)

    def _gates(
        self, targets: tuple[Target, ...], done: list[Target], rest: tuple[Target, ...]
    ) -> Move | InTransaction | None:
        with self.world.store.read() as connection:
            verdicts: tuple[tuple[str, Verdict], ...] = asked(connection, self.world, self.operation, targets)
        verdict = combined(verdicts)
        if isinstance(verdict, Hold):
            return lambda tx: self._held(tx, targets)
        if isinstance(verdict, Deny):
            judged = replace(self.operation, verdicts=recorded(verdicts))
            over = [*done, *(self._skip(other, verdict.why) for other in rest)]
            return _settled(judged, tuple(over), denied=not done)
        return None

    def _held(self, tx: Connection, targets: tuple[Target, ...]) -> Move:
        # Asked again where it is written down, so that a freeze that is lifted just now is not waited for.
        verdicts = asked(tx, self.world, self.operation, targets)
        verdict = combined(verdicts)
        if isinstance(verdict, Hold):
            move = held(replace(self.operation, verdicts=recorded(verdicts)), verdict, verdicts)
            return move if any(target.started_at for target in targets) else self._back_at_the_window(move)
        now = self.world.now()
        return Move(operation=self.operation, to=Stage.EXECUTE, result="looking", why="nothing holds it", due_at=now)

    def _back_at_the_window(self, move: Move) -> Move:
        # No host was begun: it waits where it would have waited, and others may have its slot and its locks.
        return replace(move, to=Stage.WINDOW, write=lambda tx: holds.release(tx, self.operation.id), wake=True)

    def _may(self, targets: tuple[Target, ...]) -> bool:
        with self.world.store.read() as connection:
            open_still = isinstance(combined(asked(connection, self.world, self.operation, targets)), Pass)
            return open_still and not operations.cancel_asked(connection, self.operation.id)

    def _one(self, target: Target, targets: tuple[Target, ...]) -> Target | Move:
        host = self.world.inventory[target.host]
        job = Job(
            world=self.world,
            operation=self.operation,
            kind=self.kind,
            host=host,
            params=params_for(self.kind, self.operation.parameters, host),
            shell=self.world.connect(host),
            may=lambda: self._may(targets),
        )
        try:
            after = run(job, target)
        except Closed as closed:
            now = self.world.now()
            return Move(operation=self.operation, to=Stage.EXECUTE, result="looking", why=str(closed), due_at=now)
        except Drifted as drift:
            return self._anew(target, str(drift))
        except StillBusy as busy:
            due = self.world.now() + _LOOK_AGAIN
            return Move(operation=self.operation, to=Stage.EXECUTE, result="looking", why=str(busy), due_at=due)
        except HostUnreachable as error:
            return self._unreachable(target, error.message)
        if target.state is not TargetState.PENDING:
            return after  # a worker died on it: what was found decides, it is never applied again
        return self._retried(after)

    def _anew(self, target: Target, why: str) -> Target | Move:
        """Back to verify; a host that never keeps still for as long as it takes to act on its plan fails."""
        with self.world.store.read() as connection:
            times = events.count_results(connection, self.operation.id, "replanned")
        now = self.world.now()
        if times < _MOST_PLANS:
            return Move(operation=self.operation, to=Stage.VERIFY, result="replanned", why=why, due_at=now)
        gone = f"{why}, for the {times + 1}th time: something else keeps changing it"
        return replace(target, state=TargetState.FAILED, problems=(gone,), finished_at=now)

    def _unreachable(self, target: Target, why: str) -> Target | Move:
        # Read again: commands may have been sent before the host went away.
        with self.world.store.read() as connection:
            now_stands = {t.host: t for t in store_targets.of(connection, self.operation.id)}[target.host]
        if self.operation.attempts < self.operation.retry_count:
            return _again(self.world, self.operation, [], f"{target.host} cannot be reached: {why}")
        state = _away(now_stands)
        ended = replace(now_stands, state=state, problems=(*now_stands.problems, why), finished_at=self.world.now())
        with self.world.store.begin() as tx:
            operations.renew(tx, self.operation, self.world.now() + self.world.settings.worker.lease_seconds)
            store_targets.save(tx, [ended])
        return ended

    def _retried(self, target: Target) -> Target | Move:
        """A target that went wrong is tried once more, if the operation allows it and the state is known."""
        again = target.state in {TargetState.FAILED, TargetState.ROLLED_BACK} and target.changed
        redo = target.state is TargetState.APPLYING
        if not redo and not (again and not self.kind.redo):
            return target
        if target.attempt > self.operation.retry_count:
            return target
        fresh = replace(target, state=TargetState.PENDING, attempt=target.attempt + 1, finished_at=None)
        why = f"{target.host}: {'; '.join(target.problems)} (try {target.attempt} of {self.operation.retry_count + 1})"
        return _again(self.world, replace(self.operation, attempts=target.attempt - 1), [fresh], why)

    def _skip(self, target: Target, why: str) -> Target:
        return target if target.state.settled else _skipped(target, why, self.world.now())

    def _over(self, targets: list[Target]) -> Move:
        return _settled(replace(self.operation, cancel_asked=self._cancelled()), tuple(targets))


def _skipped(target: Target, why: str, now: float) -> Target:
    if target.changed:  # it was to be tried once more: what was done to it stays said
        return replace(target, state=TargetState.FAILED, problems=(*target.problems, why), finished_at=now)
    return replace(target, state=TargetState.SKIPPED, problems=(why,), finished_at=now)


def _away(target: Target) -> TargetState:
    """How a target ends that cannot be reached any more."""
    if target.state is not TargetState.PENDING:
        return TargetState.UNKNOWN
    return TargetState.FAILED if target.changed else TargetState.UNREACHABLE


def _worked(targets: Sequence[Target], now: float) -> float:
    """Seconds spent on targets so far; time in which a gate held the rest does not count."""
    return sum((target.finished_at or now) - target.started_at for target in targets if target.started_at)


def _settled(operation: Operation, targets: tuple[Target, ...], *, denied: bool = False) -> Move:
    outcome = outcome_of([t.state for t in targets], cancelled=bool(operation.cancel_asked), denied=denied)
    decided = replace(operation, outcome=outcome)
    return Move(
        operation=decided,
        to=Stage.COLLECT,
        result=outcome.value,
        why=summary(targets),
        write=lambda tx: store_targets.save(tx, targets),
    )


def outcome_of(states: Sequence[TargetState], *, cancelled: bool = False, denied: bool = False) -> Outcome:
    """How an operation ended, given how its targets did."""
    kinds = set(states)
    rules = (
        (TargetState.UNKNOWN in kinds, Outcome.UNKNOWN),
        (kinds == {TargetState.UNCHANGED}, Outcome.UNCHANGED),
        (kinds <= _DONE, Outcome.SUCCEEDED),
        (bool(kinds & _DONE), Outcome.PARTIAL),
        (cancelled, Outcome.CANCELLED),
        (denied and kinds == {TargetState.SKIPPED}, Outcome.DENIED),
        (kinds - {TargetState.SKIPPED} == {TargetState.ROLLED_BACK}, Outcome.ROLLED_BACK),
    )
    return next((outcome for holds, outcome in rules if holds), Outcome.FAILED)


def summary(targets: Sequence[Target]) -> str:
    """How many hosts ended how, and the first problems, in one line."""
    counts: dict[str, int] = {}
    for target in targets:
        counts[target.state.value] = counts.get(target.state.value, 0) + 1
    said = ", ".join(f"{number} {state}" for state, number in counts.items())
    wrong = [f"{target.host}: {target.problems[0]}" for target in targets if target.problems]
    return f"{said}; {'; '.join(wrong[:3])}" if wrong else said
