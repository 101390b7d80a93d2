"""Back up sets of files with restic, prove the backups, and bring files back.

What it does: a snapshot of the system, the configuration or data of a host, deduplicated and encrypted, goes to a
repository; it counts only when files of it were restored to scratch and compared with what was written down while it
was made. Old ones are forgotten by a policy, after the new one is proven. `verify` proves an old one again; `restore`
brings it back, beside the goal first, compared, and then renamed.

How it is undone: a snapshot that is not proven is forgotten, with what was begun on the host; a proven one stays. A
restore in place puts back what was moved aside. Locks of restic that a dead process of ours left are removed, those of
others never. Backups that were forgotten do not come back; that is the last step, after the new one is proven.

After a crash: nothing is sent again. A command that still runs is waited for. What is then found decides: the tag
`verified` of the run, the report, the last rename; or what was begun is removed as above.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import opsqueue.operations.backup.checking as _checking
import opsqueue.operations.backup.making as _making
import opsqueue.operations.backup.restoring as _restoring
from opsqueue.facts.backups import repository, sources
from opsqueue.model.fact import Fact, Facts, why_unknown
from opsqueue.model.kind import Analysis, Finding, Metric, OperationKind, Seen
from opsqueue.model.names import OperationType, Risk, Severity, Sort
from opsqueue.model.plan import Plan, Step
from opsqueue.operations.backup.hand import OLDEST, Hand
from opsqueue.operations.backup.params import BackupParams

_LEFT_ALONE_S = 1800
"""A living restic renews its lock every five minutes; after so long nobody takes it for living."""
_OLD_PYTHON = " (a backup needs python3 3.9 or newer there)"


class Work(Protocol):
    """One task; `hand` is what was found before, `now` what was found afterwards."""

    def objections(self, hand: Hand) -> Iterator[str]:
        """Why nothing may be sent."""
        ...

    def plan(self, hand: Hand) -> Plan:
        """The steps."""
        ...

    def run_of(self, hand: Hand) -> int:
        """The run whose changes are asked for afterwards; 0: none."""
        ...

    def verify(self, hand: Hand, now: Hand) -> Iterator[str]:
        """Problems; none is good."""
        ...

    def rollback(self, hand: Hand, now: Hand) -> Iterator[Step]:
        """The way back."""
        ...

    def restored(self, hand: Hand, now: Hand) -> Iterator[str]:
        """Problems after the way back."""
        ...

    def measure(self, hand: Hand, now: Hand) -> Iterator[Metric]:
        """Numbers."""
        ...

    def findings(self, hand: Hand, now: Hand) -> Iterator[Finding]:
        """What people should know."""
        ...


WORK: Mapping[str, Work] = {"backup": _making, "verify": _checking, "restore": _restoring}


def _work(params: BackupParams) -> Work:
    return WORK[params.task]


def _asked(params: BackupParams, run: int, *, walk: bool) -> tuple[Fact, ...]:
    if not params.configured:
        return ()
    rooms = {"work": f"{params.state}/restic_host.py"}
    if params.local:
        rooms["repository"] = params.local
    if params.task == "restore":
        rooms |= {"goal": _restoring.goal(params), "scratch": _restoring.scratch(params)}
        rooms |= {"aside": _restoring.aside(params)} if params.in_place else {}
    where = params.where
    return (repository(where, run), sources(where, params.rules(params.roots), rooms, walk=walk))


def facts(params: BackupParams) -> tuple[Fact, ...]:
    """Whether the repository opens, what is in it, what is to be backed up, and how much room there is."""
    return _asked(params, 0, walk=params.task == "backup")


def after(params: BackupParams, before: Facts) -> tuple[Fact, ...]:
    """The same again, without a look at every file, and what the new run has otherwise."""
    hand = Hand.of(params, before)
    return _asked(params, _work(params).run_of(hand) if hand else 0, walk=False)


# -- before -----------------------------------------------------------------------------------------------


def objections(params: BackupParams, before: Facts) -> tuple[str, ...]:
    """Why nothing may be sent."""
    if not params.configured:
        return () if params.when_unclear == "skip" else (_unconfigured(params),)
    hand = Hand.of(params, before)
    if hand is None:
        reasons = [why_unknown(before.get(name)) for name in ("repository", "sources")]
        said = "; ".join(dict.fromkeys(reason for reason in reasons if reason)) or "nobody was asked"
        # Both are asked with python3; where one was answered, it is not for want of that.
        return (f"the host could not be looked at: {said}{_OLD_PYTHON if all(reasons) else ''}",)
    return (*_about_repository(hand), *_about_locks(hand), *_about_work_dir(hand), *_work(params).objections(hand))


def _unconfigured(params: BackupParams) -> str:
    where = "(in the request, or in hosts.NAME.parameters.backup_operation)"
    if params.repository:
        return f"a repository is configured and no key; give password or password_file {where}"
    if params.password or params.password_file:
        return f"a key is configured and no repository; give repository {where}"
    return f"no repository and key are configured; give repository and password {where}"


def _about_repository(hand: Hand) -> Iterator[str]:
    told, params = hand.repository["repository"], hand.params
    if hand.version < OLDEST:
        found = hand.repository["restic"] or "none"
        yield f"a backup needs restic 0.14 or newer on the host, found: {found}; install the package restic"
    elif told["state"] == "wrong_key":
        yield f"the key does not open {params.repository}: {told['why']}"
    elif told["state"] == "missing" and not (params.init and params.task == "backup"):
        yield (
            f"there is no repository at {params.repository}: see that its disk is mounted; "
            "to make a new one say init=true, once"
        )
    elif told["state"] not in {"there", "missing"}:
        yield f"the repository {params.repository} cannot be reached: {told['why']}"


def _about_work_dir(hand: Hand) -> Iterator[str]:
    """The programs that lie there are run with our rights."""
    if loose := hand.sources["rooms"]["work"].get("open"):
        yield f"others than root and us can change {loose}, and what lies in work_dir is run; give another work_dir"


def _about_locks(hand: Hand) -> Iterator[str]:
    """A lock of somebody else who is gone: nobody but a person can tell."""
    for lock in hand.repository["locks"]:
        left = lock["age"] > _LEFT_ALONE_S
        if (lock["gone"] or left) and not lock["ours"]:
            why = "has not renewed its lock for half an hour" if left else "is not there any more"
            yield (
                f"the repository is locked by {lock['who']}, which {why} and was not started by "
                "opsqueue; if that is so, `restic unlock` on the host"
            )


def plan(params: BackupParams, before: Facts) -> Plan:
    """The steps of the task."""
    hand = Hand.of(params, before)
    return _work(params).plan(hand) if hand else Plan(note=f"nothing is done: {_unconfigured(params)}")


# -- afterwards -------------------------------------------------------------------------------------------


def verify(params: BackupParams, before: Facts, found: Facts) -> tuple[str, ...]:
    """Why this is not the success that was wanted."""
    hand, now = Hand.of(params, before), Hand.of(params, found)
    if hand is None:
        return ()
    if now is None:
        return (f"how the backup stands is not known: {_unknown(found)}",)
    left = tuple(f"a dead process of ours still holds the repository: {one['who']}" for one in _ours(now))
    return (*_work(params).verify(hand, now), *left)


def _unknown(found: Facts) -> str:
    return "; ".join(why for name in ("repository", "sources") if (why := why_unknown(found.get(name))))


def _ours(now: Hand) -> list[Mapping[str, str]]:
    return [lock for lock in now.repository["locks"] if lock["ours"]]


def rollback(params: BackupParams, before: Facts, found: Facts) -> Plan:
    """Remove what was begun, and our own locks."""
    hand, now = Hand.of(params, before), Hand.of(params, found)
    if hand is None or now is None:
        return Plan(note="how the backup stands is not known; nothing is sent blindly")
    free = (hand.restic("remove the lock of our dead process", free=True),) if _ours(now) else ()
    steps = (*free, *_work(params).rollback(hand, now))
    return Plan(steps=steps, note="back to what was there" if steps else "nothing is left of what was begun")


def restored(params: BackupParams, before: Facts, found: Facts) -> tuple[str, ...]:
    """What of it is still there."""
    hand, now = Hand.of(params, before), Hand.of(params, found)
    if hand is None or now is None or _lost(hand, now):
        why = _unknown(found) or (now.repository["repository"]["why"] if now else "")
        return (f"how {params.repository} stands is not known ({why}); look with `opsqueue backups list`",)
    locks = tuple(f"the repository is still locked by {one['who']}" for one in _ours(now))
    return (*_work(params).restored(hand, now), *locks)


def _lost(hand: Hand, now: Hand) -> bool:
    """Whether the repository is not there any more; what was begun in it then nobody knows."""
    states = [one.repository["repository"]["state"] for one in (hand, now)]
    return bool(states[1] != "there" and (states[0] == "there" or states[1] != "missing"))


def measure(params: BackupParams, before: Facts, found: Facts) -> tuple[Metric, ...]:
    """What it came to, in numbers."""
    hand, now = Hand.of(params, before), Hand.of(params, found)
    return tuple(_work(params).measure(hand, now)) if hand and now else ()


def analyse(params: BackupParams, seen: Seen) -> Analysis:
    """Findings; a score would say nothing."""
    hand, now = Hand.of(params, seen.before), Hand.of(params, seen.after)
    if hand and now:
        return Analysis(findings=tuple(_work(params).findings(hand, now)))
    if params.configured:
        return Analysis()
    text = f"nothing was backed up: {_unconfigured(params)}"
    advice = "Configure what is missing, or leave the host out of the schedule."
    return Analysis(findings=(Finding(severity=Severity.INFO, code="no_backup", message=text, advice=advice),))


def _risk(params: BackupParams) -> Risk:
    return Risk.DESTRUCTIVE if params.in_place else Risk.REVERSIBLE


OPERATION = OperationKind(
    name=OperationType.BACKUP_OPERATION.value,
    summary="Back up system, data or configuration with restic; prove a backup again; bring files back",
    sort=Sort.MAKING,
    params=BackupParams,
    facts=facts,
    objections=objections,
    plan=plan,
    after=after,
    verify=verify,
    rollback=rollback,
    restored=restored,
    measure=measure,
    analyse=analyse,
    risk=_risk,
)
