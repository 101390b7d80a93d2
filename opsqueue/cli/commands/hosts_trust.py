"""`hosts trust`: pin the keys that hosts show, each after its fingerprint was compared."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from opsqueue.cli.confirm import interactive
from opsqueue.cli.exit_status import FAILED
from opsqueue.cli.output import Out, note
from opsqueue.cli.render_hosts import listed, reasons
from opsqueue.cli.tables import Narrow
from opsqueue.cli.text import safe
from opsqueue.cli.told import Tell, history
from opsqueue.connectors.inventory.directory import read_inventory
from opsqueue.connectors.ssh.trust import HostKey, changed, pin, pinned
from opsqueue.errors import ConfirmationNeeded, HostNotTrusted, InvalidRequest, OpsqueueError
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory
from opsqueue.pipeline.reach import Reach
from opsqueue.settings import Settings

HEADERS = ("HOST", "STATE", "ADDRESS", "KEY", "ERROR")
NARROW = Narrow(beneath=("ERROR", "KEY"), drops=("ADDRESS",))
_SIDE_BY_SIDE = 64
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of one host: `trusted`, `replaced`, `known` (it was trusted), `left` (not confirmed) or `fail`."""

    host: Host
    state: str
    key: HostKey | None = None
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "host": self.host.name,
            "state": self.state,
            "address": self.host.where,
            "key_type": self.key.kind if self.key else None,
            "fingerprint": self.key.fingerprint if self.key else None,
            "error": self.error or None,
        }


def trust(given: Namespace, out: Out, settings: Settings) -> int:
    """Show each key, ask, and pin it; 3 if a host could not be trusted."""
    inventory = read_inventory(settings)
    hosts = _asked_for(inventory, given)
    reach = Reach(settings, inventory.__getitem__)
    found = []
    # A gateway before those behind it: their keys cannot be seen before its own is trusted.
    with history(settings) as tell:
        for wave in _waves(inventory, hosts):
            with ThreadPoolExecutor(min(_SIDE_BY_SIDE, len(wave))) as pool:
                shown = list(pool.map(lambda host: _shown(reach, host), wave))
            found += [_settled(given, settings, one, tell) for one in shown]
    beside, lines = reasons((one.host.name, one.error) for one in found if one.error)
    headers = HEADERS[:-1] if lines else HEADERS

    def cells(one: Mapping[str, Any]) -> tuple[object, ...]:
        key = f"{one['key_type']} {one['fingerprint']}" if one["fingerprint"] else ""
        return (one["host"], one["state"], one["address"], key, beside.get(one["host"], ""))[: len(headers)]

    out.listing("hosts", [one.as_json() for one in found], headers, cells, NARROW)
    if not out.json:
        listed(out, "errors", lines)
    return FAILED if any(one.state in {"fail", "left"} for one in found) else 0


def _asked_for(inventory: Inventory, given: Namespace) -> list[Host]:
    """The hosts that have a key to show; InvalidRequest or ConfirmationNeeded for what cannot be done so."""
    hosts = [host for host in inventory.select(given.systems) if host.connector == "ssh"]
    if not hosts:
        raise InvalidRequest(
            f"{', '.join(given.systems)}: none of them is reached over SSH, so there is no key to trust"
        )
    if given.fingerprint and not _FINGERPRINT.fullmatch(given.fingerprint):
        raise InvalidRequest("--fingerprint is as `ssh-keygen -lf` prints it: SHA256: and 43 letters or signs")
    if given.fingerprint and len(hosts) > 1:
        raise InvalidRequest("--fingerprint is of one host; name that one, or say --yes for several")
    if not (given.yes or given.fingerprint or interactive()):
        raise ConfirmationNeeded(
            "there is no terminal to show a fingerprint at: say --fingerprint SHA256:… with what "
            "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on the host, or --yes to trust whoever answers"
        )
    return hosts


def _waves(inventory: Mapping[str, Host], hosts: Sequence[Host]) -> Iterator[list[Host]]:
    """The hosts by how many gateways stand before them, the fewest first."""
    waves: dict[int, list[Host]] = {}
    for host in hosts:
        waves.setdefault(_hops(inventory, host), []).append(host)
    for hops in sorted(waves):
        yield waves[hops]


def _hops(inventory: Mapping[str, Host], host: Host) -> int:
    return 1 + _hops(inventory, inventory[host.gateway]) if host.gateway else 0


def _shown(reach: Reach, host: Host) -> _Found:
    try:
        return _Found(host, "shown", reach.ways.presented(host))
    except OpsqueueError as error:
        return _Found(host, "fail", error=error.message)


def _settled(given: Namespace, settings: Settings, found: _Found, tell: Tell) -> _Found:
    """Pinned, if it may be."""
    if found.key is None:
        return found
    try:
        return _judged(given, settings, found.host, found.key, tell)
    except (HostNotTrusted, OSError) as error:
        return _Found(found.host, "fail", found.key, str(error))


def _judged(given: Namespace, settings: Settings, host: Host, key: HostKey, tell: Tell) -> _Found:
    path = settings.known_hosts
    before = pinned(path, host)
    if given.fingerprint and key.fingerprint != given.fingerprint.rstrip("="):
        raise HostNotTrusted(
            f"{host.name} ({host.where}) shows another key: wanted {given.fingerprint}, found {key}. Nothing was "
            "trusted. Somebody may stand between, or the fingerprint is of another of its keys."
        )
    if key in before and not (given.replace and len(before) > 1):
        return _Found(host, "known", key)
    if before and not given.replace:
        raise changed(host, before, key)
    if not (given.yes or given.fingerprint or _confirmed(host, key, before)):
        return _Found(host, "left", key, "not confirmed; nothing was trusted")
    if pin(path, host, key, replace=given.replace):
        _told(tell, given, host, key, before)
    return _Found(host, "replaced" if before else "trusted", key)


def _told(tell: Tell, given: Namespace, host: Host, key: HostKey, before: Iterable[HostKey]) -> None:
    """Into the history: the key, which ones it took the place of, and how it was compared."""
    how = "--fingerprint" if given.fingerprint else "--yes" if given.yes else "confirmed at a terminal"
    data = {
        "address": host.where,
        "gateway": host.gateway,
        "key_type": key.kind,
        "fingerprint": key.fingerprint,
        "replaced": [one.fingerprint for one in before if one != key],
        "how": how,
    }
    tell("host_trusted", host.name, f"{key} ({how})", data)


def _confirmed(host: Host, key: HostKey, before: Iterable[HostKey]) -> bool:
    note(f"{safe(host.name)} at {safe(host.where)} shows {safe(key)}")
    for old in before:
        note(f"  in place of {safe(old)}")
    note("Compare it with what `ssh-keygen -lf` prints for that key on the host itself.")
    print("Trust it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
