"""Stories of tuning, each run as a program inside a network name space (or a machine) of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tunekit import begun, cycle, look, send

from opsqueue.connectors.local import LocalShell

BACKLOG, FIN, CONTROL = "net.core.somaxconn", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_congestion_control"
LIMITS = [{"domain": "www", "item": "nofile", "value": "9999"}]
WORSE = [{"tool": "command", "command": ["cat", "/proc/sys/net/core/somaxconn"], "better": "lower"}]
"""A program whose answer is the setting itself, and which is better when that is lower."""


def value(key: str) -> str:
    return " ".join(Path("/proc/sys", *key.split(".")).read_text().split())


def put(key: str, wanted: str) -> None:
    Path("/proc/sys", *key.split(".")).write_text(wanted)


def everything(place: Path) -> dict[str, Any]:
    """All that a tuning could change here: the values of the name space, and every file."""
    keys = {str(one): one.read_bytes() for one in Path("/proc/sys/net/core").iterdir() if os.access(one, os.R_OK)}
    keys |= {key: value(key).encode() for key in (BACKLOG, FIN, CONTROL)}
    found = [one for one in place.rglob("*") if one.is_file()]
    files = {str(one): (one.read_bytes(), one.stat().st_mode, one.stat().st_mtime_ns) for one in found}
    return {**keys, **files}


def until(true: Any, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def kept(place: Path) -> None:
    """Looking changes nothing; the work is done once; twice is nothing; rollback leads back, files too."""
    wanted = {BACKLOG: "2048", FIN: "31"}
    old = everything(place)
    begun(str(place), task="apply", sysctl=wanted)
    assert everything(place) == old
    found = cycle(str(place), task="apply", sysctl=wanted, limits=LIMITS)
    assert (found.objections, found.problems, value(BACKLOG), value(FIN)) == ([], [], "2048", "31")
    file = place / "sysctl" / "60-opsqueue-custom.conf"
    assert file.read_text().splitlines()[1:] == [f"{BACKLOG} = 2048", f"{FIN} = 31"]
    assert (place / "limits" / "60-opsqueue-custom.conf").read_text().splitlines()[1:] == ["www - nofile 9999"]
    assert found.findings == ["tuned", "limits_later"]
    then = file.stat()
    again = cycle(str(place), task="apply", sysctl=wanted, limits=LIMITS)
    assert (again.objections, again.titles) == ([], [])
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (then.st_mtime_ns, then.st_ino)
    less, _ = begun(str(place), task="apply", sysctl={BACKLOG: "2048"})
    assert ["holds what is not asked for now" in text for text in less.objections] == [True]
    broken = cycle(str(place), task="benchmark", benchmarks=[{"tool": "command", "command": ["false"]}])
    assert ("failed" in broken.problems[0], broken.rolled) == (True, False)
    back = cycle(str(place), task="rollback")
    assert (back.objections, back.problems) == ([], [])
    now = {name: one for name, one in everything(place).items() if "/state/" not in name}
    assert now == {name: one for name, one in old.items() if "/state/" not in name}


def refused(place: Path) -> None:
    """The kernel refuses the second value: the first goes back, and the file keeps its bytes."""
    file = place / "sysctl" / "60-opsqueue-custom.conf"
    file.parent.mkdir(parents=True)
    file.write_bytes(f"# by hand\n{BACKLOG} = 3000".encode())
    file.chmod(0o600)
    old = everything(place)
    found = cycle(str(place), task="apply", sysctl={BACKLOG: "2048", CONTROL: "nosuch"}, allow_unsafe=True)
    assert found.objections == []
    assert "does not take nosuch" in found.problems[0]
    assert (found.rolled, found.restored) == (True, [])
    assert {name: one for name, one in everything(place).items() if "/state/" not in name} == old


def worse(place: Path) -> None:
    """Measured, found to be worse, and led back; found to be better by another benchmark, and kept."""
    old = everything(place)
    found = cycle(str(place), task="apply", sysctl={BACKLOG: "8192"}, benchmarks=WORSE)
    assert "it made it worse" in found.problems[-1]
    assert (found.rolled, found.restored) == (True, [])
    assert {name: one for name, one in everything(place).items() if "/state/" not in name} == old
    same = [{"tool": "command", "command": ["echo", "7"]}]
    useless = cycle(str(place), task="apply", sysctl={BACKLOG: "8192"}, benchmarks=same, accept_if="improved")
    assert "it is no improvement" in useless.problems[-1]
    assert value(BACKLOG) == old[BACKLOG].decode()
    better = [{**WORSE[0], "better": "higher"}]
    good = cycle(str(place), task="apply", sysctl={BACKLOG: "8192"}, benchmarks=better, accept_if="improved")
    assert (good.problems, "benchmark_improved" in good.findings, value(BACKLOG)) == ([], True, "8192")
    broken = [{"tool": "command", "command": ["false"]}]
    failed = cycle(str(place), task="apply", sysctl={BACKLOG: "4000"}, benchmarks=broken)
    assert "failed" in failed.problems[0]
    assert (value(BACKLOG), failed.restored) == ("8192", [])


def guarded(place: Path) -> None:
    """Nobody comes back to confirm: the host leads itself back, and what is then found says so."""
    old = everything(place)
    found, params = begun(str(place), task="apply", sysctl={BACKLOG: "2048"}, confirm_within_seconds=2)
    assert send(found.plan, 3) == []
    assert value(BACKLOG) == "2048"
    until((place / "state" / "custom" / "fired").exists, "the guard")
    until(lambda: value(BACKLOG) == old[BACKLOG].decode() and not list(place.glob("sysctl/*")), "the old state")
    late = send(found.plan.__class__(steps=found.plan.steps[3:]))
    assert late != [], "what the guard took is not confirmed"
    look(params, found)
    assert "led everything back by itself" in found.problems[0]
    assert (found.rolled, found.restored) == (True, [])
    assert {name: one for name, one in everything(place).items() if "/state/" not in name} == old


def cut(place: Path) -> None:
    """Cut between any two steps, and in the middle of one: afterwards the old state or the new one."""
    old = everything(place)
    for most in range(5):
        found, params = begun(str(place), task="apply", sysctl={BACKLOG: "2048", FIN: "31"})
        assert len(found.plan.steps) == 4
        send(found.plan, most)
        look(params, found)
        assert found.restored == [], (most, found.restored)
        done = value(BACKLOG) == "2048"
        assert done == (most == 4) == (found.problems == []), (most, found.problems)
        now = {name: one for name, one in everything(place).items() if "/state/" not in name}
        assert done or now == old, most
    cycle(str(place), task="rollback")
    slow = [{"tool": "command", "command": ["sh", "-c", "sleep 0.3; echo 1"]}]
    found, params = begun(str(place), task="apply", sysctl={BACKLOG: "2048"}, benchmarks=slow)
    send(found.plan, 2)
    argv = found.plan.steps[2].command.argv
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        until((place / "state" / "custom" / "report.new").exists, "the first measurement")
        os.killpg(process.pid, signal.SIGKILL)
    look(params, found)
    assert "the change was begun and not confirmed" in found.problems
    assert (found.restored, value(BACKLOG)) == ([], old[BACKLOG].decode())


def killed(place: Path) -> None:
    """SIGKILL for a command in its middle, whichever: the old state or the new one, and no half of a file."""
    old, chance = everything(place), random.Random(8)
    for number in range(8):
        found, params = begun(str(place), task="apply", sysctl={BACKLOG: "2048", FIN: "31"}, limits=LIMITS)
        steps = found.plan.steps
        assert len(steps) == 4
        send(found.plan, number % 4)
        with subprocess.Popen(steps[number % 4].command.argv, start_new_session=True) as process:
            time.sleep(chance.uniform(0.0, 0.02))
            os.killpg(process.pid, signal.SIGKILL)
        look(params, found)
        assert found.restored == [], (number, found.restored)
        done = found.problems == []
        assert (value(BACKLOG), value(FIN)) == (("2048", "31") if done else (old[BACKLOG].decode(), old[FIN].decode()))
        files = {one.name for one in place.rglob("*") if one.is_file() and "/state/" not in str(one)}
        assert files == ({"60-opsqueue-custom.conf"} if done else set()), (number, files)
        assert not list(place.glob("state/custom/armed-*")), number
        if done:
            assert cycle(str(place), task="rollback").problems == []


def scratched(place: Path) -> None:
    """Where everybody may write, nobody leads fio to another file, and a kill leaves nothing of it."""
    room, victim = place / "open", place / "victim"
    room.mkdir(parents=True)
    room.chmod(0o1777)
    victim.write_bytes(b"of somebody else" * (1 << 17))  # large enough for fio: a smaller file it makes anew
    whole = victim.read_bytes()
    theirs = [room / ".opsqueue-custom.fio", room / ".opsqueue-0", room / ".opsqueue-deadbeef"]
    theirs[0].symlink_to(victim)
    os.link(victim, theirs[1])
    theirs[2].mkdir()
    given = {"task": "benchmark", "benchmark_dir": str(room), "benchmark_seconds": 1}
    (place / "state" / "custom").mkdir(parents=True, mode=0o700)
    note = place / "state" / "custom" / "scratch"
    note.write_text(f"{place}/victim\n")  # whatever stands there, only what we made is removed
    names = set()
    for _ in range(2):
        found, params = begun(str(place), benchmarks=[{"tool": "fio_randwrite", "size_mb": 1}], **given)
        assert found.objections == []
        (step,) = found.plan.steps
        with subprocess.Popen(step.command.argv, start_new_session=True) as process:
            until(lambda: list(room.glob(".opsqueue-*/opsqueue.data")), "fio's file")
            (data,) = room.glob(".opsqueue-*/opsqueue.data")
            held, kind = data.parent.stat(), stat.S_IFMT(data.lstat().st_mode)
            os.killpg(process.pid, signal.SIGKILL)
        assert (held.st_uid, stat.S_IMODE(held.st_mode), kind) == (os.geteuid(), 0o700, stat.S_IFREG)
        assert note.read_text() == f"{data.parent}\n"
        names.add(data.parent.name)
        look(params, found)
        assert (found.rolled, found.restored) == (True, [])
        assert sorted(room.iterdir()) == sorted(theirs)
        assert not note.exists()
    assert len(names) == 2
    assert victim.read_bytes() == whole
    assert theirs[2].exists()
    # What lies in the way of the way back belongs to somebody else, before or only after the look: nothing is set,
    # nothing is measured.
    mine, before = place / "state" / "custom", value(BACKLOG)
    for more in (given, {"task": "apply", "sysctl": {BACKLOG: "2048"}}):
        wanted = {**more, "benchmarks": [{"tool": "fio_randwrite", "size_mb": 1}]}
        planned, _ = begun(str(place), **wanted)
        os.chown(mine, 12345, 12345)
        assert ["is not a directory of ours" in text for text in send(planned.plan)] == [True]
        refused, _ = begun(str(place), **wanted)
        assert [f"others than root and us can change {mine}" in text for text in refused.objections] == [True]
        os.chown(mine, os.geteuid(), os.getegid())
        assert value(BACKLOG) == before
    assert sorted(room.iterdir()) == sorted(theirs)


def overridden(place: Path) -> None:
    """A later file, and another profile, would win at the next boot: told before anything is set."""
    (place / "sysctl").mkdir(parents=True)
    later = place / "sysctl" / "99-later.conf"
    later.write_text(f" {BACKLOG.replace('.', '/')}=  777\n")
    found, _ = begun(str(place), task="apply", sysctl={BACKLOG: "2048"})
    assert found.objections == [
        f"{later} sets {BACKLOG} to 777, and would win at the next boot; change it there, or allow_managed=true"
    ]
    later.write_text(f"# {BACKLOG} = 777\n")
    assert cycle(str(place), task="apply", sysctl={BACKLOG: "2048"}).problems == []
    other, _ = begun(str(place), task="apply", profile="web")
    assert "60-opsqueue-custom.conf sets net.core.somaxconn to 2048" in other.objections[0]
    missing, _ = begun(str(place), task="apply", sysctl={"net.ipv4.no_such": "1"}, allow_unsafe=True)
    assert "is not there" in missing.objections[0]


_EVENTS = {"cpu": 200, "memory": 100, "threads": 50}


def measured(place: Path) -> None:
    """sysbench and fio are really run, their numbers make sense, and fio's file goes; identical work is no change."""
    place.mkdir()
    tools = [{"tool": f"sysbench_{kind}", "events": events} for kind, events in _EVENTS.items()]
    both = [*tools, {"tool": "fio_randread", "size_mb": 1}]
    found = cycle(str(place), task="benchmark", benchmarks=both, benchmark_seconds=1)
    assert (found.objections, found.problems) == ([], []), found.problems + found.objections
    for name in ("sysbench_cpu", "sysbench_memory", "sysbench_threads", "fio_randread"):
        assert found.metrics[f"benchmark:{name}:before"] > 0, found.metrics
    assert found.metrics["benchmark_p95:fio_randread:before"] < 10_000
    assert [one.name for one in place.iterdir()] == ["state"]
    for _ in range(4):  # where others are at work beside it, each measuring may meet them
        kept = cycle(str(place), task="apply", sysctl={FIN: "33"}, benchmarks=tools[:1])
        if not kept.problems:
            break
    assert (kept.problems, value(FIN)) == ([], "33"), kept.problems
    assert not {"benchmark_improved", "benchmark_worse"} & set(kept.findings), kept.metrics


def watched(place: Path) -> None:
    """A process that takes a CPU for itself is found among those at the top; the numbers are those of the host."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as hog:
        found, _ = begun(str(place), sample_seconds=2)
        hog.kill()
    use = found.before["use"]
    assert "unknown" not in use, use
    assert hog.pid in [one["pid"] for one in use["top_cpu"]], use["top_cpu"]
    assert 0 < use["cpu"]["busy"] <= 100
    assert use["cpus"] == os.cpu_count()
    assert 2 <= use["seconds"] < 30


def units(place: Path) -> None:
    """Inside a machine with systemd: resources of a unit are set, read back, kept in a drop-in, and led back."""
    wanted = {"CPUQuota": "50%", "TasksMax": "55", "LimitNOFILE": "4321", "CPUWeight": 50}
    given = {"task": "apply", "unit_resources": {"oqt.service": wanted}}
    dirs = {"systemd_dir": "/etc/systemd/system"}
    found = cycle(str(place), **given, **dirs)
    assert (found.objections, found.problems) == ([], []), found.problems + found.objections
    file = Path("/etc/systemd/system/oqt.service.d/60-opsqueue-custom.conf")
    assert file.read_text().splitlines()[1:3] == ["[Service]", "CPUQuota=50%"]
    assert cycle(str(place), **given, **dirs).titles == []
    back = cycle(str(place), task="rollback", **dirs)
    assert (back.problems, file.parent.exists()) == ([], False)
    shown = LocalShell().run(type(found.plan.steps[0].command)(argv=("systemctl", "show", "oqt", "-p", "LimitNOFILE")))
    assert "4321" not in shown.stdout
    none, _ = begun(str(place), task="apply", unit_resources={"no-such.service": {"TasksMax": "5"}}, **dirs)
    assert "not-found" in none.objections[0]
    other = "11" if value("vm.swappiness") != "11" else "12"
    held, _ = begun(str(place), task="apply", sysctl={"vm.swappiness": other}, **dirs)
    assert "may not be set here" in held.objections[0]  # the kernel belongs to the machine around this one
    # a later drop-in wins: what systemd then shows is not what was wanted, and all is led back
    file.parent.mkdir()
    (file.parent / "90-other.conf").write_text("[Service]\nTasksMax=9\n")
    odd = cycle(str(place), task="apply", unit_resources={"oqt.service": {"TasksMax": "55"}}, **dirs)
    assert odd.problems == ["oqt.service has TasksMax 9, not 55"]
    assert (file.exists(), odd.restored) == (False, [])


def scheduler(place: Path, device: str) -> None:
    """The scheduler of a loop device of our own."""
    path = Path(f"/sys/block/{device}/queue/scheduler")
    old = path.read_text()
    offered = old.replace("[", "").replace("]", "").split()
    other = next(one for one in offered if f"[{one}]" not in old)
    found = cycle(str(place), task="apply", block={device: {"scheduler": other}})
    assert (found.objections, found.problems) == ([], []), found.problems + found.objections
    assert f"[{other}]" in path.read_text()
    (rule,) = (place / "udev").iterdir()
    assert f'KERNEL=="{device}", ATTR{{queue/scheduler}}="{other}"' in rule.read_text()
    assert (cycle(str(place), task="rollback").problems, path.read_text()) == ([], old)
    assert not (place / "udev").exists()  # it was made for the rule, and goes with it
    none, _ = begun(str(place), task="apply", block={"nosuch0": {"scheduler": "none"}})
    assert "is not there" in none.objections[0]


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
    print(json.dumps("well"))
