"""Several services of one operation: the facts of each, and the order in which they go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opsqueue.facts.services import Unit
from opsqueue.model.fact import Facts, unknown, why_unknown
from opsqueue.model.kind import Finding
from opsqueue.model.names import Severity
from opsqueue.operations.service.objections import is_detached
from opsqueue.operations.service.params import ServiceRestartParams
from opsqueue.operations.service.verdict import unit_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One service with its own parameters and answers, under the names that they have for one alone."""

    name: str
    params: ServiceRestartParams
    before: Facts
    after: Facts = field(default_factory=dict)

    @property
    def two(self) -> tuple[ServiceRestartParams, Facts]:
        """What is known before."""
        return (self.params, self.before)

    @property
    def three(self) -> tuple[ServiceRestartParams, Facts, Facts]:
        """What is known afterwards."""
        return (self.params, self.before, self.after)

    @property
    def unit(self) -> Unit | None:
        """As it was before."""
        return unit_of(self.before)

    @property
    def target(self) -> str:
        """Its name for its manager."""
        return self.unit.target if self.unit else self.name

    @property
    def now(self) -> Unit | None:
        """As it was seen last; `None` where that is not known."""
        answer, unit = self.after.get("settled"), self.unit
        if unit is None or answer is None or why_unknown(answer):
            return None
        return Unit.of(answer["last"] | {"manager": unit.manager})

    @property
    def untouched(self) -> bool:
        """Whether it is still the life that it was."""
        unit, now = self.unit, self.now
        return bool(unit and now and (unit.identity, unit.running) == (now.identity, now.running))

    @property
    def left_alone(self) -> bool:
        """Whether there is nothing to do with it among others that are restarted."""
        return bool(self.unit and self.unit.phase == "stopped" and self.params.when_inactive == "skip")


def whose(params: ServiceRestartParams, what: str, name: str) -> str:
    """The name of a fact or a metric: of one service as it is, of several with the service behind a colon."""
    return f"{what}:{name}" if len(params.names) > 1 else what


def parts(params: ServiceRestartParams, before: Facts, after: Mapping[str, Any] | None = None) -> Iterator[Part]:
    """Each service, in the order in which they go."""
    for name in ordered(params, before):
        found = _own(params, name, before)
        found.setdefault("service", unknown("nobody was asked"))
        yield Part(name=name, params=params.alone(name), before=found, after=_own(params, name, after or {}))


def _own(params: ServiceRestartParams, name: str, facts: Facts) -> dict[str, Any]:
    if len(params.names) == 1:
        return dict(facts)
    behind = f":{name}"
    return {key.removesuffix(behind): value for key, value in facts.items() if key.endswith(behind)}


def ordered(params: ServiceRestartParams, before: Facts) -> tuple[str, ...]:
    """The names in the order in which they go."""
    return params.names if params.order == "given" else _by_manager(params.names, _after(params, before))


def _after(params: ServiceRestartParams, before: Facts) -> dict[str, set[str]]:
    """For each name the others that its manager starts before it."""
    units = {name: unit_of(_own(params, name, before)) for name in params.names}
    by_target = {unit.target: name for name, unit in units.items() if unit}
    earlier = {name: (unit.props.get("After", "").split() if unit else []) for name, unit in units.items()}
    return {name: {by_target[one] for one in words if one in by_target} for name, words in earlier.items()}


def _by_manager(names: Sequence[str], earlier: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Those that others wait for first; otherwise as they were given, also where they wait for each other."""
    left, done = list(names), []
    while left:
        ready = next((name for name in left if not earlier[name] & set(left)), left[0])
        left.remove(ready)
        done.append(ready)
    return tuple(done)


def objections(every: Sequence[Part]) -> Iterator[str]:
    """Why these cannot go in one operation."""
    if len(every) == 1:
        return
    targets = Counter(part.target for part in every)
    for target, count in targets.items():
        if count > 1:
            names = " and ".join(part.name for part in every if part.target == target)
            yield f"{names} are the same: {target}"
    for part in every:
        if part.unit and is_detached(part.params, part.unit):
            yield f"{part.target} is restarted on its own, so nothing can wait for it; ask for it alone"


def findings(params: ServiceRestartParams, before: Facts) -> Iterator[Finding]:
    """Whether the order that was given is another than the manager's."""
    right = _by_manager(params.names, _after(params, before))
    if params.order == "given" and right != params.names:
        text = f"systemd starts them as {', '.join(right)}, and they were restarted as {', '.join(params.names)}"
        advice = "With order=manager they go as systemd starts them."
        yield Finding(severity=Severity.INFO, code="order_differs", message=text, advice=advice)
