"""The metric store with a million samples: taking in, summarising, reading, and what that costs of a minute.

10 hosts x 40 metrics over 7 days, one sample every 4 minutes, and one series more with a sample each minute. CPU is
that of this process; what PostgreSQL does beside it is not counted. Reads are medians of 50.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import fresh_database, postgres
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from opsqueue.model.kind import Metric
from opsqueue.model.sample import DAY, SeriesWanted
from opsqueue.store import rolling, rollups, samples
from opsqueue.store.engine import Store
from opsqueue.store.upgrade import upgrade

HOSTS, METRICS, DAYS, EVERY = 10, 40, 7, 240
START = 1_799_971_200.0
END = START + DAYS * DAY
MINUTE, HOUR = 60.0, 3600.0
DENSE = "each_minute"


def reading(at: float, luck: random.Random) -> list[samples.Taken]:
    """All metrics of all hosts at one moment."""
    names = [f"metric_{number}" for number in range(METRICS)]
    return [
        samples.Taken(
            host=f"host-{number}",
            at=at,
            metrics={name: Metric(name=name, value=luck.uniform(0, 100), unit="percent") for name in names},
        )
        for number in range(HOSTS)
    ]


def add(store: Store, taken: list[samples.Taken]) -> int:
    """Store them as a worker does: one transaction, and on SQLite until it is on the disk."""
    with store.begin() as tx:
        return samples.add(tx, taken)


def timed(work: Callable[[], int]) -> tuple[int, float, float]:
    """What it gave, the seconds it took, and its CPU seconds."""
    began, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, time.perf_counter() - began, time.process_time() - cpu


def fill(store: Store) -> str:
    """A million samples, and a series with one each minute."""
    luck = random.Random(7)
    readings = [reading(START + number * EVERY, luck) for number in range(DAYS * int(DAY) // EVERY)]
    count, seconds, cpu = timed(lambda: sum(add(store, taken) for taken in readings))
    dense = [
        samples.Taken(host="host-0", at=START + n * MINUTE, metrics={DENSE: Metric(name=DENSE, value=n, unit="count")})
        for n in range(DAYS * 1440)
    ]
    add(store, dense)
    rate, each = count / seconds, cpu / count * 1e6
    return f"{count:,} samples taken in, 400 in a transaction: {rate:,.0f}/s, {each:.1f} µs CPU each"


def roll(store: Store, now: float) -> int:
    """Summarise all that is over."""
    total = 0
    while True:
        with store.begin(lasting=False) as tx:
            taken = rolling.roll(tx, now)
        if taken is None:
            return total
        total += taken


def minute(store: Store) -> str:
    """What one minute's readings of 10 hosts cost: each minute taken in, and its share of the upkeep of an hour."""
    luck = random.Random(8)
    readings = [reading(END + number * MINUTE, luck) for number in range(60)]
    _count, _seconds, taking = timed(lambda: sum(add(store, taken) for taken in readings))
    _count, seconds, rolling_up = timed(lambda: roll(store, END + HOUR))
    share = (taking + rolling_up) / HOUR * 100
    return (
        f"10 hosts x 40 metrics each minute: {taking / 60 * 1000:.1f} ms CPU to take them in; the upkeep of an hour "
        f"{seconds:.2f} s ({rolling_up:.2f} s CPU): {share:.3f} % of one processor"
    )


def reads(store: Store) -> list[str]:
    """A 7-day read of one series in each way."""
    lines = []
    for metric, kind in (("metric_7", "every 4 minutes"), (DENSE, "each minute")):
        for step, name in ((0, "samples"), (300, "5 minutes"), (3600, "hours"), (86400, "days")):
            wanted = SeriesWanted(name="it", metrics=(metric,), ago=DAYS * DAY, step=step)
            found, middle, least, cpu = _read(store, wanted)
            lines.append(
                f"7 days of a series {kind:15}, {name:9} {found:6} points: "
                f"{middle:6.2f} ms (fastest {least:.2f}; {cpu:.2f} of it CPU here)"
            )
    return lines


def _read(store: Store, wanted: SeriesWanted) -> tuple[int, float, float, float]:
    took, worked, count = [], [], 0
    for _ in range(50):
        with store.read() as connection:
            began, cpu = time.perf_counter(), time.process_time()
            found = rollups.read(connection, "host-0", wanted, END)
            took.append((time.perf_counter() - began) * 1000)
            worked.append((time.process_time() - cpu) * 1000)
        count = sum(map(len, found.values()))
    return count, statistics.median(took), min(took), statistics.median(worked)


def size(store: Store) -> str:
    """Bytes of a row of each table, with its index."""
    found = []
    with store.read() as connection:
        for name in ("samples", "rollups"):
            how = f"sum(pgsize) FROM dbstat WHERE name = '{name}'"
            if not store.sqlite:
                how = f"pg_total_relation_size('{name}')"
            try:
                total = connection.execute(text(f"SELECT {how}")).scalar_one()
            except DBAPIError:  # this SQLite was built without
                return ""
            rows = connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
            found.append(f"{total / rows:.1f} bytes for each of {rows:,} {name}")
    return "; ".join(found)


def measure(url: str) -> None:
    """Print what was measured on one database."""
    store = Store(url)
    upgrade(store)
    print(f"\nmetric store, {'SQLite' if store.sqlite else 'PostgreSQL'}")
    print(fill(store))
    count, seconds, cpu = timed(lambda: roll(store, END))
    print(f"{count:,} samples summarised for the first time: {seconds:.1f} s ({cpu:.1f} s CPU)")
    for line in reads(store):
        print(line)
    print(minute(store))
    print(size(store))
    store.close()


def main() -> int:
    """Measure on SQLite, and on PostgreSQL where there is one."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    folder = Path(tempfile.mkdtemp(prefix="oqs"))
    try:
        measure(f"sqlite:///{folder}/record.db")
        with postgres(folder) as url:
            if url:
                measure(fresh_database(url))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
