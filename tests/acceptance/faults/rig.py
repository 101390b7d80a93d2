"""What the fault stories stand on: a real Redis, real workers as users start them, and ways to harm them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psutil
import redis
from sqlalchemy import select

from opsqueue.embedded.leash import leashed
from opsqueue.embedded.redis import EmbeddedRedis
from opsqueue.model.record import Event
from opsqueue.model.request import parse_request
from opsqueue.pipeline.views import whole
from opsqueue.settings import load
from opsqueue.store import events, operations
from opsqueue.store.engine import Store
from opsqueue.store.schema import locks, slots
from opsqueue.store.schema import operations as operations_table
from opsqueue.store.upgrade import upgrade
from opsqueue.tasks.broker import QUEUES
from opsqueue.tasks.client import Sender

HERE = Path(__file__).parent
SIX = ["verify", "window", "execute", "collect", "analyze", "notify"]
LEASE = 3.0
_PART = "from opsqueue.tasks import parts; from opsqueue.settings import load; import sys; p = sys.argv[1]; "
_PARTS = {
    "worker": _PART + "raise SystemExit(parts.worker(load(p), config=p, name=sys.argv[2], queues=sys.argv[3:]))",
    "beat": _PART + "raise SystemExit(parts.beat(load(p), config=p))",
}


def until(true, seconds=30.0, what="the awaited"):
    """Wait until a condition holds and return what it gave; fail in words when it does not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what() if callable(what) else what} did not come about within {seconds} s")


def _lives(process):
    """Whether it still runs; one that nobody has collected does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Part:
    """One `opsqueue worker` or `opsqueue beat`: the keeper process and its children."""

    def __init__(self, rig, kind, name, queues=()):
        self.name = name
        self.log = rig.directory / f"{name}.log"
        argv = leashed([sys.executable, "-c", _PARTS[kind], str(rig.config), name, *queues])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                argv, env=rig.environment, cwd=rig.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def mains(self):
        """The processes that the keeper started: by the name of the worker, its process."""
        with suppress(psutil.NoSuchProcess):
            found = {}
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.NoSuchProcess):
                    argv = child.cmdline()
                    if argv[2:4] == ["opsqueue.tasks", "worker"]:
                        found[next(word for word in argv if word.endswith(f"-{self.name}"))] = child
            return found
        return {}

    def kill(self):
        """As when the machine's power goes: keeper, workers, pool processes at once; commands on hosts go on."""
        if self.process.poll() is not None:
            return
        os.kill(self.process.pid, signal.SIGSTOP)  # so that it starts nothing again meanwhile
        mains = psutil.Process(self.process.pid).children()
        for main in mains:
            with suppress(ProcessLookupError):
                os.killpg(main.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        until(lambda: not any(_lives(main) for main in mains), 15, "the end of the workers")

    def freeze(self, number=signal.SIGSTOP):
        """Stop, or continue, every process of it; commands on hosts go on."""
        order = [self.process.pid, *(child.pid for child in psutil.Process(self.process.pid).children())]
        os.kill(order[0], number)
        for pid in order[1:]:
            with suppress(ProcessLookupError):
                os.killpg(pid, number)

    def said(self):
        return self.log.read_text(errors="replace")


class Rig:
    """A state directory with a Redis, a record, a configuration, and whatever workers the story starts."""

    def __init__(self, directory: Path, report, *, hosts=8, **settings) -> None:
        self.directory, self.report = directory, report
        for name in ("hold", "at", "hosts"):
            (directory / name).mkdir(parents=True)
        self.config = directory / "opsqueue.json"
        self.config.write_text(json.dumps(self._configuration(hosts, settings)))
        self.environment = self._environment()
        self.settings = load(str(self.config))
        self.store = Store(self.settings.database)
        upgrade(self.store)
        self.redis = EmbeddedRedis(self.settings.state_dir / "redis").start()
        self.sender = Sender(self.settings)
        self.parts: list[Part] = []

    def _configuration(self, hosts, settings):
        worker = {
            "lease_seconds": LEASE,
            "renudge_seconds": 1,
            "retry_backoff_seconds": 0.2,
            "processes": 2,
            "reserved": 0,
            **settings.pop("worker", {}),
        }
        homes = {f"h{number}": self.directory / "hosts" / f"h{number}" for number in range(1, hosts + 1)}
        for home in homes.values():
            home.mkdir()
        host = {
            name: {"connector": "local", "parameters": {"tally_change": {"home": str(home)}}}
            for name, home in homes.items()
        }
        quiet = dict.fromkeys(("system-monitoring", "health-check"), False)
        return {
            "state_dir": str(self.directory / "state"),
            "max_concurrent_operations": 100,
            "hosts": host,
            "worker": worker,
            **settings,
            "schedule": {**quiet, **settings.get("schedule", {})},
        }

    def _environment(self):
        """A small installed distribution brings the operation type, as anybody's would."""
        site = self.directory / "site"
        info = site / "faultkit-1.0.dist-info"
        info.mkdir(parents=True)
        shutil.copy(HERE / "faultkit.py", site)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faultkit\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[opsqueue.operations]\ntally_change = faultkit:TALLY\n")
        clean = {key: value for key, value in os.environ.items() if not key.startswith("OPSQUEUE_")}
        path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
        return {**clean, "PYTHONPATH": path, "FAULTKIT": str(self.directory)}

    # -- parts

    def worker(self, name="a", queues=()):
        return self._start("worker", name, queues)

    def beat(self, name="beat"):
        return self._start("beat", name)

    def _start(self, kind, name, queues=()):
        self.parts.append(Part(self, kind, name, queues))
        return self.parts[-1]

    def close(self):
        for hold in (self.directory / "hold").iterdir():
            hold.unlink()  # commands that outlived their workers end
        for part in self.parts:
            part.kill()
        self.sender.app.close()
        self.redis.stop()
        self.store.close()

    def log(self):
        path = self.settings.log_dir / "operations.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # -- Redis

    @contextmanager
    def client(self):
        with redis.Redis.from_url(self.redis.client_url) as client:
            yield client

    def restart_redis(self, *, away=0.0, empty=False):
        self.redis.stop()
        if empty:
            for path in self.redis.directory.glob("appendonly*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        time.sleep(away)
        self.redis = EmbeddedRedis(self.redis.directory).start()

    # -- operations

    def ask(self, *systems, hold=(), name="story", id=None, wait=True, priority="normal", channels=None, **more):
        """Ask through the intake, as any producer; the id. `hold` names the points where workers shall wait."""
        operation_id = id or str(uuid4())
        for where in hold:
            self.hold(operation_id, where)
        options = {key: more.pop(key) for key in ("retry_count", "timeout") if key in more}
        request = parse_request(
            {
                "operation_id": operation_id,
                "name": name,
                "type": "tally_change",
                "priority": priority,
                "target_systems": list(systems or ("h1",)),
                "parameters": {"key": operation_id[:8], **more},
                "notification_channels": channels,
                **options,
            }
        )
        receipt = self.sender.submit(request, 30.0 if wait else 0.01)
        assert receipt == {"operation_id": operation_id, "accepted": True} or not wait
        return operation_id

    def opsqueue(self, *words):
        """A command, as a person types it."""
        argv = [sys.executable, "-m", "opsqueue", *words]
        environment = {**self.environment, "OPSQUEUE_CONFIG": str(self.config)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def _path(self, kind, operation_id, where):
        return self.directory / kind / f"{operation_id}.{where}"

    def hold(self, operation_id, where):
        self._path("hold", operation_id, where).touch()

    def let_go(self, operation_id, where):
        self._path("hold", operation_id, where).unlink()
        self._path("at", operation_id, where).unlink(missing_ok=True)

    def at(self, operation_id, where, seconds=30.0):
        """Wait until somebody waits at this point; its process id."""
        path = self._path("at", operation_id, where)
        return int(until(lambda: path.exists() and path.read_text().strip(), seconds, f"{operation_id} at {where}"))

    def holder(self, operation_id):
        """The pool process that works on it, as the record says."""
        with self.store.read() as connection:
            return int(operations.get(connection, operation_id).holder.rpartition(":")[2])

    def row(self, operation_id):
        with self.store.read() as connection:
            return operations.get(connection, operation_id)

    def show(self, operation_id):
        return whole(self.store, operation_id, time.time())

    def history(self, operation_id) -> tuple[Event, ...]:
        with self.store.read() as connection:
            return events.of(connection, operation_id)

    def open(self, ids):
        table = operations_table
        query = select(table.c.id).where(table.c.id.in_(list(ids)), table.c.stage != "closed")
        with self.store.read() as connection:
            return list(connection.execute(query).scalars())

    def known(self, ids):
        """Whether all of them are in the record."""
        query = select(operations_table.c.id).where(operations_table.c.id.in_(list(ids)))
        with self.store.read() as connection:
            return len(list(connection.execute(query))) == len(ids)

    def closed(self, *ids, seconds=30.0):
        """Wait until all have closed; their JSON."""
        until(lambda: not self.open(ids), seconds, lambda: f"the end of {[self._where(i) for i in self.open(ids)]}")
        return [self.show(one) for one in ids]

    def _where(self, operation_id):
        shown = self.show(operation_id)
        return (
            operation_id[:8],
            shown["stage"],
            shown["outcome"],
            shown["waits_for"],
            [s["result"] for s in shown["stages"]],
        )

    def recovered(self, fault, ids, since):
        """Note how long after the fault the last of them ended (seconds)."""
        ended = max(self.row(one).finished_at for one in ids)
        self.report(fault, max(0.0, ended - since))

    # -- what must always hold

    def tally(self):
        path = self.directory / "tally"
        lines = path.read_text().splitlines() if path.exists() else []
        return Counter((mark, word) for mark, word, *_ in (line.split() for line in lines))

    def sent(self, operation_id, host="h1"):
        """The commands that ran on a host for an operation, in their order."""
        mark = f"{operation_id}/{host}"
        return [word for (found, word) in self.tally() if found == mark]

    def nothing_twice(self):
        twice = {what: count for what, count in self.tally().items() if count > 1}
        assert not twice, f"sent more than once: {twice}"

    def sound(self, outcomes, *, left=True):
        """Every operation closed as told, with its whole history, nothing sent twice, nothing left behind."""
        for operation_id, outcome in outcomes.items():
            shown = self.show(operation_id)
            assert (shown["stage"], shown["outcome"]) == ("closed", outcome), json.dumps(shown, indent=1)
            self._whole_history(shown)
        self.nothing_twice()
        if left:
            self.nothing_left()

    def _whole_history(self, shown):
        settled = [one["stage"] for one in shown["stages"] if one["result"] not in {"held", "retrying", "looking"}]
        assert settled == SIX, f"{shown['operation_id']}: {shown['stages']}"
        assert {note["status"] for note in shown["notifications"]} <= {"accepted", "acknowledged"}

    def nothing_left(self):
        with self.store.read() as connection:
            assert connection.execute(select(locks)).all() == []
            assert connection.execute(select(slots)).all() == []
        until(lambda: not any(self.queued().values()), 15.0, lambda: f"empty queues, {self.queued()}")

    def queued(self):
        with self.client() as client:
            return {queue: client.llen(queue) for queue in QUEUES}

    @contextmanager
    def database_locked(self):
        """Nobody else can write while the block runs."""
        raw = sqlite3.connect(self.settings.state_dir / "opsqueue.db", isolation_level=None)
        try:
            raw.execute("PRAGMA busy_timeout=10000")
            raw.execute("BEGIN IMMEDIATE")
            yield
        finally:
            raw.close()
