"""Drives the kind `database_maintenance` as the kernel does, on this machine; as a program, one that can be killed."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from opsqueue.connectors import local
from opsqueue.connectors.local import LocalShell
from opsqueue.model.kind import Metric, Seen
from opsqueue.model.plan import Command, Plan
from opsqueue.operations.database_maintenance import OPERATION


@dataclass
class Cycle:
    """What one run found; `rolled` and `restored` stay as they are unless there were problems."""

    objections: list[str] = field(default_factory=list)
    plan: Plan = field(default_factory=Plan)
    sent: list[str] = field(default_factory=list)
    """What was really started, as people see a command."""
    codes: list[int | None] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
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


def params_of(parameters: dict[str, Any]) -> Any:
    return OPERATION.params.model_validate({"timeout_seconds": 60, **parameters})


def _send(
    shell: LocalShell, plan: Plan, found: Cycle | None = None, after: Callable[[str], Any] = lambda _title: None
) -> list[int | None]:
    codes: list[int | None] = []
    for step in plan.steps:
        with _started(found.sent if found else [], step.command.secrets):
            result = shell.run(step.command)
        codes.append(result.exit_code)
        if found:
            found.outputs.append(result.output)
        if codes[-1] not in step.ok_codes:
            break
        after(step.title)
    return codes


@contextmanager
def _started(told: list[str], secrets: Mapping[str, str]) -> Iterator[None]:
    """Everything that the connector starts meanwhile: arguments, environment and input of the real process.

    In the place of a secret that it was given stands its reference.
    """
    real, base = local.run_process, local._environment()

    def run(argv: Sequence[str], *, env: dict[str, str], stdin: bytes = b"", **more: Any) -> Any:
        own = {name: value for name, value in env.items() if name not in {*base, *secrets}}
        given = {name: reference for name, reference in secrets.items() if env.get(name)}
        told.append(str(Command(argv=_without_limit(argv), env=own, stdin=stdin.decode(), secrets=given)))
        return real(argv, env=env, stdin=stdin, **more)

    local.run_process = run
    try:
        yield
    finally:
        local.run_process = real


def _without_limit(argv: Sequence[str]) -> tuple[str, ...]:
    """Without what the connector puts before each command: its time limit, and the way to root."""
    words = list(argv)
    while Path(words[0]).name == "timeout" or words[0] == "sudo":
        words = words[4:] if words[0] != "sudo" else words[3 if words[2].startswith("--preserve") else 2 :]
    return tuple(words)


def every_title(run_: Cycle) -> list[str]:
    """What each step of a run is called, without what is another in the next run: the number of a scratch database."""
    titles = [re.sub(r"opsqueue_scratch_.*", "opsqueue_scratch", step.title) for step in run_.plan.steps]
    assert run_.problems == []
    assert len(titles) > 1
    return titles


def dry_and_real(parameters: dict[str, Any], state: Callable[[], object]) -> Cycle:
    """A run that sends what a dry run printed just before, which changed nothing of the state."""
    shell, params, was = LocalShell(), params_of(parameters), state()
    facts = dict(shell.ask(OPERATION.facts(params)))
    assert OPERATION.objections(params, facts) == ()
    printed = [str(step.command) for step in OPERATION.plan(params, facts).steps]
    assert state() == was
    run_ = cycle(parameters)
    assert printed
    assert run_.sent == printed
    assert (run_.problems, set(run_.codes)) == ([], {0})
    return run_


def _look(shell: LocalShell, params: Any, before: dict[str, Any], found: Cycle) -> Cycle:
    return _judge(params, before, dict(shell.ask(OPERATION.facts_after(params, before))), found)


def _judge(params: Any, before: dict[str, Any], after: dict[str, Any], found: Cycle) -> Cycle:
    found.after = after
    found.problems = list(OPERATION.verify(params, before, after))
    metrics: dict[str, Metric] = {metric.name: metric for metric in OPERATION.measure(params, before, after)}
    found.metrics = {name: metric.value for name, metric in metrics.items()}
    seen = Seen(host="here", before=before, after=after, metrics=metrics, earlier={}, thresholds={})
    told = OPERATION.analyse(params, seen).findings
    found.findings = [finding.code for finding in told]
    found.messages = [f"{finding.message}; {finding.advice}" for finding in told]
    return found


def _mend(shell: LocalShell, params: Any, before: dict[str, Any], found: Cycle) -> None:
    back = OPERATION.rollback(params, before, found.after)
    found.rolled = [step.title for step in back.steps]
    if back:
        _send(shell, back)
        again = dict(shell.ask(OPERATION.facts_after(params, before)))
        found.restored = list(OPERATION.restored(params, before, again))


def cycle(
    parameters: dict[str, Any],
    *,
    meanwhile: Callable[[], Any] = lambda: None,
    after: Callable[[str], Any] = lambda _title: None,
) -> Cycle:
    """One run to its end, led back where it failed; `meanwhile` happens between looking and sending, `after` what is
    given the title of each step that went well."""
    shell, found, params = LocalShell(), Cycle(), params_of(parameters)
    before = dict(shell.ask(OPERATION.facts(params)))
    found.before = before
    found.objections = list(OPERATION.objections(params, before))
    if found.objections:
        return found
    found.plan = OPERATION.plan(params, before)
    if not found.plan:
        return _judge(params, before, before, found)
    meanwhile()
    found.codes = _send(shell, found.plan, found, after)
    _look(shell, params, before, found)
    if found.problems:
        _mend(shell, params, before, found)
    return found


def flipped(parameters: dict[str, Any], kept: Path, name: str) -> list[str]:
    """What is said of a backup, one byte of whose file `name` was changed, and what leads back."""
    params, first = params_of(parameters), cycle(parameters)
    assert first.problems == []
    (file,) = kept.rglob(name)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    after = LocalShell().ask(OPERATION.facts_after(params, first.before))
    back = OPERATION.rollback(params, first.before, after)
    return [*OPERATION.verify(params, first.before, after), *(step.title for step in back.steps)]


def killed_at(parameters: dict[str, Any], title: str) -> Cycle:
    """A worker is killed with SIGKILL in the middle of the first step with this in its title, at the latest right after
    it; another one looks."""
    shell, found, params = LocalShell(), Cycle(), params_of(parameters)
    mark = f"test/{title}/{time.monotonic()}"
    argv = [sys.executable, str(Path(__file__)), json.dumps(parameters), title, mark]
    with Popen(argv, stdin=PIPE, stdout=PIPE, text=True) as worker:
        assert worker.stdout is not None
        found.before = json.loads(worker.stdout.readline())
        assert worker.stdout.readline() == "sending\n", "no step has this in its title"
        deadline = time.monotonic() + 20
        while not shell.busy(mark) and worker.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        worker.kill()
    while shell.busy(mark):
        assert time.monotonic() < deadline + 60, "the command goes on without end"
        time.sleep(0.05)
    _look(shell, params, found.before, found)
    if found.problems:
        _mend(shell, params, found.before, found)
    return found


def _work(parameters: dict[str, Any], title: str, mark: str) -> None:
    shell, params = LocalShell(), params_of(parameters)
    before = dict(shell.ask(OPERATION.facts(params)))
    print(json.dumps(before), flush=True)
    for step in OPERATION.plan(params, before).steps:
        if title in step.title:
            print("sending", flush=True)
        result = shell.run(step.command, mark if title in step.title else "")
        assert result.exit_code in step.ok_codes, f"{step.title}: {result.output}"
        if title in step.title:
            os.kill(os.getpid(), signal.SIGKILL)  # it was quicker than whoever wanted to kill us


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3])
