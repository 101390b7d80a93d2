"""The tables themselves, databases that cannot be used, and the kernel's main story on each database."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from opsqueue.errors import DatabaseUnreachable, InvalidConfig
from opsqueue.model.alert import Kind, Transition
from opsqueue.model.names import WORKED, Stage
from opsqueue.pipeline.advance import advance
from opsqueue.store import alerts, holds, operations
from opsqueue.store.engine import Store
from opsqueue.store.schema_partial import metadata
from opsqueue.store.upgrade import _config, head, revision, upgrade


def test_an_empty_database_gets_all_tables(empty):
    store = Store(empty)
    assert upgrade(store) == (None, head())
    assert upgrade(store) == (head(), head())
    with store.read() as connection:
        assert set(inspect(connection).get_table_names()) == {*metadata.tables, "alembic_version"}
        assert revision(connection) == head()
    store.close()


def test_the_migrations_lead_to_the_tables_of_this_version(store):
    with store.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_history_of_alerts_is_kept_when_it_gets_its_indexes(empty):
    store = Store(empty)
    with store.begin() as tx:
        command.upgrade(_config(tx), "0008")
    line = Transition(at=1.5, kind=Kind.FIRING, fingerprint="f", rule="cpu", host="h1", incident="i")
    with store.begin() as tx:
        alerts.append(tx, [line])
    assert upgrade(store) == ("0008", head())
    with store.read() as connection:
        assert alerts.history(connection, host="h1") == [replace(line, id=1)]
        there = {one["name"] for one in inspect(connection).get_indexes("alert_history")}
    assert there >= {"ix_alert_history_host", "ix_alert_history_critical"}
    with store.begin() as tx:
        assert compare_metadata(MigrationContext.configure(tx), metadata) == []
    store.close()


def test_an_upgrade_that_many_processes_begin_at_once_is_done_once(empty):
    program = (
        "import sys; from opsqueue.store.engine import Store; from opsqueue.store.upgrade import upgrade; "
        "print(upgrade(Store(sys.argv[1]))[0])"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, empty], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0] * 4, said
    assert sorted(out.strip() for out, _ in said) == sorted(["None", *[head()] * 3])


def unreachable(url):
    store = Store(url)
    with pytest.raises(DatabaseUnreachable) as raised, store.begin() as tx:
        operations.take(tx, "op", Stage.VERIFY, now=0.0, until=1.0, holder="a")
    store.close()
    assert "opsqueue db upgrade" in raised.value.message
    assert raised.value.exit_code == 12
    return raised.value.message


def test_missing_tables_are_said(empty):
    assert "operations" in unreachable(empty)


def test_a_server_that_is_not_there_is_said(tmp_path):
    unreachable(f"postgresql+psycopg://opsqueue@/opsqueue?host={tmp_path}")


def test_a_file_that_is_no_database_is_said(tmp_path):
    path = tmp_path / "record.db"
    path.write_text("this is a letter, " * 100)
    assert "not a database" in unreachable(f"sqlite:///{path}")


def test_a_directory_in_the_place_of_the_file_is_said(tmp_path):
    unreachable(f"sqlite:///{tmp_path}")


def test_a_place_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseUnreachable, match="state_dir"):
        Store(f"sqlite:///{tmp_path / 'file' / 'below' / 'record.db'}")


def test_a_file_that_cannot_be_written_is_said(sqlite_template):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "record.db"
        path.write_bytes(sqlite_template.read_bytes())
        path.chmod(0o444)
        Path(directory).chmod(0o555)
        was = os.geteuid()
        try:
            os.seteuid(65534 if was == 0 else was)  # root may write whatever the mode says
            if was == 0:
                os.seteuid(was)
                Path(directory).chmod(0o555)
                os.seteuid(65534)
            unreachable(f"sqlite:///{path}")
        finally:
            os.seteuid(was)
            Path(directory).chmod(0o700)


@pytest.mark.service
def test_a_server_that_lets_nobody_write_is_said(postgres, postgres_template):
    read_only = f"postgresql+psycopg://opsqueue@/{postgres_template}?host={postgres}"
    assert "read-only" in unreachable(f"{read_only}&options=-cdefault_transaction_read_only%3Don")


@pytest.mark.parametrize(
    "url", ["mysql://host/db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "no url", "oracle:x"]
)
def test_a_url_that_cannot_be_honoured_is_refused(url):
    with pytest.raises(InvalidConfig, match="database_url"):
        Store(url)


def test_the_main_story(story):
    shown = story.drive(story.ask(systems=["h1", "h2"], parameters={"to": 2, "steps": 2}))
    assert [stage["stage"] for stage in shown["stages"]] == [stage.value for stage in WORKED]
    assert (shown["outcome"], shown["stage"]) == ("succeeded", "closed")
    assert story.machines["h1"].tally == story.machines["h2"].tally == ["set 1", "set 2"]


def test_the_story_of_a_rollback_after_a_crash(story):
    story.machines["h1"].crash_after = "set 1"
    shown = story.drive(story.ask(parameters={"to": 2, "steps": 2}))
    assert (shown["outcome"], story.machines["h1"].tally) == ("rolled_back", ["set 1", "back 0"])


def test_the_story_of_a_host_that_says_strange_things(story):
    story.machines["h1"].breaks = {"set 1"}
    story.machines["h1"].during["set 1"] = lambda: None
    shown = story.drive(story.ask(description="Zürich 🚀", retry_count=0))
    assert (shown["outcome"], shown["description"]) == ("failed", "Zürich 🚀")


def test_the_story_of_many_workers(story):
    story.settings |= {"max_concurrent_operations": 2}
    hosts = ("h1", "h2", "h3")
    asked = [story.ask(systems=[name], parameters={"to": 1 + lap}) for lap in range(2) for name in hosts]
    together = threading.Barrier(4)

    def work(number):
        world = story.world(f"worker-{number}")
        together.wait()
        for operation_id in asked[number:] + asked[:number]:
            advance(world, operation_id, Stage.VERIFY, go_on=True)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [story.drive(operation_id)["outcome"] for operation_id in asked] == ["succeeded"] * 6
    assert [len(story.machines[name].tally) for name in hosts] == [2, 2, 2]
    with story.store.read() as connection:
        assert holds.running(connection, "") == {}
        assert holds.lock_holders(connection, hosts, "") == {}


def test_only_what_must_last_waits_for_the_disk(store):
    asked = "PRAGMA synchronous" if store.sqlite else "SHOW synchronous_commit"
    waits, waits_not = (2, 1) if store.sqlite else ("on", "off")
    for lasting in (True, False, False, True, True):
        with store.begin(lasting=lasting) as tx:
            assert tx.exec_driver_sql(asked).scalar_one() == (waits if lasting else waits_not)
