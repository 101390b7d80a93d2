"""The backups of the hosts: list them, prove one again, bring one back."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from opsqueue.beat_schedule import build
from opsqueue.cli.commands.execute import add_following, carried_out
from opsqueue.cli.exit_status import FAILED, MEANING
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser, add_verb, verbs, whole_number
from opsqueue.cli.tables import Narrow
from opsqueue.cli.times import length
from opsqueue.connectors.inventory.directory import read_inventory
from opsqueue.connectors.shell import Shell
from opsqueue.errors import NotFound, OpsqueueError
from opsqueue.facts.backups import repository
from opsqueue.model.fact import why_unknown
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory
from opsqueue.operations import catalogue
from opsqueue.operations.backup.params import BackupParams
from opsqueue.operations.backup_operation import OPERATION
from opsqueue.pipeline.assemble import connector
from opsqueue.pipeline.submit import params_for
from opsqueue.settings import Settings, load

_SIDE_BY_SIDE = 32
HEADERS = ("HOST", "SET", "RUN", "TIME", "AGE", "STATE", "ID", "PATHS", "ERROR")
NARROW = Narrow(beneath=("ERROR", "PATHS"), drops=("ID", "TIME"))


def options(parser: Parser) -> None:
    """What it takes."""
    parser.ends((0, 2, 3, 10), "opsqueue backups list", "opsqueue backups verify db-server-1")
    below = verbs(parser)
    lists = add_verb(below, "list", "what each repository holds of each host; asks the hosts, records nothing")
    lists.add_argument("--systems", nargs="+", default=["all"], metavar="SYSTEM", help="which hosts (default: all)")
    lists.ends((0, 2, 3, 10), "opsqueue backups list", "opsqueue backups list --systems db-server-1 --output json")
    proves = add_verb(below, "verify", "prove a backup again: check the repository, restore files, compare them")
    proves.add_argument("--read-data", choices=["none", "part", "all"], help="how much of the repository is read")
    brings = add_verb(below, "restore", "bring files back, into a new directory or in place")
    goal = brings.add_mutually_exclusive_group(required=True)
    goal.add_argument("--to", metavar="DIRECTORY", help="not there yet, or empty, on the host")
    goal.add_argument("--in-place", action="store_true", help="where they were; what is there is moved aside")
    brings.add_argument("--include", nargs="+", default=[], metavar="PATH", help="only these")
    for verb in (proves, brings):
        verb.add_argument("host", metavar="HOST", help="whose backup")
        verb.add_argument("--set", dest="set_name", default="", metavar="NAME", help="which set, if there are several")
        number = whole_number(1, 999_999_999)
        verb.add_argument("--run", type=number, metavar="N", help="as `backups list` shows it (default: the newest)")
        verb.add_argument("--reason", default="", help="why it is asked for; everybody can read it")
        add_following(verb)
    proves.add_argument("--full", action="store_true", help="restore and compare everything, not only some files")
    statuses = tuple(MEANING)
    proves.ends(statuses, "opsqueue backups verify db-server-1 --wait", "opsqueue backups verify db-server-1 --full")
    brings.ends(
        statuses,
        "opsqueue backups restore db-server-1 --to /srv/back --run 7",
        "opsqueue backups restore db-server-1 --in-place --include /etc/nginx --yes",
    )


def run(given: Namespace) -> int:
    """List, verify or restore."""
    settings = load(given.config)
    if given.verb == "list":
        return _list(Out.of(given), settings, given.systems)
    one = _one(settings, given.host, given.set_name)
    run_number = {} if given.run is None else {"snapshot": str(given.run)}
    words = _verify(given) if given.verb == "verify" else _restore(given)
    given.operation_id = str(uuid4())
    name = f"{given.verb}-{one.params.called}"
    parameters = {**one.overlay, **run_number, **words, "task": given.verb}
    asked = {"name": name, "type": OPERATION.name, "target_systems": [given.host], "parameters": parameters}
    # Tried again, damage stays damage.
    return carried_out(given, {**asked, "priority": "high", "retry_count": 0, "timeout": one.params.timeout_seconds})


def _verify(given: Namespace) -> dict[str, Any]:
    read = {} if given.read_data is None else {"read_data": given.read_data}
    return {**read, **({"level": "full"} if given.full else {})}


def _restore(given: Namespace) -> dict[str, Any]:
    goal = {"in_place": True} if given.in_place else {"restore_to": given.to}
    return {**goal, **({"include": given.include} if given.include else {})}


# -- which sets there are ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSet:
    """One set of one host."""

    host: Host
    params: BackupParams
    overlay: Mapping[str, Any]
    """The parameters that the schedule gives it, beyond those of the host."""


def sets_of(settings: Settings, inventory: Inventory, host: Host) -> Iterator[BackupSet]:
    """The set of the host's own parameters, and those of the schedule; each once."""
    seen = set()
    entries = [entry for entry in build(settings, catalogue()).values() if entry.type == OPERATION.name]
    overlays = [entry.parameters for entry in entries if host in inventory.select(entry.systems)]
    for overlay in ({}, *overlays):
        params = params_for(OPERATION, overlay, host)
        key = (params.repository, params.called, params.host_label) if isinstance(params, BackupParams) else None
        if isinstance(params, BackupParams) and params.configured and key not in seen:
            seen.add(key)
            yield BackupSet(host=host, params=params, overlay=overlay)


def _one(settings: Settings, name: str, set_name: str) -> BackupSet:
    inventory = read_inventory(settings)
    (host,) = inventory.select([name])[:1]
    found = list(sets_of(settings, inventory, host))
    if not found:
        raise NotFound(f"no backup is configured for {host.name}: set hosts.{host.name}.parameters.{OPERATION.name}")
    named = [one for one in found if set_name in {"", one.params.called}]
    if len(named) != 1:
        known = sorted(one.params.called for one in found)
        raise NotFound(f"{host.name} has the sets {', '.join(known)}: say which one with --set", known=known)
    return named[0]


# -- list -------------------------------------------------------------------------------------------------


def _list(out: Out, settings: Settings, systems: Sequence[str]) -> int:
    inventory = read_inventory(settings)
    connect = connector(settings, inventory.__getitem__)
    sets = [one for host in inventory.select(systems) for one in sets_of(settings, inventory, host)]
    with ThreadPoolExecutor(min(_SIDE_BY_SIDE, max(1, len(sets)))) as pool:
        rows = [row for rows in pool.map(partial(_rows, connect), sets) for row in rows]
    out.listing("backups", rows, HEADERS, _cells, NARROW)
    if not sets:
        note(f"no backup is configured: set hosts.NAME.parameters.{OPERATION.name}")
    return FAILED if any(row["error"] for row in rows) else 0


def _rows(connect: Callable[[Host], Shell], one: BackupSet) -> list[dict[str, Any]]:
    who = {"host": one.host.name, "set": one.params.called, "repository": one.params.repository}
    empty: dict[str, Any] = {"run": None, "id": None, "at": None, "age_seconds": None, "state": None, "paths": []}
    try:
        told = connect(one.host).ask([repository(one.params.where)])["repository"]
    except OpsqueueError as error:
        return [{**who, **empty, "error": error.message}]
    if why := _why_not(told):
        return [{**who, **empty, "error": why}]
    if not told["snapshots"]:
        return [{**who, **empty, "state": "none", "error": None}]
    return [{**who, **_row(one, shot, told["snapshots"]), "error": None} for shot in told["snapshots"]]


def _why_not(told: Mapping[str, Any]) -> str:
    """Why the snapshots are not known; empty when they are."""
    if (why := why_unknown(told)) is not None:
        return why
    state = told["repository"]["state"]
    words = {"there": "", "missing": "there is no repository", "wrong_key": "the key does not open it"}
    return words.get(state, f"the repository is {state}: {told['repository']['why']}")


def _row(one: BackupSet, shot: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    newest = max((each["run"] for each in every if each["verified"]), default=0)
    late = shot["run"] == newest and shot["age"] > one.params.max_age_hours * 3600
    state = "unproven" if not shot["verified"] else "overdue" if late else "proven"
    named = {key: shot[key] for key in ("run", "id", "at", "paths")}
    return {**named, "age_seconds": shot["age"], "state": state}


def _cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    age = "" if row["age_seconds"] is None else length(row["age_seconds"])
    at = (row["at"] or "").replace("T", " ").rstrip("Z")
    first = (row["host"], row["set"], row["run"] or "", at, age, row["state"] or "")
    return (*first, row["id"] or "", ", ".join(row["paths"]), row["error"] or "")
