"""Rotate logs without losing a line: archive, compress, keep room, remove what is older than `log_retention_days`.

What it does: gives the old file another name and puts a new one in its place, in one rename; tells the writer to open
its log anew; waits until nobody writes to the old file; packs it, unpacks it again, compares, and removes the original;
removes what is too old. For a writer that cannot reopen, it copies the log and cuts what it copied from the front.

How it is undone: a renamed log gets its name back as long as nobody wrote to the new one; what was begun of a copy or
an archive is removed. Once the writer went over to the new file the log stays rotated, and every line is in one of the
two. What was removed because of its age does not come back; that is the last step.

After a crash: nothing is sent again. A command that still runs is waited for. What is then found decides: rotated and
whole, or led back as above. A name without `.opsqueue` belongs to something whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from opsqueue.facts.logs import Logs, logs
from opsqueue.model.fact import Fact, Facts, why_unknown
from opsqueue.model.kind import Analysis, Finding, Metric, OperationKind, Seen
from opsqueue.model.names import OperationType, Risk, Severity, Sort
from opsqueue.model.plan import Plan
from opsqueue.operations.logs import findings as told
from opsqueue.operations.logs import journal, judge, steps
from opsqueue.operations.logs.hand import Hand
from opsqueue.operations.logs.params import LogRotationParams

_NO_PATHS = "no log is named: give paths (in the request, or in hosts.NAME.parameters.log_rotation)"


def facts(params: LogRotationParams) -> tuple[Fact, ...]:
    """Which logs there are, who writes to them, and what was rotated before."""
    return (journal.fact(params) if params.method == "journald" else logs(params.where),)


def after(params: LogRotationParams, before: Facts) -> tuple[Fact, ...]:
    """The same about exactly those logs."""
    hand = _hand(params, before)
    if params.method == "journald" or hand is None:
        return facts(params)
    paths = tuple(log.path for log in hand.found.logs)
    roots = tuple(dict.fromkeys((*params.roots, *(log.directory for log in hand.found.logs))))
    where = replace(params.where, paths=paths, exclude=(), roots=roots)
    return (logs(where, wide=bool(params.min_free_percent)),)


def _found(facts: Facts) -> Logs | None:
    answer = facts.get("logs")
    return None if not answer or why_unknown(answer) is not None else Logs.of(answer)


def _hand(params: LogRotationParams, before: Facts) -> Hand | None:
    found = _found(before)
    return Hand(params=params, found=found) if found else None


def _not_known(found: Facts) -> str:
    answer = found.get("logs")
    return f"the logs could not be looked at: {why_unknown(answer) if answer else 'nobody was asked'}"


# -- before -----------------------------------------------------------------------------------------------


def objections(params: LogRotationParams, before: Facts) -> tuple[str, ...]:
    """Why nothing may be sent."""
    if params.method == "journald":
        return tuple(journal.objections(params, before))
    hand = _hand(params, before)
    if hand is None:
        return () if params.when_unclear == "skip" else (_not_known(before),)
    return (*(() if params.when_unclear == "skip" else _doubted(hand)), *_missing(hand))


def _doubted(hand: Hand) -> Iterator[str]:
    params = hand.params
    if not params.paths:
        yield _NO_PATHS
    for doubt in hand.doubts:
        if not doubt.soft or doubt.path in params.paths:
            yield f"{doubt.path} {doubt.text}"
    if params.paths and not hand.found.logs and not any(doubt.path in params.paths for doubt in hand.doubts):
        yield f"no log is found: {', '.join(params.paths)}"


def _missing(hand: Hand) -> Iterator[str]:
    params, tools = hand.params, hand.found.tools
    if not hand.logs:
        return
    need = {"coreutils": "GNU coreutils and findutils", "flock": "flock (util-linux)", "cmp": "cmp (diffutils)"}
    if params.compress != "none":
        need[params.compress] = params.compress
    if params.method == "copytruncate" and not params.may_lose_lines:
        need["fallocate"] = "fallocate (util-linux)"
    if any(hand.actor(log) != "root" for log in hand.logs) and params.sudo:
        need["runuser"] = "runuser (util-linux)"
    if lacking := [name for tool, name in need.items() if tool not in tools]:
        yield f"a rotation needs {', '.join(lacking)} on the host; install what is missing"
    if params.archive_dir and params.sudo and (why := _about_archive(hand)):
        yield f"{params.archive_dir} is no safe place for an archive: {why}"
    if params.reopen and params.reopen.pid_file and hand.due and not hand.found.reopens:
        yield f"{params.reopen.pid_file} names no process that runs: the writer could not be told to open its log anew"


def _about_archive(hand: Hand) -> str:
    """Directories are made there as root: nobody else may put a link in their place."""
    there, real, actor = hand.found.archive or ("", "", "")
    if there != real:
        return f"{there} is a link to {real}; name that"
    return "" if actor == "root" else actor.removeprefix("! ") if actor[:1] == "!" else f"{there} belongs to {actor}"


def plan(params: LogRotationParams, before: Facts) -> Plan:
    """The steps for the logs that are due, and for the old ones."""
    if params.method == "journald":
        return journal.plan(params, before)
    hand = _hand(params, before)
    return steps.plan(hand) if hand else Plan(note=_not_known(before))


# -- afterwards -------------------------------------------------------------------------------------------


def verify(params: LogRotationParams, before: Facts, found: Facts) -> tuple[str, ...]:
    """Why this is not the success that was wanted."""
    if params.method == "journald":
        return tuple(journal.verify(params, before, found))
    hand, now = _hand(params, before), _found(found)
    if hand is None or now is None:
        return (_not_known(found),)
    return tuple(judge.verify(hand, now))


def rollback(params: LogRotationParams, before: Facts, found: Facts) -> Plan:
    """Give renamed logs their names back, remove what was begun."""
    hand, now = _hand(params, before), _found(found)
    if params.method == "journald":
        return Plan(note="what journald removed does not come back")
    if hand is None or not hand.logs:
        return Plan(note="nothing was begun")
    if now is None:
        return Plan(steps=(steps.looked(hand),), note=f"{_not_known(found)}; nothing is sent blindly")
    return judge.rollback(hand, now)


def restored(params: LogRotationParams, before: Facts, found: Facts) -> tuple[str, ...]:
    """What is still half done."""
    hand, now = _hand(params, before), _found(found)
    return tuple(judge.restored(hand, now)) if hand and now else (_not_known(found),)


def measure(params: LogRotationParams, before: Facts, found: Facts) -> tuple[Metric, ...]:
    """What it came to, in numbers."""
    if params.method == "journald":
        return tuple(journal.measure(before, found))
    hand, now = _hand(params, before), _found(found)
    return tuple(told.measure(hand, now)) if hand and now else ()


def analyse(params: LogRotationParams, seen: Seen) -> Analysis:
    """Findings; a score would say nothing."""
    if params.method == "journald":
        return Analysis(findings=tuple(journal.findings(seen.before)))
    hand, now = _hand(params, seen.before), _found(seen.after)
    if hand is None or now is None:
        return Analysis(findings=tuple(_unclear(params, seen.before if hand is None else seen.after)))
    return Analysis(findings=tuple(told.findings(hand, now, seen.metrics, seen.thresholds)))


def _unclear(params: LogRotationParams, found: Facts) -> Iterator[Finding]:
    if params.paths:
        advice = "See that the worker may act as root there (sudo -n), or set sudo=false."
        yield Finding(severity=Severity.WARNING, code="logs_unclear", message=_not_known(found), advice=advice)


def risk(params: LogRotationParams) -> Risk:
    """Lines, or archives that are not too old yet, are only lost where somebody allows it."""
    return Risk.DESTRUCTIVE if params.may_lose_lines or params.min_free_percent else Risk.REVERSIBLE


OPERATION = OperationKind(
    name=OperationType.LOG_ROTATION.value,
    summary="Rotate, compress, archive and expire logs without losing a line",
    sort=Sort.CHANGING,
    params=LogRotationParams,
    facts=facts,
    objections=objections,
    plan=plan,
    after=after,
    verify=verify,
    rollback=rollback,
    restored=restored,
    measure=measure,
    analyse=analyse,
    risk=risk,
)
