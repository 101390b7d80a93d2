"""Drives the kind `backup_operation` as the kernel does, through any shell; as a program, one that can be killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from opsqueue.connectors.local import LocalShell
from opsqueue.connectors.shell import Shell
from opsqueue.model.kind import Seen
from opsqueue.model.plan import Plan, Result
from opsqueue.operations.backup_operation import OPERATION


@dataclass
class Cycle:
    """What one run found; `rolled` and `restored` stay as they are unless there were problems."""

    objections: list[str] = field(default_factory=list)
    plan: Plan = field(default_factory=Plan)
    sent: list[str] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    rolled: list[str] = field(default_factory=list)
    restored: list[str] | None = None
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)

    @property
    def titles(self) -> list[str]:
        return [step.title for step in self.plan.steps]

    @property
    def said(self) -> str:
        return "\n".join(result.output for result in self.results)

    @property
    def good(self) -> bool:
        return not self.objections and not self.problems and bool(self.plan)


def params_of(parameters: dict[str, Any]) -> Any:
    return OPERATION.params.model_validate({"timeout_seconds": 120, "lock_wait_seconds": 5, **parameters})


def _send(shell: Shell, plan: Plan, found: Cycle, mark: str = "", during: Callable[[str], Any] | None = None) -> None:
    for step in plan.steps:
        if during:
            during(step.title)
        result = shell.run(step.command, mark)
        found.sent.append(step.title)
        found.results.append(result)
        if result.exit_code not in step.ok_codes:
            found.problems.append(f"{step.title}: {result.exit_code} {result.output[-500:]}")
            break


def _look(shell: Shell, params: Any, before: dict[str, Any], found: Cycle) -> Cycle:
    after = dict(shell.ask(OPERATION.facts_after(params, before)))
    found.after = after
    found.problems += OPERATION.verify(params, before, after)
    metrics = {metric.name: metric for metric in OPERATION.measure(params, before, after)}
    found.metrics = {name: metric.value for name, metric in metrics.items()}
    seen = Seen(host="here", before=before, after=after, metrics=metrics, earlier={}, thresholds={})
    findings = OPERATION.analyse(params, seen).findings
    found.findings, found.messages = [one.code for one in findings], [one.message for one in findings]
    return found


def _mend(shell: Shell, params: Any, before: dict[str, Any], found: Cycle) -> None:
    back = OPERATION.rollback(params, before, found.after)
    found.rolled = [step.title for step in back.steps]
    if back:
        led = Cycle()
        _send(shell, back, led)
        again = dict(shell.ask(OPERATION.facts_after(params, before)))
        found.restored = [*led.problems, *OPERATION.restored(params, before, again)]


def cycle(
    parameters: dict[str, Any],
    *,
    shell: Shell | None = None,
    meanwhile: Callable[[], Any] = lambda: None,
    during: Callable[[str], Any] | None = None,
) -> Cycle:
    """One run to its end, led back where it failed; `meanwhile` happens between looking and sending."""
    shell, found, params = shell or LocalShell(), Cycle(), params_of(parameters)
    before = dict(shell.ask(OPERATION.facts(params)))
    found.before = before
    found.objections = list(OPERATION.objections(params, before))
    if found.objections:
        return found
    found.plan = OPERATION.plan(params, before)
    if not found.plan:
        return found
    meanwhile()
    _send(shell, found.plan, found, during=during)
    _look(shell, params, before, found)
    if found.problems:
        _mend(shell, params, before, found)
    return found


def killed_at(parameters: dict[str, Any], title: str, everything: bool = False) -> Cycle:
    """A worker is killed with SIGKILL right after it sent the first step with this in its title; another one looks.

    `everything`: what it started is killed with it, as when the host itself goes down.
    """
    shell, found, params = LocalShell(), Cycle(), params_of(parameters)
    mark = f"test/{title}/{time.monotonic()}"
    argv = [sys.executable, str(Path(__file__)), json.dumps(parameters), title, mark]
    with Popen(argv, stdin=PIPE, stdout=PIPE, text=True) as worker:
        assert worker.stdout is not None
        found.before = json.loads(worker.stdout.readline())
        assert worker.stdout.readline() == "sending\n", "no step has this in its title"
        deadline = time.monotonic() + 30
        while not shell.busy(mark) and worker.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        if everything:
            while not _restic(mark) and shell.busy(mark) and time.monotonic() < deadline:
                time.sleep(0.001)
            for pid in marked(mark):
                subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)
        worker.kill()
    while shell.busy(mark):
        assert time.monotonic() < deadline + 60, "the command goes on without end"
        time.sleep(0.05)
    _look(shell, params, found.before, found)
    if found.problems:
        _mend(shell, params, found.before, found)
    return found


def marked(mark: str) -> list[int]:
    """The processes that a worker started with this mark."""
    wanted = f"OPSQUEUE_MARK={mark}".encode()
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (one / "environ").read_bytes().split(b"\0"):
                found.append(int(one.name))
        except OSError:
            continue
    return found


def _restic(mark: str) -> bool:
    for pid in marked(mark):
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() == "restic":
                return True
        except OSError:
            continue
    return False


def _work(parameters: dict[str, Any], title: str, mark: str) -> None:
    shell, params = LocalShell(), params_of(parameters)
    before = dict(shell.ask(OPERATION.facts(params)))
    print(json.dumps(before), flush=True)
    for step in OPERATION.plan(params, before).steps:
        if title in step.title:
            print("sending", flush=True)
        result = shell.run(step.command, mark if title in step.title else "")
        assert result.exit_code in step.ok_codes, f"{step.title}: {result.output}"


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3])
