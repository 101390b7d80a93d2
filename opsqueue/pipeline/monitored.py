"""The inventory as health checks see it: each host with the checks of what was deployed on it and is healthy."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opsqueue.errors import OpsqueueError
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory
from opsqueue.model.kind import OperationKind
from opsqueue.model.names import OperationType
from opsqueue.store import deployments
from opsqueue.store.engine import Store

_log = logging.getLogger("opsqueue.deployments")
_KIND = OperationType.HEALTH_CHECK.value
_FRESH = 5.0
"""Seconds for which what was read of the record is taken to be so."""
Check = Mapping[str, Any]


class Monitored:
    """A host's own defaults for health checks (`hosts.NAME.parameters`), with the checks of healthy deployments.

    So the recurring health check asks for them, and so does everybody who names no checks. One that has the name of
    another takes its place; without any of the host's own, the checks that a health check has by itself stay.
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
        own = host.parameters.get(_KIND, {})
        checks = {one["name"]: one for one in own.get("checks") or self._usual}
        for some in services.values():
            checks |= {one["name"]: one for one in some}
        given = {**own, "checks": list(checks.values())}
        return host.model_copy(update={"parameters": {**host.parameters, _KIND: given}})


def _usual(kinds: Mapping[str, OperationKind]) -> list[dict[str, Any]]:
    """The checks that a health check makes when nobody names any."""
    kind = kinds.get(_KIND)
    usual = getattr(kind.params(), "effective", ()) if kind else ()
    return [one.model_dump(mode="json", exclude_unset=True) for one in usual]
