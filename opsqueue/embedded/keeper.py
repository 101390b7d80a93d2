"""Keeps child processes alive: starts them, starts each again that ends, and ends all of them together.

One thread waits for all children at once on their pidfds, so nothing is polled while nothing happens.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from opsqueue.embedded.leash import leashed

FIRST_PAUSE = 0.5
"""Seconds before a child that ended is started again; doubles each time."""
LONGEST_PAUSE = 10.0
PROVEN_SECONDS = 60.0
"""A child that ran this long begins again with the first pause."""
_PULSE = 0.1
"""Seconds between two looks where the system has no pidfds."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A program to keep running."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    """The whole environment; None inherits ours."""
    log: Path | None = None
    """Where its output is appended; None shares ours."""
    cwd: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How one child fares."""

    name: str
    state: Literal["running", "waiting", "stopped"]
    pid: int | None
    restarts: int
    up_seconds: float
    """Since it was last started; 0 when it does not run."""
    last_exit: int | None
    """As subprocess tells it: negative is the number of a signal."""
    next_start_in: float
    """Seconds; 0 unless it waits to be started again."""


@dataclass(slots=True)
class _Kept:
    """What the keeper remembers of one child."""

    child: Child
    pause: float
    process: subprocess.Popen[bytes] | None = None
    pidfd: int | None = None
    started_at: float = 0.0
    due_at: float = 0.0
    restarts: int = 0
    last_exit: int | None = None


class Keeper:
    """Runs named children until `stop`; a child's process group and leash end with the keeper.

    `run` keeps in the calling thread until a signal or `stop`; `start` keeps in a thread of its own.
    """

    def __init__(self, children: Iterable[Child], *, grace: float = 15.0) -> None:
        self._kept = {child.name: _Kept(child=child, pause=FIRST_PAUSE) for child in children}
        self._grace = grace
        """Seconds between asking the children to end and killing them."""
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._mouth: socket.socket | None = None
        """A byte into it, from a signal handler or another thread, wakes the keeper."""

    def start(self) -> None:
        """Keep in a thread of its own; returns once every child was started the first time."""
        started = threading.Event()
        # Not a daemon thread: the kernel ends leashed children together with the thread that started them.
        self._thread = threading.Thread(target=self._keep, args=(started,), name="keeper")
        self._thread.start()
        started.wait()

    def run(self) -> None:
        """Keep in this thread, which must be the main one, until SIGINT, SIGTERM or `stop`; ends all children."""
        with self._signals():
            self._keep(threading.Event())

    def stop(self) -> None:
        """End every child: SIGTERM, then after the grace SIGKILL to what is left; returns when all have ended."""
        self._ask_to_stop()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def status(self) -> list[Status]:
        """How every child fares now; may be called from any thread."""
        now = time.monotonic()
        return [_status(kept, now, stopping=self._stopping) for kept in self._kept.values()]

    def _ask_to_stop(self, *_signal: object) -> None:
        self._stopping = True
        if self._mouth is not None:
            with suppress(OSError):  # full, so it wakes anyway; or closed, so it has ended
                self._mouth.send(b"!")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _keep(self, started: threading.Event) -> None:
        ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)
        try:
            with ear, selectors.DefaultSelector() as selector:
                selector.register(ear, selectors.EVENT_READ)
                for kept in self._kept.values():
                    self._launch(kept, selector)
                started.set()
                while not self._stopping:
                    self._turn(selector)
        finally:
            started.set()
            self._end_all()
            self._mouth.close()

    def _turn(self, selector: selectors.BaseSelector) -> None:
        """Wait until a child ends, one is due, or somebody wakes us; then act."""
        selector.select(self._patience())
        for kept in self._kept.values():
            if kept.process is not None and _has_ended(kept.process.pid):
                self._note_end(kept, selector)
            if kept.process is None and kept.due_at <= time.monotonic() and not self._stopping:
                kept.restarts += 1
                self._launch(kept, selector)

    def _patience(self) -> float | None:
        """Seconds to wait at most; None waits for an event only."""
        now = time.monotonic()
        due = [max(kept.due_at - now, 0.0) for kept in self._kept.values() if kept.process is None]
        blind = [_PULSE for kept in self._kept.values() if kept.process is not None and kept.pidfd is None]
        return min(due + blind, default=None)

    def _launch(self, kept: _Kept, selector: selectors.BaseSelector) -> None:
        kept.started_at = time.monotonic()
        try:
            kept.process = _spawn(kept.child)
        except OSError as exc:
            kept.last_exit = 127
            self._put_off(kept)
            _log(logging.ERROR, kept, f"cannot be started: {exc}")
            return
        kept.pidfd = _pidfd(kept.process.pid)
        if kept.pidfd is not None:
            selector.register(kept.pidfd, selectors.EVENT_READ)
        _log(logging.INFO, kept, f"started as process {kept.process.pid}")

    def _note_end(self, kept: _Kept, selector: selectors.BaseSelector) -> None:
        if kept.process is None:
            return
        if kept.pidfd is not None:
            selector.unregister(kept.pidfd)
            os.close(kept.pidfd)
        # What it left behind would work beside its successor. Until it is reaped its number belongs to nobody else.
        _kill_group(kept.process.pid)
        kept.last_exit = kept.process.wait()
        kept.process = kept.pidfd = None
        up = time.monotonic() - kept.started_at
        if up >= PROVEN_SECONDS:
            kept.pause = FIRST_PAUSE
        wait = self._put_off(kept)
        _log(logging.ERROR, kept, f"FAILED: ended with {kept.last_exit} after {up:.1f} s, starts again in {wait:.1f} s")

    def _put_off(self, kept: _Kept) -> float:
        wait = kept.pause
        kept.due_at = time.monotonic() + wait
        kept.pause = min(wait * 2, LONGEST_PAUSE)
        return wait

    def _end_all(self) -> None:
        self._stopping = True
        left = [kept for kept in self._kept.values() if kept.process is not None]
        for process in [kept.process for kept in left if kept.process is not None]:
            os.kill(process.pid, signal.SIGTERM)  # it is not reaped yet, so the number is its own
        deadline = time.monotonic() + self._grace
        while any(_runs(kept) for kept in left) and time.monotonic() < deadline:
            _wait_for_one(left, deadline - time.monotonic())
        for kept in left:
            self._bring_to_end(kept)

    def _bring_to_end(self, kept: _Kept) -> None:
        process = kept.process
        if process is None:
            return
        if _runs(kept):
            _log(logging.WARNING, kept, f"did not end within {self._grace:.1f} s and is killed")
        _kill_group(process.pid)
        kept.last_exit = process.wait()
        if kept.pidfd is not None:
            os.close(kept.pidfd)
        kept.process = kept.pidfd = None
        _log(logging.INFO, kept, f"ended with {kept.last_exit}")


def _spawn(child: Child) -> subprocess.Popen[bytes]:
    """Start a child on a leash, in a session of its own so that its whole process group can be ended."""
    output = None if child.log is None else child.log.open("ab")
    try:
        return subprocess.Popen(
            leashed(list(child.argv)),
            env=None if child.env is None else dict(child.env),
            cwd=child.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
        )
    finally:
        if output is not None:
            output.close()


def _pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _has_ended(pid: int) -> bool:
    """Whether a child of ours has ended; it is not reaped, so its number stays its own."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody else reaped it
        return True


def _runs(kept: _Kept) -> bool:
    return kept.process is not None and not _has_ended(kept.process.pid)


def _wait_for_one(left: Iterable[_Kept], seconds: float) -> None:
    """Wait until one of the children ends, or so many seconds."""
    alive = [kept for kept in left if _runs(kept)]
    fds = [kept.pidfd for kept in alive if kept.pidfd is not None]
    if len(fds) < len(alive):
        time.sleep(min(_PULSE, max(seconds, 0.0)))
        return
    with selectors.DefaultSelector() as selector:
        for fd in fds:
            selector.register(fd, selectors.EVENT_READ)
        selector.select(max(seconds, 0.0))


def _kill_group(pid: int) -> None:
    """Kill what is left of the process group that the child led."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _status(kept: _Kept, now: float, *, stopping: bool) -> Status:
    process = kept.process
    return Status(
        name=kept.child.name,
        state="running" if process else "stopped" if stopping else "waiting",
        pid=process.pid if process else None,
        restarts=kept.restarts,
        up_seconds=now - kept.started_at if process else 0.0,
        last_exit=kept.last_exit,
        next_start_in=0.0 if process or stopping else max(kept.due_at - now, 0.0),
    )


def _log(level: int, kept: _Kept, words: str) -> None:
    fields = {"child": kept.child.name, "restarts": kept.restarts, "exit": kept.last_exit}
    logger.log(level, "%s %s", kept.child.name, words, extra={"event": "child_process", "fields": fields})
