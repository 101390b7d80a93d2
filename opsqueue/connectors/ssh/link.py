"""One open connection to a host: channels on it, and the shell that waits at its other end.

A waiting shell is fed script after script, each with a random marker behind it. That costs the host a fifth of a new
channel, and the start-up files of its login shell are read once and not every time.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import paramiko

from opsqueue.connectors.ssh import remote
from opsqueue.connectors.ssh.stream import GONE, Dropped, Stream
from opsqueue.connectors.ssh.wire import hang_up
from opsqueue.errors import HostUnreachable

_SPARE = 1
"""Waiting shells that are kept; a second one is opened while the first is busy, and closed afterwards."""
_TRIES = 20
_SAID_MOST = 300
_NOISE_MOST = 1 << 20
"""Bytes that a login shell may say before it does what it is told."""
_END_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """What is asked once for each connection."""

    user_id: int
    timeout: str | None
    """The path of a `timeout` that is good enough; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a text made a waiting shell say; `whole` is whether it came to its end."""

    out: str
    err: str
    whole: bool
    late: bool
    """Its time was over before that."""


class Cut(Exception):
    """The shell ended in the middle of its answer, of which `answer` is the beginning."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


@dataclass(slots=True)
class _Waiting:
    """A waiting shell."""

    stream: Stream
    leader: int = 0
    """Its process id, once it said so: the first of its session."""
    acquainted: bool = False
    """Whether it knows already what it can; a lone reading needs nothing of that."""


@dataclass(slots=True)
class Link:
    """An open connection; `patience` is how many seconds it may be silent where an answer should come at once."""

    connection: Any
    patience: float
    who: Who | None = None
    used_at: float = 0.0
    """When it was last let go of, by time.monotonic."""
    users: int = 0
    retired: bool = False
    """It is not given to anybody any more, and closed when its last user lets go."""
    held: ExitStack = field(default_factory=ExitStack)
    """Let go of when it is closed: the gateway's connection."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _spare: list[_Waiting] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        """Whether it is open, as far as one can see from here."""
        return not self.retired and bool(self.connection.is_connected)

    def close(self) -> None:
        """Hang up."""
        self.retired = True
        hang_up(self.connection)
        self.held.close()

    def forward(self, address: str, port: int, seconds: float) -> Any:
        """A channel to a place that this host can reach. Raises TimeoutError when nobody answers there."""
        try:
            return self.connection.transport.open_channel("direct-tcpip", (address, port), ("", 0), timeout=seconds)
        except paramiko.ChannelException as error:
            raise HostUnreachable(f"it does not connect to {address}:{port}: {error.text}") from None
        except (*GONE, AttributeError) as error:
            if self.alive:
                raise TimeoutError from None
            raise Dropped(f"the connection is gone ({error})") from None

    def open(self, command: str) -> Stream:
        """A channel that runs this; the host answered that it does. Raises Dropped: then certainly nothing ran."""
        channel = self._channel()
        # Paramiko waits for the answer without end.
        stream = Stream(channel)
        late = threading.Timer(self.patience, stream.close)
        late.daemon = True
        late.start()
        try:
            channel.exec_command(command)
        except GONE as error:
            raise Dropped(f"it did not start a shell ({error})") from None
        finally:
            late.cancel()
        return stream

    def end_session(self, leader: int) -> None:
        """End whatever still runs in the session of a shell that we started."""
        text = remote.end_session(leader)
        with contextlib.suppress(Dropped):
            ending = self.open(remote.one_off(text))
            ending.send(text.encode(), _END_S)
            ending.drain(time.monotonic() + _END_S)
            ending.close()

    def _channel(self) -> Any:
        gave_back = False
        for _ in range(_TRIES):
            try:
                return self.connection.transport.open_session(timeout=self.patience)
            except paramiko.ChannelException as error:
                # It is alive, but has as many sessions as its sshd allows (MaxSessions): give it back what waits.
                problem = f"it allows no further session on this connection ({error.text})"
            except (*GONE, AttributeError) as error:
                raise Dropped(f"the connection is gone ({error})") from None
            gave_back = self._drop_spare() or gave_back
            if not gave_back:
                break
            time.sleep(0.1)  # until the shell that was let go of has ended there
        raise Dropped(problem)

    def _drop_spare(self) -> bool:
        with self._lock:
            dropped, self._spare = self._spare, []
        for one in dropped:
            one.stream.close()
        return bool(dropped)

    def known(self) -> Who:
        """Who logged in here, asked once. Raises Dropped."""
        if self.who is None:
            with contextlib.suppress(Cut):
                self.tell(":", self.patience, _NOISE_MOST)
        if self.who is None:
            raise Dropped("its shell did not say who it is")
        return self.who

    def tell(self, text: str, seconds: float, most: int, *, plain: bool = False) -> Answer:
        """Have a waiting shell run this text, within so many seconds, with so many bytes of answer at most.

        `plain`: the text uses none of `user`, `limits` and `timeout`, which cost the host three processes once.
        Raises Dropped when no shell answers at all, and Cut when it ends in the middle.
        """
        while True:
            shell = self._take()
            waited = bool(shell.leader)
            try:
                answer = self._tell(shell, text, seconds, most, plain=plain)
            except Dropped:
                shell.stream.close()
                # One that waited may have been killed there; that says nothing about the connection.
                if waited and shell.stream.ended and self.alive:
                    continue
                raise
            except BaseException:
                shell.stream.close()
                raise
            self._give_back(shell, good=answer.whole)
            return answer

    def _take(self) -> _Waiting:
        with self._lock:
            while self._spare:
                found = self._spare.pop()
                if not found.stream.over:
                    return found
        return _Waiting(self.open(remote.WAITING))

    def _give_back(self, shell: _Waiting, *, good: bool) -> None:
        with self._lock:
            if good and len(self._spare) < _SPARE and not self.retired:
                self._spare.append(shell)
                return
        shell.stream.close()

    def _tell(self, shell: _Waiting, text: str, seconds: float, most: int, *, plain: bool) -> Answer:
        marker = secrets.token_hex(16)
        first = "" if shell.leader else remote.hello(marker)
        if not plain and not shell.acquainted:
            first += remote.acquaintance(marker)
        try:
            shell.stream.send(remote.as_bytes(first + remote.framed(text, marker)), self.patience)
        except Dropped:
            if not (shell.stream.ended or shell.stream.gone):
                raise
            # It ended before it took all of it: what it said instead is told below.
        out, err = _Heard(), _Heard()
        began = time.monotonic()
        ready = f"\n@@{marker} ready\n"
        if not _listen(shell.stream, out, err, began + self.patience, _NOISE_MOST, out_ends=ready):
            raise Dropped(_what_instead(shell.stream, bytes(out.data or err.data), self.patience))
        self._greet(shell, bytes(out.data), marker)
        done = f"\n@@{marker} done\n"
        most += len(out.data) + len(err.data)
        until = time.monotonic() + seconds
        whole = _listen(shell.stream, out, err, until, most, out_ends=done, err_ends=done)
        late = not whole and time.monotonic() >= until
        answer = Answer(out=out.between(ready, done), err=err.between("", done), whole=whole, late=late)
        if not whole and shell.stream.over:
            raise Cut(answer)
        if not whole:
            self.end_session(shell.leader)
        return answer

    def _greet(self, shell: _Waiting, out: bytes, marker: str) -> None:
        if not shell.leader and (found := re.search(rf"@@{marker} hello (\d{{1,9}})\n".encode(), out)):
            shell.leader = int(found[1])
        if not shell.acquainted and (found := re.search(rf"@@{marker} who (\d{{1,12}}) (.*)\n".encode(), out)):
            shell.acquainted = True
            self.who = Who(user_id=int(found[1]), timeout=found[2].decode(errors="replace") or None)


@dataclass(slots=True)
class _Heard:
    """What came on one stream, and how much of it was searched already."""

    data: bytearray = field(default_factory=bytearray)
    searched: int = 0

    def between(self, first: str, last: str) -> str:
        """The text behind the one line, up to the other one or the end."""
        text = self.data.decode(errors="replace")
        return text[text.find(first) + len(first) :].partition(last)[0]

    def has(self, line: str) -> bool:
        """Whether this line came; looks only at what is new."""
        wanted = line.encode()
        if self.data.find(wanted, self.searched) >= 0:
            return True
        self.searched = max(0, len(self.data) - len(wanted) + 1)
        return False


def _listen(
    stream: Stream, out: _Heard, err: _Heard, until: float, most: int, *, out_ends: str, err_ends: str = ""
) -> bool:
    """Read until these lines came; False when the time, the stream or the room for it ends before."""
    while not (out.has(out_ends) and (not err_ends or err.has(err_ends))):
        if time.monotonic() >= until or stream.over or len(out.data) + len(err.data) > most:
            return False
        on_out, on_err = stream.read(until)
        out.data += on_out
        err.data += on_err
    return True


def _what_instead(stream: Stream, said: bytes, seconds: float) -> str:
    text = said.decode(errors="replace").strip()[-_SAID_MOST:]
    why = "ended at once" if stream.over else f"said nothing of ours within {seconds:g} s"
    return f"its login shell {why}{': ' + text if text else ''}"
