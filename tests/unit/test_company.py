"""Several `opsqueue up` on one state directory know of each other."""

from __future__ import annotations

import os
import socket
import time

import pytest

from opsqueue.embedded.port import why_not
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
    monkeypatch.setattr(parts, "wait_for", lambda *_words: None)  # nobody is there, nor needs to be
    empty.set(broker_url="redis://127.0.0.1:9/0")
    assert company([]) == ""
    assert "another" not in empty("up", "--no-flower").err
    with among_others(tmp_path / "state"):
        said = empty("up", "--no-flower")
    assert said.status == 0
    assert f"another `opsqueue up` runs on this state directory already: process {os.getpid()} since 2" in said.err
    assert "share the work" in said.err


@pytest.fixture
def taken():
    """A port of the own machine on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_place_where_somebody_listens_is_known(taken):
    assert why_not("127.0.0.1", taken) == "Address already in use"
    assert why_not("127.0.0.1", 0) == why_not("localhost", 0) == ""
    assert why_not("192.0.2.1", 0) == "Cannot assign requested address"


def test_flower_is_left_out_where_another_one_listens(empty, taken, monkeypatch):
    kept = []
    monkeypatch.setattr(parts, "_keep", lambda _settings, children, **_more: kept.extend(children))  # it would run on
    monkeypatch.setattr(parts, "wait_for", lambda *_words: None)  # nobody is there, nor needs to be
    empty.set(broker_url="redis://127.0.0.1:9/0", flower={"port": taken})
    said = empty("up")
    assert said.status == 0
    assert f"Flower is left out: nothing can listen on 127.0.0.1:{taken}: Address already in use. Free it" in said.err
    assert "http://" not in said.err
    assert [child.name for child in kept if child.name == "flower"] == []
    empty.set(flower={"port": 0})
    assert "Flower: http://127.0.0.1:0" in empty("up").err
    assert [child.name for child in kept if child.name == "flower"] == ["flower"]


def test_flower_alone_says_that_it_cannot_listen(empty, taken):
    empty.set(broker_url="redis://127.0.0.1:9/0", flower={"port": taken})
    said = empty("flower")
    assert said.status == 2
    assert f"nothing can listen on 127.0.0.1:{taken}" in said.err
