"""The inventory: list the hosts, show one, check that they answer, add and remove hosts, trust their keys."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from opsqueue.cli.inventory import known
from opsqueue.cli.output import Out, dumps, note
from opsqueue.cli.parsing import Parser, add_verb, verbs, whole_number
from opsqueue.cli.tables import Narrow
from opsqueue.cli.text import safe
from opsqueue.connectors.inventory.directory import THIS_MACHINE, read_inventory
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory
from opsqueue.settings import Settings, load

HEADERS = ("HOST", "CONNECTOR", "ADDRESS", "GROUPS", "TAGS")
NARROW = Narrow(drops=("TAGS", "GROUPS"), last=("ADDRESS",))
SELECTORS = "hosts, groups, tags, `web-*`, and `!` before what is left out (default: all)"


def options(parser: Parser) -> None:
    """What it takes."""
    parser.ends((0, 2, 3, 9, 10), "opsqueue hosts list", "opsqueue hosts check")
    below = verbs(parser)
    lists = add_verb(below, "list", "the hosts, with their groups and tags")
    lists.add_argument("systems", nargs="*", metavar="SYSTEM", help=SELECTORS)
    lists.ends((0, 2, 10), "opsqueue hosts list", "opsqueue hosts list web '!web-server-2'")
    shows = add_verb(below, "show", "one host: how it is reached, what it brings, where it was read")
    shows.add_argument("host", metavar="HOST", help="its name")
    shows.ends((0, 2, 10), "opsqueue hosts show web-server-1")
    checks = add_verb(below, "check", "ask each host something, and say who answered; changes nothing")
    checks.add_argument("systems", nargs="*", metavar="SYSTEM", help=SELECTORS)
    checks.ends((0, 2, 3, 10), "opsqueue hosts check web-server-1")
    _changing(below)
    trusts = add_verb(below, "trust", "pin the host key that a host shows, once somebody compared its fingerprint")
    trusts.add_argument("systems", nargs="+", metavar="SYSTEM", help="hosts, groups, tags")
    trusts.add_argument("--fingerprint", metavar="SHA256:…", help="what it has to be; nothing is asked then")
    trusts.add_argument("--yes", action="store_true", help="do not ask: whoever answers at the address is trusted")
    trusts.add_argument("--replace", action="store_true", help="in place of another key, of a machine that is no more")
    trusts.ends(
        (0, 2, 3, 10),
        "opsqueue hosts trust db-2",
        "opsqueue hosts trust db-2 --fingerprint SHA256:xmTE6fCnzMWnVmrSTTdYdCzMKGDIFBsiDKuqqFPsGmo",
        "opsqueue hosts trust web --yes",
    )


def _changing(below: Any) -> None:
    add = add_verb(below, "add", "write a host down, for all workers with this state directory")
    add.add_argument("host", metavar="NAME", help="how people call it")
    add.add_argument("--address", metavar="ADDRESS", help="a host name or an IP address (default: its name)")
    add.add_argument(
        "--port", type=whole_number(1, 65535), metavar="PORT", help="of its SSH server (default: ssh.port)"
    )
    add.add_argument("--user", metavar="USER", help="who logs in (default: ssh.user)")
    add.add_argument("--key-file", metavar="FILE", help="the private key (default: ssh.key_file)")
    add.add_argument("--certificate-file", metavar="FILE", help="a certificate for the key")
    add.add_argument("--gateway", metavar="HOST", help="the host of the inventory through which it is reached")
    add.add_argument("--tag", nargs="+", action="extend", metavar="TAG", help="words of your own")
    add.add_argument("--group", nargs="+", action="extend", metavar="GROUP", help="the groups that it is in")
    add.add_argument("--connector", choices=("ssh", "local", "worker"), help="default: ssh")
    add.ends((0, 2, 9), "opsqueue hosts add db-2 --address 10.0.0.7 --user ops --tag eu --group db")
    remove = add_verb(below, "remove", "forget a host that `hosts add` wrote down")
    remove.add_argument("host", metavar="NAME", help="its name")
    remove.ends((0, 2, 9, 10), "opsqueue hosts remove db-2")


def run(given: Namespace) -> int:
    """Do what the verb says."""
    return _VERBS[given.verb](given, Out.of(given), load(given.config))


def _list(given: Namespace, out: Out, settings: Settings) -> int:
    inventory = read_inventory(settings)
    chosen = inventory.select(given.systems) if given.systems else tuple(inventory.values())
    out.listing("hosts", [_json(host, inventory) for host in chosen], HEADERS, _cells, NARROW)
    if THIS_MACHINE in inventory.places.values():
        note("the configuration names no hosts, so there is this machine")
    if not inventory:
        note("there is no host: what `inventory` names holds none")
    return 0


def _json(host: Host, inventory: Inventory) -> dict[str, Any]:
    return {**host.model_dump(mode="json", exclude={"parameters"}), "from": inventory.places[host.name]}


def _cells(host: Mapping[str, Any]) -> tuple[object, ...]:
    return host["name"], host["connector"], _where(host), ", ".join(host["groups"]), ", ".join(host["tags"])


def _where(host: Mapping[str, Any]) -> str:
    """The address as far as it was given, with the port where it is not the usual one."""
    port = "" if host["port"] == Host.model_fields["port"].default else f":{host['port']}"
    return f"{host['address'] or (host['name'] if port else '')}{port}"


def _show(given: Namespace, out: Out, settings: Settings) -> int:
    inventory = read_inventory(settings)
    host = known(inventory, given.host)
    data = {**host.model_dump(mode="json"), "from": inventory.places[host.name]}
    if out.json:
        out.entry(data)
        return 0
    for key, value in data.items():
        shown = ", ".join(value) if isinstance(value, list) else dumps(value) if isinstance(value, dict) else value
        if value:
            out.line(f"{key:<16}  {safe(shown)}")
    return 0


def _check(given: Namespace, out: Out, settings: Settings) -> int:
    # The ways to hosts cost 0.3 s to import, and the list needs none of them.
    from opsqueue.cli.commands.hosts_check import check  # noqa: PLC0415

    return check(given, out, settings)


def _trust(given: Namespace, out: Out, settings: Settings) -> int:
    from opsqueue.cli.commands.hosts_trust import trust  # noqa: PLC0415  # likewise

    return trust(given, out, settings)


def _add(given: Namespace, out: Out, settings: Settings) -> int:
    from opsqueue.cli.commands.hosts_change import add  # noqa: PLC0415  # likewise: it needs the catalogue of types

    return add(given, out, settings)


def _remove(given: Namespace, out: Out, settings: Settings) -> int:
    from opsqueue.cli.commands.hosts_change import remove  # noqa: PLC0415  # likewise

    return remove(given, out, settings)


_VERBS: Mapping[str, Callable[[Namespace, Out, Settings], int]] = {
    "list": _list,
    "show": _show,
    "check": _check,
    "add": _add,
    "remove": _remove,
    "trust": _trust,
}
