"""Writers of logs for tests, and the kind `log_rotation` driven as the kernel does it, on this machine."""

from __future__ import annotations

import gzip
import lzma
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from opsqueue.connectors.local import LocalShell
from opsqueue.model.kind import Metric, Seen
from opsqueue.model.plan import Plan
from opsqueue.operations.log_rotation import OPERATION

WRITER = textwrap.dedent(
    """
    import os, signal, sys, time
    path, pid_file, flags, pause = sys.argv[1:5]
    words = flags.split(",")

    def opened():
        append = 0 if "no-append" in words else os.O_APPEND
        return os.open(path, os.O_WRONLY | os.O_CREAT | append, 0o640)

    log, again, stop = opened(), False, False

    def asked(*_):
        global again
        again = True

    def ended(*_):
        global stop
        stop = True

    signal.signal(signal.SIGHUP, signal.SIG_IGN if "deaf" in words else asked)
    signal.signal(signal.SIGTERM, ended)
    with open(pid_file + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(pid_file + ".new", pid_file)
    number, began = 0, time.monotonic()
    while not stop:
        if again:
            again = False
            os.close(log)
            log = opened()
        os.write(log, b"%09d a line of the log that goes on without end\\n" % number)
        number += 1
        if pause != "0":
            time.sleep(float(pause))
        elif number % 1000 == 0:
            time.sleep(max(0, began + number / 20_000 - time.monotonic()))
    print(number)
    """
)
"""Writes numbered lines until SIGTERM, then prints how many; opens its log anew at SIGHUP unless it is `deaf`.

Without a pause it writes bursts of 1,000 lines, and at most 20,000 lines in a second: gigabytes would prove no more.
"""

GENERATION = re.compile(r"-(\d{8}T\d{6}Z)(\.gz|\.zst|\.xz)?$")


def until(true: Callable[[], Any], seconds: float = 60.0, what: str = "the awaited") -> Any:
    """Wait until a condition holds and return what it gave."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come about within {seconds} s")


@dataclass
class Writer:
    """A process that writes to a log."""

    process: subprocess.Popen[str]
    log: Path
    written: int = -1

    def stop(self) -> int:
        """End it; how many lines it wrote."""
        if self.written < 0:
            self.process.send_signal(signal.SIGTERM)
            self.written = int(self.process.communicate(timeout=60)[0])
        return self.written


@contextmanager
def writer(log: Path, *flags: str, pause: float = 0.001) -> Iterator[Writer]:
    """A writer at work; its pid file is `LOG.pid`."""
    pid_file = log.with_name(f"{log.name}.pid")
    argv = [sys.executable, "-c", WRITER, str(log), str(pid_file), ",".join(flags), f"{pause:g}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        one = Writer(process, log)
        try:
            until(lambda: pid_file.exists() and log.exists() and log.stat().st_size, what="the writer")
            yield one
        finally:
            if one.written < 0:
                process.kill()


def unpacked(path: Path) -> bytes:
    """The content of a log, packed or plain."""
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-q", "-d", "-c", str(path)], stdout=subprocess.PIPE, check=True).stdout
    return path.read_bytes()


def generations(log: Path, archive: str = "") -> list[Path]:
    """The rotated logs, the oldest first."""
    places = [log.parent, *([Path(archive, str(log.parent)[1:].replace("/", ":"))] if archive else [])]
    found = [path for place in places for path in place.glob(f"{log.name}-*") if GENERATION.search(path.name)]
    return sorted(found, key=lambda path: GENERATION.search(path.name)[1])


def lines(log: Path, archive: str = "") -> list[int]:
    """The numbers of all lines in all generations and the live log, in the order in which they would be read."""
    text = b"".join(unpacked(path) for path in (*generations(log, archive), log))
    return [int(line[:9]) for line in text.splitlines()]


def nothing_begun(log: Path) -> bool:
    """Whether nothing half-written lies beside the log."""
    return [path.name for path in log.parent.iterdir() if "opsqueue" in path.name] == []


def aged(log: Path, hours: int = 24, archive: str = "") -> None:
    """Let all that was rotated have been rotated earlier, as their names say it; the lines stay as old as they are."""
    for path in generations(log, archive):
        found = GENERATION.search(path.name)
        assert found
        then = datetime.strptime(found[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) - timedelta(hours=hours)
        path.rename(path.with_name(path.name.replace(found[1], f"{then:%Y%m%dT%H%M%SZ}")))


def snapshot(directory: Path) -> dict[str, tuple[object, ...]]:
    """Everything about every file below a directory that a change would change."""
    found = {path: path.lstat() for path in sorted(directory.rglob("*"))}
    return {
        str(path): (one.st_ino, one.st_mode, one.st_uid, one.st_gid, one.st_size, one.st_mtime_ns, one.st_ctime_ns)
        for path, one in found.items()
    }


@dataclass
class Cycle:
    """What one run found; `rolled` and `restored` stay as they are unless there were problems."""

    objections: list[str] = field(default_factory=list)
    plan: Plan = field(default_factory=Plan)
    outputs: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    rolled: list[str] = field(default_factory=list)
    restored: list[str] | None = None
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)

    @property
    def titles(self) -> list[str]:
        return [step.title for step in self.plan.steps]


def look(params: Any, found: Cycle) -> None:
    """What the host looks like afterwards, and the way back where it is not as it should be."""
    shell = LocalShell()
    found.after = dict(shell.ask(OPERATION.facts_after(params, found.before)))
    found.problems += OPERATION.verify(params, found.before, found.after)
    metrics: dict[str, Metric] = {one.name: one for one in OPERATION.measure(params, found.before, found.after)}
    found.metrics = {name: metric.value for name, metric in metrics.items()}
    seen = Seen(
        host="here", before=found.before, after=found.after, metrics=metrics, earlier={}, thresholds={"disk_usage": 100}
    )
    found.findings = [finding.code for finding in OPERATION.analyse(params, seen).findings]
    if not found.problems:
        return
    back = OPERATION.rollback(params, found.before, found.after)
    found.rolled = [step.title for step in back.steps]
    if back:
        _send(back, found)
        again = dict(shell.ask(OPERATION.facts_after(params, found.before)))
        found.restored = list(OPERATION.restored(params, found.before, again))


def _send(plan: Plan, found: Cycle) -> list[str]:
    for step in plan.steps:
        result = LocalShell().run(step.command)
        found.outputs.append(result.output)
        if result.exit_code not in step.ok_codes:
            return [f"{step.title}: {result.exit_code} {result.output}"]
    return []


def cycle(parameters: dict[str, Any], *, meanwhile: Callable[[], Any] = lambda: None) -> Cycle:
    """One run to its end; `meanwhile` happens between looking and sending."""
    found, params = begun(parameters)
    if found.objections or not found.plan:
        return found
    meanwhile()
    found.problems = _send(found.plan, found)
    look(params, found)
    return found


def begun(parameters: dict[str, Any]) -> tuple[Cycle, Any]:
    """What would be done."""
    params = OPERATION.params.model_validate({"logrotate_config": "", **parameters})
    found = Cycle(before=dict(LocalShell().ask(OPERATION.facts(params))))
    found.objections = list(OPERATION.objections(params, found.before))
    if not found.objections:
        found.plan = OPERATION.plan(params, found.before)
    return found, params
