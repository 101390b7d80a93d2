"""The tools that `make bench-ssh` measures beside opsqueue, each asked for the same facts of the same hosts."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
PACKAGES = {"ansible": "ansible-core", "pyinfra": "pyinfra", "parallel-ssh": "parallel-ssh", "fabric": "fabric"}
TEXT = (
    "grep -h '^cpu ' /proc/stat; sleep 0.01; grep -h '^cpu ' /proc/stat; "
    "grep -hE '^Mem(Total|Available)' /proc/meminfo; cat /proc/loadavg /proc/uptime; df -Pk /"
)
"""What the others run on each host: CPU twice, memory, load, uptime, disk."""


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds on the clock, and of the tool's own processor time."""

    wall: float
    cpu: float


def facts_of(text: str) -> dict[str, Any]:
    """The answer of one host as numbers; raises when something of it is missing."""
    rows = [line.split() for line in text.strip().splitlines()]
    one, two = ([int(word) for word in row[1:]] for row in rows[:2])
    spent = sum(two) - sum(one)
    idle = two[3] - one[3]
    memory = {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows[2:4]}
    return {
        "cpu": 100 * (1 - idle / spent) if spent else None,
        "memory": 100 * (1 - memory["MemAvailable"] / memory["MemTotal"]),
        "load": float(rows[4][0]),
        "uptime": float(rows[5][0]),
        "disk": float(rows[7][4].rstrip("%")),
    }


def environment(folder: Path, name: str) -> str:
    """The python of an environment that has this package, made once; empty, with a word, where it cannot be had."""
    python = folder / "venv" / "bin" / "python"
    done = folder / f"{name}.installed"
    if done.exists():
        return str(python)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    print(f"installing {PACKAGES[name]} into {folder / 'venv'} (once) …", file=sys.stderr)
    found = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", PACKAGES[name]], capture_output=True, text=True, check=False
    )
    if found.returncode:
        last = (found.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        print(f"{name} is left out, because it cannot be installed: {last}", file=sys.stderr)
        return ""
    done.touch()
    return str(python)


class Library:
    """A library in a process of its own, whose start is not measured."""

    def __init__(self, python: str, name: str, farm: Any, hosts: Sequence[Any]) -> None:
        self.name = {"fabric": "fabric ThreadingGroup"}.get(name, name)
        argv = [python, str(HERE / "ssh_peers.py"), name]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        given = {"addresses": [host.address for host in hosts], "port": farm.port, "user": farm.user}
        self._say(json.dumps({**given, "key": farm.key_file, "text": TEXT}))

    def _say(self, line: str) -> None:
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def ask(self, how: str) -> tuple[Took, list[str]]:
        """Cold or warm."""
        self._say(how)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self.process.wait(10)}")
        found = json.loads(line)
        return Took(found["wall"], found["cpu"]), found["answers"]

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


class Pyinfra:
    """pyinfra's command line; it keeps no connection."""

    name = "pyinfra command line"

    def __init__(self, python: str, folder: Path, farm: Any, hosts: Sequence[Any]) -> None:
        self.folder = folder
        self.program = str(Path(python).parent / "pyinfra")
        data = {"ssh_port": farm.port, "ssh_user": farm.user, "ssh_key": farm.key_file}
        known = {"ssh_known_hosts_file": str(folder / "known_hosts")}
        rows = [(host.address, {**data, **known}) for host in hosts]
        self.inventory = folder / f"pyinfra{len(hosts)}.py"
        self.inventory.write_text(f"hosts = {rows!r}\n")

    def ask(self, _how: str) -> tuple[Took, list[str]]:
        """Each run is a new one."""
        took, said = _timed([self.program, "-y", str(self.inventory), "exec", "--", TEXT], self.folder)
        answers: dict[str, list[str]] = {}
        for line in said.splitlines():
            host, found, text = line.partition("] ")
            if found and host.startswith("[127."):  # its own words about a host are indented
                answers.setdefault(host, []).append(text)
        return took, ["\n".join(lines) for lines in answers.values()]

    def close(self) -> None:
        """Nothing stays."""


class Ansible:
    """`ansible -m setup` for the parts that are wanted, with everything that makes it quick."""

    name = "ansible setup"

    def __init__(self, python: str, folder: Path, farm: Any, hosts: Sequence[Any]) -> None:
        self.folder = folder
        self.program = str(Path(python).parent / "ansible")
        self.sockets = Path(f"/tmp/oqcp{os.getpid()}")
        config = folder / "ansible.cfg"
        config.write_text(
            "[defaults]\nforks=50\nhost_key_checking=False\ninterpreter_python=/usr/bin/python3\ngathering=explicit\n"
            f"local_tmp={folder}/ansible\n[ssh_connection]\npipelining=True\n"
            f"ssh_args=-o ControlMaster=auto -o ControlPersist=300s -o UserKnownHostsFile={folder}/known_hosts\n"
            f"control_path_dir={self.sockets}\n"
        )
        self.environment = {"ANSIBLE_CONFIG": str(config), "HOME": str(folder), "ANSIBLE_NOCOLOR": "1"}
        more = f"ansible_port={farm.port} ansible_user={farm.user} ansible_ssh_private_key_file={farm.key_file}"
        self.inventory = folder / f"ansible{len(hosts)}.ini"
        self.inventory.write_text("".join(f"{host.address} {more}\n" for host in hosts))

    def ask(self, how: str) -> tuple[Took, list[str]]:
        """Cold: no connection is kept from before; the processes that keep them count."""
        if how == "cold":
            self.close()
        before = self._kept()
        subset = "gather_subset=!all,!min,hardware,loadavg"
        argv = [self.program, "-o", "-i", str(self.inventory), "all", "-m", "ansible.builtin.setup", "-a", subset]
        took, said = _timed(argv, self.folder, **self.environment)
        kept = sum(seconds - before.get(pid, 0.0) for pid, seconds in self._kept().items())
        answers = [self._as_text(line) for line in said.splitlines() if " | SUCCESS" in line]
        return Took(took.wall, took.cpu + kept), answers

    @staticmethod
    def _as_text(line: str) -> str:
        """In the form of the others; it measures no CPU usage."""
        facts = json.loads(line[line.index("{") :])["ansible_facts"]
        memory, mount = facts["ansible_memory_mb"], next(m for m in facts["ansible_mounts"] if m["mount"] == "/")
        full = round(100 * (1 - mount["size_available"] / mount["size_total"]))
        return (
            f"cpu 0 0 0 0\ncpu 0 0 0 0\nMemTotal: {memory['real']['total'] * 1024}\n"
            f"MemAvailable: {memory['nocache']['free'] * 1024}\n{facts['ansible_loadavg']['1m']}\n"
            f"{facts['ansible_uptime_seconds']}\nx\nx x x x {full}% /"
        )

    def _masters(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if str(self.sockets) in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def _kept(self) -> dict[int, float]:
        found = {}
        for process in self._masters():
            with suppress(psutil.Error):
                found[process.pid] = sum(process.cpu_times()[:2])
        return found

    def close(self) -> None:
        """Hang up."""
        for process in self._masters():
            with suppress(psutil.Error):
                process.kill()
        shutil.rmtree(self.sockets, ignore_errors=True)


def _timed(argv: list[str], folder: Path, **more: str) -> tuple[Took, str]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        argv, cwd=folder, env={**os.environ, **more}, capture_output=True, text=True, check=False, timeout=900
    )
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return Took(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime), done.stdout + done.stderr


def rivals(stack: ExitStack, folder: Path, build: Path, farm: Any, hosts: Sequence[Any]) -> list[Any]:
    """Those that can be had, ready to be asked."""
    made: list[Any] = []
    for name in PACKAGES:
        python = environment(build, name)
        if not python:
            continue
        if name == "ansible":
            made.append(Ansible(python, folder, farm, hosts))
        elif name == "pyinfra":
            made.append(Pyinfra(python, folder, farm, hosts))
        else:
            made.append(Library(python, name, farm, hosts))
        stack.callback(made[-1].close)
    return made
