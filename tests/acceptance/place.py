"""A place of its own for an acceptance test: a home, a state directory, a configuration, and the real command."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

PROJECT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
HOSTS = ("web-server-1", "web-server-2", "api-server-1", "db-server-1")
CHANGE = ("--name", "change", "--type", "service_restart", "--systems", "web-server-1", "--parameters", "{}")
"""A request that restarts the service of a place, see `with_service`."""
SIX = ["verify", "window", "execute", "collect", "analyze", "notify"]


def until(true, seconds=30.0, what="the awaited"):
    """Wait until a condition holds and return what it gave; fail in words when it does not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what() if callable(what) else what} did not come about within {seconds} s")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@dataclass(frozen=True, slots=True)
class Done:
    """What a command said, and its exit status."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Any:
        assert self.out, f"nothing on stdout; exit {self.code}: {self.err}"
        return json.loads(self.out)


class Place:
    """Everything under one short directory; whatever was started in it ends with it."""

    def __init__(self, *, prefix: Sequence[str] = (), **settings: Any) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="oqa"))
        self.prefix = tuple(prefix)
        """Put before each command: the way into a name space."""
        self.home = self.directory / "home"
        self.home.mkdir()
        self.state = self.directory / "state"
        self.config = self.directory / "opsqueue.json"
        self.settings = {
            "state_dir": str(self.state),
            "hosts": {name: {"connector": "local"} for name in HOSTS},
            **settings,
        }
        self.config.write_text(json.dumps(self.settings))
        self.started: list[subprocess.Popen[Any]] = []

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("OPSQUEUE_", "XDG_", "PYTEST"))}
        path = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {**kept, "HOME": str(self.home), "PATH": path, "OPSQUEUE_CONFIG": str(self.config)}

    def sh(self, line: str, *, timeout: float = 90, cwd: Path = PROJECT, **environment: str) -> Done:
        """Run a line as a person types it."""
        return self.run("sh", "-c", line, timeout=timeout, cwd=cwd, **environment)

    def ops(self, *words: str, timeout: float = 90, **environment: str) -> Done:
        """Run `opsqueue` with these words."""
        return self.run("opsqueue", *words, timeout=timeout, **environment)

    def run(self, *argv: str, timeout: float = 90, cwd: Path = PROJECT, **environment: str) -> Done:
        """Run a program here to its end, without a terminal."""
        began = time.monotonic()
        done = subprocess.run(
            self._argv(argv, cwd), env={**self.environment, **environment}, cwd=cwd, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - began)

    def start(self, *argv: str, **environment: str) -> subprocess.Popen[Any]:
        """Start a program that goes on; its output is in `said`."""
        with (self.directory / f"said{len(self.started)}").open("wb") as said:
            process = subprocess.Popen(
                self._argv(argv, PROJECT), env={**self.environment, **environment}, cwd=PROJECT,
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def said(self, process: subprocess.Popen[Any]) -> str:
        """What a started program printed so far."""
        return (self.directory / f"said{self.started.index(process)}").read_text(errors="replace")

    def _argv(self, argv: Sequence[str], cwd: Path) -> list[str]:
        return [*self.prefix, "env", "-C", str(cwd), *argv] if self.prefix else list(argv)

    def show(self, operation_id: str) -> dict[str, Any]:
        """The JSON of one operation, as the command gives it."""
        return self.ops("show", operation_id, "--output", "json").json

    def nothing_recorded(self) -> bool:
        """Whether history and status are empty, asked with the command."""
        lists = [self.ops(word, "--output", "json").json["operations"] for word in ("history", "status")]
        return lists == [[], []]

    def processes(self) -> list[psutil.Process]:
        """Whoever runs with this place's home, or speaks of its directory: all that was started here, and below it."""
        own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
        return [process for process in psutil.process_iter() if process.pid not in own and self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            words = " ".join(process.cmdline())
            return str(self.directory) in words or process.environ().get("HOME") == str(self.home)
        return False

    def system(self) -> list[psutil.Process]:
        """What belongs to opsqueue itself, and not what it started for an operation."""
        return [
            process for process in self.processes() if re.search(r"opsqueue.* up\b|celery|opsqueue", _python(process))
        ]

    def ended(self, operation_id: str) -> dict[str, Any] | None:
        """The JSON of an operation, once it is closed."""
        shown = self.show(operation_id)
        return shown if shown["finished_at"] and shown["stage"] == "closed" else None

    def ended_by_itself(self, seconds: float = 15) -> None:
        """Wait until nothing that was started here runs any more."""
        until(lambda: not self.processes(), seconds, lambda: f"the end of {self.processes()}")

    def log(self, name: str = "operations.log") -> str:
        """A log of this place; empty while there is none."""
        path = self.state / "logs" / name
        return path.read_text(errors="replace") if path.exists() else ""

    def end(self) -> None:
        """End what still runs, first those who end the others, and forget the directory."""
        own = {process.pid for process in self.started}
        for process in self.processes():
            with suppress(psutil.Error):
                if process.pid in own or "opsqueue" in " ".join(process.cmdline()):
                    process.send_signal(signal.SIGTERM)
        with suppress(AssertionError):
            self.ended_by_itself(20)
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()
        for process in self.started:
            process.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)


def _python(process: psutil.Process) -> str:
    """The words of a process of Python; empty of any other."""
    with suppress(psutil.Error):
        words = process.cmdline()
        return " ".join(words) if words and "python" in Path(words[0]).name else ""
    return ""


def stages(data: Mapping[str, Any]) -> list[str]:
    """The stages that were worked, in order."""
    return [stage["stage"] for stage in data["stages"]]


def closed_now() -> str:
    """A window of one hour that opens in about half a day, UTC."""
    hour = (time.gmtime().tm_hour + 12) % 24
    return f"{hour:02}:00-{(hour + 1) % 24:02}:00"


def opening(now: float) -> float:
    """When the window of `closed_now` opens next, in UNIX seconds."""
    return now - now % 3600 + 12 * 3600


def with_service(place: Place) -> Place:
    """Start a supervisor with a service in it, which the configuration then gives to web-server-1."""
    if shutil.which("supervisord") is None:
        pytest.skip("not installed: supervisord")
    where = place.directory
    config = where / "supervisord.conf"
    config.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={where}/s.log\npidfile={where}/s.pid\nchildlogdir={where}\n"
        f"[unix_http_server]\nfile={where}/s.sock\n[supervisorctl]\nserverurl=unix://{where}/s.sock\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        "[program:web]\ncommand=sleep 300\n"
    )
    service = {"service_name": "web", "manager": "supervisor", "supervisor_config": str(config), "sudo": False}
    place.settings["hosts"]["web-server-1"]["parameters"] = {
        "service_restart": {**service, "settle_seconds": 1, "restart_log": False}
    }
    place.config.write_text(json.dumps(place.settings))
    place.start("supervisord", "-c", str(config))
    until(lambda: service_pid(place), what="the service")
    return place


def service_pid(place: Place) -> int | None:
    """The process of the service; None while there is none."""
    config = str(place.directory / "supervisord.conf")
    words = place.run("supervisorctl", "-c", config, "status", "web").out.split()
    return int(words[3].rstrip(",")) if words[1:2] == ["RUNNING"] else None
