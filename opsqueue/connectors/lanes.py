"""Scripts of one round trip that may run side by side on the host, and the sh text that does it.

They are divided among a few lanes. In each lane they run one after another; the lanes run side by side, as one
pipeline: each keeps what it says until the lanes before it have told theirs. So nothing is mixed, and no file is
needed, on a host whose disk may be full or read-only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from opsqueue.model.fact import Script

Numbered = tuple[int, Script]
"""A script with its place among all of the round trip."""

_SPARE_S = 3.0
"""Seconds that a script may take beyond its own time limit, until it is ended for good."""

# A process that nothing can end (it waits for a disk) keeps its output open for ever; so each stream is read up to a
# line that says it is over, and not up to its end. What a shell itself has to say of strange bytes is dropped: nobody
# may read that pipe any more.
_LANE = """\
over() {
printf '\\n@@%s\\n' "$over"
printf '\\n@@%s\\n' "$over" >&2
}
lane() {
{
errors=$({
text=$({ "$1"; over; } </dev/null 2>&4 4>&- | sed "/^@@$over\\$/q")
cat
printf '%s\\n' "$text"
} 4>&1 2>/dev/null >&3 3>&- | sed "/^@@$over\\$/q")
printf '%s\\n' "$errors" >&2
} 3>&1
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Who runs when: first the row, then all lanes at once."""

    row: tuple[Numbered, ...]
    """One after another, nothing beside them."""
    lanes: tuple[tuple[Numbered, ...], ...] = ()

    @property
    def seconds(self) -> float:
        """The longest time that all of it can take."""
        return _longest(self.row) + max(map(_longest, self.lanes), default=0.0)


def divided(scripts: Sequence[Script]) -> Division:
    """The scripts in the row, and those in lanes; the longest limits are spread first, each where least waits."""
    numbered = list(enumerate(scripts))
    free = [one for one in numbered if one[1].beside > 1]
    count = min([len(free), *(script.beside for _number, script in free)])
    if count <= 1:
        return Division(row=tuple(numbered))
    lanes: list[list[Numbered]] = [[] for _ in range(count)]
    for one in sorted(free, key=lambda one: -one[1].timeout):
        min(lanes, key=_longest).append(one)
    return Division(row=tuple(one for one in numbered if one[1].beside <= 1), lanes=tuple(map(tuple, lanes)))


def side_by_side(lanes: Sequence[Sequence[str]], marker: str) -> list[str]:
    """The sh text that runs these lanes of commands."""
    if not lanes:
        return []
    # Everybody on the host can see it in `ps`; the marker, which says whose output it is, must stay unknown.
    over = hashlib.sha256(f"over {marker}".encode()).hexdigest()
    bodies = [line for number, lane in enumerate(lanes) for line in (f"lane_{number}() {{", *lane, "}")]
    pipeline = " | ".join(f"lane lane_{number}" for number in range(len(lanes)))
    return [f"over={over}", _LANE, *bodies, f": | {pipeline}"]


def _longest(scripts: Sequence[Numbered]) -> float:
    return sum(script.timeout + _SPARE_S for _number, script in scripts)
