"""Tuning asked for with the real command: in a network name space of its own, with a killed worker, and over SSH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from fleet import Fleet
from place import SIX, Place, stages, until
from sshkit import Farm, needs_sshd

from opsqueue.embedded.redis import running

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("tuning")]

ASKED = ("--name", "tune", "--type", "performance_tuning", "--systems", "web-server-1", "--priority", "normal")
KEY = "net.core.somaxconn"
needs_room = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter"))), reason="needs root, unshare and nsenter"
)


def dirs(directory: Path) -> dict[str, str]:
    """Every file of a tuning below a directory of the test."""
    return {
        f"{name}_dir": f"{directory}/{name}" for name in ("sysctl", "limits", "systemd", "udev", "tmpfiles", "state")
    }


class Room(Place):
    """A place whose programs run in a network name space of their own."""

    def __init__(self, **settings) -> None:
        up = "ip link set lo up 2>/dev/null; echo well; exec sleep 600"
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", up], stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "well\n"
        super().__init__(prefix=("nsenter", f"--net=/proc/{self.holder.pid}/ns/net"), **settings)
        given = {"performance_tuning": {**dirs(self.directory / "tuned"), "sample_seconds": 0, "allow_load": True}}
        self.settings["hosts"]["web-server-1"]["parameters"] = given
        self.config.write_text(json.dumps(self.settings))

    def value(self) -> str:
        return self.sh(f"cat /proc/sys/{KEY.replace('.', '/')}").out.strip()

    def tune(self, word: str = "execute", *more: str, **parameters):
        return self.ops(word, *ASKED, "--parameters", json.dumps(parameters), "--output", "json", *more)

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.directory.glob("tuned/s*ctl/*"))

    def end(self) -> None:
        super().end()
        self.holder.kill()
        self.holder.wait(30)
        self.holder.stdout.close()


@pytest.fixture
def room():
    made = []

    def make(**settings) -> Room:
        made.append(Room(**settings))
        return made[-1]

    yield make
    for one in made:
        one.end()


@needs_room
def test_what_is_kept_and_what_is_led_back(room):
    """The plan is what is sent; worse is led back; an improvement is kept, then led back on request."""
    place = room()
    system = place.start("opsqueue", "up", "--no-flower")
    until(lambda: running(place.state / "redis"), 60, lambda: f"the system: {place.said(system)}")
    old = place.value()
    other = str(int(old) * 2)
    itself = {"tool": "command", "name": "itself", "command": ["cat", f"/proc/sys/{KEY.replace('.', '/')}"]}
    worse = {"task": "apply", "sysctl": {KEY: int(other)}, "benchmarks": [{**itself, "better": "lower"}]}
    plan = place.tune("plan", **worse).json
    assert (place.value(), place.kept()) == (old, [])
    done = place.tune("execute", "--wait", "--retry-count", "0", **worse)
    assert (done.json["status"], stages(done.json)) == ("rolled_back", SIX), done.json
    (target,) = done.json["targets"]
    planned = [step["command"] for step in plan["targets"][0]["steps"]]
    assert [step["command"] for step in target["steps"]][: len(planned)] == planned
    assert "it made it worse: itself" in " ".join(target["problems"])
    assert (place.value(), place.kept()) == (old, [])
    good = place.tune(
        "execute", "--wait", **{**worse, "benchmarks": [itself], "accept_if": "improved", "sample_seconds": 1}
    )
    assert good.json["status"] == "succeeded", good.json["targets"]
    assert (place.value(), place.kept()) == (other, ["60-opsqueue-custom.conf"])
    metrics = good.json["metrics"]["web-server-1"]
    assert metrics["benchmark:itself:after"]["value"] == int(other)
    assert "pressure_cpu_some:before" in metrics
    broken = {"task": "benchmark", "benchmarks": [{"tool": "command", "command": ["false"]}]}
    failed = place.tune("execute", "--wait", "--retry-count", "0", **broken)
    assert failed.json["status"] == "failed", failed.json["targets"]  # nothing was set, and nothing led back
    back = place.tune("execute", "--wait", task="rollback")
    assert back.json["status"] == "succeeded", back.json["targets"]
    assert (place.value(), place.kept()) == (old, [])


@pytest.mark.long
@needs_room
@pytest.mark.skipif(not all(map(shutil.which, ("sysbench", "fio"))), reason="not installed: sysbench or fio")
def test_sysbench_and_fio_measure_before_and_after(room):
    """What the change has nothing to do with is no better and no worse; `show` has both numbers of each tool."""
    place = room()
    system = place.start("opsqueue", "up", "--no-flower")
    until(lambda: running(place.state / "redis"), 60, lambda: f"the system: {place.said(system)}")
    other = str(int(place.value()) * 2)
    tools = [{"tool": "sysbench_cpu", "events": 200}, {"tool": "fio_randread", "size_mb": 1}]
    asked = {"task": "apply", "sysctl": {KEY: other}, "benchmarks": tools, "benchmark_seconds": 1}
    for _ in range(4):  # where others are at work beside it, each measuring may meet them
        done = place.tune("execute", "--wait", "--retry-count", "0", **asked)
        if done.json["status"] == "succeeded":
            break
    assert done.json["status"] == "succeeded", done.json["targets"]
    assert place.value() == other
    metrics = place.ops("show", done.json["operation_id"], "--output", "json").json["metrics"]["web-server-1"]
    for tool in ("sysbench_cpu", "fio_randread"):
        assert all(metrics[f"benchmark:{tool}:{when}"]["value"] > 0 for when in ("before", "after")), metrics


@needs_room
def test_a_worker_that_is_killed_while_it_measures(room):
    """Every process of the system gets SIGKILL; a new worker waits for what still runs, and leads back."""
    place = room(worker={"lease_seconds": 3})
    old = place.value()
    slow = {"tool": "command", "name": "slow", "command": ["sh", "-c", "sleep 0.3; echo 1"]}
    asked = {"task": "apply", "sysctl": {KEY: str(int(old) * 2)}, "benchmarks": [slow], "benchmark_seconds": 1}
    place.start("opsqueue", "up", "--no-flower")
    begun = place.tune("execute", "--no-wait", "--retry-count", "0", **asked)
    assert begun.code == 0, begun.err
    operation_id = begun.json["operation_id"]
    until(lambda: list(place.directory.glob("tuned/state/custom/report.new")), 60, "the measuring")
    for process in place.system():
        process.kill()
    place.start("opsqueue", "up", "--no-flower")
    ended = until(lambda: place.ended(operation_id), 120, "the end of it")
    assert ended["status"] == "rolled_back", ended["targets"]
    assert "not confirmed" in " ".join(ended["targets"][0]["problems"]), ended["targets"]
    assert (place.value(), place.kept()) == (old, [])


@needs_sshd
@pytest.mark.long
def test_two_hosts_over_ssh():
    """Looked at, and given limits, over SSH."""
    with Farm(hosts=2) as farm:
        fleet = Fleet(farm)
        try:
            for name in ("h1", "h2"):
                given = {"performance_tuning": {**dirs(fleet.directory / name), "sample_seconds": 0, "sudo": False}}
                fleet.settings["hosts"][name]["parameters"] = given
            fleet.config.write_text(json.dumps(fleet.settings))
            looked, data = fleet.execute("performance_tuning", "--parameters", '{"sample_seconds": 1}')
            assert (looked.code, data["status"]) == (0, "unchanged")
            assert len(data["metrics"]) == 2
            for numbers in data["metrics"].values():
                assert 0 <= numbers["cpu_busy"]["value"] <= 100
            limits = {"task": "apply", "limits": [{"domain": "www", "item": "nofile", "value": "4096"}]}
            done, data = fleet.execute("performance_tuning", "--parameters", json.dumps(limits))
            assert (done.code, data["status"]) == (0, "succeeded"), data["targets"]
            for name in ("h1", "h2"):
                file = fleet.directory / name / "limits" / "60-opsqueue-custom.conf"
                assert file.read_text().endswith("www - nofile 4096\n")
        finally:
            fleet.end()
