"""The life of one target of a changing operation: plan again, send, verify, roll back.

A target is written `applying` before its first command. Found so with a lapsed lease it is looked at, never
applied again: what is found decides between success, rollback and unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from opsqueue.connectors.shell import Shell
from opsqueue.errors import CommandNotSent, HostUnreachable, SentTooLate
from opsqueue.facts.system import system_reading
from opsqueue.model.fact import CUT_OFF, Facts, why_unknown
from opsqueue.model.host import Host
from opsqueue.model.kind import OperationKind, Params
from opsqueue.model.names import TargetState
from opsqueue.model.plan import Command, Plan, Result, Step, plan_digest
from opsqueue.model.record import Event, Operation, Target
from opsqueue.pipeline.lease import Lease
from opsqueue.pipeline.world import World
from opsqueue.store import events
from opsqueue.store import targets as store_targets

_MOST_OUTPUT = 8192
_ANNOUNCED_MOST = 5
_MOST_COMMAND = 400
"""Characters of a command in a message; the whole of it stands among the steps."""
HOST_READING = system_reading(subjects=["memory", "load"], sample_gap_s=0)
"""How the host itself fares, asked with the facts of a changing type; once more after the work."""


class Drifted(Exception):
    """The host changed since its plan was verified: plan anew, and ask everybody again."""


class Closed(Exception):
    """A gate closed, or somebody cancelled, while the host was asked: nothing was sent, ask the gates again."""


class StillBusy(Exception):
    """A command of a worker that died still runs on the host: look again when it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One target in one worker's hands."""

    world: World
    operation: Operation
    kind: OperationKind
    host: Host
    params: Params
    shell: Shell
    lease: Lease
    may: Callable[[], bool] = lambda: True
    """Whether it may still be begun: to ask a slow host can take a minute, in which a freeze may come."""

    @property
    def mark(self) -> str:
        """Found in the environment of every command that was sent for this target."""
        return f"{self.operation.id}/{self.host.name}"

    def write(self, target: Target, *lines: Event) -> Target:
        """Save the target, if the operation is still ours; LeaseLost otherwise, with nothing written."""
        with self.world.store.begin() as tx:
            self.lease.renew(tx)
            store_targets.save(tx, [target])
            events.append(tx, lines)
        return target

    def event(self, kind: str, message: str, data: Mapping[str, Any] | None = None) -> Event:
        """A line of history about this target."""
        return Event(
            operation_id=self.operation.id,
            at=self.world.now(),
            kind=kind,
            stage=self.operation.stage,
            host=self.host.name,
            actor=self.operation.holder,
            message=message,
            data=data or {},
        )


def run(job: Job, target: Target) -> Target:
    """Bring one target to its end, from wherever it stands.

    Raises Drifted, Closed, StillBusy, HostUnreachable (nothing was sent) and LeaseLost.
    """
    if target.state is TargetState.APPLYING:
        return _found(job, target)
    if target.state is TargetState.ROLLING_BACK:
        return _found_rolling_back(job, target)
    return _apply(job, target)


def give_up(job: Job, target: Target, why: str) -> Target:
    """Bring one to its end that was to be tried once more and may not: right by itself, or led back.

    Raises as run does.
    """
    after = _looked(job, target)
    seen = replace(target, after=after, verified_at=job.world.now())
    if wrong := job.kind.verify(job.params, target.before, after):
        return _lead_back(job, replace(seen, problems=(*dict.fromkeys((*target.problems, *wrong)), why)))
    good = replace(seen, state=TargetState.SUCCEEDED, problems=(), finished_at=job.world.now())
    return job.write(good, job.event("verified", f"not tried again ({why}): the host is as it should be"))


def _apply(job: Job, target: Target) -> Target:
    now = job.world.now()
    more = () if job.kind.desk else (HOST_READING,)
    facts = job.shell.ask((*job.kind.facts(job.params), *more))
    if objections := job.kind.objections(job.params, facts):
        if target.changed:  # an earlier try has sent something: what it left is not left so
            return give_up(job, target, "; ".join(objections))
        failed = replace(target, state=TargetState.FAILED, problems=objections, finished_at=now)
        return job.write(failed, job.event("refused", "; ".join(objections)))
    plan = job.kind.plan(job.params, facts)
    if _essence(job, plan) != _essence(job, target.plan):
        raise Drifted(f"{job.host.name} changed since its plan was verified")
    before = facts if target.attempt == 1 else target.before
    started = replace(target, before=before, started_at=target.started_at or now, problems=())
    if not plan:
        # Right without another command: unchanged, unless an earlier try sent some.
        state = TargetState.SUCCEEDED if target.changed else TargetState.UNCHANGED
        same = replace(started, state=state, after=facts, verified_at=now, finished_at=now)
        return job.write(same, job.event("unchanged", plan.note or "nothing needs to be done"))
    if not job.may():
        raise Closed(f"a gate closed while {job.host.name} was asked")
    applying = job.write(replace(started, state=TargetState.APPLYING), job.event("applying", plan.note or "applying"))
    sent, problems = _send_all(job, applying, plan)
    return _judge(job, sent, problems)


def _essence(job: Job, plan: Plan) -> str:
    return plan_digest(job.kind.name, job.operation.parameters, [(job.host.name, plan)])


def _send_all(job: Job, target: Target, plan: Plan) -> tuple[Target, tuple[str, ...]]:
    """Send the steps in order; the first that is not right stops the rest, and is the problem."""
    for step in plan.steps:
        target, result = _send(job, target, step)
        if result.exit_code is None and not result.timed_out:  # the way there was lost: it may still run
            _wait_until_quiet(job)
        if result.exit_code not in step.ok_codes:
            return target, (_what_failed(step, result),)
    return target, ()


def _send(job: Job, target: Target, step: Step) -> tuple[Target, Result]:
    asked = {"title": step.title, "command": str(step.command), "exit_code": None, "seconds": None, "output": ""}
    sending = replace(target, steps=(*target.steps, asked), changed_at=job.world.now())
    line = job.event("step", f"sending: {step.command}", {"title": step.title})
    try:
        result = _run(job, step, _announce(job, sending, line), sending)
    except (CommandNotSent, HostUnreachable) as error:
        result = Result(exit_code=None, stderr=error.message)
    done = {**asked, "exit_code": result.exit_code, "seconds": round(result.seconds, 3), "output": _kept(result.output)}
    sent = replace(sending, steps=(*target.steps, done), changed_at=job.world.now())
    how = "ended by its time limit" if result.timed_out else f"exit code {result.exit_code}"
    return job.write(sent, job.event("answer", f"{step.title}: {how}", done)), result


def _run(job: Job, step: Step, announced: float, sending: Target) -> Result:
    """Send it while the lease is certainly ours; to open the way may take longer than that, and is done by then."""
    patience = job.world.settings.worker.lease_seconds / 2
    for _ in range(_ANNOUNCED_MOST):
        try:
            return job.shell.run(step.command, job.mark, not_after=announced + patience)
        except SentTooLate:
            announced = _announce(job, sending)
    return job.shell.run(step.command, job.mark, not_after=announced + patience)


def _announce(job: Job, target: Target, *lines: Event) -> float:
    """Write that a command is about to be sent; LeaseLost, and it is not sent, when the operation is not ours any more.

    A process that was stopped right after it wrote (SIGSTOP, a paused machine) may have lost its lease meanwhile.
    Returns since when the lease is certainly ours, by time.monotonic.
    """
    asked, since = job.world.now(), time.monotonic()
    job.write(target, *lines)
    while job.world.now() - asked > job.world.settings.worker.lease_seconds / 2:
        asked, since = job.world.now(), time.monotonic()
        job.write(target)
    return since


def _kept(output: str) -> str:
    if len(output) <= _MOST_OUTPUT:
        return output
    half = _MOST_OUTPUT // 2
    return f"{output[:half]}\n… {len(output) - _MOST_OUTPUT} characters left out …\n{output[-half:]}"


def _without_scripts(command: Command) -> str:
    """As people know it: whole scripts would hide what they said in the end; the record has them."""

    def short(text: str) -> str:
        return "…" if "\n" in text.strip() else text

    env = {name: short(value) for name, value in command.env.items()}
    return str(replace(command, argv=tuple(map(short, command.argv)), stdin=short(command.stdin), env=env))


def _what_failed(step: Step, result: Result) -> str:
    command = _without_scripts(step.command)
    if len(command) > _MOST_COMMAND:
        command = f"{command[: _MOST_COMMAND // 4]} … {command[-_MOST_COMMAND // 2 :]}"
    if result.timed_out:
        return f"{step.title}: {command} did not end within {step.command.timeout} s"
    said = [line.strip() for line in result.output.splitlines() if line.strip()]
    # Two lines: a program says why, and then the script around it what that means.
    last = f": {'; '.join(line[:300] for line in said[-2:])}" if said else ""
    return f"{step.title}: {command} ended with exit code {result.exit_code}{last}"


def _looked(job: Job, target: Target) -> Facts:
    """How the host stands afterwards; asked anew where the answer was cut off, for that says nothing of the host.

    A service that carries the connection cuts off the very question after its restart.
    """
    facts = job.kind.facts_after(job.params, target.before)
    found: Facts = job.shell.ask(facts)
    return job.shell.ask(facts) if CUT_OFF in map(why_unknown, found.values()) else found


def _judge(job: Job, target: Target, sent_problems: tuple[str, ...]) -> Target:
    """Look at the host: is it as it should be; if not, try again or lead it back."""
    after = _looked(job, target)
    problems = (*sent_problems, *job.kind.verify(job.params, target.before, after))
    now = job.world.now()
    seen = replace(target, after=after, problems=problems, verified_at=now, changed=True)
    if not problems:
        good = replace(seen, state=TargetState.SUCCEEDED, finished_at=now)
        return job.write(good, job.event("verified", "the host is as it should be"))
    if job.kind.redo and target.attempt <= job.operation.retry_count:
        return job.write(seen, job.event("failed", "; ".join(problems)))
    return _lead_back(job, seen)


def _lead_back(job: Job, target: Target) -> Target:
    line = job.event("failed", "; ".join(target.problems))
    back = job.kind.rollback(job.params, target.before, target.after)
    if not job.operation.rollback_enabled or not back:
        note = "rollback is switched off" if back else back.note or "nothing leads back"
        failed = replace(target, state=TargetState.FAILED, finished_at=job.world.now())
        return job.write(failed, line, job.event("no_rollback", note))
    leading = job.write(replace(target, state=TargetState.ROLLING_BACK), line, job.event("rollback", "rolling back"))
    sent, problems = _send_all(job, leading, back)
    return _is_back(job, sent, problems)


def _is_back(job: Job, target: Target, sent_problems: tuple[str, ...] = ()) -> Target:
    after = _looked(job, target)
    left = (*sent_problems, *job.kind.restored(job.params, target.before, after))
    state = TargetState.UNKNOWN if left else TargetState.ROLLED_BACK
    now = job.world.now()
    message = f"the rollback did not lead back: {'; '.join(left)}" if left else "back in the old state, as verified"
    ended = replace(
        target, state=state, after=after, problems=(*target.problems, *left), verified_at=now, finished_at=now
    )
    return job.write(ended, job.event("rolled_back" if not left else "unknown", message))


def _found(job: Job, target: Target) -> Target:
    """A worker died while it applied this: look, and never apply again."""
    _wait_until_quiet(job)
    after = _looked(job, target)
    problems = job.kind.verify(job.params, target.before, after)
    now = job.world.now()
    seen = replace(target, after=after, verified_at=now, problems=problems, changed=bool(target.steps))
    found = job.event("found", "a worker died while it applied this; the host was looked at, nothing was sent again")
    if problems:
        job.write(seen, found)
        return _lead_back(job, seen)
    good = replace(seen, state=TargetState.SUCCEEDED, finished_at=now)
    return job.write(good, found, job.event("verified", "the host is as it should be"))


def _found_rolling_back(job: Job, target: Target) -> Target:
    _wait_until_quiet(job)
    return _is_back(job, target)


def _wait_until_quiet(job: Job) -> None:
    if job.shell.busy(job.mark):
        raise StillBusy(f"a command that was sent before still runs on {job.host.name}")
