"""Restart, reload or start a service, or several in order, and tell whether they really came back.

What it does: finds out who manages the service, lets known ones check their own configuration, puts the files of
`config_files` in place, restarts it with its manager's own command, waits until it is up, watches it for
`settle_seconds`, and asks its health check. The exit code of a restart proves nothing (systemd answers 0 for a unit
that dies a second later), so success is: another identity (InvocationID, or process id and start time) than before, up
and the same for the whole settling, and healthy. Of several services each has to be so before the next is begun.

How it is undone: a restart cannot be undone; the old process is gone. What a rollback does is to lead back to the old
*state*: files get their old bytes, mode, owner and time back, and what read the new ones is restarted; a service that
ran and is down now has its failures forgotten and is started again; one that was stopped and that we started is
stopped. Units that stopped along with it are started again.

After a crash: nothing is sent again. The services and files are looked at as above. The old identity, still running,
says that the restart did not take effect; files that were changed are taken back. A reload leaves a trace only with
systemd; with the others a service that still runs counts as reloaded, and the finding `reload_unproven` says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import opsqueue.operations.service.files as _files
import opsqueue.operations.service.findings as _findings
import opsqueue.operations.service.one as _one
import opsqueue.operations.service.order as _order
from opsqueue.model.fact import Fact, Facts
from opsqueue.model.kind import Analysis, Metric, OperationKind, Seen
from opsqueue.model.names import OperationType, Risk, Sort
from opsqueue.model.plan import Command, Plan, Step
from opsqueue.operations.service import commands
from opsqueue.operations.service.gate import gate
from opsqueue.operations.service.log import noted
from opsqueue.operations.service.objections import is_detached
from opsqueue.operations.service.objections import objections as objections_of_one
from opsqueue.operations.service.order import Part, parts, whose
from opsqueue.operations.service.params import ServiceRestartParams
from opsqueue.operations.service.verdict import verb_for

_PREFLIGHT_S = 60


def facts(params: ServiceRestartParams) -> tuple[Fact, ...]:
    """How each stands, whether its configuration is good, whether it is healthy now, and what the files are."""
    asked = (fact for name in params.names for fact in _named(params, name, _one.facts(params.alone(name))))
    return (*asked, *_files.asked(params))


def after(params: ServiceRestartParams, before: Facts) -> tuple[Fact, ...]:
    """Waits for each to be up, watches it, asks its health check in the end, and looks at the files."""
    asked = (fact for part in parts(params, before) for fact in _named(params, part.name, _one.after(*part.two)))
    return (*asked, *_files.asked(params))


def _named(params: ServiceRestartParams, name: str, asked: tuple[Fact, ...]) -> Iterator[Fact]:
    return (replace(fact, name=whose(params, fact.name, name)) for fact in asked)


# -- before -----------------------------------------------------------------------------------------------


def objections(params: ServiceRestartParams, before: Facts) -> tuple[str, ...]:
    """Why nothing may be sent."""
    every = tuple(parts(params, before))
    of_each = (text for part in every for text in objections_of_one(*part.two))
    return (*of_each, *_order.objections(every), *_files.objections(params, before))


def plan(params: ServiceRestartParams, before: Facts) -> Plan:
    """The files, the checks of the configuration, then one service after the other."""
    every = [(part, _one.plan(*part.two)) for part in parts(params, before)]
    busy = [part for part, own in every if own]
    note = "; ".join(filter(None, (own.note for _part, own in every)))
    if not busy:
        return Plan(note=note)
    steps = [step for part, own in every for step in _one_after_another(part, own, last=part is busy[-1])]
    first = (*_files.put(params), *_checks(params, [part for part, _own in every]))
    return Plan(steps=(*first, *steps), note=f"{note}; {_how_long(params, len(busy))}{_along(busy)}")


def _one_after_another(part: Part, own: Plan, *, last: bool) -> tuple[Step, ...]:
    unit = part.unit
    if unit is None or not own:
        return own.steps
    alone = is_detached(part.params, unit)  # after that the way to the host may be cut at any moment
    steps = noted(part.params, unit, verb_for(part.params, unit), own.steps, answered=not alone)
    return steps if last or alone else (*steps, gate(part.params, unit))


def _checks(params: ServiceRestartParams, every: list[Part]) -> Iterator[Step]:
    """What has to be right before anything is stopped, and can only be told with the new files in place."""
    lines = params.preflight if isinstance(params.preflight, tuple) else ()
    if params.preflight == "builtin" and params.config_files:
        answers = [part.before.get("preflight") for part in every]
        lines = tuple(tuple(answer["command"].split()) for answer in answers if answer and answer.get("command"))
    for argv in lines:
        command = Command(argv=argv, sudo=params.sudo, timeout=_PREFLIGHT_S)
        yield Step(title="check the configuration before anything is stopped", command=command)


def _how_long(params: ServiceRestartParams, count: int) -> str:
    each = params.stop_timeout_seconds + params.start_timeout_seconds + params.settle_seconds
    return f"at most {each * count} s"


def _along(busy: list[Part]) -> str:
    names = sorted({name for part in busy if part.unit for name in part.unit.dependants} - {p.target for p in busy})
    return f"; may be restarted along: {', '.join(names)}" if names else ""


# -- afterwards -------------------------------------------------------------------------------------------


def verify(params: ServiceRestartParams, before: Facts, found: Facts) -> tuple[str, ...]:
    """Why this is not the success that was wanted."""
    return (*_files.problems(params, found), *_of_services(params, before, found))


def _of_services(params: ServiceRestartParams, before: Facts, found: Facts) -> Iterator[str]:
    failed = ""
    for part in parts(params, before, found):
        problems = () if part.left_alone else _one.verify(*part.three)
        if failed and part.untouched:
            yield f"{part.name} was not begun, because {failed} is not well"
        else:
            yield from problems
        failed = failed or (part.name if problems else "")


def rollback(params: ServiceRestartParams, before: Facts, found: Facts) -> Plan:
    """Take the files back, and lead each service to the state that it was in; what nobody can tell is left alone."""
    files = _files.back(params, before, found)
    every = [(part, _back(part, files_back=bool(files))) for part in parts(params, before, found)]
    steps = tuple(step for _part, own in every for step in own.steps)
    return Plan(steps=(*files, *steps), note="; ".join(filter(None, (own.note for _part, own in every))))


def _back(part: Part, *, files_back: bool) -> Plan:
    if part.left_alone:
        return Plan()
    own = _one.rollback(*part.three)
    unit, now = part.unit, part.now
    if unit is None or now is None:
        return own
    verb = verb_for(part.params, unit)
    # With its old files back, what has read the new ones reads them once more.
    again = files_back and unit.running and (verb == "reload" or not part.untouched)
    if again and now.running and not _starts_anew(own):
        same = "reload" if verb == "reload" and now.identity == unit.identity else "restart"
        own = replace(own, steps=(*own.steps, *commands.steps(part.params, now, same)))
    return replace(own, steps=noted(part.params, replace(now, target=now.target or unit.target), "rollback", own.steps))


def _starts_anew(own: Plan) -> bool:
    return any("restart" in word for step in own.steps for word in step.command.argv[:4])


def restored(params: ServiceRestartParams, before: Facts, found: Facts) -> tuple[str, ...]:
    """Why the old state is not back: the files as they were; running or not, as it was; never the old process."""
    each = (text for part in parts(params, before, found) if not part.left_alone for text in _one.restored(*part.three))
    return (*_files.restored(params, before, found), *each)


# -- what people read -------------------------------------------------------------------------------------


def measure(params: ServiceRestartParams, before: Facts, found: Facts) -> tuple[Metric, ...]:
    """What is measured of each; of several with the name of the service behind the colon."""
    return tuple(
        replace(metric, name=whose(params, metric.name, part.name))
        for part in parts(params, before, found)
        for metric in _findings.measure(*part.three)
    )


def analyse(params: ServiceRestartParams, seen: Seen) -> Analysis:
    """The findings about each."""
    found = (
        finding
        for part in parts(params, seen.before, seen.after)
        for finding in _findings.analyse(part.params, replace(seen, before=part.before, after=part.after)).findings
    )
    return Analysis(findings=(*found, *_order.findings(params, seen.before)))


OPERATION = OperationKind(
    name=OperationType.SERVICE_RESTART.value,
    summary="Restart, reload or start a service and make sure that it stays up",
    sort=Sort.CHANGING,
    params=ServiceRestartParams,
    facts=facts,
    objections=objections,
    plan=plan,
    after=after,
    verify=verify,
    rollback=rollback,
    restored=restored,
    redo=True,
    measure=measure,
    analyse=analyse,
    risk=lambda _params: Risk.REVERSIBLE,
)
