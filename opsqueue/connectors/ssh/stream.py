"""Both output streams of one SSH channel, read by whoever asked, within a time limit."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import paramiko

_NAP_S = 0.1
"""How often the end is looked for, which comes without a word."""
_MOST = 1 << 16


GONE = (OSError, EOFError, paramiko.SSHException)
"""What is raised by a connection that went away."""


class Dropped(Exception):
    """The connection, or the shell at its other end, is gone or says nothing."""


class _News(threading.Event):
    """Set whenever either stream has something; only its reader clears it, before it looks."""

    def clear(self) -> None:
        """Paramiko clears it when one of the streams is empty, though the other may not be."""

    def take(self, seconds: float) -> None:
        """Wait for news at most so long."""
        self.wait(seconds)
        super().clear()


@dataclass(slots=True)
class Stream:
    """A channel that runs something."""

    channel: Any
    _news: _News = field(default_factory=_News)

    def __post_init__(self) -> None:
        self.channel.in_buffer.set_event(self._news)
        self.channel.in_stderr_buffer.set_event(self._news)

    @property
    def over(self) -> bool:
        """Whether nothing more will come: the other side closed both streams, or is gone."""
        both = self.channel.eof_received or self.channel.closed
        return bool(both) and not self.channel.recv_ready() and not self.channel.recv_stderr_ready()

    @property
    def ended(self) -> bool:
        """Whether the other side ended it, and not we."""
        return bool(self.channel.eof_received)

    @property
    def gone(self) -> bool:
        """Whether the channel is closed: no exit code will come any more."""
        return bool(self.channel.closed)

    @property
    def exit_code(self) -> int | None:
        """The exit code, once it came; None before, and when the connection went away first."""
        code = self.channel.exit_status
        return code if self.channel.status_event.is_set() and code >= 0 else None

    def read(self, until: float) -> tuple[bytes, bytes]:
        """What came on stdout and stderr; both empty when nothing did within a moment, or until then."""
        channel = self.channel
        if not channel.recv_ready() and not channel.recv_stderr_ready() and not self.over:
            self._news.take(min(_NAP_S, max(0.0, until - time.monotonic())))
        out = err = b""
        with contextlib.suppress(*GONE):  # it tells the other side that there is room again, which may fail
            out = channel.recv(_MOST) if channel.recv_ready() else b""
            err = channel.recv_stderr(_MOST) if channel.recv_stderr_ready() else b""
        return out, err

    def send(self, data: bytes, seconds: float) -> None:
        """Give it to the other side's stdin; raises Dropped when it does not take it."""
        until, left, taken = time.monotonic() + seconds, memoryview(data), 0
        try:
            while left:
                # Room for one byte now and then is no room: the time begins anew with each 64 KiB only.
                self.channel.settimeout(max(0.001, until - time.monotonic()))
                sent = self.channel.send(bytes(left[:_MOST]))
                if not sent:
                    raise EOFError("it was closed")
                left, taken = left[sent:], taken + sent
                if taken >= _MOST:
                    until, taken = time.monotonic() + seconds, 0
        except GONE as error:
            raise Dropped(f"it took no input: {error}") from None

    def end_of_input(self) -> None:
        """Its stdin ends here."""
        with contextlib.suppress(*GONE):
            self.channel.shutdown_write()

    def wait_for_exit(self, until: float) -> None:
        """Wait for its exit code, which may come long after its streams were closed, or for its end without one."""
        self.channel.status_event.wait(max(0.0, until - time.monotonic()))

    def drain(self, until: float) -> None:
        """Wait for the end of its output, whatever that is."""
        while not self.over and time.monotonic() < until:
            self.read(until)

    def close(self) -> None:
        """Let go of it."""
        with contextlib.suppress(*GONE):
            self.channel.close()
