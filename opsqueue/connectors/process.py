"""One child process to its end: fed, drained, bounded in time and in memory, and ended with its whole group."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from opsqueue.model.plan import Result

_CHUNK = 1 << 16
_LINGER_S = 1.0
"""How long output is still read after the process ended; a daemon that it started may keep the pipe open for ever."""
_NAP_S = 0.1


@dataclass(slots=True)
class Kept:
    """The first and the last bytes of a stream, whatever its length."""

    head_most: int
    tail_most: int
    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    dropped: int = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
        room = self.head_most - len(self.head)
        self.head += chunk[:room]
        self.tail += chunk[room:]
        if len(self.tail) > 2 * self.tail_most:
            self._trim()

    def _trim(self) -> None:
        extra = max(0, len(self.tail) - self.tail_most)
        del self.tail[:extra]
        self.dropped += extra

    def text(self) -> str:
        """What was kept, with a line that says how much was left out between head and tail."""
        self._trim()
        gap = f"\n[… {self.dropped} bytes left out …]\n" if self.dropped else ""
        return self.head.decode(errors="replace") + gap + self.tail.decode(errors="replace")


@dataclass(slots=True, kw_only=True)
class _Child:
    """A running process with its pipes registered for reading and writing."""

    process: subprocess.Popen[bytes]
    selector: selectors.BaseSelector
    streams: Mapping[int, Kept]
    pending: memoryview
    ended: bool = False

    def turn(self, wait: float) -> None:
        """Wait for the pipes at most so long and do what can be done without blocking."""
        for key, _events in self.selector.select(wait):
            step: Callable[[IO[bytes]], None] = key.data
            step(key.fileobj)  # type: ignore[arg-type]  # only pipes are registered
        # The child is looked at but not collected yet: until then nobody else can get its process id, nor its
        # group's, so that the group can be ended safely.
        self.ended = self.ended or _has_ended(self.process.pid)

    def read(self, pipe: IO[bytes]) -> None:
        chunk = os.read(pipe.fileno(), _CHUNK)
        if chunk:
            self.streams[pipe.fileno()].feed(chunk)
        else:
            self.leave(pipe)

    def write(self, pipe: IO[bytes]) -> None:
        try:
            self.pending = self.pending[os.write(pipe.fileno(), self.pending[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it reads no further, which is its good right
            self.pending = memoryview(b"")
        if not self.pending:
            self.leave(pipe)

    def leave(self, pipe: IO[bytes]) -> None:
        """Close our end of a pipe."""
        self.selector.unregister(pipe)
        with contextlib.suppress(OSError):
            pipe.close()

    def drain(self, seconds: float) -> None:
        """Read what is still in the pipes after the end."""
        until = time.monotonic() + seconds
        while self.selector.get_map() and time.monotonic() < until:
            self.turn(_NAP_S)
        for key in list(self.selector.get_map().values()):
            self.leave(key.fileobj)  # type: ignore[arg-type]

    def end_group(self, number: signal.Signals) -> None:
        """Send a signal to every process of the group, also to those whose parent has ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def run_process(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: bytes = b"",
    limit_s: float,
    grace_s: float = 5.0,
    head_most: int,
    tail_most: int,
) -> Result:
    """Run to the end, or to `limit_s`, when the group gets SIGTERM and `grace_s` later SIGKILL.

    Raises OSError when the program cannot be started, ValueError when an argument cannot be passed.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(env),
        cwd="/",
        start_new_session=True,
        bufsize=0,
    )
    out, err = Kept(head_most, tail_most), Kept(head_most, tail_most)
    with selectors.DefaultSelector() as selector:
        child = _registered(process, selector, out, err, stdin)
        timed_out = _to_the_end(child, limit_s, grace_s)
        child.drain(_LINGER_S)
    return Result(
        exit_code=None if timed_out else _as_shells_say(process.wait()),
        stdout=out.text(),
        stderr=err.text(),
        seconds=time.monotonic() - began,
        timed_out=timed_out,
        truncated=bool(out.dropped or err.dropped),
    )


def _registered(
    process: subprocess.Popen[bytes], selector: selectors.BaseSelector, out: Kept, err: Kept, stdin: bytes
) -> _Child:
    pipes = process.stdin, process.stdout, process.stderr
    into, one, two = (_unblocked(pipe) for pipe in pipes)
    streams = {one.fileno(): out, two.fileno(): err}
    child = _Child(process=process, selector=selector, streams=streams, pending=memoryview(stdin))
    selector.register(one, selectors.EVENT_READ, child.read)
    selector.register(two, selectors.EVENT_READ, child.read)
    if stdin:
        selector.register(into, selectors.EVENT_WRITE, child.write)
    else:
        into.close()
    return child


def _unblocked(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("all three streams are pipes")
    os.set_blocking(pipe.fileno(), False)
    return pipe


def _to_the_end(child: _Child, limit_s: float, grace_s: float) -> bool:
    """Whether the limit was reached; however this is left (Ctrl-C too), the group is ended or done."""
    in_time = False
    try:
        in_time = _until_end(child, limit_s)
        if not in_time:
            child.end_group(signal.SIGTERM)
            _until_end(child, grace_s)
    finally:
        if not in_time:
            child.end_group(signal.SIGKILL)
            _until_end(child, grace_s)
            child.process.poll()
    return not in_time


def _as_shells_say(code: int) -> int:
    """A signal as 128 + its number, as every shell reports it and as it arrives over SSH."""
    return 128 - code if code < 0 else code


def _until_end(child: _Child, seconds: float) -> bool:
    """Whether it ended within so many seconds."""
    until = time.monotonic() + seconds
    while not child.ended:
        left = until - time.monotonic()
        if left <= 0:
            return False
        child.turn(min(left, _NAP_S if child.selector.get_map() else 0.005))
    return True


def _has_ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody else in this process collects all children
        return True
