"""Operations that ended, newest first."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from opsqueue.cli import render, times
from opsqueue.cli.nearest import nearest
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser, whole_number
from opsqueue.cli.record import no_record, opened
from opsqueue.cli.tables import Narrow
from opsqueue.errors import NotFound
from opsqueue.model.names import TYPE_ALIASES, OperationType, Outcome
from opsqueue.pipeline.views import brief
from opsqueue.settings import Settings, load
from opsqueue.store.history import Wanted, ended, ever

HEADERS = ("ID", "ENDED", "STATUS", "NAME", "TYPE", "SYSTEMS", "TOOK", "HEALTH", "ASKED BY")
NARROW = Narrow(drops=("ASKED BY", "TYPE", "HEALTH", "TOOK"), last=("SYSTEMS", "ENDED"))


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("--type", help="only this kind of work")
    parser.add_argument("--system", metavar="SYSTEM", help="only what was done on this host, group or tag")
    parser.add_argument("--status", choices=[one.value for one in Outcome], help="only what ended so")
    parser.add_argument("--since", metavar="TIME", help="asked for at or after: 2026-03-01, 2026-03-01T14:30, 2h, 7d")
    parser.add_argument("--until", metavar="TIME", help="asked for before")
    parser.add_argument("--requested-by", metavar="WHO", help="only what this one asked for")
    parser.add_argument("--limit", type=whole_number(1, 100_000), default=50, metavar="N", help="at most (default: 50)")
    parser.ends(
        (0, 2, 10, 12),
        "opsqueue history --since 7d --status failed",
        "opsqueue history --type service_restart --system web-server-1 --output jsonl",
    )


def run(given: Namespace) -> int:
    """List them."""
    out, settings = Out.of(given), load(given.config)
    listed = _found(settings, _wanted(given, settings))
    out.listing("operations", listed, HEADERS, _cells, NARROW)
    return 0


def _wanted(given: Namespace, settings: Settings) -> Wanted:
    now = time.time()
    since, until = (
        None if text is None else times.moment(text, now=now, zone=settings.timezone)
        for text in (given.since, given.until)
    )
    return Wanted(
        type=TYPE_ALIASES.get(given.type, given.type),
        system=_hosts(settings, given.system) if given.system else None,
        status=Outcome(given.status) if given.status else None,
        since=since,
        until=until,
        requested_by=given.requested_by,
        limit=given.limit,
    )


def _hosts(settings: Settings, word: str) -> tuple[str, ...]:
    # It costs 15 ms of the 400 that a command may take, and most searches are for no host.
    from opsqueue.connectors.inventory.directory import searched  # noqa: PLC0415

    return searched(settings, word)


def _found(settings: Settings, wanted: Wanted) -> list[dict[str, Any]]:
    with opened(settings) as store:
        if store is None:
            _refuse_strangers(settings, wanted, _never)
            note(no_record(settings))
            return []
        with store.read() as connection:
            found = ended(connection, wanted)
            if not found:
                _refuse_strangers(settings, wanted, lambda **word: ever(connection, **word))
    if not found:
        note("nothing that ended fits; `opsqueue status` lists what is active")
    now = time.time()
    return [brief(operation, now) for operation in found]


def _never(**_word: str) -> bool:
    """Where there is no record, nothing is in it."""
    return False


def _refuse_strangers(settings: Settings, wanted: Wanted, seen: Callable[..., bool]) -> None:
    """NotFound for a type or host that nobody knows and the record has never `seen`: a slip of the pen."""
    if wanted.type and wanted.type not in set(OperationType):
        # It costs 0.1 s, and only a search that found nothing needs it.
        from opsqueue.operations import catalogue  # noqa: PLC0415

        types = sorted({*(one.value for one in OperationType), *catalogue()})
        if wanted.type not in types and not seen(type=wanted.type):
            raise NotFound(
                f"there is no operation type {wanted.type[:80]!r}{nearest(wanted.type, types) or '.'} "
                "`opsqueue types` lists them, and none of the record is of it.",
                known=types,
            )
    if wanted.hosts and not any(seen(host=name) for name in wanted.hosts):
        from opsqueue.connectors.inventory.directory import read_inventory  # noqa: PLC0415  # likewise

        try:
            read_inventory(settings).names(wanted.hosts[0])
        except NotFound as error:
            lost = f"{error.message.removesuffix('.')}, and nothing in the record was done on it."
            raise NotFound(lost, **error.details) from None


def _cells(operation: Mapping[str, Any]) -> tuple[object, ...]:
    began, finished = times.unix(operation["created_at"]), times.unix(operation["finished_at"])
    return (
        render.short(operation["operation_id"]),
        times.stamp(operation["finished_at"]),
        operation["status"],
        operation["name"],
        operation["type"],
        ", ".join(operation["systems"]),
        times.length(finished - began),
        "" if operation["health_score"] is None else f"{operation['health_score']:g}",
        operation["requested_by"],
    )
