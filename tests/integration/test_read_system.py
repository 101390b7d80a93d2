"""The readings of this very machine against what /proc and df say."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opsqueue.connectors.system import read_system


def _stat() -> dict[str, int]:
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    return dict(zip(names, map(int, words), strict=True))


def test_cpu_agrees_with_proc_under_load():
    busy = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    try:
        first = _stat()
        found = read_system({"subjects": ["cpu"], "sample_gap_s": 0.5})["cpu"]
        second = _stat()
    finally:
        busy.kill()
        busy.wait()
    spent = {name: second[name] - first[name] for name in first}
    wanted = 100.0 * (sum(spent.values()) - spent["idle"] - spent["iowait"]) / sum(spent.values())
    assert found["busy"] == pytest.approx(wanted, abs=6)
    assert found["busy"] > 100 / (2 * (os.cpu_count() or 1))
    assert sum(found[name] for name in ("busy", "idle", "iowait")) == pytest.approx(100)


def test_memory_load_files_and_uptime_agree_with_proc():
    found = read_system({"subjects": ["memory", "load", "fd", "host"]})
    rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, available = (int(rows[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    assert found["memory"]["total"] == total
    assert found["memory"]["percent"] == pytest.approx(100 * (total - available) / total, abs=2)
    assert found["load"]["five"] == pytest.approx(float(Path("/proc/loadavg").read_text().split()[1]), abs=0.5)
    assert found["host"]["uptime_s"] == pytest.approx(float(Path("/proc/uptime").read_text().split()[0]), abs=5)
    assert found["host"]["hostname"] == os.uname().nodename
    assert found["fd"]["max"] == int(Path("/proc/sys/fs/file-max").read_text())


def test_disks_agree_with_df():
    (root,) = [row for row in read_system({"subjects": ["disk"]})["disk"]["mounts"] if row["mount"] == "/"]
    shown = (
        subprocess.run(["df", "-Pk", "/"], capture_output=True, text=True, check=True).stdout.splitlines()[1].split()
    )
    used, available = int(shown[2]), int(shown[3])
    assert root["percent"] == pytest.approx(100 * used / (used + available), abs=0.5)
    assert root["total"] == int(shown[1]) * 1024


def test_the_busiest_process_and_its_memory_are_found():
    text = "x = bytearray(150_000_000)\nprint(flush=True)\nwhile True: pass"
    busy = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
    try:
        assert busy.stdout.readline()
        found = read_system({"subjects": ["processes"], "sample_gap_s": 0.4, "top_processes": 100})["processes"]
    finally:
        busy.kill()
        busy.communicate()
    assert busy.pid in [row["pid"] for row in found["top_cpu"]]
    assert [row["memory_bytes"] > 140_000_000 for row in found["top_memory"] if row["pid"] == busy.pid] == [True]
    assert found["count"] > 1
    assert "x = bytearray" not in str(found)


def test_a_zombie_is_counted():
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    found = read_system({"subjects": ["processes"], "sample_gap_s": 0.0})["processes"]
    child.wait()
    assert found["zombies"] >= 1


def test_a_mount_that_hangs_does_not_hang_the_reading(monkeypatch):
    real = os.statvfs

    def statvfs(path):
        if path == "/":
            time.sleep(3)  # a dead file server cannot be had without root; the thread and the deadline are real
        return real(path)

    monkeypatch.setattr(os, "statvfs", statvfs)
    began = time.monotonic()
    found = read_system({"subjects": ["disk", "load"], "mount_timeout_s": 0.1})
    assert time.monotonic() - began < 2.5
    (root,) = [row for row in found["disk"]["mounts"] if row["mount"] == "/"]
    assert root["unknown"] == "no answer within 0.1 s"
    assert "percent" not in root
    assert found["load"]["one"] >= 0
    time.sleep(0.6)
