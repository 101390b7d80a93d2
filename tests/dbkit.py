"""Database servers of one's own, each in a short temporary directory; whatever was started ends with its block."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = os.geteuid() == 0


def needs(*programs: tuple[str, str]) -> pytest.MarkDecorator:
    """Skip, with the names of the packages, when a program is missing; each is `(program, package)`."""
    missing = [package for program, package in programs if not _found(program)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(dict.fromkeys(missing))}")


def _found(program: str) -> str | None:
    postgres = sorted((str(path) for path in Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *postgres]))


def program(name: str) -> str:
    """Where it is; PostgreSQL's own are not on the PATH."""
    return _found(name) or name


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def user(name: str) -> str:
    """The user that a server of this kind runs as: its own where we are root, else ourselves."""
    if not ROOT:
        return pwd.getpwuid(os.geteuid()).pw_name
    for one in (name, "nobody"):
        try:
            return pwd.getpwnam(one).pw_name
        except KeyError:
            continue
    raise AssertionError("this machine has no user nobody")


def as_user(name: str, argv: Sequence[str]) -> list[str]:
    return ["runuser", "-u", name, "--", *argv] if ROOT else list(argv)


@contextmanager
def place(name: str) -> Iterator[Path]:
    """A short directory of this user, because a socket's path has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="oqdb"))
    path.chmod(0o755)
    if ROOT:
        shutil.chown(path, name)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def until(true, seconds=30.0, what="the server"):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come about within {seconds} s")


def run(argv: Sequence[str], *, stdin: str | None = None, check: bool = True, **env: str) -> str:
    done = subprocess.run(
        list(argv), input=stdin, capture_output=True, text=True, check=False, timeout=120, cwd="/",
        env={**os.environ, "LC_ALL": "C", **env},
    )  # fmt: skip
    assert not check or done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def _running(argv: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as said:
        process = subprocess.Popen(list(argv), stdout=said, stderr=said, stdin=subprocess.DEVNULL, cwd="/")
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL with peer authentication for its own user, and a password for everybody over TCP."""

    directory: Path
    port: int
    owner: str
    listen: str = ""

    def sql(self, text: str, database: str = "postgres", *, check: bool = True) -> str:
        argv = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.directory), "-p", str(self.port)]
        return run(as_user(self.owner, [*argv, "-d", database, "-f", "-"]), stdin=text, check=check).strip()

    def ctl(self, *words: str, check: bool = True) -> None:
        program = str(Path(_found("initdb") or "initdb").parent / "pg_ctl")
        run(as_user(self.owner, [program, "-D", str(self.directory / "data"), "-w", *words]), check=check)

    def restart(self, between: Callable[[], object]) -> None:
        """Stop it, let something happen, and start it again."""
        self.ctl("-m", "fast", "stop")
        between()
        self.start()

    def start(self) -> None:
        """Start it again after it was stopped."""
        where = f"-c listen_addresses={self.listen} -c unix_socket_directories={self.directory} -c port={self.port}"
        self.ctl("-l", str(self.directory / "log2"), "-o", f"{where} -c fsync=off", "start")


@contextmanager
def postgres(*access: str, settings: Sequence[str] = ()) -> Iterator[Postgres]:
    """Over its socket alone; with lines for its pg_hba.conf over 127.0.0.1 too. `settings` are NAME=VALUE."""
    listen = "127.0.0.1" if access else ""
    owner, port = user("postgres"), free_port()
    with place(owner) as directory:
        data = str(directory / "data")
        programs = Path(_found("initdb") or "initdb").parent
        run(as_user(owner, [str(programs / "initdb"), "-D", data, "-A", "peer", "-E", "UTF8", "--locale=C", "-N"]))
        with (directory / "data/pg_hba.conf").open("a+") as file:
            file.seek(0)
            before = file.read()
            file.truncate(0)
            file.write("".join(f"{line}\n" for line in access) + before)
        options = (
            *(f"listen_addresses={listen}", f"unix_socket_directories={directory}", f"port={port}", "fsync=off"),
            *settings,
        )
        words = [word for option in options for word in ("-c", option)]
        argv = as_user(owner, [str(programs / "postgres"), "-D", data, *words])
        server = Postgres(directory, port, owner, listen)
        with _running(argv, directory / "log"):
            try:
                until(lambda: run(_ready(server), check=False).startswith("1"), what="PostgreSQL")
                yield server
            finally:
                # The process above is runuser's, where we are root; the server itself ends with its own word.
                server.ctl("-m", "immediate", "stop", check=False)


def _ready(server: Postgres) -> list[str]:
    argv = ["psql", "-XAtqw", "-h", str(server.directory), "-p", str(server.port), "-d", "postgres", "-c", "select 1"]
    return as_user(server.owner, argv)


@dataclass(frozen=True)
class MariaDB:
    """A MariaDB whose root is whoever is root here."""

    directory: Path

    @property
    def socket(self) -> str:
        return str(self.directory / "mysqld.sock")

    def sql(self, text: str, database: str = "", *, check: bool = True) -> str:
        argv = ["mariadb", "--comments", f"--socket={self.socket}", "-BN", database or "mysql"]
        return run(argv, stdin=text, check=check).strip()


@contextmanager
def mariadb() -> Iterator[MariaDB]:
    owner = user("mysql")
    with place(owner) as directory:
        data = directory / "data"
        # Of its own, because a server that starts removes the temporary tables of all others from a shared one.
        words = [f"--datadir={data}", f"--user={owner}", f"--tmpdir={directory}"]
        run(["mariadb-install-db", "--no-defaults", *words, "--auth-root-authentication-method=socket",
             f"--auth-root-socket-user={pwd.getpwuid(os.geteuid()).pw_name}", "--skip-test-db"])  # fmt: skip
        server = MariaDB(directory)
        argv = [_found("mariadbd") or "mariadbd", "--no-defaults", *words, f"--socket={server.socket}",
                "--skip-networking", f"--pid-file={directory}/pid", "--innodb-flush-log-at-trx-commit=0",
                "--event-scheduler=ON", "--log-bin=bin", "--server-id=1"]  # fmt: skip
        with _running(argv, directory / "log"):
            until(
                lambda: run(["mariadb", f"--socket={server.socket}", "-BNe", "select 1"], check=False), what="MariaDB"
            )
            yield server


@dataclass(frozen=True)
class Redis:
    directory: Path
    port: int

    def cli(self, *words: str) -> str:
        return run(["redis-cli", "-p", str(self.port), *words]).strip()


@contextmanager
def redis(*more: str) -> Iterator[Redis]:
    owner, port = user("redis"), free_port()
    with place(owner) as directory:
        argv = [
            "redis-server",
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(directory),
            "--save",
            "",
            *more,
        ]
        server = Redis(directory, port)
        with _running(as_user(owner, argv), directory / "log"):
            until(lambda: run(["redis-cli", "-p", str(port), "ping"], check=False).strip(), what="Redis")
            try:
                yield server
            finally:
                run(["redis-cli", "-p", str(port), "shutdown", "nosave"], check=False)
