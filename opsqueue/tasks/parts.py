"""The parts of a running system as child processes that are kept alive: workers, Beat, Flower, Redis.

Beside its children each of these commands runs the reconciler, so that every worker is also one who looks for
what is due, and who notices a worker that has gone deaf.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from opsqueue import telemetry
from opsqueue.embedded.keeper import Child, Keeper
from opsqueue.embedded.port import why_not
from opsqueue.embedded.redis import EmbeddedRedis
from opsqueue.embedded.users import LastCall, among_others, first_of_its_kind
from opsqueue.errors import InvalidRequest
from opsqueue.model.instant import utc_text
from opsqueue.pipeline.assemble import check
from opsqueue.settings import Settings
from opsqueue.store.engine import Store
from opsqueue.store.upgrade import upgrade
from opsqueue.tasks.broker import QUEUES, wait_for
from opsqueue.tasks.reconciler import Reconciler
from opsqueue.tasks.seated import seated

_log = logging.getLogger("opsqueue.parts")


def up(settings: Settings, *, config: str | None = None, events: bool = True, transient: bool = False) -> int:
    """The whole system on one machine, in the foreground; Ctrl-C ends all of it.

    A transient one has neither Beat nor Flower and ends by itself when nothing is left to do.
    Raises BrokerUnreachable, as all of these, when there is a broker_url and no Redis answers there.
    """
    check(settings)
    _logs(settings, stderr=not transient)
    wait_for(settings, _tell)
    with ExitStack() as stack:
        last_call = stack.enter_context(LastCall(settings.state_dir))  # given back after Redis has ended
        # Entered after the last call, so that it is given up before: who waited for the call may then begin.
        if transient and not stack.enter_context(first_of_its_kind(settings.state_dir)):
            return 0
        redis = None
        if settings.broker_url is None:
            redis = stack.enter_context(EmbeddedRedis(settings.state_dir / "redis"))
        _upgraded(settings)
        flower = events and settings.flower.enabled and not transient
        children = [*worker_children(settings, config, events=flower or settings.worker.events)]
        if not transient:
            children.append(beat_child(config))
        if flower:
            why = no_flower(settings)
            _tell(f"Flower is left out: {why}" if why else f"Flower: http://{_where(settings)}")
            children.extend([] if why else [flower_child(config)])
        if not transient:
            if words := company(stack.enter_context(among_others(settings.state_dir))):
                _tell(words)
            _tell(f"logs: {settings.log_dir}\nopsqueue runs; Ctrl-C ends all of it")
        end = partial(_end_if_unused, last_call) if transient else None
        _keep(settings, children, end=end, revive=redis.revive if redis else None)
    return 0


def company(others: Sequence[tuple[int, float]]) -> str:
    """That other systems run on the same state directory, and what that means; empty when there are none."""
    who = ", ".join(f"process {pid} since {utc_text(since)}" for pid, since in others)
    words = (
        f"another `opsqueue up` runs on this state directory already: {who}. All share the work, and each entry of "
        "the schedule still runs once; Ctrl-C ends this one alone."
    )
    return words if others else ""


def worker(
    settings: Settings, *, config: str | None = None, queues: Sequence[str] | None = None, name: str | None = None
) -> int:
    """Workers for this machine, kept alive, with their reconciler."""
    check(settings)
    _logs(settings, stderr=True)
    wait_for(settings, _tell)
    children = worker_children(settings, config, events=settings.worker.events, queues=queues, name=name)
    _keep(settings, children, queues=queues)
    return 0


def host_worker(settings: Settings, host: str, *, config: str | None = None) -> int:
    """The own worker of one host: it takes the targets of this host, and works them on this machine.

    Raises Conflict when this host has a worker already, here or on another machine.
    """
    check(settings)
    _logs(settings, stderr=True)
    wait_for(settings, _tell)
    queues = (f"host.{host}",)
    name = f"host-{host}"
    child = _worker_child(name, queues, settings.worker.processes, config, events=settings.worker.events)
    with seated(settings, host, tell=_tell) as seat:
        own = Child(name=name, argv=(*child.argv, "--host", host, "--seat", seat.holder))
        _keep(settings, [own], queues=queues)
    return 0


def beat(settings: Settings, *, config: str | None = None) -> int:
    """Beat alone, kept alive; any number may run."""
    _logs(settings, stderr=True)
    wait_for(settings, _tell)
    Keeper([beat_child(config)]).run()
    return 0


def flower(settings: Settings, *, config: str | None = None) -> int:
    """Flower alone, kept alive; InvalidRequest when it cannot listen where it should."""
    if why := no_flower(settings):
        raise InvalidRequest(why)
    _logs(settings, stderr=True)
    wait_for(settings, _tell)
    Keeper([flower_child(config)]).run()
    return 0


def worker_children(
    settings: Settings,
    config: str | None,
    *,
    events: bool,
    queues: Sequence[str] | None = None,
    name: str | None = None,
) -> list[Child]:
    """The shared worker, and the reserved one that takes what is critical while the others are busy."""
    tag = name or secrets.token_hex(3)
    shared = _worker_child(f"shared-{tag}", queues or QUEUES, settings.worker.processes, config, events=events)
    if not settings.worker.reserved or queues:
        return [shared]
    # Critical before intake here: a flood of requests may fill the intake, and must not hold up what is critical.
    reserved = ("critical", "intake")
    return [shared, _worker_child(f"reserved-{tag}", reserved, settings.worker.reserved, config, events=events)]


def _worker_child(name: str, queues: Sequence[str], processes: int, config: str | None, *, events: bool) -> Child:
    argv = [*_module("worker", config), name, ",".join(queues), str(processes)]
    return Child(name=name, argv=tuple([*argv, "--events"] if events else argv))


def beat_child(config: str | None) -> Child:
    """Beat."""
    return Child(name="beat", argv=_module("beat", config))


def flower_child(config: str | None) -> Child:
    """Flower, for reading only."""
    return Child(name="flower", argv=_module("flower", config))


def no_flower(settings: Settings) -> str:
    """Why Flower could not listen, and what to do; empty when it can."""
    why = why_not(settings.flower.address, settings.flower.port)
    return f"nothing can listen on {_where(settings)}: {why}. Free it, or set flower.port to another one" if why else ""


def _where(settings: Settings) -> str:
    address = settings.flower.address
    return f"[{address}]:{settings.flower.port}" if ":" in address else f"{address}:{settings.flower.port}"


def _module(name: str, config: str | None) -> tuple[str, ...]:
    path = ("--config", str(Path(config).resolve())) if config else ()
    return (sys.executable, "-m", "opsqueue.tasks", name, *path)


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)  # noqa: T201  # the person who started it reads here


def _logs(settings: Settings, *, stderr: bool) -> None:
    telemetry.configure(
        settings.log_dir,
        form=settings.logging.format,
        level=settings.logging.level,
        stderr=stderr and sys.stderr.isatty(),
    )


def _upgraded(settings: Settings) -> None:
    store = Store(settings.database)
    try:
        upgrade(store)
    finally:
        store.close()


def _keep(
    settings: Settings,
    children: list[Child],
    *,
    end: Callable[[], None] | None = None,
    queues: Sequence[str] | None = None,
    revive: Callable[[], None] | None = None,
) -> None:
    keeper = Keeper(children)
    reconciler = Reconciler(settings, keeper, end=end, queues=queues, revive=revive)
    thread = threading.Thread(target=reconciler.run, name="opsqueue-reconciler", daemon=True)
    thread.start()
    try:
        keeper.run()
    finally:
        reconciler.stop()
        thread.join(5)


def _end_if_unused(last_call: LastCall) -> None:
    if last_call.take():
        os.kill(os.getpid(), signal.SIGTERM)
