"""The parameters of `alert_management`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from opsqueue.model.alert_rule import AlertRule, Line
from opsqueue.model.in_words import in_words
from opsqueue.model.kind import Params
from opsqueue.model.matcher import parse_matchers
from opsqueue.model.request import explain

Action = Literal["create", "update", "delete", "test", "silence", "ack", "resolve", "list", "stats", "evaluate"]
AlertId = Annotated[
    str,
    Field(pattern=r"^[0-9a-f][0-9a-f-]{3,35}$"),
    in_words("the id of an alert as `opsqueue alerts list` shows it: 4 hex digits or more"),
]
LOOKS = frozenset({"list", "stats", "test", "evaluate"})
"""The actions that change nothing."""
RULES = frozenset({"create", "update", "delete"})
"""Those that are about a rule of the whole installation."""
_USES: Mapping[str, frozenset[str]] = {
    "create": frozenset({"rule"}),
    "update": frozenset({"rule"}),
    "delete": frozenset({"name"}),
    "test": frozenset({"rule", "name", "since_days"}),
    "silence": frozenset({"matchers", "duration_s", "comment"}),
    "ack": frozenset({"alerts", "matchers", "duration_s", "comment"}),
    "resolve": frozenset({"alerts", "matchers", "comment"}),
    "list": frozenset({"matchers"}),
    "stats": frozenset({"since_days"}),
    "evaluate": frozenset(),
}
_SINCE_DAYS = {"stats": 90}


class AlertManagementParams(Params):
    """What is to be done about which alerts, or which rule."""

    action: Action
    """`list`, `stats`, `test` and `evaluate` look; the others change something."""
    alerts: tuple[AlertId, ...] = Field(default=(), max_length=100)
    """`ack`, `resolve`: these alerts, by the beginning of their fingerprint or incident; empty: all that fire and
    fit the matchers."""
    matchers: tuple[Annotated[str, Field(max_length=500)], ...] = Field(default=(), max_length=20)
    """Only alerts that fit all of these, such as `severity="critical"` or `rule=~"disk.*"`; the host is given by
    `target_systems`."""
    duration_s: int = Field(default=14_400, ge=60, le=30 * 86_400)
    """`silence`, `ack`: how long it counts."""
    comment: str = Field(default="", max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")
    """Why, in one line; `silence` and `resolve` need it."""
    rule: dict[str, Any] | None = None
    """`create`, `update`, `test`: the fields of a rule with its name, as docs/alerts.md has them."""
    name: Line | None = None
    """`delete`, `test`: the name of a rule that is there."""
    since_days: int = Field(default=0, ge=0, le=3650)
    """`test`, `stats`: so far back; 0: 7 for `test`, 90 for `stats`."""

    @field_validator("matchers")
    @classmethod
    def _as_matchers(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        found = parse_matchers(given)
        if any(one.label == "host" for one in found):
            raise ValueError("the host is that of target_systems; leave it out of the matchers")
        return tuple(sorted(map(str, found)))

    @field_validator("rule")
    @classmethod
    def _as_a_rule(cls, given: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            if given is not None:
                AlertRule.model_validate(given)
        except ValidationError as error:
            raise ValueError(explain(error, "the rule", AlertRule)) from None
        return given

    @model_validator(mode="after")
    def _what_the_action_needs(self) -> Self:
        used = _USES[self.action]
        if stray := sorted(self.model_fields_set - used - {"action"}):
            takes = ", ".join(sorted(used)) or "no other parameter"
            raise ValueError(f"{self.action} does nothing with {stray[0]}; it takes {takes}")
        if self.action in {"create", "update"} and self.rule is None:
            raise ValueError(f"{self.action} needs a rule")
        if self.action == "delete" and self.name is None:
            raise ValueError("delete needs the name of a rule")
        if self.action == "test" and (self.rule is None) is (self.name is None):
            raise ValueError("test needs exactly one of rule and name")
        if self.action in {"silence", "resolve"} and not self.comment.strip():
            raise ValueError(f"{self.action} needs a comment that says why")
        if self.action == "resolve" and not (self.alerts or self.matchers):
            raise ValueError("resolve needs alerts or matchers: nobody ends all alerts of a host unseen")
        return self

    @property
    def looks(self) -> bool:
        """Whether it changes nothing."""
        return self.action in LOOKS

    @property
    def rule_name(self) -> str:
        """Which rule it is about; empty: none."""
        return str(self.rule["name"]) if self.rule else self.name or ""

    @property
    def days(self) -> int:
        """How far back is looked."""
        return self.since_days or _SINCE_DAYS.get(self.action, 7)
