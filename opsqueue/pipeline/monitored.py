"""The inventory as health checks see it: each host with the checks of what was deployed on it and is healthy."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from opsqueue.errors import OpsqueueError
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory
from opsqueue.model.kind import OperationKind
from opsqueue.model.names import OperationType
from opsqueue.model.request import explain
from opsqueue.store import deployments
from opsqueue.store.engine import Store

_log = logging.getLogger("opsqueue.deployments")
_KIND = OperationType.HEALTH_CHECK.value
_FRESH = 5.0
"""Seconds for which what was read of the record is taken to be so."""
_LONGEST = 64
"""Characters of the name of a check."""
_MARK = 8
_STRANGE = re.compile(r"^[^A-Za-z0-9]+|[^A-Za-z0-9 ._/-]")
"""What no name of a check has."""
_LEFT_OUT = (
    "FAILED to monitor %s on %s: with its checks the health check of the host cannot be made: %s. They are left out; "
    "`opsqueue deployments forget %s %s` ends this."
)
Check = Mapping[str, Any]


class Monitored:
    """A host's own defaults for health checks (`hosts.NAME.parameters`), with the checks of healthy deployments.

    So the recurring health check asks for them, and so does everybody who names no checks. Each has the name of its
    service before its own; without any of the host's own, the checks that a health check has by itself stay. Where a
    health check could not be made with those of a service, they are left out: all others are made all the same.
    """

    def __init__(
        self,
        inventory: Callable[[], Inventory],
        store: Store,
        kinds: Mapping[str, OperationKind],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inventory = inventory
        self._store = store
        self._kind = kinds.get(_KIND)
        self._usual = _usual(kinds)
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._deployed: Mapping[str, Mapping[str, Sequence[Check]]] = {}
        self._made: tuple[Inventory, Mapping[str, Any], Inventory] | None = None

    def __call__(self) -> Inventory:
        """The inventory as it is now."""
        plain = self._inventory()
        with self._lock:
            self._look()
            if not self._deployed:
                return plain
            if self._made is None or self._made[0] is not plain or self._made[1] is not self._deployed:
                hosts = {name: self._with_checks(host) for name, host in plain.hosts.items()}
                self._made = (plain, self._deployed, Inventory(hosts, plain.groups, plain.places))
            return self._made[2]

    def _look(self) -> None:
        now = self._clock()
        if self._read_at is not None and now - self._read_at < _FRESH:
            return
        self._read_at = now
        try:
            with self._store.read() as connection:
                found = deployments.checks(connection)
        except OpsqueueError as error:  # who needs the record says so; the hosts are there all the same
            _log.debug("what is deployed could not be read: %s", error.message)
            return
        if found != self._deployed:
            self._deployed = found

    def _with_checks(self, host: Host) -> Host:
        services = self._deployed.get(host.name)
        if not services:
            return host
        given = {**host.parameters.get(_KIND, {})}
        checks = given.get("checks") or self._usual
        taken = set[str]()
        for service, some in services.items():
            named = _named(service, some, taken)
            every = _merged(checks, named)
            if why := self._wrong({**given, "checks": every}):
                _log.warning(_LEFT_OUT, service, host.name, why, service, host.name)
            else:
                checks = every
                taken.update(one["name"] for one in named)
        return host.model_copy(update={"parameters": {**host.parameters, _KIND: {**given, "checks": checks}}})

    def _wrong(self, given: Mapping[str, Any]) -> str:
        """Why a health check could not be asked for so: too many checks, or some that wait for each other."""
        if self._kind is None:
            return ""
        try:
            self._kind.params.model_validate(dict(given))
        except ValidationError as error:
            return explain(error, "parameters", self._kind.params)
        return ""


def _merged(checks: Sequence[Check], more: Sequence[Check]) -> list[Check]:
    return list({one["name"]: one for one in [*checks, *more]}.values())


def _named(service: str, some: Sequence[Check], taken: Collection[str]) -> list[Check]:
    """The checks of a service by names that no other service has: with its own name before each."""
    new = {one["name"]: _with_service(service, one["name"]) for one in some}
    if len(set(new.values())) < len(some):
        new = {name: name for name in new}
    return [_renamed(one, {name: _free(service, named, taken) for name, named in new.items()}) for one in some]


def _free(service: str, name: str, taken: Collection[str]) -> str:
    """The name, or where another service has it already, one that only this service can have."""
    if name not in taken:
        return name
    mark = hashlib.sha256(service.encode()).hexdigest()[:_MARK]
    return f"{name[: _LONGEST - 1 - _MARK]}-{mark}"


def _renamed(one: Check, new: Mapping[str, str]) -> Check:
    renamed = {**one, "name": new[one["name"]]}
    if one.get("depends_on"):
        renamed["depends_on"] = [new.get(name, name) for name in one["depends_on"]]
    return renamed


def _with_service(service: str, name: str) -> str:
    room = _LONGEST - len(name) - 1
    before = _STRANGE.sub("-", service)[: max(room, 0)]
    if not before or name == service or name.startswith(f"{service}/"):
        return name
    return f"{before}/{name}"


def _usual(kinds: Mapping[str, OperationKind]) -> list[dict[str, Any]]:
    """The checks that a health check makes when nobody names any."""
    kind = kinds.get(_KIND)
    usual = getattr(kind.params(), "effective", ()) if kind else ()
    return [one.model_dump(mode="json", exclude_unset=True) for one in usual]
