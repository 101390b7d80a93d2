"""The steps of a rotation: what is sent, and as whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from opsqueue.facts.logs import Generation, Log
from opsqueue.model.plan import Command, Plan, Step
from opsqueue.operations.logs import scripts
from opsqueue.operations.logs.hand import SUFFIX, Hand

_LEVELS = {"gzip": 6, "zstd": 3, "xz": 6, "none": 0}


def plan(hand: Hand) -> Plan:
    """All steps, in order; the first that fails stops the rest."""
    made = tuple(_steps(hand))
    if made:
        return Plan(steps=made, note=", ".join(_notes(hand)))
    return Plan(note=_why_nothing(hand))


def _notes(hand: Hand) -> Iterator[str]:
    if hand.due:
        yield f"rotate {_named(log.path for log in hand.due)}"
    if waiting := [one.path for log in hand.stored for one in log.generations if hand.is_waiting(log, one)]:
        yield f"store {_named(waiting)}"
    if gone := [one.path for _log, one in hand.expired]:
        yield f"remove {_named(gone)}"
    if hand.for_room:
        yield f"make room until {hand.params.min_free_percent} percent are free"


def _named(paths: Iterable[str]) -> str:
    names = list(paths)
    return ", ".join(names) if len(names) < 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"  # noqa: PLR2004


def _why_nothing(hand: Hand) -> str:
    if not hand.logs:
        return "no log is to be rotated here"
    return f"nothing is due: {_named(log.path for log in hand.logs)}"


def _steps(hand: Hand) -> Iterator[Step]:
    yield from _healed(hand)
    if hand.is_tight:
        yield from _removed(hand, stored=False)
    yield from _copied(hand) if hand.params.method == "copytruncate" else _renamed(hand)
    yield from _stored(hand)
    if not hand.is_tight:
        yield from _removed(hand, stored=True)


def _healed(hand: Hand) -> Iterator[Step]:
    """What a run left that nobody could lead back: the host went down."""
    pairs = [(log, one) for log in hand.unfinished for one in hand.twins(log)]
    yield from back(hand, pairs, "undo what an interrupted rotation left")
    yield from tidied(hand, hand.unfinished)


def _renamed(hand: Hand) -> Iterator[Step]:
    if not hand.due:
        return
    for actor, logs in by_actor(hand, hand.due):
        yield _script(hand, "rename the logs and put new ones in their place", scripts.ROTATE, *_paths(logs), as_=actor)
    yield from _reopened(hand)
    if not hand.params.writer_reopens:
        yield waited(hand, hand.due, hand.params.reopen_timeout_seconds)


def waited(hand: Hand, logs: Sequence[Log], seconds: int) -> Step:
    """Looks as root, who alone sees the descriptors of everybody."""
    title = "wait until nobody writes to the renamed logs"
    return _script(hand, title, scripts.WAIT, str(seconds), *_paths(logs), timeout=seconds + 60)


def _reopened(hand: Hand) -> Iterator[Step]:
    how, title = hand.params.reopen, "tell the writer to open its log anew"
    if how is None:
        return
    if how.pid_file:
        yield _script(hand, title, scripts.SIGNAL, how.signal, how.pid_file)
    elif how.unit:
        yield _step(hand, title, "systemctl", "kill", "--kill-who=main", f"--signal={how.signal}", "--", how.unit)
    else:
        yield _step(hand, title, *how.command)


def _copied(hand: Hand) -> Iterator[Step]:
    how = "loose" if hand.params.may_lose_lines else "exact"
    title = {"exact": "copy the logs and cut what was copied", "loose": "copy the logs and truncate them"}[how]
    for actor, logs in by_actor(hand, hand.due):
        yield _script(hand, title, scripts.COPY, how, *_paths(logs), as_=actor)


def _stored(hand: Hand) -> Iterator[Step]:
    params = hand.params
    codec, level = params.compress, params.level or _LEVELS[params.compress]
    title = "pack the rotated logs, compare, and remove the originals"
    for actor, logs in by_actor(hand, hand.stored):
        if params.archive_dir:
            owner = ("-o", actor) if actor != _self(hand) else ()
            yield _step(hand, "make the archive", "mkdir", "-p", "-m", "0755", "--", params.archive_dir)
            for one in sorted({hand.room_for(log) for log in logs}):
                yield _step(hand, "make its place in the archive", "install", "-d", "-m", "0750", *owner, "--", one)
        words = (codec, str(level), SUFFIX[codec], params.archive_dir, *_to_store(hand, logs))
        yield _script(hand, title, scripts.STORE, *words, as_=actor)


def _to_store(hand: Hand, logs: Sequence[Log]) -> list[str]:
    """The logs, for all that was renamed; where nobody is told to reopen, only what was seen to be let go of."""
    if not hand.params.writer_reopens:
        return _paths(logs)
    return [one.path for log in logs for one in log.generations if hand.is_waiting(log, one)]


def _removed(hand: Hand, *, stored: bool) -> Iterator[Step]:
    days, least = hand.params.log_retention_days, hand.params.min_free_percent
    for title, free, pairs in (
        (f"remove rotated logs that are older than {days} days, or too many", "", hand.expired),
        (f"remove the oldest rotated logs until {least} percent are free", str(least), hand.for_room),
    ):
        for actor, group in _by_actor(hand, pairs):
            paths = [hand.place(log, one) if stored else one.path for log, one in group]
            yield _script(hand, title, scripts.REMOVE, free, *paths, as_=actor)


# -- the way back -----------------------------------------------------------------------------------------


def looked(hand: Hand) -> Step:
    """Shows what is there, where nothing else is known; changes nothing."""
    places = sorted({log.directory for log in hand.logs})
    return _step(hand, "see what is there", "ls", "-lai", "--", *places)


def back(hand: Hand, pairs: Sequence[tuple[Log, Generation]], title: str) -> Iterator[Step]:
    """Give the old files their names again."""
    for actor, group in _by_actor(hand, pairs):
        words = [word for log, one in group for word in (log.path, one.path)]
        yield _script(hand, title, scripts.BACK, *words, as_=actor)


def tidied(hand: Hand, logs: Sequence[Log]) -> Iterator[Step]:
    """Remove what was begun, and keep what holds lines."""
    for actor, group in by_actor(hand, logs):
        title = "remove what was begun"
        yield _script(hand, title, scripts.TIDY, hand.params.archive_dir, *_paths(group), as_=actor)


# -- as whom ----------------------------------------------------------------------------------------------


def by_actor(hand: Hand, logs: Sequence[Log]) -> list[tuple[str, list[Log]]]:
    """The logs, by whom to be in their directories."""
    ordered = sorted(logs, key=lambda log: (hand.actor(log), log.path))
    return [(actor, list(group)) for actor, group in groupby(ordered, key=hand.actor)]


def _by_actor(hand: Hand, pairs: Sequence[tuple[Log, Generation]]) -> list[tuple[str, list[tuple[Log, Generation]]]]:
    """Likewise; within each, the order stays."""
    ordered = sorted(pairs, key=lambda pair: hand.actor(pair[0]))
    return [(actor, list(group)) for actor, group in groupby(ordered, key=lambda pair: hand.actor(pair[0]))]


def _paths(logs: Iterable[Log]) -> list[str]:
    return [log.path for log in logs]


def _self(hand: Hand) -> str:
    return "root" if hand.params.sudo else hand.found.user


def _script(hand: Hand, title: str, text: str, *words: str, as_: str = "", timeout: int = 0) -> Step:
    become = ("runuser", "-u", as_, "--") if as_ and as_ != _self(hand) else ()
    return _step(hand, title, *become, "sh", "-c", text, "sh", *words, timeout=timeout)


def _step(hand: Hand, title: str, *argv: str, timeout: int = 0) -> Step:
    limit = timeout or hand.params.timeout_seconds
    return Step(title=title, command=Command(argv=argv, sudo=hand.params.sudo, timeout=limit))
