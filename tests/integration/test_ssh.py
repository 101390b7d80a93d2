"""Connections over SSH: who is trusted, who logs in, what is kept, and what happens when something breaks."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sshkit import NEEDS_SSHD, Farm, Odd, make_key

from opsqueue.connectors.ssh.trust import HostKey, pin
from opsqueue.connectors.ssh.ways import Ways
from opsqueue.errors import CommandNotSent, HostNotTrusted, HostUnreachable
from opsqueue.facts.system import system_reading
from opsqueue.model.fact import Fact, Probe, Script
from opsqueue.model.plan import Command

pytestmark = [*NEEDS_SSHD, pytest.mark.xdist_group("ssh")]

HELLO = [Fact(name="x", ask=Script(text="echo hello"))]
HEARD = {"x": "hello\n"}


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
    """The ways with the keys of these farms pinned, closed with the test."""
    made = []

    def make(*farms, more=(), **given):
        file = tmp_path / "known_hosts"
        farms[0].pin(file, more=more) if farms else file.touch()
        made.append(Ways(file, **{"connect_timeout": 30.0, **given}))
        return made[-1]

    yield make
    for ways in made:
        ways.close()
    assert _wait(lambda: not _transports())


@pytest.fixture
def farm(make_farm):
    return make_farm()


@pytest.fixture
def shell(farm, make_ways):
    return make_ways(farm).shell(farm.host())


def _sh(text: str, *args: str, **more) -> Command:
    return Command(argv=("/bin/sh", "-c", text, "sh", *args), **more)


def _transports() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "Transport" in repr(thread)]


def _wait(true, seconds=15.0):
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    return true()


def _handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _fingerprint(farm) -> str:
    said = subprocess.run(
        ["ssh-keygen", "-lf", f"{farm.host_key_file}.pub"], capture_output=True, text=True, check=True
    )
    return said.stdout.split()[1]


# -- who is trusted -----------------------------------------------------------------------------------------


def test_an_unknown_key_is_refused_before_anybody_logs_in(make_farm, make_ways):
    farm = make_farm(log_level="DEBUG1")
    with pytest.raises(HostNotTrusted) as refused:
        make_ways().shell(farm.host()).greet()
    assert _fingerprint(farm) in refused.value.message
    assert "`opsqueue hosts trust h1`" in refused.value.message
    assert _wait(lambda: "Connection closed" in farm.log())
    assert "userauth" not in farm.log()


def test_a_changed_key_is_refused_before_anybody_logs_in(make_farm, make_ways, tmp_path):
    farm, other = make_farm(log_level="DEBUG1"), make_farm()
    ways = make_ways()
    farm.pin(tmp_path / "known_hosts", key=other.host_key)
    for ask in (lambda shell: shell.greet(), lambda shell: shell.ask(HELLO)):
        with pytest.raises(HostNotTrusted) as refused:
            ask(ways.shell(farm.host()))
        assert _fingerprint(farm) in refused.value.message
        assert _fingerprint(other) in refused.value.message
        assert "`opsqueue hosts trust h1 --replace`" in refused.value.message
    with pytest.raises(CommandNotSent, match="--replace"):
        ways.shell(farm.host()).run(_sh("true"))
    assert _wait(lambda: farm.log().count("Connection closed") >= 3)
    assert "userauth" not in farm.log()


def test_what_the_host_shows_can_be_pinned(farm, make_ways, tmp_path):
    ways = make_ways()
    shown = ways.presented(farm.host())
    assert shown.fingerprint == _fingerprint(farm)
    assert farm.logins() == 0
    assert pin(tmp_path / "known_hosts", farm.host(), shown)
    assert ways.shell(farm.host()).ask(HELLO) == HEARD


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_a_key_of_another_kind_than_the_usual_one_is_asked_for(kind, make_farm, make_ways, tmp_path):
    key = make_key(tmp_path / "key", kind)
    farm = make_farm(lines=[f"HostKey {key}"])
    ways = make_ways()
    farm.pin(tmp_path / "known_hosts", key=" ".join(Path(f"{key}.pub").read_text().split()[:2]))
    ways.shell(farm.host()).greet()
    assert ways.presented(farm.host()).kind.startswith(("ssh-rsa", "ecdsa"))


def test_any_of_several_pinned_keys_will_do(make_farm, make_ways, tmp_path):
    farm, old = make_farm(), make_farm()
    ways = make_ways(farm)
    text = (tmp_path / "known_hosts").read_text()
    (tmp_path / "known_hosts").write_text(text.replace(farm.host_key, old.host_key) + text)
    ways.shell(farm.host()).greet()


def test_a_key_that_is_pinned_meanwhile_is_seen(farm, make_ways, tmp_path):
    shell = make_ways().shell(farm.host())
    with pytest.raises(HostNotTrusted):
        shell.greet()
    kind, data = farm.host_key.split()
    pin(tmp_path / "known_hosts", farm.host(), HostKey(kind, data))
    shell.greet()


def test_what_the_user_has_at_home_is_not_read(farm, make_ways, tmp_path, monkeypatch):
    trap, home = tmp_path / "trap", tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "config").write_text(
        f"Host *\n Port 1\n User nobody\n ProxyCommand touch {trap}\n ForwardAgent yes\n"
    )
    (home / ".ssh" / "known_hosts").write_text("[127.0.0.1]:1 ssh-ed25519 AAAA\n")
    (home / ".fabric.yaml").write_text("connect_kwargs: {password: x}\ngateway: nobody@127.0.0.1:1\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("FABRIC_GATEWAY", "nobody@127.0.0.1:1")
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        make_ways(farm).shell(farm.host()).ask(HELLO)
        agent.setblocking(False)
        with pytest.raises(BlockingIOError):
            agent.accept()
    assert not trap.exists()


def test_no_agent_no_terminal_and_no_password_is_ever_offered(make_farm, make_ways):
    farm = make_farm(log_level="DEBUG1", lines=["AllowAgentForwarding yes", "PermitTTY yes", "X11Forwarding yes"])
    shell = make_ways(farm).shell(farm.host())
    shell.ask(HELLO)
    shell.run(_sh("true"))
    asked = {
        line.rpartition("req ")[2].split()[0] for line in farm.log().splitlines() if "session_input_channel_req" in line
    }
    assert asked == {"exec"}
    methods = {line.split("method ")[1].split()[0] for line in farm.log().splitlines() if "userauth-request" in line}
    assert methods == {"publickey"}


# -- who logs in --------------------------------------------------------------------------------------------


def test_a_key_that_is_not_let_in_is_said(make_farm, make_ways, tmp_path):
    farm = make_farm()
    host = farm.host(key_file=str(make_key(tmp_path / "stranger")))
    with pytest.raises(HostUnreachable, match="did not let") as refused:
        make_ways(farm).shell(host).greet()
    assert "authorized_keys" in refused.value.message


def test_a_key_that_cannot_be_read_is_said(farm, make_ways, tmp_path):
    (tmp_path / "junk").write_text("junk")
    (tmp_path / "torn").write_text("".join(Path(farm.key_file).read_text().splitlines(keepends=True)[:2]))
    (tmp_path / "torn").chmod(0o600)
    for file, says in (
        (tmp_path / "missing", "is not there"),
        (tmp_path / "junk", "holds no private key"),
        (tmp_path / "torn", "cannot be used: it is damaged"),
        (tmp_path, "is no file"),
        (f"{farm.key_file}.pub", f"name the private one, {farm.key_file}"),
    ):
        with pytest.raises(HostUnreachable) as refused:
            make_ways(farm).shell(farm.host(key_file=str(file))).greet()
        assert f"h1 cannot be logged in to: key_file {file} {says}" in refused.value.message.replace(
            f"{file} is the public half of a key: ", f"{file} "
        )
        assert refused.value.message.count(str(file)) <= 2
        assert "cryptography.io" not in refused.value.message


def test_a_key_that_others_can_read_is_not_used_until_that_is_mended(farm, make_ways, tmp_path):
    key = shutil.copy(farm.key_file, tmp_path / "key")
    key.chmod(0o644)
    shell = make_ways(farm, keep_seconds=0).shell(farm.host(key_file=str(key)))
    with pytest.raises(HostUnreachable, match=rf"open to others \(mode 0644\), so it is not used: chmod 600 {key}"):
        shell.greet()
    assert farm.logins() == 0
    key.chmod(0o600)
    assert shell.ask(HELLO) == HEARD
    key.chmod(0o640)
    with pytest.raises(HostUnreachable, match="chmod 600"):
        shell.ask(HELLO)


def test_a_port_of_another_server_is_said(farm, make_ways):
    with socket.create_server(("127.0.0.1", 0)) as web:

        def answer():
            one, _ = web.accept()
            with one:
                one.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        port = web.getsockname()[1]
        host = farm.host(address="127.0.0.1", port=port)
        with pytest.raises(HostUnreachable, match=rf"no SSH server answers there \(port {port}\): is that its port"):
            make_ways(farm, more=[host]).shell(host).greet()
        thread.join()


def test_a_certificate_is_enough(farm, make_ways):
    ways = make_ways(farm)
    with_certificate = farm.host(key_file=farm.certified_key, certificate_file=farm.certificate_file)
    assert ways.shell(with_certificate).ask(HELLO) == HEARD
    shutil.move(farm.certificate_file, f"{farm.folder}/elsewhere.pub")
    with pytest.raises(HostUnreachable, match="did not let"):
        ways.shell(farm.host(key_file=farm.certified_key)).greet()
    elsewhere = farm.host(key_file=farm.certified_key, certificate_file=f"{farm.folder}/elsewhere.pub")
    assert ways.shell(elsewhere).ask(HELLO) == HEARD
    for wrong in (f"{farm.key_file}.pub", f"{farm.folder}/missing", str(farm.folder / "banner")):
        with pytest.raises(HostUnreachable, match=r"cannot be used|did not let"):
            ways.shell(farm.host(key_file=farm.certified_key, certificate_file=wrong)).greet()


def test_a_key_beside_a_certificate_that_is_not_taken_is_offered_too(farm, make_ways, tmp_path):
    authority = make_key(tmp_path / "unknown-authority")
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "x", "-n", farm.user, f"{farm.key_file}.pub"]
    subprocess.run(sign, check=True)
    assert Path(f"{farm.key_file}-cert.pub").exists()
    assert make_ways(farm).shell(farm.host()).ask(HELLO) == HEARD


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_passphrase_is_asked_for_once(kind, make_farm, make_ways, tmp_path):
    farm = make_farm(hosts=4)
    key = make_key(tmp_path / "locked", kind, passphrase="geheim")
    with (farm.folder / "authorized_keys").open("a") as file:
        file.write(Path(f"{key}.pub").read_text())
    asked = []

    def passphrase(word="geheim"):
        asked.append(word)
        return word

    ways = make_ways(farm, passphrase=passphrase)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda host: ways.shell(host).greet(), farm.hosts(key_file=str(key))))
    assert asked == ["geheim"]
    with pytest.raises(HostUnreachable, match="has a passphrase"):
        make_ways(farm).shell(farm.host(key_file=str(key))).greet()
    with pytest.raises(HostUnreachable, match="is not what"):
        make_ways(farm, passphrase=lambda: "wrong").shell(farm.host(key_file=str(key))).greet()


# -- gateways -----------------------------------------------------------------------------------------------


def _behind(farm, ways_given=None):
    """The first host of a farm as the gateway of all others."""
    hosts = {"h1": farm.host(0)}
    behind = [farm.host(number, gateway="h1") for number in range(1, len(farm.addresses))]
    return hosts, behind


def test_one_connection_to_a_gateway_serves_all_behind_it(make_farm, make_ways):
    farm = make_farm(hosts=11, log_level="DEBUG1")
    hosts, behind = _behind(farm)
    ways = make_ways(farm, hosts=hosts.__getitem__)
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(lambda host: ways.shell(host).ask(HELLO), behind)) == [HEARD] * 10
    assert farm.logins() == 11
    assert farm.log().count("server_request_direct_tcpip: originator") == 10
    assert ways.shell(behind[0]).run(_sh("echo run")).stdout == "run\n"
    assert ways.presented(behind[3]).fingerprint == _fingerprint(farm)
    assert farm.logins() == 11


def test_a_gateway_that_went_away_is_opened_again(make_farm, make_ways):
    farm = make_farm(hosts=2)
    hosts, behind = _behind(farm)
    shell = make_ways(farm, hosts=hosts.__getitem__).shell(behind[0])
    assert shell.ask(HELLO) == HEARD
    farm.drop()
    assert shell.ask(HELLO) == HEARD


def test_a_gateway_is_kept_while_something_runs_through_it(make_farm, make_ways):
    farm = make_farm(hosts=2)
    hosts, behind = _behind(farm)
    shell = make_ways(farm, hosts=hosts.__getitem__, keep_seconds=0.4).shell(behind[0])
    for _ in range(8):
        shell.ask(HELLO)
        time.sleep(0.2)
    assert farm.logins() == 2
    assert _wait(lambda: not _transports())


def test_what_is_wrong_with_a_gateway_is_said(make_farm, make_ways, tmp_path):
    farm, locked = make_farm(hosts=2), make_farm(lines=["AllowTcpForwarding no"])
    with (
        Odd("refuses", farm.key_file) as refuses,
        Odd("silent", farm.key_file) as silent,
        Odd("refuses", farm.key_file) as nobody,
    ):
        hosts = {
            "good": farm.host(0, name="good"),
            "off": refuses.host,
            "silent": silent.host,
            "one": farm.host(0, name="one", gateway="two"),
            "two": farm.host(0, name="two", gateway="one"),
            "stranger": farm.host(0, name="stranger", address="127.0.0.1"),
            "locked": locked.host(name="locked"),
        }
        ways = make_ways(farm, more=[locked.host(), nobody.host], hosts=hosts.__getitem__, connect_timeout=2.0)
        text = (tmp_path / "known_hosts").read_text().splitlines()
        text = [line.replace(farm.host_key, locked.host_key) if locked.addresses[0] in line else line for line in text]
        (tmp_path / "known_hosts").write_text("\n".join(text))
        for gateway, to, wanted in (
            ("missing", farm.host(1), "its gateway 'missing' is not in the inventory"),
            ("off", farm.host(1), "through its gateway: refuses .* refused the connection"),
            ("silent", farm.host(1), "did not answer within"),
            ("one", farm.host(1), "lead in a circle"),
            ("good", nobody.host, "does not connect to"),
            ("locked", farm.host(1), "does not connect to .*rohibited"),
        ):
            began = time.monotonic()
            with pytest.raises(HostUnreachable, match=wanted):
                ways.shell(to.model_copy(update={"gateway": gateway})).greet()
            assert time.monotonic() - began < 3.5


def test_a_gateway_that_is_not_trusted_is_not_gone_through(make_farm, make_ways):
    farm, gate = make_farm(), make_farm(log_level="DEBUG1")
    ways = make_ways(farm, hosts={"gate": gate.host(name="gate")}.__getitem__)
    with pytest.raises(HostNotTrusted, match="`opsqueue hosts trust gate`"):
        ways.shell(farm.host(gateway="gate")).greet()
    assert "userauth" not in gate.log()


def test_a_host_behind_a_gateway_that_is_down_does_not_harm_the_others(make_farm, make_ways):
    farm = make_farm(hosts=3)
    hosts, behind = _behind(farm)
    ways = make_ways(farm, hosts=hosts.__getitem__, connect_timeout=1.5)
    with Odd("deaf", farm.key_file) as deaf:
        down = deaf.host.model_copy(update={"gateway": "h1"})
        with ThreadPoolExecutor(3) as pool:
            good = [pool.submit(ways.shell(host).ask, HELLO) for host in behind]
            began = time.monotonic()
            with pytest.raises(HostUnreachable, match="did not answer within"):
                ways.shell(down).greet()
            assert time.monotonic() - began < 3
            assert [one.result() for one in good] == [HEARD, HEARD]
    assert [ways.shell(host).ask(HELLO) for host in behind] == [HEARD, HEARD]


# -- what is kept -------------------------------------------------------------------------------------------


def test_scripts_that_may_run_side_by_side_do_so_on_one_kept_shell(farm, make_ways, tmp_path):
    meet = (
        ': >"$1/$2"; i=0; while [ ! -e "$1/$3" ]; do i=$((i+1)); [ $i -gt 600 ] && exit 9; sleep 0.05; done; echo "$2"'
    )
    ring = [
        Fact(name=f"x{n}", ask=Script(text=meet, args=(str(tmp_path), f"{n}", f"{(n + 1) % 5}"), timeout=60, beside=5))
        for n in range(5)
    ]
    ways = make_ways(farm)
    for _ in range(2):
        found = ways.shell(farm.host()).ask([*ring, system_reading(subjects=["load"])])
        assert [found[f"x{n}"] for n in range(5)] == [f"{n}\n" for n in range(5)]
        assert "one" in found["system"]["load"]
    assert (farm.logins(), farm.sessions()) == (1, 1)


def test_all_facts_are_one_round_trip_on_one_kept_shell(farm, make_ways):
    ways = make_ways(farm)
    facts = [
        *(Fact(name=f"x{number}", ask=Script(text='echo "$1"', args=(str(number),))) for number in range(10)),
        system_reading(subjects=["load", "memory"]),
        Fact(name="probe", ask=Probe(kind="tcp", options={"host": "127.0.0.1", "port": 1})),
    ]
    for _ in range(5):
        found = ways.shell(farm.host()).ask(facts)
        assert [found[f"x{number}"] for number in range(10)] == [f"{number}\n" for number in range(10)]
    assert (farm.logins(), farm.sessions()) == (1, 1)
    ways.shell(farm.host()).run(_sh("true"))
    assert (farm.logins(), farm.sessions()) == (1, 2)


def test_the_connection_is_no_part_of_the_time_that_a_reading_took(farm, make_ways):
    ways = make_ways(farm)
    asked = [system_reading(subjects=["load", "way"])]
    cold, *warm = [ways.shell(farm.host()).ask(asked)["system"]["way"]["connect_s"] for _ in range(6)]
    assert farm.logins() == 1
    assert min(warm) < cold  # there was none to open any more


def test_probes_alone_need_no_connection(farm, make_ways):
    probe = Fact(name="x", ask=Probe(kind="tcp", options={"host": farm.addresses[0], "port": farm.port}))
    with Odd("refuses", farm.key_file) as off:
        assert make_ways().shell(off.host).ask([probe])["x"]["ok"]
    assert farm.logins() == 0


def test_many_threads_open_a_host_once(farm, make_ways):
    ways, together = make_ways(farm), threading.Barrier(20)

    def ask(_number):
        together.wait()
        return ways.shell(farm.host()).ask(HELLO)

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(ask, range(20))) == [HEARD] * 20
    assert farm.logins() == 1


def test_those_who_wait_for_a_host_that_cannot_be_opened_wait_no_longer(farm, make_ways):
    with Odd("silent", farm.key_file) as silent:
        ways = make_ways(farm, connect_timeout=1.0)
        began = time.monotonic()
        with ThreadPoolExecutor(20) as pool:
            asked = [pool.submit(ways.shell(silent.host).greet) for _ in range(20)]
        assert time.monotonic() - began < 2.5
        assert all(isinstance(one.exception(), HostUnreachable) for one in asked)


@pytest.mark.parametrize("keep", [0, 0.3])
def test_an_unused_connection_is_closed(keep, farm, make_ways):
    ways = make_ways(farm, keep_seconds=keep)
    assert ways.shell(farm.host()).ask(HELLO) == HEARD
    assert _wait(lambda: not _transports())
    assert _wait(lambda: "ssh ways" not in str(threading.enumerate()))
    assert ways.shell(farm.host()).ask(HELLO) == HEARD
    assert farm.logins() == 2


def test_a_connection_in_use_is_not_closed_as_unused(farm, make_ways):
    ways = make_ways(farm, keep_seconds=0.2)
    assert ways.shell(farm.host()).run(_sh("sleep 1.5; echo done")).stdout == "done\n"


def test_nothing_is_left_when_all_is_closed(make_farm, make_ways):
    farm = make_farm(hosts=5)
    ways = make_ways(farm)
    ways.shell(farm.host(0)).greet()
    ways.close()
    assert _wait(lambda: not _transports())
    handles, threads = _handles(), threading.active_count()
    for host in farm.hosts():
        shell = ways.shell(host)
        shell.ask(HELLO)
        shell.run(_sh("cat", stdin="x"))
    with pytest.raises(HostNotTrusted):
        Ways(farm.folder / "none").shell(farm.host()).greet()
    with Odd("closes", farm.key_file) as odd, pytest.raises(HostUnreachable):
        ways.shell(odd.host).greet()
    ways.close()
    assert _wait(lambda: _handles() == handles)
    assert _wait(lambda: threading.active_count() <= threads + 1)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_was_forked_opens_its_own(farm, make_ways):
    ways = make_ways(farm)
    shell = ways.shell(farm.host())
    assert shell.ask(HELLO) == HEARD
    child = os.fork()
    if child == 0:
        answer = ways.shell(farm.host()).ask(HELLO)
        os._exit(0 if answer == HEARD else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert shell.ask(HELLO) == HEARD
    assert farm.logins() == 2


def test_a_host_that_allows_one_session_only_is_served(make_farm, make_ways):
    farm = make_farm(lines=["MaxSessions 1"])
    shell = make_ways(farm).shell(farm.host())
    for _ in range(3):
        assert shell.ask(HELLO) == HEARD
        assert shell.run(_sh("echo run")).stdout == "run\n"
    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(shell.run, _sh("sleep 0.5; echo run")) for _ in range(3)]
        assert [one.result().stdout for one in slow] == ["run\n"] * 3
