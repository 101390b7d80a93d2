"""One machine read twice at the same time: by psutil, and by the script as LocalShell runs scripts.

As a program it does so in name spaces of its own, where mounts can be made that nobody else sees: it gets a JSON
object with the names of what to prepare, the shell and the options, and prints both readings.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from opsqueue.connectors.local import _environment
from opsqueue.connectors.process import run_process
from opsqueue.connectors.procfs import reading_of, reading_script
from opsqueue.connectors.script import compose, seconds_of, split
from opsqueue.connectors.system import read_system
from opsqueue.model.fact import Fact


def answer(options, shell=("/bin/sh",), env=None):
    """What the script said, and the times of this machine before and after."""
    facts, marker = [Fact(name="system", ask=reading_script(options))], secrets.token_hex(16)
    began = time.time()
    result = run_process(
        (*shell, "-s"),
        env=_environment() | (env or {}),
        stdin=compose(facts, marker).encode(),
        limit_s=seconds_of(facts),
        head_most=8 << 20,
        tail_most=0,
    )
    return split(result.stdout, marker, facts, result.stderr)["system"], (began, time.time())


def by_script(options, shell=("/bin/sh",), env=None):
    result, between = answer(options, shell, env)
    return reading_of(result, options, between=between)


def both(options, shell=("/bin/sh",)):
    """The readings of psutil and of the script."""
    with ThreadPoolExecutor(2) as pool:
        local, remote = pool.submit(read_system, options), pool.submit(by_script, options, shell)
        return local.result(), remote.result()


# -- in a name space of its own -----------------------------------------------------------------------------


def mount(source, path, fstype, data=""):
    Path(path).mkdir(exist_ok=True, parents=True)
    words = (os.fsencode(word) for word in (source, path, fstype))
    if ctypes.CDLL(None, use_errno=True).mount(*words, 0, data.encode()):
        raise OSError(ctypes.get_errno(), f"mount {path}")


def odd_mounts(place):
    """Names with everything that a path may hold."""
    names = (
        "plain",
        "with blank",
        "new\nline\\040\ttab",
        "-dash",
        "*?[a]",
        "\udcff\udcfe",
        "é",
        "end\n",
        "$(touch x)`'\"",
    )
    for number, name in enumerate(names, 1):
        mount(f"odd{number}", f"{place}/{name}", "tmpfs", f"size={number * 64}k,nr_inodes={50 + number}")


def dead_mount(place):
    """A file system whose server never answers; held open until this program ends."""
    mount("below", f"{place}/dead/below", "tmpfs")
    device = os.open("/dev/fuse", os.O_RDWR)
    mount("me@far:/x", f"{place}/dead", "fuse.sshfs", f"fd={device},rootmode=40000,user_id=0,group_id=0")
    mount("alive", f"{place}/alive", "tmpfs", "size=64k")


def many_mounts(place):
    for number in range(200):
        mount(f"many{number}", f"{place}/{number}", "tmpfs", "size=64k")


def no_sysfs(_place):
    mount("none", "/sys", "tmpfs")


def limits(_place):
    """Groups of both versions with limits, wherever this program stands."""
    mount("none", "/sys/fs/cgroup", "tmpfs")
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _number, names, path = line.split(":", 2)
        for name in names.split(","):
            _limited(Path("/sys/fs/cgroup", name), path.strip("/"))


def _limited(top, path):
    folder = top / path
    folder.mkdir(parents=True, exist_ok=True)
    mb = 1 << 20
    for name, text in {
        "memory.max": f"{64 * mb}", "memory.current": f"{32 * mb}", "cpu.max": "50000 100000",
        "memory.limit_in_bytes": f"{64 * mb}", "memory.usage_in_bytes": f"{32 * mb}",
        "memory.stat": f"anon 5\ninactive_file {8 * mb}\ntotal_inactive_file {8 * mb}",
        "cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000",
        "cpu.stat": "nr_periods 7\nusage_usec 5000000\nuser_usec 1", "cpuacct.usage": "5000000000",
    }.items():  # fmt: skip
        (folder / name).write_text(f"{text}\n")
    # The way up: a group that is nearly full, and one without a limit.
    for number, above in enumerate(parent for parent in folder.parents if parent.is_relative_to(top)):
        (above / "memory.max").write_text("max\n" if number else f"{48 * mb}\n")
        (above / "cpu.max").write_text("max 100000\n")


def hidden_processes(_place):
    """Another user, in whose /proc the processes of others can be listed and not read."""
    mount("proc", "/proc", "proc", "hidepid=1")
    os.setgid(65534)
    os.setuid(65534)


def main():
    asked = json.loads(sys.argv[1])
    with contextlib.chdir("/"):
        for name in asked["prepare"]:
            globals()[name](asked["place"])
    print(json.dumps(both(asked["options"], tuple(asked["shell"]))))


if __name__ == "__main__":
    main()
