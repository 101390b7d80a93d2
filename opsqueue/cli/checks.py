"""What an installation needs, looked at one by one; each check says what is missing and the command that mends it."""

from __future__ import annotations

import os
import time
import zoneinfo
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from redis.exceptions import RedisError

from opsqueue.cli.channels import no_links, nobody_called, unreachable_channels
from opsqueue.cli.checks_hosts import hosts
from opsqueue.cli.look import Check, Looks
from opsqueue.cli.record import no_record, opened
from opsqueue.cli.times import length, utc
from opsqueue.embedded.redis import find_server, running
from opsqueue.errors import OpsqueueError
from opsqueue.notify.templates import problems
from opsqueue.settings import Settings
from opsqueue.store import alerts, holds, tellings
from opsqueue.store.upgrade import head, revision
from opsqueue.tasks.broker import connect, queue_lengths
from opsqueue.tasks.dead import dead_count, dead_list

_SHOWN = 3
_MOST_UNTOLD = 1000


def all_checks(settings: Settings) -> list[Check]:
    """Every check, in the order in which one would mend."""
    looks: tuple[Callable[[Settings], Looks], ...] = (
        _state_dir, _database, _redis_server, _broker, _workers, _channels, _untold, _alerts, _time_zones, hosts,
    )  # fmt: skip
    return [check for look in looks for check in look(settings)]


def _state_dir(settings: Settings) -> Looks:
    path = settings.state_dir.absolute()
    there = next(place for place in (path, *path.parents) if place.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return (Check(check="state directory", state="ok", message=f"{path} can be written"),)
    mend = f"mkdir -p {path} && chown $USER {path}, or set state_dir"
    return (Check(check="state directory", state="fail", message=f"{there} cannot be written", mend=mend),)


def _database(settings: Settings) -> Looks:
    try:
        with opened(settings) as store:
            if store is None:
                return (Check(check="database", state="warn", message=no_record(settings), mend="opsqueue db upgrade"),)
            with store.read() as connection:
                found, wanted = revision(connection), head()
    except OpsqueueError as error:
        return (Check(check="database", state="fail", message=error.message, mend="opsqueue config show"),)
    if found == wanted:
        return (Check(check="database", state="ok", message=f"it answers, revision {found}"),)
    message = f"it has revision {found}, this version of opsqueue needs {wanted}"
    return (Check(check="database", state="fail", message=message, mend="opsqueue db upgrade"),)


def _redis_server(settings: Settings) -> Looks:
    if settings.broker_url is not None:
        return ()
    try:
        return (Check(check="redis-server", state="ok", message=f"{find_server()} for the embedded broker"),)
    except OpsqueueError as error:
        return (Check(check="redis-server", state="fail", message=error.message, mend="apt install redis-server"),)


def _broker(settings: Settings) -> Looks:
    if settings.broker_url is None and not running(settings.state_dir / "redis"):
        message = "the embedded broker does not run; `execute` starts one for as long as it needs it"
        return (Check(check="broker", state="warn", message=message, mend="opsqueue up"),)
    try:
        with connect(settings) as client:
            lengths = queue_lengths(client, settings)
            buried = dead_count(client, settings.broker_prefix)
            newest = [one.reason for one in dead_list(client, _SHOWN, settings.broker_prefix)] if buried else []
    except (RedisError, OSError, OpsqueueError) as error:
        mend = "look at broker_url with `opsqueue config show`"
        return (Check(check="broker", state="fail", message=f"{type(error).__name__}: {error}", mend=mend),)
    waiting = ", ".join(f"{queue} {count}" for queue, count in lengths.items())
    return (
        Check(check="broker", state="ok", message="it answers"),
        Check(check="queues", state="ok", message=f"messages that wait: {waiting}"),
        _dead(buried, newest),
    )


def _dead(buried: int, newest: list[str]) -> Check:
    if not buried:
        return Check(check="dead messages", state="ok", message="none")
    message = f"{buried} could not be read; the newest: {'; '.join(newest)}"
    return Check(check="dead messages", state="warn", message=message, mend="find who sends them")


def _workers(settings: Settings) -> Looks:
    try:
        lease = _reconciler(settings)
    except OpsqueueError:
        return ()  # said above
    now = time.time()
    if lease and lease[1] > now:
        return (Check(check="workers", state="ok", message=f"{lease[0]} looks for what is due"),)
    embedded = settings.broker_url is None
    seen = (
        f"the last one was {lease[0]}, {length(now - lease[1])} ago ({utc(lease[1])})"
        if lease
        else "none was ever seen"
    )
    mend = "opsqueue up" if embedded else "opsqueue worker"
    message = f"no worker runs; {seen}"
    return (Check(check="workers", state="warn" if embedded else "fail", message=message, mend=mend),)


def _reconciler(settings: Settings) -> tuple[str, float] | None:
    """Who looked last for what is due, and until when it said it would: every worker takes part."""
    with opened(settings) as store:
        if store is None:
            return None
        with store.read() as connection:
            return holds.lease_of(connection, "reconciler")


def _channels(settings: Settings) -> Looks:
    told = [*unreachable_channels(settings), *nobody_called(settings), *no_links(settings)]
    doubts = [*told, *problems(settings.notification_rules)]
    if not doubts:
        return (Check(check="notification channels", state="ok", message="each can be resolved"),)
    mend = "set what it names in the configuration"
    return tuple(Check(check="notification channels", state="warn", message=doubt, mend=mend) for doubt in doubts)


def _untold(settings: Settings) -> Looks:
    try:
        with opened(settings) as store:
            if store is None:
                return ()
            with store.read() as connection:
                dead = [row for row in tellings.newest(connection, _MOST_UNTOLD, every=False) if row.status == "dead"]
    except OpsqueueError:
        return ()  # said above
    lost = [row for row in dead if not row.fallback]
    if not lost:
        return (Check(check="messages", state="ok", message="none without an operation was given up"),)
    message = f"{len(lost)} without an operation were given up; the newest: {lost[0].channel}: {lost[0].error}"
    return (Check(check="messages", state="warn", message=message, mend="opsqueue notify test; opsqueue notify list"),)


def _alerts(settings: Settings) -> Looks:
    try:
        with opened(settings) as store:
            if store is None:
                return ()
            with store.read() as connection:
                found = alerts.faults(connection)
    except OpsqueueError:
        return ()  # said above
    if not found:
        return (Check(check="alerts", state="ok", message="the look at each goes well"),)
    name, (why, at) = next(iter(found.items()))
    what = f"{len(found)} of them fails, and people may not be told; {name}" if name else "all of them fails"
    message = f"the look at {what}, since {utc(at)}: {why}"
    mend = f"grep 'ERROR in the look' {settings.log_dir}/operations.log"
    return (Check(check="alerts", state="fail", message=message, mend=mend),)


def _time_zones(_settings: Settings) -> Looks:
    """Windows, quiet hours and schedules go by these: two machines with different ones disagree after a new law."""
    for place in map(Path, zoneinfo.TZPATH):
        if (place / "UTC").exists():
            known = _first_line(place / "tzdata.zi").removeprefix("# version ") or "of a version that it does not tell"
            return (Check(check="time zones", state="ok", message=f"tzdata {known} in {place}"),)
    try:
        message = f"the Python package tzdata {version('tzdata')}"
    except PackageNotFoundError:
        mend = "apt install tzdata, or pip install tzdata"
        return (Check(check="time zones", state="fail", message="only UTC is known: no tzdata", mend=mend),)
    return (Check(check="time zones", state="ok", message=message),)


def _first_line(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as lines:
            return lines.readline().strip()
    except OSError:
        return ""


def config_check(path: Path | None) -> Check:
    """That the configuration was read."""
    message = f"{path} is good" if path else "no file; defaults and the environment"
    return Check(check="configuration", state="ok", message=message)
