"""One command on a channel of its own: fed, drained, bounded in time and in memory, and ended with its session."""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from opsqueue.connectors.process import Kept
from opsqueue.connectors.ssh import remote
from opsqueue.connectors.ssh.link import Link
from opsqueue.connectors.ssh.stream import Dropped, Stream
from opsqueue.errors import CommandNotSent
from opsqueue.model.plan import Result

_LINGER_S = 1.0
"""How long output is still read after the end; a daemon that the command started may keep it open for ever."""
_NOISE_MOST = 4096


class Lost(Exception):
    """The connection went away after the command was sent; `result` is what was heard until then."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


@dataclass(slots=True)
class _Output:
    """One stream of the command: what a login shell says before it begins is not its own."""

    kept: Kept
    begun: re.Pattern[bytes]
    leader: int = 0
    """The first process of its session, once it began."""
    noise: bytearray = field(default_factory=bytearray)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        if self.leader:
            self.kept.feed(chunk)
            return
        self.noise += chunk
        found = self.begun.search(self.noise)
        if found:
            self.leader = int(found[1])
            self.kept.feed(bytes(self.noise[found.end() :]))
            self.noise = self.noise[: found.start()]
        elif len(self.noise) > 2 * _NOISE_MOST:
            del self.noise[:-_NOISE_MOST]

    @property
    def said(self) -> str:
        """What came instead of the command."""
        return self.noise.decode(errors="replace").strip()[-300:]


@dataclass(slots=True)
class OneOff:
    """A command that is sent over this connection; `late_s` after its beginning it is ended from here."""

    link: Link
    argv: Sequence[str]
    env: Mapping[str, str]
    seconds: int
    late_s: float
    stdin: bytes
    most: int
    still_wanted: Callable[[], None] = lambda: None
    """Raises CommandNotSent when it is too late to send it; asked when all else that takes time is done."""

    def run(self) -> Result:
        """To its end or its limit.

        Raises Dropped when it certainly was not sent, CommandNotSent when it certainly did not start, and Lost.
        """
        marker = secrets.token_hex(16)
        text = remote.command(self.argv, self.env, self.seconds, marker)
        stream = self.link.open(remote.one_off(text))
        half = self.most // 2
        begun = re.compile(rf"\n@@{marker} begun (\d{{1,9}})\n".encode())
        out, err = _Output(Kept(half, half), begun), _Output(Kept(half, half), begun)
        try:
            self.still_wanted()
        except CommandNotSent:
            stream.close()
            raise
        began = time.monotonic()
        _in_background(stream, remote.as_bytes(text) + self.stdin, 2 * self.late_s)
        try:
            in_time = _until_end(stream, out, err, self.late_s)
            if not in_time and out.leader:
                self.link.end_session(out.leader)
        finally:
            stream.close()
        return self._result(stream, out, err, time.monotonic() - began, in_time=in_time)

    def _result(self, stream: Stream, out: _Output, err: _Output, seconds: float, *, in_time: bool) -> Result:
        code = stream.exit_code if in_time else None
        result = Result(
            exit_code=code,
            stdout=out.kept.text(),
            stderr=err.kept.text(),
            seconds=seconds,
            timed_out=not in_time,
            truncated=bool(out.kept.dropped or err.kept.dropped),
        )
        if in_time and code is None and stream.ended and self.link.alive:
            return replace(result, stderr=f"{result.stderr}\nthe shell that ran it was killed there".lstrip("\n"))
        if in_time and code is None:
            raise Lost(result)
        if in_time and not out.leader:
            said = err.said or out.said or "nothing"
            raise CommandNotSent(f"its login shell ended with exit code {code} before it began, and said: {said}")
        return result


def _in_background(stream: Stream, data: bytes, seconds: float) -> None:
    """Feed it from a thread: it may read its input as slowly as it likes, or never."""

    def feed() -> None:
        with contextlib.suppress(Dropped):
            stream.send(data, seconds)
            stream.end_of_input()

    threading.Thread(target=feed, name="ssh input", daemon=True).start()


def _until_end(stream: Stream, out: _Output, err: _Output, seconds: float) -> bool:
    """Read to its end; False when so many seconds have passed since it began, or since it was sent."""
    until, begun, ended_at = time.monotonic() + seconds, False, None
    while True:
        on_out, on_err = stream.read(until)
        out.feed(on_out)
        err.feed(on_err)
        now = time.monotonic()
        if out.leader and not begun:  # the time of a slow login is not that of the command
            until, begun = now + seconds, True
        if stream.over and (stream.gone or stream.exit_code is not None):
            return True
        if ended_at is None and stream.exit_code is not None:
            ended_at = now
        if ended_at is not None and now - ended_at >= _LINGER_S:
            return True
        if now >= until:
            return stream.exit_code is not None
        if stream.over:
            stream.wait_for_exit(until)
