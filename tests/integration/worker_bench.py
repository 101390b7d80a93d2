"""A Redis and a real worker process for tests; both end with the test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import hardened_app
import redis
from hardened_app import QUEUES

from opsqueue.embedded.leash import leashed
from opsqueue.embedded.redis import EmbeddedRedis

HERE = Path(__file__).parent


def until(true, seconds=15.0, what="the awaited"):
    """Wait until a condition holds; fail in words when it does not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come about within {seconds} s")


class Bench:
    def __init__(self, directory: Path, prefix: str = "") -> None:
        self.directory, self.prefix = directory, prefix
        self.redis = EmbeddedRedis(directory / "r").start()
        self.client = redis.Redis.from_url(self.redis.client_url)
        self.runs = directory / "runs"
        self.log = directory / "worker.log"
        self.app = hardened_app.make(self.redis.url, prefix)
        self.worker: subprocess.Popen | None = None

    def start_worker(self, *options: str, gossip: bool = False) -> None:
        env = {
            **os.environ,
            "HARDENED_BROKER": self.redis.url,
            "HARDENED_PREFIX": self.prefix,
            "HARDENED_RUNS": str(self.runs),
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent.parent)]),
        }
        argv = [sys.executable, "-m", "celery", "-A", "hardened_app", "worker", "-P", "prefork", "-c", "2"]
        argv += ["-Q", ",".join(QUEUES), "-l", "INFO", "-n", "bench@%h", *options]
        argv += [] if gossip else ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        with self.log.open("ab") as log:
            self.worker = subprocess.Popen(leashed(argv), env=env, cwd=self.directory, stdout=log, stderr=log)
        until(lambda: " ready." in self.said(), what="the worker's start")

    def send(self, number, seconds=0.0, queue="normal"):
        self.app.send_task("test.work", args=[number, seconds], queue=queue)

    def push(self, queue: str, *payloads: bytes) -> None:
        self.client.lpush(self.prefix + queue, *payloads)

    def ran(self) -> Counter:
        return self._count(self.runs)

    def ended(self) -> Counter:
        return self._count(self.runs.with_suffix(".ended"))

    def _count(self, path) -> Counter:
        return Counter(path.read_text().split()) if path.exists() else Counter()

    def waiting(self) -> int:
        return sum(self.client.llen(self.prefix + queue) for queue in QUEUES)

    def unacked(self) -> int:
        return self.client.hlen(self.prefix + "unacked")

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def restart_redis(self, away: float) -> None:
        self.redis.stop()
        time.sleep(away)
        self.redis = EmbeddedRedis(self.redis.directory).start()

    def alive(self) -> bool:
        return self.worker is not None and self.worker.poll() is None

    def stop_worker(self, seconds: float = 20.0) -> int:
        self.worker.terminate()
        try:
            return self.worker.wait(seconds)
        except subprocess.TimeoutExpired:
            self.worker.kill()
            self.worker.wait()
            raise

    def close(self) -> None:
        if self.alive():
            self.worker.kill()  # its children end with it
            self.worker.wait()
        self.app.close()
        self.client.close()
        self.redis.stop()
