"""How an operation ends, given how its targets did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opsqueue.model.alike import told
from opsqueue.model.names import Outcome, Stage, TargetState
from opsqueue.model.record import Operation, Target
from opsqueue.pipeline.move import Move
from opsqueue.store import targets as store_targets

DONE = frozenset({TargetState.SUCCEEDED, TargetState.UNCHANGED})


def settled(
    operation: Operation, targets: Sequence[Target], *, denied: bool = False, unsaved: Sequence[Target] | None = None
) -> Move:
    """Every target has ended: the operation has its outcome. `unsaved`: those that are not written yet; None: all."""
    outcome = outcome_of([t.state for t in targets], cancelled=bool(operation.cancel_asked), denied=denied)
    decided = replace(operation, outcome=outcome)
    left = targets if unsaved is None else unsaved
    return Move(
        operation=decided,
        to=Stage.COLLECT,
        result=outcome.value,
        why=summary(targets),
        write=lambda tx: store_targets.save(tx, left),
        targets=tuple(targets),
    )


def outcome_of(states: Sequence[TargetState], *, cancelled: bool = False, denied: bool = False) -> Outcome:
    """The outcome that follows from the states of all targets."""
    kinds = set(states)
    rules = (
        (TargetState.UNKNOWN in kinds, Outcome.UNKNOWN),
        (kinds == {TargetState.UNCHANGED}, Outcome.UNCHANGED),
        (kinds <= DONE, Outcome.SUCCEEDED),
        (bool(kinds & DONE), Outcome.PARTIAL),
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
    wrong = told(((target.host, target.problems[0]) for target in targets if target.problems), most=_NAMED)
    return f"{said}; {wrong}" if wrong else said


_NAMED = 3


def skipped(target: Target, why: str, now: float) -> Target:
    """A target that is not begun, or not begun again."""
    if target.state.settled:
        return target
    if target.changed:  # it was to be tried once more: what was done to it stays said
        return replace(target, state=TargetState.FAILED, problems=(*target.problems, why), finished_at=now)
    return replace(target, state=TargetState.SKIPPED, problems=(why,), finished_at=now)


def seconds_of_work(targets: Sequence[Target], now: float) -> float:
    """Seconds in which at least one target was worked on; time in which a gate held the rest does not count."""
    total, reached = 0.0, 0.0
    for begin, end in sorted((t.started_at, t.finished_at or now) for t in targets if t.started_at):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
