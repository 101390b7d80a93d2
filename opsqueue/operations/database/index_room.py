"""Whether the disk has room for an index that is built beside the old one, or beside its table."""

from __future__ import annotations

from collections.abc import Iterator

from opsqueue.facts.databases import Server
from opsqueue.operations.database.tuning_rules import readable

_TIMES = 2
"""The new one itself, and what is sorted and logged meanwhile."""


def about_room(server: Server, size: int, what: str) -> Iterator[str]:
    """The refusal where `size` bytes, twice, are not free on the disk of a PostgreSQL's data; unknown: none."""
    free = next((row[1] for row in server.detail if row[0] == "room" and len(row) > 1), "")
    need = _TIMES * size
    if free.isdigit() and int(free) < need:
        has = f"the disk of the data directory has {readable(int(free))} free"
        yield f"{has}, and {what} may need {readable(need)}, twice its size; make room, or choose less"
