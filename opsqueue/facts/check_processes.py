"""The fact behind process checks: which processes of the host match, how many, how old."""

from __future__ import annotations

import re
from typing import Any, Literal

from opsqueue.facts.checks import ending
from opsqueue.model.fact import Fact, Script, unknown
from opsqueue.model.plan import Result

_MARK = "opsqueue-process-check"
"""Stands beside the pattern in the arguments of our own shells, so that they are not counted as a match."""

_PROCESS = r"""
how=$2; wanted=$3
case $how in name) column=comm ;; *) column=args ;; esac
list=$(ps -A -ww -o pid= -o stat= -o etime= -o "$column=" 2>/dev/null) ||
  list=$(ps -w -o "pid,stat,etime,$column" 2>/dev/null) || list=$(ps -o "pid,stat,etime,$column" 2>/dev/null) ||
  list=$(ps -o "pid,stat,$column" | sed 's/^ *[^ ]* *[^ ]*/& ?/') || exit 3
case $list in *[0-9]*) ;; *) exit 3 ;; esac
if [ "$how" = pidfile ]; then
  [ -r "$wanted" ] || { [ -e "$wanted" ] && exit 4; exit 0; }
  read -r pid rest <"$wanted" || :
  case $pid in '' | *[!0-9]*) exit 0 ;; esac
  wanted="^ *$pid "
elif [ "$how" = cmdline ]; then
  # A line to read, because a small grep looks at its pattern only then; complaints go to stderr.
  [ -z "$(echo line | grep -E -e "$wanted" 2>&1 >/dev/null)" ] || exit 5
fi
[ "$how" = name ] && { printf '%s\n' "$list"; exit 0; }
if [ "$how" = pidfile ]; then printf '%s\n' "$list" | grep -e "$wanted"; exit 0; fi
list=$(printf '%s\n' "$list" | grep -v -e "$1")
matched=$(printf '%s\n' "$list" | sed 's/^ *[^ ]* *[^ ]* *[^ ]* *//' | grep -n -E -e "$wanted" | sed 's/:.*/p/')
printf '%s\n' "$list" | sed -n "$matched" | cut -c 1-300
exit 0
"""


def process_fact(name: str, *, how: Literal["name", "cmdline", "pidfile"], wanted: str, seconds: int) -> Fact:
    """`{"count", "zombies", "stuck", "youngest_s", "oldest_s", "pids"}` of the processes that match.

    `name` is the program's name, `cmdline` an extended regular expression, `pidfile` an absolute path. Zombies are
    counted apart; stuck are those in uninterruptible sleep.
    """
    ask = Script(text=_PROCESS, args=(_MARK, how, wanted), timeout=seconds)
    return Fact(name=name, ask=ask, parse=lambda raw: _processes(raw, how, wanted), about=f"process {how} {wanted}")


def _processes(raw: Result, how: str, wanted: str) -> dict[str, Any]:
    problem = _process_problem(raw, wanted)
    if problem:
        return unknown(problem)
    rows = [row for line in raw.stdout.splitlines() if (row := _row(line))]
    if how == "name":
        rows = [row for row in rows if _named(row[3], wanted)]
    alive = [row for row in rows if not row[1].startswith("Z")]
    ages = [row[2] for row in alive if row[2] is not None]
    return {
        "count": len(alive),
        "zombies": len(rows) - len(alive),
        "stuck": sum(row[1].startswith("D") for row in alive),
        "youngest_s": min(ages, default=None),
        "oldest_s": max(ages, default=None),
        "pids": [row[0] for row in rows[:20]],
    }


def _process_problem(raw: Result, wanted: str) -> str | None:
    reasons = {
        3: "ps does not work on this host",
        4: f"the pid file {wanted} cannot be read",
        5: f"{wanted!r} is no regular expression for grep -E on this host",
    }
    if raw.exit_code == 0:
        return None
    return reasons.get(raw.exit_code or -1, ending(raw))


def _row(line: str) -> tuple[int, str, int | None, str] | None:
    parts = line.split(None, 3)
    if len(parts) < 4 or not parts[0].isdigit():  # noqa: PLR2004 - pid, state, age, text
        return None
    return int(parts[0]), parts[1], _seconds(parts[2]), parts[3].removesuffix(" <defunct>")


def _seconds(etime: str) -> int | None:
    """`[[days-]hours:]minutes:seconds`; `None` where a small ps tells it otherwise or not at all."""
    if not re.fullmatch(r"(\d+-)?(\d+:){1,2}\d+", etime):
        return None
    days, _, clock = etime.rpartition("-")
    total = 0
    for part in clock.split(":"):
        total = total * 60 + int(part)
    return int(days or 0) * 86_400 + total


def _named(found: str, wanted: str) -> bool:
    return found == wanted or (len(wanted) > 15 and found == wanted[:15])  # noqa: PLR2004 - the kernel keeps 15
