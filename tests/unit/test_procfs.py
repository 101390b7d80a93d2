"""Recorded output of the script, read as psutil would read that host."""

from __future__ import annotations

import pytest
from procfs_said import DISKSTATS, FIRST, MEMINFO, NETWORK, OWNERS, SECOND, parsed, said

from opsqueue.connectors.procfs import reading_of
from opsqueue.facts.system import SUBJECTS, system_metrics
from opsqueue.model.plan import Result

KB = 1024


def _one(subject, text, **options):
    found = parsed(text, subjects=[subject], sample_gap_s=2.0, **options)
    assert set(found) == {subject}
    return found[subject]


def test_every_subject_of_a_whole_answer_is_known():
    found = parsed(said(), sample_gap_s=2.0)
    assert set(found) == set(SUBJECTS)
    assert [name for name, part in found.items() if "unknown" in part] == []
    assert {"cpu_usage", "disk_usage:/", "io_utilisation:sda"} <= {
        metric.name for metric in system_metrics({"system": found})
    }


def test_the_host():
    assert _one("host", said()) == {
        "hostname": "web-1", "kernel": "6.1.0-18-amd64", "os": 'Debian "12" (bookworm)', "machine": "x86_64",
        "cpus": 3, "memory_total": 4000000 * KB, "boot_time": 1699999900.0, "uptime_s": 100.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("first", "name", "value"),
    [
        ({"/sys/devices/system/cpu/online": None}, "cpus", 2),
        ({"/sys/devices/system/cpu/online": "0"}, "cpus", 1),
        ({"/proc/sys/kernel/arch": None, "@machine": "armv7l"}, "machine", "armv7l"),
        ({"/etc/os-release": None}, "os", None),
        ({"/etc/os-release": None, "/usr/lib/os-release": "PRETTY_NAME='Alpine'"}, "os", "Alpine"),
        ({"/etc/os-release": "NAME=x"}, "os", "Linux"),
    ],
)
def test_a_host_that_tells_it_otherwise(first, name, value):
    assert _one("host", said(first=first))[name] == value


def test_cpu_is_the_difference_of_two_samples_without_guests():
    wanted = {"user": 50.0, "system": 25.0, "iowait": 5.0, "steal": 0.0, "idle": 20.0, "busy": 75.0, "gap_s": 2.0}
    assert _one("cpu", said()) == pytest.approx(wanted)


BUSY_AT_ONCE = {
    "@between": "101.00",
    "@cpu": "cpu  1090 0 510 8000 100 0 0 0 99 0",
    "/proc/net/dev": NETWORK.format(received=2900, dropped=0),
    "/proc/diskstats": DISKSTATS.format(reads=140, sectors=2400, busy=1400),
}
"""A second after the first sample, in which nearly all of it happened."""


def test_of_several_stretches_rates_are_of_all_together_and_peaks_of_the_highest():
    options = {"sample_gap_s": 1.0, "samples": 2}
    found, plain = parsed(said(between=[BUSY_AT_ONCE]), **options), parsed(said(), sample_gap_s=2.0)
    assert found["cpu"]["peak"] == pytest.approx({"busy": 100.0, "iowait": 10.0, "steal": 0.0})
    assert {**found["cpu"], "peak": None} == {**plain["cpu"], "peak": None}
    eth0 = found["network"]["interfaces"]["eth0"]
    assert (eth0["receive_bytes_s"], eth0["peak"]) == (1000.0, {"receive_bytes_s": 1900.0, "send_bytes_s": 0.0})
    sda = found["io"]["disks"]["sda"]
    assert (sda["utilisation"], sda["peak"]["utilisation"]) == (50.0, 90.0)
    assert found["processes"] == plain["processes"]
    metrics = {one.name: (one.value, one.unit) for one in system_metrics({"system": found})}
    assert [metrics[name][0] for name in ("cpu_usage", "cpu_usage_peak")] == pytest.approx([75.0, 100.0])
    assert metrics["network_receive_peak:eth0"] == (1900.0, "bytes/s")
    assert metrics["io_utilisation_peak:sda"] == (90.0, "percent")
    assert not [name for name in (one.name for one in system_metrics({"system": plain})) if "_peak" in name]


@pytest.mark.parametrize("strange", ["", "nan", "x", "7.00"])
def test_a_moment_between_that_nobody_knows_makes_no_rate_higher(strange):
    text = said(between=[BUSY_AT_ONCE | {"@between": strange}])
    eth0 = parsed(text, sample_gap_s=1.0, samples=2)["network"]["interfaces"]["eth0"]
    assert eth0["receive_bytes_s"] == 1000.0
    assert eth0["peak"]["receive_bytes_s"] is None or eth0["peak"]["receive_bytes_s"] <= 1900.0


def test_a_stretch_in_which_counters_went_back_has_no_part_in_the_peaks():
    text = said(between=[BUSY_AT_ONCE, {"@between": "101.50", "@cpu": "cpu  1 0 5 80 1 0 0 0"}])
    assert parsed(text, sample_gap_s=0.5, samples=3)["cpu"]["peak"]["busy"] == 100.0


def test_counters_that_went_back_are_no_numbers():
    text = said(
        second={
            "@cpu": "cpu  10 0 5 80 1 0 0 0",
            "/proc/net/dev": SECOND["/proc/net/dev"].replace("3000 100 0", "9 100 0"),
            "/proc/diskstats": SECOND["/proc/diskstats"].replace(" 1500 ", " 3 "),
        }
    )
    assert _one("cpu", text)["busy"] is None
    eth0 = _one("network", text)["interfaces"]["eth0"]
    assert (eth0["send_bytes_s"], eth0["receive_bytes_s"]) == (None, 1000.0)
    sda = _one("io", text)["disks"]["sda"]
    assert (sda["utilisation"], sda["reads_s"]) == (None, 20.0)


def test_network_rates():
    rates = _one("network", said(second={"/proc/net/dev": SECOND["/proc/net/dev"].replace(" 100 1 0", " 140 3 4")}))
    assert set(rates["interfaces"]) == {"eth0", "wg-é.7@x"}
    assert rates["interfaces"]["eth0"] == {
        "receive_bytes_s": 1000.0, "send_bytes_s": 0.0, "packets": 40, "errors_ratio": 0.05, "drops_ratio": 0.1,
    }  # fmt: skip


def test_disk_rates_are_of_whole_disks_and_sectors_of_512_bytes():
    disks = _one("io", said())["disks"]
    assert set(disks) == {"sda", "cciss/c0d0"}
    assert disks["sda"] == {
        "read_bytes_s": 200 * 512, "write_bytes_s": 0.0, "reads_s": 20.0, "writes_s": 0.0, "utilisation": 50.0,
    }  # fmt: skip


def test_what_is_in_one_sample_only_has_no_rate():
    text = said(
        second={
            "/proc/diskstats": "\n".join(SECOND["/proc/diskstats"].split("\n")[2:]),
            "/proc/net/dev": "\n".join(SECOND["/proc/net/dev"].split("\n")[:3])
            + "\n veth1: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0",
        }
    )
    assert set(_one("io", text)["disks"]) == {"cciss/c0d0"}
    assert set(_one("network", text, interfaces_exclude=[])["interfaces"]) == {"lo"}


def test_without_sysfs_there_are_no_disks():
    assert _one("io", said(first={"@disk": "/sys/block/*/device"})) == {"disks": {}}


@pytest.mark.parametrize(
    ("began", "ended", "gap", "seconds"),
    [
        ("100.00", "102.00", 2.0, 2.0),
        ("100.00", "102.40", 2.0, 2.4),
        ("100.00", "101.99", 2.0, 2.0),
        ("100.00", "100.05", 0.06, 0.06),
        ("100.00", "100.50", 2.0, 0.5),
        ("100.00", "3.00", 2.0, 0.0),
        ("", "102.00", 2.0, 0.0),
        ("nan", "102.00", 2.0, 0.0),
    ],
    ids=["exact", "busy host", "clock cut off", "short", "no sleep", "restarted", "no uptime", "strange"],
)
def test_the_seconds_between_the_samples(began, ended, gap, seconds):
    found = parsed(
        said(first={"@first": began}, second={"@second": ended}), subjects=["cpu", "network"], sample_gap_s=gap
    )
    assert found["cpu"]["gap_s"] == pytest.approx(seconds)
    rate = found["network"]["interfaces"]["eth0"]["receive_bytes_s"]
    assert rate == (pytest.approx(2000 / seconds) if seconds else None)


def test_memory_and_swap():
    assert _one("memory", said()) == {
        "total": 4000000 * KB, "available": 3000000 * KB, "used": 1000000 * KB, "percent": 25.0,
    }  # fmt: skip
    assert _one("swap", said()) == {"total": 1000 * KB, "used": 750 * KB, "percent": 75.0}
    assert _one("swap", said(first={"/proc/meminfo": "SwapTotal: 0 kB\nSwapFree: 0 kB"}))["percent"] is None


@pytest.mark.parametrize(
    ("available", "kilobytes"),
    [("", 1500000), ("MemAvailable: 0 kB\n", 1500000), ("MemAvailable: 9000000 kB\n", 500000)],
    ids=["kernel before 3.14", "kernel that says zero", "container of LXC"],
)
def test_memory_where_the_kernel_does_not_say_what_is_available(available, kilobytes):
    text = said(first={"/proc/meminfo": MEMINFO.replace("MemAvailable: 3000000 kB\n", available)})
    assert _one("memory", text)["available"] == kilobytes * KB


def test_load_and_files_and_pressure():
    assert _one("load", said()) == {"one": 1.5, "five": 0.75, "fifteen": 0.25, "cpus": 3, "per_cpu_one": 0.5}
    assert _one("fd", said()) == {"open": 100, "max": 1000, "percent": 10.0}
    assert _one("pressure", said()) == {"cpu": {"some": {"avg10": 1.5, "avg60": 0.2, "avg300": 0.01}}}
    assert _one("pressure", said(first={"/proc/pressure/cpu": None})) == {}


def test_limits_of_a_container_in_a_group_with_a_colon():
    assert _one("cgroup", said()) == {
        "memory_limit": 4194304, "memory_used": 1048576, "memory_percent": 25.0, "cpu_limit": 1.5,
    }  # fmt: skip


def test_limits_of_a_container_of_the_first_version():
    groups = {name: None for name in FIRST if name.startswith("/sys/fs/cgroup")} | {
        "/proc/self/cgroup": "4:memory:/a\n2:cpu,cpuacct:/a\n0::/",
        "/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "4194304",
        "/sys/fs/cgroup/memory/a/memory.usage_in_bytes": "2097152",
        "/sys/fs/cgroup/memory/a/memory.stat": "inactive_file 5\ntotal_inactive_file 1048576",
        "/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "150000",
        "/sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
    }
    assert _one("cgroup", said(first=groups)) == _one("cgroup", said())
    assert "did not tell /proc/self/cgroup" in _one("cgroup", said(first={"/proc/self/cgroup": None}))["unknown"]


def test_cpu_of_a_container_is_told_of_its_own_limit_too():
    group, above = "/sys/fs/cgroup/a:b/c", "/sys/fs/cgroup/a:b"
    quota = {f"{group}/cpu.max": "50000 100000"}
    before = {f"{group}/cpu.stat": "usage_usec 1000000", f"{above}/cpu.stat": "usage_usec 9000000"}
    after = {f"{group}/cpu.stat": "usage_usec 1800000", f"{above}/cpu.stat": "usage_usec 9900000"}
    found = _one("cpu", said(first=quota | before, second=after))
    assert found["busy"] == pytest.approx(75), "of the whole host"
    assert found["limit_percent"] == pytest.approx(80), "0.4 of half a CPU, which is more than 0.45 of one and a half"
    again = {f"{group}/cpu.stat": "usage_usec 5", f"{above}/cpu.stat": "usage_usec 9300000"}
    assert _one("cpu", said(first=quota | before, second=again))["limit_percent"] == pytest.approx(10), "begun anew"
    assert "limit_percent" not in _one("cpu", said(first=quota))
    strange = _one("cpu", said(first={f"{group}/cpu.max": "many few"} | before, second=after))
    assert strange["busy"] == pytest.approx(75), "a strange limit costs nothing but itself"
    assert "limit_percent" not in strange


def test_processes():
    found = _one("processes", said(), top_processes=2)
    assert (found["count"], found["zombies"], found["uninterruptible"]) == (4, 1, 1)
    assert found["top_cpu"] == [
        {"pid": 1, "name": "systemd", "user": "root", "cpu_percent": 10.0, "memory_bytes": 9000 * KB}
    ]
    assert [(row["pid"], row["name"], row["user"]) for row in found["top_memory"]] == [
        (1, "systemd", "root"), (20, "a) R 1 2", "amy"),
    ]  # fmt: skip
    # 20 was started anew between the samples, and its time is nothing of the gap.
    assert found["top_memory"][1]["cpu_percent"] is None


def test_processes_when_nobody_asks_for_the_busiest():
    text = said().replace(OWNERS, "").replace("\n@ok:\n@tasks", "\n@ok:\n@gone", 1)
    found = parsed(text, subjects=["cpu", "processes"], sample_gap_s=2.0, top_processes=0)["processes"]
    assert found == {"count": 4, "zombies": 1, "uninterruptible": 1, "top_cpu": [], "top_memory": []}


def test_a_user_without_a_name_is_a_number_and_one_that_was_not_told_is_not_known():
    found = _one("processes", said(last={"@user": None}))
    assert [row["user"] for row in found["top_memory"]] == ["0", "1000"]
    found = _one("processes", said().replace("20/status:", "99/status:"))
    assert [row["pid"] for row in found["top_memory"]] == [1]


def test_one_sample_has_no_rates():
    found = parsed(said(second=dict.fromkeys(SECOND), tasks=False), subjects=["cpu", "network", "io"], sample_gap_s=0)
    assert found["cpu"]["busy"] is None
    assert set(found["network"]["interfaces"]["eth0"].values()) == {None}
    assert set(found["io"]["disks"]["sda"].values()) == {None}


@pytest.mark.parametrize(
    ("date", "between", "time", "skew"),
    [
        ("1700000000.250000000", None, 1700000000.25, None),
        ("1700000000.250000000", (1700000000.0, 1700000003.0), 1700000000.25, 0.0),
        ("1700000000.250000000", (1700000010.0, 1700000012.2), 1700000000.25, -9.75),
        ("1700000000.250000000", (1699999990.0, 1699999992.23), 1700000000.25, 10.2),
        ("1700000000.%N", (1700000000.9, 1700000003.0), 1700000000.0, 0.0),
        ("1700000000.N", (1700000010.0, 1700000012.2), 1700000000.0, -9.0),
    ],
)
def test_the_skew_of_a_clock_is_no_more_than_what_the_way_there_does_not_explain(date, between, time, skew):
    # The script ran 2.2 s after it had looked at the clock.
    found = parsed(said(first={"@time": date}), subjects=["clock"], between=between)["clock"]
    assert found == {"time": time, "skew_s": skew if skew is None else pytest.approx(skew, abs=0.03)}


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (Result(exit_code=127, stderr="sh: not found\n"), "nothing that can be read: sh: not found"),
        (Result(exit_code=None, timed_out=True, seconds=30.0), "given up after 30 s"),
        (Result(exit_code=0, stdout="Welcome to web-1!\n"), "its answer was cut off"),
        (Result(exit_code=0), "it said nothing"),
    ],
)
def test_no_answer_makes_every_subject_unknown_with_the_reason(result, reason):
    found = reading_of(result, {})
    assert set(found) == set(SUBJECTS)
    assert [part["unknown"] for part in found.values() if reason not in part["unknown"]] == []


def test_what_the_host_does_not_have_is_unknown_and_the_rest_stands():
    found = parsed(
        said(first={"/proc/loadavg": None, "@cpu": None, "/proc/meminfo": "MemTotal: x"}), subjects=[*SUBJECTS, "tea"]
    )
    assert "did not tell /proc/loadavg" in found["load"]["unknown"]
    assert "did not tell cpu" in found["cpu"]["unknown"]
    assert "unknown" in found["memory"]
    assert found["tea"] == {"unknown": "there is no such subject"}
    assert found["fd"]["open"] == 100
