"""Which logs are rotated, which are left and why, and which old ones go: decided from what was found, and no clock."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from opsqueue.facts.logs import Generation, Log, Logs
from opsqueue.operations.logs.params import LogRotationParams

_MB = 1 << 20
_DAY = 86_400
_JUST_NOW = 60
"""Seconds; a log that was rotated within them is not rotated again, whoever asks."""
_CUTS = {"ext2/ext3", "xfs"}
"""File systems (ext4 calls itself ext2/ext3) where the front of a file can be cut off in one call."""
SUFFIX = {"gzip": ".gz", "zstd": ".zst", "xz": ".xz", "none": ""}


def seconds_of(moment: str) -> int:
    """UNIX seconds of the moment in the name of a rotated log."""
    return calendar.timegm(time.strptime(moment, "%Y%m%dT%H%M%SZ"))


LEFT = {
    "link": "is a symbolic link, or lies behind one",
    "no_file": "is no regular file",
    "odd_name": "has characters in its name that no command here is given",
    "absent": "is not there",
    "no_match": "matches nothing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Why a log is not rotated."""

    path: str
    code: str
    text: str
    soft: bool = False
    """A pattern may fit such a file by chance: it is told, and refused only when it was named."""


@dataclass(frozen=True, kw_only=True)
class Hand:
    """What was found on one host, seen with the parameters."""

    params: LogRotationParams
    found: Logs

    # -- which ----------------------------------------------------------------------------------------------

    @cached_property
    def doubts(self) -> tuple[Doubt, ...]:
        """Every path that is left alone, with the reason."""
        left = (Doubt(path=path, code=code, text=LEFT[code], soft=True) for path, code in self.found.left_out)
        return (*left, *(doubt for log in self.found.logs for doubt in self._about(log)))

    @cached_property
    def logs(self) -> tuple[Log, ...]:
        """The logs that nothing speaks against."""
        doubted = {doubt.path for doubt in self.doubts}
        return tuple(log for log in self.found.logs if log.path not in doubted)

    def is_stuck(self, one: Generation) -> bool:
        """Whether somebody goes on writing to a renamed log; who reopens by itself may hold it until the next line."""
        if not one.plain or not one.writers:
            return False
        return not self.params.writer_reopens or one.modified > seconds_of(one.moment) + _JUST_NOW

    def actor(self, log: Log) -> str:
        """Whom to be in the directory of this log."""
        if not self.params.sudo:
            return self.found.user
        return self.params.run_as or log.actor

    def _about(self, log: Log) -> Iterator[Doubt]:
        if not log.inode:
            yield Doubt(path=log.path, code="absent", text=LEFT["absent"], soft=True)
            return
        if log.links > 1 and not self.twins(log):
            text = f"has {log.links} hard links: the lines may be wanted under another name too"
            yield Doubt(path=log.path, code="hard_link", text=text, soft=True)
        yield from self._about_actor(log)
        if log.path in self.found.managed and not self.params.allow_managed:
            text = f"is rotated by logrotate ({self.params.logrotate_config}): take it out there, or allow_managed=true"
            yield Doubt(path=log.path, code="managed", text=text)
        for one in self.old(log):
            if self.is_stuck(one):
                text = f"was renamed to {one.path}, and {one.writers[0]} still writes there: make it reopen its log"
                yield Doubt(path=log.path, code="still_written", text=text)
        yield from (self._about_copy(log) if self.params.method == "copytruncate" else self._about_reopen(log))

    def _about_actor(self, log: Log) -> Iterator[Doubt]:
        actor = self.actor(log)
        if actor.startswith("!"):
            text = f"cannot be rotated safely as root ({actor[2:]}, and could put a link there); name run_as"
            yield Doubt(path=log.path, code="unsafe", text=text)
        elif actor not in {"root", log.owner}:
            text = f"belongs to {log.owner}, and {actor} would have to rotate it; name run_as"
            yield Doubt(path=log.path, code="unsafe", text=text)

    def _about_reopen(self, log: Log) -> Iterator[Doubt]:
        params = self.params
        if log.writers and not params.reopen and not params.writer_reopens:
            text = f"is written by {log.writers[0]}: say with reopen how it opens its log anew, or writer_reopens=true"
            yield Doubt(path=log.path, code="no_reopen", text=text)

    def _about_copy(self, log: Log) -> Iterator[Doubt]:
        if log.free < log.size:
            text = f"has {log.size} bytes, and for a copy {log.free} are free"
            yield Doubt(path=log.path, code="no_room", text=text)
        if self.params.may_lose_lines:
            return
        if log.room["type"] not in _CUTS:
            text = f"lies on {log.room['type']}, where nothing can be cut from the front of a file: a copy and a"
            text = f"{text} truncation lose what is written between them; may_lose_lines=true accepts that"
            yield Doubt(path=log.path, code="may_lose_lines", text=text)
        for one in log.writers:
            if not one.appends:
                text = f"is written by {one} without O_APPEND: a hole would be left; may_lose_lines=true accepts that"
                yield Doubt(path=log.path, code="may_lose_lines", text=text)

    # -- now ------------------------------------------------------------------------------------------------

    @cached_property
    def due(self) -> tuple[Log, ...]:
        """The logs that are to be rotated now."""
        return tuple(log for log in self.logs if self.is_due(log))

    def is_due(self, log: Log) -> bool:
        """Whether it is old or large enough."""
        params, age = self.params, self.age(log)
        least = max(1, params.min_size_kb << 10)
        if params.method == "copytruncate" and not params.may_lose_lines:
            least = max(least, int(log.room["block"]) + 1)
        if log.size < least or (age is not None and abs(age) < _JUST_NOW):
            return False
        if params.force or age is None or age < 0 or age >= params.every_hours * 3600:
            return True
        return bool(params.max_size_mb) and log.size >= params.max_size_mb * _MB

    def age(self, log: Log) -> int | None:
        """Seconds since it was rotated, by the clock of the host; None: never."""
        moments = [one.moment for one in log.generations if one.inode != log.inode]
        if not moments:
            return None
        return self.found.now - seconds_of(max(moments))

    @cached_property
    def unfinished(self) -> tuple[Log, ...]:
        """Logs beside which an interrupted command left something."""
        return tuple(log for log in self.logs if log.begun or self.twins(log))

    @staticmethod
    def twins(log: Log) -> tuple[Generation, ...]:
        """Names that an interrupted rotation gave to the live log."""
        return tuple(one for one in log.generations if log.inode and one.inode == log.inode)

    # -- old ones -------------------------------------------------------------------------------------------

    @property
    def stores(self) -> bool:
        """Whether rotated logs are packed or moved."""
        return self.params.compress != "none" or bool(self.params.archive_dir)

    @cached_property
    def stored(self) -> tuple[Log, ...]:
        """Logs of which something is packed or moved."""
        if not self.stores:
            return ()
        due = () if self.params.writer_reopens else self.due
        waiting = {log.path for log in self.logs if any(self.is_waiting(log, one) for one in log.generations)}
        return tuple(log for log in self.logs if log in due or log.path in waiting)

    def is_waiting(self, log: Log, one: Generation) -> bool:
        """Whether it is still to be packed or moved."""
        beside = one.inode != log.inode and one.links == 1 and one.path.startswith(f"{log.directory}/")
        return self.stores and one.plain and beside and not one.writers

    def place(self, log: Log, one: Generation) -> str:
        """The path of a rotated log once it is packed and moved."""
        if not self.is_waiting(log, one):
            return one.path
        name = f"{one.path.rpartition('/')[2]}{SUFFIX[self.params.compress]}"
        return f"{self.room_for(log)}/{name}"

    def room_for(self, log: Log) -> str:
        """Where its rotated logs are kept: beside it, or in the archive, in a directory that root made for them."""
        archive = self.params.archive_dir
        return f"{archive}/{log.directory[1:].replace('/', ':')}" if archive else log.directory

    @cached_property
    def expired(self) -> tuple[tuple[Log, Generation], ...]:
        """What is too old or too much, the oldest first; what is open stays, for its room would not be won."""
        found = [(log, one) for log in self.logs for one in self._expired(log)]
        return tuple(sorted(found, key=lambda pair: (pair[1].moment, pair[1].path)))

    def old(self, log: Log) -> list[Generation]:
        """The rotated logs of a log, without what is the log itself, the oldest first."""
        return [one for one in log.generations if one.inode != log.inode]

    def _expired(self, log: Log) -> Iterator[Generation]:
        params, all_of_them = self.params, self.old(log)
        last = self.found.now - params.log_retention_days * _DAY
        count = len(all_of_them) + (log in self.due)
        total = sum(one.size for one in all_of_them)
        for one in all_of_them:
            many = bool(params.keep_most) and count > params.keep_most
            large = bool(params.max_total_mb) and total > params.max_total_mb * _MB
            if (one.modified < last or many or large) and not one.openers:
                yield one
                count, total = count - 1, total - one.size

    @cached_property
    def for_room(self) -> tuple[tuple[Log, Generation], ...]:
        """What may go beside that, the oldest first, until enough is free; empty where enough is."""
        least = self.params.min_free_percent
        tight = [log for log in self.logs if log.free * 100 < int(log.room["total"]) * least]
        gone = {one.path for _log, one in self.expired}
        found = [(log, one) for log in tight for one in self.old(log) if one.path not in gone and not one.openers]
        return tuple(sorted(found, key=lambda pair: (pair[1].moment, pair[1].path)))

    @property
    def is_tight(self) -> bool:
        """Whether room has to be made before anything can be packed."""
        need = max((log.size for log in self.stored), default=0)
        return any(log.free < need for log in self.stored)
