"""Sent to a host as text: runs restic there, waits for its locks, removes those that a dead process of ours left.

A lock is ours when the process that holds it was started by this program, which writes down process id, start time,
boot and name space before restic begins. Locks of others are waited for and told, never removed. It is longer than
other modules because what runs on a host has to be one text.
"""

from __future__ import annotations

import argparse
import datetime as dt
import errno
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

LOCKED, NO_REPOSITORY, WRONG_KEY, MISSING_PROGRAM, UNREAD = 11, 10, 12, 127, 3
SLACK_NS = 50_000_000
"""The clock of file systems runs up to a tick behind."""
MOST_LINES, MOST_ERRORS, KEPT = 100, 50, 500


# -- who holds what ---------------------------------------------------------------------------------------


def _first_line(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.readline().strip()


def _stat(pid: object) -> tuple[str, str]:
    """The state of a process, and when it was started in ticks since the boot; empty when it is gone."""
    try:
        words = _first_line(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return "", ""
    return words[0], words[19]


def _started(pid: object) -> str:
    """When a process that lives was started."""
    state, started = _stat(pid)
    return "" if state in "ZX" else started


def _where() -> tuple[str, str]:
    """This boot and this name space of processes."""
    return _first_line("/proc/sys/kernel/random/boot_id"), os.readlink("/proc/self/ns/pid")


def _notes(state: str) -> str:
    """One file for all sets of a host: a lock that one of them left is known to the others."""
    return os.path.join(os.path.dirname(state), "processes")


def _note_down(state: str, *more: object) -> None:
    """Before restic begins, so that its lock can be told from those of others; and when it ended by itself."""
    path = _notes(state)
    earlier = _lines(path)[-KEPT:] if os.path.exists(path) and os.path.getsize(path) > KEPT * 200 else None
    if earlier is not None:
        with open(f"{path}.new", "w", encoding="ascii") as file:
            file.write("".join(f"{one}\n" for one in earlier))
        os.replace(f"{path}.new", path)
    line = json.dumps([*(more or (os.getpid(), _started("self"))), *_where()])
    with open(path, "a", encoding="ascii") as file:
        file.write(line + "\n")


def _lines(path: str) -> list[str]:
    with open(path, encoding="ascii") as file:
        return file.read().splitlines()


def _noted(state: str) -> list[Any]:
    """The processes that did not end by themselves, as far as we know."""
    try:
        lines = _lines(_notes(state))
    except OSError:
        return []
    found: dict[Any, Any] = {}
    for line in lines:
        with suppress(ValueError):
            one = json.loads(line)
            if one[0] == "ended":
                found.pop(tuple(one[1:]), None)
            else:
                found[tuple(one)] = one
    return list(found.values())


def _since(started: str, uptime: float) -> float:
    """Seconds since a process of this boot was started."""
    return uptime - int(started) / os.sysconf("SC_CLK_TCK")


def _dead_and_ours(lock: dict[str, Any], noted: list[Any]) -> bool:
    """Only where it is certain: a process id is used again and again, here and in other name spaces."""
    boot, space = _where()
    uptime, age, living = float(_first_line("/proc/uptime").split()[0]), _age(lock["time"]), _started(lock.get("pid"))
    if lock.get("hostname") != os.uname().nodename:
        return False
    if living and age <= _since(living, uptime) + 1:  # who has this number now was there when the lock was made
        return False
    for pid, started, its_boot, its_space in noted:
        if pid != lock.get("pid"):
            continue
        if its_boot != boot and age >= uptime - 1:
            return True
        if (its_boot, its_space) == (boot, space) and living != started and age <= _since(started, uptime) + 1:
            return True
    return False


def _age(text: str) -> int:
    """Seconds since a time as restic writes it."""
    head, _, rest = text.partition(".")
    zone = "+00:00" if text.endswith("Z") else text[-6:]
    if not rest:
        head = text[:-1] if text.endswith("Z") else text[:-6]
    return max(0, int(time.time() - dt.datetime.fromisoformat(head + zone).timestamp()))


def locks(state: str) -> list[dict[str, Any]]:
    """The locks of the repository, each with who holds it, and whether it is a dead one of ours."""
    noted, found = _noted(state), []
    for name in _lock_names():
        told = asked("cat", "lock", name, "--no-lock", "--quiet")
        with suppress(ValueError, KeyError):
            lock = json.loads(told.stdout)
            found.append(
                {
                    "id": name,
                    "who": f"process {lock.get('pid')} of {lock.get('username')} on {lock.get('hostname')}",
                    "age": _age(lock["time"]),
                    "exclusive": bool(lock.get("exclusive")),
                    "ours": _dead_and_ours(lock, noted),
                    "gone": lock.get("hostname") == os.uname().nodename and not _started(lock.get("pid")),
                }
            )
    return found


def _lock_names() -> list[str]:
    place = os.environ.get("RESTIC_REPOSITORY", "")
    if not place.startswith("/"):
        return asked("list", "locks", "--no-lock", "--quiet").stdout.split()
    with suppress(OSError):  # a directory is read quicker than restic opens it
        return os.listdir(os.path.join(place, "locks"))
    return []


def release(state: str) -> int:
    """Remove the locks that dead processes of ours left; the others stay. The number of those that are gone."""
    found = locks(state)
    ours = [lock for lock in found if lock["ours"]]
    repository = os.environ.get("RESTIC_REPOSITORY", "")
    for lock in ours if repository.startswith("/") else ():
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(repository, "locks", lock["id"]))
    # Elsewhere restic has no word for one lock: its `unlock` takes all that look left behind to it.
    others = [lock for lock in found if lock["gone"] and not lock["ours"]]
    if ours and not repository.startswith("/") and not others:
        asked("unlock")
    return len(ours)


# -- running restic ---------------------------------------------------------------------------------------


def asked(*words: str) -> subprocess.CompletedProcess[str]:
    """One short question; 127 when there is no restic."""
    try:
        return subprocess.run(
            ["restic", "--no-cache", *words], stdin=subprocess.DEVNULL, capture_output=True, check=False,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
    except OSError as error:
        return subprocess.CompletedProcess(words, MISSING_PROGRAM, "", f"restic could not be started: {error}")


class Said:
    """What one run of restic printed, without the progress that nobody watches."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.problems: list[str] = []
        self.errors: list[dict[str, str]] = []
        self.summary: dict[str, Any] = {}
        self.gone = 0

    def take(self, stream: Iterable[str], kept: list[str]) -> None:
        """Read a stream to its end."""
        for raw in stream:
            line = raw.rstrip("\n")
            told = self._json(line)
            if told is None:
                kept.append(line)
                del kept[MOST_LINES : -MOST_LINES or None]
            else:
                self._message(told)

    def only_moving(self, began: int) -> bool:
        """Whether all that could not be read came or went meanwhile; then there is nothing to complain of."""
        if not self.errors or not all(_moving(one["path"], began) for one in self.errors):
            return False
        self.gone, self.errors = len(self.errors), []
        return True

    @staticmethod
    def _json(line: str) -> dict[str, Any] | None:
        if not line.startswith("{"):
            return None
        try:
            found = json.loads(line)
        except ValueError:
            return None
        return found if isinstance(found, dict) and "message_type" in found else None

    def _message(self, told: dict[str, Any]) -> None:
        kind = told["message_type"]
        if kind == "summary":
            self.summary = told
        elif kind == "error":
            self.errors.append({"path": told.get("item", ""), "why": _why(told.get("error"))})
        elif kind not in {"status", "error", "verbose_status"}:
            self.problems.append(json.dumps(told))


def _why(told: Any) -> str:
    """Older versions tell the number of the error alone, or nothing."""
    number = told.get("Err") if isinstance(told, dict) else None
    text = os.strerror(number) if isinstance(number, int) else told.get("message") if isinstance(told, dict) else told
    return str(text or "it could not be read")


def _moving(path: str, began: int) -> bool:
    """Whether an entry is gone, or was made anew since: nobody could have read it whole."""
    try:
        return os.lstat(path).st_ctime_ns >= began
    except OSError as error:
        return error.errno in {errno.ENOENT, errno.ENOTDIR}


def once(words: list[str], state: str) -> tuple[int, Said]:
    """Run restic to its end; its exit code and what it said."""

    def prepare() -> None:
        _note_down(state)
        with suppress(OSError):
            os.nice(int(os.environ.get("OPSQUEUE_NICE", "0")))

    said, began = Said(), time.time_ns() - SLACK_NS
    try:
        process = subprocess.Popen(
            ["restic", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8", errors="replace", preexec_fn=prepare,  # noqa: PLW1509 - before a thread is started
        )  # fmt: skip
    except OSError as error:
        said.problems.append(f"restic could not be started: {error}")
        return MISSING_PROGRAM, said
    readers = [
        threading.Thread(target=said.take, args=pair, daemon=True)
        for pair in ((process.stdout, said.lines), (process.stderr, said.problems))
    ]
    for reader in readers:
        reader.start()
    started = _stat(process.pid)[1]  # also when it has ended already: nobody has collected it
    code = process.wait()
    if code >= 0:
        _note_down(state, "ended", process.pid, started)
    for reader in readers:
        reader.join(5)
    if code == UNREAD and said.only_moving(began):
        code = 0
    return meaning(code, "\n".join(said.problems)), said


def meaning(code: int, problems: str) -> int:
    """The exit code as restic 0.17 and newer give it; older ones say 1 and tell it in words."""
    if code in {LOCKED, NO_REPOSITORY, WRONG_KEY, 0}:
        return code
    if "already locked" in problems:
        return LOCKED
    if "wrong password" in problems:
        return WRONG_KEY
    if "Is there a repository" in problems or "unable to open config file" in problems:
        return NO_REPOSITORY
    return code if code >= 0 else 128 - code


def run(words: list[str], state: str, wait: int) -> tuple[int, Said]:
    """Run restic; wait for the locks of others at most `wait` seconds."""
    until = time.monotonic() + wait
    while True:
        code, said = once(words, state)
        if code != LOCKED:
            if code > 128:  # noqa: PLR2004 - it was ended by a signal, and could not remove its own lock
                release(state)
            return code, said
        if not release(state) and time.monotonic() > until:
            holders = "; ".join(f"{lock['who']} since {lock['age']} s" for lock in locks(state))
            said.problems.append(f"after {wait} s the repository is still locked: {holders or 'nobody knows by whom'}")
            return LOCKED, said
        time.sleep(0.5)


# -- looking ----------------------------------------------------------------------------------------------


def version() -> str:
    """The version of restic, such as `0.14.0`; empty when there is none."""
    words = asked("version").stdout.split()
    return words[1] if len(words) > 1 and words[0] == "restic" else ""


def repository(label: str, name: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Whether it is there and opens with this key, and the snapshots of this host and this set, the oldest first."""
    said = asked("snapshots", "--json", "--no-lock", "--host", label, "--tag", f"opsqueue,set={name}")
    code = meaning(said.returncode, said.stderr)
    state = {0: "there", NO_REPOSITORY: "missing", WRONG_KEY: "wrong_key"}.get(code, "unreachable")
    found = [_snapshot(one) for one in json.loads(said.stdout) or []] if code == 0 else []
    told = {"state": state, "why": " ".join(said.stderr.split())[-300:]}
    return told, sorted(found, key=lambda one: (-one["age"], one["run"]))


def _snapshot(told: dict[str, Any]) -> dict[str, Any]:
    tags = told.get("tags") or []
    run_of = [tag[4:] for tag in tags if tag.startswith("run=")]
    return {
        "id": told["short_id"],
        "run": int(run_of[0]) if run_of and run_of[0].isdigit() else 0,
        "at": told["time"][:19] + "Z",
        "age": _age(told["time"]),
        "verified": "verified" in tags,
        "paths": told.get("paths") or [],
    }


def look(given: argparse.Namespace) -> int:
    """All that is asked about the repository."""
    answer: dict[str, Any] = {
        "restic": version(),
        "label": given.label or os.uname().nodename,
        "root": os.geteuid() == 0,
    }
    told: tuple[dict[str, str], list[dict[str, Any]]] = ({"state": "unknown", "why": "no restic"}, [])
    answer["repository"], answer["snapshots"] = repository(answer["label"], given.name) if answer["restic"] else told
    there = answer["repository"]["state"] == "there"
    answer["locks"] = locks(given.state) if there else []
    changed = _changed(given, answer) if there and given.run else None
    answer["changed"] = changed
    json.dump(answer, sys.stdout)
    sys.stdout.write("\n")
    return 0


def _changed(given: argparse.Namespace, answer: dict[str, Any]) -> dict[str, Any] | None:
    """What the snapshot of this run has otherwise than the proven one before it, as restic tells it."""
    runs = [one for one in answer["snapshots"] if one["verified"]]
    if not runs or runs[-1]["run"] != given.run or len(runs) < 2:  # noqa: PLR2004 - one and the one before
        return None
    said = asked("diff", "--no-lock", runs[-2]["id"], runs[-1]["id"])
    lines = [line for line in said.stdout.splitlines() if line[:1] in {"+", "-", "M", "T", "U"} and "/" in line]
    return {"count": len(lines), "first": lines[:20]} if said.returncode == 0 else None


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser()
    below = parser.add_subparsers(dest="verb", required=True)
    runs = below.add_parser("run")
    runs.add_argument("--wait", type=int, default=120)
    runs.add_argument("--save", default="")
    runs.add_argument("--include-from", default="")
    runs.add_argument("--inside", default="")
    looks = below.add_parser("look")
    looks.add_argument("--label", default="")
    looks.add_argument("--name", required=True)
    looks.add_argument("--run", type=int, default=0)
    frees = below.add_parser("release")
    for each in (runs, looks, frees):
        each.add_argument("--state", required=True)
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    given, words = parser.parse_args(words[:cut]), words[cut + 1 :]
    os.environ.setdefault("RESTIC_CACHE_DIR", os.path.join(given.state, "cache"))
    if given.verb == "look":
        return look(given)
    if given.verb == "release":
        sys.stdout.write(f"locks removed: {release(given.state)}\n")
        return 0
    return _told(given, words)


def _enter(place: str) -> None:
    """Stay in a new directory of ours: whoever may change what lies above it leads nothing of ours elsewhere."""
    here = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    status = os.fstat(here)
    if (status.st_uid, stat.S_IMODE(status.st_mode)) != (os.geteuid(), 0o700) or os.listdir(here):
        raise SystemExit(f"{place} is not an empty directory that only we can enter; nothing is restored there")
    os.fchdir(here)


def _told(given: argparse.Namespace, words: list[str]) -> int:
    if given.inside:
        _enter(given.inside)
    if given.include_from:
        with open(given.include_from, encoding="utf-8", errors="surrogateescape") as file:
            words += [f"--include={one}" for one in file.read().split("\0") if one]
    code, said = run(words, given.state, given.wait)
    if given.save:
        with open(given.save, "w", encoding="utf-8") as file:
            told = {"code": code, "summary": said.summary, "errors": said.errors[:MOST_ERRORS], "gone": said.gone}
            json.dump({**told, "unread": len(said.errors), "said": said.problems[-5:]}, file)
    for one in said.errors[:MOST_ERRORS]:
        said.problems.append(f"{one['path']}: {one['why']}")
    sys.stdout.write("".join(f"{line}\n" for line in [*said.lines, *([json.dumps(said.summary)] * bool(said.summary))]))
    sys.stderr.write("".join(f"{line}\n" for line in said.problems))
    return code


if __name__ == "__main__":
    sys.exit(main())
