"""One SSH connection, opened through Fabric within a deadline; its host key is checked before anybody logs in.

Fabric accepts any host key, reads ~/.ssh/config and ~/.fabric.yaml and waits without end for a server that says
nothing: here each of that is replaced. There is no agent, no agent forwarding, no pty, no password and no prompt.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import paramiko
from fabric import Config, Connection
from paramiko.auth_strategy import AuthStrategy

from opsqueue.connectors.deadline import all_within
from opsqueue.connectors.ssh.login import user_of
from opsqueue.connectors.ssh.transport import Wire, shut
from opsqueue.connectors.ssh.trust import HostKey, changed, unknown_key
from opsqueue.errors import HostUnreachable
from opsqueue.model.host import Host

# What goes wrong is told by our own errors; paramiko would print every broken connection with its traceback.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

_WEAK = {
    "ciphers": ["3des-cbc", "aes128-cbc", "aes192-cbc", "aes256-cbc"],
    "macs": ["hmac-md5", "hmac-md5-96", "hmac-sha1-96"],
}
_IDLE_S, _BETWEEN_S, _PROBES = 15, 5, 3
"""TCP keepalive: a peer that went away while nothing was said is noticed after 15 + 3 x 5 seconds."""
_UNHEARD_MS = 30_000
"""How long what was sent may stay unacknowledged; the system's own patience is a quarter of an hour."""


Reach = Callable[[float], Any]
"""Makes the socket, or a channel through a gateway, until that moment of `time.monotonic`."""


def left(until: float) -> float:
    """Seconds until then; TimeoutError when there are none."""
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


class _Pinned(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # it comes without types
    """Asked for every connection, after the key exchange and before the login: no other key file is ever loaded."""

    def __init__(self, host: Host, known: Sequence[HostKey]) -> None:
        self._host, self._known = host, known

    def missing_host_key(self, _client: Any, _name: str, key: Any) -> None:
        """Raises HostNotTrusted unless it is a pinned key."""
        shown = _host_key(key)
        if not self._known:
            raise unknown_key(self._host, shown)
        if shown not in self._known:
            raise changed(self._host, self._known, shown)


class _Login(AuthStrategy):  # type: ignore[misc]  # it comes without types
    """Our keys in their order, all within the same deadline."""

    def __init__(self, user: str, keys: Sequence[Any], until: float) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._user, self._keys, self._until = user, keys, until

    def authenticate(self, transport: Any) -> None:
        """Raises AuthenticationException when no key is enough."""
        for key in self._keys:
            transport.auth_timeout = left(self._until)
            with contextlib.suppress(paramiko.BadAuthenticationType, paramiko.AuthenticationException):
                if not transport.auth_publickey(self._user, key):
                    return
            if not transport.is_active():
                break
        left(self._until)
        raise paramiko.AuthenticationException


def connect(host: Host, reach: Reach, known: Sequence[HostKey], keys: Sequence[Any], seconds: float) -> Any:
    """An open Fabric connection. Raises HostUnreachable, or HostNotTrusted before anybody logged in."""
    until = time.monotonic() + seconds
    user = user_of(host)
    with _told(host, seconds), contextlib.ExitStack() as undo:
        sock = reach(until)
        undo.callback(shut, sock)
        options = {
            "sock": sock,
            "timeout": left(until),
            "channel_timeout": seconds,
            "disabled_algorithms": _WEAK,
            "transport_factory": partial(Wire, kinds=[key.kind for key in known], seconds=left(until)),
            "auth_strategy": _Login(user, keys, until),
            "allow_agent": False,
            "look_for_keys": False,
        }
        # `gateway` and `forward_agent` are said so that Fabric does not look for them elsewhere.
        more = {"port": host.port, "config": _config(), "gateway": False, "forward_agent": False}
        connection = _Fabric(host.address or host.name, user=user, connect_kwargs=options, **more)
        connection.client.set_missing_host_key_policy(_Pinned(host, known))
        undo.callback(hang_up, connection)
        connection.open()
        undo.pop_all()
        return connection


class _Fabric(Connection):  # type: ignore[misc]  # it comes without types
    """Fabric writes this into the configuration that all connections share, while others read it."""

    inline_ssh_env = None


def presented(host: Host, reach: Reach, known: Sequence[HostKey], seconds: float) -> HostKey:
    """The host key that the server shows, of a pinned kind if it can; nobody logs in. Raises HostUnreachable."""
    until = time.monotonic() + seconds
    with _told(host, seconds), contextlib.ExitStack() as undo:
        sock = reach(until)
        undo.callback(shut, sock)
        wire = Wire(sock, _WEAK, kinds=[key.kind for key in known], seconds=left(until))
        undo.callback(wire.end)
        wire.start_client(timeout=left(until))
        return _host_key(wire.get_remote_server_key())


def shown_by(connection: Any) -> HostKey | None:
    """The host key of an open connection; None when it is gone."""
    wire = connection.client.get_transport()
    key = wire.host_key if wire else None  # its getter raises where the connection ends at this moment
    return _host_key(key) if key else None


def hang_up(connection: Any) -> None:
    """Close it at once, whatever is still under way on it."""
    wire = connection.client.get_transport()
    if wire is not None:
        wire.end()
    connection.client.close()


def dial(host: Host, until: float) -> socket.socket:
    """A TCP connection to it, by the first of its addresses that answers; OSError when none does."""
    address = host.address or host.name
    # The resolver has no time limit of its own.
    (found,) = all_within(
        left(until),
        {f"look up {address}": lambda: socket.getaddrinfo(address, host.port, type=socket.SOCK_STREAM)},
    ).values()
    if isinstance(found, Exception):
        raise found
    problem: Exception = OSError("it has no address")
    for number, (family, kind, protocol, _name, place) in enumerate(found):
        wire = socket.socket(family, kind, protocol)
        try:
            wire.settimeout(left(until) / (len(found) - number))
            wire.connect(place)
        except OSError as error:
            wire.close()
            problem = error
        else:
            _keep_alive(wire)
            return wire
    raise problem


def _keep_alive(wire: socket.socket) -> None:
    tcp = socket.IPPROTO_TCP
    wire.setsockopt(tcp, socket.TCP_NODELAY, 1)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _IDLE_S),
        ("TCP_KEEPINTVL", _BETWEEN_S),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", _UNHEARD_MS),
    ):
        if hasattr(socket, name):  # Linux has them all
            wire.setsockopt(tcp, getattr(socket, name), value)


def _host_key(key: Any) -> HostKey:
    return HostKey(key.get_name(), key.get_base64())


@cache
def _config() -> Any:
    """Fabric's own defaults and nothing else: `lazy` reads no fabric.yaml, the empty SSHConfig no ssh_config."""
    return Config(lazy=True, ssh_config=paramiko.SSHConfig(), overrides={"load_ssh_configs": False})


@contextlib.contextmanager
def _told(host: Host, seconds: float) -> Iterator[None]:
    """Whatever goes wrong inside is said in our words."""
    began = time.monotonic()
    try:
        yield
    except (OSError, EOFError, paramiko.SSHException) as error:
        late = isinstance(error, TimeoutError) or time.monotonic() - began >= seconds
        why = (
            f"did not answer within {seconds:g} s: is it up, and does sshd answer there?" if late else _why(host, error)
        )
        raise HostUnreachable(f"{host.name} ({host.where}) {why}", host=host.name) from None


def _why(host: Host, error: Exception) -> str:
    match error:
        case socket.gaierror():
            return f"cannot be found: {error.strerror}. Set its address, or mend the name service."
        case ConnectionRefusedError():
            return "refused the connection: is sshd running, and is that its port?"
        case paramiko.AuthenticationException():
            return (
                f"did not let {user_of(host)} in with the key that is offered: is its public half in "
                f"authorized_keys there, and are user and key_file right?"
            )
        case paramiko.SSHException() if "protocol banner" in str(error):
            return f"could not be reached: no SSH server answers there (port {host.port}): is that its port?"
        case _:
            return f"could not be reached: {str(error) or 'it closed the connection'}"
