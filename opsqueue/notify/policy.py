"""Whether a message may be sent to a recipient now, or has to wait: quiet hours, summaries, limits. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from opsqueue.model.instant import utc_text
from opsqueue.model.names import Severity
from opsqueue.model.record import Delivery
from opsqueue.model.window import Window
from opsqueue.notify.message import Message
from opsqueue.settings_channels import ChannelRules

SUMMARY = "summary:"
"""How the events of summaries begin, which are not summarised again."""
_MINUTE = 60.0
_LONGEST = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What this recipient was sent before, as far as it matters; times are UNIX seconds."""

    sent: Sequence[float] = ()
    """When the other events were sent, in order, of the last minute or the time of a summary, whichever is longer."""
    same: tuple[str, float] | None = None
    """The event that said the same within `same_within`, and when it was accepted."""
    summary_at: float | None = None
    """When the summary is due that is being gathered."""


def decided(
    delivery: Delivery, message: Message, rules: ChannelRules, *, timezone: str, before: Before, now: float
) -> Delivery:
    """The delivery as it is to be tried now (`sending`, one attempt more), or as it waits; nothing is ever dropped.

    `timezone` is that of quiet hours which name none.
    """
    fresh = delivery.attempts == 0
    if fresh and before.same:
        event, at = before.same
        return replace(delivery, status="suppressed", at=now, note=f"the same as {event}, told at {utc_text(at)}")
    waits = _quiet(message, rules, timezone, now) or (_gathered(delivery, rules, before, now) if fresh else None)
    if waits is None:
        waits = _limited(rules, before, now)
    if waits is None:
        return replace(delivery, status="sending", attempts=delivery.attempts + 1, summary="")
    status, until, note = waits
    status = status or ("queued" if fresh else "failed")
    return replace(delivery, status=status, next_at=until, note=note, summary="")


def content(message: Message) -> str:
    """A name for what a message says; two that say the same have the same."""
    text = f"{message.severity}\n{message.alike or f'{message.title}{chr(10)}{message.body}'}"
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def told_in_quiet(severity: Severity, unless: str) -> bool:
    """Whether a message of this severity is told in quiet hours too."""
    order = [one.value for one in Severity]
    return unless in order and order.index(severity.value) >= order.index(unless)


def quiet_until(windows: Sequence[Window], now: float) -> float | None:
    """When the quiet hours end that are now; None: it is not quiet."""
    until = now
    for _ in range(_LONGEST):  # one may begin where another ends
        ends = [end for window in windows if (end := window.closes(until)) is not None]
        if not ends:
            break
        until = max(ends)
    return until if until > now else None


_Waits = tuple[str, float, str] | None
"""The status (empty: as it would be anyway), until when, and the words for people."""


def _quiet(message: Message, rules: ChannelRules, timezone: str, now: float) -> _Waits:
    if not rules.quiet or told_in_quiet(message.severity, rules.quiet_unless):
        return None
    until = quiet_until(rules.windows(timezone), now)
    return None if until is None else ("", until, f"quiet hours until {utc_text(until)}")


def _gathered(delivery: Delivery, rules: ChannelRules, before: Before, now: float) -> _Waits:
    if rules.digest_above is None or delivery.event.startswith(SUMMARY):
        return None
    window = rules.digest_minutes * _MINUTE
    if before.summary_at is None and sum(at > now - window for at in before.sent) < rules.digest_above:
        return None
    until = now + window if before.summary_at is None else before.summary_at
    why = f"more than {rules.digest_above} messages in {rules.digest_minutes:g} min"
    return "summary", until, f"{why}: told in one summary at {utc_text(until)}"


def _limited(rules: ChannelRules, before: Before, now: float) -> _Waits:
    last = [at for at in before.sent if at > now - _MINUTE]
    if rules.most_per_minute is None or len(last) < rules.most_per_minute:
        return None
    until = last[-rules.most_per_minute] + _MINUTE
    return "", until, f"at most {rules.most_per_minute} messages a minute: waits until {utc_text(until)}"
