"""The receiver of webhooks: listens where it is told, and ends in peace; what it takes is in the record at once."""

from __future__ import annotations

import ipaddress
import logging
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from opsqueue import telemetry
from opsqueue.errors import DatabaseUnreachable, InvalidConfig, InvalidRequest, OpsqueueError
from opsqueue.pipeline.alert_intake import MOST_BYTES, receive
from opsqueue.pipeline.alert_links import ack_key
from opsqueue.secrets import SecretRef
from opsqueue.settings import Settings
from opsqueue.store import presence
from opsqueue.store.engine import Store
from opsqueue.tasks.receiver_ack import Links
from opsqueue.tasks.receiver_door import Door, Limits
from opsqueue.tasks.receiver_http import HOOK

LEAST_TOKEN = 16
"""Characters."""
_PLACE = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<name>[^:\[\]\s]+)):(?P<port>\d{1,5})")
_LOOK_S = 0.2
"""Seconds between two looks at whether to end."""
_MOST_PORT = 65_535
_log = logging.getLogger("opsqueue.alerts")


def listen(settings: Settings, where: str, *, token_file: str | None, tell: Callable[[str], None]) -> int:
    """Take webhooks until SIGTERM or SIGINT; InvalidRequest when it may not, or cannot, listen there."""
    token = the_token(settings, token_file)
    family, address = place(where, guarded=bool(token))
    telemetry.configure(
        settings.log_dir,
        form=settings.logging.format,
        level=settings.logging.level,
        stderr=sys.stderr is not None and sys.stderr.isatty(),
    )
    key, limits = ack_key(settings), Limits(most_bytes=MOST_BYTES)
    record = _Record(settings)
    links = Links(key, record.store) if key else None
    try:
        door = Door(address, family, token=token, take=record.take, look=record.look, links=links, limits=limits)
    except OSError as error:
        raise InvalidRequest(f"nothing can listen on {where}: {error.strerror or error}") from None
    with record, door:
        _serve(door, record, tell)
    return 0


def _serve(door: Door, record: _Record, tell: Callable[[str], None]) -> None:
    asked: list[int] = []

    def end(number: int, _frame: object) -> None:
        asked.append(number)  # no lock is taken: the main thread, which it interrupts, may hold that

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    thread = threading.Thread(target=_until_it_ends, args=(door,), name="opsqueue-receiver", daemon=True)
    thread.start()
    try:
        record.look()
    except DatabaseUnreachable as error:
        tell(f"{error.message} Until then callers are told to try again.")
    tell(f"webhooks of Alertmanager are taken at http://{_shown(door.server_address)}{HOOK}")
    while thread.is_alive() and not asked:
        # Another thread may get the signal, and nothing wakes this one then, which alone may act on it.
        thread.join(_LOOK_S)
    if not asked:
        raise OpsqueueError("the receiver ended by itself; its log says why")
    door.shutdown()
    thread.join()
    if door.callers:
        _log.warning("the receiver ends while somebody is still being heard; they will try again")


def _until_it_ends(door: Door) -> None:
    try:
        door.serve_forever()
    except Exception:  # noqa: BLE001  # it is the thread's last word; the main thread says that it ended
        _log.exception("ERROR in the receiver of webhooks")


class _Record:
    """The record, which may be away for a time."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database
        self._store = Store(self._url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def store(self) -> Store:
        """The record, which is there; DatabaseUnreachable."""
        self._there()
        return self._store

    def take(self, body: bytes) -> int:
        """Write a webhook down; returns how many alerts changed."""
        changed = receive(self.store(), body)
        _log.info("a webhook of Alertmanager: %d alerts changed", changed)
        return changed

    def look(self) -> None:
        """DatabaseUnreachable where nothing could be written now."""
        with self.store().read() as connection:
            if not presence.written(connection):
                raise DatabaseUnreachable("the database has no tables of ours: `opsqueue db upgrade` makes them.")

    def _there(self) -> None:
        # SQLite would make an empty file where there is none.
        if presence.missing(self._url):
            raise DatabaseUnreachable("there is no record yet: `opsqueue up` or `opsqueue db upgrade` makes it.")


def the_token(settings: Settings, file: str | None) -> str:
    """What callers must show; empty: nothing. Raises InvalidConfig where it cannot be read, or is too short."""
    ref = SecretRef.model_validate({"$secret": f"file:{Path(file)}"}) if file else settings.alerts.receive_token
    if ref is None:
        return ""
    token = ref.resolve().strip()
    if len(token) < LEAST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        raise InvalidConfig(
            f"the token of {ref.ref} has at least {LEAST_TOKEN} ASCII characters and no space: "
            "`openssl rand -hex 32` makes one"
        )
    return token


def place(where: str, *, guarded: bool) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """The address to listen on, of HOST:PORT; InvalidRequest where others reach it and no token guards it."""
    found = _PLACE.fullmatch(where)
    if found is None or int(found["port"]) > _MOST_PORT:
        raise InvalidRequest(
            f"wanted HOST:PORT to listen on, such as 127.0.0.1:9095 or [::1]:9095; found {where[:80]!r}"
        )
    host = found["six"] or found["name"]
    try:
        known = socket.getaddrinfo(host, int(found["port"]), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InvalidRequest(f"no address is known for {host[:80]!r}: {error}") from None
    family, _, _, _, address = known[0]
    if not guarded and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise InvalidRequest(
            f"{host} can be reached from other machines: give --token-file, or alerts.receive_token in the "
            "configuration, or listen on 127.0.0.1"
        )
    return family, address


def _shown(address: Any) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
