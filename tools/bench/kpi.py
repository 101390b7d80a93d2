"""`make bench`: how long `opsqueue kpi` takes on a record of 200,000 operations of one month.

The record is written by the store's own tables: operations of the usual types, each with its targets and its events
of seven lines, and a month of samples of ten hosts. SQLite; PostgreSQL where its programs are.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from bench import fresh_database, postgres
from sqlalchemy import insert

from opsqueue.model.names import OperationPriority, Outcome, Stage
from opsqueue.model.record import Event, Operation, Target
from opsqueue.pipeline import figures
from opsqueue.settings import load
from opsqueue.store import schema
from opsqueue.store.engine import Store
from opsqueue.store.rows import event_row, operation_row, target_row
from opsqueue.store.upgrade import upgrade

BEGIN = 1_793_491_200.0  # 2026-11-01T00:00Z
MONTH = 30 * 86_400.0
HOSTS = [f"host-{number}" for number in range(10)]
TYPES = (
    ("system_monitoring", True, "schedule:system-monitoring"),
    ("health_check", True, "schedule:health-check"),
    ("service_restart", False, "ann@desk"),
    ("log_rotation", False, "schedule:log-rotation"),
)
STAGES = ("verify", "window", "execute", "collect", "analyze", "notify")
OUTCOMES = (Outcome.SUCCEEDED, Outcome.SUCCEEDED, Outcome.UNCHANGED, Outcome.FAILED)
AT_ONCE = 2000


def an_operation(number: int, count: int, chance: random.Random) -> Operation:
    """The n-th of so many in the month."""
    kind, looking, who = chance.choices(TYPES, (60, 30, 6, 4))[0]
    at = BEGIN + MONTH * number / count
    return Operation(
        id=f"{number:08d}-bench",
        name=kind,
        type=kind,
        priority=OperationPriority.NORMAL,
        systems=("all",),
        requested_by=who,
        looking=looking,
        stage=Stage.CLOSED,
        outcome=chance.choice(OUTCOMES),
        verdicts=tuple(
            {"gate": gate, "verdict": "pass", "why": "it changes nothing", "until": None} for gate in STAGES
        ),
        findings=({"severity": "info", "code": "x", "message": "m" * 200, "host": HOSTS[0], "evidence": {}},),
        created_at=at,
        finished_at=at + 2,
    )


def fill(store: Store, count: int) -> None:
    """Write the month."""
    chance = random.Random(1)
    made = (an_operation(number, count, chance) for number in range(count))
    while some := list(islice(made, AT_ONCE)):
        with store.begin() as tx:
            rows = [{**operation_row(one), "request_digest": "d", "nudged_at": 0.0} for one in some]
            tx.execute(insert(schema.operations), rows)
            tx.execute(insert(schema.targets), [target_row(_target(one, chance)) for one in some])
            tx.execute(insert(schema.events), [event_row(line) for one in some for line in _lines(one)])
    for number, host in enumerate(HOSTS):
        _samples(store, number, host, chance)


def _target(one: Operation, chance: random.Random) -> Target:
    at = one.created_at + 1
    changed = None if one.looking else at
    return Target(operation_id=one.id, host=chance.choice(HOSTS), started_at=at, changed_at=changed, verified_at=at + 1)


def _lines(one: Operation) -> list[Event]:
    asked = Event(operation_id=one.id, at=one.created_at, kind="submitted", message="it was asked for")
    worked = [
        Event(
            operation_id=one.id, at=one.created_at + 2, kind="stage", stage=stage, actor="shared-bench:1",
            message="done", data={"result": "passed", "started_at": one.created_at, "seconds": 0.01},
        )
        for stage in STAGES
    ]  # fmt: skip
    return [asked, *worked]


def _samples(store: Store, number: int, host: str, chance: random.Random) -> None:
    metrics = ("up", "response_time:web", "attempts:web")
    with store.begin() as tx:
        rows = [
            {"id": number * len(metrics) + place + 1, "host": host, "metric": metric, "unit": ""}
            for place, metric in enumerate(metrics)
        ]
        tx.execute(insert(schema.series), rows)
        values = [
            {"series_id": row["id"], "at": at, "value": value}
            for row, middle in zip(rows, (0.0, 50.0, 1.0), strict=True)
            for at in range(int(BEGIN), int(BEGIN + MONTH), 300)
            for value in [middle * chance.random() if middle == 50 else middle or float(chance.random() > 0.001)]
        ]
        tx.execute(insert(schema.samples), values)


def measure(database: str, home: Path, count: int) -> None:
    """Print how long the figures take, and how the time is divided."""
    config = home / "opsqueue.json"
    hosts = {host: {"connector": "local"} for host in HOSTS}
    windows = {"nightly": "02:00-04:00"}
    config.write_text(json.dumps({"state_dir": str(home), "database_url": database, "hosts": hosts,
                                  "maintenance_windows": windows}))  # fmt: skip
    settings = load(str(config))
    store = Store(settings.database)
    upgrade(store)
    began = time.monotonic()
    fill(store, count)
    print(f"{database.split(':', maxsplit=1)[0]}: {count} operations written in {time.monotonic() - began:.0f} s")
    for words in ({}, {"systems": (HOSTS[0],)}):
        took = []
        for _ in range(5):
            began = time.monotonic()
            figures.told(store, settings, period="2026-11-01..2026-12-01", now=BEGIN + MONTH + 60, **words)
            took.append(time.monotonic() - began)
        what = "one host" if words else "everything"
        print(
            f"  the figures of the month and of the one before, {what}: {statistics.median(took):.2f} s (median of 5)"
        )
    store.close()


def main() -> int:
    """Print one part for each database."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--sqlite-only", action="store_true")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="oqk"))
    os.environ.pop("OPSQUEUE_CONFIG", None)
    try:
        measure(f"sqlite:///{folder}/record.db", folder, given.count)
        with ExitStack() as stack:
            url = "" if given.sqlite_only else stack.enter_context(postgres(folder))
            if url:
                measure(fresh_database(url), folder, given.count)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
