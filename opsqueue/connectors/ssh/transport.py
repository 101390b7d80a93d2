"""The SSH transport with what paramiko leaves open: limits for what a peer may send, and for how long it may take."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any

import paramiko
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA
from paramiko.packet import Packetizer

_END_S = 2.0
_PACKET_MOST = 1 << 18
"""Bytes; PACKET_MAX_SIZE of OpenSSH."""
_UNREAD_MOST = 4 << 20
"""Bytes that may wait unread on a channel: twice the window that it is given."""


def _within_window(feed: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Paramiko grants a window, and does not look whether it is kept to."""

    def fed(channel: Any, message: Any) -> None:
        if len(channel.in_buffer) + len(channel.in_stderr_buffer) > _UNREAD_MOST:
            raise paramiko.SSHException("it sends more than it was given room for")
        feed(channel, message)

    return fed


class _Packets(Packetizer):  # type: ignore[misc]  # it comes without types
    """Gives up a peer that takes nothing any more; everybody else would wait for it in line, without end."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._sock = sock

    def close(self) -> None:
        """Through a gateway that is gone nobody can be told, and the rest is still to be tidied up."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            super().close()

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """Refuse a packet that is longer than any of OpenSSH's; its length is believed before any key is known."""
        if n > _PACKET_MOST:
            raise paramiko.SSHException(f"it announces a packet of {n} bytes")
        return bytes(super().read_all(n, check_rekey))

    def write_all(self, out: bytes) -> None:
        """Send all of it; EOFError when no byte of it went out for as long as the socket waits."""
        while out:
            try:
                sent = self._sock.send(out)
            except OSError:  # also the time limit
                sent = 0
            if not sent:
                wake(self._sock)
                raise EOFError("it takes nothing any more")
            out = out[sent:]


class Wire(paramiko.Transport):  # type: ignore[misc]  # it comes without types
    """A transport that wants the pinned kinds of keys, and whose thread sleeps while nothing comes."""

    # It would look ten times a second whether it was closed: with 1,000 hosts that is a third of a processor. A
    # socket that is shut down wakes it at once.
    _active_check_timeout = 30.0
    # Paramiko has no public place for it.
    _channel_handler_table = {  # noqa: RUF012
        **paramiko.Transport._channel_handler_table,  # noqa: SLF001
        MSG_CHANNEL_DATA: _within_window(paramiko.Channel._feed),  # noqa: SLF001
        MSG_CHANNEL_EXTENDED_DATA: _within_window(paramiko.Channel._feed_extended),  # noqa: SLF001
    }

    def __init__(
        self, sock: Any, disabled_algorithms: Any = None, *, kinds: Sequence[str] = (), seconds: float = 10.0
    ) -> None:
        super().__init__(sock, disabled_algorithms=disabled_algorithms, packetizer_class=_Packets)
        self.banner_timeout = self.handshake_timeout = seconds
        options = self.get_security_options()
        wanted = [name for name in options.key_types if _kind_of(name) in kinds]
        options.key_types = [*wanted, *(name for name in options.key_types if name not in wanted)]

    def end(self) -> None:
        """Close it, and let its threads go at once."""
        # The thread closes the socket itself when it sees the end: were it closed here, its number could already
        # belong to another file when the thread begins to wait for it.
        wake(self.sock)
        if self.is_alive():
            self.join(_END_S)
        else:
            shut(self.sock)
        self.packetizer.complete_handshake()  # else its timer would hold up the end of the process
        self.close()


def _kind_of(algorithm: str) -> str:
    """The kind of key behind a name of its signature."""
    return "ssh-rsa" if algorithm in {"rsa-sha2-512", "rsa-sha2-256"} else algorithm


def wake(sock: Any) -> None:
    """Let whoever waits for it see its end, and leave a file that is open to whoever opened it."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        if isinstance(sock, socket.socket):
            sock.shutdown(socket.SHUT_RDWR)
        else:
            sock.close()  # a channel through a gateway


def shut(sock: Any) -> None:
    """Close it, whatever state it is in."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        sock.close()
