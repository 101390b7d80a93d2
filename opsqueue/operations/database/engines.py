"""The engine of a server: its module, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import opsqueue.operations.database.mysql as _mysql
import opsqueue.operations.database.postgresql as _postgresql
import opsqueue.operations.database.redis as _redis
import opsqueue.operations.database.sqlite as _sqlite
from opsqueue.facts.databases import Database
from opsqueue.model.plan import Step
from opsqueue.operations.database.hand import Hand


class Engine(Protocol):
    """What every engine does its own way."""

    def files(self, hand: Hand) -> tuple[str, ...]:
        """All artefacts of a backup."""
        ...

    def dump(self, hand: Hand, database: Database, directory: str) -> Iterator[Step]:
        """Dump one database into the directory, and count what is in it."""
        ...

    def beside(self, hand: Hand, directory: str) -> Iterator[Step]:
        """Dump what belongs to the server and to none of its databases."""
        ...

    def restore(self, hand: Hand, database: Database, position: int, number: int, directory: str) -> Iterator[Step]:
        """Restore to scratch, count, and leave nothing of it behind."""
        ...

    def compare(self, hand: Hand, database: Database, directory: str) -> Step:
        """Fails unless the copy is what its source was."""
        ...


ENGINES: Mapping[str, Engine] = {"postgresql": _postgresql, "mysql": _mysql, "redis": _redis, "sqlite": _sqlite}
TOOLS: Mapping[str, tuple[str, ...]] = {
    "postgresql": ("psql", "pg_dump", "pg_restore"),
    "mysql": (),
    "redis": ("redis-cli",),
    "sqlite": ("sqlite3",),
}
"""What a backup needs on the host."""


def drop(hand: Hand, name: str) -> Step:
    """Drop a scratch database that was left behind."""
    return _mysql.drop(hand, name) if hand.server.engine == "mysql" else _postgresql.drop(hand, name)
