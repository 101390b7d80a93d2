"""Changes are made only while a maintenance window of each host is open, and the operation's own as well."""

from __future__ import annotations

from opsqueue.gates.evidence import Evidence
from opsqueue.model.instant import local_text, utc_text
from opsqueue.model.verdict import Deny, Hold, Pass, Verdict
from opsqueue.model.window import HORIZON_DAYS, Window, together

_NAMED = 3
"""Hosts that a reason names before it counts the rest."""

Needs = dict[tuple[Window, ...], list[str]]
"""Who needs one of these windows open."""


def maintenance_window(evidence: Evidence) -> Verdict:
    """Hold until all needed windows are open at once; deny if closed ones refuse to be waited for."""
    operation, now = evidence.operation, evidence.now
    if operation.looking:
        return Pass("it changes nothing")
    if not evidence.hosts:
        return Hold("the hosts of this operation are not known, so no window can be looked up")
    if operation.window and evidence.own_window is None:
        return Hold(
            f"its own window {operation.window!r} is not known here: configure it, or `opsqueue cancel {operation.id}`"
        )
    needs = _needs(evidence)
    closed = [windows for windows in needs if not any(window.contains(now) for window in windows)]
    if not closed:
        return Pass("inside its windows" if needs else "no window is set for these hosts")
    refusing = [each for each in closed if all(window.policy == "reject" for window in each)]
    if refusing:
        return Deny("; ".join(f"{_closed(needs, each, now)}; its policy is reject" for each in refusing))
    reasons = [_closed(needs, each, now) for each in closed]
    until = together(needs, now)
    if until is None:
        reasons.append(f"in the next {HORIZON_DAYS} days there is no time at which all of them are open: change one")
    elif len(needs) > 1:
        reasons.append(f"all are open at {utc_text(until)}")
    return Hold("; ".join(reasons), until)


def _needs(evidence: Evidence) -> Needs:
    """Per set of windows, the hosts it covers; a host without any window needs none."""
    needs: Needs = {}
    by_place: dict[tuple[int, ...], list[str]] = {}
    for host in evidence.hosts:
        covering = (
            place
            for place, window in enumerate(evidence.windows)
            if window.covers(host.name, host.groups, evidence.operation.type)
        )
        by_place.setdefault(tuple(covering), []).append(host.name)
    for places, names in by_place.items():
        if places:
            needs[tuple(evidence.windows[place] for place in places)] = names
    if evidence.own_window is not None:
        needs.setdefault((evidence.own_window,), []).append("the operation itself")
    return needs


def _closed(needs: Needs, windows: tuple[Window, ...], now: float) -> str:
    names = needs[windows]
    who = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    what = ", ".join(f"{window.name} ({window.spec})" for window in windows)
    openings = [(at, window) for window in windows if (at := window.opens(now)) is not None]
    if not openings:
        return f"{who}: {what} is closed and does not open in the next {HORIZON_DAYS} days"
    at, first = min(openings, key=lambda opening: opening[0])
    local = "" if first.timezone == "UTC" else f" ({local_text(at, first.timezone)})"
    return f"{who}: closed now; {what} next opens {utc_text(at)}{local}"
