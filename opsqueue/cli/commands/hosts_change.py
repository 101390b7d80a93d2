"""`hosts add` and `hosts remove`: hosts that no file of people's own names."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from opsqueue.cli.output import Out, note
from opsqueue.cli.text import safe
from opsqueue.cli.told import described, history
from opsqueue.connectors.inventory.added import add_host, remove_host
from opsqueue.connectors.inventory.directory import read_inventory
from opsqueue.connectors.ssh.keyfile import doubts
from opsqueue.connectors.ssh.trust import pinned
from opsqueue.model.inventory import Inventory
from opsqueue.operations import catalogue
from opsqueue.pipeline.honoured import honoured
from opsqueue.settings import Settings

_KEYS = ("address", "port", "user", "key_file", "certificate_file", "gateway", "connector")


def add(given: Namespace, out: Out, settings: Settings) -> int:
    """Write it down, unless it is there or something in it cannot be honoured."""
    alone = not (settings.hosts or settings.inventory_files or settings.added_hosts.exists())
    values = {key: value for key in _KEYS if (value := getattr(given, key)) is not None}
    if given.tag:
        values["tags"] = given.tag
    inventory = add_host(settings, given.host, values, given.group or (), _check(settings))
    host = inventory[given.host]
    with history(settings) as tell:
        tell(
            "host_added", host.name, f"{host.connector} {host.where}", {**described(host), "groups": given.group or []}
        )
    if out.json:
        out.entry({**host.model_dump(mode="json", exclude={"parameters"}), "from": inventory.places[host.name]})
    else:
        out.line(f"{safe(host.name)} is added to {safe(settings.added_hosts)}")
    for doubt in doubts(host):  # the worker may be another user, or run elsewhere: it is written down all the same
        note(safe(doubt))
    if host.connector == "ssh" and not pinned(settings.known_hosts, host):
        note(f"its host key is not trusted yet: `opsqueue hosts trust {host.name}`")
    if alone and host.name != "localhost":
        note("localhost is no host any more: `opsqueue hosts add localhost --connector local` keeps it")
    return 0


def remove(given: Namespace, out: Out, settings: Settings) -> int:
    """Forget it, unless something of the configuration names it."""
    host = read_inventory(settings).get(given.host)
    remove_host(settings, given.host, _check(settings))
    with history(settings) as tell:
        where = f"{host.connector} {host.where}" if host else ""
        tell("host_removed", given.host, where, described(host) if host else {})
    if out.json:
        out.entry({"name": given.host, "removed": True})
    else:
        kept = host is not None and host.connector == "ssh" and pinned(settings.known_hosts, host)
        end = f"; its host key stays in {safe(settings.known_hosts)}" if kept else ""
        out.line(f"{safe(given.host)} is removed{end}")
    return 0


def _check(settings: Settings) -> Any:
    kinds = catalogue()

    def check(inventory: Inventory) -> None:
        honoured(settings, kinds, inventory)

    return check
