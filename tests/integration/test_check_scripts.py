"""The scripts of health checks in a real sh on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opsqueue.facts.check_processes import process_fact
from opsqueue.facts.checks import command_fact, disk_fact, service_fact
from opsqueue.model.fact import Fact, Script, read
from opsqueue.model.plan import Result

SHELLS = [name for name in ("dash", "bash", "busybox") if shutil.which(name)] or ["sh"]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return ("busybox", "sh") if request.param == "busybox" else (request.param,)


def ask(fact: Fact, shell: tuple[str, ...] = ("sh",), cwd: Path | None = None) -> Any:
    assert isinstance(fact.ask, Script)
    argv = [*shell, "-c", fact.ask.text, "opsqueue", *fact.ask.args]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL, cwd=cwd,
        env={**os.environ, "LC_ALL": "C"}, check=False,
    )  # fmt: skip
    return read(fact, Result(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr))


@pytest.fixture(scope="module")
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    marker = f"opsqueue-test-{os.getpid()}"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", marker]) as process:
        time.sleep(0.05)
        yield process
        process.terminate()


def process(how: Any, wanted: str) -> Fact:
    return process_fact("p", how=how, wanted=wanted, seconds=5)


def test_a_process_is_found_by_its_command_line_and_our_own_shell_is_not(
    shell: tuple[str, ...], sleeper: subprocess.Popen[bytes]
) -> None:
    found = ask(process("cmdline", f"sleep.*opsqueue-test-{os.getpid()}$"), shell)
    assert found["pids"] == [sleeper.pid]
    assert (found["count"], found["zombies"]) == (1, 0)
    assert 0 <= found["oldest_s"] < 60
    assert ask(process("cmdline", "text-of-no-other-process"), shell)["count"] == 0


def test_a_process_is_found_by_its_pid_file(
    shell: tuple[str, ...], sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    file = tmp_path / "x.pid"
    file.write_text(str(sleeper.pid))  # without a newline at the end, as some write it
    assert ask(process("pidfile", str(file)), shell)["pids"] == [sleeper.pid]
    for text in ("", "0", "999999999", "-1\n", ".*\n"):
        file.write_text(text)
        assert ask(process("pidfile", str(file)), shell)["count"] == 0
    assert ask(process("pidfile", str(tmp_path / "none.pid")), shell)["count"] == 0


def test_a_process_is_found_by_its_exact_name(shell: tuple[str, ...], sleeper: subprocess.Popen[bytes]) -> None:
    name = Path(f"/proc/{sleeper.pid}/comm").read_text().strip()
    assert ask(process("name", name), shell)["count"] >= 1
    assert ask(process("name", name[:-1] + "~"), shell)["count"] == 0


def test_a_zombie_is_counted_apart() -> None:
    name = "true"
    with subprocess.Popen([name]) as dead:
        time.sleep(0.1)
        found = ask(process("pidfile", "/dev/null"))
        assert found["count"] == 0
        found = ask(process("name", name))
        assert (dead.pid in found["pids"], found["zombies"] >= 1) == (True, True)


def test_a_wrong_pattern_is_unknown(shell: tuple[str, ...]) -> None:
    assert "no regular expression" in ask(process("cmdline", "java["), shell)["unknown"]


def test_a_disk_agrees_with_the_kernel(shell: tuple[str, ...], tmp_path: Path) -> None:
    found = ask(disk_fact("d", str(tmp_path), seconds=5), shell)
    kernel = os.statvfs(tmp_path)
    assert found["size"] == pytest.approx(kernel.f_blocks * kernel.f_frsize, rel=0.001)
    used = kernel.f_blocks - kernel.f_bfree
    assert found["percent"] == pytest.approx(100 * used / (used + kernel.f_bavail), abs=1)
    assert str(tmp_path).startswith(found["mount"])
    assert found["read_only"] is False


def test_a_path_that_is_not_there_is_unknown(shell: tuple[str, ...]) -> None:
    assert "/no/such/path" in ask(disk_fact("d", "/no/such/path", seconds=5), shell)["unknown"]


def test_a_write_test_writes_and_leaves_nothing(shell: tuple[str, ...], tmp_path: Path) -> None:
    assert ask(disk_fact("d", str(tmp_path), seconds=5), shell)["written"] is None
    assert ask(disk_fact("d", str(tmp_path), seconds=5, write_test=True), shell)["written"] == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_write_test_where_nothing_can_be_written_says_why(shell: tuple[str, ...]) -> None:
    found = ask(disk_fact("d", "/proc", seconds=5, write_test=True), shell)
    assert found["written"].startswith("no: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_seen_by_a_write_test(tmp_path: Path) -> None:
    """As root it takes a file system of one's own; here the file's place is taken by a disk that is always full."""
    fact = disk_fact("d", str(tmp_path), seconds=5, write_test=True)
    assert isinstance(fact.ask, Script)
    text = fact.ask.text.replace("of=probe", "of=/dev/full")
    found = ask(replace(fact, ask=replace(fact.ask, text=text)))
    assert "No space left" in found["written"]
    assert list(tmp_path.iterdir()) == []


def command(*argv: str, seconds: int = 3) -> Fact:
    return command_fact("c", argv, seconds=seconds)


def test_arguments_reach_a_command_as_they_are(shell: tuple[str, ...]) -> None:
    hostile = ["$(id)", "; id", "`id`", "a  b", "'", '"', "*", "-n", ""]
    code = "import sys; print(sys.argv[1:])"
    assert ask(command(sys.executable, "-c", code, *hostile), shell)["output"] == str(hostile)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 42])
def test_the_exit_code_is_the_command_s_own(shell: tuple[str, ...], code: int) -> None:
    assert ask(command("sh", "-c", f"echo said; exit {code}"), shell)["exit_code"] == code


def test_long_output_is_cut_and_harms_nothing(shell: tuple[str, ...]) -> None:
    code = "import sys; sys.stdout.write('x' * 500_000); sys.exit(1)"
    found = ask(command(sys.executable, "-c", code), shell)
    assert (found["exit_code"], len(found["output"])) == (1, 8192)


def test_a_command_that_hangs_is_ended_with_its_children() -> None:
    began = time.monotonic()
    found = ask(command("sh", "-c", "sleep 30 & sleep 30", seconds=1))
    assert time.monotonic() - began < 20
    assert "time limit" in found["unknown"]


def test_a_command_that_is_not_there_is_unknown(shell: tuple[str, ...]) -> None:
    assert "cannot be run" in ask(command("/no/such/program"), shell)["unknown"]


def test_a_service_that_nobody_knows_is_unknown_or_missing() -> None:
    found = ask(service_fact("s", "no-such-unit-of-opsqueue", seconds=10))
    assert "was not booted with systemd" in found.get("unknown", "") or found.get("known") is False


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Path]:
    """A folder whose supervisord.conf the real supervisorctl finds by itself, and its supervisord."""
    (tmp_path / "supervisord.conf").write_text(
        f"""[unix_http_server]
file={tmp_path}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisord]
nodaemon=true
logfile={tmp_path}/s.log
pidfile={tmp_path}/s.pid
[supervisorctl]
serverurl=unix://{tmp_path}/s.sock
[program:good]
command=sleep 60
startsecs=0
[program:off]
command=sleep 60
autostart=false
"""
    )
    argv = ["supervisord", "-c", str(tmp_path / "supervisord.conf")]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + 5
        while not (tmp_path / "s.sock").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        yield tmp_path
        server.terminate()


@pytest.mark.service
@pytest.mark.skipif(
    not shutil.which("supervisorctl") or Path("/run/systemd/system").exists(),
    reason="needs supervisor, on a host without systemd",
)
def test_supervisor_is_asked_where_there_is_no_systemd(supervised: Path) -> None:
    good = ask(service_fact("s", "good", seconds=10), cwd=supervised)
    off = ask(service_fact("s", "off", seconds=10), cwd=supervised)
    none = ask(service_fact("s", "none", seconds=10), cwd=supervised)
    assert (good["manager"], good["active"]) == ("supervisor", True)
    assert (off["manager"], off["active"]) == ("supervisor", False)
    assert "neither supervisor, runit nor SysV" in none["unknown"]
