"""`service_restart` against real service managers, each private to this test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from machinekit import machine_ended
from service_cycle import Cycle, cycle

# One worker for all of them: two machines with the same systemd would be in each other's way.
pytestmark = [pytest.mark.service, pytest.mark.xdist_group("service_restart")]

WELL = "exec sleep 300"
CALM = {"sudo": False}


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def until(told: Callable[[], Any], seconds: float = 15) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := told():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A short path, because a unix socket's has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="oqsr"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def end(process: subprocess.Popen[bytes], sig: signal.Signals = signal.SIGTERM) -> None:
    process.send_signal(sig)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# -- supervisor -------------------------------------------------------------------------------------------

# A program does what the text in its own file says, so that a test can spoil it between two starts.
PROGRAMS = {
    "good": "",
    "late": "",
    "spawn": "startsecs=2\nstartretries=1\n",
    "stopped": "autostart=false\n",
    "left": "autostart=false\n",
    "fatal": "autostart=false\nstartsecs=2\nstartretries=0\n",
    "stubborn": "stopwaitsecs=1\n",
    "orphan": "",
    "crash": "",
    "pair": "numprocs=2\nprocess_name=%(program_name)s_%(process_num)s\n",
}


@pytest.fixture(scope="module")
def supervisor(place: Path) -> Iterator[Path]:
    """The configuration of a running supervisord."""
    config = place / "supervisord.conf"
    text = (
        f"[supervisord]\nnodaemon=true\nlogfile={place}/log\npidfile={place}/pid\nchildlogdir={place}\n"
        f"[unix_http_server]\nfile={place}/sock\n[supervisorctl]\nserverurl=unix://{place}/sock\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
    )
    for name, extra in PROGRAMS.items():
        (place / name).write_text(WELL)
        text += f"[program:{name}]\ncommand=/bin/sh {place / name}\nautorestart=false\n{extra}"
    (place / "stubborn").write_text("trap '' TERM; while :; do sleep 1; done")
    (place / "orphan").write_text(f"sleep 300 & echo $! >>{place}/orphans; exec sleep 301")
    config.write_text(text)
    process = subprocess.Popen(
        ["supervisord", "-c", str(config)], cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: control(config, "status").count("RUNNING") == len(PROGRAMS) - 2)  # three wait, one is two
        yield config
    finally:
        end(process)


def control(config: Path, *words: str) -> str:
    command = ["supervisorctl", "-c", str(config), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL).stdout


def supervised(config: Path, name: str, **more: Any) -> Cycle:
    keys = {key: more.pop(key) for key in ("crash", "meanwhile", "mend") if key in more}
    parameters = {"service_name": name, "supervisor_config": str(config), **CALM, **more}
    return cycle({"manager": "supervisor", **parameters}, **keys)


@needs("supervisord")
def test_supervisor_restarts_a_good_program(supervisor: Path) -> None:
    run = supervised(supervisor, "good", manager="auto")
    assert run.before["service"]["found"] == ["supervisor"]
    assert run.plan == [["supervisorctl", "-c", str(supervisor), "restart", "good"]]
    assert (run.codes, run.problems) == ([0], [])
    assert run.old["identity"] != run.new["identity"]
    assert run.findings == ["no_health_check"]


@needs("supervisord")
def test_a_program_that_dies_after_startsecs_is_no_success_although_the_restart_says_0(supervisor: Path) -> None:
    file = supervisor.parent / "late"
    spoiled = "echo spoiled by the test; sleep 1.6; exit 3"
    run = supervised(supervisor, "late", settle_seconds=2, meanwhile=lambda: file.write_text(spoiled), mend=True)
    assert run.codes == [0]
    assert "EXITED" in run.problems[0]
    assert "service_down" in run.findings
    assert "spoiled by the test" in run.after["settled"]["log"]
    assert run.rolled == [["supervisorctl", "-c", str(supervisor), "start", "late"]]
    assert run.restored


@needs("supervisord")
def test_a_program_that_dies_at_once_is_started_again_by_the_rollback(supervisor: Path) -> None:
    file = supervisor.parent / "spawn"
    # The restart comes to two tries that fail; the third is the rollback's.
    spoiled = f"cd {supervisor.parent}; echo x >>tries; [ $(wc -l <tries) -ge 3 ] && {WELL}; exit 1"
    run = supervised(supervisor, "spawn", meanwhile=lambda: file.write_text(spoiled), mend=True)
    assert run.codes not in ([0], [])
    assert run.problems
    assert run.rolled[0][-2:] in (["start", "spawn"], ["restart", "spawn"])
    assert run.restored == []


@needs("supervisord")
def test_a_health_check_has_to_succeed_as_often_in_a_row_as_asked(supervisor: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check = {"tcp": f"127.0.0.1:{server.getsockname()[1]}", "success_threshold": 3}
        run = supervised(supervisor, "good", health_check=check, require_healthy_before=True)
    assert run.problems == []
    assert run.after["health"]["in_a_row"] == 3
    refused = supervised(supervisor, "good", health_check={"tcp": "127.0.0.1:1"}, require_healthy_before=True)
    assert "not healthy before" in refused.objections[0]


@needs("supervisord")
def test_an_unknown_program_is_refused(supervisor: Path) -> None:
    run = supervised(supervisor, "nobody")
    assert "no such service: nobody" in run.objections[0]
    assert not run.plan


@needs("supervisord")
def test_all_programs_at_once_are_no_service(supervisor: Path) -> None:
    run = supervised(supervisor, "all")
    assert "every program at once" in run.objections[0]


@needs("supervisord")
def test_a_configuration_that_everybody_can_change_is_not_read(supervisor: Path) -> None:
    mode = supervisor.stat().st_mode
    supervisor.chmod(0o666)
    try:
        run = supervised(supervisor, "good")
    finally:
        supervisor.chmod(mode)
    assert "others than root and us can change it" in run.objections[0]


@needs("supervisord")
def test_a_stopped_program_is_left_or_refused_or_started_as_asked(supervisor: Path) -> None:
    assert "is stopped" in supervised(supervisor, "stopped").objections[0]
    skipped = supervised(supervisor, "stopped", when_inactive="skip")
    assert (skipped.objections, skipped.plan) == ([], [])
    started = supervised(supervisor, "stopped", when_inactive="start")
    assert started.plan[0][-2:] == ["start", "stopped"]
    assert (started.codes, started.problems) == ([0], [])


@needs("supervisord")
def test_what_was_stopped_and_cannot_be_started_is_stopped_again(supervisor: Path) -> None:
    check = {"tcp": "127.0.0.1:1", "timeout_seconds": 1}
    run = supervised(supervisor, "left", when_inactive="start", health_check=check, mend=True)
    assert "the health check fails" in run.problems[0]
    assert run.rolled[0][-2:] == ["stop", "left"]
    assert run.restored == []


@needs("supervisord")
def test_a_program_that_failed_before_is_started_by_a_later_try(supervisor: Path) -> None:
    file = supervisor.parent / "fatal"
    file.write_text("exit 4")
    control(supervisor, "start", "fatal")
    until(lambda: "FATAL" in control(supervisor, "status", "fatal"))
    file.write_text(WELL)
    run = supervised(supervisor, "fatal")
    assert run.plan[0][-2:] == ["start", "fatal"]
    assert run.problems == []
    assert "unwell_before" in run.findings


@needs("supervisord")
def test_a_program_that_ignores_term_is_reported_as_killed(supervisor: Path) -> None:
    run = supervised(supervisor, "stubborn")
    assert (run.codes, run.problems) == ([0], [])
    assert "dirty_stop" in run.findings


@needs("supervisord")
def test_what_the_old_instance_left_behind_is_reported(supervisor: Path) -> None:
    run = supervised(supervisor, "orphan")
    try:
        assert run.problems == []
        assert "leftover_processes" in run.findings
    finally:
        for pid in (supervisor.parent / "orphans").read_text().split():
            os.kill(int(pid), signal.SIGKILL)


@needs("supervisord")
def test_after_a_crash_the_old_instance_says_that_nothing_happened(supervisor: Path) -> None:
    run = supervised(supervisor, "crash", crash=True, mend=True)
    assert "the restart did not take effect" in run.problems[0]
    assert (run.rolled, run.restored) == ([], [])
    done = supervised(supervisor, "crash", crash=True, meanwhile=lambda: control(supervisor, "restart", "crash"))
    assert done.problems == []


@needs("supervisord")
def test_a_group_of_processes_is_one_service(supervisor: Path) -> None:
    run = supervised(supervisor, "pair", action="stop_start")
    assert [step[-2:] for step in run.plan] == [["stop", "pair:*"], ["start", "pair:*"]]
    assert run.problems == []
    assert not set(run.old["identity"].split(",")) & set(run.new["identity"].split(","))


# -- runit ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runit() -> Iterator[Path]:
    """The directory of a running runsvdir; stubborn ignores TERM, checked is never ready."""
    path = Path(tempfile.mkdtemp(prefix="oqrv"))
    texts = {"good": WELL, "stubborn": "trap '' TERM; while :; do sleep 1; done", "checked": WELL, "loop": WELL}
    for name, text in texts.items():
        run = path / name / "run"
        run.parent.mkdir()
        run.write_text(f"#!/bin/sh\n{text}\n")
        run.chmod(0o755)
    process = subprocess.Popen(["runsvdir", "-P", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: sv(path, *texts).count("run: ") == len(texts))
        yield path
    finally:
        subprocess.run(["sv", "-w", "1", "force-stop", *map(str, path.iterdir())], check=False, capture_output=True)
        end(process, signal.SIGHUP)  # ends all runsv too
        time.sleep(0.2)
        shutil.rmtree(path, ignore_errors=True)


def sv(path: Path, *names: str) -> str:
    command = ["sv", "status", *(str(path / name) for name in names)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def looked_after(path: Path, name: str, **more: Any) -> Cycle:
    keys = {key: more.pop(key) for key in ("crash", "meanwhile", "mend") if key in more}
    return cycle(
        {"service_name": name, "service_dir": str(path / name), "stop_timeout_seconds": 2, **CALM, **more}, **keys
    )


@needs("runsvdir")
def test_runit_restarts_a_good_service(runit: Path) -> None:
    run = looked_after(runit, "good")
    assert run.before["service"]["found"] == ["runit"]
    assert (run.codes, run.problems) == ([0], [])
    assert run.old["pid"] != run.new["pid"]


@needs("runsvdir")
def test_runit_kills_what_ignores_term(runit: Path) -> None:
    time.sleep(2)  # `sv` counts in seconds: it takes an instance that began just now for the one that it asked for
    run = looked_after(runit, "stubborn")
    assert run.codes in ([0], [1])  # by whether runit saw the end before its patience did; what is found decides
    assert run.problems == []


@needs("runsvdir")
def test_a_service_whose_own_check_fails_is_not_up(runit: Path) -> None:
    check = runit / "checked" / "check"

    def spoil() -> None:
        check.write_text("#!/bin/sh\nexit 1\n")
        check.chmod(0o755)

    run = looked_after(runit, "checked", start_timeout_seconds=2, meanwhile=spoil)
    assert "unhealthy" in run.problems[0]


@needs("runsvdir")
def test_a_directory_that_everybody_can_change_is_not_asked(runit: Path) -> None:
    # Looking runs the service's own check, with our rights, and before any gate was asked.
    ran, check = runit / "good" / "ran", runit / "good" / "check"
    check.write_text(f"#!/bin/sh\n: >{ran}\n")
    check.chmod(0o755)
    (runit / "good").chmod(0o777)
    try:
        run = looked_after(runit, "good")
        seen = ran.exists()
    finally:
        (runit / "good").chmod(0o755)
        check.unlink()
    assert "others than root and us can change it" in run.objections[0]
    assert not seen


@needs("runsvdir")
def test_a_crash_loop_is_seen_although_sv_says_0(runit: Path) -> None:
    run = looked_after(
        runit,
        "loop",
        settle_seconds=2,
        start_timeout_seconds=3,
        meanwhile=lambda: (runit / "loop" / "run").write_text("#!/bin/sh\nsleep 0.5; exit 2\n"),
        mend=True,
    )
    assert run.problems
    assert set(run.findings) & {"crash_loop", "service_down"}
    assert run.restored


@needs("runsvdir")
def test_runit_reload_keeps_the_instance_and_tells_that_nothing_proves_it(runit: Path) -> None:
    (runit / "good" / "run").write_text("#!/bin/sh\ntrap '' HUP\nwhile :; do sleep 1; done\n")
    assert looked_after(runit, "good").problems == []
    run = looked_after(runit, "good", action="reload")
    assert run.plan[0][3:] == ["hup", str(runit / "good")]
    assert run.problems == []
    assert "reload_unproven" in run.findings


@needs("runsvdir")
def test_a_service_that_somebody_took_down_is_refused_and_started_when_asked(runit: Path) -> None:
    subprocess.run(["sv", "down", str(runit / "good")], check=True, capture_output=True)
    until(lambda: sv(runit, "good").startswith("down: "))
    assert "is stopped" in looked_after(runit, "good").objections[0]
    assert looked_after(runit, "good", when_inactive="start").problems == []


# -- s6 ---------------------------------------------------------------------------------------------------


@needs("s6-svscan")
def test_s6_restarts_stops_and_starts(place: Path) -> None:
    services = place / "s6"
    run = services / "good" / "run"
    run.parent.mkdir(parents=True)
    run.write_text(f"#!/bin/sh\n{WELL}\n")
    run.chmod(0o755)
    process = subprocess.Popen(["s6-svscan", str(services)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parameters = {"service_name": "good", "service_dir": str(run.parent), **CALM}
    try:
        until(lambda: cycle({**parameters, "when_inactive": "skip"}, crash=True).before["service"]["unit"])
        restarted = cycle(parameters)
        assert restarted.before["service"]["found"] == ["s6"]
        assert (restarted.codes, restarted.problems) == ([0], [])
        both = cycle({**parameters, "action": "stop_start"})
        assert (both.codes, both.problems) == ([0, 0], [])
        subprocess.run(["s6-svc", "-wd", "-d", str(run.parent)], check=True)
        assert "is stopped" in cycle(parameters).objections[0]
        assert cycle({**parameters, "when_inactive": "start"}).problems == []
    finally:
        end(process)


# -- docker -----------------------------------------------------------------------------------------------


def image(place: Path) -> None:
    """A root file system with a shell and sleep, and the libraries that they need."""
    for program in ("/bin/sh", "/bin/sleep"):
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for file in [program, *(word for word in linked.split() if word.startswith("/"))]:
            copy = place / file.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
    subprocess.run(["tar", "-C", str(place), "-cf", str(place.with_suffix(".tar")), "."], check=True)


def docker(*words: str) -> bool:
    return subprocess.run(["docker", *words], capture_output=True, check=False).returncode == 0


@pytest.fixture
def containers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A docker daemon of its own, which the CLI finds through a context in a home of its own."""
    place = Path(tempfile.mkdtemp(prefix="oqdk"))
    monkeypatch.setenv("HOME", str(place))
    own = [
        "--data-root",
        f"{place}/data",
        "--exec-root",
        f"{place}/exec",
        "-p",
        f"{place}/pid",
        "-H",
        f"unix://{place}/s",
    ]
    alone = ["--iptables=false", "--bridge=none", "--storage-driver=overlay2"]
    image(place / "image")
    process = subprocess.Popen(["dockerd", *own, *alone], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert docker("context", "create", "oq", "--docker", f"host=unix://{place}/s")
        assert docker("context", "use", "oq")
        until(lambda: docker("info", "--format", "{{.ID}}") and docker("ps"), 30)
        assert docker("import", f"{place}/image.tar", "oq:1")
        yield
    finally:
        docker("rm", "-f", "oqgood", "oqcrash", "oqsick")
        end(process)
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a docker daemon")
@needs("dockerd", "docker", "ldd")
@pytest.mark.usefixtures("containers")
def test_docker_says_0_for_what_crashes_and_for_what_is_sick() -> None:
    run = ["run", "-d", "--network", "none"]
    sick = ["--health-cmd", "/nothing", "--health-interval", "1s", "--health-retries", "1"]
    loop = ["--restart", "on-failure:2"]
    assert docker(*run, "--name", "oqgood", "oq:1", "/bin/sleep", "300")
    assert docker(*run, "--name", "oqcrash", *loop, "oq:1", "/bin/sh", "-c", "echo boom; sleep 2; exit 4")
    assert docker(*run, "--name", "oqsick", *sick, "oq:1", "/bin/sleep", "300")
    wanted = {"manager": "docker", "stop_timeout_seconds": 1, **CALM}
    good = cycle({"service_name": "oqgood", **wanted})
    assert (good.codes, good.problems) == ([0], [])
    assert good.metrics["downtime_seconds"] > 0
    crash = cycle({"service_name": "oqcrash", "settle_seconds": 5, **wanted})
    assert crash.codes == [0]
    assert "crash_loop" in crash.findings
    assert "boom" in crash.after["settled"]["log"]
    unwell = cycle({"service_name": "oqsick", "start_timeout_seconds": 3, **wanted})
    assert unwell.codes == [0]
    assert "unhealthy" in unwell.problems[0]
    assert "no such service" in cycle({"service_name": "oqnobody", **wanted}).objections[0]


# -- in a name space of its own: init scripts, systemd ----------------------------------------------------

PROJECT = Path(__file__).resolve().parents[2]
DRIVER = [sys.executable, str(Path(__file__).with_name("service_cycle.py"))]
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount name space")


class Inside:
    """The driver in another name space: one JSON line for each run."""

    def __init__(self, *argv: str) -> None:
        self.process = subprocess.Popen(
            [*argv, "env", "-C", str(PROJECT), f"PYTHONPATH={PROJECT}", *DRIVER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, name: str, *, crash: bool = False, mend: bool = False, meanwhile: str = "", **more: Any) -> Cycle:
        wanted = {"params": {"service_name": name, **more}, "crash": crash, "mend": mend}
        line = json.dumps(wanted | ({"meanwhile": ["sh", "-c", meanwhile]} if meanwhile else {}))
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return Cycle(**json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


INIT_SCRIPT = """#!/bin/sh
PIDFILE={place}/web.pid
case $1 in
  start) [ -e {place}/broken ] && exit 1
    start-stop-daemon --start --quiet --background --make-pidfile --pidfile $PIDFILE --exec /bin/sleep -- 300 ;;
  stop) start-stop-daemon --stop --quiet --oknodo --retry 2 --remove-pidfile --pidfile $PIDFILE ;;
  restart) $0 stop; $0 start ;;
  status) [ -s $PIDFILE ] || exit 3; kill -0 $(cat $PIDFILE) 2>/dev/null ;;
esac
"""


@ROOT_ONLY
@needs("unshare", "service", "start-stop-daemon")
@pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="booted with systemd, which takes init scripts over")
def test_an_init_script(place: Path) -> None:
    scripts = place / "init.d"
    scripts.mkdir()
    (scripts / "oqweb").write_text(INIT_SCRIPT.format(place=place))
    (scripts / "oqweb").chmod(0o755)
    inside = Inside("unshare", "--mount", "sh", "-c", f'mount --bind {scripts} /etc/init.d && exec "$@"', "sh")
    pid_file = {"pid_file": str(place / "web.pid"), "manager": "sysv"}
    try:
        assert "is stopped" in inside.run("oqweb").objections[0]
        assert inside.run("oqweb", when_inactive="start", **pid_file).problems == []
        again = inside.run("oqweb", pid_file=pid_file["pid_file"])
        assert again.before["service"]["found"] == ["sysv"]
        assert again.plan == [["service", "oqweb", "restart"]]
        assert (again.codes, again.problems) == ([0], [])
        assert again.old["pid"] != again.new["pid"]
        broken = inside.run("oqweb", meanwhile=f"touch {place}/broken", mend=True, **pid_file)
        assert "is not up" in broken.problems[0]
        assert broken.rolled == [["service", "oqweb", "start"]]
        assert broken.restored
        subprocess.run(["rm", str(place / "broken")], check=True)
        assert inside.run("oqweb", when_inactive="start", **pid_file).problems == []
    finally:
        inside.end()
        pid = int((place / "web.pid").read_text())
        os.kill(pid, signal.SIGKILL)


UNITS = {
    "oq-good": "ExecReload=/bin/true\n",
    "oq-late": "",
    "oq-loop": "Restart=always\nRestartSec=100ms\n",
    "oq-missing": "",
    "oq-stubborn": "TimeoutStopSec=1\n",
    "oq-stopped": "",
    "oq-base": "",
    "opsqueue-worker": "",
}
BOOT = """
set -e
mount -t tmpfs -o size=256m none {base}; mkdir {base}/u {base}/w {base}/root
mount -t overlay overlay -o lowerdir=/,upperdir={base}/u,workdir={base}/w {base}/root
echo oqhost >{base}/root/etc/hostname; : >{base}/root/etc/machine-id
mkdir -p {base}/root/opt/oq; cp -a {files}/bin/. {base}/root/opt/oq/
cp -a {files}/units/. {base}/root/etc/systemd/system/
[ -e {base}/root{project}/pyproject.toml ] || exit 9
exec systemd-nspawn --quiet --register=no --keep-unit --bind-ro={project} -D {base}/root --machine=oqhost \\
  --boot -- systemd.unit=oq.target
"""


def unit_files(files: Path) -> None:
    units, programs = files / "units", files / "bin"
    units.mkdir(parents=True)
    programs.mkdir()
    wanted = " ".join(f"{name}.service" for name in (*UNITS, "oq-needs-base") if name != "oq-stopped")
    (units / "oq.target").write_text(f"[Unit]\nRequires=basic.target\nAfter=basic.target\nWants={wanted}\n")
    for name, extra in UNITS.items():
        (programs / name).write_text(f"#!/bin/sh\n{WELL}\n")
        (programs / name).chmod(0o755)
        limit = "[Unit]\nStartLimitIntervalSec=60\nStartLimitBurst=4\n"
        (units / f"{name}.service").write_text(f"{limit}[Service]\nExecStart=/opt/oq/{name}\n{extra}")
    (programs / "oq-stubborn").write_text("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n")
    (units / "oq-needs-base.service").write_text(
        # Each restart of the other starts it too: five in ten seconds would be too many for systemd.
        "[Unit]\nRequires=oq-base.service\nAfter=oq-base.service\nStartLimitIntervalSec=0\n"
        "[Service]\nExecStart=/bin/sleep 300\n"
    )
    (units / "oq-masked.service").symlink_to("/dev/null")


def leader(process: subprocess.Popen[bytes]) -> str:
    """The pid, seen from here, of the first process inside."""
    assert process.poll() is None, "systemd-nspawn ended; the project has to lie on the root file system"
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().strip()


def booted(process: subprocess.Popen[bytes]) -> str:
    """The leader once its target is reached; asked anew each time, for at first it is one that mounts and copies."""
    first = leader(process)
    ready = ["nsenter", "-t", first or "0", "-a", "systemctl", "is-active", "--quiet", "oq.target"]
    return first if first and subprocess.run(ready, capture_output=True, check=False).returncode == 0 else ""


@pytest.fixture(scope="module")
def systemd() -> Iterator[Inside]:
    """A machine of its own with systemd as its first process, over the files of this one."""
    base = Path(tempfile.mkdtemp(prefix="oqns"))
    files = Path(tempfile.mkdtemp(prefix="oqnf"))
    unit_files(files)
    text = BOOT.format(base=base, files=files, project=PROJECT)
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", text], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    inside = None
    try:
        inside = Inside("nsenter", "-t", until(lambda: booted(process), 60), "-a")
        yield inside
    finally:
        if inside:
            inside.end()
        machine_ended(process)
        shutil.rmtree(base, ignore_errors=True)
        shutil.rmtree(files, ignore_errors=True)


needs_systemd = [ROOT_ONLY, needs("systemd-nspawn", "nsenter", "unshare")]


def marked(test: Callable[..., None]) -> Callable[..., None]:
    for mark in needs_systemd:
        test = mark(test)
    return test


@marked
def test_systemd_restarts_a_good_unit(systemd: Inside) -> None:
    run = systemd.run("oq-good")
    assert run.plan == [["systemctl", "restart", "--", "oq-good.service"]]
    assert (run.codes, run.problems) == ([0], [])
    assert run.old["identity"] != run.new["identity"]
    assert 0 <= run.metrics["downtime_seconds"] < 5
    assert "reload_possible" in run.findings


@marked
def test_systemd_says_0_for_a_unit_that_dies_a_second_later(systemd: Inside) -> None:
    spoil = "printf '#!/bin/sh\\necho boom; sleep 1.2; exit 7\\n' >/opt/oq/oq-late"
    run = systemd.run("oq-late", settle_seconds=2, meanwhile=spoil, mend=True)
    assert run.codes == [0]
    assert "exit status 7" in run.problems[0]
    assert "boom" in run.after["settled"]["log"]
    assert [step[1] for step in run.rolled] == ["reset-failed", "start"]
    assert run.restored


@marked
def test_systemd_says_0_for_a_program_that_is_not_there(systemd: Inside) -> None:
    run = systemd.run("oq-missing", meanwhile="mv /opt/oq/oq-missing /opt/oq/away")
    assert run.codes == [0]
    assert "exit status 203" in run.problems[0]
    again = systemd.run("oq-missing", meanwhile="mv /opt/oq/away /opt/oq/oq-missing")
    assert [step[1] for step in again.plan] == ["reset-failed", "start"]
    assert again.problems == []


@marked
def test_a_crash_loop_of_systemd_and_its_start_limit(systemd: Inside) -> None:
    spoil = "printf '#!/bin/sh\\nsleep 0.4; exit 5\\n' >/opt/oq/oq-loop"
    run = systemd.run("oq-loop", settle_seconds=4, meanwhile=spoil)
    assert run.problems
    assert "crash_loop" in run.findings
    mended = systemd.run("oq-loop", meanwhile=f"printf '#!/bin/sh\\n{WELL}\\n' >/opt/oq/oq-loop")
    assert mended.plan[0][1] == "reset-failed"
    assert mended.problems == []


@marked
def test_systemd_reloads_and_proves_it(systemd: Inside) -> None:
    run = systemd.run("oq-good", action="reload_or_restart")
    assert run.plan == [["systemctl", "reload", "--", "oq-good.service"]]
    assert run.problems == []
    assert run.old["identity"] == run.new["identity"]
    assert "did not take effect" in systemd.run("oq-good", action="reload", crash=True).problems[0]
    assert "cannot reload" in systemd.run("oq-base", action="reload").objections[0]


@marked
def test_systemd_after_a_crash(systemd: Inside) -> None:
    run = systemd.run("oq-good", crash=True, mend=True)
    assert "the restart did not take effect" in run.problems[0]
    assert (run.rolled, run.restored) == ([], [])
    # stop_start that was cut between its two steps
    half = systemd.run("oq-good", crash=True, mend=True, action="stop_start", meanwhile="systemctl stop oq-good")
    assert "is not up" in half.problems[0]
    assert half.restored == []


@marked
def test_systemd_unknown_masked_and_stopped(systemd: Inside) -> None:
    assert "no such service" in systemd.run("oq-nobody").objections[0]
    assert "masked" in " ".join(systemd.run("oq-masked").objections)
    assert "is stopped" in systemd.run("oq-stopped").objections[0]
    assert systemd.run("oq-stopped", when_inactive="skip").plan == []
    started = systemd.run("oq-stopped", when_inactive="start")
    assert (started.plan[0][1], started.problems) == ("start", [])


@marked
def test_systemd_kills_what_ignores_term(systemd: Inside) -> None:
    run = systemd.run("oq-stubborn")
    assert run.problems == []
    assert "dirty_stop" in run.findings


@marked
def test_what_is_restarted_along_is_listed_and_what_stays_down_is_a_problem(systemd: Inside) -> None:
    run = systemd.run("oq-base")
    assert run.problems == []
    assert "dependants_restarted" in run.findings
    cut = systemd.run("oq-base", action="stop_start", mend=True)
    assert "oq-needs-base.service ran before" in cut.problems[0]
    assert cut.rolled == [["systemctl", "start", "--", "oq-needs-base.service"]]
    assert cut.restored == []


@marked
def test_a_protected_unit_is_refused_and_otherwise_restarted_on_its_own(systemd: Inside) -> None:
    assert "is protected" in systemd.run("opsqueue-worker").objections[0]
    run = systemd.run("opsqueue-worker", allow_protected=True)
    assert run.plan[0][0] == "systemd-run"
    assert run.problems == []


@marked
def test_systemd_says_in_which_order_several_go_and_how_often_one_was_started(systemd: Inside) -> None:
    both = ["oq-needs-base", "oq-base"]
    turned = systemd.run("oq-needs-base", services=both, crash=True)
    assert [argv[-1] for argv in turned.plan if argv[0] == "systemctl"] == [f"{name}.service" for name in both]
    assert "order_differs" in turned.findings
    run = systemd.run("oq-needs-base", services=both, order="manager", restart_log=True)
    assert [argv[-1] for argv in run.plan if argv[0] == "systemctl"] == ["oq-base.service", "oq-needs-base.service"]
    assert (run.problems, set(run.codes)) == ([], {0})
    assert "dependants_restarted" in run.findings
    # Its journal counts as well, with nothing in the log of ours.
    refused = systemd.run("oq-base", storm_limit=1)
    assert "and the limit is 1; it may be again at" in refused.objections[0]
    assert refused.before["starts"]["systemd"]
    alone = systemd.run("oq-base", services=["oq-base", "opsqueue-worker"], allow_protected=True)
    assert "ask for it alone" in alone.objections[0]
