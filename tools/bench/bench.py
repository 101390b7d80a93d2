"""`make bench`: opsqueue's six stages with their history beside a bare Celery chain of six, in one run.

The same Redis, two worker processes each, rounds interleaved, medians. Rates: from the first request to the last
end, the producer included. Latencies: one at a time on idle workers, from the request to the end as the worker
wrote it. Whatever runs on the machine beside it moves the absolutes; the ratios hold.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from redis import Redis

from opsqueue.embedded.redis import EmbeddedRedis
from opsqueue.model.names import Stage
from opsqueue.model.request import Request, parse_request
from opsqueue.pipeline.advance import advance
from opsqueue.pipeline.assemble import assemble
from opsqueue.pipeline.submit import submit
from opsqueue.settings import load
from opsqueue.store.engine import Store
from opsqueue.store.upgrade import upgrade
from opsqueue.tasks.client import Sender

HERE = Path(__file__).parent
_DIST = "Metadata-Version: 2.1\nName: noop-types\nVersion: 1.0\n"


@contextmanager
def child(argv: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(argv, env=env, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.terminate()
            _ended(process)


def _ended(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # PostgreSQL: do not wait for clients
        process.wait(20)


def until(done, what: str, seconds: float = 120) -> None:
    """Wait for something, or say what did not come."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come within {seconds} s")
        time.sleep(0.01)


class Bare:
    """The bare chain."""

    name = "bare Celery chain of six no-ops"

    def __init__(self, stack: ExitStack, folder: Path, redis: EmbeddedRedis) -> None:
        env = {**os.environ, "BENCH_BROKER": redis.url, "BENCH_REDIS": redis.client_url, "PYTHONPATH": str(HERE)}
        os.environ.update(env)
        sys.path.insert(0, str(HERE))
        argv = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "bare_chain",
            "worker",
            "-c",
            "2",
            "-Q",
            "bare",
            "--without-mingle",
        ]
        argv += ["--without-gossip", "--without-heartbeat", "-l", "WARNING"]
        self.process = stack.enter_context(child(argv, env, folder / "bare.log"))
        self.client = Redis.from_url(redis.client_url)
        import bare_chain  # noqa: PLC0415  # it reads the broker's address from the environment

        self.send = bare_chain.one
        self.latency(1)

    def _ended(self, count: int) -> list[float]:
        until(lambda: self.client.llen("bare:done") >= count, self.name)
        lines = self.client.lrange("bare:done", 0, -1)
        self.client.delete("bare:done")
        return [float(line.split()[1]) for line in lines]

    def rate(self, count: int) -> float:
        """Chains a second."""
        started = time.time()
        for number in range(count):
            self.send(number)
        return count / (max(self._ended(count)) - started)

    def latency(self, count: int) -> list[float]:
        """Milliseconds of each, one at a time."""
        found = []
        for number in range(count):
            started = time.time()
            self.send(number)
            found.append((self._ended(1)[0] - started) * 1000)
        return found


class Ours:
    """opsqueue, with one way of going on and one database."""

    def __init__(
        self, stack: ExitStack, folder: Path, redis: EmbeddedRedis, *, in_process: bool, database: str
    ) -> None:
        kind = "PostgreSQL" if database.startswith("postgresql") else "SQLite"
        self.name = f"opsqueue, {kind}, {'going on in the process' if in_process else 'a message for every stage'}"
        home = folder / uuid4().hex[:6]
        home.mkdir()
        config = home / "opsqueue.json"
        config.write_text(
            json.dumps(
                {
                    "state_dir": str(home),
                    "broker_url": redis.url,
                    "broker_prefix": f"{home.name}.",
                    "database_url": database or f"sqlite:///{home}/record.db",
                    "max_concurrent_operations": 100_000,
                    "hosts": {"here": {"connector": "local"}},
                    "worker": {"in_process": in_process},
                    "logging": {"level": "WARNING"},
                }
            )
        )
        self.config = config
        self.settings = load(str(config))
        self.store = Store(self.settings.database)
        upgrade(self.store)
        argv = [sys.executable, "-m", "opsqueue.tasks", "worker", "--config", str(config), "shared-bench"]
        argv += ["intake,critical,high,normal,low", "2"]
        self.process = stack.enter_context(child(argv, dict(os.environ), home / "worker.log"))
        sender = Sender(self.settings)
        self.world = assemble(self.settings, dispatch=sender.dispatch, worker="bench")
        self.latency(1)

    def _send(self) -> str:
        return submit(self.world, self.request()).id

    @staticmethod
    def request() -> Request:
        """The same request, with an id of its own each time."""
        return parse_request({"name": "noop", "type": "noop", "target_systems": ["here"]})

    def _ended(self, ids: list[str]) -> list[float]:
        def closed() -> int:
            with self.store.read() as connection:
                query = "SELECT count(*) FROM operations WHERE stage = 'closed'"
                return connection.exec_driver_sql(query).scalar_one()

        self.total = getattr(self, "total", 0) + len(ids)
        until(lambda: closed() >= self.total, self.name)
        with self.store.read() as connection:
            rows = connection.exec_driver_sql("SELECT id, finished_at FROM operations").all()
        ends = dict(rows)
        return [ends[one] for one in ids]

    def rate(self, count: int) -> float:
        """Operations a second."""
        started = time.time()
        ids = [self._send() for _ in range(count)]
        return count / (max(self._ended(ids)) - started)

    def latency(self, count: int) -> list[float]:
        """Milliseconds of each, one at a time."""
        found = []
        for _ in range(count):
            started = time.time()
            found.append((self._ended([self._send()])[0] - started) * 1000)
        return found


def install_noop(folder: Path) -> None:
    """Make the no-op type known to every process of this run, as an installed package would."""
    info = folder / "noop_types-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(_DIST)
    (info / "entry_points.txt").write_text("[opsqueue.operations]\nnoop = noop_types:OPERATION\n")
    shutil.copy(HERE / "noop_types.py", folder)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))


def startup(config: Path) -> float:
    """CPU seconds of `opsqueue history` on the record of this run, median of five."""
    found = []
    argv = [sys.executable, "-m", "opsqueue", "history", "--config", str(config)]
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(found[1:])


def own_work(shape: Ours, count: int = 200) -> tuple[float, float]:
    """CPU milliseconds of one operation in this process, without Celery: taking it in, and its six stages."""
    alone = replace(shape.world, dispatch=lambda _operation: None)
    began = time.process_time()
    ids = [submit(alone, shape.request()).id for _ in range(count)]
    taken = time.process_time()
    for one in ids:
        advance(alone, one, Stage.VERIFY, go_on=True)
    return (taken - began) / count * 1000, (time.process_time() - taken) / count * 1000


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A private PostgreSQL, its URL; empty where there is no server to start."""
    places = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        Path("/usr/local/bin"),
        Path("/usr/bin"),
    ]
    where = next((place for place in places if (place / "initdb").exists()), None)
    if where is None:
        yield ""
        return
    data = folder / "pg"
    data.mkdir()
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(data, "postgres", "postgres")
        folder.chmod(0o755)
    subprocess.run([*user, where / "initdb", "-A", "trust", "-U", "bench", "-D", data], check=True, capture_output=True)
    argv = [*user, str(where / "postgres"), "-D", str(data), "-k", str(data), "-c", "listen_addresses="]
    with child(argv, dict(os.environ), folder / "pg.log"):
        until((data / ".s.PGSQL.5432").exists, "PostgreSQL")
        time.sleep(1)
        yield f"postgresql+psycopg://bench@/postgres?host={data}"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=300)
    given = parser.parse_args()
    # SQLite and Redis sockets want a real folder with a short name.
    folder = Path(tempfile.mkdtemp(prefix="oqb"))
    try:
        with ExitStack() as stack:
            install_noop(folder / "types")
            redis = stack.enter_context(EmbeddedRedis(folder / "r"))
            pg = stack.enter_context(postgres(folder))
            shapes = [Bare(stack, folder, redis)]
            for database in ("", pg) if pg else ("",):
                for in_process in (True, False):
                    fresh = database and fresh_database(database)
                    shapes.append(Ours(stack, folder, redis, in_process=in_process, database=fresh))
            report(shapes, given.rounds, given.count)
            for shape in shapes[1:]:
                shape.store.close()
                shape.world.store.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def fresh_database(url: str) -> str:
    """The URL of a new database on this server."""
    import psycopg  # noqa: PLC0415

    name = f"bench_{uuid4().hex[:6]}"
    plain = url.replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.replace("/postgres?", f"/{name}?")


def report(shapes: list, rounds: int, count: int) -> None:
    """Measure in turn, and print."""
    rates = {shape.name: [] for shape in shapes}
    waits = {shape.name: [] for shape in shapes}
    for _ in range(rounds):
        for shape in shapes:
            rates[shape.name].append(shape.rate(count))
            waits[shape.name].extend(shape.latency(20))
    bare = statistics.median(rates[shapes[0].name])
    bare_wait = statistics.median(waits[shapes[0].name])
    print(f"{rounds} rounds of {count}, two worker processes each, {os.cpu_count()} cores\n")
    print(f"{'':58} {'per second (range)':>24} {'of bare':>8} {'p50 ms':>8} {'of bare':>8}")
    for shape in shapes:
        found = rates[shape.name]
        middle, wait = statistics.median(found), statistics.median(waits[shape.name])
        span = f"{middle:.0f} ({min(found):.0f}-{max(found):.0f})"
        print(f"{shape.name:58} {span:>24} {middle / bare:8.2f} {wait:8.1f} {wait / bare_wait:8.2f}")
    for shape in shapes[1::2]:
        taken, worked = own_work(shape)
        print(f"\nwhere the time goes, {shape.name.split(',')[1].strip()}: {taken:.1f} ms CPU to take one in,", end=" ")
        print(f"{worked:.1f} ms for its six stages; the rest is Celery, Redis and waiting for the disk", end="")
    print(f"\n\nopsqueue history: {startup(shapes[1].config):.2f} s CPU (aim: under 0.40)")


if __name__ == "__main__":
    raise SystemExit(main())
