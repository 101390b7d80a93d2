"""The judgement of servers with a protocol of their own, once they answered: SSH, PostgreSQL, Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsqueue.operations.health.problem import Problems, cannot_tell, critical, warning
from opsqueue.operations.health.servers import PostgresCheck, RedisCheck, SshCheck

_NO_SOURCE = "Look whether its primary runs and lets it in, and in its log."


def ssh(check: SshCheck, answer: Mapping[str, Any]) -> Problems:
    """A server with another key answers, and is still not the one that is meant."""
    if not answer["expected"]:
        yield critical(
            "host_key_changed",
            f"shows {' and '.join(answer['shown'])}; wanted {' or '.join(check.host_keys)}",
            "Compare with `ssh-keygen -lf` on the host itself: it was made anew, or somebody stands between.",
        )


def postgres(check: PostgresCheck, answer: Mapping[str, Any]) -> Problems:
    """Role, replication, connections, transactions."""
    if "state_refused" in answer:
        yield cannot_tell(f"it answers, but does not tell how it stands: {answer['state_refused']}")
        return
    yield from _role("standby" if answer.get("standby") else "primary", check.expect_role)
    yield from _behind(check, answer)
    yield from _busy(check, answer)


def _role(found: str | None, wanted: str | None) -> Problems:
    if wanted is not None and found != wanted:
        yield critical("role_unexpected", f"it is a {found}, wanted a {wanted}", "See whether there was a failover.")


def _behind(check: PostgresCheck, answer: Mapping[str, Any]) -> Problems:
    lag = answer.get("lag_s")
    if answer.get("receiving") is False:
        since = "" if lag is None else f"; what it replayed last is {lag:.0f} s old"
        yield critical("replication_stopped", f"this standby receives nothing{since}", _NO_SOURCE)
    elif lag is not None and lag > check.max_lag_s:
        yield warning(
            "replication_behind",
            f"replication lags behind by {lag:.0f} s, wanted at most {check.max_lag_s:g} s",
            "Look at the load and the network of the standby, and for long queries on it.",
        )


def _busy(check: PostgresCheck, answer: Mapping[str, Any]) -> Problems:
    percent, oldest = answer.get("connections_percent"), answer.get("oldest_transaction_s")
    if percent is not None and percent >= check.max_connections_percent:
        used, most = answer["connections"], answer["connections_most"]
        yield warning(
            "connections_high",
            f"{used:.0f} of {most:.0f} connections are in use ({percent:g}%), "
            f"wanted below {check.max_connections_percent:g}%",
            "See who holds them in pg_stat_activity; a pool before the server helps more than a higher limit.",
        )
    if oldest is None and "max_transaction_s" in check.model_fields_set:
        yield cannot_tell("its role may not see the transactions of others: GRANT pg_monitor to it")
    elif oldest is not None and oldest > check.max_transaction_s:
        yield warning(
            "transaction_old",
            f"the oldest transaction is {oldest:.0f} s old, wanted at most {check.max_transaction_s:g} s",
            "See pg_stat_activity and pg_prepared_xacts: until it ends, nothing that it may see is cleaned up.",
        )


def redis(check: RedisCheck, answer: Mapping[str, Any]) -> Problems:
    """Readiness, role, link, memory, saving."""
    if not answer["ready"]:
        yield critical("redis_not_ready", f"it answers PING with {answer.get('why_not', 'no PONG')}")
    if "info_refused" in answer:
        yield cannot_tell(f"it answers, but does not tell how it stands: {answer['info_refused']}")
        return
    yield from _role(answer.get("role"), check.expect_role)
    if answer.get("link") not in {None, "up"}:
        yield critical("replication_stopped", f"the link of this replica is {answer['link']}", _NO_SOURCE)
    percent = answer.get("memory_percent")
    if percent is not None and percent >= check.max_memory_percent:
        yield warning(
            "redis_memory_high",
            f"{percent:g}% of maxmemory is in use, wanted below {check.max_memory_percent:g}%",
            "See what it evicts or refuses then: `maxmemory-policy`.",
        )
    yield from _saved(answer)


def _saved(answer: Mapping[str, Any]) -> Problems:
    for key, what in (("last_save", "the last save"), ("last_append", "the last write of the append-only file")):
        if answer.get(key) not in {None, "ok"}:
            yield critical(
                "redis_save_failed",
                f"{what} failed: by its defaults it refuses every write until one works",
                "Look in its log: mostly a full disk, or no memory to fork.",
            )
