"""The script of a reading with the arguments that say what is asked."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from opsqueue.connectors.procfs.text import READING
from opsqueue.connectors.reading import SUBJECTS, options_of
from opsqueue.model.fact import Script

_TIMEOUT_S = 30
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


def _wider(patterns: Iterable[str]) -> list[str]:
    """Patterns that match at least as much in every shell."""
    return [
        f"{_DIFFERENT.split(pattern, maxsplit=1)[0]}*" if _DIFFERENT.search(pattern) else pattern
        for pattern in patterns
    ]


def _same(patterns: Iterable[str]) -> list[str]:
    """Those that match the same in every shell; what the others exclude is left out of the answer."""
    return [pattern for pattern in patterns if not _DIFFERENT.search(pattern)]
