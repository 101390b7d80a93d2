"""Bring files back: into a new directory, or in place with the present state moved aside; compared before it is named.

Restored is beside the goal, on the same disk, so that the last step is one rename. Others may own the directory that
both lie in; so the place beside is made by us, for us alone, and restic stays in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.model.plan import Plan, Step
from opsqueue.operations.backup.checking import absent, run_of, written
from opsqueue.operations.backup.hand import Hand
from opsqueue.operations.backup.params import BackupParams
from opsqueue.operations.backup.proof import compared, different, numbers

__all__ = ["findings", "measure", "objections", "plan", "restored", "rollback", "run_of", "verify"]
_ROOM = 1.05


def goal(params: BackupParams) -> str:
    """What will be there."""
    return params.include[0].rstrip("/") if params.in_place else params.restore_to.rstrip("/")


def scratch(params: BackupParams) -> str:
    """Where it is restored first."""
    path = PurePosixPath(goal(params))
    return str(path.parent / f".{path.name}.opsqueue-{params.called}")


def aside(params: BackupParams) -> str:
    """Where the present state goes, in place."""
    return f"{goal(params)}.before-restore"


# -- before -----------------------------------------------------------------------------------------------


def objections(hand: Hand) -> Iterator[str]:
    """Why nothing can be brought back, or not there."""
    chosen, params = hand.chosen(), hand.params
    if chosen is None:
        yield absent(hand)
        return
    if outside := [one for one in params.include if not _within(one, chosen.paths)]:
        yield f"{', '.join(outside)} is not in {chosen}, which holds {', '.join(chosen.paths)}"
    rooms = hand.sources["rooms"]
    yield from _about_goal(params, rooms["goal"])
    if rooms["scratch"]["is"] != "none":
        yield f"{scratch(params)} is there already: another restore left it; look at it and remove it"
    if params.in_place and rooms["aside"]["is"] != "none":
        yield f"{aside(params)} is there already, from an earlier restore; look at it and remove it"
    size = hand.runs.get(f"{chosen.run:06}", {}).get("report", {}).get("total", 0)
    if not params.include and rooms["goal"]["free"] < _ROOM * size:
        yield f"there are {rooms['goal']['free']} bytes free for {goal(params)}, and the restore needs {size}"


def _within(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def _about_goal(params: BackupParams, room: Mapping[str, Any]) -> Iterator[str]:
    allowed = {"none", "empty", "full", "other"} if params.in_place else {"none", "empty"}
    words = {
        "full": "is not empty; name a directory that is not there yet, or put one path back with in_place",
        "other": "is no directory",
        "link": "is a symbolic link: name the directory itself",
        "mount": "is a mount point: it cannot be given its name by a rename; name a directory below it",
    }
    if room["is"] not in allowed:
        yield f"{goal(params)} {words[room['is']]}"
    if not room["parent"]:
        yield f"the directory of {goal(params)} is not there; make it first"
    if not room["writable"]:
        yield f"{goal(params)} cannot be written to: its disk is read-only, or the user may not"
    if loose := room.get("open"):
        why = f"others than root and us can change {loose}, and lead the restore to another place"
        yield f"{goal(params)} cannot be restored safely: {why}; restore below a directory of root's, and move it there"


# -- the steps --------------------------------------------------------------------------------------------


def plan(hand: Hand) -> Plan:
    """Restore beside, compare, and give it its name."""
    params, chosen = hand.params, hand.chosen()
    if chosen is None:
        return Plan(note=absent(hand))
    partial, beside = f"{params.state}/restore.partial", scratch(params)
    known = written(hand, chosen.run)
    includes = [f"--include={_pattern(one)}" for one in params.include]
    words = ("restore", "latest", *hand.one_run, *hand.tagged(f"run={chosen.run}"), "--target", ".")
    more = ("--below", json.dumps(list(params.include))) if params.include else ()
    title = f"restore {chosen} beside it"
    left = [name for name, one in sorted(hand.runs.items()) if one["partial"]]
    steps = (
        *hand.prepared(),
        *(hand.step("remove what was interrupted", "rm", "-rf", "--", f"{params.state}/{name}") for name in left),
        hand.step("forget the report before", "rm", "-rf", "--", f"{params.state}/restore"),
        hand.tree("begin", "begin", "--place", partial),
        hand.step("make its place", "mkdir", "-m", "0700", "--", beside),
        hand.restic(title, *words, *hand.sparse, "--verify", *includes, save=f"{partial}/restored.json", inside=beside),
        *((compared(hand, hand.place(chosen.run), partial, beside, more=more),) if known else ()),
        hand.step("keep the report", "mv", "-T", "--", partial, f"{params.state}/restore"),
        *_named(hand),
    )
    return Plan(steps=steps, note=f"{chosen}, from {params.repository}, to {goal(params)}")


def _pattern(path: str) -> str:
    return "".join(f"\\{one}" if one in "*?[\\" else one for one in path.rstrip("/"))


def _named(hand: Hand) -> Iterator[Step]:
    params = hand.params
    if not params.in_place:
        yield hand.step("give it its name", "mv", "-T", "--", scratch(params), goal(params))
        return
    if hand.sources["rooms"]["goal"]["is"] != "none":
        yield hand.step("move aside what is there", "mv", "-T", "--", goal(params), aside(params))
    yield hand.step("put it back", "mv", "-T", "--", f"{scratch(params)}{goal(params)}", goal(params))
    yield hand.step("remove what is left of the way", "rm", "-rf", "--", scratch(params))


# -- afterwards -------------------------------------------------------------------------------------------


def _is(hand: Hand, name: str) -> str:
    return str(hand.sources["rooms"].get(name, {}).get("is", "none"))


def _moved(hand: Hand, now: Hand) -> bool:
    """Whether what was in place before lies aside."""
    return hand.params.in_place and _is(hand, "goal") != "none" and _is(now, "aside") != "none"


def _done(hand: Hand, now: Hand) -> bool:
    """Whether the last rename happened."""
    if not hand.params.in_place:
        return _is(now, "scratch") == "none" and "restore" in now.runs and _is(now, "goal") not in {"none", "link"}
    aside_is_right = _moved(hand, now) or _is(hand, "goal") == "none"
    return "restore" in now.runs and _is(now, "goal") != "none" and aside_is_right and _is(now, "scratch") == "none"


def verify(hand: Hand, now: Hand) -> Iterator[str]:
    """Why this is not the restore that was wanted."""
    left = now.runs.get("restore") or now.runs.get("restore.partial") or {}
    if left.get("restored", {}).get("code", 0) != 0:
        yield f"restic could not restore it: {' '.join(left['restored']['said'])[-300:]}"
    if "report" in left and (why := different(left["report"])):
        yield f"what was restored is not what was backed up: {why}"
    if not _done(hand, now):
        yield f"{goal(hand.params)} was not brought back"


def rollback(hand: Hand, now: Hand) -> Iterator[Step]:
    """What was in place before is put back; what was restored is removed."""
    params = hand.params
    if _moved(hand, now):
        if _is(now, "goal") != "none":
            yield hand.step("remove what was put in place", "rm", "-rf", "--", goal(params))
        yield hand.step("put back what was there", "mv", "-T", "--", aside(params), goal(params))
    if _is(now, "scratch") != "none":
        yield hand.step("remove what was restored", "rm", "-rf", "--", scratch(params))
    if "restore.partial" in now.runs:
        yield hand.step("remove what was begun", "rm", "-rf", "--", f"{params.state}/restore.partial")


def restored(hand: Hand, now: Hand) -> Iterator[str]:
    """What is not as it was."""
    for name in ("goal", "scratch", "aside"):
        if name in hand.sources["rooms"] and _is(hand, name) != _is(now, name):
            path = {"goal": goal, "scratch": scratch, "aside": aside}[name](hand.params)
            yield f"{path} is {_is(now, name)}, and was {_is(hand, name)}: look at it"


def measure(_hand: Hand, now: Hand) -> Iterator[Metric]:
    """What was compared."""
    if report := now.runs.get("restore", {}).get("report"):
        yield from numbers(report)


def findings(hand: Hand, now: Hand) -> Iterator[Finding]:
    """What a person has to do or know."""
    if _moved(hand, now):
        text = f"what was in place before lies at {aside(hand.params)}"
        yield Finding(severity=Severity.INFO, code="moved_aside", message=text, advice="Remove it when all is well.")
    if "report" not in now.runs.get("restore", {}) and "restore" in now.runs:
        text = "it was not compared: what the backup should hold was not written down on this host"
        yield Finding(
            severity=Severity.WARNING, code="no_manifest", message=text, advice="Look at it before it is used."
        )
    chosen = hand.chosen()
    if chosen and not chosen.verified:
        text = f"{chosen} was never proven"
        yield Finding(severity=Severity.WARNING, code="unproven", message=text, advice="See `opsqueue backups list`.")
