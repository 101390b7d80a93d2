"""`database_maintenance` on files of SQLite."""

from __future__ import annotations

import sqlite3
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from database_cycle import cycle, dry_and_real, every_title, flipped, killed_at
from dbkit import ROOT, needs, place, run, user

pytestmark = [pytest.mark.service, needs(("sqlite3", "sqlite3"), ("runuser", "util-linux"))]


@pytest.fixture
def here():
    """A directory with a database that belongs to somebody who is not root."""
    with place(user("nobody")) as directory:
        file = directory / "shop.db"
        with sqlite3.connect(file) as db:
            db.execute("pragma journal_mode = wal")
            db.execute("create table customer (id integer primary key, name text)")
            db.execute('create table "o\'dd ""name" (a)')
            db.executemany("insert into customer (name) values (?)", [(f"n{i}",) for i in range(2000)])
            db.execute("create index by_name on customer (name)")
            db.execute("create view few as select * from customer limit 5")
        db.close()
        if ROOT:
            import shutil  # noqa: PLC0415

            shutil.chown(file, user("nobody"))
        yield directory


def asked(here: Path, kind: str = "backup", **more):
    return {"maintenance_type": kind, "backup_dir": str(here / "b"), "path": str(here / "shop.db"), **more}


def names(here: Path) -> list[str]:
    return sorted(path.name for path in (here / "b").glob("*/0*"))


def rows(file: Path) -> int:
    db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        return db.execute("select count(*) from customer").fetchone()[0]
    finally:
        db.close()


def test_a_backup_is_opened_compared_and_numbered(here):
    run_ = cycle(asked(here))
    assert (run_.objections, run_.problems, set(run_.codes)) == ([], [], {0})
    assert names(here) == ["000001"]
    assert run_.metrics["rows_compared"] == 2000
    (copy,) = here.rglob("shop.db.sqlite")
    assert rows(copy) == 2000
    left = [path.name for path in here.iterdir() if path.stat().st_uid != (here / "shop.db").stat().st_uid]
    assert left in ([], ["b"])  # nothing that its owner could not open


def test_what_stands_in_the_wal_is_in_the_backup_and_a_writer_does_not_disturb(here):
    stop = threading.Event()
    db = sqlite3.connect(here / "shop.db", check_same_thread=False, timeout=30)
    db.execute("pragma wal_autocheckpoint = 0")

    def write():
        while not stop.is_set():
            with db:
                db.execute("insert into customer (name) values ('late')")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        run_ = cycle(asked(here))
    finally:
        stop.set()
        writer.join()
        db.close()
    assert run_.problems == []
    (copy,) = here.rglob("shop.db.sqlite")
    assert 2000 < rows(copy) <= rows(here / "shop.db")


def test_a_damaged_file_is_no_backup_and_nothing_stays(here):
    file = here / "shop.db"
    data = bytearray(file.read_bytes())
    at = data.index(b"n1500")
    data[at : at + 3] = b"xxx"  # the row is another than its entry in the index
    file.write_bytes(data)
    run_ = cycle(asked(here))
    assert run_.codes[-1] == 1
    assert "only what was begun of it" in run_.problems[0]
    assert run_.rolled == ["remove what was begun"]
    assert run_.restored == []
    assert names(here) == []
    checked = cycle(asked(here, "integrity_check"))
    assert checked.problems == []
    assert checked.findings == ["database_damaged"]
    # Only the index is at odds with its table, so a rebuild mends it.
    assert cycle(asked(here, "index_optimization")).problems == []
    assert cycle(asked(here, "integrity_check")).findings == []


def test_a_file_with_a_broken_page_is_not_rebuilt(here):
    file = here / "shop.db"
    data = bytearray(file.read_bytes())
    data[4096 * 2 : 4096 * 2 + 200] = b"\xff" * 200
    file.write_bytes(data)
    refused = cycle(asked(here, "index_optimization"))
    assert "is damaged" in refused.objections[0]
    assert cycle(asked(here, "integrity_check")).findings == ["database_damaged"]


@pytest.mark.skipif(not ROOT, reason="needs root, for a small file system")
def test_a_full_disk_leaves_no_backup(here):
    """A place with room for half of the copy."""
    kept = here / "b"
    kept.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=512k", "opsqueue-test", str(kept)])
    try:
        run_ = cycle(asked(here), meanwhile=lambda: (kept / "full").write_bytes(b"x" * 450_000))
        assert run_.codes[-1] != 0
        assert "only what was begun of it" in run_.problems[0]
        assert run_.restored == []
        assert names(here) == []
        refused = cycle(asked(here))
        assert "bytes free" in refused.objections[0]
    finally:
        run(["umount", str(kept)])


def test_integrity_statistics_and_reindex(here):
    assert cycle(asked(here, "integrity_check")).problems == []
    counted = cycle(asked(here, "statistics"))
    assert counted.problems == []
    assert counted.metrics["statistics_rows"] == 1
    assert cycle(asked(here, "index_optimization")).problems == []


@pytest.mark.parametrize(
    "title", ["copy shop.db", "make a scratch", "open it", "remove the scratch", "sum up", "give it its name"]
)
def test_a_worker_that_is_killed_leaves_the_old_or_the_new(here, title):
    run_ = killed_at(asked(here), title)
    assert names(here) == ([] if run_.problems else ["000001"])
    assert run_.restored in (None, [])
    assert not list(here.rglob("*.partial"))


@pytest.mark.long
def test_a_worker_that_is_killed_at_any_step_leaves_the_old_or_the_new(here):
    for title in every_title(cycle(asked(here))):
        were = sorted(names(here))
        run_ = killed_at(asked(here), title)
        assert run_.restored in (None, [])
        assert sorted(names(here)) == (were if run_.problems else [*were, f"{len(were) + 1:06}"]), title
        assert not list(here.rglob("*.partial"))


@pytest.mark.parametrize("kind", ["statistics", "index_optimization", "integrity_check"])
def test_a_worker_that_is_killed_leaves_a_whole_file(here, kind):
    titles = {"statistics": "make the", "index_optimization": "rebuild", "integrity_check": "check shop.db"}
    run_ = killed_at(asked(here, kind), titles[kind])
    assert run_.restored in (None, [])
    db = sqlite3.connect(here / "shop.db")
    assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    db.execute("insert into customer (name) values ('not locked')")
    db.close()


def test_a_worker_that_is_killed_leaves_the_old_journal_or_the_new(here):
    with sqlite3.connect(here / "shop.db") as db:
        db.execute("pragma journal_mode = delete")
    db.close()
    run_ = killed_at(asked(here, "tuning", apply=True), "set journal_mode")
    db = sqlite3.connect(here / "shop.db")
    (mode,) = db.execute("pragma journal_mode").fetchone()
    db.execute("insert into customer (name) values ('not locked')")
    db.close()
    assert mode == ("delete" if run_.problems else "wal")
    assert run_.restored in (None, [])


def test_a_unique_index_that_cannot_be_built_leaves_nothing(here):
    more = {"table": "customer", "index_columns": ["name"], "index_unique": True}
    with sqlite3.connect(here / "shop.db") as db:
        db.execute("insert into customer (name) values ('n7')")
    db.close()
    failed = cycle(asked(here, "index_optimization", **more))
    assert "UNIQUE constraint failed: customer.name" in failed.outputs[-1]
    assert (failed.problems, failed.rolled) == (["the index customer_name_key was not built"], [])
    with sqlite3.connect(here / "shop.db") as db:
        db.execute("delete from customer where id = 2001")
    db.close()
    killed = killed_at(asked(here, "index_optimization", **more), "build the index")
    assert killed.problems == []  # it goes on to its end
    again = cycle(asked(here, "index_optimization", **more))
    assert "has the index customer_name_key already" in again.plan.note
    plain = cycle(asked(here, "index_optimization", table="customer", index_columns=["name"]))
    assert "has the index by_name already" in plain.plan.note


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("backup", {}),
        ("integrity_check", {}),
        ("statistics", {}),
        ("index_optimization", {}),
        ("index_optimization", {"table": "customer", "index_columns": ["id", "name"]}),
        ("cleanup", {"table": "customer", "predicate": "id < 50", "max_rows": 50, "archive": True}),
        ("tuning", {"apply": True}),
    ],
    ids=["backup", "integrity_check", "statistics", "index_optimization", "index_build", "cleanup", "tuning"],
)
def test_what_a_dry_run_prints_is_what_is_sent(here, kind, more):
    db = sqlite3.connect(here / "shop.db")
    db.execute("pragma journal_mode = delete")
    db.close()

    def state():
        return sorted(path.name for path in here.iterdir()), (here / "shop.db").read_bytes()

    dry_and_real(asked(here, kind, **more), state)


def test_a_file_that_is_not_there_is_refused(here):
    run_ = cycle({**asked(here), "path": str(here / "none.db")})
    assert "there is no file" in run_.objections[0]


def test_a_flipped_byte_is_seen(here):
    said = flipped(asked(here), here / "b", "shop.db.sqlite")
    assert "is not what was written: shop.db.sqlite: FAILED" in said[0]
    assert said[1:] == ["remove what is not proven"]
