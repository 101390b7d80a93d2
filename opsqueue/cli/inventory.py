"""One host of the inventory by its name."""

from __future__ import annotations

from opsqueue.cli.nearest import nearest
from opsqueue.errors import NotFound
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory


def known(inventory: Inventory, name: str) -> Host:
    """The host with this name; NotFound names the nearest."""
    if name not in inventory:
        raise NotFound(
            f"there is no host {name[:80]!r}{nearest(name, inventory) or '.'} `opsqueue hosts list` lists them.",
            known=sorted(inventory)[:50],
        )
    return inventory[name]
