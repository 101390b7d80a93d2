"""Hosts to reach over SSH: real OpenSSH servers on loopback addresses, and odd servers that misbehave.

A test asks for as many hosts as it likes; each has an address of its own (127.x.y.z), all are this machine::

    from sshkit import Farm, Relay, Odd, needs_sshd

    @needs_sshd
    def test_it(tmp_path):
        with Farm(hosts=200) as farm:           # 13 servers with 16 addresses each: sshd takes no more
            one = farm.host(0)                  # a `Host`: name h1, its address, port, user and key
            hosts = farm.hosts()                # all of them
            farm.pin(tmp_path / "known_hosts")  # the keys of all, as `opsqueue hosts trust` would write them
            farm.settings()                     # {"h1": {"connector": "ssh", "address": …}, …} for opsqueue.json
            farm.sessions()                     # how many channels ran something, by the server's own log

    with Farm(hosts=3, banner=[0], noisy=[1]) as farm: ...   # hosts 0 and 1 say more than they should
    with Farm(hosts=2, people=True) as farm:                 # root only: `needs_people`
        farm.host(0, user="ops")     # may do everything by sudo without a password
        farm.host(0, user="plain")   # may not;  "csh" has another login shell, "nologin" has none
    with Farm(hosts=1) as farm, Relay(farm.host(0)) as relay:
        relay.host        # reaches farm.host(0) through a wire that can be …
        relay.cut()       # … cut, or
        relay.freeze()    # … left open with nothing coming through any more, until `thaw`
        relay.stall()     # the same for good, while new connections work
    with Odd("silent", farm.key_file) as odd:
        odd.host          # accepts and says nothing; also "refuses", "deaf" (never answers a connect), "closes",
                          # "drips" (a byte now and then), "chatty" (endless lines), "stuck" (only says who it is)

Everything stands in one temporary folder and is ended, with all sessions, when the `with` ends. A command that was
cut off from its session is the test's own business. Linux only: elsewhere 127.x.y.z is not this machine.
"""

from __future__ import annotations

import atexit
import getpass
import os
import random
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil
import pytest

from opsqueue.model.host import Host

_SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_MOST = 16
"""Addresses that one sshd listens on; MAX_LISTEN_SOCKS in its source."""


def _can_have_people() -> bool:
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "sudo", "csh"))):
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


NEEDS_SSHD = [
    pytest.mark.service,
    pytest.mark.skipif(_SSHD is None, reason="needs sshd: install openssh-server"),
]
"""Marks for tests, modules and parameters that need a farm."""

NEEDS_PEOPLE = [
    *NEEDS_SSHD,
    pytest.mark.skipif(not _can_have_people(), reason="needs root, util-linux, sudo and csh"),
]
"""Likewise for those that need users of our own."""


def needs_sshd(test):
    """Skip where there is no sshd."""
    return _marked(test, NEEDS_SSHD)


def needs_people(test):
    """Skip where users of our own cannot be had: that takes root, unshare, sudo and csh."""
    return _marked(test, NEEDS_PEOPLE)


def _marked(test, marks):
    for mark in marks:
        test = mark(test)
    return test


class Farm:
    """`hosts` addresses with real sshd behind them, whose host key, user key and user certificate are our own."""

    def __init__(
        self,
        hosts: int = 1,
        *,
        banner: Iterable[int] = (),
        noisy: Iterable[int] = (),
        people: bool = False,
        lines: Iterable[str] = (),
        log_level: str = "VERBOSE",
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="opsqueue-sshd-"))
        self.folder.chmod(0o711)  # the users of `people` come through
        net = f"127.{random.randint(1, 250)}.{random.randint(0, 250)}"
        self.addresses = [f"{net}.{number + 1}" if number < 250 else _further(net, number) for number in range(hosts)]
        self.user = getpass.getuser()
        self.key_file = self._key("user_key")
        self.host_key_file = self._key("host_key")
        self.log_file = self.folder / "sshd.log"
        self._people = people
        self._servers: list[subprocess.Popen[bytes]] = []
        atexit.register(self.end)  # for a test that forgets it
        try:
            self._certify()
            self._configure(lines, banner, noisy, log_level)
            self._start()
        except BaseException:
            self.end()
            raise

    # -- what a test asks for -------------------------------------------------------------------------------

    @property
    def host_key(self) -> str:
        """The public host key of all, `ssh-ed25519 AAAA…`."""
        return " ".join(Path(f"{self.host_key_file}.pub").read_text().split()[:2])

    @property
    def certificate_file(self) -> str:
        """A user certificate for `certified_key`, whose key is in no authorized_keys."""
        return f"{self.folder}/certified-cert.pub"

    @property
    def certified_key(self) -> str:
        """The private key that is accepted with its certificate only."""
        return f"{self.folder}/certified"

    def host(self, number: int = 0, **more) -> Host:
        """One of the hosts, named h1, h2 …; `more` are other fields of it."""
        given = {
            "name": f"h{number + 1}",
            "address": self.addresses[number],
            "connector": "ssh",
            "port": self.port,
            "user": self.user,
            "key_file": self.key_file,
        }
        return Host(**{**given, **more})

    def hosts(self, **more) -> list[Host]:
        """All of them."""
        return [self.host(number, **more) for number in range(len(self.addresses))]

    def settings(self) -> dict[str, dict[str, object]]:
        """The `hosts` of a configuration."""
        kept = ("connector", "address", "port", "user", "key_file")
        return {host.name: {name: getattr(host, name) for name in kept} for host in self.hosts()}

    def pin(self, path: Path, key: str = "", more: Iterable[Host] = ()) -> Path:
        """Write a known_hosts file with the key of every host, also behind h1; `key` is another one than theirs."""
        places = [(address, self.port) for address in self.addresses]
        places += [(host.address, host.port) for host in more]
        path.parent.mkdir(parents=True, exist_ok=True)
        names = [f"[{address}]:{port}" for address, port in places]
        path.write_text("".join(f"{name},{name}@h1 {key or self.host_key}\n" for name in names))
        path.chmod(0o600)
        return path

    def sessions(self) -> int:
        """How many channels ran a command until now."""
        return self.log().count("Starting session:")

    def logins(self) -> int:
        """How many connections were authenticated until now."""
        return self.log().count("Accepted publickey")

    def log(self) -> str:
        """What the servers wrote."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def drop(self) -> None:
        """End all sessions, as a restart of the hosts would; the servers go on listening."""
        for server in self._servers:
            _kill(psutil.Process(server.pid).children(recursive=True))

    def stop(self) -> None:
        """The hosts go down: nobody listens and nothing runs any more. `start` brings them back."""
        for server in self._servers:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(server.pid)
                process.suspend()  # so that nobody comes in meanwhile
                _kill([*process.children(recursive=True), process])
            server.wait(10)
        self._servers = []

    def start(self) -> None:
        """The hosts come up again, where they were and with the same keys."""
        self._listen(self.port)

    def end(self) -> None:
        """Stop and forget everything."""
        atexit.unregister(self.end)
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    # -- how it is made -------------------------------------------------------------------------------------

    def _key(self, name: str) -> str:
        make_key(self.folder / name)
        return str(self.folder / name)

    def _certify(self) -> None:
        authority, certified = self._key("authority"), self._key("certified")
        names = f"{self.user},ops,plain,csh"
        sign = ["ssh-keygen", "-q", "-s", authority, "-I", "test", "-n", names, f"{certified}.pub"]
        subprocess.run(sign, check=True, stdin=subprocess.DEVNULL, timeout=10)

    def _configure(self, lines: Iterable[str], banner: Iterable[int], noisy: Iterable[int], log_level: str) -> None:
        folder = self.folder
        shutil.copy(f"{self.key_file}.pub", folder / "authorized_keys")
        (folder / "authorized_keys").chmod(0o644)
        (folder / "banner").write_text("*** authorised use only ***\n" * 50)
        noise = folder / "noisy"
        noise.mkdir(mode=0o755)
        (folder / "home").mkdir()
        (noise / ".bashrc").write_text("echo noise from .bashrc; echo noise on stderr >&2\nprintf 'no newline'\n")
        text = [
            f"HostKey {self.host_key_file}",
            f"AuthorizedKeysFile {folder}/authorized_keys",
            f"TrustedUserCAKeys {folder}/authority.pub",
            *("PidFile none", "UsePAM no", "UseDNS no", "StrictModes no", "PasswordAuthentication no"),
            *(
                "PermitRootLogin prohibit-password",
                "KbdInteractiveAuthentication no",
                "PrintMotd no",
                "PrintLastLog no",
            ),
            *("MaxStartups 2000", "MaxSessions 100", "LoginGraceTime 60", f"LogLevel {log_level}", *lines),
            *(f"Match LocalAddress {self.addresses[n]}\nBanner {folder}/banner" for n in banner),
            *(f"Match LocalAddress {self.addresses[n]}\nSetEnv HOME={noise}" for n in noisy),
            # What the start-up files of whoever runs the tests do, and how long that takes, is no test's matter.
            f"Match User {self.user}\nSetEnv HOME={folder}/home",
        ]
        (folder / "sshd_config").write_text("\n".join(text) + "\n")

    def _start(self) -> None:
        for _ in range(5):
            self.port = free_port(self.addresses[0])
            with suppress(ConnectionError):
                self._listen(self.port)
                return
            self.stop()
        raise RuntimeError(f"sshd does not start: {self.log()[-2000:]}")

    def _listen(self, port: int) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it locks itself in; its package's own place
        for start in range(0, len(self.addresses), _MOST):
            some = self.addresses[start : start + _MOST]
            listen = [f"-oListenAddress={address}:{port}" for address in some]
            argv = [_SSHD, "-D", "-f", f"{self.folder}/sshd_config", "-E", str(self.log_file), *listen]
            self._servers.append(self._launched(argv))
        for server, address in zip(self._servers, self.addresses[::_MOST], strict=True):
            _until_listening(server, address, port)

    def _launched(self, argv: list[str]) -> subprocess.Popen[bytes]:
        if self._people:
            argv = ["unshare", "--mount", "sh", "-c", f'{self._households()} && exec "$@"', "sh", *argv]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(argv, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, cwd="/")

    def _households(self) -> str:
        """Users of our own, in a view of the file system that only these servers have."""
        folder = self.folder
        rows = [f"{name}:*:{uid}:65534::{folder}/{name}:{shell}" for name, uid, shell in _USERS]
        for name, uid, _shell in _USERS:
            with suppress(FileExistsError):
                (folder / name).mkdir(mode=0o700)
                os.chown(folder / name, uid, 65534)
        (folder / "passwd").write_text(Path("/etc/passwd").read_text() + "\n".join(rows) + "\n")
        (folder / "sudoers").unlink(missing_ok=True)
        (folder / "sudoers").write_text("root ALL=(ALL) ALL\nops ALL=(ALL) NOPASSWD:SETENV: ALL\n")
        (folder / "sudoers").chmod(0o440)
        (folder / "passwd").chmod(0o644)
        return f"mount --bind {folder}/passwd /etc/passwd && mount --bind {folder}/sudoers /etc/sudoers"


_USERS = (
    ("ops", 7101, "/bin/bash"),
    ("plain", 7102, "/bin/bash"),
    ("csh", 7103, "/bin/csh"),
    ("nologin", 7104, "/usr/sbin/nologin"),
)


class Relay:
    """A wire to a host, with an address of its own, that a test can cut or freeze.

    `greeting` are bytes that come before the server's first ones.
    """

    def __init__(self, to: Host, greeting: bytes = b"") -> None:
        self._to, self._greeting = (to.address, to.port), greeting
        self._listener = _listening()
        address, port = self._listener.getsockname()
        self.host = to.model_copy(update={"name": f"relay-{to.name}", "address": address, "port": port})
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._flows, self._ended = threading.Event(), False
        self._flows.set()
        self.passed = 0
        """Bytes that came through, both ways."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Reset all connections through it; new ones are possible."""
        with self._lock:
            for end in list(self._pairs):
                self._drop(end, reset=True)

    def freeze(self) -> None:
        """Everything stays open, nothing comes through; new connections are accepted and get no answer."""
        self._flows.clear()

    def stall(self) -> None:
        """What is open stays so, and nothing comes through it ever again; new connections work."""
        with self._lock:
            for end in self._pairs:
                with suppress(KeyError):
                    self._selector.unregister(end)

    def thaw(self) -> None:
        """Everything comes through again."""
        self._flows.set()

    def end(self) -> None:
        """Close it."""
        self._ended = True
        self._flows.set()
        self._thread.join(5)
        self.cut()
        self._listener.close()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    def _run(self) -> None:
        while not self._ended:
            self._flows.wait()
            found = self._selector.select(0.02)
            with self._lock:
                for key, _events in found:
                    if self._flows.is_set() and key.fileobj.fileno() >= 0:
                        self._accept() if key.fileobj is self._listener else self._pass(key.fileobj)

    def _accept(self) -> None:
        near, _from = self._listener.accept()
        try:
            far = socket.create_connection(self._to, timeout=5)
        except OSError:
            near.close()
            return
        near.sendall(self._greeting)
        for one, other in ((near, far), (far, near)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ, None)

    def _pass(self, end: socket.socket) -> None:
        try:
            data = end.recv(1 << 16)
            if data:
                self._pairs[end].sendall(data)
                self.passed += len(data)
        except OSError:
            data = b""
        if not data:
            self._drop(end)

    def _drop(self, end: socket.socket, *, reset: bool = False) -> None:
        other = self._pairs.pop(end, None)
        if other is None:
            return
        self._pairs.pop(other, None)
        for one in (end, other):
            with suppress(KeyError):
                self._selector.unregister(one)
            if reset:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()


class Odd:
    """A server that is no SSH server: silent, refuses, deaf, drips, chatty, closes or stuck."""

    def __init__(self, way: str, key_file: str = "") -> None:
        self.way, self._ended = way, threading.Event()
        self._listener = _listening(backlog=0 if way == "deaf" else 50)
        address, port = self._listener.getsockname()
        self.host = Host(name=way, connector="ssh", address=address, port=port, key_file=key_file)
        self._held: list[socket.socket] = []
        if way == "refuses":
            self._listener.close()
        elif way == "deaf":
            self._fill()
        else:
            threading.Thread(target=self._serve, daemon=True).start()

    def end(self) -> None:
        """Close it and all connections to it."""
        self._ended.set()
        for one in (self._listener, *self._held):
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()

    def _fill(self) -> None:
        # With its queue full the kernel answers no further connect at all, as a machine that is off.
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(self._listener.getsockname())
            self._held.append(one)
        time.sleep(0.01)

    def _serve(self) -> None:
        with suppress(OSError):
            while not self._ended.is_set():
                one, _from = self._listener.accept()
                self._held.append(one)
                threading.Thread(target=self._talk, args=(one,), daemon=True).start()

    def _talk(self, one: socket.socket) -> None:
        with suppress(OSError):
            if self.way == "closes":
                one.close()
            if self.way == "stuck":
                one.sendall(b"SSH-2.0-and_nothing_more\r\n")
            while self.way == "drips" and not self._ended.wait(0.05):
                one.sendall(b"S")
            while self.way == "chatty" and not self._ended.wait(0.001):
                one.sendall(b"welcome to nowhere\r\n" * 10)


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """Make a key pair at `path` and `path`.pub."""
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, timeout=30)
    return path


def free_port(address: str = "127.0.0.1") -> int:
    """A port of this address that nobody has at the moment."""
    with socket.socket() as one:
        one.bind((address, 0))
        return one.getsockname()[1]


def _further(net: str, number: int) -> str:
    first, second, third = net.split(".")
    return f"{first}.{second}.{(int(third) + number // 250) % 256}.{number % 250 + 1}"


def _listening(backlog: int = 50) -> socket.socket:
    one = socket.socket()
    one.bind((f"127.{random.randint(1, 250)}.{random.randint(0, 250)}.1", 0))
    one.listen(backlog)
    return one


def _until_listening(server: subprocess.Popen[bytes], address: str, port: int) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if server.poll() is not None:
            raise ConnectionError(f"sshd ended with exit code {server.returncode}")
        with suppress(OSError), socket.create_connection((address, port), timeout=1):
            return
        time.sleep(0.005)
    raise ConnectionError(f"sshd does not listen on {address}:{port}")


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    until = time.monotonic() + 5
    while any(map(_lives, processes)) and time.monotonic() < until:
        time.sleep(0.005)


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False
