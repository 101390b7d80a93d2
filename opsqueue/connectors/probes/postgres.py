"""Probe a PostgreSQL: log in, SELECT 1, and what it says of itself, in a transaction that can only read.

The protocol is spoken here (`postgres_wire.py`): libpq takes no deadline below two seconds, and tells why a login
was refused in the words of the server's language, without the code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from opsqueue.connectors.probes import hearers
from opsqueue.connectors.probes.kit import ProbeError, TargetError, Watch, abandoned, connect, option, secure
from opsqueue.connectors.probes.postgres_wire import Refused, Wire

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
_LEAST_MS = 100
_BEGIN = "BEGIN READ ONLY; SET LOCAL statement_timeout = {}; SELECT 1"
# A standby that has replayed all that it received is up to date only while it still receives.
_STATE = """SELECT
  pg_is_in_recovery(),
  CASE WHEN NOT pg_is_in_recovery() THEN NULL
    WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
    ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END,
  (SELECT count(*) FROM pg_stat_wal_receiver),
  (SELECT sum(numbackends) FROM pg_stat_database),
  current_setting('max_connections'),
  greatest(
    (SELECT extract(epoch FROM max(clock_timestamp() - xact_start)) FROM pg_stat_activity
      WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'),
    (SELECT extract(epoch FROM max(clock_timestamp() - prepared)) FROM pg_prepared_xacts)),
  pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
  current_setting('server_version')"""
_COLUMNS = 8


async def probe(options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Options: host, port, user, password, database, tls, verify_tls, ca_file, attempt_timeout (s).

    A login that is refused is a fault of the check. Nothing is written: the transaction is read-only, is rolled
    back, and each statement has a time limit on the server.
    """
    reader, writer = await connect(option(options, "host", str), option(options, "port", int, 5432), watch)
    with abandoned(writer):
        answer: dict[str, Any] = {"ok": True, "address": str(writer.get_extra_info("peername")[0])}
        await _secured(reader, writer, options, watch)
        wire = Wire(
            reader,
            writer,
            may_tell_password=hearers.proven(options),
            may_tell_digest=hearers.may_hear(answer["address"], options),
        )
        try:
            with watch.phase("auth"):
                await wire.log_in(
                    option(options, "user", str), option(options, "database", str), option(options, "password", str, "")
                )
            found = await _looked(wire, options, watch)
            await wire.end()
        except Refused as refused:
            if refused.code.startswith("28"):
                raise ProbeError(f"PostgreSQL refuses the check: {refused}") from None
            raise TargetError("rejected", str(refused)) from None
    return {**answer, **found, "phases": watch.done()}


async def _secured(reader: Any, writer: Any, options: Mapping[str, Any], watch: Watch) -> None:
    """Begin TLS where it is wanted."""
    if not option(options, "tls", bool, False):
        return
    watch.at = "tls"
    writer.write(_SSL_REQUEST)
    await writer.drain()
    if await reader.read(64) != b"S":  # and nothing after it: what comes before TLS could be anybody's
        raise TargetError("tls_failed", "the server does not offer TLS on this port")
    await secure(writer, options, watch)


async def _looked(wire: Wire, options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    limit = max(_LEAST_MS, int(1000 * float(options.get("attempt_timeout", 5))))
    with watch.phase("query"):
        if await wire.ask(_BEGIN.format(limit)) != [["1"]]:
            raise TargetError("protocol_error", "SELECT 1 was not answered with 1")
    with watch.phase("state"):
        try:
            rows = await wire.ask(_STATE)
        except Refused as refused:
            return {"state_refused": str(refused)[:200]}
    if len(rows) != 1 or len(rows[0]) != _COLUMNS:
        raise TargetError("protocol_error", "the state came in another form than it was asked for")
    return _state(rows[0])


def _state(row: Sequence[str | None]) -> dict[str, Any]:
    standby, lag, receivers, connections, most, oldest, sees_all, version = row
    used, room = _number(connections), _number(most)
    return {
        "standby": standby == "t",
        "lag_s": _number(lag),
        "receiving": receivers != "0" if standby == "t" else None,
        "connections": used,
        "connections_most": room,
        "connections_percent": round(100 * used / room, 1) if used is not None and room else None,
        # Without the right to see others' transactions, those that are seen may be the youngest.
        "oldest_transaction_s": (_number(oldest) or 0.0) if sees_all == "t" else None,
        "version": (version or "")[:40],
    }


def _number(text: str | None) -> float | None:
    try:
        number = None if text is None else float(text)
    except ValueError:
        number = math.nan
    if number is not None and not math.isfinite(number):  # NaN would pass every limit
        raise TargetError("protocol_error", f"{str(text)[:40]!r} is no number")
    return None if number is None else max(round(number, 1), 0.0)
