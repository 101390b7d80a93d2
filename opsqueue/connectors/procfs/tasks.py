"""The processes of a host."""

from __future__ import annotations

from collections.abc import Sequence

from opsqueue.connectors.processes import NAME_MOST, Process, Table
from opsqueue.connectors.procfs.answer import STAT, STATUS, Answer, Lines

TICKS_S = 100.0
"""The kernel counts time for programs in hundredths of a second on everything but Alpha."""

_USER, _SYSTEM, _START = 11, 12, 19
"""Words after the name."""


def table_of(answer: Answer, lines: Lines) -> Table:
    """All processes of one sample; ValueError when it has none."""
    users, memory = _owners(lines.get(STATUS, ()))
    names = dict(line.split(" ", 1) for line in answer.first["@user"])
    rows = {}
    for pid, text in _texts(answer.lines(STAT, lines)).items():
        # A name may hold a bracket, so only the last one is its end.
        before, _bracket, after = text.rpartition(") ")
        words = after.split(" ")
        uid = users.get(pid)
        # Of a name full of blanks the line was cut off before the start.
        start = float(words[_START]) if len(words) > _START else 0.0
        rows[int(pid), start] = Process(
            name=before.partition(" (")[2][:NAME_MOST],
            state=words[0],
            user=None if uid is None else names.get(uid, uid),
            spent_s=(int(words[_USER]) + int(words[_SYSTEM])) / TICKS_S,
            memory_bytes=None if uid is None else memory.get(pid, 0),
        )
    return Table(rows, int(answer.lines("@tasks", lines)[0]))


def _texts(lines: Sequence[str]) -> dict[str, str]:
    """The text by pid; a name with a newline has made several lines of it."""
    texts: dict[str, list[str]] = {}
    for line in lines:
        pid, _blank, content = line.partition(" ")
        texts.setdefault(pid, []).append(content)
    return {pid: "\n".join(contents) for pid, contents in texts.items()}


def _owners(lines: Sequence[str]) -> tuple[dict[str, str], dict[str, int]]:
    """User ids and bytes in memory by pid."""
    rows = [line.split() for line in lines]
    users = {pid: value for pid, label, value, *_more in rows if label == "Uid:"}
    return users, {pid: int(value) * 1024 for pid, label, value, *_more in rows if label == "VmRSS:"}
