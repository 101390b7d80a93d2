"""What an alert rule is, and the parts beside it that a configuration may hold: routes and inhibitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, field_validator, model_validator

from opsqueue.model.in_words import in_words
from opsqueue.model.matcher import Matcher, parse_matchers
from opsqueue.model.names import OperationPriority, Severity

MOST_CONDITION = 1024
"""Characters of a condition text."""
RESERVED = frozenset({"rule", "host", "part", "code", "type", "scope", "nodata", "severity"})
"""Labels that the engine itself gives."""

Op = Literal[">", ">=", "<", "<=", "==", "!="]
Seconds = Annotated[int, Field(ge=0, le=30 * 86_400)]
Line = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"),
    in_words("one line, without control characters"),
]
Label = Annotated[
    str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,63}$"), in_words("letters, digits and _, not beginning with a digit")
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Notify(_Part):
    """Tell these channels, beside those of the route."""

    action: Literal["notify"] = "notify"
    channels: tuple[Line, ...] = Field(min_length=1, max_length=20)


class RunOperation(_Part):
    """Ask for this operation on the alert's host; it passes every gate as if a person had asked."""

    action: Literal["run"] = "run"
    type: Line
    parameters: Mapping[str, Any] = Field(default_factory=dict)
    priority: OperationPriority = OperationPriority.NORMAL
    timeout: int = Field(default=300, ge=1, le=86_400)


class RemediationPolicy(_Part):
    """How often a rule may try to mend what it found, before a person must."""

    max_per_hour: int = Field(default=2, ge=1, le=60)
    max_per_day: int = Field(default=3, ge=1, le=100)
    cooldown_s: Seconds = 1800
    """Between the end of one try and the beginning of the next."""
    concurrency: int = Field(default=1, ge=1, le=10)
    """At once, for one host and rule."""
    require_window: bool = True
    """Only while a maintenance window of the host is open."""
    approve: Literal["auto", "human"] = "human"
    """`human`: the try is only proposed, with the command that a person may run."""
    verify_within_s: Annotated[int, Field(ge=1, le=86_400)] = 900
    """The same rule must have cleared by then, or the try did not help."""
    dry_run: bool = False
    """Write down what would have been tried; try nothing."""


class EscalationStep(_Part):
    """Whom to tell when nobody acknowledged."""

    after_s: Seconds
    """Since the alert fired; a time in which it was acknowledged does not count."""
    channels: tuple[Line, ...] = Field(min_length=1, max_length=20)


class AlertRule(_Part):
    """From where on something is an alert, and what follows from it."""

    name: Line
    metric: Line | None = None
    """A metric by name; `*` at its end takes each part for itself, as in `disk_usage:*`."""
    op: Op = ">"
    threshold: float | None = None
    condition: Annotated[str, Field(min_length=1, max_length=MOST_CONDITION)] | None = None
    """CEL text over the metrics of one host."""
    finding: Line | None = None
    """The code of a finding, such as `unreachable`; `*` at its end takes all that begin so."""
    for_s: Seconds = 300
    clear: float | None = None
    """Where a firing alert ends; default: 5 points (percentages, at most half way to 0 or 100) or 5 % inside."""
    keep_firing_for_s: Seconds = 0
    severity: Severity = Severity.WARNING
    labels: Mapping[Label, Annotated[str, Field(max_length=200)]] = Field(default_factory=dict)
    annotations: Mapping[Label, Annotated[str, Field(max_length=1000)]] = Field(default_factory=dict)
    hosts: tuple[Line, ...] = ("all",)
    """Host names, `group:NAME`, `tag:NAME`, `all`."""
    interval_s: Annotated[int, Field(ge=1, le=86_400)] | None = None
    """How often its numbers come; default: `monitoring_interval`."""
    on_missing: Literal["keep", "ok", "alert"] = "keep"
    actions: tuple[Annotated[Notify | RunOperation, Field(discriminator="action")], ...] = Field(
        default=(), max_length=10
    )
    remediation: RemediationPolicy = RemediationPolicy()
    escalation: tuple[EscalationStep, ...] = Field(default=(), max_length=10)
    runbook_url: HttpUrl | None = None
    enabled: bool = True

    @field_validator("labels")
    @classmethod
    def _labels_of_its_own(cls, labels: Mapping[str, str]) -> Mapping[str, str]:
        if taken := sorted(RESERVED & set(labels)):
            raise ValueError(f"the label {taken[0]} is given by the engine; call yours otherwise")
        return labels

    @model_validator(mode="after")
    def _one_question(self) -> AlertRule:
        if sum(one is not None for one in (self.metric, self.condition, self.finding)) != 1:
            raise ValueError("give exactly one of metric (with threshold), condition and finding")
        if (self.metric is None) != (self.threshold is None):
            raise ValueError("metric and threshold belong together")
        if self.clear is not None:
            self._check_clear(self.clear)
        return self

    @property
    def asks(self) -> str:
        """What it asks, in one line."""
        if self.metric is not None and self.threshold is not None:
            return f"{self.metric} {self.op} {self.threshold:g}"
        return self.condition or f"finding {self.finding}"

    def _check_clear(self, clear: float) -> None:
        if self.threshold is None or self.op in {"==", "!="}:
            raise ValueError("clear needs a threshold with >, >=, < or <=")
        if (clear > self.threshold) if self.op in {">", ">="} else (clear < self.threshold):
            raise ValueError(f"clear lies on the wrong side: the alert fires at {self.op} {self.threshold:g}")


class Route(_Part):
    """Where alerts that match go, and how they are gathered; the first that matches takes it."""

    name: Line = "default"
    match: tuple[Matcher, ...] = ()
    """Such as `severity="critical"`; all must hold, none takes everything."""
    channels: tuple[Line, ...] = ()
    """Default: `default_channels`."""
    group_by: tuple[Label, ...] = ("rule",)
    group_wait_s: Seconds = 30
    group_interval_s: Annotated[int, Field(ge=1, le=86_400)] = 300
    repeat_interval_s: Annotated[int, Field(ge=1, le=30 * 86_400)] = 14_400
    escalation: tuple[EscalationStep, ...] = ()
    """For rules that have none of their own."""

    @field_validator("match", mode="before")
    @classmethod
    def _matchers(cls, given: Any) -> Any:
        return parse_matchers(given)

    def tells(self, rules: Iterable[AlertRule]) -> tuple[str, ...]:
        """Its channels and those of the `notify` actions of these rules; none: the default ones."""
        actions = (action for rule in rules for action in rule.actions if isinstance(action, Notify))
        return tuple(dict.fromkeys((*self.channels, *(channel for action in actions for channel in action.channels))))


class InhibitRule(_Part):
    """While a source fires, targets with the same `equal` labels are not told."""

    source: tuple[Matcher, ...] = Field(min_length=1)
    target: tuple[Matcher, ...] = Field(min_length=1)
    equal: tuple[Label, ...] = ()

    @field_validator("source", "target", mode="before")
    @classmethod
    def _matchers(cls, given: Any) -> Any:
        return parse_matchers(given)
