"""What counts for one notification channel: who is told instead, when it is quiet, how much it takes, its signature."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import inf
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from opsqueue.errors import InvalidRequest
from opsqueue.model.misspelt import nearest
from opsqueue.model.window import HORIZON_DAYS, Window, parse_window
from opsqueue.secrets import SecretRef

_DAY = 86_400
_WEEK = 7 * _DAY
MOST_TEMPLATE = 10_000
"""Characters of a template."""
FILE = "file:"
"""How a template begins that stands in a file."""


def _absolute(text: str) -> str:
    if text.startswith(FILE) and not text.startswith(f"{FILE}/"):
        raise ValueError(f"wanted {FILE} and the whole path of a file, such as file:/etc/opsqueue/mail.j2")
    return text


Template = Annotated[str, Field(min_length=1, max_length=MOST_TEMPLATE), AfterValidator(_absolute)]
"""Jinja2, or `file:` and the path of a file of it."""


class ChannelRules(BaseModel):
    """Of a channel, or of one of its recipients (`email#ops@example.com`), whose own ones go before the channel's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    fallback: tuple[str, ...] = ()
    """Channels that get a message, one after the other, when this one is given up."""
    quiet: tuple[str, ...] = ()
    """Quiet hours, each in a form of the maintenance windows: messages wait until they end."""
    quiet_unless: Literal["warning", "critical", "never"] = "critical"
    """Messages of this severity or worse are told in quiet hours too; `never`: none is."""
    timezone: str | None = None
    """Of the quiet hours, and of the time in messages, which stands in them only where this is set."""
    digest_above: int | None = Field(default=None, ge=1)
    """After so many messages within `digest_minutes` the next ones are told in one summary."""
    digest_minutes: float = Field(default=5, gt=0, le=1440)
    most_per_minute: int | None = Field(default=None, ge=1)
    """More wait for the next minute."""
    same_within: float = Field(default=0, ge=0, le=_WEEK)
    """Seconds in which the same content is told once; 0: always."""
    sms_segments: int = Field(default=2, ge=1, le=10)
    """Parts that one message may cost on a telephone."""
    signing_key: SecretRef | None = None
    """With it each webhook carries its time and a HMAC-SHA256 of time and body."""
    private_addresses: bool = False
    """Whether the public name of a webhook may lead to a private address."""
    title_template: Template | None = None
    """What messages are called, in the place of their own title."""
    body_template: Template | None = None
    """What they say, in the place of their own text."""
    template_format: Literal["text", "html"] = "text"
    """What `body_template` gives; `html` is for mail."""

    @field_validator("quiet")
    @classmethod
    def _quiet_hours_that_end(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        if _without_end([_window(text, "UTC") for text in texts]):
            raise ValueError(f"quiet hours of {' and '.join(map(repr, texts))} never end")
        return texts

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str | None) -> str | None:
        _window("00:00-01:00", zone or "UTC")
        return zone

    def over(self, general: ChannelRules) -> ChannelRules:
        """These, and where they say nothing what the general ones say."""
        return general.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})

    def windows(self, timezone: str) -> tuple[Window, ...]:
        """The quiet hours, in their own zone or else in this one."""
        return tuple(_window(text, self.timezone or timezone) for text in self.quiet)

    @property
    def count(self) -> bool:
        """Whether what was sent before matters for what may be sent now."""
        return bool(self.digest_above or self.most_per_minute or self.same_within)


Rules = Mapping[Annotated[str, Field(min_length=1)], ChannelRules]


def rules_of(rules: Mapping[str, ChannelRules], channel: str) -> ChannelRules:
    """What counts for a channel, or for one recipient of it (`email#ops@example.com`)."""
    general = rules.get(channel.partition("#")[0], _NONE)
    return rules[channel].over(general) if "#" in channel and channel in rules else general


def doubts(rules: Mapping[str, ChannelRules], known: Mapping[str, Collection[str]]) -> Iterator[str]:
    """What is wrong with rules, in words: they speak of channels that nobody configured, or lead to themselves.

    `known`: the channels, and of those with several recipients who they are.
    """
    for name, given in rules.items():
        own, _, who = name.partition("#")
        if who and who not in known.get(own, ()):
            several = ", ".join(known.get(own, ())) or "it has not several"
            yield f"notification_rules: {own[:80]!r} has no recipient {who[:80]!r} among others ({several})"
        if own == "log":
            yield "notification_rules.log: nothing limits the log; take it out"
        elif own not in known:
            yield f"notification_rules: there is no channel {own[:80]!r}{nearest(own, known)}"
        for other in given.fallback:
            where = f"notification_rules.{name}.fallback"
            if other not in known:
                yield f"{where}: there is no channel {other[:80]!r}{nearest(other, known)}"
            if other == own or given.fallback.count(other) > 1:
                yield f"{where}: {other[:80]!r} stands there twice, or is the channel itself"


def _without_end(windows: Collection[Window]) -> bool:
    """Whether one always begins where another ends."""
    until = 0.0
    while until < HORIZON_DAYS * _DAY:
        ends = [window.closes(until) for window in windows if window.contains(until)]
        if not ends:
            return False
        until = max(inf if end is None else end for end in ends)
    return True


def _window(text: str, timezone: str) -> Window:
    try:
        return parse_window("quiet", text, timezone=timezone)
    except InvalidRequest as error:
        raise ValueError(error.message) from None


_NONE = ChannelRules()
