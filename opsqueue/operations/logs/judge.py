"""Whether the logs are as they should be afterwards, what leads back, and whether that was reached."""

from __future__ import annotations

from collections.abc import Iterator

from opsqueue.facts.logs import Generation, Log, Logs
from opsqueue.model.plan import Plan, Step
from opsqueue.operations.logs import steps
from opsqueue.operations.logs.hand import Hand


def verify(hand: Hand, now: Logs) -> Iterator[str]:
    """Problems, in words; `hand` holds what was found before."""
    for log in hand.logs:
        found = now.log(log.path)
        if found is None or not found.inode:
            yield f"{log.path} is gone"
            continue
        yield from _rotated(hand, log, found) if log in hand.due else ()
        yield from _whole(hand, log, found)
    yield from _room(hand, now)


def _rotated(hand: Hand, log: Log, found: Log) -> Iterator[str]:
    renamed = hand.params.method == "rename"
    if (renamed and found.inode == log.inode) or not _new(log, found):
        yield f"{log.path} was not rotated"


def _new(log: Log, found: Log) -> list[Generation]:
    """Generations that were not there before."""
    old = {_stem(one) for one in log.generations if one.inode != log.inode}
    return [one for one in found.generations if _stem(one) not in old]


def _stem(one: Generation) -> str:
    return one.path.rpartition("/")[2].rpartition("Z")[0]


def _whole(hand: Hand, log: Log, found: Log) -> Iterator[str]:
    yield from (f"{path} is left of something that was begun" for path in found.begun)
    yield from (f"{one.path} and {log.path} are the same file" for one in hand.twins(found))
    for one in found.generations:
        if one.inode == found.inode:
            continue
        if hand.is_stuck(one):
            yield f"{one.path} is still written by {one.writers[0]}: it did not open its log anew"
        elif hand.is_waiting(found, one) and not hand.params.writer_reopens:
            yield f"{one.path} lies there unpacked, and whole"
    yield from _kept(hand, log, found)


def _kept(hand: Hand, log: Log, found: Log) -> Iterator[str]:
    """Every older one is there, save those that were to go."""
    there = {one.path for one in found.generations}
    stems = {_stem(one) for one in found.generations}
    may_go = {_stem(one) for _log, one in hand.for_room if _log is log}
    must_go = {_stem(one) for _log, one in hand.expired if _log is log}
    for one in hand.old(log):
        stem = _stem(one)
        if stem in must_go and {one.path, hand.place(log, one)} & there:
            yield f"{one.path} should have been removed"
        elif stem not in must_go | may_go | stems:
            yield f"{one.path} is gone, and nothing was to remove it"


def _room(hand: Hand, now: Logs) -> Iterator[str]:
    least, told = hand.params.min_free_percent, set()
    for log in hand.logs if least else ():
        found = now.log(log.path)
        room = found.room if found else None
        if room and room["free"] * 100 < room["total"] * least and log.directory not in told:
            told.add(log.directory)
            holds = [f"{one['path']} (deleted, {one['size']} bytes, open in {one['name']})" for one in now.deleted]
            holds += [f"{path} ({size} bytes)" for size, path in now.big]
            what = f"; what takes room: {', '.join(holds[:5])}" if holds else ""
            yield f"{log.directory} has {room['free']} of {room['total']} bytes free, wanted {least} percent{what}"


# -- the way back -----------------------------------------------------------------------------------------


def rollback(hand: Hand, now: Logs) -> Plan:
    """Renamed logs whose writers did not go over get their names back; what was begun is removed."""
    pairs = [pair for log in hand.due if (pair := _returning(hand, log, now)) is not None]
    begun = [log for log in hand.logs if (found := now.log(log.path)) and (found.begun or hand.twins(found))]
    made = tuple(_back(hand, pairs, begun))
    if made:
        return Plan(steps=made, note="back to the logs as they were, or as whole as they are")
    return Plan(note="nothing is half done; a log whose writer went over to the new file stays rotated")


def _back(hand: Hand, pairs: list[tuple[Log, Generation]], begun: list[Log]) -> Iterator[Step]:
    yield from steps.back(hand, pairs, "give the old logs their names back")
    touched = [log for log in hand.logs if log in begun or any(log is one for one, _ in pairs)]
    if pairs:
        yield steps.waited(hand, touched, 2)
    yield from steps.tidied(hand, touched)


def _returning(hand: Hand, log: Log, now: Logs) -> tuple[Log, Generation] | None:
    """The renamed log, if nothing was written to the new one yet."""
    found = now.log(log.path)
    if hand.params.method != "rename" or found is None:
        return None
    renamed = next((one for one in found.generations if one.inode == log.inode), None)
    if renamed is None or (found.inode and found.inode != log.inode and (found.size or found.writers)):
        return None
    return log, renamed


def restored(hand: Hand, now: Logs) -> Iterator[str]:
    """What is still half done after the way back: a log is as it was, or rotated and whole."""
    for log in hand.logs:
        found = now.log(log.path)
        if found is None or not found.inode:
            yield f"{log.path} is gone: look for it in {log.directory}, under a name that begins with {_name(log)}-"
            continue
        yield from (f"{path} is still there: compare it with {log.path} and remove it" for path in found.begun)
        yield from (f"{one.path} and {log.path} are the same file: remove the first" for one in hand.twins(found))
        lost = hand.params.method == "rename" and found.inode != log.inode and not _new(log, found)
        if lost and log in hand.due:
            yield f"what {log.path} held was not found: look at {log.directory}"


def _name(log: Log) -> str:
    return log.path.rpartition("/")[2]
