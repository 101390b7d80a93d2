"""A backup: made, restored to scratch and compared with what was written down, marked as proven; then old ones go.

Everything on the host happens in `NUMBER.partial`; the tag `verified` in the repository is given last. So what has it
is proven, and what was interrupted can be told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.model.plan import Plan, Step
from opsqueue.operations.backup.hand import LOCKED, Hand, Snapshot
from opsqueue.operations.backup.proof import different, numbers, proof

_UNREAD = 3
"""restic: something could not be read, and the rest was backed up."""
_ROOM = 1.1
"""How much more than what is new has to be free."""
_NAMED = 5
_HOUR = 3600
_INVENTORY = """\
cd -- "$1" || exit 1
ask() { out=$1; shift; if command -v "$1" >/dev/null 2>&1; then "$@" >"$out" 2>/dev/null || rm -f "$out"; fi; }
ask packages-dpkg dpkg-query -W -f '${Package}:${Architecture} ${Version} ${Status}\\n'
ask packages-rpm rpm -qa
ask packages-apk apk info -v
ask selections dpkg --get-selections
ask disks lsblk --json --bytes --output NAME,SIZE,TYPE,FSTYPE,UUID,LABEL,MOUNTPOINT
ask partitions sfdisk --dump
ask mounts findmnt --json
ask boot efibootmgr -v
ask services systemctl list-unit-files --no-pager --no-legend
uname -a >kernel
"""


# -- before -----------------------------------------------------------------------------------------------


def objections(hand: Hand) -> Iterator[str]:
    """Why no backup can be made, or none that could be proven."""
    params, told = hand.params, hand.sources
    if not hand.roots:
        yield "there is nothing to back up: name paths" if not params.roots else f"none of {params.roots} is there"
    if params.paths and (missing := [path for path in told["missing"] if path != params.inventory]):
        yield f"not there: {', '.join(missing)}"
    if told["unreadable_count"] and params.on_partial == "fail":
        more = f" and {told['unreadable_count'] - _NAMED} more" if told["unreadable_count"] > _NAMED else ""
        yield f"cannot be read: {'; '.join(told['unreadable'][:_NAMED])}{more}; leave it out, or say on_partial=report"
    if endless := told.get("endless"):
        yield f"restic would wait for ever at {', '.join(endless)}, a pipe; leave it out, or exclude_caches=false"
    if hand.roots and not told["entries"]:
        yield "there is nothing to back up: no file was found"
    yield from _rooms(hand)


def _rooms(hand: Hand) -> Iterator[str]:
    params, told = hand.params, hand.sources
    if room := told["rooms"].get("repository"):
        need, percent = int(_ROOM * told["fresh"]), 100 * room["free"] / max(1, room["total"])
        if not room["writable"]:
            yield f"{params.local} cannot be written to: its disk is read-only, or the user may not"
        elif room["free"] < need:
            yield f"{params.local} has {room['free']} bytes free, and the backup may need {need}"
        elif percent < params.min_free_percent:
            least = params.min_free_percent
            yield f"{params.local} has {percent:.1f} % free, and {least} % have to stay (min_free_percent)"
        if room["inodes"] == 0:
            yield f"{params.local} has no inode free"
    work = told["rooms"]["work"]
    share = 1.0 if params.level == "full" else min(1.0, params.sample_files / max(1, told["entries"]))
    if work["free"] < share * told["bytes"]:
        yield f"{params.work_dir} has {work['free']} bytes free, and the restore for proof may need {told['bytes']}"


# -- the steps --------------------------------------------------------------------------------------------


def plan(hand: Hand) -> Plan:
    """All steps, in order; the first that fails stops the rest."""
    params, run = hand.params, hand.next_run
    place, partial = hand.place(run), f"{hand.place(run)}.partial"
    new = (hand.restic("make the repository", "init"),) if hand.repository["repository"]["state"] == "missing" else ()
    steps = (
        *hand.prepared(),
        *new,
        *_left_over(hand),
        *_inventory(hand),
        hand.tree("begin the run", "begin", "--place", partial),
        _backed_up(hand, run, partial),
        hand.tree("write down what there is", "manifest", "--place", partial, "--rules", hand.rules(), *_old(hand)),
        *proof(hand, run, partial, partial, ok=(0,)),
        hand.step("keep what was written down", "mv", "-T", "--", partial, place),
        hand.restic("mark it as proven", "tag", "--add", "verified", *hand.one_run, *hand.tagged(f"run={run}")),
        *_forgotten(hand, run),
    )
    return Plan(steps=steps, note=f"{', '.join(hand.roots)}, to {params.repository} as run {run} of {params.called}")


def _left_over(hand: Hand) -> Iterator[Step]:
    for name in sorted(name for name, one in hand.runs.items() if one["partial"]):
        yield hand.step("remove what was interrupted", "rm", "-rf", "--", f"{hand.params.state}/{name}")


def _inventory(hand: Hand) -> Iterator[Step]:
    if where := hand.params.inventory:
        yield hand.step("make the place of the inventory", "install", "-d", "-m", "0700", "--", where)
        yield hand.step("write down packages, disks and services", "sh", "-c", _INVENTORY, "sh", where)


def _old(hand: Hand) -> tuple[str, ...]:
    whole = sorted(name for name, one in hand.runs.items() if name.isdigit() and one["manifest"] and not one["partial"])
    return ("--old", f"{hand.params.state}/{whole[-1]}/manifest.gz") if whole else ()


def _backed_up(hand: Hand, run: int, partial: str) -> Step:
    params, rules = hand.params, hand.params.rules(hand.roots)
    options = [*(["--one-file-system"] * params.one_file_system), *(["--exclude-caches"] * params.exclude_caches)]
    options += [f"--exclude={_pattern(one)}" for one in rules["exclude_paths"]]
    options += [f"--exclude={one}" for one in rules["exclude_names"]]
    return hand.restic(
        f"back up as run {run}",
        *("backup", "--json", *hand.one_run, *hand.tagged(f"run={run}"), *options, "--", *hand.roots),
        save=f"{partial}/backup.json",
        ok=(0, _UNREAD) if params.on_partial == "report" else (0,),
    )


def _pattern(path: str) -> str:
    end = "/*" if path.endswith("/*") else ""
    return "".join(f"\\{one}" if one in "*?[\\" else one for one in path.removesuffix(end)) + end


def _forgotten(hand: Hand, run: int) -> Iterator[Step]:
    """The policy, as restic has it, for what is proven; and what was never proven, which no policy counts."""
    params = hand.params
    prune = ("--prune",) if params.prune else ()
    if unproven := [one.id for one in hand.snapshots if not one.verified and one.run < run]:
        yield hand.restic("forget what was never proven", "forget", *prune, *unproven, ok=(0, LOCKED))
    keep = [f"--keep-within={params.backup_retention_days}d", f"--keep-last={params.keep_last}"]
    units = {"daily": params.keep_daily, "weekly": params.keep_weekly}
    units |= {"monthly": params.keep_monthly, "yearly": params.keep_yearly}
    keep += [f"--keep-{unit}={number}" for unit, number in units.items() if number]
    words = ("forget", *hand.one_run, *hand.tagged("verified"), "--group-by", "host", *keep, *prune)
    title = f"forget what is older than {params.backup_retention_days} days, but never the newest {params.keep_last}"
    yield hand.restic(title, *words, ok=(0, LOCKED))
    there = {one.run for one in hand.snapshots}
    gone = [name for name, one in hand.runs.items() if name.isdigit() and not one["partial"] and int(name) not in there]
    if gone := sorted(gone)[: -params.keep_last]:
        yield hand.step("remove what was written down of them", "rm", "-rf", "--", *map(hand.place, map(int, gone)))


# -- afterwards -------------------------------------------------------------------------------------------


def run_of(hand: Hand) -> int:
    """The run whose changes are asked for afterwards."""
    return hand.next_run


def _made(hand: Hand, now: Hand) -> Snapshot | None:
    return next((one for one in now.snapshots if one.run == hand.next_run), None)


def _left(hand: Hand, now: Hand) -> Mapping[str, Any]:
    """What the run wrote on the host, whole or begun."""
    name = f"{hand.next_run:06}"
    return dict(now.runs.get(name) or now.runs.get(f"{name}.partial") or {})


def verify(hand: Hand, now: Hand) -> Iterator[str]:
    """Why there is no proven snapshot of this run."""
    made, left = _made(hand, now), _left(hand, now)
    if now.repository["repository"]["state"] != "there":
        yield f"the repository {hand.params.repository} is not there any more: {now.repository['repository']['why']}"
        return
    if made is None:
        yield f"there is no snapshot of run {hand.next_run}"
    elif not made.verified:
        unread = [f"{one['path']}: {one['why']}" for one in left.get("backup", {}).get("errors", ())]
        told = different(left["report"]) if "report" in left else ""
        why = "; ".join(unread[:_NAMED]) or told or "it was not restored and compared"
        yield f"the snapshot of run {hand.next_run} is not proven: {why}"


def rollback(hand: Hand, now: Hand) -> Iterator[Step]:
    """Forget what is not proven; a proven backup stays, whatever failed behind it; older ones are not touched."""
    made, name = _made(hand, now), f"{hand.next_run:06}"
    if made and not made.verified:
        yield hand.restic("forget what is not proven", "forget", made.id)
    for one in (f"{name}.partial", name):
        if one in now.runs and not (made and made.verified):
            yield hand.step("remove what was begun", "rm", "-rf", "--", f"{hand.params.state}/{one}")


def restored(hand: Hand, now: Hand) -> Iterator[str]:
    """What of the failed run is still there."""
    made = _made(hand, now)
    if made and not made.verified:
        yield f"the snapshot of {made} is still there and is not proven: look at it, and `restic forget {made.id}`"


# -- what it came to --------------------------------------------------------------------------------------


def measure(hand: Hand, now: Hand) -> Iterator[Metric]:
    """Sizes, what was compared, how many backups there are, and how old the one before was."""
    left = _left(hand, now)
    summary = left.get("backup", {}).get("summary", {})
    yield Metric(name="source_bytes", value=float(hand.sources["bytes"]), unit="bytes")
    yield Metric(name="source_entries", value=float(hand.sources["entries"]), unit="count")
    for name, key, unit in _NUMBERS:
        if key in summary:
            yield Metric(name=name, value=float(summary[key]), unit=unit)
    if summary.get("data_added") and summary.get("total_bytes_processed"):
        share = summary["total_bytes_processed"] / summary["data_added"]
        yield Metric(name="deduplication", value=round(share, 3), unit="ratio")
    if "report" in left:
        yield from numbers(left["report"])
    yield Metric(name="backups_kept", value=float(len(now.proven)), unit="count")
    if hand.proven:
        yield Metric(name="previous_backup_age", value=float(hand.proven[-1].age), unit="s")
    if room := now.sources["rooms"].get("repository"):
        yield Metric(name="repository_free", value=float(room["free"]), unit="bytes")


_NUMBERS = (
    ("files_new", "files_new", "count"),
    ("files_changed", "files_changed", "count"),
    ("files_unmodified", "files_unmodified", "count"),
    ("bytes_processed", "total_bytes_processed", "bytes"),
    ("bytes_added", "data_added", "bytes"),
    ("backup_seconds", "total_duration", "s"),
)


def findings(hand: Hand, now: Hand) -> Iterator[Finding]:
    """What about this backup should not stay as it is, or should be known."""
    params, left = hand.params, _left(hand, now)
    made = _made(hand, now)
    if made is None:
        return
    if unread := left.get("backup", {}).get("errors"):
        text = f"{len(unread)} files could not be read and are not in the backup: {unread[0]['path']}"
        yield _finding(Severity.WARNING, "incomplete", text, "Mend them, or leave them out with exclude.", unread)
    if params.local and hand.sources["rooms"]["repository"]["same_disk"]:
        text = f"{params.local} lies on a disk that is backed up: who loses one loses both"
        yield _finding(Severity.WARNING, "same_disk", text, "Keep the repository on another disk or another machine.")
    if hand.proven and hand.proven[-1].age > params.max_age_hours * _HOUR:
        text = f"the backup before this one was {hand.proven[-1].age // _HOUR} hours old"
        yield _finding(Severity.WARNING, "was_overdue", text, "See why it did not happen: `opsqueue history`.")
    if (report := left.get("report")) and report["changed"]:
        text = f"{report['changed']} entries changed during the backup and could not be compared: {report['moved'][0]}"
        advice = "Choose a quieter hour; back up a database with database_maintenance."
        yield _finding(Severity.INFO, "changed_meanwhile", text, advice, report["moved"])
    if others := [one for one in now.repository["locks"] if one["exclusive"] and not one["ours"]]:
        text = f"old backups could not be forgotten or will not be: {others[0]['who']} holds the repository"
        yield _finding(Severity.INFO, "held_by_others", text, "The next run forgets them; see that it ends.")
    if params.set == "configuration" and (changed := now.repository["changed"]) and changed["count"]:
        text = f"{changed['count']} entries are others than in the backup before"
        yield _finding(
            Severity.INFO, "configuration_changed", text, "See that each change was meant.", changed["first"]
        )


def _finding(severity: Severity, code: str, text: str, advice: str, evidence: Any = None) -> Finding:
    more = {"entries": evidence} if evidence else {}
    return Finding(severity=severity, code=code, message=text, advice=advice, evidence=more)
