"""Several `opsqueue up` on one state directory know of each other."""

from __future__ import annotations

import os
import time

from opsqueue.embedded.users import among_others
from opsqueue.tasks import parts
from opsqueue.tasks.parts import company


def test_each_knows_the_others_while_they_live(tmp_path):
    with among_others(tmp_path / "state") as first:
        assert first == []
        with among_others(tmp_path / "state") as second, among_others(tmp_path / "state") as third:
            assert [pid for pid, _ in second] == [os.getpid()]
            assert [pid for pid, _ in third] == [os.getpid()] * 2
            assert all(abs(since - time.time()) < 600 for _, since in third)
    with among_others(tmp_path / "state") as alone:
        assert alone == []


def test_one_that_was_killed_is_no_company_and_its_file_goes(tmp_path):
    (tmp_path / "up").mkdir()
    killed = tmp_path / "up" / "4242.aa"
    killed.touch()
    os.utime(killed, (0, 0))
    with among_others(tmp_path) as found:
        assert found == []
        assert not killed.exists()


def test_the_second_one_is_told_of_the_first(empty, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "_keep", lambda *_words, **_more: None)  # it would run on
    empty.set(broker_url="redis://127.0.0.1:9/0")
    assert company([]) == ""
    assert "another" not in empty("up", "--no-flower").err
    with among_others(tmp_path / "state"):
        said = empty("up", "--no-flower")
    assert said.status == 0
    assert f"another `opsqueue up` runs on this state directory already: process {os.getpid()} since 2" in said.err
    assert "share the work" in said.err
