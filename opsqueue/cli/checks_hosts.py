"""What `doctor` looks at of the inventory: that it, the pinned keys of its hosts and all secrets can be read."""

from __future__ import annotations

import stat
from collections.abc import Iterable

from opsqueue.cli.login_files import unusable
from opsqueue.cli.look import Check, Looks
from opsqueue.cli.secrets_seen import references, unreadable
from opsqueue.connectors.inventory.directory import THIS_MACHINE, read_inventory
from opsqueue.connectors.ssh.trust import pinned
from opsqueue.errors import HostNotTrusted, InvalidConfig
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory
from opsqueue.settings import Settings
from opsqueue.telemetry import counted

_SHOWN = 3


def hosts(settings: Settings) -> Looks:
    """The inventory, the keys of those of its hosts that are reached over SSH, and the secrets that are asked for."""
    try:
        inventory = read_inventory(settings)
    except InvalidConfig as error:
        mend = "what it names; `opsqueue hosts list` reads it again"
        return (Check(check="inventory", state="fail", message=error.message, mend=mend), *_secrets(settings, ()))
    return (
        _inventory(inventory),
        *_names(inventory),
        *_keys(settings, inventory),
        *_login_files(inventory),
        *_secrets(settings, inventory.values()),
    )


def _secrets(settings: Settings, inventory: Iterable[Host]) -> Looks:
    named = references(settings, inventory)
    mend = "as said, or what the setting names"
    if doubts := unreadable(named):
        return tuple(Check(check="secrets", state="warn", message=doubt, mend=mend) for doubt in doubts)
    message = f"{counted(len(named), 'reference')}, and each can be read"
    return (Check(check="secrets", state="ok", message=message),) if named else ()


def _names(inventory: Inventory) -> Looks:
    mend = "as said, where the inventory holds them; `opsqueue hosts show HOST` tells where"
    return tuple(Check(check="names", state="warn", message=doubt, mend=mend) for doubt in inventory.doubts())


def _login_files(inventory: Inventory) -> Looks:
    mend = "as said, or name another where the inventory holds it"
    return tuple(
        Check(check="keys to log in", state="warn", message=doubt, mend=mend) for doubt in unusable(inventory.values())
    )


def _inventory(inventory: Inventory) -> Check:
    if THIS_MACHINE in inventory.places.values():
        message = "no hosts are configured, so there is this machine: localhost"
        return Check(check="inventory", state="ok", message=message)
    if not inventory:
        mend = "look at what `inventory` names"
        return Check(check="inventory", state="warn", message="it holds no host", mend=mend)
    ways = [f"{count} by {way}" for way in ("ssh", "local", "worker") if (count := _count(inventory, way))]
    message = f"{counted(len(inventory), 'host')} ({', '.join(ways)}), {counted(len(inventory.groups), 'group')}"
    return Check(check="inventory", state="ok", message=message)


def _count(inventory: Inventory, way: str) -> int:
    return sum(host.connector == way for host in inventory.values())


def _keys(settings: Settings, inventory: Inventory) -> Looks:
    asked = [host for host in inventory.values() if host.connector == "ssh"]
    path = settings.known_hosts
    if not asked and not path.exists():
        return ()
    try:
        mode = path.stat().st_mode if path.exists() else 0
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            message = f"others than its owner can write {path}, and so let any machine be trusted"
            return (Check(check="host keys", state="fail", message=message, mend=f"chmod 600 {path}"),)
        lacking = [host.name for host in asked if not pinned(path, host)]
    except (HostNotTrusted, OSError) as error:
        return (Check(check="host keys", state="fail", message=str(error), mend=f"look at {path}"),)
    if not lacking:
        return (Check(check="host keys", state="ok", message=f"{counted(len(asked), 'host')} pinned in {path}"),)
    names = ", ".join(lacking[:_SHOWN]) + (f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else "")
    message = f"{counted(len(lacking), 'host')} reached over SSH without a pinned key: {names}"
    mend = f"opsqueue hosts trust {' '.join(lacking[:_SHOWN])}{' …' if len(lacking) > _SHOWN else ''}"
    return (Check(check="host keys", state="warn", message=message, mend=mend),)
