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
_TOLD = ("AT", "CHANNEL", "STATUS", "MESSAGE", "NOTE")
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
    value = "" if one["value"] is None else f"{one['value']:g}"
    since = times.stamp(one["fired_at"] or one["active_at"])
    note_ = "; ".join(hint for hint in hints if hint)
    return one["fingerprint"][:_SHORT], state, one["severity"], _named(one), one["host"] or "", value, since, note_


def _named(one: Mapping[str, Any]) -> str:
    part = one["labels"].get("part", "")
    return f"{one['called']} ({part})" if part else str(one["called"])


def whole(out: Out, one: Mapping[str, Any]) -> None:
    """All that is known of one alert."""
    if out.json:
        out.entry(one)
        return
    where = f" on {safe(one['host'])}" if one["host"] else ""
    out.line(f"{safe(_named(one))}{where}: {one['state']}, {one['severity']}")
    rows = [("alert", one["fingerprint"]), ("incident", one["incident"] or "-")]
    rows += [("value", _alert(one)[5] or "-"), ("note", one["note"] or "-")]
    rows += [(word, times.stamp(one[key]) or "-") for word, key in (("fired", "fired_at"), ("ended", "resolved_at"))]
    rows += [("acknowledged by", one["acknowledged_by"] or "-"), ("kept quiet by", ", ".join(one["muted_by"]) or "-")]
    out.rows(("WHAT", "IS"), rows)
    if one["repair"]:
        _repair(out, one["repair"])
    if one["told"]:
        out.title("who was told")
        told = [
            (times.stamp(row["at"]), row["channel"], row["status"], row["title"], row["note"]) for row in one["told"]
        ]
        out.rows(_TOLD, told, narrow=Narrow(beneath=("MESSAGE", "NOTE")))
    out.title("history")
    out.rows(_LINES, [_line(row) for row in one["history"]], narrow=Narrow(beneath=("WHY",)))


def _repair(out: Out, found: Mapping[str, Any]) -> None:
    policy = found["policy"]
    out.title("repair")
    asked = "asked for by itself" if policy["approve"] == "auto" else "proposed to people"
    window = ""
    if policy["require_window"]:
        window = ", only while a window is open" if found["windows"] else "; at any time, for it has no window"
    most = f"at most {policy['max_per_hour']} tries in an hour and {policy['max_per_day']} in a day"
    out.line(f"{safe(found['type'])}, {asked}; {most}, {times.length(policy['cooldown_s'])} after the last{window}")
    out.line(f"now: {safe(found['why'])}")
    out.line(f"by hand: {safe(found['command'])}")
    if found["tries"]:
        tries = [(row["number"], times.stamp(row["at"]), row["state"], row["operation_id"]) for row in found["tries"]]
        out.rows(("TRY", "AT", "STATE", "ID"), tries)


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
    clear = "" if one["clears_at"] is None else f"{one['clears_at']:g}"
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
