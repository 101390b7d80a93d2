"""What every way to a host must keep, told once for this machine and for hosts over SSH."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sshkit import NEEDS_PEOPLE, NEEDS_SSHD, Farm

from opsqueue.connectors.local import LocalShell
from opsqueue.connectors.ssh.ways import Ways
from opsqueue.errors import CommandNotSent, SentTooLate
from opsqueue.facts.system import system_reading
from opsqueue.model.fact import Fact, Probe, Script
from opsqueue.model.plan import Command

pytestmark = pytest.mark.xdist_group("shells")

NASTY = "$(touch {trap}); `touch {trap}` ' \" \n * ? [a] ~ \\ \t ! # -n & | < > {{a,b}} é✓\u2028"


@pytest.fixture(scope="module")
def farm():
    with Farm(hosts=1, people=os.geteuid() == 0) as farm:
        yield farm


@pytest.fixture(scope="module")
def ways(farm):
    ways = Ways(farm.pin(farm.folder / "known_hosts"))
    yield ways
    ways.close()


@pytest.fixture(
    params=[
        "local",
        pytest.param("ssh", marks=NEEDS_SSHD),
        pytest.param("ops", marks=NEEDS_PEOPLE),
        pytest.param("csh", marks=NEEDS_PEOPLE),
    ]
)
def shell(request):
    """This machine; a host over SSH; there as a user with sudo; and as one without, whose login shell is csh."""
    if request.param == "local":
        return LocalShell()
    ways, farm = request.getfixturevalue("ways"), request.getfixturevalue("farm")
    return ways.shell(farm.host() if request.param == "ssh" else farm.host(user=request.param))


@pytest.fixture
def note(tmp_path):
    """A file that anybody may write."""
    tmp_path.chmod(0o711)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.geteuid() and parent not in {Path("/"), Path("/tmp")}:
            parent.chmod(0o711)
    file = tmp_path / "note"
    file.touch()
    file.chmod(0o666)
    return file


def _sh(text: str, *args: str, **more) -> Command:
    return Command(argv=("/bin/sh", "-c", text, "sh", *args), **more)


def _script(name: str, text: str, *args: str, **more) -> Fact:
    return Fact(name=name, ask=Script(text=text, args=args, **more))


def _secret(folder: Path) -> Path:
    file = folder / "password"
    file.touch(mode=0o600)
    file.write_text("geheim 'x\n")
    return file


def _wait(true, seconds=20.0):
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    return true()


def _alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


# -- commands -----------------------------------------------------------------------------------------------


def test_output_errors_exit_code_and_seconds(shell):
    found = shell.run(_sh("cat; echo problem >&2; exit 4", stdin="héllo"))
    assert (found.exit_code, found.stdout, found.stderr) == (4, "héllo", "problem\n")
    assert 0 < found.seconds < 30
    assert not found.timed_out
    assert not found.truncated


@pytest.mark.parametrize("code", [0, 1, 2, 124, 126, 127, 128, 137, 143, 255])
def test_every_exit_code_is_told_as_it_is(shell, code):
    found = shell.run(_sh("exit $1", str(code)))
    assert (found.exit_code, found.timed_out) == (code, False)


def test_a_signal_is_told_as_shells_do(shell):
    for number in (9, 15, 6):
        assert shell.run(_sh("kill -$1 $$", str(number))).exit_code == 128 + number


def test_a_command_that_is_not_there_is_127(shell):
    found = shell.run(Command(argv=("no-such-command-here",)))
    assert found.exit_code == 127
    assert "no-such-command-here" in found.stderr


def test_arguments_are_inert(shell, tmp_path):
    trap = tmp_path / "made"
    value = NASTY.format(trap=trap)
    found = shell.run(Command(argv=("printf", "%s|", value, "", "-n", value), env={"ODD": value}))
    assert found.stdout == f"{value}||-n|{value}|"
    assert not trap.exists()


def test_what_certainly_did_not_start_is_not_sent(shell):
    with pytest.raises(CommandNotSent):
        shell.run(Command(argv=("echo", "a\0b")))
    with pytest.raises(CommandNotSent):
        shell.run(Command(argv=("echo", "x" * 3_000_000)))
    with pytest.raises(CommandNotSent):
        shell.run(Command(argv=("cat",), stdin="half a character: \ud800"))


def test_what_was_to_be_sent_earlier_is_not_sent_any_more(shell, note):
    with pytest.raises(SentTooLate, match=r"was not sent: it was to be sent \d+\.\d s ago at the latest"):
        shell.run(_sh('echo ran >>"$1"', str(note)), not_after=time.monotonic())
    in_time = shell.run(_sh('echo ran >>"$1"', str(note)), not_after=time.monotonic() + 600)
    assert (in_time.exit_code, note.read_text()) == (0, "ran\n")


def test_a_long_argument_is_passed(shell):
    assert shell.run(_sh('echo "${#1}"', "x" * 100_000)).stdout == "100000\n"


def test_the_environment_is_small_and_clean(shell, monkeypatch):
    monkeypatch.setenv("OPSQUEUE_DATABASE_URL", "secret")
    found = shell.run(Command(argv=("env",), env={"EXTRA": "two\nlines"}), mark="m1").stdout
    names = {line.partition("=")[0] for line in found.splitlines() if "=" in line}
    assert names - {"_", "PWD", "SHLVL"} == {"PATH", "HOME", "LANG", "LC_ALL", "EXTRA", "OPSQUEUE_MARK"}
    assert "LC_ALL=C\n" in found
    assert "EXTRA=two\nlines\n" in found
    assert "OPSQUEUE_MARK=m1\n" in found
    assert shell.run(_sh("pwd; command -v swapon >/dev/null && echo sbin")).stdout == "/\nsbin\n"


def test_a_secret_reaches_the_command_and_no_answer(shell, monkeypatch, tmp_path):
    place = _secret(tmp_path)
    command = _sh('echo "${#TOLD} $TOLD"; cat /proc/$$/cmdline | tr "\\0" " "', secrets={"TOLD": f"file:{place}"})
    found = shell.run(command).stdout
    assert found.startswith("9 [secret]\n")
    assert "geheim" not in found
    with pytest.raises(CommandNotSent, match="nowhere"):
        shell.run(replace(command, secrets={"TOLD": "file:/nowhere"}))


@pytest.mark.parametrize("data", ["", "no newline", "x" * 1_000_000, "EOF\n$HOME `id`\n'\"\\\n", "\0\x01binary\0"])
def test_stdin_arrives_as_it_is(shell, data):
    found = shell.run(_sh("wc -c; md5sum", stdin=data * 1))
    assert found.stdout.split()[0] == str(len(data.encode()))


def test_a_command_that_does_not_read_its_stdin_is_no_fault(shell):
    assert shell.run(Command(argv=("true",), stdin="x" * 3_000_000)).exit_code == 0


def test_both_streams_and_a_long_stdin_at_once_do_not_block(shell):
    text = "exec 3<&0; (cat <&3 >&2) & head -c 500000 /dev/zero | tr '\\0' '#'; wait"
    found = shell.run(_sh(text, stdin="%" * 400_000))
    assert found.exit_code == 0
    assert found.truncated
    assert found.stdout.count("#") == found.stderr.count("%") == shell.output_most


def test_long_output_keeps_its_head_and_its_tail(shell):
    found = shell.run(_sh("echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last"))
    assert found.exit_code == 0
    assert found.truncated
    assert found.stdout.startswith("first\nxxx")
    assert found.stdout.endswith("xxx\nlast\n")
    assert f"{5_000_000 + 12 - shell.output_most} bytes left out" in found.stdout


def test_output_that_is_no_text_is_no_fault(shell):
    assert shell.run(_sh(r"printf 'a\377\0b'")).stdout == "a�\0b"


def test_a_daemon_that_keeps_the_output_open_does_not_hold_us(shell):
    began = time.monotonic()
    found = shell.run(_sh("sleep 20 & echo $!"))
    assert time.monotonic() - began < 15
    assert found.exit_code == 0
    pid = int(found.stdout)
    assert _alive(pid)  # what a command started and left on purpose goes on
    os.kill(pid, signal.SIGKILL)


def test_a_command_that_closes_its_output_is_waited_for(shell, note):
    found = shell.run(_sh('exec >&- 2>&-; sleep 0.5; echo done >"$1"; exit 3', str(note)))
    assert found.exit_code == 3
    assert note.read_text() == "done\n"


def test_a_signal_for_its_shell_is_not_taken_for_success(shell):
    assert shell.run(_sh("kill -9 $PPID; sleep 0.2; echo x")).exit_code != 0


# -- time limits --------------------------------------------------------------------------------------------


def test_the_time_limit_ends_the_whole_group(shell, note):
    text = 'sh -c "sleep 60 & echo \\$!; wait" >"$1" & sleep 0.2; echo begun; wait'
    began = time.monotonic()
    found = shell.run(_sh(text, str(note), timeout=1))
    assert time.monotonic() - began < 40
    assert found.timed_out
    assert found.exit_code is None
    assert found.stdout == "begun\n"
    assert _wait(lambda: not _alive(int(note.read_text())))


def test_a_grandchild_that_ignores_the_polite_signal_is_killed(shell, note):
    text = 'sh -c "trap \\"\\" TERM; sleep 61; sleep 62" & echo $! >"$1"; wait'
    found = shell.run(_sh(text, str(note), timeout=1))
    assert found.timed_out
    assert _wait(lambda: not _alive(int(note.read_text())))


def test_a_command_that_ignores_the_polite_signal_is_killed(shell, note):
    began = time.monotonic()
    found = shell.run(_sh('trap "" TERM; echo $$ >"$1"; sleep 63; sleep 64', str(note), timeout=1))
    assert found.timed_out
    assert time.monotonic() - began < 40
    assert _wait(lambda: not _alive(int(note.read_text())))


def test_what_a_late_command_said_is_kept(shell):
    found = shell.run(_sh("echo out; echo err >&2; sleep 60", timeout=1))
    assert (found.stdout, found.stderr, found.timed_out) == ("out\n", "err\n", True)


# -- marks --------------------------------------------------------------------------------------------------


def test_a_marked_command_is_found_while_it_runs(shell):
    found = shell.run(_sh("sleep 20 >/dev/null 2>&1 & echo $!"), mark="op-1/2")
    pid = int(found.stdout)
    try:
        assert shell.busy("op-1/2")
        assert not shell.busy("op-1")
        assert not shell.busy("p-1/2")
        assert not shell.busy("")
    finally:
        os.kill(pid, signal.SIGKILL)
    assert _wait(lambda: not shell.busy("op-1/2"))


# -- facts --------------------------------------------------------------------------------------------------


def test_all_kinds_of_facts_are_answered_at_once(shell):
    facts = (
        _script("script", 'echo "$1"', "$(id)"),
        system_reading(subjects=["load", "host"]),
        Fact(name="probe", ask=Probe(kind="tcp", options={"host": "127.0.0.1", "port": 1}, timeout=2)),
        Fact(name="broken", ask=Script(text="echo x"), parse=lambda result: int(result.stdout)),
        Fact(name="odd", ask=system_reading(no_such_option=1).ask),
    )
    found = shell.ask(facts)
    assert found["script"] == "$(id)\n"
    assert set(found["system"]) == {"load", "host"}
    assert found["system"]["host"]["cpus"] == os.cpu_count()
    assert found["probe"]["error"] == "refused"
    assert "could not be read" in found["broken"]["unknown"]
    assert "no_such_option" in found["odd"]["unknown"]


def test_the_way_is_told_apart_from_the_reading_where_that_is_asked_for(shell):
    beside = _script("script", "echo")
    for facts in ([], [beside]):  # a reading that is asked for alone goes another way
        found = shell.ask([system_reading(subjects=["cpu", "way"], sample_gap_s=0.3), *facts])["system"]
        assert set(found) == {"cpu", "way"}
        assert found["way"]["connect_s"] >= 0
        assert found["way"]["reading_s"] >= 0.3  # the seconds between its two samples are in it
    assert "way" not in shell.ask([system_reading(subjects=["load"])])["system"]


def test_a_script_has_its_output_errors_and_exit_code(shell):
    fact = Fact(name="x", ask=Script(text="echo out; echo err >&2; exit 3"), parse=lambda result: result)
    found = shell.ask((fact,))["x"]
    assert (found.exit_code, found.stdout, found.stderr) == (3, "out\n", "err\n")


def test_a_script_speaks_english_and_its_values_are_inert(shell, tmp_path):
    value = NASTY.format(trap=tmp_path / "made")
    asked = _script("x", 'printf %s "$LC_ALL|$1"', value)
    assert shell.ask((asked,))["x"] == f"C|{value}"
    assert not (tmp_path / "made").exists()


def test_a_secret_reaches_its_script_and_no_other(shell, tmp_path):
    place = _secret(tmp_path)
    told = _script("told", 'echo "${#TOLD} $TOLD"', secrets={"TOLD": f"file:{place}"})
    other = _script("other", 'echo "<$TOLD>"; set | grep -c ge[h]eim; env | grep -c ge[h]eim; true')
    found = shell.ask((other, told, replace(other, name="again")))
    assert found["told"] == "9 [secret]\n"
    assert found["other"] == found["again"] == "<>\n0\n0\n"
    lost = _script("lost", "echo x", secrets={"TOLD": "file:/nowhere"})
    assert "nowhere" in shell.ask((lost, other))["lost"]["unknown"]


def test_a_script_that_takes_too_long_is_ended_and_the_next_is_asked(shell):
    slow = Fact(name="slow", ask=Script(text="echo begun; sleep 30", timeout=1), parse=lambda result: result.timed_out)
    began = time.monotonic()
    assert shell.ask((slow, _script("next", "echo x"))) == {"slow": True, "next": "x\n"}
    assert time.monotonic() - began < 20


def test_a_script_that_floods_does_not_fill_the_memory(shell):
    before = psutil.Process().memory_info().rss
    facts = [
        _script("before", "echo x"),
        _script("flood", "head -c 100000000 /dev/zero | tr '\\0' x"),
        _script("after", "echo x"),
    ]
    found = shell.ask(facts)
    assert found["before"] == "x\n"
    assert "cut off" in found["flood"]["unknown"]
    assert "cut off" in found["after"]["unknown"]
    assert psutil.Process().memory_info().rss - before < 80_000_000
    assert shell.ask([_script("again", "echo y")]) == {"again": "y\n"}


def test_one_script_cannot_disturb_the_next(shell):
    found = shell.ask(
        (
            _script("leaves", "exec 1>&2; cd /nowhere; mark=x; PATH=; exit 7"),
            _script("breaks", "if ("),
            _script("reads", "cat; echo end"),
        )
    )
    assert found["reads"] == "end\n"
    assert shell.ask([_script("later", "echo ok")]) == {"later": "ok\n"}


def test_a_script_that_kills_its_shell_is_unknown_and_the_next_ask_is_answered(shell):
    # Its parent is `timeout`, whose parent is the sh that runs all scripts.
    bad = _script("bad", 'kill -9 "$(cut -d" " -f4 /proc/$PPID/stat)"; sleep 5')
    found = shell.ask([_script("good", "echo x"), bad, _script("next", "echo y")])
    assert found["good"] == "x\n"
    assert "cut off" in found["bad"]["unknown"]
    assert "cut off" in found["next"]["unknown"]
    assert shell.ask([_script("later", "echo ok")]) == {"later": "ok\n"}


def test_no_facts_are_no_work(shell):
    assert shell.ask(()) == {}


def test_many_at_once_do_not_mix_their_answers(shell):
    def one(number):
        return shell.ask([_script("x", 'sleep 0.1; echo "$1"', str(number))])["x"], shell.run(
            _sh("echo $1", str(number))
        ).stdout

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(24))) == [(f"{number}\n", f"{number}\n") for number in range(24)]
