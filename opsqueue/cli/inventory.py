"""One host of the inventory by its name."""

from __future__ import annotations

from opsqueue.cli.nearest import nearest
from opsqueue.errors import NotFound
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory


def known(inventory: Inventory, name: str) -> Host:
    """The host with this name; NotFound names the nearest."""
    for what, known_words in (("group", inventory.groups), ("tag", inventory.tags)):
        if name not in inventory and name in known_words:
            raise NotFound(f"{name} is a {what}, and this takes one host: `opsqueue hosts list {name}` lists its hosts")
    if name not in inventory:
        raise NotFound(
            f"there is no host {name[:80]!r}{nearest(name, inventory) or '.'} `opsqueue hosts list` lists them.",
            known=sorted(inventory)[:50],
        )
    return inventory[name]
