"""Drives the kind `service_restart` as the kernel does, on this machine; as a program, inside of a name space."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from opsqueue.connectors.local import LocalShell
from opsqueue.model.kind import Metric, Seen
from opsqueue.model.plan import Plan
from opsqueue.operations.service_restart import OPERATION


@dataclass
class Cycle:
    """What one run found; `rolled` and `restored` stay empty unless there were problems."""

    objections: list[str] = field(default_factory=list)
    plan: list[list[str]] = field(default_factory=list)
    codes: list[int | None] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    rolled: list[list[str]] = field(default_factory=list)
    restored: list[str] | None = None
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)

    @property
    def old(self) -> dict[str, Any]:
        return self.before["service"]["unit"]

    @property
    def new(self) -> dict[str, Any]:
        return self.after["settled"]["last"]


def _send(shell: LocalShell, plan: Plan) -> list[int | None]:
    codes: list[int | None] = []
    for step in plan.steps:
        codes.append(shell.run(step.command).exit_code)
        if codes[-1] not in step.ok_codes:
            break
    return codes


def cycle(
    parameters: dict[str, Any],
    *,
    crash: bool = False,
    meanwhile: Callable[[], Any] = lambda: None,
    mend: bool = False,
    first: int | None = None,
) -> Cycle:
    """One run; with `crash` nothing is sent, as if the worker had died after it wrote `applying`.

    With `first` so many steps are sent, as if it had died behind them.
    """
    shell, found = LocalShell(), Cycle()
    usual = {"settle_seconds": 1, "start_timeout_seconds": 5, "restart_log": False}
    params = OPERATION.params.model_validate({**usual, **parameters})
    before = dict(shell.ask(OPERATION.facts(params)))
    found.before = before
    found.objections = list(OPERATION.objections(params, before))
    plan = OPERATION.plan(params, before)
    found.plan = [list(step.command.argv) for step in plan.steps]
    if found.objections or not plan:
        return found
    meanwhile()
    found.codes = _send(shell, Plan(steps=plan.steps[: 0 if crash else first]))
    after = dict(shell.ask(OPERATION.facts_after(params, before)))
    found.after = after
    found.problems = list(OPERATION.verify(params, before, after))
    metrics: dict[str, Metric] = {metric.name: metric for metric in OPERATION.measure(params, before, after)}
    found.metrics = {name: metric.value for name, metric in metrics.items()}
    seen = Seen(host="here", before=before, after=after, metrics=metrics, earlier={}, thresholds={})
    found.findings = [finding.code for finding in OPERATION.analyse(params, seen).findings]
    if found.problems and mend:
        back = OPERATION.rollback(params, before, after)
        found.rolled = [list(step.command.argv) for step in back.steps]
        _send(shell, back)
        again = dict(shell.ask(OPERATION.facts_after(params, before)))
        found.restored = list(OPERATION.restored(params, before, again))
    return found


def _answer(line: str) -> str:
    wanted = json.loads(line)
    argv = wanted.pop("meanwhile", ["true"])
    run = cycle(wanted.pop("params"), meanwhile=lambda: subprocess.run(argv, check=True), **wanted)
    return json.dumps(asdict(run))


if __name__ == "__main__":
    for line in sys.stdin:
        print(_answer(line), flush=True)
