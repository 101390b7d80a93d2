"""The hosts that names, groups and `all` stand for."""

from __future__ import annotations

from collections.abc import Sequence

from opsqueue.cli.nearest import nearest
from opsqueue.errors import NotFound
from opsqueue.model.host import Host
from opsqueue.settings import Settings


def known(settings: Settings, name: str) -> Host:
    """The host with this name; NotFound names the nearest."""
    hosts = settings.inventory()
    if name not in hosts:
        raise NotFound(
            f"there is no host {name[:80]!r}{nearest(name, hosts) or '.'} `opsqueue hosts list` lists them.",
            known=sorted(hosts)[:50],
        )
    return hosts[name]


def resolved(settings: Settings, systems: Sequence[str]) -> list[Host]:
    """Each host once, in the order asked for; NotFound names the unknown."""
    hosts = settings.inventory()
    found: dict[str, Host] = {}
    for system in systems:
        names = list(hosts) if system == "all" else settings.groups.get(system, (system,))
        found.update({name: known(settings, name) for name in names})
    return list(found.values())
