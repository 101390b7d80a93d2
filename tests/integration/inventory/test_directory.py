"""The inventory of a process that goes on: what has changed is read again, and the last good one counts."""

from __future__ import annotations

import json
import logging
import os
import threading
import time

import pytest

from opsqueue.connectors.inventory.directory import Directory
from opsqueue.errors import InvalidConfig
from opsqueue.settings import Settings


class Clock:
    at = 1000.0

    def __call__(self):
        self.at += 1.0  # each look at the clock is a look at the files as well
        return self.at


@pytest.fixture
def said(caplog, monkeypatch):
    """What stands in the log, as a list of messages."""
    monkeypatch.setattr(logging.getLogger("opsqueue"), "propagate", True)
    caplog.set_level(logging.INFO, "opsqueue")
    return lambda: [f"{one.levelname} {one.message}" for one in caplog.records]


@pytest.fixture
def files(tmp_path):
    class Files:
        path = tmp_path
        file = tmp_path / "hosts.json"
        clock = Clock()

        def write(self, *names, file=None):
            path = file or self.file
            path.parent.mkdir(exist_ok=True)
            before = path.stat().st_mtime_ns if path.exists() else 0
            path.write_text(json.dumps({"hosts": {name: {} for name in names}}))
            os.utime(path, ns=(before + 10**9, before + 10**9))  # however fast the test is

        def spoil(self, text="{"):
            self.file.write_text(text)
            os.utime(self.file, ns=(self.file.stat().st_mtime_ns + 10**9,) * 2)

        def program(self, body):
            path = tmp_path / "program"
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)
            return path

        def directory(self, *more, **given):
            settings = Settings(state_dir=tmp_path / "state", inventory=(self.file, *more), inventory_refresh=300)
            return Directory(settings, clock=self.clock, **given)

    return Files()


def until(true, seconds=30.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def test_at_the_start_a_failure_is_one(files):
    with pytest.raises(InvalidConfig):
        files.directory()
    files.write("a")
    assert list(files.directory().now()) == ["a"]


def test_a_file_that_changed_is_read_again_and_one_that_did_not_is_not(files):
    files.write("a")
    directory = files.directory()
    first = directory.now()
    assert directory.now() is first
    files.write("a", "b")
    assert list(directory.now()) == ["a", "b"]


def test_it_is_looked_for_changes_ten_times_a_second_at_most(files):
    files.clock = lambda: 1000.0
    files.write("a")
    directory = files.directory()
    files.write("a", "b")
    assert list(directory.now()) == ["a"]
    files.clock = lambda: 1000.2
    directory._clock = files.clock
    assert list(directory.now()) == ["a", "b"]


def test_what_hosts_add_writes_is_seen_and_what_it_takes_away(files):
    files.write("a")
    directory = files.directory()
    added = files.path / "state" / "hosts.json"
    files.write("b", file=added)
    assert list(directory.now()) == ["a", "b"]
    added.unlink()
    assert list(directory.now()) == ["a"]


def test_the_last_good_one_counts_and_each_failure_is_said_once(files, said):
    files.write("a")
    directory = files.directory()
    files.spoil()
    for _ in range(5):
        assert list(directory.now()) == ["a"]
    assert [line for line in said() if "ERROR" in line] == said()
    assert len(said()) == 1
    assert "the last good one counts: the inventory" in said()[0]
    files.spoil("[]")
    directory.now()
    assert len(said()) == 2
    files.write("a", "c")
    assert list(directory.now()) == ["a", "c"]
    assert said()[2] == "INFO the inventory can be read again"


def test_a_file_that_is_gone_is_a_failure_too(files, said):
    files.write("a")
    directory = files.directory()
    files.file.unlink()
    assert list(directory.now()) == ["a"]
    assert "No such file" in said()[0]


def test_one_place_that_fails_does_not_keep_the_others_from_changing(files, said):
    other = files.path / "other.json"
    files.write("a")
    files.write("b", file=other)
    directory = files.directory(other)
    files.spoil()
    files.write("c", file=other)
    assert list(directory.now()) == ["a", "c"]
    assert len(said()) == 1


def test_what_the_settings_cannot_be_honoured_with_is_not_taken(files, said):
    def check(inventory):
        if "a" not in inventory:
            raise InvalidConfig("a window is for a")

    files.write("a")
    directory = files.directory(check=check)
    files.write("b")
    assert list(directory.now()) == ["a"]
    assert "a window is for a" in said()[0]
    files.write("a", "b")
    assert list(directory.now()) == ["a", "b"]


def test_the_same_host_in_two_places_is_not_taken_and_mended_by_either(files, said):
    other = files.path / "other.json"
    files.write("a")
    files.write("b", file=other)
    directory = files.directory(other)
    files.write("a", "b")
    assert list(directory.now()) == ["a", "b"]
    assert "host b stands in" in said()[0]
    files.write("c", file=other)
    assert list(directory.now()) == ["a", "b", "c"]


def test_a_program_runs_again_after_a_while_and_nobody_waits_for_it(files):
    files.write("a")
    went, gate = files.path / "went", files.path / "gate"
    gate.touch()
    program = files.program(
        f"""echo x >> {went}; while [ ! -e {gate} ]; do sleep 0.02; done
n=$(wc -l < {went}); echo "{{\\"_meta\\": {{\\"hostvars\\": {{\\"p$n\\": {{}}}}}}}}" """
    )
    directory = files.directory(program)
    assert list(directory.now()) == ["a", "p1"]
    assert list(directory.now()) == ["a", "p1"]
    gate.unlink()
    files.clock.at += 300
    began = time.monotonic()
    assert list(directory.now()) == ["a", "p1"]
    assert time.monotonic() - began < 10
    until(lambda: went.read_text() == "x\nx\n")
    assert list(directory.now()) == ["a", "p1"]
    gate.touch()
    until(lambda: list(directory.now()) == ["a", "p2"])
    assert went.read_text() == "x\nx\n"


def test_a_program_that_fails_later_is_said_and_the_last_good_one_counts(files, said):
    files.write("a")
    flag = files.path / "flag"
    program = files.program(
        f"""[ -e {flag} ] && {{ echo away >&2; exit 1; }}; echo '{{"_meta": {{"hostvars": {{"p": {{}}}}}}}}'"""
    )
    directory = files.directory(program)
    flag.touch()
    for _ in range(2):
        files.clock.at += 300
        directory.now()
        directory._all.join(10)
        assert list(directory.now()) == ["a", "p"]
    assert len(said()) == 1
    assert "it said: away" in said()[0]
    flag.unlink()
    files.clock.at += 300
    directory.now()
    until(lambda: len(said()) == 2)


def test_many_threads_may_ask(files):
    files.write("a")
    directory = files.directory()
    found = []

    def ask():
        found.extend(set(directory.now()) for _ in range(200))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(20):
        files.write("a", f"b{number}")
    for thread in threads:
        thread.join(20)
    assert len(found) == 1600
    assert all("a" in names for names in found)
    until(lambda: list(directory.now()) == ["a", "b19"])
