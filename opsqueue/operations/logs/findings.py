"""What a rotation came to in numbers, and what people should know of the logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from opsqueue.facts.logs import Log, Logs
from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.operations.logs.hand import Hand

_DAY = 86_400.0
_WEEK_DAYS = 7
_BIG = 100 << 20
_RATIO = 1.2
"""A packed log that is hardly smaller is not worth its time."""


# -- numbers ----------------------------------------------------------------------------------------------


def measure(hand: Hand, now: Logs) -> Iterator[Metric]:
    """Counts, bytes and ages; `hand` holds what was found before."""
    pairs = [(log, found) for log in hand.logs if (found := now.log(log.path)) and found.inode]
    turned = [log for log, found in pairs if log in hand.due and _is_turned(hand, log, found)]
    yield Metric(name="logs_found", value=float(len(hand.logs)), unit="count")
    yield Metric(name="logs_rotated", value=float(len(turned)), unit="count")
    yield Metric(name="bytes_rotated", value=float(sum(log.size for log in turned)), unit="bytes")
    was = {one.path for log, _ in pairs for one in hand.old(log)}
    there = {one.path for _, found in pairs for one in hand.old(found)}
    gone = [one for log, _ in pairs for one in hand.old(log) if not {one.path, hand.place(log, one)} & there]
    yield Metric(name="removed", value=float(len(gone)), unit="count")
    yield Metric(name="generations", value=float(len(there)), unit="count")
    sizes = [one.size for _, found in pairs for one in hand.old(found)]
    yield Metric(name="generations_bytes", value=float(sum(sizes)), unit="bytes")
    yield from _packing(hand, pairs, was)
    yield from _ages(hand, now, pairs)
    yield from _room(hand, now, pairs)


def _is_turned(hand: Hand, log: Log, found: Log) -> bool:
    old = {one.moment for one in hand.old(log)}
    fresh = any(one.moment not in old for one in hand.old(found))
    return fresh and (hand.params.method != "rename" or found.inode != log.inode)


def _packing(hand: Hand, pairs: list[tuple[Log, Log]], was: set[str]) -> Iterator[Metric]:
    """How much smaller: only logs that were rotated by a rename are known in both sizes."""
    plain = packed = 0
    for log, found in pairs if hand.params.compress != "none" else ():
        fresh = [one for one in hand.old(found) if one.path not in was and not one.plain]
        new = [one for one in fresh if one.moment not in {old.moment for old in hand.old(log)}]
        if log in hand.due and len(new) == 1:
            plain, packed = plain + log.size, packed + new[0].size
    if packed:
        yield Metric(name="compression_ratio", value=round(plain / packed, 2), unit="ratio")


def _ages(hand: Hand, now: Logs, pairs: list[tuple[Log, Log]]) -> Iterator[Metric]:
    ages = [now.now - one.modified for _, found in pairs for one in hand.old(found)]
    if ages:
        yield Metric(name="oldest_generation_age", value=float(max(ages)), unit="s")
    if growth := [rate for log, _ in pairs if (rate := _growth(hand, log)) is not None]:
        yield Metric(name="growth", value=round(sum(growth) * _DAY, 1), unit="bytes/day")


def _growth(hand: Hand, log: Log) -> float | None:
    """Bytes a second since the last rotation; None: it was never rotated, or just now."""
    age = hand.age(log)
    return log.size / age if age and age > 0 else None


def _room(hand: Hand, now: Logs, pairs: list[tuple[Log, Log]]) -> Iterator[Metric]:
    if not pairs:
        return
    log, found = min(pairs, key=lambda pair: pair[1].free)
    freed = found.free - log.free
    yield Metric(name="bytes_freed", value=float(freed), unit="bytes")
    room = found.room
    if room["total"]:
        yield Metric(name="free_percent", value=round(100 * room["free"] / room["total"], 1), unit="percent")
    if room["inodes"]:
        percent = round(100 * room["inodes_free"] / room["inodes"], 1)
        yield Metric(name="inodes_free_percent", value=percent, unit="percent")
    held = sum(int(one["size"]) for one in now.deleted or hand.found.deleted)
    yield Metric(name="deleted_open_bytes", value=float(held), unit="bytes")


# -- findings ---------------------------------------------------------------------------------------------


def findings(
    hand: Hand, now: Logs, metrics: Mapping[str, Metric], thresholds: Mapping[str, float]
) -> Iterator[Finding]:
    """What should not stay as it is."""
    yield from _left(hand)
    yield from _lossy(hand)
    yield from _attributes(hand, now)
    yield from _open(hand)
    yield from _others(hand)
    yield from _disk(hand, now, metrics, thresholds)


def _left(hand: Hand) -> Iterator[Finding]:
    for doubt in hand.doubts:
        severity = Severity.INFO if doubt.code == "no_match" else Severity.WARNING
        yield _finding(
            severity,
            "log_not_rotated",
            f"{doubt.path} was left alone: it {doubt.text}",
            "Put it right, or name it in exclude.",
            reason=doubt.code,
            path=doubt.path,
        )


def _lossy(hand: Hand) -> Iterator[Finding]:
    if hand.params.may_lose_lines and hand.due:
        names = ", ".join(log.path for log in hand.due)
        text = f"lines that were written to {names} while it was truncated may be lost"
        yield _finding(Severity.WARNING, "may_lose_lines", text, "Let the writer reopen its log, and use rename.")


def _attributes(hand: Hand, now: Logs) -> Iterator[Finding]:
    """The new file is made with those of the old one; nginx gives it to its workers when it opens it."""
    for log in hand.due:
        found = now.log(log.path)
        was = f"{log.owner}:{log.group} {log.mode}"
        if found and found.inode and was != (given := f"{found.owner}:{found.group} {found.mode}"):
            text = f"{log.path} was {was} and is {given}: its writer changed that"
            advice = "See that whoever reads the log still can."
            yield _finding(Severity.INFO, "attributes_changed", text, advice, path=log.path)


def _open(hand: Hand) -> Iterator[Finding]:
    for log in hand.logs:
        for one in hand.old(log):
            if one.openers:
                text = f"{one.path} is open in {one.openers[0]}, so it is not removed: its room would not be won"
                advice = "Let that process go on to the newer files, or end it."
                yield _finding(Severity.INFO, "generation_open", text, advice, path=one.path)


def _others(hand: Hand) -> Iterator[Finding]:
    for gone in hand.found.deleted:
        text = f"{gone['path']} is deleted, and {gone['name']} (process {gone['pid']}) keeps its {gone['size']} bytes"
        yield _finding(Severity.WARNING, "deleted_but_open", text, "Let it open its log anew, or restart it.", **gone)
    ours = {log.path for log in hand.found.logs} | {one.path for log in hand.found.logs for one in log.generations}
    for size, path in hand.found.big:
        if size >= _BIG and path not in ours and path not in hand.found.managed:
            text = f"{path} has {size} bytes, and nobody rotates it"
            advice = "Add it to paths, or give it to logrotate."
            yield _finding(Severity.INFO, "unrotated_log", text, advice, path=path, size=size)


def _disk(hand: Hand, now: Logs, metrics: Mapping[str, Metric], thresholds: Mapping[str, float]) -> Iterator[Finding]:
    free = metrics.get("free_percent")
    limit = thresholds.get("disk_usage", 100.0)
    if free and free.value is not None and 100.0 - free.value > limit:
        text = f"the file system of the logs is {100.0 - free.value:.1f} percent full"
        advice = "Keep fewer rotated logs (log_retention_days, keep_most, min_free_percent), or enlarge it."
        yield _finding(Severity.WARNING, "disk_low", text, advice)
    growth = sum(rate for log in hand.logs if (rate := _growth(hand, log)) is not None) * _DAY
    least = min((found.free for log in hand.logs if (found := now.log(log.path)) and found.room["total"]), default=0)
    if growth and least / growth < _WEEK_DAYS:
        text = f"the logs grow by {growth:.0f} bytes a day: what is free lasts for {least / growth:.1f} days"
        yield _finding(Severity.WARNING, "logs_grow", text, "Log less, keep fewer rotated logs, or rotate more often.")
    ratio = metrics.get("compression_ratio")
    if ratio and ratio.value is not None and ratio.value < _RATIO:
        text = f"packing made the logs only {ratio.value:g} times smaller"
        yield _finding(Severity.INFO, "hardly_compressed", text, "Save the work with compress=none.")


def _finding(severity: Severity, code: str, message: str, advice: str, **evidence: object) -> Finding:
    return Finding(severity=severity, code=code, message=message, advice=advice, evidence=evidence)
