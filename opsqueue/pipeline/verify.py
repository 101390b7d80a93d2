"""Stage one: is it understood, can it be done, and what exactly would be sent."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from typing import Any

from opsqueue.errors import HostNotTrusted, HostUnreachable, InvalidRequest, NotFound
from opsqueue.model.alike import told
from opsqueue.model.host import Host
from opsqueue.model.kind import OperationKind
from opsqueue.model.names import Outcome, Stage, TargetState
from opsqueue.model.plan import NOTHING, plan_digest
from opsqueue.model.record import Operation, Target
from opsqueue.pipeline.coordinators import ask_all
from opsqueue.pipeline.desk import shell_to
from opsqueue.pipeline.look import why_away
from opsqueue.pipeline.move import InTransaction, Known, Move
from opsqueue.pipeline.share import Shared, done_with, not_reached, rest, share
from opsqueue.pipeline.submit import params_for
from opsqueue.pipeline.world import World
from opsqueue.store import targets as store_targets
from opsqueue.telemetry import counted

_log = logging.getLogger("opsqueue.pipeline")
_COORDINATOR_AGAIN = 30.0
_NAMED = 12
"""Different objections that are told in one line."""
_GREETED_WITHIN = 1.0
"""Seconds; a host that is down must not hold up the others."""


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One target as it was found, and what stands against working on it."""

    target: Target
    objections: tuple[str, ...] = ()


def verify(world: World, operation: Operation, before: Known = None) -> Move | InTransaction:
    """Survey every target, plan it, and ask the coordinators about exactly that plan."""
    if operation.outcome is not None:
        return Move(operation=operation, to=Stage.WINDOW, result="skipped")
    known = {target.host: target for target in world.targets(operation, before)}
    if operation.cancel_asked:
        why = f"cancelled: {operation.cancel_asked}"
        return ended(operation, Outcome.CANCELLED, why, targets=tuple(known.values()))
    try:
        kind = world.kind(operation.type)
        hosts = world.hosts(operation.systems)
        fresh = _fresh(operation, hosts, known)
        shared = Shared(here=tuple(fresh), waiting=False, said={})
        if not operation.looking:
            shared = share(world, operation, fresh, everyone=fresh)
        if shared.waiting:
            return rest(world, operation, ())
        here = {target.host for target in shared.here}
        surveys = survey(world, operation, kind, tuple(host for host in hosts if host.name in here), known)
    except (InvalidRequest, NotFound) as error:
        return ended(operation, Outcome.FAILED, error.message, targets=tuple(known.values()))
    if not shared.elsewhere:
        return _judge(world, operation, surveys)
    heard = [_heard(world, known[name], shared.said.get(name, {})) for name in shared.elsewhere]
    return done_with(_judge(world, operation, sorted([*surveys, *heard], key=lambda one: one.target.position)))


def _heard(world: World, target: Target, said: Mapping[str, Any]) -> Surveyed:
    """What another worker found on its host."""
    return Surveyed(not_reached(world, target, said), tuple(said.get("objections", ())))


def _fresh(operation: Operation, hosts: tuple[Host, ...], known: Mapping[str, Target]) -> list[Target]:
    return [
        known.get(host.name) or Target(operation_id=operation.id, host=host.name, position=position)
        for position, host in enumerate(hosts)
    ]


def survey(
    world: World,
    operation: Operation,
    kind: OperationKind,
    hosts: tuple[Host, ...],
    known: Mapping[str, Target],
) -> list[Surveyed]:
    """What is found on each host, and the plan that follows; looking types ask nothing yet."""
    fresh = _fresh(operation, hosts, known)
    if not hosts:
        return []
    if operation.looking and (kind.desk or all(host.connector != "ssh" for host in hosts)):
        return [Surveyed(target) for target in fresh]
    pairs = list(zip(hosts, fresh, strict=True))
    if operation.looking:
        return _greeted(world, pairs)
    with ThreadPoolExecutor(min(world.settings.worker.side_by_side, len(hosts))) as pool:
        return list(pool.map(lambda pair: surveyed(world, operation, kind, *pair), pairs))


def _greeted(world: World, pairs: Sequence[tuple[Host, Target]]) -> list[Surveyed]:
    """Open the ways, and find hosts that show another key; those that are slow are left to `execute`."""
    pool = ThreadPoolExecutor(min(world.settings.worker.side_by_side, len(pairs)))
    begun = [pool.submit(_greet_one, world, host, target) for host, target in pairs]
    done, _ = wait(begun, _GREETED_WITHIN)
    pool.shutdown(wait=False, cancel_futures=True)
    return [one.result() if one in done else Surveyed(pair[1]) for one, pair in zip(begun, pairs, strict=True)]


def surveyed(world: World, operation: Operation, kind: OperationKind, host: Host, target: Target) -> Surveyed:
    """One target as it is found now."""
    if operation.looking:
        return _greet_one(world, host, target)
    return _survey_one(world, operation, kind, host, target)


def _greet_one(world: World, host: Host, target: Target) -> Surveyed:
    """Whether it is the host that it says to be; one that cannot be reached is `execute`'s matter."""
    try:
        world.connect(host).greet()
    except HostNotTrusted as error:
        now = world.now()
        return Surveyed(replace(target, state=TargetState.FAILED, problems=(error.message,), finished_at=now))
    except Exception as error:  # noqa: BLE001  # whatever is wrong with one host, it is not that of all the others
        _log.debug("%s could not be greeted: %s", host.name, error)
    return Surveyed(target)


def _survey_one(world: World, operation: Operation, kind: OperationKind, host: Host, target: Target) -> Surveyed:
    if target.state is not TargetState.PENDING and target.state is not TargetState.UNREACHABLE:
        return Surveyed(target)  # settled, or in doubt, by an earlier round: execute knows what to do with it
    params = params_for(kind, operation.parameters, host)
    try:
        facts = shell_to(world, operation, kind, host).ask(kind.facts(params))
    except HostUnreachable as error:
        return Surveyed(replace(target, state=TargetState.UNREACHABLE, problems=(error.message,)))
    except HostNotTrusted as error:
        return Surveyed(replace(target, problems=(error.message,)), (error.message,))
    objections = kind.objections(params, facts)
    plan = NOTHING if objections else kind.plan(params, facts)
    before = target.before if target.attempt > 1 else facts
    place = world.inventory.whereabouts(host)
    fresh = replace(target, place=place, state=TargetState.PENDING, plan=plan, before=before, problems=objections)
    return Surveyed(fresh, objections)


def _judge(world: World, operation: Operation, surveys: list[Surveyed]) -> Move:
    targets = tuple(survey.target for survey in surveys)
    unreachable = [target for target in targets if target.state is TargetState.UNREACHABLE]
    if objections := [(s.target.host, why) for s in surveys for why in s.objections]:
        failed = tuple(_failed(world, s) for s in surveys)
        return _keeping(ended(operation, Outcome.FAILED, told(objections, most=_NAMED), targets=failed), failed)
    if unreachable and operation.attempts < operation.retry_count:
        return _try_again(world, operation, targets, unreachable)
    # A host that is not the one that it should be failed already, when it was greeted.
    if all(target.state in {TargetState.UNREACHABLE, TargetState.FAILED} for target in targets):
        why = "no target can be reached: " + why_away(targets)
        return _keeping(ended(operation, Outcome.FAILED, why, targets=targets), targets)
    return _consulted(world, operation, targets)


def _consulted(world: World, operation: Operation, targets: tuple[Target, ...]) -> Move:
    """What the coordinators say of exactly this plan."""
    digest = plan_digest(operation.type, operation.parameters, [(t.host, t.plan) for t in targets])
    answers = ask_all(world, operation, digest, targets)
    judged = replace(operation, digest=digest, coordinators=tuple(asdict(answer) for answer in answers))
    if away := [answer for answer in answers if not answer.reached]:
        why = "; ".join(f"coordinator {answer.coordinator} cannot be reached: {answer.why}" for answer in away)
        held = replace(judged, hold=("verification",), verdicts=(_verdict("hold", why),))
        due = world.now() + _COORDINATOR_AGAIN
        return _keeping(Move(operation=held, to=Stage.VERIFY, result="held", why=why, due_at=due), targets)
    if refused := [answer for answer in answers if answer.status != "PASSED"]:
        why = "; ".join(f"coordinator {answer.coordinator} says {answer.status}: {answer.why}" for answer in refused)
        denied = replace(judged, verdicts=(_verdict("deny", why),))
        return _keeping(ended(denied, Outcome.DENIED, why, result="denied", targets=targets), targets)
    return _keeping(Move(operation=judged, to=Stage.WINDOW, result="passed", why=_planned(targets)), targets)


def _try_again(world: World, operation: Operation, targets: tuple[Target, ...], unreachable: list[Target]) -> Move:
    tried = replace(operation, attempts=operation.attempts + 1)
    due = world.now() + world.backoff(operation.attempts)
    move = Move(operation=tried, to=Stage.VERIFY, result="retrying", why=why_away(unreachable), due_at=due)
    # Only these: a host that an earlier round brought to its end is not begun again.
    return _keeping(move, tuple(replace(t, state=TargetState.PENDING) if t in unreachable else t for t in targets))


def _planned(targets: tuple[Target, ...]) -> str:
    steps = sum(len(target.plan.steps) for target in targets)
    hosts = counted(len(targets), "host")
    return f"{counted(steps, 'command')} on {hosts}" if steps else hosts


def _verdict(word: str, why: str) -> dict[str, Any]:
    return {"gate": "verification", "verdict": word, "why": why, "until": None}


def _failed(world: World, survey: Surveyed) -> Target:
    if survey.target.state is not TargetState.PENDING:
        return survey.target  # ended by an earlier round, or not reached: that stays said
    state = TargetState.FAILED if survey.objections else TargetState.SKIPPED
    return replace(survey.target, state=state, finished_at=world.now())


def _keeping(move: Move, targets: tuple[Target, ...]) -> Move:
    return replace(move, write=lambda tx: store_targets.replace_all(tx, move.operation.id, targets), targets=targets)


def ended(
    operation: Operation, outcome: Outcome, why: str, *, result: str = "failed", targets: tuple[Target, ...] = ()
) -> Move:
    """The operation ends early; the rest of the chain passes on, and people are told.

    Hosts that an earlier round changed, before it was planned anew, count: nobody is told that nothing was done.
    """
    word = outcome.value if outcome is Outcome.CANCELLED else result
    if any(target.state in {TargetState.SUCCEEDED, TargetState.UNCHANGED} for target in targets):
        outcome = Outcome.PARTIAL
    elif any(target.changed for target in targets):
        outcome = Outcome.FAILED
    return Move(operation=replace(operation, outcome=outcome), to=operation.stage.next, result=word, why=why)
