"""A fleet for an acceptance test: many hosts behind real OpenSSH servers, and opsqueue that reaches them over SSH."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from place import Place, until
from sshkit import Farm

from opsqueue.embedded.redis import running
from opsqueue.pipeline.views import whole
from opsqueue.settings import load
from opsqueue.store import operations
from opsqueue.store.engine import Store

HERE = Path(__file__).parent
QUIET = dict.fromkeys(("system-monitoring", "health-check"), False)
"""No operations but those of the test."""
SOON = {"lease_seconds": 3, "renudge_seconds": 1, "retry_backoff_seconds": 0.2}
"""Worker settings by which a dead worker is noticed within seconds."""


class Fleet(Place):
    """A place whose hosts h1, h2 … are those of a farm."""

    def __init__(self, farm: Farm, *, trusted: bool = True, **settings: Any) -> None:
        super().__init__(**{"schedule": QUIET, "hosts": farm.settings(), **settings})
        self.farm = farm
        if trusted:
            self.trust()

    @property
    def environment(self) -> dict[str, str]:
        behind = os.environ.get("PYTHONPATH")  # the tree that is tested, where it is not the installed one
        path = os.pathsep.join([str(self.directory / "site"), *([behind] if behind else [])])
        return {**super().environment, "PYTHONPATH": path}

    def trust(self) -> None:
        """Pin the keys of all hosts."""
        self.farm.pin(self.state / "known_hosts")

    def up(self) -> None:
        """Start the whole system, as a user does."""
        self.system = self.start("opsqueue", "up", "--no-flower")
        until(lambda: running(self.state / "redis"), 60, lambda: f"the system: {self.said(self.system)}")

    def execute(self, kind, *more, systems=("all",), timeout=240.0):
        """An operation from the request to its end: how the command ended, and the JSON that it printed."""
        done = self.ops("execute", *_words(kind, systems, more), "--wait", timeout=timeout)
        return done, done.json

    def ask(self, kind, *more, systems=("all",)):
        """The id of an operation that nobody waits for."""
        done = self.ops("execute", *_words(kind, systems, more), "--no-wait")
        assert done.code == 0, done.err
        return done.json["operation_id"]

    @cached_property
    def store(self) -> Store:
        """The record, for tests that look at it again and again."""
        return Store(load(str(self.config)).database)

    def now(self, operation_id):
        """The JSON of an operation, without the half a second of processor time that the command costs."""
        return whole(self.store, operation_id, time.time())

    def holder(self, operation_id) -> int:
        """The process that works on it."""
        with self.store.read() as connection:
            return int(operations.get(connection, operation_id).holder.rpartition(":")[2])

    def closed(self, operation_id, seconds=120.0):
        """The JSON of an operation, once it is closed."""

        def ended():
            data = self.now(operation_id)
            return data if data["stage"] == "closed" else None

        return until(ended, seconds, lambda: f"the end of {self.now(operation_id)}")

    def states(self, operation_id):
        """How each host of an operation stands."""
        return {target["host"]: target["status"] for target in self.now(operation_id)["targets"]}

    def end(self) -> None:
        """End everything here."""
        if "store" in self.__dict__:
            self.store.close()
        super().end()

    def kill(self) -> None:
        """As when the machine's power goes: keeper, workers, pool processes and Redis at once."""
        os.kill(self.system.pid, signal.SIGSTOP)  # so that it starts nothing again meanwhile
        everyone = psutil.Process(self.system.pid).children(recursive=True)
        for process in [*everyone, psutil.Process(self.system.pid)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.system.wait(10)
        until(lambda: not any(map(_lives, everyone)), 10, "the end of all processes")

    # -- the operation type `become`, and what each host saw of it

    def with_folders(self) -> Fleet:
        """Give every host a folder, and install the type that works in it."""
        site = self.directory / "site"
        info = site / "fleet_types-1.0.dist-info"
        info.mkdir(parents=True)
        shutil.copy(HERE / "fleet_types.py", site)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fleet_types\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[opsqueue.operations]\nbecome = fleet_types:BECOME\n")
        for name, host in self.settings["hosts"].items():
            self.folder(name).mkdir(parents=True)
            (self.folder(name) / "state").write_text("old\n")
            host["parameters"] = {"become": {"home": str(self.folder(name))}}
        self.config.write_text(json.dumps(self.settings))
        return self

    def folder(self, host) -> Path:
        """Where a host keeps its state and its tally."""
        return self.directory / "hosts" / host

    def saw(self, host) -> list[str]:
        """What a host was told to become, in the order in which it was told."""
        tally = self.folder(host) / "tally"
        return [line.split()[1] for line in tally.read_text().splitlines()] if tally.exists() else []

    def each_saw(self) -> dict[str, list[str]]:
        """The same of every host."""
        return {host: self.saw(host) for host in self.settings["hosts"]}


def _words(kind, systems, more):
    return ("--name", "fleet", "--type", kind, "--systems", *systems, *more, "--output", "json")


def _lives(process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False
