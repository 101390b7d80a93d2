"""Whose a lock is: the program that decides it removes ours, when it is certain, and never another's."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opsqueue.facts.on_host import restic_host

UPTIME, TICKS = 10_000.0, os.sysconf("SC_CLK_TCK")


def lock(age: float = 100, pid: int = 77, host: str = os.uname().nodename) -> dict[str, object]:
    """Its time is made from its age when it is looked at: tests are collected long before they run."""
    return {"hostname": host, "pid": pid, "age": age}


def at(seconds_ago: float) -> str:
    """The start of a process, as the kernel has it."""
    return str(int((UPTIME - seconds_ago) * TICKS))


@pytest.fixture
def living(monkeypatch):
    """The processes that live now: their start by their number."""
    found: dict[int, str] = {}
    monkeypatch.setattr(restic_host, "_started", lambda pid: found.get(pid, ""))
    monkeypatch.setattr(restic_host, "_where", lambda: ("boot", "space"))
    first = restic_host._first_line
    monkeypatch.setattr(restic_host, "_first_line", lambda path: f"{UPTIME} 1" if "uptime" in path else first(path))
    return found


OURS = [77, at(150), "boot", "space"]


@pytest.mark.parametrize(
    ("why", "the_lock", "lives", "noted", "ours"),
    [
        ("a dead process that we started", lock(), {}, [OURS], True),
        ("nobody wrote it down", lock(), {}, [], False),
        ("it lives", lock(), {77: at(150)}, [OURS], False),
        ("another host", lock(host="elsewhere"), {}, [OURS], False),
        ("another number", lock(pid=78), {}, [OURS], False),
        ("the number is used again, by somebody younger than the lock", lock(), {77: at(20)}, [OURS], True),
        ("the number is used again, and the lock is theirs", lock(age=10), {77: at(20)}, [OURS], False),
        ("older than our process", lock(age=5000), {}, [OURS], False),
        ("another name space, where nobody can look", lock(), {}, [[77, at(150), "boot", "other"]], False),
        ("of the boot before", lock(age=20_000), {}, [[77, "5", "before", "space"]], True),
        ("our process of the boot before, and a lock of this one", lock(), {}, [[77, "5", "before", "space"]], False),
        (
            "of the boot before, and the number lives",
            lock(age=20_000),
            {77: at(9000)},
            [[77, "5", "before", "s"]],
            True,
        ),
    ],
)
def test_whose_it_is(living, why, the_lock, lives, noted, ours):
    living.update(lives)
    made = datetime.now(UTC) - timedelta(seconds=the_lock["age"])
    assert restic_host._dead_and_ours({**the_lock, "time": made.isoformat()}, noted) is ours, why


def test_who_ended_by_itself_is_forgotten(tmp_path: Path) -> None:
    state = tmp_path / "data"
    here = restic_host._where()
    for line in ([1, "5"], [2, "6"], ["ended", 1, "5"]):
        restic_host._note_down(str(state), *line)
    assert restic_host._noted(str(state)) == [[2, "6", *here]]
    with (tmp_path / "processes").open("a") as file:
        file.write('[3, "7"')  # cut off by a crash
    assert restic_host._noted(str(state)) == [[2, "6", *here]]


def test_what_is_written_down_does_not_grow_for_ever(tmp_path: Path) -> None:
    state = str(tmp_path / "data")
    line = json.dumps([1, "5", "boot", "x" * 300])
    (tmp_path / "processes").write_text(f"{line}\n" * 2000)
    restic_host._note_down(state, 9, "9")
    assert len((tmp_path / "processes").read_text().splitlines()) == restic_host.KEPT + 1


@pytest.mark.parametrize(
    "text", ["2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05Z", "2026-01-02T04:04:05.1+01:00"]
)
def test_times_as_restic_writes_them(text, monkeypatch):
    now = datetime(2026, 1, 2, 3, 5, 5, tzinfo=UTC).timestamp()
    monkeypatch.setattr(restic_host.time, "time", lambda: now)
    assert restic_host._age(text) == 60
