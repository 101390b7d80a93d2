"""The setting `alerts`: rules beside the built-in ones, where alerts go, what keeps them quiet, what may mend."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from opsqueue.model.alert_rule import AlertRule, InhibitRule, Route, Seconds
from opsqueue.secrets import SecretRef

_ODD = re.compile(r"""[^!-~]|[?#@\\"'<>]""")
"""What no address holds to which a path and a query are added."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RemediationSettings(_Part):
    """What alerts may ask for by themselves, whatever their rules say."""

    allowed: tuple[str, ...] = ()
    """The operation types; none: nothing is mended by itself."""
    most_hosts: int = Field(default=3, ge=1, le=100_000)
    """More hosts than this that want the same type within `brake_s` are told to a person instead."""
    brake_s: Seconds = 900
    dry_run: bool = False
    """For all rules: write down what would be tried, and try nothing."""


class AlertSettings(_Part):
    """Who hears of what."""

    built_in: bool = True
    """Whether `alert_thresholds` are rules as well: cpu_usage, memory_usage, disk_usage, response_time."""
    rules: tuple[AlertRule, ...] = Field(default=(), max_length=1000)
    """One with the name of a built-in rule takes its place."""
    routes: tuple[Route, ...] = Field(default=(), max_length=200)
    inhibit: tuple[InhibitRule, ...] = Field(default=(), max_length=200)
    remediation: RemediationSettings = RemediationSettings()
    outage_tolerance_s: Seconds = 3600
    for_grace_period_s: Seconds = 600
    finding_stale_s: Annotated[int, Field(ge=60, le=365 * 86_400)] = 86_400
    """An alert about a finding ends when nobody looked for it again in so long, and in three of its intervals."""
    receive_token: SecretRef | None = None
    """What callers of `opsqueue alerts receive --listen` must show."""
    ack_url: str | None = None
    """Where people reach `opsqueue alerts receive --listen`; with `ack_key`, messages have links to acknowledge."""
    ack_key: SecretRef | None = None
    """What signs these links."""
    ack_link_s: Annotated[int, Field(ge=60, le=30 * 86_400)] = 14_400
    """How long such a link can be used; as long as an acknowledgement counts."""
    history_retention_days: Annotated[int, Field(ge=1)] = 365

    @field_validator("ack_url")
    @classmethod
    def _a_place_in_the_web(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or _ODD.search(url):
            raise ValueError("wanted an address such as https://ops.example.com, with no user, query or space")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _links_whole_or_none(self) -> AlertSettings:
        if (self.ack_url is None) != (self.ack_key is None):
            raise ValueError("links to acknowledge need both ack_url and ack_key")
        return self

    @model_validator(mode="after")
    def _each_name_once(self) -> AlertSettings:
        for what, names in (("rules", [r.name for r in self.rules]), ("routes", [r.name for r in self.routes])):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"two of the {what} are called {twice[0]!r}")
        return self
