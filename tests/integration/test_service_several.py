"""`service_restart` of several services, with files, under a log: real supervisor, runit and nginx."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from service_cycle import Cycle, cycle

from opsqueue.connectors.local import LocalShell
from opsqueue.model.plan import Step
from opsqueue.operations.service import files as service_files
from opsqueue.operations.service_restart import OPERATION

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("service_restart")]

ORDER = ("oqapp", "oqweb")


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def until(told: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := told():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def ended(process: subprocess.Popen[bytes], sig: signal.Signals = signal.SIGTERM) -> None:
    process.send_signal(sig)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# -- several under supervisor -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two() -> Iterator[Path]:
    """A supervisord with two programs; each writes its process id down, and when it began."""
    place = Path(tempfile.mkdtemp(prefix="oqss"))
    text = (
        f"[supervisord]\nnodaemon=true\nlogfile={place}/log\npidfile={place}/pid\nchildlogdir={place}\n"
        f"[unix_http_server]\nfile={place}/sock\n[supervisorctl]\nserverurl=unix://{place}/sock\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
    )
    for name in ORDER:
        text += f"[program:{name}]\ncommand=/bin/sh {place}/{name}.sh\nautorestart=false\nstartretries=0\nstartsecs=0\n"
        write_program(place, name)
    (place / "supervisord.conf").write_text(text)
    command = ["supervisord", "-c", str(place / "supervisord.conf")]
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: all(alive(place, name) for name in ORDER))
        until(lambda: status(place).count("RUNNING") == len(ORDER))
        yield place
    finally:
        ended(process)
        shutil.rmtree(place, ignore_errors=True)


def write_program(place: Path, name: str, last: str = "exec sleep 300") -> None:
    (place / f"{name}.sh").write_text(
        f"date +%s.%N >>{place}/{name}.began\nsleep 0.3\necho $$ >{place}/{name}.pid\n{last}\n"
    )


def status(place: Path) -> str:
    command = ["supervisorctl", "-c", str(place / "supervisord.conf"), "status"]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL).stdout


def alive(place: Path, name: str) -> bool:
    try:
        return Path(f"/proc/{int((place / f'{name}.pid').read_text())}").exists()
    except (OSError, ValueError):
        return False


def began(place: Path, name: str) -> list[float]:
    return [float(line) for line in (place / f"{name}.began").read_text().split()]


def together(place: Path, **more: Any) -> Cycle:
    keys = {key: more.pop(key) for key in ("meanwhile", "mend", "first") if key in more}
    config = {"supervisor_config": str(place / "supervisord.conf"), "state_dir": str(place / "state")}
    usual = {"services": ORDER, "manager": "supervisor", "sudo": False, "restart_log": True, "storm_limit": 0}
    return cycle({**usual, **config, **more}, **keys)


def titles(run: Cycle) -> list[str]:
    """The fourth words: the name of a script, or supervisorctl's verb."""
    return [argv[3] for argv in run.plan]


class Sampler(threading.Thread):
    """Looks every 50 ms how many of the services are down."""

    def __init__(self, place: Path) -> None:
        super().__init__(daemon=True)
        self.place, self.most, self.samples, self.over = place, 0, 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            self.most = max(self.most, [alive(self.place, name) for name in ORDER].count(False))
            self.samples += 1


@needs("supervisord")
def test_each_is_up_and_settled_before_the_next_is_begun_and_the_log_has_a_line_for_both_ends(two: Path) -> None:
    sampler = Sampler(two)
    sampler.start()
    checks = {"oqapp": {"command": ["test", "-e", str(two / "oqapp.pid")], "success_threshold": 2}}
    try:
        run = together(two, health_checks=checks)
    finally:
        sampler.over.set()
        sampler.join()
    one = ["opsqueue-log", "restart", "opsqueue-log", "opsqueue-gate"]
    assert titles(run) == [*one, *one[:3]]
    assert (run.problems, set(run.codes)) == ([], {0})
    times = [began(two, name)[-1] for name in ORDER]
    assert times[1] - times[0] >= 1  # settle_seconds lie between them
    assert sampler.samples > 20
    assert sampler.most == 1
    assert run.after["health:oqapp"]["in_a_row"] == 2
    rows = [line.split("\t") for line in (two / "state" / "log").read_text().splitlines()]
    assert [(row[3], row[5]) for row in rows] == [(n, what) for n in ORDER for what in ("begins", "answered")]
    assert all(float(row[7]) > 0 for row in rows if row[5] == "answered")
    assert all(old[8] != new[8] for old, new in zip(rows[::2], rows[1::2], strict=True))


@needs("supervisord")
def test_what_comes_after_one_that_does_not_come_up_is_not_touched(two: Path) -> None:
    def spoil() -> None:
        write_program(two, "oqapp", "sleep 0.5; exit 3")

    before = began(two, "oqweb")
    run = together(two, meanwhile=spoil, restart_log=False)
    assert began(two, "oqweb") == before
    assert run.codes[-1] == 1  # of the gate, or of the restart on a slow machine
    assert "EXITED" in run.problems[0]
    assert run.problems[1:] == ["oqweb was not begun, because oqapp is not well"]


# -- files, the log and its limit: nginx under runit --------------------------------------------------------


class Nginx:
    """An nginx that runit looks after, and its configuration."""

    def __init__(self, place: Path) -> None:
        self.place, self.config = place, place / "nginx.conf"
        self.service = place / "services" / "oqnginx"
        self.port, self.other = free_port(), free_port()

    def text(self, word: str, port: int = 0, more: str = "") -> str:
        temporary = "".join(
            f"{kind}_temp_path {self.place}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return (
            f"daemon off; master_process off; pid {self.place}/nginx.pid; error_log {self.place}/error.log;\n"
            f"events {{}}\nhttp {{ access_log off; {temporary} {more}\n"
            f"server {{ listen 127.0.0.1:{port or self.port}; location / {{ return 200 {word}; }} }} }}\n"
        )

    def says(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as answer:
            return answer.read().decode()

    def restart(self, content: str | None = None, **more: Any) -> Cycle:
        keys = {key: more.pop(key) for key in ("meanwhile", "mend", "first") if key in more}
        where = {"service_dir": str(self.service), "state_dir": str(self.place / "state"), "sudo": False}
        check = {"http": f"http://127.0.0.1:{self.port}/", "timeout_seconds": 2, "success_threshold": 1}
        usual = {"service_name": "oqnginx", "manager": "runit", "storm_limit": 0, "stop_timeout_seconds": 5}
        files = {"config_files": [{"path": str(self.config), "content": content}]} if content is not None else {}
        tested = {"preflight": [["nginx", "-t", "-q", "-c", str(self.config)]]}
        return cycle({**usual, **where, "health_check": check, **files, **tested, **more}, **keys)

    def look(self) -> tuple[bytes, int, int, int, int]:
        found = self.config.stat()
        return self.config.read_bytes(), found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def nginx() -> Iterator[Nginx]:
    place = Path(tempfile.mkdtemp(prefix="oqng"))
    one = Nginx(place)
    one.service.mkdir(parents=True)
    one.config.write_text(one.text("old"))
    one.config.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(one.config, 12345, 23456)
    run = one.service / "run"
    run.write_text(f"#!/bin/sh\nexec nginx -c {one.config} 2>/dev/null\n")
    run.chmod(0o755)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(["runsvdir", "-P", str(one.service.parent)], **quiet)
    try:
        until(lambda: (place / "nginx.pid").exists() and answers(one))
        yield one
    finally:
        subprocess.run(["sv", "-w", "5", "force-stop", str(one.service)], check=False, capture_output=True)
        ended(process, signal.SIGHUP)
        time.sleep(0.2)
        shutil.rmtree(place, ignore_errors=True)


def answers(one: Nginx) -> bool:
    try:
        return bool(one.says())
    except OSError:
        return False


@needs("nginx", "runsvdir")
def test_a_bad_file_is_taken_back_before_anything_is_stopped(nginx: Nginx) -> None:
    was = nginx.look()
    run = nginx.restart(nginx.text("bad", more="no_such_word;"), mend=True)
    assert [argv[0] for argv in run.plan] == ["sh", "nginx", "sv"]
    assert run.codes == [0, 1]
    assert run.old["identity"] == run.new["identity"]
    assert run.problems
    assert [argv[3] for argv in run.rolled] == ["opsqueue-back"]
    assert run.restored == []
    assert nginx.look() == was
    assert nginx.says() == "old"


@needs("nginx", "runsvdir")
def test_a_file_with_which_it_is_not_healthy_is_taken_back_and_it_is_restarted(nginx: Nginx) -> None:
    was, state = nginx.look(), nginx.place / "state"
    # What is led back needs no line in the log, which cannot be written any more by then.
    serves = f"rm -f {state}/log; mkdir -p {state}/log; : </dev/tcp/127.0.0.1/{nginx.port}"
    check = {"command": ["bash", "-c", serves], "timeout_seconds": 2, "success_threshold": 1}
    run = nginx.restart(nginx.text("elsewhere", nginx.other), mend=True, restart_log=True, health_check=check)
    assert run.codes == [0] * 5
    assert "the health check fails: bash ended with 1" in " ".join(run.problems)
    assert [argv[0] for argv in run.rolled] == ["sh", "sh", "sv", "sh"]
    assert run.rolled[0][3] == "opsqueue-back"
    assert run.restored == []
    assert nginx.look() == was
    assert nginx.says() == "old"
    (state / "log").rmdir()


@needs("nginx", "runsvdir")
def test_wherever_the_worker_dies_the_old_or_the_new_configuration_runs(nginx: Nginx) -> None:
    new = nginx.text("new")
    for sent in (2, 3):
        was = nginx.look()
        run = nginx.restart(new, first=sent, mend=True)
        assert len(run.plan) == 3
        if sent < 3:  # not restarted yet: found so, the file is taken back and the old instance is left alone
            assert run.problems
            assert run.restored == []
            assert (nginx.look(), nginx.says()) == (was, "old")
            assert run.old["identity"] == run.new["identity"]
        else:
            assert (run.problems, nginx.says()) == ([], "new")
            assert nginx.look()[:4] == (new.encode(), *was[1:4])
    # The text that is there already is no change, and a second try is the same plan.
    assert nginx.restart(new, first=0).plan == run.plan


@needs("nginx", "runsvdir")
def test_a_file_is_the_old_or_the_new_whenever_it_is_killed(nginx: Nginx) -> None:
    """SIGKILL for the command that puts it in place, then for the one that takes it back, in the middle of each."""
    was, text, chance = nginx.look(), nginx.text("half"), random.Random(6)
    files = [{"path": str(nginx.config), "content": text}]
    where = {"state_dir": str(nginx.place / "state"), "sudo": False}
    params = OPERATION.params.model_validate({"service_name": "oqnginx", "config_files": files, **where})
    shell, begun = LocalShell(), nginx.place / ".nginx.conf.opsqueue"
    before = shell.ask(service_files.asked(params))
    (put,) = service_files.put(params)
    whole = {"files": {str(nginx.config): {"sha256": hashlib.sha256(text.encode()).hexdigest()}}}
    (back,) = service_files.back(params, before, whole)
    for number in range(9):
        _killed(put, (lambda: begun.stat().st_size > 0) if number == 0 else chance.uniform(0.0, 0.06))
        found = nginx.look()
        assert found == was or (found[0], found[1:4]) == (text.encode(), was[1:4])
        if number == 0:  # half of it is there, and is led away
            (step,) = service_files.back(params, before, shell.ask(service_files.asked(params)))
            assert shell.run(step.command).exit_code == 0
            assert not begun.exists()
        assert shell.run(put.command).exit_code == 0
        _killed(back, chance.uniform(0.0, 0.06))
        assert nginx.look() == was or nginx.config.read_text() == text
        for step in service_files.back(params, before, shell.ask(service_files.asked(params))):
            assert shell.run(step.command).exit_code == 0
        assert list(service_files.restored(params, before, shell.ask(service_files.asked(params)))) == []
        assert nginx.look() == was
        assert not list(nginx.place.glob(".*"))


def _killed(step: Step, when: float | Callable[[], Any]) -> None:
    """So many seconds after it began; or once something is true, with its input not at its end yet."""
    with subprocess.Popen(step.command.argv, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(step.command.stdin.encode())
            process.stdin.flush()
            if isinstance(when, float):
                process.stdin.close()
        if isinstance(when, float):
            time.sleep(when)
        else:
            until(lambda: _well(when))
        os.killpg(process.pid, signal.SIGKILL)


def _well(told: Callable[[], Any]) -> Any:
    try:
        return told()
    except OSError:
        return None


@needs("nginx", "runsvdir")
def test_a_file_that_somebody_else_changed_meanwhile_is_left_and_told(nginx: Nginx) -> None:
    theirs = nginx.text("theirs", nginx.other)

    def meddle() -> None:
        nginx.config.with_suffix(".sh").write_text(f"#!/bin/sh\ncat >{nginx.config} <<'X'\n{theirs}X\n")
        nginx.config.with_suffix(".sh").chmod(0o755)

    was = nginx.config.read_text()
    meddling = [["sh", str(nginx.config.with_suffix(".sh"))]]
    run = nginx.restart(nginx.text("ours"), preflight=meddling, meanwhile=meddle, mend=True)
    assert "is not what was to be put there" in run.problems[0]
    assert "is not what it was" in run.restored[0]
    assert nginx.config.read_text() == theirs
    nginx.config.write_text(was)
    (nginx.place / "loose").mkdir()
    (nginx.place / "loose").chmod(0o777)
    loose = nginx.restart(config_files=[{"path": str(nginx.place / "loose" / "conf"), "content": "x"}])
    assert "others than root and us can change the directory of" in loose.objections[0]


@needs("nginx", "runsvdir")
def test_one_restart_too_many_is_refused_with_when_it_may_be_again(nginx: Nginx) -> None:
    once = {"restart_log": True, "storm_limit": 1, "storm_window_seconds": 3600}
    assert nginx.restart(**once).problems == []
    again = nginx.restart(**once)
    assert "was started once in the last 3600 s, and the limit is 1; it may be again at 20" in again.objections[0]
    assert nginx.restart(**{**once, "storm_limit": 2}, first=0).objections == []
    rows = (nginx.place / "state" / "log").read_text().splitlines()
    assert [row.split("\t")[5] for row in rows] == ["begins", "answered"]
    (nginx.place / "state").chmod(0o777)
    open_to_all = nginx.restart(**{**once, "storm_limit": 0})
    (nginx.place / "state").chmod(0o700)
    assert open_to_all.codes == [0, 1]  # nothing was stopped without a line in the log
    assert "did not take effect" in open_to_all.problems[0]
