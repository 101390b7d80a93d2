"""`hosts trust` and `hosts check` against real SSH servers."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sshkit import Farm, Odd, Relay, make_key, needs_sshd

from opsqueue.client import actor
from opsqueue.store import events
from opsqueue.store.engine import Store
from opsqueue.store.upgrade import upgrade


@pytest.fixture(scope="module")
def farm():
    with Farm(hosts=4) as farm:
        yield farm


@pytest.fixture
def line(empty, farm):
    """The command line with the hosts of the farm, of which no key is trusted."""
    empty.set(hosts=farm.settings(), groups={"pair": ["h1", "h2"]}, ssh={"connect_timeout": 30})
    return empty


def known_hosts(line):
    return line.config.parent / "state" / "known_hosts"


def fingerprint(key_file):
    """What a person reads on the host itself."""
    said = subprocess.run(["ssh-keygen", "-lf", f"{key_file}.pub"], capture_output=True, text=True, check=True)
    return said.stdout.split()[1]


def states(said):
    return {one["host"]: one["state"] for one in said.json["hosts"]}


def typed(argv, answers, seconds=30):
    """Run a command at a terminal, answer each question; its exit status and all that it showed."""
    process, screen = pty.fork()
    if process == 0:
        os.execv(argv[0], argv)
    text, answers, end = "", list(answers), time.monotonic() + seconds
    while time.monotonic() < end:
        if not select.select([screen], [], [], 0.2)[0]:
            continue
        try:
            text += os.read(screen, 4096).decode(errors="replace")
        except OSError:  # Linux says so at the end
            break
        if answers and text.rstrip().endswith("[y/N]"):
            os.write(screen, answers.pop(0).encode() + b"\n")
            text += "\n"
    _pid, status = os.waitpid(process, 0)
    os.close(screen)
    return os.waitstatus_to_exitcode(status), text


def at_terminal(line, *words, answers):
    return typed([sys.executable, "-m", "opsqueue", "--config", str(line.config), *words], answers)


@needs_sshd
def test_an_untrusted_host_is_told_with_the_command_that_mends_it(line, farm):
    said = line("hosts", "check", "h1", "--output", "json")
    assert said.status == 3
    assert "`opsqueue hosts trust h1`" in said.json["hosts"][0]["error"]
    assert fingerprint(farm.host_key_file) in said.json["hosts"][0]["error"]
    assert not known_hosts(line).exists()


@needs_sshd
def test_several_untrusted_hosts_are_told_at_once_with_one_command(line):
    said = line("hosts", "check", "all").out
    told = "h1 … h4 (4 hosts): not trusted: wanted a pinned host key, found none"
    assert said.count(told) == 1
    assert "`opsqueue hosts trust h1 h2 h3 h4`" in said
    restart = ("--type", "service_restart", "--parameters", '{"service_name": "nginx"}')
    planned = line("plan", "--name", "n", *restart, "--systems", "all")
    assert planned.status == 3
    assert planned.out.count(f"failed  {told}") == 1
    assert "nothing would be sent" not in planned.out


@needs_sshd
def test_several_are_trusted_at_once_and_then_answer(line):
    said = line("hosts", "trust", "all", "!h4", "--yes", "--output", "json")
    assert (said.status, states(said)) == (0, {"h1": "trusted", "h2": "trusted", "h3": "trusted"})
    assert states(line("hosts", "trust", "all", "--yes", "--output", "json")) == {
        "h1": "known",
        "h2": "known",
        "h3": "known",
        "h4": "trusted",
    }
    checked = line("hosts", "check", "--output", "json")
    assert (checked.status, set(states(checked).values())) == (0, {"ok"}), checked.out
    assert known_hosts(line).stat().st_mode & 0o777 == 0o600


@needs_sshd
def test_the_fingerprint_that_was_read_on_the_host_trusts_it_without_a_question(line, farm):
    said = line("hosts", "trust", "h1", "--fingerprint", fingerprint(farm.host_key_file), "--output", "json")
    assert (said.status, states(said)) == (0, {"h1": "trusted"})
    (one,) = said.json["hosts"]
    assert (one["key_type"], one["fingerprint"]) == ("ssh-ed25519", fingerprint(farm.host_key_file))
    assert one["address"] == farm.host(0).where


@needs_sshd
def test_another_fingerprint_is_refused_and_nothing_is_written(line, tmp_path):
    other = fingerprint(make_key(tmp_path / "other"))
    for more in ((), ("--yes",), ("--replace",)):
        said = line("hosts", "trust", "h1", "--fingerprint", other, *more, "--output", "json")
        assert (said.status, states(said)) == (3, {"h1": "fail"})
        assert f"wanted {other}, found ssh-ed25519 SHA256:" in said.json["hosts"][0]["error"]
        assert not known_hosts(line).exists()


@needs_sshd
def test_another_key_is_only_taken_with_replace(line, farm, tmp_path):
    old = " ".join(Path(f"{make_key(tmp_path / 'old')}.pub").read_text().split()[:2])
    farm.pin(known_hosts(line), key=old)
    before = known_hosts(line).read_text()
    said = line("hosts", "trust", "h1", "--yes", "--output", "json")
    assert (said.status, known_hosts(line).read_text()) == (3, before)
    assert "`opsqueue hosts trust h1 --replace`" in said.json["hosts"][0]["error"]
    assert states(line("hosts", "trust", "h1", "--yes", "--replace", "--output", "json")) == {"h1": "replaced"}
    assert states(line("hosts", "check", "h1", "h2", "--output", "json")) == {"h1": "ok", "h2": "fail"}


@needs_sshd
def test_who_trusted_which_key_stands_in_the_history(line, farm, tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'state' / 'opsqueue.db'}")
    upgrade(store)
    old = make_key(tmp_path / "old")
    shown = fingerprint(farm.host_key_file)
    assert line("hosts", "trust", "h1", "--fingerprint", shown).status == 0
    assert line("hosts", "trust", "h1", "--yes").status == 0  # it was trusted already
    farm.pin(known_hosts(line), key=" ".join(Path(f"{old}.pub").read_text().split()[:2]))
    assert line("hosts", "trust", "h1", "--yes").status == 3
    assert line("hosts", "trust", "h1", "h2", "--yes", "--replace").status == 0
    with store.read() as connection:
        found = events.latest(connection, "host_trusted")
    store.close()
    assert [one.host for one in found] == ["h2", "h1", "h1"]
    assert {one.actor for one in found} == {actor()}
    assert [one.data["how"] for one in found] == ["--yes", "--yes", "--fingerprint"]
    assert [one.data["replaced"] for one in found] == [[fingerprint(old)]] * 2 + [[]]
    assert {one.data["fingerprint"] for one in found} == {shown}
    assert found[2].message == f"ssh-ed25519 {shown} (--fingerprint)"
    assert found[2].data["address"] == farm.host(0).where


@needs_sshd
def test_who_cannot_be_reached_is_told_beside_those_who_can(line, farm):
    with Odd("closes") as odd:
        line.set(hosts={**farm.settings(), "odd": {"address": odd.host.address, "port": odd.host.port}})
        said = line("hosts", "trust", "h1", "odd", "--yes", "--output", "json")
    assert (said.status, states(said)) == (3, {"h1": "trusted", "odd": "fail"})
    assert "odd" in said.json["hosts"][1]["error"]


@needs_sshd
def test_a_person_is_shown_the_fingerprint_and_asked(line, farm):
    status, screen = at_terminal(line, "hosts", "trust", "h1", answers=["n"])
    assert status == 3
    assert f"h1 at {farm.host(0).where} shows ssh-ed25519 {fingerprint(farm.host_key_file)}" in screen
    assert "not confirmed; nothing was trusted" in screen
    assert not known_hosts(line).exists()
    status, screen = at_terminal(line, "hosts", "trust", "pair", answers=["y", "n"])
    assert status == 3
    assert len(known_hosts(line).read_text().splitlines()) == 1
    status, screen = at_terminal(line, "hosts", "trust", "pair", answers=["yes"])
    assert (status, screen.count("[y/N]")) == (0, 1)


@needs_sshd
def test_a_host_behind_a_gateway_is_trusted_after_it(line, farm):
    hosts = farm.settings()
    hosts["h1"]["gateway"] = "h2"
    line.set(hosts=hosts)
    alone = line("hosts", "trust", "h1", "--yes", "--output", "json")
    assert alone.status == 3
    assert "opsqueue hosts trust h2" in alone.json["hosts"][0]["error"]
    said = line("hosts", "trust", "h1", "h2", "--yes", "--output", "json")
    assert (said.status, states(said)) == (0, {"h2": "trusted", "h1": "trusted"})
    assert states(line("hosts", "check", "h1", "--output", "json")) == {"h1": "ok"}


@needs_sshd
def test_a_host_is_added_trusted_checked_and_monitored(empty, farm):
    one = farm.settings()["h1"]
    words = [
        "--address",
        one["address"],
        "--port",
        str(one["port"]),
        "--user",
        one["user"],
        "--key-file",
        one["key_file"],
    ]
    assert empty("hosts", "add", "new", *words).status == 0
    assert empty("hosts", "trust", "new", "--yes").status == 0
    assert states(empty("hosts", "check", "new", "--output", "json")) == {"new": "ok"}
    reading = empty("monitor", "--systems", "new", "--once", "--output", "json")
    assert (reading.status, reading.json["hosts"][0]["error"]) == (0, None)
    found = {one["check"]: one for one in empty("doctor", "--output", "json").json["checks"]}
    assert found["host keys"]["state"] == "ok"
    assert "1 host pinned" in found["host keys"]["message"]


@needs_sshd
def test_a_frozen_wire_ends_in_words_and_in_time(line, farm):
    with Relay(farm.host(0)) as relay:
        relay.freeze()
        hosts = {"stuck": {"address": relay.host.address, "port": relay.host.port}}
        line.set(hosts=hosts, groups={}, ssh={"connect_timeout": 1})
        began = time.monotonic()
        said = line("hosts", "trust", "stuck", "--yes", "--output", "json")
        relay.thaw()
    assert (said.status, states(said)) == (3, {"stuck": "fail"})
    assert time.monotonic() - began < 15
