"""Put the world together from the settings."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.error import HTTPError
from uuid import uuid4

from opsqueue.connectors.deadline import all_within
from opsqueue.connectors.inventory.directory import Directory, read_inventory
from opsqueue.connectors.shell import Shell
from opsqueue.errors import InvalidConfig
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory
from opsqueue.model.kind import OperationKind
from opsqueue.model.record import Operation, Shard
from opsqueue.notify.channels import NotConfigured, resolve
from opsqueue.notify.message import Message
from opsqueue.notify.receipt import Receipt, refused
from opsqueue.notify.send import send
from opsqueue.operations import catalogue
from opsqueue.pipeline.honoured import honoured
from opsqueue.pipeline.monitored import Monitored
from opsqueue.pipeline.reach import Reach
from opsqueue.pipeline.wording import worded
from opsqueue.pipeline.world import Coordinator, World
from opsqueue.settings import Settings
from opsqueue.settings_parts import CoordinatorSettings
from opsqueue.store.engine import Store


def assemble(
    settings: Settings,
    *,
    dispatch: Callable[[Operation], None],
    worker: str,
    dispatch_shard: Callable[[Operation, Shard], None] = lambda _operation, _shard: None,
    own_host: str = "",
    seat: str = "",
    coordinators: tuple[Coordinator, ...] = (),
    now: Callable[[], float] = time.time,
    directory: Directory | None = None,
) -> World:
    """The world of one process. Raises InvalidConfig for what the settings ask for and cannot be honoured."""
    kinds = catalogue()
    directory = directory or known_hosts(settings, kinds)
    store = Store(settings.database)
    return World(
        store=store,
        settings=settings,
        kinds=kinds,
        connect=Reach(settings, lambda name: directory.now()[name], own_host),
        tell=lambda channel, message, event_id: tell(settings, channel, message, event_id),
        recipients=lambda channel: recipients(settings, channel),
        dispatch=dispatch,
        dispatch_shard=dispatch_shard,
        now=now,
        coordinators=(*(_coordinator(given) for given in settings.verification), *coordinators),
        worker=worker,
        own_host=own_host,
        seat=seat,
        directory=Monitored(directory.now, store, kinds),
        windows=settings.windows(),
    )


def known_hosts(settings: Settings, kinds: Mapping[str, OperationKind] | None = None) -> Directory:
    """The inventory of a process that goes on; read before a fork, every child begins with a good one.

    Raises InvalidConfig as assemble does.
    """
    of = catalogue() if kinds is None else kinds
    return Directory(settings, check=lambda inventory: honoured(settings, of, inventory))


def check(settings: Settings) -> Inventory:
    """The inventory; InvalidConfig when it cannot be read, or the settings ask for what cannot be honoured."""
    inventory = read_inventory(settings)
    honoured(settings, catalogue(), inventory)
    return inventory


def connector(settings: Settings, hosts: Callable[[str], Host]) -> Callable[[Host], Shell]:
    """The ways of this process to hosts, for those who have no world; `hosts` finds a gateway."""
    return Reach(settings, hosts)


def tell(settings: Settings, channel: str, message: Message, event_id: str) -> Receipt:
    """Give a message to a configured channel; one that is not configured is refused, and says what is missing."""
    found = resolve(channel, settings.notification_channels, settings.notification_urls)
    if isinstance(found, NotConfigured):
        return refused(found.why, permanent=True)
    rules = settings.rules(channel)
    try:
        key = rules.signing_key.resolve() if rules.signing_key else ""
        if rules.signing_key and not key:
            raise InvalidConfig(f"the secret {rules.signing_key.ref} is empty")  # noqa: TRY301 - as one that is not there
    except InvalidConfig as error:  # unsigned it would be refused, or believed by who should not
        return refused(f"notification_rules.{channel}.signing_key: {error.message}", permanent=True)
    way = replace(found, signing_key=key, private=rules.private_addresses, parts=rules.sms_segments)
    told, missing = worded(settings, channel, message, event_id.removesuffix(f":{channel}"))
    receipt = send(way, told, event_id=event_id)
    if claim := str(told.payload.get("ack_url", "")).rpartition("=")[2]:  # some answer with what they got, in any form
        receipt = replace(receipt, error=receipt.error.replace(claim, "***"))
    return replace(receipt, note="; ".join(filter(None, (missing, receipt.note))))


def recipients(settings: Settings, channel: str) -> tuple[str, ...]:
    """One channel for each recipient, so that a retry tells only those who were not reached."""
    found = resolve(channel, settings.notification_channels, settings.notification_urls)
    return (channel,) if isinstance(found, NotConfigured) else tuple(one.name for one in found.apart())


def _coordinator(given: CoordinatorSettings) -> Coordinator:
    if given.url is not None:
        return HttpCoordinator(given.name, given.url, given.timeout)
    module, _, name = (given.python or "").partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidConfig(
            f"verification coordinator {given.name}: {given.python} cannot be loaded: {error}"
        ) from None
    return PythonCoordinator(given.name, found() if inspect.isclass(found) else found, given.timeout)


@dataclass(frozen=True, slots=True)
class HttpCoordinator:
    """Somebody else's service: the context is POSTed as JSON, the answer holds `overall_status`."""

    name: str
    url: str
    timeout: float

    def ask(self, kind: str, context: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer; OSError when it cannot be reached, is not 2xx, or is not whole within `timeout` seconds."""
        # Bounded as a whole: the library's own time limit begins anew with every byte that drips in.
        found = all_within(self.timeout, {f"{self.url} {uuid4()}": lambda: self._post(kind, context)})
        (answer,) = found.values()
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, dict):
            raise OSError("it answered with something else than an object")
        return answer

    def _post(self, kind: str, context: Mapping[str, Any]) -> Any:
        body = json.dumps({"kind": kind, "context": context}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})  # noqa: S310  # http(s) only
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:  # noqa: S310  # likewise
                return json.loads(answer.read(1_000_000))
        except HTTPError as error:
            error.close()  # it holds the connection
            raise


@dataclass(frozen=True, slots=True)
class PythonCoordinator:
    """A `VerificationCoordinator` of the user's: its coroutine is run to its end, or its time limit."""

    name: str
    theirs: Any
    timeout: float = 10.0

    def ask(self, kind: str, context: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer; OSError when it takes longer than its time limit."""
        answer: Mapping[str, Any] = asyncio.run(self._asked(kind, dict(context)))
        return answer

    async def _asked(self, kind: str, context: dict[str, Any]) -> Any:
        try:
            return await asyncio.wait_for(self.theirs.coordinate_verification(kind, context), self.timeout)
        except TimeoutError:
            raise OSError(f"it did not answer within {self.timeout:g} s") from None
