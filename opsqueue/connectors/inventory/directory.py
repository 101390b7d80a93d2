"""All places of the inventory as one, and kept up to date while a worker runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from opsqueue.connectors.inventory.place import Place
from opsqueue.connectors.inventory.reading import is_program, read_place
from opsqueue.errors import InvalidConfig, InvalidRequest, NotFound, OpsqueueError
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory, flattened, ways
from opsqueue.model.request import explain
from opsqueue.settings import Settings
from opsqueue.settings_parts import HostSettings

_log = logging.getLogger("opsqueue.inventory")
THIS_MACHINE = "this machine"
"""Where the one host is that there is when nobody names any."""
_LOOK_EVERY = 0.1
"""Seconds between two looks at whether files have changed."""


def read_inventory(settings: Settings) -> Inventory:
    """The inventory as it stands now; InvalidConfig names the place and what is wrong with it."""
    added = settings.added_hosts
    return merged(settings, [*written_by_people(settings), *([read_place(added)] if added.exists() else ())])


def written_by_people(settings: Settings) -> list[Place]:
    """The configuration, and the files and programs that it names."""
    return [_configured(settings), *(read_place(path) for path in settings.inventory_files)]


def searched(settings: Settings, word: str) -> tuple[str, ...]:
    """The hosts that one looks for by a word: those that it stands for, and itself, for hosts come and go."""
    if word in settings.hosts:
        return (word,)
    try:
        found = read_inventory(settings).select([word])
    except (InvalidRequest, NotFound):
        return (word,)
    return tuple(dict.fromkeys([word, *(host.name for host in found)]))


def merged(settings: Settings, places: Iterable[Place]) -> Inventory:
    """All places as one: a host stands in one of them, a group has the members that all of them give it."""
    given: dict[str, HostSettings] = {}
    where: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    for place in places:
        for name, host in place.hosts.items():
            if name in where:
                raise InvalidConfig(
                    f"host {name} stands in {where[name]} and in {place.where}: take it out of one of them"
                )
            given[name], where[name] = host, place.where
        for group, names in place.groups.items():
            members.setdefault(group, []).extend(names)
    if not given and not settings.inventory_files:
        given, where = {"localhost": HostSettings(connector="local")}, {"localhost": THIS_MACHINE}
    groups = flattened(given, members)
    of_host: dict[str, list[str]] = {name: [] for name in given}
    for group, names in groups.items():
        for name in names:
            of_host[name].append(group)
    hosts = {name: _host(settings, name, host, tuple(of_host[name]), where[name]) for name, host in given.items()}
    ways(hosts, {name for name, host in given.items() if host.gateway is None})
    return Inventory(hosts, groups, where)


def _host(settings: Settings, name: str, given: HostSettings, groups: tuple[str, ...], where: str) -> Host:
    try:
        return settings.host(name, given, groups)
    except ValidationError as error:
        raise InvalidConfig(explain(error, f"{where}: host {name}")) from None
    except InvalidRequest as error:
        raise InvalidConfig(f"{where}: host {name}: {error.message}") from None


def _configured(settings: Settings) -> Place:
    return Place(where="the configuration", hosts=settings.hosts, groups=settings.groups)


Signature = tuple[int, int, int] | None


class Directory:
    """The inventory of a process that goes on: files are read again when they change, programs run again now and then.

    What cannot be read, or not be honoured, changes nothing: it is said in the log, and the last good one counts.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        check: Callable[[Inventory], None] = lambda _inventory: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._added = settings.added_hosts
        self._check = check
        """Raises InvalidConfig for an inventory with which the settings cannot be honoured."""
        self._clock = clock
        self._lock = threading.Lock()
        self._told: frozenset[str] = frozenset()
        self._look_at = clock() + _LOOK_EVERY
        self._all_at = clock() + settings.inventory_refresh
        self._all: threading.Thread | None = None
        """Reads all places again."""
        self._seen: dict[Path, Signature] = {path: _signature(path) for path in self._watched()}
        self._places = {path: read_place(path) for path, there in self._seen.items() if there or path != self._added}
        self._current = self._merged()

    def now(self) -> Inventory:
        """The inventory as it is known now; waits for no program."""
        if self._clock() >= self._look_at and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._current

    def _look(self) -> None:
        self._look_at = self._clock() + _LOOK_EVERY
        if self._all is not None and self._all.is_alive():
            return
        changed = [path for path in self._watched() if _signature(path) != self._seen[path]]
        if self._clock() >= self._all_at or any(is_program(path) for path in changed):
            self._all_at = self._clock() + self._settings.inventory_refresh
            # A slow program holds up no operation: until it has ended the inventory is what it was.
            self._all = threading.Thread(target=self._renew, args=(self._watched(),), daemon=True)
            self._all.start()
        elif changed:
            self._renew(changed)

    def _watched(self) -> tuple[Path, ...]:
        return (*self._settings.inventory_files, self._added)

    def _renew(self, paths: Iterable[Path]) -> None:
        problems = [problem for path in paths if (problem := _said(partial(self._read, path)))]
        problems += filter(None, [_said(self._take)])
        for problem in set(problems) - self._told:
            _log.error("ERROR: the inventory could not be read again, and the last good one counts: %s", problem)
        if self._told and not problems:
            _log.info("the inventory can be read again")
        self._told = frozenset(problems)

    def _read(self, path: Path) -> None:
        # Before it is read: what is written meanwhile is seen the next time.
        self._seen[path] = _signature(path)
        if path == self._added and self._seen[path] is None:
            self._places.pop(path, None)
        else:
            self._places[path] = read_place(path)

    def _take(self) -> None:
        self._current = self._merged()

    def _merged(self) -> Inventory:
        places = [self._places[path] for path in self._watched() if path in self._places]
        found = merged(self._settings, [_configured(self._settings), *places])
        self._check(found)
        return found


def _said(work: Callable[[], None]) -> str:
    """What stood against it, in words; empty when nothing did."""
    try:
        work()
    except OpsqueueError as error:
        return error.message
    except Exception as error:  # noqa: BLE001 - whatever it is, the last good inventory counts
        _log.exception("ERROR while the inventory was read again")
        return f"{type(error).__name__}: {error}"
    return ""


def _signature(path: Path) -> Signature:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
