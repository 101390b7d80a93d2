"""What people change in files beside the record, written into its history too: who did what, and with which key."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from opsqueue.cli.output import note
from opsqueue.cli.record import opened
from opsqueue.client import actor
from opsqueue.errors import DatabaseUnreachable
from opsqueue.model.host import Host
from opsqueue.model.record import Event
from opsqueue.settings import Settings
from opsqueue.store import events
from opsqueue.store.engine import Store

Tell = Callable[[str, str, str, Mapping[str, Any]], None]
"""Takes the kind of a line, its host, its message and its data."""


@contextmanager
def history(settings: Settings) -> Iterator[Tell]:
    """Appends a line at a time; nothing, where there is no record yet.

    The change itself is done by then: a record that cannot be written is said on stderr, and takes nothing back.
    """
    with ExitStack() as stack:
        store = _record(settings, stack)

        def tell(kind: str, host: str, message: str, data: Mapping[str, Any]) -> None:
            line = Event(
                operation_id=None, at=time.time(), kind=kind, host=host, actor=actor(), message=message, data=data
            )
            try:
                if store is not None:
                    with store.begin() as tx:
                        events.append(tx, [line])
            except DatabaseUnreachable as error:
                _missing(error)

        yield tell


def described(host: Host) -> dict[str, Any]:
    """How a host was reached, as the history keeps it."""
    kept = {"connector", "address", "port", "user", "key_file", "certificate_file", "gateway"}
    return host.model_dump(mode="json", include=kept)


def _record(settings: Settings, stack: ExitStack) -> Store | None:
    try:
        return stack.enter_context(opened(settings))
    except DatabaseUnreachable as error:
        _missing(error)
        return None


def _missing(error: DatabaseUnreachable) -> None:
    note(f"this is not in the history: {error.message}")
