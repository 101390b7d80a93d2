"""How alerts, rules, silences and their figures are printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsqueue.alerts.replay import Replayed
from opsqueue.cli import times
from opsqueue.cli.output import Out, note
from opsqueue.cli.tables import Narrow
from opsqueue.cli.text import safe
from opsqueue.model.alert_rule import AlertRule
from opsqueue.pipeline.alert_desk import rule_json, transition_json

_SHORT = 12
_LONG = 60
_ALERTS = ("ID", "STATE", "SEVERITY", "RULE", "HOST", "VALUE", "SINCE", "NOTE")
_RULES = ("RULE", "SOURCE", "CONDITION", "FOR", "CLEAR", "SEVERITY", "HEALTH")
_SILENCES = ("ID", "STATE", "MATCHERS", "FROM", "UNTIL", "BY", "COMMENT")
_LINES = ("AT", "WHAT", "HOST", "VALUE", "WHY")


def alerts(out: Out, found: Sequence[Mapping[str, Any]]) -> None:
    """The alerts, the worst first."""
    out.listing("alerts", found, _ALERTS, _alert, Narrow(beneath=("NOTE",), drops=("SINCE",)))
    if not found:
        note("nothing fires")


def faults(found: Sequence[Mapping[str, Any]]) -> None:
    """What nobody may be told of, because the look at it fails."""
    for one in found:
        about = safe(one["name"][:_LONG]) or "all alerts"
        note(
            f"the look at {about} fails since {times.stamp(one['since'])}: {safe(one['error'])}; people may not be told"
        )


def _alert(one: Mapping[str, Any]) -> tuple[object, ...]:
    state = "flapping" if one["flapping"] else one["state"]
    hints = [
        *one["muted_by"],
        f"acknowledged by {one['acknowledged_by']}" if one["acknowledged_by"] else "",
        one["note"],
    ]
    part = one["labels"].get("part", "")
    value = "" if one["value"] is None else f"{one['value']:g}"
    since = times.stamp(one["fired_at"] or one["active_at"])
    named = f"{one['called']} {part}".strip()
    note_ = "; ".join(hint for hint in hints if hint)
    return one["fingerprint"][:_SHORT], state, one["severity"], named, one["host"] or "", value, since, note_


def rules(out: Out, found: Sequence[Mapping[str, Any]]) -> None:
    """The rules, and why some have no answer."""
    out.listing("rules", found, _RULES, _rule, Narrow(beneath=("CONDITION",), drops=("SOURCE", "CLEAR")))
    for one in found if not out.json else ():
        for error in one["errors"][:3]:
            note(f"{safe(one['name'])} has no answer for {safe(error['host'])}: {safe(error['error'])}")
        for absent in one["never_seen"]:
            hint = f"; {safe(absent['hint'])}" if absent["hint"] else ""
            note(f"{safe(one['name'])}: no host ever had a number called {safe(absent['name'])}{hint}")


def _rule(one: Mapping[str, Any]) -> tuple[object, ...]:
    clear = "" if one["clear"] is None else f"{one['clear']:g}"
    health = one["health"] if one["enabled"] else "off"
    return one["name"], one["source"], _condition(one), times.length(one["for_s"]), clear, one["severity"], health


def _condition(one: Mapping[str, Any]) -> str:
    if one["metric"]:
        return f"{one['metric']} {one['op']} {one['threshold']:g}"
    return str(one["condition"] or f"finding {one['finding']}")


def silences(out: Out, found: Sequence[Mapping[str, Any]]) -> None:
    """The silences that stand or are to come."""
    out.listing("silences", found, _SILENCES, _silence, Narrow(beneath=("MATCHERS", "COMMENT"), drops=("BY", "FROM")))
    if not found:
        note("nothing is silenced")


def _silence(one: Mapping[str, Any]) -> tuple[object, ...]:
    sets = " or ".join(", ".join(matchers) for matchers in one["matchers"])
    span = times.stamp(one["starts_at"]), times.stamp(one["ends_at"])
    return one["silence_id"][:_SHORT], one["state"], sets, *span, one["created_by"], one["comment"]


def stats(out: Out, found: Mapping[str, Any]) -> None:
    """The figures; a dash is not known, and no zero."""
    if out.json:
        out.entry(found)
        return
    out.line(f"since {times.stamp(found['since'])}: {found['fired']} fired, {found['open']} still open")
    rows = [(name, _took(found[key])) for name, key in (("acknowledged after", "mtta"), ("over after", "mttr"))]
    shares = (("silenced", "silenced_percent"), ("mended by itself", "remediated_percent"))
    rows += [(name, "-" if found[key] is None else f"{found[key]:.0f} %") for name, key in shares]
    rows += [("flapped", str(found["flaps"]))]
    rows += [(f"severity {word}", str(number)) for word, number in found["by_severity"].items()]
    out.rows(("WHAT", "FIGURE"), rows)
    if found["noisiest"]:
        out.title("noisiest rules")
        out.rows(("RULE", "FIRED"), found["noisiest"])
    for words, key in (("never acted on", "never_acted_on"), ("never fired", "never_fired")):
        if found[key]:
            out.line(f"{words}: {', '.join(map(safe, found[key]))}")


def _took(found: Mapping[str, Any]) -> str:
    if not found["count"]:
        return "-"
    mean, median, p90 = (times.length(found[key]) for key in ("mean", "median", "p90"))
    return f"{mean} on average, {median} median, {p90} p90 (of {found['count']})"


def replayed(out: Out, rule: AlertRule, found: Replayed) -> None:
    """What a rule would have done."""
    lines = [transition_json(line) for line in found.transitions]
    if out.json:
        facts = {"readings": found.readings, "fired": found.fired, "errors": found.errors, "transitions": lines}
        out.entry({"rule": rule_json(rule, "tried"), **facts})
        return
    out.rows(_LINES, [_line(one) for one in lines], narrow=Narrow(beneath=("WHY",)))
    out.line(f"{safe(rule.name)} would have fired {found.fired} times in {found.readings} readings; nobody was told")
    for why, times_ in found.errors.items():
        note(f"no answer in {times_} readings: {safe(why)}")


def _line(one: Mapping[str, Any]) -> tuple[object, ...]:
    value = "" if one["value"] is None else f"{one['value']:g}"
    return times.stamp(one["at"]), one["kind"], one["host"], value, one["reason"]


def said(out: Out, data: Mapping[str, Any], text: str) -> None:
    """What was done."""
    if out.json:
        out.entry(data)
    else:
        out.line(safe(text))
