"""Hosts that are down, slow, broken, noisy or lost in the middle: each has a clear end, and none delays the others."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from sshkit import NEEDS_SSHD, Farm, Odd, Relay, needs_people

from opsqueue.connectors import asking
from opsqueue.connectors.ssh import shell as ssh_shell
from opsqueue.connectors.ssh import transport
from opsqueue.connectors.ssh.ways import Ways
from opsqueue.errors import CommandNotSent, HostNotTrusted, HostUnreachable, OpsqueueError
from opsqueue.facts.system import system_reading
from opsqueue.model.fact import Fact, Script, why_unknown
from opsqueue.model.host import Host
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
def farm(make_farm):
    return make_farm()


@pytest.fixture
def make_ways(tmp_path):
    made = []

    def make(farm, more=(), **given):
        farm.pin(tmp_path / "known_hosts", more=more)
        made.append(Ways(tmp_path / "known_hosts", **{"connect_timeout": 30.0, **given}))
        return made[-1]

    yield make
    for ways in made:
        ways.close()
    assert _wait(lambda: not _transports())


@pytest.fixture
def relayed(farm, make_ways):
    """A host behind a wire that can be cut, and the way to it."""
    with Relay(farm.host()) as relay:
        yield relay, make_ways(farm, more=[relay.host], connect_timeout=3.0).shell(relay.host)


def _sh(text: str, *args: str, **more) -> Command:
    return Command(argv=("/bin/sh", "-c", text, "sh", *args), **more)


def _transports() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "Transport" in repr(thread)]


def _wait(true, seconds=15.0):
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    return true()


# -- hosts that do not answer -------------------------------------------------------------------------------

SILENT = "did not answer within 1 s"
WAYS = {
    "refuses": "refused the connection",
    "deaf": SILENT,
    "silent": SILENT,
    "drips": SILENT,
    "stuck": SILENT,
    "chatty": "could not be reached: no SSH server|could not be reached: Indecipherable protocol|did not answer",
    "closes": "could not be reached|refused the connection",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_host_that_does_not_speak_ends_in_time(way, farm, make_ways):
    with Odd(way, farm.key_file) as odd:
        shell = make_ways(farm, connect_timeout=1.0).shell(odd.host)
        for ask in (shell.greet, lambda: shell.ask(HELLO), lambda: shell.run(_sh("true")), lambda: shell.busy("m")):
            began = time.monotonic()
            with pytest.raises(HostUnreachable, match=WAYS[way]) as problem:
                ask()
            assert time.monotonic() - began < 10
            assert odd.host.where in problem.value.message
    assert _wait(lambda: not _transports())


def test_a_name_that_nobody_knows_is_said(farm, make_ways):
    host = Host(name="nobody", connector="ssh", address="nobody.invalid", key_file=farm.key_file)
    with pytest.raises(HostUnreachable, match=r"cannot be found|did not answer"):
        make_ways(farm, connect_timeout=5.0).shell(host).greet()


def test_a_server_that_hangs_does_not_hold_up_the_end_of_the_process(farm, tmp_path):
    program = (
        "import sys; from pathlib import Path; from opsqueue.connectors.ssh.ways import Ways\n"
        "from opsqueue.model.host import Host; from opsqueue.errors import HostUnreachable\n"
        "host = Host(name='x', address=sys.argv[1], port=int(sys.argv[2]), key_file=sys.argv[3], connector='ssh')\n"
        "try: Ways(Path('/nowhere'), connect_timeout=1.0).shell(host).greet()\n"
        "except HostUnreachable as error: print(error.message)\n"
    )
    with Odd("stuck") as odd:
        argv = [sys.executable, "-c", program, odd.host.address, str(odd.host.port), farm.key_file]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert "did not answer within 1 s" in done.stdout
    assert done.stderr == ""


def test_bad_hosts_do_not_delay_fifty_good_ones(make_farm, make_ways, tmp_path):
    farm, stranger = make_farm(hosts=50), make_farm(hosts=2)
    odds = [Odd(way, farm.key_file) for way in WAYS for _ in range(2)]
    try:
        ways = make_ways(farm, connect_timeout=8.0)
        bad = [*(odd.host for odd in odds), *stranger.hosts()]
        ended = {}

        def ask(host):
            try:
                found = ways.shell(host).ask(HELLO)
            except OpsqueueError as error:
                found = error
            ended[host.name, host.where] = time.monotonic()
            return found

        with ThreadPoolExecutor(64) as pool:
            tried = [pool.submit(ask, host) for host in bad]
            good = [pool.submit(ask, host) for host in farm.hosts()]
        assert [one.result() for one in good] == [HEARD] * 50
        assert all(isinstance(one.result(), HostUnreachable) for one in tried[:-2])
        assert all(isinstance(one.result(), HostNotTrusted) for one in tried[-2:])
        last_good = max(ended[host.name, host.where] for host in farm.hosts())
        slow = [ended[host.name, host.where] for host in bad if host.name in {"deaf", "silent", "drips", "stuck"}]
        assert last_good < min(slow)  # those who never answer take 8 s
    finally:
        for odd in odds:
            odd.end()


# -- hosts that say too much --------------------------------------------------------------------------------


def test_banners_and_noise_are_no_answers(make_farm, make_ways):
    farm = make_farm(hosts=2, banner=[0], noisy=[1])
    with Relay(farm.host(0), greeting=b"Welcome to\r\nthis machine\r\n") as relay:
        ways = make_ways(farm, more=[relay.host])
        for host in (*farm.hosts(), relay.host):
            shell = ways.shell(host)
            assert shell.ask(HELLO) == shell.ask(HELLO) == HEARD
            found = shell.run(_sh("echo out; echo err >&2; cat", stdin="in"))
            assert (found.exit_code, found.stdout, found.stderr) == (0, "out\nin", "err\n")
            assert shell.run(_sh("exit 3")).exit_code == 3
            assert not shell.busy("m")


@pytest.mark.parametrize(
    ("start_up", "wanted"),
    [
        ("exit 7", "ended at once"),
        ("echo you are not welcome; exit 1", "you are not welcome"),
        ("sleep 30", "said nothing of ours within 2 s"),
        ("yes", "said nothing of ours within 2 s|ended at once"),
    ],
)
def test_a_login_that_leads_to_no_shell_is_said(start_up, wanted, make_farm, make_ways):
    farm = make_farm(noisy=[0])
    (farm.folder / "noisy" / ".bashrc").write_text(f"{start_up}\n")
    shell = make_ways(farm, connect_timeout=2.0).shell(farm.host())
    shell.greet()
    with pytest.raises(HostUnreachable, match=wanted):
        shell.ask(HELLO)
    with pytest.raises(HostUnreachable, match=wanted):
        shell.run(_sh("true"))


def test_what_is_given_up_before_it_began_does_not_begin_later(make_farm, make_ways, tmp_path, monkeypatch):
    monkeypatch.setattr(ssh_shell, "GRACE_S", 0)
    farm = make_farm(noisy=[0])
    shell = make_ways(farm).shell(farm.host())
    assert shell.ask(HELLO) == HEARD
    (farm.folder / "noisy" / ".bashrc").write_text("sleep 5\n")
    found = shell.run(_sh('echo x >"$1"', str(tmp_path / "note"), timeout=1))
    assert (found.exit_code, found.timed_out) == (None, True)
    time.sleep(4)
    assert not (tmp_path / "note").exists()


def test_a_slow_login_takes_nothing_from_the_time_of_the_command(make_farm, make_ways, monkeypatch):
    monkeypatch.setattr(ssh_shell, "GRACE_S", 0)
    farm = make_farm(noisy=[0])
    (farm.folder / "noisy" / ".bashrc").write_text("head -c 100000 /dev/zero; sleep 2\n")
    found = make_ways(farm).shell(farm.host()).run(_sh("sleep 2; echo done", timeout=3))
    assert (found.exit_code, found.stdout) == (0, "done\n")


@needs_people
def test_an_account_without_a_shell_and_one_without_sudo_are_said(make_farm, make_ways):
    farm = make_farm(people=True)
    ways = make_ways(farm)
    with pytest.raises(HostUnreachable, match="This account is currently not available"):
        ways.shell(farm.host(user="nologin")).ask(HELLO)
    plain = ways.shell(farm.host(user="plain"))
    found = plain.run(Command(argv=("id", "-u"), sudo=True))
    assert (found.exit_code, found.stdout) == (1, "")
    assert "a password is required" in found.stderr
    said = plain.ask([Fact(name="x", ask=Script(text="id -u", sudo=True))])["x"]["unknown"]
    assert "a password is required" in said
    assert "allow `sudo -n` there" in said


@needs_people
def test_sudo_needs_no_terminal_and_hands_over_what_it_should(make_farm, make_ways):
    farm = make_farm(people=True)
    shell = make_ways(farm).shell(farm.host(user="ops"))
    text = 'id -u; echo "$GIVEN"; cat'
    found = shell.run(_sh(text, sudo=True, env={"GIVEN": "a b"}, stdin="in"))
    assert (found.stdout, found.stderr) == ("0\na b\nin", "")
    began = time.monotonic()
    late = shell.run(_sh("sleep 60 & echo $!; wait", sudo=True, timeout=1))
    assert late.timed_out
    assert time.monotonic() - began < 40
    assert _wait(lambda: not psutil.pid_exists(int(late.stdout)))


def test_a_reading_that_takes_too_long_tells_what_came_and_leaves_nothing_running(make_farm, make_ways):
    farm = make_farm()
    shell = make_ways(farm).shell(farm.host())
    assert shell.ask(HELLO) == HEARD
    before = _asleep(shell)
    slow = system_reading(timeout=2, subjects=["memory", "cpu"], sample_gap_s=9.917)
    found = shell.ask([slow])["system"]
    assert found["memory"]["total"] == psutil.virtual_memory().total
    assert "given up after" in found["cpu"]["unknown"]
    assert _wait(lambda: _asleep(shell) <= before)
    quick = system_reading(timeout=30, subjects=["memory", "cpu"], sample_gap_s=0.1)
    whole = shell.ask([quick])["system"]
    assert {name: "unknown" in part for name, part in whole.items()} == {"memory": False, "cpu": False}


def _asleep(shell):
    """How many `sleep 9.917` run, as the host itself sees it."""
    counted = Script(text="cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o '[s]leep 9[.]917 ' | wc -l")
    return int(shell.ask([Fact(name="n", ask=counted)])["n"])


def test_a_gigabyte_is_cut_and_neither_fills_the_memory_nor_stops_the_others(make_farm, make_ways):
    farm = make_farm(hosts=20)
    ways = make_ways(farm)
    with ThreadPoolExecutor(21) as pool:
        ask_all = lambda: list(pool.map(lambda host: ways.shell(host).ask(HELLO), farm.hosts()))  # noqa: E731
        assert ask_all() == [HEARD] * 20
        before = psutil.Process().memory_info().rss
        text = "echo first; head -c 1000000000 /dev/zero | tr '\\0' x; echo; echo last"
        flood = pool.submit(ways.shell(farm.host(0)).run, _sh(text, timeout=300))
        rounds = 0
        while not flood.done():
            assert ask_all() == [HEARD] * 20
            rounds += 1
            assert psutil.Process().memory_info().rss - before < 60_000_000
        found = flood.result()
    assert rounds > 5
    assert (found.exit_code, found.truncated) == (0, True)
    assert found.stdout.startswith("first\nxxx")
    assert found.stdout.endswith("xxx\nlast\n")
    assert len(found.stdout) < 300_000


# -- hosts that are lost ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["drop", "restart"])
def test_a_dead_connection_is_opened_again(how, make_farm, make_ways, tmp_path):
    farm = make_farm(hosts=1)
    shell = make_ways(farm).shell(farm.host())
    for number in range(3):
        assert shell.ask(HELLO) == HEARD
        assert shell.run(_sh('echo x >>"$1"', str(tmp_path / "note"))).exit_code == 0
        if how == "drop":
            farm.drop()
        else:
            farm.stop()
            with pytest.raises(HostUnreachable, match="refused"):
                shell.ask(HELLO)
            farm.start()
        assert (tmp_path / "note").read_text() == "x\n" * (number + 1)
    assert farm.logins() == 3


def test_a_waiting_shell_that_was_killed_is_replaced(farm, make_ways):
    shell = make_ways(farm).shell(farm.host())
    ask = [Fact(name="pid", ask=Script(text='cut -d" " -f4 /proc/$(cut -d" " -f4 /proc/$PPID/stat)/stat'))]
    waiting = psutil.Process(int(shell.ask(ask)["pid"]))
    assert waiting.name() in {"sh", "dash", "bash"}
    waiting.kill()
    assert shell.ask(HELLO) == HEARD
    assert (farm.logins(), farm.sessions()) == (1, 2)


def test_a_script_that_always_ends_its_shell_costs_only_its_own_answer(farm, make_ways):
    shell = make_ways(farm).shell(farm.host())
    kills = 'a=$(cut -d" " -f4 /proc/$PPID/stat); kill -9 "$(cut -d" " -f4 /proc/$a/stat)" "$a"'
    found = shell.ask([HELLO[0], Fact(name="bad", ask=Script(text=kills)), Fact(name="later", ask=HELLO[0].ask)])
    assert found["x"] == "hello\n"
    assert "cut off" in why_unknown(found["bad"])
    assert "cut off" in why_unknown(found["later"])
    assert shell.ask(HELLO) == HEARD


def test_a_stalled_connection_is_given_up_and_another_opened(relayed, tmp_path):
    relay, shell = relayed
    assert shell.ask(HELLO) == HEARD
    relay.stall()
    assert shell.ask(HELLO) == HEARD
    relay.stall()
    assert shell.run(_sh('echo x >>"$1"; echo run', str(tmp_path / "note"))).stdout == "run\n"
    assert (tmp_path / "note").read_text() == "x\n"


def test_nothing_is_sent_where_nothing_answers(relayed, tmp_path):
    relay, shell = relayed
    assert shell.ask(HELLO) == HEARD
    relay.freeze()
    began = time.monotonic()
    with pytest.raises(HostUnreachable, match="did not answer within 3 s"):
        shell.run(_sh('echo x >>"$1"', str(tmp_path / "note")))
    assert time.monotonic() - began < 30
    relay.thaw()
    assert shell.ask(HELLO) == HEARD
    time.sleep(0.5)
    assert not (tmp_path / "note").exists()


def test_a_command_whose_connection_is_lost_is_waited_for_and_never_sent_again(relayed, tmp_path):
    relay, shell = relayed
    note = tmp_path / "note"
    shell.greet()
    with ThreadPoolExecutor(1) as pool:
        text = 'echo begun >>"$1"; echo out; sleep 2; echo done >>"$1"; exit 3'
        running = pool.submit(shell.run, _sh(text, str(note)), "op-7/h1")
        assert _wait(note.exists)
        time.sleep(0.2)
        relay.cut()
        found = running.result()
    assert note.read_text() == "begun\ndone\n"
    assert (found.exit_code, found.timed_out) == (None, False)
    assert found.stdout == "out\n"
    assert "was lost in the middle of the command; it has ended there" in found.stderr


def test_a_command_that_was_lost_with_its_host_is_not_known(farm, relayed, tmp_path):
    relay, shell = relayed
    note = tmp_path / "note"
    shell.greet()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(shell.run, _sh('echo begun >>"$1"; sleep 1', str(note)), "op-8/h1")
        assert _wait(note.exists)
        farm.stop()
        relay.cut()
        found = running.result()
    assert found.exit_code is None
    assert "whether it still runs there is not known" in found.stderr


def test_a_command_that_still_runs_when_its_time_is_over_is_said(relayed, tmp_path, monkeypatch):
    monkeypatch.setattr(ssh_shell, "GRACE_S", 1)
    relay, shell = relayed
    note = tmp_path / "note"
    with ThreadPoolExecutor(1) as pool:
        # It leaves its group and session, so nobody's time limit ends it.
        text = 'setsid sleep 30 >/dev/null 2>&1 & echo $! >"$1"; sleep 5'
        running = pool.submit(shell.run, _sh(text, str(note), timeout=1), "op-9/h1")
        assert _wait(lambda: note.exists() and note.read_text())
        relay.cut()
        found = running.result()
    assert "it may still run there" in found.stderr
    process = psutil.Process(int(note.read_text()))
    assert process.environ()["OPSQUEUE_MARK"] == "op-9/h1"
    process.kill()


def test_a_connection_that_stalls_in_the_middle_ends_with_the_time_limit(relayed, monkeypatch):
    monkeypatch.setattr(ssh_shell, "GRACE_S", 1)
    relay, shell = relayed
    shell.greet()
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(shell.run, _sh("echo out; sleep 3", timeout=1))
        time.sleep(0.7)
        relay.stall()
        found = running.result()
    assert time.monotonic() - began < 30
    assert (found.exit_code, found.timed_out) == (None, True)
    assert shell.ask(HELLO) == HEARD


@pytest.mark.long
def test_a_host_that_takes_no_input_any_more_is_given_up(make_farm, make_ways, monkeypatch):
    monkeypatch.setattr(transport.Wire, "_active_check_timeout", 1.0)
    monkeypatch.setattr(ssh_shell, "GRACE_S", 1)
    farm = make_farm(hosts=2)
    with Relay(farm.host(1)) as relay:
        gateways = {"h1": farm.host(0)}
        ways = make_ways(farm, more=[relay.host], connect_timeout=2.0, hosts=gateways.__getitem__)
        for gateway in ("", "h1"):
            shell = ways.shell(relay.host.model_copy(update={"gateway": gateway}))
            assert shell.ask(HELLO) == HEARD
            began = time.monotonic()
            with ThreadPoolExecutor(1) as pool:
                running = pool.submit(shell.run, _sh("cat >/dev/null; sleep 1", stdin="x" * 50_000_000, timeout=1))
                assert _wait(lambda: relay.passed > 1_000_000)
                relay.stall()
                found = running.result()
            assert found.exit_code is None
            assert time.monotonic() - began < 25
            relay.passed = 0
            assert shell.ask(HELLO) == HEARD


def test_a_shell_that_was_killed_is_no_lost_connection(farm, make_ways):
    shell = make_ways(farm).shell(farm.host())
    # The parent of the command is `timeout`, and its parent the sh whose exit code is told.
    found = shell.run(_sh('echo out; kill -9 "$(cut -d" " -f4 /proc/$PPID/stat)"'))
    assert (found.exit_code, found.stdout) == (None, "out\n")
    assert "was killed there" in found.stderr
    assert farm.logins() == 1


def test_a_host_without_timeout_ends_late_commands_too(make_farm, make_ways, tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "timeout").write_text("#!/bin/sh\nexit 125\n")
    (tools / "timeout").chmod(0o755)
    farm = make_farm(lines=[f"SetEnv PATH={tools}:/usr/bin:/bin"])
    shell = make_ways(farm).shell(farm.host())
    assert shell.ask(HELLO) == HEARD
    assert shell.run(_sh("echo $$")).exit_code == 0
    found = shell.run(_sh('trap "" TERM; sh -c "sleep 60; sleep 61" & echo $!; wait; sleep 62', timeout=1))
    assert found.timed_out
    assert _wait(lambda: not psutil.pid_exists(int(found.stdout)))
    monkeypatch.setattr(asking, "seconds_of", lambda _facts: 1.0)
    slow = Fact(name="slow", ask=Script(text='sleep 63 & echo $! >"$1"; wait', args=(str(tmp_path / "pid"),)))
    assert "cut off" in shell.ask([slow])["slow"]["unknown"]
    assert _wait(lambda: not psutil.pid_exists(int((tmp_path / "pid").read_text())))


def test_a_command_that_cannot_be_sent_at_all_is_said(make_farm, make_ways):
    farm = make_farm(noisy=[0])
    shell = make_ways(farm).shell(farm.host())
    with pytest.raises(CommandNotSent, match="is no name of an environment variable"):
        shell.run(Command(argv=("true",), env={"a b": "c"}))
    assert shell.ask(HELLO) == HEARD
    (farm.folder / "noisy" / ".bashrc").write_text("echo no more of that; exit 5\n")
    with pytest.raises(CommandNotSent, match="exit code 5 before it began, and said: no more of that"):
        shell.run(Command(argv=("true",)))
    assert shell.ask(HELLO) == HEARD  # the shell that waits there is in already
