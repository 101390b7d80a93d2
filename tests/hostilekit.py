"""SSH servers in somebody else's hands: real ones (paramiko's) that do what no sshd would.

A test says what happens to each channel that is to run something; `served` is what an honest server does::

    from hostilekit import Hostile, served

    def answers_nothing(channel, command): ...

    with Hostile(key_file, answers_nothing) as bad:
        bad.host      # a `Host` to reach it
        bad.pin       # its line for known_hosts
        bad.logins    # how many were let in until now
    with Hostile(key_file, leads_to=other_host) as gateway:   # whatever is asked for behind it, it is this one
        ...

Everything is ended, with all connections, when the `with` ends.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Any, Self

import paramiko
from paramiko.common import cMSG_CHANNEL_DATA, cMSG_CHANNEL_EXTENDED_DATA, cMSG_CHANNEL_WINDOW_ADJUST
from paramiko.packet import Packetizer

from opsqueue.model.host import Host

_GONE = (OSError, EOFError, paramiko.SSHException)
_CHUNK = 30_000
OUT, ERR = cMSG_CHANNEL_DATA, cMSG_CHANNEL_EXTENDED_DATA
"""The two streams of a channel, for `flood`."""


def served(channel: Any, command: str) -> None:
    """Run it, as an honest server does."""
    given = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(["sh", "-c", command], start_new_session=True, **given) as process:
        outs = [
            threading.Thread(target=_pump, args=(lambda: process.stdout.read1(_CHUNK), channel.sendall)),
            threading.Thread(target=_pump, args=(lambda: process.stderr.read1(_CHUNK), channel.sendall_stderr)),
        ]
        threading.Thread(target=_feed, args=(channel, process.stdin), daemon=True).start()
        for one in outs:
            one.start()
        for one in outs:
            one.join()
        channel.send_exit_status(process.wait())
        channel.close()


def _pump(take: Callable[[], bytes], give: Callable[[bytes], Any]) -> None:
    with contextlib.suppress(*_GONE):
        while data := take():
            give(data)


def _feed(channel: Any, stdin: Any) -> None:
    with contextlib.suppress(*_GONE, ValueError):
        while data := channel.recv(_CHUNK):
            stdin.write(data)
            stdin.flush()
    with contextlib.suppress(*_GONE):
        stdin.close()


def grant(channel: Any, size: int) -> None:
    """Give the other side room for so many bytes more."""
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_WINDOW_ADJUST)
    message.add_int(channel.remote_chanid)
    message.add_int(size)
    channel.transport._send_user_message(message)


def flood(channel: Any, stream: bytes, most: int) -> int:
    """Send so many bytes whatever room there is for them; how many could be sent before the other side hung up."""
    sent = 0
    with contextlib.suppress(*_GONE):
        while sent < most and channel.transport.is_active():
            message = paramiko.Message()
            message.add_byte(stream)
            message.add_int(channel.remote_chanid)
            if stream == ERR:
                message.add_int(1)
            message.add_string(b"x" * _CHUNK)
            channel.transport._send_user_message(message)
            sent += _CHUNK
    return sent


class Hostile:
    """`on_exec` is called with each channel and its command; `window` and `packet` are what it says that it takes."""

    def __init__(
        self,
        key_file: str,
        on_exec: Callable[[Any, str], None] = served,
        *,
        name: str = "bad",
        window: int | None = None,
        packet: int | None = None,
        leads_to: Host | None = None,
    ) -> None:
        self.on_exec, self.leads_to = on_exec, leads_to
        self.window, self.packet = window, packet
        self.logins = self.largest = 0
        """How many were let in; bytes of the largest packet that came."""
        self._key = paramiko.ECDSAKey.generate()
        self._transports: list[Any] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        port = self._listener.getsockname()[1]
        self.host = Host(name=name, connector="ssh", address="127.0.0.1", port=port, key_file=key_file, user="root")
        self.pin = f"[127.0.0.1]:{port} {self._key.get_name()} {self._key.get_base64()}\n"
        threading.Thread(target=self._serve, daemon=True).start()

    def end(self) -> None:
        """Close it and all connections to it."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._listener.close()
        for one in self._transports:
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _from = self._listener.accept()
                threading.Thread(target=self._talk, args=(one,), daemon=True).start()

    def _talk(self, one: socket.socket) -> None:
        transport = paramiko.Transport(one, packetizer_class=_Measured)
        transport.packetizer.boss = self
        self._transports.append(transport)
        transport.add_server_key(self._key)
        transport.default_window_size = self.window or transport.default_window_size
        transport.default_max_packet_size = self.packet or transport.default_max_packet_size
        with contextlib.suppress(*_GONE):
            transport.start_server(server=_Face(self))
            while self.leads_to and transport.is_active():
                if channel := transport.accept(0.2):
                    self._forward(channel, self.leads_to)

    def _forward(self, channel: Any, to: Host) -> None:
        far = socket.create_connection((to.address, to.port), timeout=10)
        far.settimeout(None)
        for take, give, end in ((channel.recv, far.sendall, far), (far.recv, channel.sendall, channel)):
            threading.Thread(target=_through, args=(take, give, end), daemon=True).start()


def _through(take: Callable[[int], bytes], give: Callable[[bytes], Any], end: Any) -> None:
    _pump(lambda: take(_CHUNK), give)
    with contextlib.suppress(*_GONE):
        end.close()


class _Measured(Packetizer):
    boss: Hostile

    def read_message(self) -> Any:
        kind, message = super().read_message()
        self.boss.largest = max(self.boss.largest, len(message.asbytes()))
        return kind, message


class _Face(paramiko.ServerInterface):
    def __init__(self, boss: Hostile) -> None:
        self._boss = boss

    def get_allowed_auths(self, _username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, _username: str, _key: Any) -> int:
        self._boss.logins += 1
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, _kind: str, _number: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: Any, command: bytes) -> bool:
        threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel: Any, command: str) -> None:
        with contextlib.suppress(*_GONE):
            self._boss.on_exec(channel, command)

    def check_channel_direct_tcpip_request(self, number: int, _origin: Any, _wanted: Any) -> int:
        refused = paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        return paramiko.OPEN_SUCCEEDED if self._boss.leads_to else refused
