"""The script of a reading with the arguments that say what is asked."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from opsqueue.connectors.procfs.text import READING
from opsqueue.connectors.reading import SUBJECTS, options_of
from opsqueue.model.fact import Script

_TIMEOUT_S = 30
_FEW_PROCESSES = 100
"""Of a host of which nothing is known yet."""
_DIFFERENT = re.compile(r"[\[\]\\\s]")
"""What a shell may take otherwise than fnmatch does, or what our list cannot hold."""


def reading_script(options: Mapping[str, Any]) -> Script:
    """The script with its arguments; an unknown option is a TypeError, a time that is none a ValueError."""
    wanted = options_of(options)
    known = [name for name in wanted.asked() if name in SUBJECTS]
    return Script(
        text=READING,
        args=(
            f" {' '.join(known)} ",
            f"{wanted.gap_s:.3f}".rstrip("0").rstrip(".") or "0",
            str(max(1, math.ceil(wanted.mount_timeout_s))),
            "\n".join(_wider(wanted.mounts_include)),
            "\n".join(_same(wanted.mounts_exclude)),
            f" {' '.join(_same(wanted.fstypes_exclude))} ",
            str(wanted.top_processes),
            str(wanted.samples - 1),
        ),
        timeout=_TIMEOUT_S,
    )


def reading_text(script: Script) -> str:
    """What is sent when nothing is asked beside it: the script behind its arguments."""
    return f"exec </dev/null\nset -- {shlex.join(script.args)}\n{script.text}"


def answer_bytes(options: Mapping[str, Any], processes: float | None) -> int:
    """About how long the answer will be, in bytes, on a host with so many processes; measured on a small one."""
    wanted = options_of(options)
    asked, looks = set(wanted.asked()), wanted.samples + 1 if wanted.gap_s else 1
    once = sum(size for size, subjects in _ONCE if asked & subjects)
    again = sum(size for size, subject in _AGAIN if subject in asked)
    each = 0 if "processes" not in asked else 150 if not wanted.top_processes else 340
    return 200 + once + again * looks + round(each * (_FEW_PROCESSES if processes is None else processes))


_ONCE: tuple[tuple[int, frozenset[str]], ...] = (
    (1900, frozenset({"memory", "swap", "host", "cgroup"})),
    (1300, frozenset({"host"})),
    (1400, frozenset({"cgroup"})),
    (2500, frozenset({"disk"})),
    (400, frozenset({"pressure"})),
)
"""Bytes of what is told once, and the subjects any of which takes it."""
_AGAIN = ((60, "cpu"), (800, "network"), (800, "io"))
"""Bytes of what is told in each sample."""


def _wider(patterns: Iterable[str]) -> list[str]:
    """Patterns that match at least as much in every shell."""
    return [
        f"{_DIFFERENT.split(pattern, maxsplit=1)[0]}*" if _DIFFERENT.search(pattern) else pattern
        for pattern in patterns
    ]


def _same(patterns: Iterable[str]) -> list[str]:
    """Those that match the same in every shell; what the others exclude is left out of the answer."""
    return [pattern for pattern in patterns if not _DIFFERENT.search(pattern)]
