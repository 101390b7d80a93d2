"""Servers in somebody else's hands, and trust that is taken back: each has a clear end, and nothing more is sent."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time

import pytest
from hostilekit import ERR, OUT, Hostile, flood, grant, served
from sshkit import NEEDS_SSHD, Farm, make_key

from opsqueue.connectors.ssh import link as ssh_link
from opsqueue.connectors.ssh import shell as ssh_shell
from opsqueue.connectors.ssh.trust import pin
from opsqueue.connectors.ssh.ways import Ways
from opsqueue.errors import CommandNotSent, HostNotTrusted, HostUnreachable, OpsqueueError
from opsqueue.model.fact import Fact, Script
from opsqueue.model.host import Host
from opsqueue.model.plan import Command

pytestmark = [*NEEDS_SSHD, pytest.mark.xdist_group("ssh")]

HELLO = [Fact(name="x", ask=Script(text="echo hello"))]
HEARD = {"x": "hello\n"}
NEVER = 60.0
"""Seconds after which a test says that something never ends; it ends within two."""
MB = 1 << 20
_NOBODY = 99_999_999
"""The number of no process: what a liar says is its own."""


@pytest.fixture
def key(tmp_path):
    return str(make_key(tmp_path / "id"))


@pytest.fixture
def make_farm():
    made = []

    def make(**given):
        made.append(Farm(**given))
        return made[-1]

    yield make
    for farm in made:
        farm.end()


@pytest.fixture
def make_ways(tmp_path):
    """The ways with these lines as the pinned keys."""
    made = []

    def make(pins="", **given):
        (tmp_path / "known_hosts").write_text(pins)
        made.append(Ways(tmp_path / "known_hosts", **{"connect_timeout": 30.0, **given}))
        return made[-1]

    yield make
    for ways in made:
        ways.close()
    assert _wait(lambda: not [thread for thread in threading.enumerate() if "Transport" in repr(thread)])


def _sh(text: str, *args: str, **more) -> Command:
    return Command(argv=("/bin/sh", "-c", text, "sh", *args), **more)


def _wait(true, seconds=15.0):
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    return true()


def ends(work):
    """What comes of it, an error of ours too; fails when it never ends."""
    came = []

    def run():
        try:
            came.append(work())
        except OpsqueueError as error:
            came.append(error)

    threading.Thread(target=run, daemon=True).start()
    assert _wait(lambda: came, NEVER), f"it still goes on after {NEVER:g} s"
    return came[0]


# -- drips: no single read or write takes too long -------------------------------------------------------------


def test_a_host_that_makes_room_for_one_byte_now_and_then_is_given_up(key, make_ways):
    def trickle(channel, _command):
        while not channel.closed:
            grant(channel, 1)
            time.sleep(0.2)

    with Hostile(key, trickle, window=1) as bad:
        said = ends(lambda: make_ways(bad.pin, connect_timeout=1.0).shell(bad.host).ask(HELLO))
        assert isinstance(said, HostUnreachable)
        assert "it took no input" in said.message


@pytest.mark.parametrize("stream", ["sendall", "sendall_stderr"])
def test_a_host_that_drips_noise_and_never_answers_is_given_up(stream, key, make_ways):
    def drip(channel, _command):
        while True:
            getattr(channel, stream)(b"x")
            time.sleep(0.05)

    with Hostile(key, drip) as bad:
        said = ends(lambda: make_ways(bad.pin, connect_timeout=1.0).shell(bad.host).ask(HELLO))
        assert isinstance(said, HostUnreachable)
        assert "said nothing of ours within 1 s: xxx" in said.message


def test_a_command_that_drips_and_is_never_ended_by_its_host_is_ended_from_here(key, make_ways, monkeypatch):
    monkeypatch.setattr(ssh_shell, "GRACE_S", 0.1)
    monkeypatch.setattr(ssh_shell, "_LATER_S", 0.1)
    monkeypatch.setattr(ssh_link, "_END_S", 0.5)
    channels = []

    def drip(channel, command):
        channels.append(command)
        if len(channels) == 1:
            served(channel, command)
            return
        begun = re.search(rb"@@[0-9a-f]{32} begun ", _heard(channel, rb"@@[0-9a-f]{32} begun "))
        if begun:
            channel.sendall(b"\n%s%d\n" % (begun[0], _NOBODY))
        while True:
            channel.sendall(b"x")
            time.sleep(0.05)

    with Hostile(key, drip) as bad:
        shell = make_ways(bad.pin).shell(bad.host)
        assert shell.ask(HELLO) == HEARD
        found = ends(lambda: shell.run(_sh("true", timeout=1)))
        assert (found.exit_code, found.timed_out, found.stdout[:3]) == (None, True, "xxx")


def _heard(channel, wanted: bytes) -> bytes:
    """What comes until this came, or two seconds passed in which nothing did."""
    data = b""
    channel.settimeout(2)
    with contextlib.suppress(TimeoutError):
        while not re.search(wanted, data) and (more := channel.recv(4096)):
            data += more
    return data


# -- floods: what one host says fills nobody's memory ----------------------------------------------------------


@pytest.mark.parametrize("stream", [OUT, ERR], ids=["stdout", "stderr"])
def test_a_waiting_shell_that_sends_more_than_it_has_room_for_is_hung_up_on(stream, key, make_ways):
    waiting = []

    def keep(channel, command):
        waiting.append(channel)
        served(channel, command)

    with Hostile(key, keep) as bad:
        shell = make_ways(bad.pin).shell(bad.host)
        assert shell.ask(HELLO) == HEARD
        assert flood(waiting[0], stream, 64 * MB) < 32 * MB  # four of them, and what the kernel holds
        assert shell.ask(HELLO) == HEARD
        assert bad.logins == 2


@pytest.mark.parametrize("stream", ["sendall", "sendall_stderr"])
def test_a_flood_before_the_first_answer_is_not_listened_to_for_long(stream, key, make_ways):
    sent = []

    def drown(channel, _command):
        while True:
            getattr(channel, stream)(b"x" * 30_000)
            sent.append(30_000)

    with Hostile(key, drown) as bad:
        said = ends(lambda: make_ways(bad.pin, connect_timeout=10.0).shell(bad.host).ask(HELLO))
        assert isinstance(said, HostUnreachable)
        assert sum(sent) < 12 * MB


def test_a_stranger_that_announces_a_huge_packet_is_not_waited_for(key, make_ways):
    """Its length is believed before any key is known, so before anybody is who they say."""
    sent = []

    def serve():
        with contextlib.suppress(OSError):
            one, _from = listener.accept()
            with one:
                one.sendall(b"SSH-2.0-OpenSSH_9\r\n" + struct.pack(">IB", 0x3FFF_FFFC, 4))
                while True:
                    one.sendall(bytes(MB))
                    sent.append(MB)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        address, port = listener.getsockname()
        host = Host(name="bad", connector="ssh", address=address, port=port, key_file=key)
        said = ends(lambda: make_ways().presented(host))
    assert isinstance(said, HostUnreachable)
    assert "it announces a packet of" in said.message
    assert sum(sent) < 32 * MB


def test_a_host_that_says_it_takes_four_gigabytes_at_once_gets_packets_as_any_other(key, make_ways):
    with Hostile(key, window=0xFFFF_FFFF, packet=0xFFFF_FFFF) as bad:
        shell = make_ways(bad.pin).shell(bad.host)
        found = ends(lambda: shell.run(_sh("wc -c", stdin="x" * (4 * MB), timeout=30)))
        assert (found.exit_code, found.stdout.strip()) == (0, str(4 * MB))
        assert bad.largest < 256 << 10  # OpenSSH hangs up at more


# -- trust that is taken back ----------------------------------------------------------------------------------


def _refused(shell, note):
    with pytest.raises(HostNotTrusted):
        shell.greet()
    with pytest.raises(HostNotTrusted):
        shell.ask(HELLO)
    with pytest.raises(CommandNotSent):
        shell.run(_sh('echo x >>"$1"', str(note)))
    assert not note.exists()


@pytest.mark.parametrize("how", ["revoked", "forgotten", "replaced", "written by anybody"])
def test_a_key_that_is_not_trusted_any_more_is_heeded_by_open_connections(how, make_farm, make_ways, tmp_path):
    farm, known = make_farm(), tmp_path / "known_hosts"
    shell = make_ways(f"[{farm.addresses[0]}]:{farm.port} {farm.host_key}\n").shell(farm.host())
    assert shell.ask(HELLO) == HEARD
    assert shell.run(_sh("echo run")).stdout == "run\n"
    before = known.read_text()
    match how:
        case "revoked":
            known.write_text(f"{before}@revoked * {farm.host_key}\n")
        case "forgotten":
            known.write_text("# nobody\n")
        case "replaced":
            other = make_key(tmp_path / "other")
            known.write_text(before.replace(farm.host_key, " ".join(_public(other))))
        case _:
            known.chmod(0o666)
    _refused(shell, tmp_path / "note")
    known.write_text(before)
    known.chmod(0o600)
    assert shell.ask(HELLO) == HEARD


def _public(key) -> list[str]:
    return key.with_suffix(".pub").read_text().split()[:2]


def test_a_gateway_that_is_not_trusted_any_more_is_heeded_by_those_behind_it(make_farm, make_ways, tmp_path):
    farm, known = make_farm(hosts=2), tmp_path / "known_hosts"
    ways = make_ways(hosts={"h1": farm.host(0)}.__getitem__)
    farm.pin(known)
    shell = ways.shell(farm.host(1, gateway="h1"))
    assert shell.ask(HELLO) == HEARD
    at_gateway = f"[{farm.addresses[0]}]:{farm.port},"
    assert known.read_text().count(at_gateway) == 1
    known.write_text(known.read_text().replace(at_gateway, ""))
    _refused(shell, tmp_path / "note")


def test_machines_of_one_address_behind_two_gateways_are_told_apart(key, make_farm, make_ways, tmp_path):
    """Two private networks that both have a 10.0.0.7."""
    one, other = make_farm(), make_farm()
    with Hostile(key, name="gw-a", leads_to=one.host()) as a, Hostile(key, name="gw-b", leads_to=other.host()) as b:
        ways = make_ways(a.pin + b.pin, hosts={"gw-a": a.host, "gw-b": b.host}.__getitem__)
        alike = {"address": "10.0.0.7", "port": 22}
        db_a = one.host(name="db-a", gateway="gw-a", **alike)
        db_b = other.host(name="db-b", gateway="gw-b", **alike)
        for host, farm in ((db_a, one), (db_b, other)):
            shown = ways.presented(host)
            assert f"{shown.kind} {shown.data}" == farm.host_key
            assert pin(tmp_path / "known_hosts", host, shown)  # and takes nobody else's away
        assert [ways.shell(host).ask(HELLO) for host in (db_a, db_b)] == [HEARD, HEARD]
        ways.close()
        a.leads_to, b.leads_to = other.host(), one.host()
        for host, farm in ((db_a, other), (db_b, one)):
            before = farm.logins()
            _refused(ways.shell(host), tmp_path / "note")
            assert farm.logins() == before
