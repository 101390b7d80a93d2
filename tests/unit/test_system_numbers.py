from __future__ import annotations

import json

import pytest

from opsqueue.connectors import system
from opsqueue.connectors.cgroup import read_cgroup, read_cpu_spent
from opsqueue.connectors.counters import cpu_shares, disk_rates, network_rates, percent, rate
from opsqueue.connectors.mounts import MountFilter, one_for_each_device
from opsqueue.connectors.processes import Process, Table, processes_between, shown_name
from opsqueue.connectors.reading import Options, readable
from opsqueue.connectors.system import read_system
from opsqueue.facts.system import SUBJECTS, system_metrics, system_reading
from opsqueue.model.fact import read

GB = 1 << 30


def test_guest_time_is_not_counted_twice_and_waiting_is_not_busy():
    first = dict.fromkeys(("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest"), 100.0)
    second = first | {"user": 130.0, "guest": 130.0, "idle": 150.0, "iowait": 110.0, "steal": 105.0, "softirq": 105.0}
    found = cpu_shares(first, second)
    assert found == {"user": 30.0, "system": 5.0, "iowait": 10.0, "steal": 5.0, "idle": 50.0, "busy": 40.0}


@pytest.mark.parametrize(
    "second",
    [{"user": 10.0, "idle": 10.0}, {"user": 5.0, "idle": 20.0}],
    ids=["no time went by", "the host was restarted"],
)
def test_cpu_shares_that_cannot_be_told_are_none(second):
    assert set(cpu_shares({"user": 10.0, "idle": 10.0}, second).values()) == {None}


def test_no_share_is_a_last_digit_above_the_whole():
    assert cpu_shares({"user": 0.0, "idle": 0.0}, {"user": 0.0, "system": 1.38, "idle": 0.0})["busy"] == 100.0


def test_a_tick_backwards_is_noise():
    assert cpu_shares({"user": 0.0, "iowait": 5.0}, {"user": 1.0, "iowait": 4.99})["busy"] == 100.0


@pytest.mark.parametrize(
    ("first", "second", "seconds", "wanted"),
    [(100, 300, 2.0, 100.0), (300, 100, 2.0, None), (5, 5, 1.0, 0.0), (1, 2, 0.0, None)],
)
def test_rates(first, second, seconds, wanted):
    assert rate(first, second, seconds) == wanted


def test_errors_are_a_share_of_the_packets_and_a_reset_hides_only_its_own_number():
    names = ("bytes_sent", "bytes_recv", "packets_sent", "packets_recv", "errin", "errout", "dropin", "dropout")
    first = dict.fromkeys(names, 100)
    second = first | {"packets_recv": 190, "packets_sent": 110, "errin": 102, "bytes_recv": 2100, "bytes_sent": 50}
    found = network_rates(first, second, 2.0)
    assert found == {
        "receive_bytes_s": 1000.0, "send_bytes_s": None, "packets": 100, "errors_ratio": 0.02, "drops_ratio": 0.0,
    }  # fmt: skip
    assert network_rates(first, first, 2.0)["errors_ratio"] is None
    assert network_rates(first, first, 0.0)["packets"] is None


def test_a_disk_is_never_more_than_fully_used():
    names = ("read_bytes", "write_bytes", "read_count", "write_count", "busy_time")
    first = dict.fromkeys(names, 0)
    assert disk_rates(first, first | {"busy_time": 250}, 1.0)["utilisation"] == 25.0
    assert disk_rates(first, first | {"busy_time": 1100}, 1.0)["utilisation"] == 100.0
    assert disk_rates(first | {"busy_time": 9}, first, 1.0)["utilisation"] is None


def test_percent_of_nothing_is_not_known():
    assert percent(0, 0) is None
    assert percent(None, 5) is None
    assert percent(1, 4) == 25.0


@pytest.mark.parametrize(
    ("mount", "fstype", "options", "has_device", "wanted"),
    [
        ("/", "ext4", "rw", True, True),
        ("/", "overlay", "rw", False, True),
        ("/", "ext4", "ro", True, True),
        ("/var/lib/docker/overlay2/x/merged", "overlay", "rw", False, False),
        ("/other", "overlay", "rw", False, False),
        ("/data", "xfs", "rw,noatime", True, True),
        ("/cd", "iso9660", "ro", True, False),
        ("/snap/x", "squashfs", "ro", True, False),
        ("/proc", "proc", "rw", False, False),
        ("/tmp", "tmpfs", "rw", False, False),
        ("/mnt/filer", "nfs4", "rw", False, True),
        ("/run/user/0", "ext4", "rw", True, False),
    ],
)
def test_which_mounts_count(mount, fstype, options, has_device, wanted):
    assert MountFilter().counts(mount, fstype, options, has_device=has_device) is wanted


def test_what_is_included_by_name_counts_whatever_it_is():
    only = MountFilter(include=("/tmp", "/srv/*"))
    assert only.counts("/tmp", "tmpfs", "ro", has_device=False)
    assert only.counts("/srv/a", "xfs", "rw", has_device=True)
    assert not only.counts("/", "ext4", "rw", has_device=True)


def test_a_device_counts_once_at_its_shortest_mount():
    rows = [("/srv/data/bind", "/dev/a"), ("/srv", "/dev/a"), ("/", "/dev/b"), ("/x", "tmpfs"), ("/y", "tmpfs")]
    found = one_for_each_device({"mount": mount, "device": device} for mount, device in rows)
    assert [row["mount"] for row in found] == ["/", "/srv", "/x", "/y"]


def _tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_control_group_limits_of_both_versions(tmp_path):
    two = _tree(tmp_path / "2", {
        "proc/self/cgroup": "0::/a/b\n",
        "sys/fs/cgroup/a/memory.max": f"{2 * GB}\n",
        "sys/fs/cgroup/a/b/memory.max": "max\n",
        "sys/fs/cgroup/a/b/memory.current": f"{GB}\n",
        "sys/fs/cgroup/a/b/memory.stat": f"anon 5\ninactive_file {GB // 2}\n",
        "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
    })  # fmt: skip
    _tree(two, {
        "sys/fs/cgroup/a/cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        "sys/fs/cgroup/a/b/cpu.stat": "usage_usec 7\n",
    })  # fmt: skip
    assert read_cpu_spent(two) == {"/sys/fs/cgroup/a": {"used_s": 2.5, "limit": 1.5}}
    wanted = {"memory_limit": 2 * GB, "memory_used": GB // 2, "memory_percent": 25.0, "cpu_limit": 1.5}
    assert read_cgroup(8 * GB, two) == wanted
    one = _tree(tmp_path / "1", {
        "proc/self/cgroup": "4:memory:/a\n2:cpu,cpuacct:/a\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/a/memory.limit_in_bytes": f"{2 * GB}\n",
        "sys/fs/cgroup/memory/a/memory.usage_in_bytes": f"{GB}\n",
        "sys/fs/cgroup/memory/a/memory.stat": f"total_inactive_file {GB // 2}\n",
        "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "150000\n",
        "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    })  # fmt: skip
    assert read_cgroup(8 * GB, one) == wanted
    assert read_cpu_spent(one) == {}, "it does not tell what it used"
    _tree(one, {"sys/fs/cgroup/cpu/a/cpuacct.usage": "2500000000\n"})
    assert read_cpu_spent(one) == {"/sys/fs/cgroup/cpu/a": {"used_s": 2.5, "limit": 1.5}}


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", str(64 * GB)])
def test_a_limit_above_the_host_is_none(tmp_path, limit):
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": limit, "sys/fs/cgroup/memory.current": "5"}
    assert set(read_cgroup(8 * GB, _tree(tmp_path, files)).values()) == {None}


def test_pressure_is_absent_without_error_where_the_kernel_has_none(tmp_path):
    assert system._pressure(Options(), tmp_path) == {}
    line = "some avg10=1.50 avg60=0.20 avg300=0.01 total=123\n"
    root = _tree(tmp_path, {"proc/pressure/cpu": line, "proc/pressure/io": line + line.replace("some", "full")})
    found = system._pressure(Options(), root)
    row = {"avg10": 1.5, "avg60": 0.2, "avg300": 0.01}
    assert found == {"cpu": {"some": row}, "io": {"some": row, "full": row}}


def test_only_pieces_of_hardware_are_disks(tmp_path):
    for name in ("sda/device", "sda/sda1", "dm-0", "loop0"):
        (tmp_path / "sys/block" / name).mkdir(parents=True)
    found = [name for name in ("sda", "sda1", "dm-0", "loop0") if system._is_whole_disk(name, tmp_path)]
    assert found == ["sda"]


def test_a_process_id_that_was_used_again_is_another_process():
    first = Table({(1, 10.0): Process("a", None, spent_s=5.0), (2, 10.0): Process("b", None, spent_s=100.0)}, 2)
    rows = {
        (1, 10.0): Process("a", None, "root", 6.0, 3),
        (2, 99.0): Process("c", None, "root", 200.0, 9),
        (3, 11.0): Process("z", "Z"),
        (4, 11.0): Process("d", "D", spent_s=0.0, memory_bytes=0),
    }
    found = processes_between(first, Table(rows, 5), 2.0, 1)
    assert (found["count"], found["zombies"], found["uninterruptible"]) == (5, 1, 1)
    assert [(row["name"], row["cpu_percent"]) for row in found["top_cpu"]] == [("a", 50.0)]
    assert [row["name"] for row in found["top_memory"]] == ["c"]
    assert processes_between(first, Table(rows, 5), 0.0, 1)["top_cpu"] == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("systemd-journald", "systemd-journal"),
        ("[worker: redis://:secret@h", "[worker: redis:"),
        ("\udcff\udcfe", "\ufffd\ufffd"),
        ("é" * 9, "é" * 7 + "\ufffd"),
    ],
)
def test_a_name_is_never_longer_than_the_kernel_keeps_it(name, shown):
    assert shown_name(name) == shown


def test_what_was_not_asked_for_is_not_read_and_costs_no_gap(monkeypatch):
    monkeypatch.setattr(system.time, "sleep", lambda _s: pytest.fail("nothing here needs two samples"))
    monkeypatch.setattr(system, "read_mounts", lambda *_: pytest.fail("nobody asked for disks"))
    assert set(read_system({"subjects": ["load", "memory"]})) == {"load", "memory"}


def test_one_sample_gives_no_rates(monkeypatch):
    monkeypatch.setattr(system.time, "sleep", lambda _s: pytest.fail("there is no gap"))
    found = read_system(
        {"subjects": ["cpu", "network", "io", "processes"], "sample_gap_s": 0, "interfaces_exclude": []}
    )
    rates = [*found["network"]["interfaces"].values(), *found["io"]["disks"].values()]
    assert {value for row in rates for value in row.values()} == {None}
    assert (found["cpu"]["busy"], found["cpu"]["gap_s"], found["processes"]["top_cpu"]) == (None, 0.0, [])
    assert found["processes"]["count"] > 1


@pytest.mark.parametrize("options", [{"sample_gap_s": -1}, {"sample_gap_s": float("nan")}, {"mount_timeout_s": -0.1}])
def test_a_time_that_is_none_is_refused(options):
    with pytest.raises(ValueError, match="a number of seconds, not below zero"):
        read_system(options)
    with pytest.raises(TypeError):
        read_system({"colour": "red"})


def test_what_no_record_can_keep_is_left_out():
    assert readable({"a\udcff": ["\udcc3\udca9", float("nan"), 1.5, "x"]}) == {"a\ufffd": ["é", None, 1.5, "x"]}


def test_a_subject_that_fails_is_unknown_and_the_others_stand(monkeypatch):
    def broken(*_args, **_more):
        raise PermissionError("not allowed")

    monkeypatch.setattr(system.psutil, "swap_memory", broken)
    monkeypatch.setattr(system.psutil, "net_io_counters", broken)
    found = read_system({"subjects": ["swap", "network", "load", "weather"], "sample_gap_s": 0.0})
    assert found["swap"] == {"unknown": "PermissionError: not allowed"}
    assert "not allowed" in found["network"]["unknown"]
    assert found["load"]["one"] >= 0
    assert found["weather"] == {"unknown": "there is no such subject"}


def test_all_subjects_are_json_and_have_numbers_with_names_of_their_own():
    found = read_system({"sample_gap_s": 0.02})
    assert set(found) == set(SUBJECTS)
    json.dumps(found, allow_nan=False)
    metrics = system_metrics({"system": found})
    names = [metric.name for metric in metrics]
    assert len(names) == len(set(names))
    assert {"cpu_usage", "memory_usage", "disk_usage", "load_per_cpu_1m", "processes", "uptime"} <= set(names)


def test_no_reading_gives_no_numbers():
    assert system_metrics({}) == ()
    assert system_metrics({"system": {"unknown": "late"}}) == ()
    assert read(system_reading(), "garbage")["unknown"].startswith("the answer to system could not be read")
