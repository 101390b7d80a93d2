"""`make bench-ssh`: the same facts (CPU, memory, disk, load, uptime) from many hosts over SSH, beside other tools.

All hosts are loopback addresses behind real OpenSSH servers of this machine, which share its processors with whoever
asks them. Every round asks each tool twice, one after the other: cold (no connection yet) and warm (what is kept, if
the tool keeps something). opsqueue is measured whole: from the request at the client to the closed record, through a
real worker of one process, history kept; cold is a worker that was started anew. Medians; the ratios hold where the
absolutes move with the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from bench import child  # noqa: E402  # the measure of the other benchmark
from ssh_rivals import Took, facts_of, rivals  # noqa: E402
from sshkit import Farm  # noqa: E402  # the servers that the tests have

from opsqueue.client import Operations  # noqa: E402
from opsqueue.embedded.redis import EmbeddedRedis  # noqa: E402
from opsqueue.settings import load  # noqa: E402
from opsqueue.store.engine import Store  # noqa: E402
from opsqueue.store.upgrade import upgrade  # noqa: E402

_ASKED = {"metrics": ["cpu", "memory", "disk", "load"], "sample_gap_s": 0.01}
_WANTED = {"cpu_usage", "memory_usage", "disk_usage", "load_per_cpu_1m", "uptime"}
HOW = ("cold", "warm")
_AIMS = {("ansible setup", "cold"): 0.1, ("pyinfra command line", "cold"): 1.0, ("pyinfra command line", "warm"): 0.25}
"""What opsqueue's time may be of theirs, with 200 hosts."""


class Ours:
    """opsqueue: one operation over all hosts, through a worker of one process."""

    name = "opsqueue"

    def __init__(self, stack: ExitStack, folder: Path, farm: Farm, count: int) -> None:
        home = folder / f"ours{count}"
        home.mkdir()
        self.redis = stack.enter_context(EmbeddedRedis(home / "redis"))
        self.config = home / "opsqueue.json"
        chosen = dict(list(farm.settings().items())[:count])
        settings = {
            "state_dir": str(home), "broker_url": self.redis.url, "hosts": {**chosen, "here": {"connector": "local"}},
            "groups": {"fleet": list(chosen)}, "logging": {"level": "WARNING"},
            "worker": {"processes": 1, "reserved": 0},
            "schedule": {"system-monitoring": False, "health-check": False},
        }  # fmt: skip
        self.config.write_text(json.dumps(settings))
        farm.pin(home / "known_hosts")
        self.home, self.count, self.stack = home, count, stack
        self.operations = Operations(load(str(self.config)), config_path=self.config)
        record = Store(self.operations.settings.database)
        upgrade(record)
        record.close()
        self._worker: ExitStack | None = None
        self.stages: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
        stack.callback(self.close)

    def ask(self, how: str) -> tuple[Took, dict[str, Any]]:
        """Cold or warm; what it took, and the metrics of each host."""
        if how == "cold":
            self._fresh_worker()
        before, began = self._cpu(), time.time()
        shown = self._done({"type": "system_monitoring", "target_systems": ["fleet"], "parameters": _ASKED})
        took = Took(_unix(shown["finished_at"]) - began, self._cpu() - before)
        self.stages[how].append({one["stage"]: one["seconds"] for one in shown["stages"]})
        whole = {host: found for host, found in shown["metrics"].items() if _whole(found)}
        return took, whole

    def memory(self) -> tuple[int, int]:
        """Bytes that the worker's process has for itself, and how many threads it has."""
        process = max(self._worker_processes(), key=lambda one: one.num_threads())
        return process.memory_full_info().uss, process.num_threads()

    def close(self) -> None:
        """End the worker and the record's connections."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _fresh_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._worker = ExitStack()
        argv = [sys.executable, "-m", "opsqueue", "worker", "--config", str(self.config)]
        self.process = self._worker.enter_context(child(argv, dict(os.environ), self.home / "worker.log"))
        # It is there, and has read the inventory; it has no connection, and has not even loaded what makes one.
        self._done({"type": "system_monitoring", "target_systems": ["here"], "parameters": _ASKED})

    def _done(self, request: dict[str, Any]) -> dict[str, Any]:
        asked = self.operations.submit({"name": "bench", "notification_channels": ["log"], **request})
        return self.operations.wait(asked, 180)  # when it ended stands in the record: how often it looks is no matter

    def _worker_processes(self) -> list[psutil.Process]:
        main = psutil.Process(self.process.pid)
        return [main, *main.children(recursive=True)]

    def _cpu(self) -> float:
        return time.process_time() + sum(sum(one.cpu_times()[:2]) for one in self._worker_processes())


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _whole(found: dict[str, Any]) -> bool:
    return all(found.get(name, {}).get("value") is not None for name in _WANTED)


def measure(folder: Path, farm: Farm, counts: Sequence[int], rounds: int, build: Path) -> None:
    """Ask all of them in turn, and print."""
    for count in counts:
        with ExitStack() as stack:
            place = folder / f"of{count}"
            place.mkdir()
            farm.pin(place / "known_hosts")
            ours = Ours(stack, place, farm, count)
            all_of_them = [ours, *rivals(stack, place, build, farm, farm.hosts()[:count])]
            took: dict[tuple[str, str], list[Took]] = {}
            for number in range(rounds):
                for one in tuple(all_of_them):
                    for how in HOW:
                        if one in all_of_them and not _one(took, one, how, count):
                            all_of_them.remove(one)
                print(f"  {count} hosts, round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
            report(count, all_of_them, took)
            where(ours)


def _one(took: dict[tuple[str, str], list[Took]], tool: Any, how: str, count: int) -> bool:
    """One measurement; False when the tool did not give every host's facts, which leaves it out."""
    try:
        found, answers = tool.ask(how)
        if isinstance(answers, list):
            answers = [facts_of(text) for text in answers]
    except (RuntimeError, ValueError, KeyError, IndexError) as error:
        print(f"{tool.name} is left out: {error}", file=sys.stderr)
        return False
    if len(answers) != count:
        print(f"{tool.name} is left out: it answered for {len(answers)} of {count} hosts", file=sys.stderr)
        return False
    took.setdefault((tool.name, how), []).append(found)
    return True


def report(count: int, tools: Sequence[Any], took: dict[tuple[str, str], list[Took]]) -> None:
    """The table of one number of hosts."""
    rounds = len(took["opsqueue", "cold"])
    print(f"\n{count} hosts, {rounds} rounds, {os.cpu_count()} cores, sshd on the same machine\n")
    heads = "".join(f"{f'{how} s':>9}{'(range)':>16}{'client CPU s':>14}" for how in HOW)
    print(f"{'':24}{heads}{'opsqueue is, cold':>20}{'warm':>8}")
    walls = {key: statistics.median(one.wall for one in all_) for key, all_ in took.items()}
    for tool in tools:
        cells = "".join(_cells(took[tool.name, how]) for how in HOW)
        cold, warm = (walls["opsqueue", how] / walls[tool.name, how] for how in HOW)
        print(f"{tool.name:24}{cells}{cold:20.2f}{warm:8.2f}")
    for (name, how), most in _AIMS.items():
        if (name, how) in walls and count >= 200:
            ratio = walls["opsqueue", how] / walls[name, how]
            print(f"aim, {how}: at most {most:g} of {name}: {'held' if ratio <= most else 'NOT held'} ({ratio:.2f})")


def _cells(all_: Sequence[Took]) -> str:
    walls = [one.wall for one in all_]
    span = f"({min(walls):.2f}-{max(walls):.2f})"
    return f"{statistics.median(walls):9.2f}{span:>16}{statistics.median(one.cpu for one in all_):14.2f}"


def where(ours: Ours) -> None:
    """Where opsqueue's own time goes, by stage."""
    for how, rounds in ours.stages.items():
        seconds = {stage: statistics.median(one[stage] for one in rounds) for stage in rounds[0]}
        parts = ", ".join(f"{stage} {took:.2f}" for stage, took in seconds.items())
        print(f"where opsqueue's time goes, {how}, s: {parts}")


def memory(folder: Path, farm: Farm, count: int) -> None:
    """What the worker's process has grown by for each connection that it keeps."""
    with ExitStack() as stack:
        ours = Ours(stack, folder, farm, count)
        took, found = ours.ask("cold")
        full, threads = ours.memory()
        again, _found = ours.ask("warm")
        later, _threads = ours.memory()
        few = Ours(stack, folder, farm, 1)
        few.ask("cold")
        base, _threads = few.memory()
    each = (full - base) / (count - 1)
    print(f"\n{count} hosts: {took.wall:.1f} s cold, {again.wall:.1f} s warm; {len(found)} answered", end="")
    print(f"\nthe worker's process: {base / 1e6:.0f} MB with one connection, {full / 1e6:.0f} MB with {count}", end="")
    print(f" ({later / 1e6:.0f} MB after it asked them again), {threads} threads: {each / 1e3:.0f} kB for each host")
    where(ours)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[20, 200], help="how many (default: 20 200)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--memory", action="store_true", help="only what the connections of opsqueue cost in memory")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "bench-ssh", help="where the other tools lie")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end too
    given.build.mkdir(parents=True, exist_ok=True)
    # SQLite and Redis sockets want a real folder with a short name.
    folder = Path(tempfile.mkdtemp(prefix="oqs"))
    try:
        with Farm(hosts=max(given.hosts), log_level="ERROR") as farm:
            if given.memory:
                for count in given.hosts:
                    memory(folder, farm, count)
            else:
                measure(folder, farm, given.hosts, given.rounds, given.build)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
