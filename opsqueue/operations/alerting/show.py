"""What alerts come to: numbers, findings, and what `opsqueue report` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.model.report import Cell, Chart, Grid, Line, Section
from opsqueue.operations.alerting.hand import Hand

_NOISY_MOST = 3
_NOISY_AT_LEAST = 5
_NEVER_DAYS = 90
_DAY = 86_400.0
_UNITS = (("days", _DAY), ("h", 3600.0), ("min", 60.0))
_NEARLY = 0.95


def measure(hand: Hand) -> Iterator[Metric]:
    """The numbers of this host."""
    found = hand.known("alerts")
    if found is None:
        return
    firing = [one for one in found["alerts"] if one["state"] == "firing"]
    yield _count("alerts_active", len(firing))
    for severity in Severity:
        yield _count(f"alerts_active:{severity}", sum(one["severity"] == severity for one in firing))
    yield _count("flapping", sum(bool(one["flapping"]) for one in found["alerts"]))
    yield from _of_rules(hand)
    if figures := hand.known("statistics"):
        yield _count("alerts_fired", figures["fired"])
        yield Metric(name="mtta_s", value=figures["mtta"]["mean"], unit="s")
        yield Metric(name="mttr_s", value=figures["mttr"]["mean"], unit="s")
    if tried := hand.known("replay"):
        yield _count("would_have_fired", tried["fired"])


def _of_rules(hand: Hand) -> Iterator[Metric]:
    for name in ("rules", "evaluation"):
        if (found := hand.known(name)) is not None:
            yield _count("rule_errors", len(dict(_without_answer(found))))


def _count(name: str, value: int) -> Metric:
    return Metric(name=name, value=float(value), unit="count")


# -- findings ---------------------------------------------------------------------------------------------


def findings(hand: Hand) -> Iterator[Finding]:
    """What somebody should hear of."""
    for name in ("rules", "evaluation"):
        yield from _unanswered(hand.known(name) or ())
    if figures := hand.known("statistics"):
        yield from _noisy(figures)
        yield from _useless(figures)
    if tried := hand.known("replay"):
        yield from _tried(tried)


def _without_answer(rows: Any) -> Iterator[tuple[str, str]]:
    for one in rows:
        if why := one.get("error") or one.get("why"):
            yield one.get("rule") or one["name"], why


def _unanswered(rows: Any) -> Iterator[Finding]:
    for rule, why in _without_answer(rows):
        yield Finding(
            severity=Severity.WARNING,
            code="rule_without_answer",
            message=f"the alert rule {rule} has no answer: {why}",
            evidence={"rule": rule},
            advice="Its alerts stand as they stood. Correct its condition, or say in `hosts` what it is about.",
        )


def _noisy(figures: Mapping[str, Any]) -> Iterator[Finding]:
    days = figures["seconds"] / _DAY
    for rule, fired in figures["noisiest"][:_NOISY_MOST]:
        if fired >= max(_NOISY_AT_LEAST, days):
            yield Finding(
                severity=Severity.WARNING,
                code="noisy_rule",
                message=f"the alert rule {rule} fired {fired} times in {time_of(figures)}",
                evidence={"rule": rule, "fired": fired},
                advice=f"Mend the cause, or try another threshold or `for_s`: action test, name {rule}.",
            )


def _useless(figures: Mapping[str, Any]) -> Iterator[Finding]:
    for rule in figures["never_acted_on"]:
        yield Finding(
            severity=Severity.INFO,
            code="rule_never_acted_on",
            message=f"whenever the alert rule {rule} fired, it ended without anybody having looked after it",
            evidence={"rule": rule},
            advice="Does anybody need it? Lower its severity, or have something done about it.",
        )
    if min(figures["seconds"], figures["known_s"]) < _NEVER_DAYS * _DAY:
        return  # nobody knows so much of the past
    for rule in figures["never_fired"]:
        yield Finding(
            severity=Severity.INFO,
            code="rule_never_fired",
            message=f"the alert rule {rule} did not fire here for {figures['seconds'] / _DAY:g} days",
            evidence={"rule": rule},
            advice=f"See that its numbers still come: action test, name {rule}.",
        )


def _tried(tried: Mapping[str, Any]) -> Iterator[Finding]:
    rule, days = tried["rule"], tried["seconds"] / _DAY
    if not tried["readings"]:
        yield Finding(
            severity=Severity.WARNING,
            code="rule_not_tried",
            message=f"there is nothing over which the alert rule {rule} could be tried here: {_why_not(tried, days)}",
            evidence={"rule": rule},
            advice="A rule without numbers never fires; `opsqueue metrics HOST` lists those that come.",
        )
        return
    if why := tried["unanswered"]:
        yield from _unanswered([{"rule": rule, "why": why}])
        return
    yield Finding(
        severity=Severity.INFO,
        code="would_have_fired",
        message=f"the alert rule {rule} would have fired {tried['fired']} times in {time_of(tried)}",
        evidence={"rule": rule, "fired": tried["fired"], "readings": tried["readings"]},
    )
    if better := tried["suggested"]:
        yield Finding(
            severity=Severity.INFO,
            code="threshold_suggested",
            message=f"with the threshold {better['threshold']:g} it would have fired {better['fired']} times",
            evidence={"rule": rule, **better},
            advice="A hundredth of the numbers of that time lies beyond it.",
        )
    if longer := tried.get("suggested_for"):  # an answer of an older version does not say
        yield Finding(
            severity=Severity.INFO,
            code="for_suggested",
            message=f"with `for_s` {longer['for_s']} it would have fired {longer['fired']} times",
            evidence={"rule": rule, **longer},
            advice="All that was shorter would have ended before anybody was told.",
        )


def time_of(figures: Mapping[str, Any]) -> str:
    """The time that was asked about, or as much of it as the record knows: `7 days`, `10 min`."""
    seconds = figures["seconds"]
    known = min(seconds, figures.get("known_s", seconds))  # an answer of an older version does not say
    if known > _NEARLY * seconds:
        return f"{seconds / _DAY:g} days"
    unit, size = next((one for one in _UNITS if known >= 2 * one[1]), _UNITS[-1])
    return f"{known / size:.0f} {unit}, all that is known of {seconds / _DAY:g} days"


def _why_not(tried: Mapping[str, Any], days: float) -> str:
    if not tried["about"]:
        return "it is about other hosts, or turned off"
    return f"no number of `{tried['asks']}` was kept in {days:g} days"


# -- the report -------------------------------------------------------------------------------------------


def report(hand: Hand) -> Iterator[Section]:
    """Tables of what was asked for."""
    if hand.alerts:
        yield _section("Alerts", _OF_ALERTS, map(_alert, hand.alerts))
    for name, title, columns in _TABLES:
        if rows := hand.known(name):
            yield _section(title, columns, (tuple(map(_cell, map(one.get, columns))) for one in rows))
    if figures := hand.known("statistics"):
        figure = _section("Figures", ("what", "figure"), _figures(figures))
        yield replace(figure, charts=tuple(_per_day(figures.get("by_day") or {})))
    if tried := hand.known("replay"):
        rows = ((one["at"], one["what"], one["value"]) for one in tried["transitions"])
        yield _section(f"What {tried['rule']} would have done", ("at", "what", "value"), rows)
        if said := tried.get("message"):
            text = (f"To {', '.join(said['channels'])}: {said['title']}", *said["body"].splitlines())
            yield Section(title="What people would have been told first", text=tuple(filter(None, text)))


def _per_day(found: Mapping[str, Any]) -> Iterator[Chart]:
    """How many fired each day; nothing of one day alone. An answer of an older version does not say."""
    lines = [Line(label=name, points=tuple((at, float(count)) for at, count in days)) for name, days in found.items()]
    if lines and len(lines[0].points) > 1:
        yield Chart(title="Alerts that fired, by day (UTC)", unit="count", lines=tuple(lines))


_OF_ALERTS = ("alert", "state", "severity", "rule", "value", "since", "acknowledged by", "kept quiet by")
_TABLES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("silences", "Silences", ("silence_id", "state", "ends_at", "created_by", "comment")),
    ("rules", "Rules", ("name", "asks", "for_s", "severity", "source", "error")),
    ("routes", "Who is told", ("name", "match", "channels", "called")),
    ("evaluation", "What the rules say now", ("rule", "part", "asks", "state", "stands", "value")),
)


def _section(title: str, columns: tuple[str, ...], rows: Any) -> Section:
    return Section(title=title, grids=(Grid(columns=columns, rows=tuple(rows)),))


def _alert(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    state = "flapping" if one["flapping"] else one["state"]
    name = f"{one['rule']} {one['labels'].get('part', '')}".strip()
    since = one["fired_at"] or one["active_at"]
    quiet = ", ".join(one["muted_by"])
    return one["fingerprint"][:12], state, one["severity"], name, one["value"], since, one["acknowledged_by"], quiet


def _cell(value: Any) -> Cell:
    return ", ".join(value) if isinstance(value, list | tuple) else value


def _figures(found: Mapping[str, Any]) -> Iterator[tuple[Cell, ...]]:
    yield "fired", found["fired"]
    yield "open", found["open"]
    for name, words in (("mtta", "acknowledged after, s"), ("mttr", "over after, s")):
        yield f"{words} (mean of {found[name]['count']})", found[name]["mean"]
        yield f"{words} (90th percentile)", found[name]["p90"]
    yield "flapped", found["flaps"]
    yield "silenced, percent", found["silenced_percent"]
    yield "mended by themselves, percent", found["remediated_percent"]
    for rule, fired in found["noisiest"]:
        yield f"{rule} fired", fired
