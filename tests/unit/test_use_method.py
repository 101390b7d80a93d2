"""The USE method over what a host prints: a planted bottleneck is named; an idle or merely busy host has none."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from opsqueue.facts.use import use
from opsqueue.model.fact import read, why_unknown
from opsqueue.model.plan import Result
from opsqueue.operations.tuning.findings import of_bottleneck
from opsqueue.operations.tuning.use_method import bottleneck, table

ONE = {
    "at": "@at 1000.00",
    "psi_cpu": "psi cpu some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000",
    "psi_memory": "psi memory some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000",
    "psi_memory_full": "psi memory full avg10=0.00 avg60=0.00 avg300=0.00 total=1000000",
    "psi_io": "psi io some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000",
    "psi_io_full": "psi io full avg10=0.00 avg60=0.00 avg300=0.00 total=1000000",
    "cpu": "cpu 1000 0 1000 8000 0 0 0 0 0 0",
    "ctxt": "ctxt 5000",
    "btime": "btime 1700000000",
    "running": "procs_running 1",
    "blocked": "procs_blocked 0",
    "fault": "vm pgmajfault 10",
    "in": "vm pswpin 0",
    "out": "vm pswpout 0",
    "oom": "vm oom_kill 0",
    "total": "MemTotal: 8000000 kB",
    "free": "MemAvailable: 6000000 kB",
    "swap": "SwapTotal: 1000000 kB",
    "swap_free": "SwapFree: 1000000 kB",
    "disk": "disk vda 100 0 800 50 100 0 800 50 0 1000 100 0 0 0 0",
    "tcp": "tcp 1 200 120000 -1 10 10 0 0 5 1000 1000 0 0 0 0",
    "overflow": "tcpext ListenOverflows 3",
    "net": "net eth0 1000 10 0 0 0 0 0 0 1000 10 0 0 0 0 0 0",
    "files": "files 1000 0 100000",
    "tracked": "tracked 10 1000",
    "ports": "ports 10 5 32768 60999",
    "throttled": "throttled 100 1 /sys/fs/cgroup/system.slice/shop.service",
    "task": "task 77 hog 100 1000",
}
IDLE = {
    "at": "@at 1010.00",
    "cpu": "cpu 1010 0 1010 9980 0 0 0 0 0 0",
    "throttled": "throttled 200 1 /sys/fs/cgroup/system.slice/shop.service",
}
BUSY = "cpu 1990 0 1010 8000 0 0 0 0 0 0"


def said(changes: Mapping[str, str]) -> str:
    two = {**ONE, **IDLE, **changes}
    return "\n".join(("cpus 2 100 4096", *ONE.values(), *(line for line in two.values() if line), "end"))


def answer(changes: Mapping[str, str]):
    return read(use(10), Result(exit_code=0, stdout=said(changes)))


def some(what: str, total: int, kind: str = "some") -> str:
    return f"psi {what} {kind} avg10=0.00 avg60=0.00 avg300=0.00 total={total}"


QUEUE = "disk vda 1000 0 80000 20000 100 0 800 50 0 10900 40100 0 0 0 0"


@pytest.mark.parametrize(
    ("changes", "name", "level"),
    [
        ({}, "", ""),
        ({"cpu": BUSY}, "", ""),  # utilisation alone is no verdict
        ({"cpu": BUSY, "psi_cpu": some("cpu", 6_000_000), "task": "task 77 hog 1090 1000"}, "cpu", "saturated"),
        ({"psi_cpu": some("cpu", 2_100_000)}, "cpu", "elevated"),
        ({"psi_memory": some("memory", 6_000_000)}, "memory", "saturated"),
        ({"psi_memory_full": some("memory", 1_600_000, "full")}, "memory", "elevated"),
        ({"in": "vm pswpin 500"}, "memory", "elevated"),
        ({"oom": "vm oom_kill 1"}, "memory", "saturated"),
        ({"free": "MemAvailable: 100 kB"}, "", ""),
        ({"disk": QUEUE, "psi_io_full": some("io", 6_000_000, "full")}, "disk:vda", "saturated"),
        ({"disk": QUEUE}, "", ""),  # a deep queue for which nobody waits
        ({"psi_io": some("io", 9_000_000)}, "", ""),
        ({"throttled": "throttled 200 51 /sys/fs/cgroup/system.slice/shop.service"}, "cpu_quota", "saturated"),
        ({"cpu": "cpu 1010 0 1010 9780 0 0 0 200 0 0"}, "steal", "elevated"),
        ({"overflow": "tcpext ListenOverflows 30"}, "network", "elevated"),
        ({"tcp": "tcp 1 200 120000 -1 10 10 0 0 5 2000 2000 50 0 0 0"}, "network", "elevated"),
        ({"files": "files 99000 0 100000"}, "files", "saturated"),
        ({"tracked": "tracked 950 1000"}, "conntrack", "saturated"),
        ({"ports": "ports 20000 8000 32768 60999"}, "ports", "saturated"),
    ],
)  # fmt: skip
def test_the_planted_bottleneck_is_named(changes, name, level):
    found = answer(changes)
    assert why_unknown(found) is None, found
    first = bottleneck(table(found))
    assert (first.name if first else "", first.level if first else "") == (name, level)
    (finding, *_) = of_bottleneck(found)
    assert finding.code == (f"bottleneck_{name.partition(':')[0]}" if name else "no_bottleneck")
    if first and name not in {"steal", "network"}:
        assert "risk" in finding.advice
    if "task" in changes:
        assert "hog" in finding.message


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"ctxt": "ctxt 1"}, ("context_switches",)),
        ({"psi_cpu": some("cpu", 5)}, ("pressure", "cpu", "some")),
        ({"cpu": "cpu 1 0 1 1 0 0 0 0 0 0"}, ("cpu", "busy")),
        ({"tracked": "tracked "}, ("tracked", "used")),
        ({"overflow": ""}, ("tcp", "overflows_s")),
    ],
)
def test_what_went_backwards_or_is_missing_is_not_known(changes, path):
    found = answer(changes)
    for word in path:
        found = found[word]
    assert found is None


def test_a_host_without_pressure_figures_says_so():
    gone = {"psi_cpu": "", "psi_memory": "", "psi_memory_full": "", "psi_io": "", "psi_io_full": ""}
    codes = [finding.code for finding in of_bottleneck(answer(gone))]
    assert codes == ["no_bottleneck", "not_measured"]


def test_a_reboot_meanwhile_is_no_answer():
    assert "started anew" in (why_unknown(answer({"btime": "btime 1700000500"})) or "")
    assert "started anew" in (why_unknown(answer({"at": "@at 3.00"})) or "")


def test_units_are_those_that_are_said():
    found = answer(
        {"disk": "disk vda 600 0 8800 1050 100 0 800 50 0 6000 1100 0 0 0 0", "psi_io": some("io", 3_000_000)}
    )
    disk = found["disks"]["vda"]
    assert disk == {"busy": 50.0, "queue": 0.1, "wait_ms": 2.0, "requests_s": 50.0, "bytes_s": 800 * 512}
    assert found["pressure"]["io"]["some"] == 20.0
