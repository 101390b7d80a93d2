"""One rule and its alert on a handed-in clock: samples go in, what happened comes out."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from opsqueue.alerts.fingerprint import fingerprint
from opsqueue.alerts.state import Limits, begin, step
from opsqueue.model.alert import Alert, AlertState, Observation, Transition
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.names import Severity

AT = 1_800_000_000.0


def a_rule(**change):
    return AlertRule(**{"name": "cpu", "metric": "cpu_usage", "threshold": 80, "op": ">=", **change})


@dataclass
class Watched:
    """One alert of one rule; times are seconds after the beginning."""

    rule: AlertRule
    limits: Limits = field(default_factory=Limits)
    labels: dict = field(default_factory=lambda: {"rule": "cpu", "host": "h1"})
    alert: Alert | None = None
    lines: list[Transition] = field(default_factory=list)

    def __post_init__(self):
        self.alert = begin(self.rule, self.labels)

    def see(self, at, value, unit="percent", **more):
        found = step(
            self.rule,
            self.alert,
            Observation(labels=self.labels, at=AT + at, value=value, unit=unit, **more),
            self.limits,
        )
        self.alert = found.alert
        self.lines += found.transitions
        return self.alert.state.value

    def every_minute(self, values, start=0):
        return [self.see(start + 60 * number, value) for number, value in enumerate(values)]

    @property
    def kinds(self):
        return [line.kind.value for line in self.lines]


@pytest.fixture
def watched():
    return lambda limits=None, **change: Watched(a_rule(**change), limits or Limits())


@pytest.fixture
def firing():
    """An alert that fires, of these labels."""

    def make(fired=0, state="firing", **labels):
        change = {
            name: labels.pop(name) for name in list(labels) if name in Alert.__dataclass_fields__ and name != "rule"
        }
        named = {"rule": "cpu", "host": "h1", **labels}
        base = {
            "fingerprint": fingerprint(named),
            "rule": named["rule"],
            "labels": named,
            "severity": "warning",
            "state": state,
            "active_at": AT + fired,
            "fired_at": AT + fired,
            "incident": f"{fingerprint(named)}@{fired}",
        }
        made = base | change
        return Alert(**{**made, "severity": Severity(made["severity"]), "state": AlertState(made["state"])})

    return make
