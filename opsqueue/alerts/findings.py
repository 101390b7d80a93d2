"""What the findings of a reading say of alerts: that they stand, that they are over, or nothing at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from opsqueue.alerts.fingerprint import fingerprint
from opsqueue.alerts.reading import Reading, fits
from opsqueue.model.alert import Alert, Observation
from opsqueue.model.kind import Finding
from opsqueue.model.names import Severity

_AWAY = "unreachable"
"""Of the host, not of the type that went there: whoever reaches it, for whatever, knows that it is reached."""
_OF_ONE = frozenset({"check_unknown", "check_unreachable"})
"""Codes which say that one check of a host could not be made."""
_OF_ALL = frozenset({"system_unknown"})
"""Codes which say that nothing of a host could be read."""


def of_findings(
    wanted: str, reading: Reading, base: Mapping[str, str], known: Mapping[str, Alert]
) -> list[Observation]:
    """What stands, the worst of each, and what is known to be over."""
    found: dict[str, Observation] = {}
    for one in reading.findings:
        labels = {**base, **_labels(one, reading)}
        worse = found.get(fingerprint(labels))
        if fits(wanted, one.code) and (worse is None or worse.severity is not Severity.CRITICAL):
            found[fingerprint(labels)] = Observation(
                labels=labels,
                at=reading.at,
                holds=True,
                severity=one.severity,
                note=one.message,
                every=reading.every,
            )
    for alert in _looked_for(reading, base["rule"], known):
        if alert.fingerprint not in found and not _in_the_dark(alert, reading):
            found[alert.fingerprint] = Observation(
                labels=alert.labels, at=reading.at, holds=False, severity=alert.severity, every=reading.every
            )
    return list(found.values())


def unjudged(reading: Reading, rule: str, known: Mapping[str, Alert]) -> Iterator[Alert]:
    """Alerts that fire and were looked after, and of which nothing was learnt: they stand as they stood."""
    for alert in _looked_for(reading, rule, known):
        if alert.firing and _in_the_dark(alert, reading):
            yield alert


def _labels(one: Finding, reading: Reading) -> dict[str, str]:
    if one.code == _AWAY:
        return {"code": one.code}
    named = {"code": one.code, "type": reading.type, "scope": reading.scope}
    part = one.evidence.get("check")
    return {**named, "part": part} if isinstance(part, str) and part else named


def _looked_for(reading: Reading, rule: str, known: Mapping[str, Alert]) -> Iterator[Alert]:
    for alert in known.values():
        asked = (alert.labels.get("type"), alert.labels.get("scope", ""))
        own = asked == (reading.type, reading.scope)
        if alert.rule == rule and (reading.reached() if alert.labels.get("code") == _AWAY else own):
            yield alert


def _in_the_dark(alert: Alert, reading: Reading) -> bool:
    """Whether the reading cannot know that this is over."""
    if not reading.looked:
        return True
    code, part = alert.labels.get("code", ""), alert.labels.get("part", "")
    if code in _OF_ONE | _OF_ALL:  # that something could not be looked at is over as soon as it is not said
        return False
    return any(
        one.code in _OF_ALL or (one.code in _OF_ONE and (not part or one.evidence.get("check") == part))
        for one in reading.findings
    )
