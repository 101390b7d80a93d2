"""The kind `performance_tuning` driven as the kernel does it, by programs inside of name spaces of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from opsqueue.connectors.local import LocalShell
from opsqueue.model.kind import Metric, Seen
from opsqueue.model.plan import Plan
from opsqueue.operations.performance_tuning import OPERATION


@dataclass
class Tuned:
    """What one run found; `rolled` and `restored` stay empty unless there were problems."""

    objections: list[str] = field(default_factory=list)
    plan: Plan = field(default_factory=Plan)
    problems: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    rolled: bool = False
    restored: list[str] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)

    @property
    def titles(self) -> list[str]:
        return [step.title for step in self.plan.steps]


def send(plan: Plan, most: int = 100) -> list[str]:
    """Send the first steps of a plan, until one fails."""
    for step in plan.steps[:most]:
        result = LocalShell().run(step.command)
        if result.exit_code not in step.ok_codes:
            return [f"{step.title}: {result.exit_code} {result.output}"]
    return []


def begun(place: str, **parameters: Any) -> tuple[Tuned, Any]:
    """What would be done; all files lie below `place`."""
    dirs = {f"{name}_dir": f"{place}/{name}" for name in ("sysctl", "limits", "systemd", "udev", "tmpfiles", "state")}
    given = {"sample_seconds": 0, "allow_load": True, "benchmark_dir": place, **dirs, **parameters}
    params = OPERATION.params.model_validate(given)
    found = Tuned(before=dict(LocalShell().ask(OPERATION.facts(params))))
    found.objections = list(OPERATION.objections(params, found.before))
    if not found.objections:
        found.plan = OPERATION.plan(params, found.before)
    return found, params


def look(params: Any, found: Tuned) -> Tuned:
    """What the host looks like afterwards, and the way back where it is not as it should be."""
    shell = LocalShell()
    found.after = dict(shell.ask(OPERATION.facts_after(params, found.before)))
    found.problems += OPERATION.verify(params, found.before, found.after)
    metrics: dict[str, Metric] = {one.name: one for one in OPERATION.measure(params, found.before, found.after)}
    found.metrics = {name: metric.value for name, metric in metrics.items()}
    seen = Seen(host="here", before=found.before, after=found.after, metrics=metrics, earlier={}, thresholds={})
    found.findings = [finding.code for finding in OPERATION.analyse(params, seen).findings]
    if found.problems:
        back = OPERATION.rollback(params, found.before, found.after)
        found.rolled = bool(back)
        problems = send(back)
        again = dict(shell.ask(OPERATION.facts_after(params, found.before)))
        found.restored = [*problems, *OPERATION.restored(params, found.before, again)]
    return found


def cycle(place: str, **parameters: Any) -> Tuned:
    """One run to its end."""
    found, params = begun(place, **parameters)
    if found.objections or not found.plan:
        return found
    found.problems = send(found.plan)
    return look(params, found)
