"""Open the record for commands that only read; they never make one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opsqueue.errors import DatabaseUnreachable, NotFound
from opsqueue.settings import Settings
from opsqueue.store import operations, presence
from opsqueue.store.engine import Store


@contextmanager
def opened(settings: Settings) -> Iterator[Store | None]:
    """The record, or None when there is none yet; DatabaseUnreachable when it cannot be told."""
    url = settings.database
    if presence.missing(url):
        yield None
        return
    store = Store(url)
    try:
        with store.read() as connection:
            there = presence.written(connection)
        yield store if there else None
    finally:
        store.close()


@contextmanager
def needed(settings: Settings) -> Iterator[Store]:
    """The record; DatabaseUnreachable when there is none yet."""
    with opened(settings) as store:
        if store is None:
            raise DatabaseUnreachable(no_record(settings))
        yield store


@contextmanager
def one(settings: Settings, prefix: str) -> Iterator[tuple[Store, str]]:
    """The record and the whole id of the operation that `prefix` begins; NotFound or Conflict otherwise."""
    with opened(settings) as store:
        if store is None:
            raise NotFound(f"there is no operation {prefix[:80]!r}: {no_record(settings)}")
        with store.read() as connection:
            operation_id = operations.resolve(connection, prefix)
        yield store, operation_id


def no_record(settings: Settings) -> str:
    """That there is none, and the commands that make one."""
    path = presence.file_of(settings.database)
    where = f"at {path}" if path else "in the database of database_url"
    return f"there is no record yet {where}; `opsqueue up` or `opsqueue db upgrade` makes it"
