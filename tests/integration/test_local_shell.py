from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from opsqueue.connectors import local
from opsqueue.connectors.deadline import all_within
from opsqueue.connectors.local import LocalShell, wrapped
from opsqueue.connectors.process import Kept, run_process
from opsqueue.errors import CommandNotSent
from opsqueue.facts.system import system_reading
from opsqueue.model.fact import Fact, Probe, Script
from opsqueue.model.plan import Command

SHELL = LocalShell()


def _sh(text: str, *args: str, **more) -> Command:
    return Command(argv=("/bin/sh", "-c", text, "sh", *args), **more)


def _wait(true, seconds=20.0):
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.01)
    return true()


def _alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_output_errors_exit_code_and_seconds():
    found = SHELL.run(_sh("cat; echo problem >&2; exit 4", stdin="héllo"))
    assert (found.exit_code, found.stdout, found.stderr) == (4, "héllo", "problem\n")
    assert 0 < found.seconds < 30
    assert not found.timed_out
    assert not found.truncated


def test_a_signal_is_told_as_shells_do():
    assert SHELL.run(_sh("kill -9 $$")).exit_code == 137


def test_arguments_are_inert(tmp_path):
    trap = tmp_path / "made"
    value = f"$(touch {trap}); `touch {trap}` ' \" \n *"
    assert SHELL.run(Command(argv=("printf", "%s", value))).stdout == value
    assert not trap.exists()


def test_a_command_that_is_not_there_is_127(monkeypatch):
    assert SHELL.run(Command(argv=("no-such-command-here",))).exit_code == 127
    monkeypatch.setattr(local.shutil, "which", lambda _name: None)
    found = SHELL.run(Command(argv=("no-such-command-here",)))
    assert found.exit_code == 127
    assert "no-such-command-here" in found.stderr


def test_what_certainly_did_not_start_is_not_sent():
    with pytest.raises(CommandNotSent, match="could not be started"):
        SHELL.run(Command(argv=("echo", "a\0b")))
    with pytest.raises(CommandNotSent, match="could not be started"):
        SHELL.run(Command(argv=("echo", "x" * 3_000_000)))


def test_the_environment_is_small_and_clean(monkeypatch):
    monkeypatch.setenv("OPSQUEUE_DATABASE_URL", "secret")
    found = SHELL.run(Command(argv=("env",), env={"EXTRA": "1"}), mark="m1").stdout
    names = {line.partition("=")[0] for line in found.splitlines()}
    assert names - {"_", "PWD", "SHLVL"} == {"PATH", "HOME", "LANG", "LC_ALL", "EXTRA", "OPSQUEUE_MARK"}
    assert "LC_ALL=C\n" in found
    assert "OPSQUEUE_MARK=m1\n" in found


@pytest.mark.parametrize("with_timeout", [True, False])
def test_the_time_limit_ends_the_whole_group(with_timeout, tmp_path, monkeypatch):
    if not with_timeout:
        monkeypatch.setattr(local.shutil, "which", lambda _name: None)
    note = tmp_path / "pid"
    text = 'sleep 60 & echo $! >"$1"; echo begun; wait'
    began = time.monotonic()
    found = SHELL.run(_sh(text, str(note), timeout=1))
    assert time.monotonic() - began < 30
    assert found.timed_out
    assert found.exit_code is None
    assert found.stdout == "begun\n"
    assert _wait(lambda: not _alive(int(note.read_text())))


def test_a_group_that_ignores_the_polite_signal_is_killed(tmp_path):
    note = tmp_path / "pid"
    text = 'trap "" TERM; sh -c "trap \\"\\" TERM; sleep 60; sleep 60" & echo $! >"$1"; wait; sleep 60'
    argv = ("/bin/sh", "-c", text, "sh", str(note))
    found = run_process(argv, env=os.environ, limit_s=0.2, grace_s=0.2, head_most=99, tail_most=0)
    assert found.timed_out
    assert _wait(lambda: not _alive(int(note.read_text())))


def test_a_command_ends_even_when_the_worker_was_killed(tmp_path):
    note = tmp_path / "pid"
    program = (
        "import sys; from opsqueue.connectors.local import LocalShell; from opsqueue.model.plan import Command\n"
        "LocalShell().run(Command(argv=('sh', '-c', 'echo $$ >\"$1\"; exec sleep 60', 'sh', sys.argv[1]), timeout=1))"
    )
    worker = subprocess.Popen([sys.executable, "-c", program, str(note)])
    try:
        assert _wait(lambda: note.exists() and note.read_text().strip(), 10)
        worker.send_signal(signal.SIGKILL)
        assert _wait(lambda: not _alive(int(note.read_text())), 6)
    finally:
        worker.kill()
        worker.wait()


def test_a_gigabyte_of_output_is_cut_without_keeping_it():
    before = psutil.Process().memory_info().rss
    text = "echo first; head -c 1000000000 /dev/zero | tr '\\0' x; echo; echo last"
    found = SHELL.run(_sh(text))
    assert found.exit_code == 0
    assert found.truncated
    assert found.stdout.startswith("first\n")
    assert found.stdout.endswith("\nlast\n")
    assert "bytes left out" in found.stdout
    assert len(found.stdout) < 300_000
    assert psutil.Process().memory_info().rss - before < 50_000_000


def test_both_streams_and_a_long_stdin_at_once_do_not_block():
    text = "exec 3<&0; (cat <&3 >&2) & head -c 500000 /dev/zero | tr '\\0' '#'; wait"
    found = SHELL.run(_sh(text, stdin="%" * 400_000))
    assert found.exit_code == 0
    assert found.truncated
    assert found.stdout.count("#") == found.stderr.count("%") == SHELL.output_most


def test_a_command_that_does_not_read_its_stdin_is_no_fault():
    assert SHELL.run(Command(argv=("true",), stdin="x" * 1_000_000)).exit_code == 0


def test_a_daemon_that_keeps_the_output_open_does_not_hold_us():
    began = time.monotonic()
    found = SHELL.run(_sh("sleep 20 & echo $!"))
    assert time.monotonic() - began < 15
    assert found.exit_code == 0
    pid = int(found.stdout)
    assert _alive(pid)  # what a command started and left on purpose goes on
    os.kill(pid, signal.SIGKILL)


def test_a_marked_command_is_found_while_it_runs():
    process = subprocess.Popen(["sleep", "30"], env={**os.environ, "OPSQUEUE_MARK": "op-1/2"})
    try:
        assert _wait(lambda: SHELL.busy("op-1/2"))
        assert not SHELL.busy("op-1")
        assert not SHELL.busy("")
        process.send_signal(signal.SIGKILL)
        assert _wait(lambda: not SHELL.busy("op-1/2"))  # a zombie until `wait` below
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("command", "root", "timeout", "wanted"),
    [
        (Command(argv=("id",), timeout=9), True, "/usr/bin/timeout", "/usr/bin/timeout -k 5 11 id"),
        (Command(argv=("id",), timeout=9), False, None, "id"),
        (Command(argv=("id",), sudo=True), True, None, "id"),
        (Command(argv=("id",), sudo=True), False, None, "sudo -n id"),
        (
            Command(argv=("id", "-u"), sudo=True, timeout=9),
            False,
            "/usr/bin/timeout",
            "/usr/bin/timeout -k 5 29 sudo -n timeout -k 5 9 id -u",
        ),
        (
            Command(argv=("id",), sudo=True, env={"A": "geheim", "B": "2"}),
            False,
            None,
            "sudo -n --preserve-env=A,B id",
        ),
    ],
)
def test_what_is_really_run(command, root, timeout, wanted):
    assert " ".join(wrapped(command, root=root, timeout=timeout)) == wanted


def test_all_kinds_of_facts_are_answered_at_once():
    facts = (
        Fact(name="script", ask=Script(text='echo "$1"', args=("$(id)",))),
        system_reading(subjects=["load", "host"]),
        Fact(name="probe", ask=Probe(kind="tcp", options={"host": "127.0.0.1", "port": 1}, timeout=2)),
        Fact(name="broken", ask=Script(text="echo x"), parse=lambda result: int(result.stdout)),
        Fact(name="odd", ask=system_reading(no_such_option=1).ask),
    )
    found = SHELL.ask(facts)
    assert found["script"] == "$(id)\n"
    assert set(found["system"]) == {"load", "host"}
    assert found["probe"]["error"] == "refused"
    assert "could not be read" in found["broken"]["unknown"]
    assert "no_such_option" in found["odd"]["unknown"]


def test_a_script_that_takes_too_long_is_ended_and_the_next_is_asked():
    slow = Fact(name="slow", ask=Script(text="echo begun; sleep 30", timeout=1), parse=lambda result: result.timed_out)
    began = time.monotonic()
    assert SHELL.ask((slow, Fact(name="next", ask=Script(text="echo x")))) == {"slow": True, "next": "x\n"}
    assert time.monotonic() - began < 20


def test_a_script_that_floods_does_not_fill_the_memory():
    facts = [
        Fact(name="before", ask=Script(text="echo x")),
        Fact(name="flood", ask=Script(text="head -c 100000000 /dev/zero | tr '\\0' x")),
        Fact(name="after", ask=Script(text="echo x")),
    ]
    found = SHELL.ask(facts)
    assert found["before"] == "x\n"
    assert "cut off" in found["flood"]["unknown"]
    assert "cut off" in found["after"]["unknown"]


def test_no_facts_are_no_work():
    assert SHELL.ask(()) == {}


def test_a_call_that_hangs_is_given_up_and_not_begun_twice():
    begun = []

    def hang() -> None:
        begun.append(1)
        time.sleep(0.5)

    def fail() -> None:
        raise OSError("gone")

    for _ in range(3):
        found = all_within(0.05, {"hang": hang, "good": lambda: 7, "fail": fail})
        assert isinstance(found["hang"], TimeoutError)
        assert found["good"] == 7
        assert str(found["fail"]) == "gone"
    assert begun == [1]


def test_the_same_call_by_two_at_once_is_answered_to_both():
    """Two targets of one operation may be this same machine."""

    def slow() -> int:
        time.sleep(0.2)
        return 7

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(all_within, 5, {"slow": slow}) for _ in range(2)]
        assert [one.result() for one in both] == [{"slow": 7}, {"slow": 7}]


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_the_head_and_the_tail_are_kept_whatever_the_pieces(step):
    data = "".join(chr(97 + number % 26) for number in range(500)).encode()
    kept = Kept(20, 30)
    for start in range(0, len(data), step):
        kept.feed(data[start : start + step])
    assert kept.text() == data[:20].decode() + "\n[… 450 bytes left out …]\n" + data[-30:].decode()
    short = Kept(20, 30)
    short.feed(data[:50])
    assert short.text() == data[:50].decode()


def test_no_child_and_no_pipe_is_left_behind():
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        SHELL.run(Command(argv=("true",), stdin="x"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]
