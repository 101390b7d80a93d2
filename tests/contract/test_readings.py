"""psutil and the script from /proc agree on this very machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import psutil
import pytest
from reading_pair import answer, both, by_script

from opsqueue.connectors.cgroup import read_cpu_spent
from opsqueue.connectors.procfs import answer_bytes, reading_of, reading_script, reading_text
from opsqueue.connectors.procfs.answer import answer_of
from opsqueue.connectors.procfs.parse import _COUNTERS
from opsqueue.connectors.reading import GROWING
from opsqueue.connectors.system import read_system
from opsqueue.facts.system import SUBJECTS, system_metrics
from opsqueue.model.plan import Result

MB = 1 << 20


def _installed(*words):
    if shutil.which(words[0]) is None:
        pytest.skip(f"there is no {words[0]} on this machine: install the package {words[0]}")
    return words


@pytest.fixture(params=["sh", "bash", pytest.param("busybox", marks=pytest.mark.service)])
def shell(request):
    words = {"sh": ("/bin/sh",), "bash": ("bash",), "busybox": ("busybox", "sh")}[request.param]
    return _installed(*words)


# -- the shape and the numbers ------------------------------------------------------------------------------

NEAR = {
    # Of a hundred, between two looks at a machine on which others work.
    ("cpu", "gap_s"): 30,
    ("cpu",): 25,
    ("memory", "percent"): 5,
    ("memory",): 512 * MB,
    ("swap", "total"): 0,
    ("swap",): 64 * MB,
    ("disk", "mounts", "total"): 0,
    ("disk", "mounts", "inodes_total"): 0,
    ("disk", "mounts", "percent"): 1,
    ("disk", "mounts", "inodes_percent"): 1,
    ("disk",): 256 * MB,
    ("load", "cpus"): 0,
    ("load",): 0.5,
    ("pressure",): 10,
    ("fd", "max"): 0,
    ("fd", "percent"): 1,
    ("fd",): 500,
    ("cgroup", "memory_used"): 64 * MB,
    ("cgroup", "memory_percent"): 5,
    ("host", "uptime_s"): 2.5,
    ("host",): 0,
    ("clock", "time"): 3,
    ("clock", "skew_s"): 0.05,
    ("processes", "count"): 25,
    ("processes",): 10,
}  # fmt: skip


def _near(path):
    words = tuple(word for word in path if not isinstance(word, int))
    fitting = [key for key in NEAR if key[0] == words[0] and all(word in words for word in key)]
    return NEAR[max(fitting, key=len)] if fitting else 0


def _differences(local, remote, path=()):
    """Where the two do not agree: other keys, another type, or numbers too far from each other."""
    if isinstance(local, dict) and isinstance(remote, dict):
        if local.keys() != remote.keys():
            return [(path, sorted(local), sorted(remote))]
        return [row for key in local for row in _differences(local[key], remote[key], (*path, key))]
    if isinstance(local, list) and isinstance(remote, list) and len(local) == len(remote):
        pairs = zip(local, remote, strict=True)
        return [row for number, pair in enumerate(pairs) for row in _differences(*pair, (*path, number))]
    if isinstance(local, float | int) and isinstance(remote, float | int):
        near = _near(path)
        enough = near and max(near, 0.2 * abs(local))
        return [] if abs(local - remote) <= enough else [(path, local, remote)]
    return [] if local == remote else [(path, local, remote)]


def _without_moving(reading):
    """Without rates and the busiest processes, which depend on the very moment: they have tests of their own."""
    moving = {"network", "io"}
    rows = {name: part for name, part in reading.items() if name not in moving}
    if "processes" in rows:
        rows["processes"] = {name: value for name, value in rows["processes"].items() if not name.startswith("top_")}
    return rows


def _agreed(options, shell=("/bin/sh",)):
    """Both readings, when they agree; what moves may be looked at again, because others work on this machine."""
    for _ in range(4):
        local, remote = both(options, shell)
        assert list(remote) == list(local)
        wrong = _differences(_without_moving(local), _without_moving(remote))
        assert [row for row in wrong if not _near(row[0])] == []
        if not wrong:
            break
    assert wrong == []
    return local, remote


def test_all_subjects_agree(shell):
    local, remote = _agreed({"sample_gap_s": 1.0}, shell)
    assert set(remote) == set(SUBJECTS)
    assert {name for name, part in remote.items() if "unknown" in part} == set()
    assert remote["clock"]["skew_s"] == 0.0
    assert remote["cpu"]["gap_s"] >= 1.0
    for name, one in (("network", "interfaces"), ("io", "disks")):
        rows = [side[name][one] for side in (local, remote)]
        assert rows[0].keys() == rows[1].keys()
        assert len({frozenset(row) for side in rows for row in side.values()}) == 1
    metrics = [{metric.name for metric in system_metrics({"system": side})} for side in (local, remote)]
    assert metrics[0] == metrics[1]


def test_several_stretches_are_one_trip_and_have_peaks_on_both_sides(shell):
    options = {"subjects": ["cpu", "network", "io"], "sample_gap_s": 0.2, "samples": 5, "interfaces_exclude": []}
    for found in both(options, shell):
        assert found["cpu"]["gap_s"] >= 1.0
        assert found["cpu"]["peak"]["busy"] >= found["cpu"]["busy"] - 0.01
        rows = [*found["network"]["interfaces"].values(), *found["io"]["disks"].values()]
        assert rows
        assert all(set(row["peak"]) <= set(row) for row in rows)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_each_subject_alone_agrees(subject):
    _local, remote = _agreed({"subjects": [subject], "sample_gap_s": 0.3, "interfaces_exclude": []})
    assert set(remote) == {subject}


@pytest.mark.parametrize(
    "options",
    [
        {"sample_gap_s": 0},
        {"sample_gap_s": 0, "top_processes": 0},
        {"sample_gap_s": 0.2, "top_processes": 0},
        {"sample_gap_s": 0.3, "samples": 4},
        {"sample_gap_s": 0, "samples": 4},
        {"subjects": ["processes", "cpu"], "sample_gap_s": 0.2, "samples": 3, "top_processes": 0},
        {"subjects": ["memory", "load"], "sample_gap_s": 0},
        {"subjects": ["processes"], "top_processes": 0},
        {"subjects": ["cpu", "tea", "disk", "disk"], "sample_gap_s": 0.2},
        {"subjects": ["disk"], "mounts_include": ["/"]},
        {"subjects": ["disk"], "mounts_include": ["/dev", "/dev/[ps]*", "/pro?", "/sys/*"]},
        {"subjects": ["disk"], "mounts_include": ["/nowhere"]},
        {"subjects": ["disk"], "mounts_exclude": ["/"]},
        {"subjects": ["disk"], "mounts_exclude": [], "fstypes_exclude": []},
        {"subjects": ["disk"], "fstypes_exclude": ["ext4", "xfs", "overlay"]},
        {"subjects": ["network"], "interfaces_exclude": ["e*"], "sample_gap_s": 0},
        {"subjects": ["network"], "interfaces_exclude": [], "sample_gap_s": 0},
        {"subjects": ["io"], "sample_gap_s": 0},
    ],
    ids=str,
)
def test_options_mean_the_same(options):
    local, remote = _agreed(options)
    if not options.get("sample_gap_s", 1):
        rates = [{name: side[name] for name in ("network", "io") if name in side} for side in (local, remote)]
        assert rates[0] == rates[1]


def test_every_two_subjects_are_read_together():
    for pair in combinations(SUBJECTS, 2):
        found = by_script({"subjects": list(pair), "sample_gap_s": 0})
        assert {name: "unknown" in part for name, part in found.items()} == dict.fromkeys(pair, False)


# -- counters: exact, because they only grow ----------------------------------------------------------------


def _psutil_counters():
    return {name: dict(part) for name, part in {
        "cpu": psutil.cpu_times()._asdict(),
        "network": {name: row._asdict() for name, row in psutil.net_io_counters(pernic=True, nowrap=False).items()},
        "io": {name: row._asdict() for name, row in psutil.disk_io_counters(perdisk=True, nowrap=False).items()},
    }.items()}  # fmt: skip


def test_every_counter_stands_between_two_readings_of_psutil(shell):
    before = _psutil_counters()
    result, _between = answer({"subjects": list(GROWING), "sample_gap_s": 0.1, "interfaces_exclude": []}, shell)
    after = _psutil_counters()
    told = answer_of(result)
    for sample in (told.first, told.second):
        cpu = _COUNTERS["cpu"](told, sample)
        limited = cpu.pop("groups")
        assert limited.keys() == read_cpu_spent().keys(), "the same groups as those of this process"
        # The kernel lets idle and iowait step back by a few ticks.
        assert [name for name in cpu if not before["cpu"][name] - 0.1 <= cpu[name] <= after["cpu"][name] + 0.1] == []
        assert len(cpu) == 8
        for subject in ("network", "io"):
            rows = _COUNTERS[subject](told, sample)
            assert rows.keys() <= before[subject].keys()
            for name, row in rows.items():
                low, high = before[subject][name], after[subject][name]
                assert [key for key in row if not low[key] <= row[key] <= high[key]] == [], (name, row, low, high)
    assert _COUNTERS["network"](told, told.first).keys() == before["network"].keys()


def _by_pid(reading):
    return {row["pid"]: row for row in reading["processes"]["top_memory"]}


NAMES = (b"x) R 1 (y", b"a\n@end:1", b" " * 15, b"\xff\xfe", b"back\\slash", b"fifteen-bytes-x-and-more")


@pytest.fixture
def named():
    """Processes with odd names, by pid."""
    text = "import sys, time\nopen('/proc/self/comm', 'wb').write({!r})\nprint(flush=True)\ntime.sleep(60)"
    started = [subprocess.Popen([sys.executable, "-c", text.format(name)], stdout=subprocess.PIPE) for name in NAMES]
    for process in started:
        assert process.stdout.readline()
    yield {process.pid: name for process, name in zip(started, NAMES, strict=True)}
    for process in started:
        process.kill()
        process.communicate()


def _without_memory(row, idle):
    return row if idle or row is None else {key: said for key, said in row.items() if "memory" not in key}


def test_every_process_is_the_same_one(shell, named):
    options = {"subjects": ["processes"], "sample_gap_s": 0, "top_processes": 10_000}
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    before, found, after = read_system(options), by_script(options, shell), read_system(options)
    zombie.wait()
    sides = [_by_pid(side) for side in (before, found, after)]
    still = {pid for pid in sides[0].keys() & sides[2].keys() if sides[0][pid] == sides[2][pid]}
    assert named.keys() <= still
    # Others breathe: their memory may have moved between two looks that were the same.
    steady = [{pid: _without_memory(side.get(pid), pid in named) for pid in still} for side in sides[:2]]
    assert steady[0] == steady[1]
    assert [sides[1][pid]["name"] for pid in named] == [
        "x) R 1 (y", "a\n@end:1", " " * 15, "\ufffd\ufffd", "back\\slash", "fifteen-bytes-x",
    ]  # fmt: skip
    assert found["processes"]["zombies"] >= 1


def test_a_busy_process_is_found_with_its_share_of_a_cpu():
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        local, remote = both({"subjects": ["processes", "cpu"], "sample_gap_s": 1.0, "top_processes": 20})
    finally:
        busy.kill()
        busy.wait()
    shares = [[row for row in side["processes"]["top_cpu"] if row["pid"] == busy.pid] for side in (local, remote)]
    assert shares[0][0]["cpu_percent"] == pytest.approx(shares[1][0]["cpu_percent"], abs=25)
    assert shares[0][0]["user"] == shares[1][0]["user"]
    assert remote["cpu"]["busy"] > 100 / (2 * (os.cpu_count() or 1)) * 0.5


# -- what it costs ------------------------------------------------------------------------------------------


def _tools(place, names, log=None):
    """A PATH with these programs only, which write down that they were started."""
    for name in names:
        real = shutil.which(name)
        text = f'#!/bin/sh\necho {name} >>"{log}"\nexec {real} "$@"\n' if log else f'#!/bin/sh\nexec {real} "$@"\n'
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    return {"PATH": str(place)}


@pytest.mark.parametrize(
    ("options", "programs"),
    [
        ({"subjects": ["memory", "load"], "sample_gap_s": 0}, ["grep"]),
        ({"subjects": ["cpu"], "sample_gap_s": 0.01}, ["sleep"]),
        ({"subjects": ["cpu", "memory", "disk", "load"], "sample_gap_s": 0}, ["grep", "stat"]),
        ({"subjects": ["cpu", "network", "io"], "sample_gap_s": 0.01}, ["grep", "sleep", "grep"]),
        ({"subjects": ["processes"], "top_processes": 0}, ["cut", "grep"]),
        ({"subjects": ["host", "pressure", "fd", "swap", "cgroup", "clock"]}, ["date", "grep"]),
    ],
    ids=str,
)
def test_it_starts_few_programs(tmp_path, options, programs):
    log = tmp_path / "log"
    place = tmp_path / "bin"
    place.mkdir()
    env = _tools(place, ["grep", "cut", "sleep", "stat", "date", "cat", "timeout", "getent", "uname", "df"], log)
    script = _script(options)
    log.write_text("")
    subprocess.run(["/bin/sh", "-c", *script], env=env | {"LC_ALL": "C"}, stdin=subprocess.DEVNULL, check=True)
    assert sorted(log.read_text().split()) == sorted(programs)


def _script(options):
    script = reading_script(options)
    return script.text, "opsqueue", *script.args


@pytest.mark.parametrize(
    "options",
    [
        {"sample_gap_s": 0.01},
        {"sample_gap_s": 0.01, "samples": 4, "subjects": ["cpu", "network", "io", "processes"]},
        {"sample_gap_s": 0.01, "top_processes": 0},
        {"subjects": ["memory", "load", "disk"]},
    ],
    ids=str,
)
def test_what_a_plan_shows_is_a_whole_text_whose_answer_is_about_as_long_as_it_says(options):
    script = reading_script(options)
    # Not through a pipe: the text closes its stdin, and a shell that has read only a piece of it would end there.
    sent = subprocess.run(["/bin/sh", "-c", reading_text(script)], stdout=subprocess.PIPE, check=True)
    found = reading_of(Result(exit_code=0, stdout=sent.stdout.decode(errors="surrogateescape")), options)
    assert [name for name, part in found.items() if "unknown" in part] == []
    expected = answer_bytes(options, len(list(Path("/proc").glob("[0-9]*"))))
    assert expected / 3 < len(sent.stdout) < expected * 3


# -- poor and odd hosts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "unknown"),
    [
        ({"stat"}, set()),
        ({"stat", "df"}, set()),
        ({"timeout", "getent", "date"}, {"clock"}),
        ({"grep"}, {"memory", "swap", "load", "disk", "host", "network", "io", "fd", "cgroup", "processes"}),
        ({"cut", "sleep"}, {"processes"}),
    ],
    ids=lambda names: "+".join(sorted(names)) or "all",
)
def test_a_host_without_some_tools_tells_the_rest(tmp_path, missing, unknown):
    names = {"grep", "cut", "sleep", "stat", "date", "cat", "timeout", "getent", "df"} - missing
    gap = 5 if "sleep" in missing else 0.05
    script = _script({"sample_gap_s": gap})
    done = subprocess.run(
        ["/bin/sh", "-c", *script],
        env=_tools(tmp_path, names),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    said = done.stdout.decode(errors="replace")  # there may be processes and mounts with names that are no text
    result = Result(exit_code=0, stdout=said, stderr=done.stderr.decode())
    found = reading_of(result, {"sample_gap_s": gap})
    assert {name for name, part in found.items() if set(part) == {"unknown"}} == unknown
    if "disk" not in unknown:
        (root,) = [row for row in found["disk"]["mounts"] if row["mount"] == "/"]
        assert ("percent" in root) == ("df" not in missing)
        assert ("inodes_total" in root and root["inodes_total"] is not None) == ("stat" not in missing)
    if "sleep" in missing:
        assert found["cpu"]["gap_s"] < gap


def _inside(place, shell, *prepare, **options):
    """Both readings in mount and process name spaces of their own."""
    _installed("unshare")
    if os.geteuid() != 0:
        pytest.skip("name spaces of its own need root")
    asked = {"prepare": prepare, "place": str(place), "shell": shell, "options": options}
    program = Path(__file__).with_name("reading_pair.py")
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, program, json.dumps(asked)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    if "Operation not permitted" in done.stderr or "No such file or directory: '/dev/fuse'" in done.stderr:
        pytest.skip(f"this machine lets nobody mount: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.service
def test_mounts_with_odd_names_agree(tmp_path, shell):
    local, remote = _inside(tmp_path, shell, "odd_mounts", subjects=["disk"], mounts_include=[f"{tmp_path}/*"])
    assert local == remote
    found = {row["mount"].removeprefix(f"{tmp_path}/"): row["total"] for row in remote["disk"]["mounts"]}
    assert found == {
        "plain": 1 << 16, "with blank": 2 << 16, "new\nline\\040\ttab": 3 << 16, "-dash": 4 << 16, "*?[a]": 5 << 16,
        "\ufffd\ufffd": 6 << 16, "é": 7 << 16, "end\n": 8 << 16, "$(touch x)`'\"": 9 << 16,
    }  # fmt: skip


@pytest.mark.service
def test_a_file_system_whose_server_is_dead_holds_up_nothing_else(tmp_path, shell):
    began = time.monotonic()
    options = {"subjects": ["disk", "load"], "mount_timeout_s": 1.0, "mounts_include": ["/", f"{tmp_path}/*"]}
    local, remote = _inside(tmp_path, shell, "dead_mount", **options)
    assert time.monotonic() - began < 25
    # The load goes on while the two wait for the dead mount, one after the other: only its shape is the same.
    assert [row for row in _differences(local, remote) if row[0][0] != "load"] == []
    assert local["load"].keys() == remote["load"].keys()
    assert "unknown" not in remote["load"]
    rows = {row["mount"]: row for row in remote["disk"]["mounts"]}
    assert rows[f"{tmp_path}/dead"]["unknown"] == "no answer within 1 s"
    assert rows[f"{tmp_path}/dead/below"]["unknown"] == "no answer within 1 s"
    assert rows[f"{tmp_path}/alive"]["total"] == 1 << 16
    assert rows["/"]["percent"] > 0


@pytest.mark.service
def test_many_mounts(tmp_path, shell):
    local, remote = _inside(tmp_path, shell, "many_mounts", subjects=["disk"], mounts_include=[f"{tmp_path}/*"])
    assert local == remote
    assert len(remote["disk"]["mounts"]) == 200


@pytest.mark.service
def test_a_host_without_sysfs(tmp_path, shell):
    local, remote = _inside(tmp_path, shell, "no_sysfs", sample_gap_s=0)
    assert [row for row in _differences(_without_moving(local), _without_moving(remote)) if not _near(row[0])] == []
    assert remote["io"] == local["io"] == {"disks": {}}


@pytest.mark.service
def test_a_container_with_limits(tmp_path, shell):
    local, remote = _inside(tmp_path, shell, "limits", subjects=["cpu", "cgroup", "host"], sample_gap_s=0.05)
    assert local["cgroup"] == remote["cgroup"]
    assert remote["cgroup"]["memory_used"] == 24 * MB
    assert remote["cgroup"]["cpu_limit"] == 0.5
    assert local["cpu"]["limit_percent"] == remote["cpu"]["limit_percent"] == 0, "nothing was used of it meanwhile"


@pytest.mark.service
def test_processes_that_others_may_not_read_are_counted(tmp_path):
    local, remote = _inside(tmp_path, ("/bin/sh",), "hidden_processes", subjects=["processes"], top_processes=99)
    for side in (local, remote):
        rows = side["processes"]["top_memory"]
        assert {row["user"] for row in rows} <= {"nobody", "65534"}
        assert side["processes"]["count"] > 2 * len(rows)
