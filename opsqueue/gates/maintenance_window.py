"""Changes are made only while a maintenance window of each host is open, and the operation's own as well."""

from __future__ import annotations

from opsqueue.gates.evidence import Evidence
from opsqueue.model.instant import local_text, utc_text
from opsqueue.model.verdict import Deny, Hold, Pass, Verdict
from opsqueue.model.window import HORIZON_DAYS, Window, together
from opsqueue.model.window_room import too_short

_ITSELF = "the operation itself"
_NAMED = 3
"""Hosts that a reason names before it counts the rest."""

Needs = dict[tuple[Window, ...], list[str]]
"""Who needs one of these windows open."""


def maintenance_window(evidence: Evidence) -> Verdict:
    """Let hosts go whose windows are open; hold while there is none; deny if a closed one refuses to be waited for."""
    if evidence.operation.looking:
        return Pass("it changes nothing")
    if why := _not_known(evidence):
        return Hold(why)
    needs = _needs(evidence)
    closed = [windows for windows in needs if not _may_begin(needs, windows, evidence)]
    if not closed:
        none = "it changes no host" if evidence.desk else "no window is set for these hosts"
        return Pass("inside its windows" if any(needs) else none)
    refusing = [each for each in closed if all(window.policy == "reject" for window in each or _own(evidence))]
    if refusing:
        return Deny("; ".join(f"{_closed(needs, each, evidence)}; its policy is reject" for each in refusing))
    reasons = "; ".join(_closed(needs, each, evidence) for each in closed)
    if waiting := open_hosts(evidence):
        return Pass(f"{len(waiting)} of {len(evidence.hosts)} hosts may go now; {reasons}")
    return _held(evidence, needs, reasons)


def _not_known(evidence: Evidence) -> str:
    operation = evidence.operation
    if not evidence.hosts:
        return "the hosts of this operation are not known, so no window can be looked up"
    if operation.window and evidence.own_window is None:
        mend = f"configure it, or `opsqueue cancel {operation.id}`"
        return f"its own window {operation.window!r} is not known here: {mend}"
    return ""


def open_hosts(evidence: Evidence) -> tuple[str, ...]:
    """The hosts that may be changed now, as far as windows are concerned; all, where nothing is changed."""
    if evidence.operation.looking:
        return tuple(host.name for host in evidence.hosts)
    if not _open(_own(evidence), evidence.now):
        return ()
    needs = _needs(evidence)
    named = {name for windows, names in needs.items() if _may_begin(needs, windows, evidence) for name in names}
    return tuple(host.name for host in evidence.hosts if host.name in named)


def _held(evidence: Evidence, needs: Needs, reasons: str) -> Hold:
    """Until the first host may go: its windows and the operation's own are open at once."""
    groups = [windows for windows, names in needs.items() if names != [_ITSELF]]
    times = [_next(windows, evidence) for windows in groups]
    until = min((at for at in times if at is not None), default=None)
    if until is None:
        never = f"in the next {HORIZON_DAYS} days there is no time at which one of them may go: change a window"
        return Hold(f"{reasons}; {never}")
    if len(needs) > 1:
        reasons = f"{reasons}; the first may go at {utc_text(until)}"
    return Hold(reasons, until)


def _open(windows: tuple[Window, ...], now: float) -> bool:
    return not windows or any(window.contains(now) for window in windows)


def _own(evidence: Evidence) -> tuple[Window, ...]:
    return () if evidence.own_window is None else (evidence.own_window,)


def _with_own(windows: tuple[Window, ...], evidence: Evidence) -> list[tuple[Window, ...]]:
    return [each for each in (_own(evidence), windows) if each]


def _may_begin(needs: Needs, windows: tuple[Window, ...], evidence: Evidence) -> bool:
    """Whether one is open, and long enough yet for the work on a host."""
    hosts = needs[windows] != [_ITSELF]
    return _open(windows, evidence.now) and not (hosts and _closes_too_soon(windows, evidence))


def _closes_too_soon(windows: tuple[Window, ...], evidence: Evidence) -> tuple[float, float] | None:
    """When these and the operation's own close, if that is too soon for the work, and when there is time for it."""
    if evidence.takes is None:
        return None
    return too_short(_with_own(windows, evidence), evidence.now, evidence.takes)


def _next(windows: tuple[Window, ...], evidence: Evidence) -> float | None:
    """When the work on the hosts of these windows may begin."""
    short = _closes_too_soon(windows, evidence)
    return short[1] if short else together(_with_own(windows, evidence), evidence.now)


def _needs(evidence: Evidence) -> Needs:
    """Per set of windows, the hosts it covers; a host without any window stands under none."""
    needs: Needs = {}
    by_place: dict[tuple[int, ...], list[str]] = {}
    for host in evidence.hosts:
        if host.windows:  # with windows of its own no other counts for it
            needs.setdefault(host.windows, []).append(host.name)
            continue
        covering = (
            place
            for place, window in enumerate(evidence.windows)
            if window.covers(host.name, host.groups, evidence.operation.type)
        )
        by_place.setdefault(tuple(covering), []).append(host.name)
    for places, names in by_place.items():
        needs.setdefault(tuple(evidence.windows[place] for place in places), []).extend(names)
    if evidence.own_window is not None:
        needs.setdefault((evidence.own_window,), []).append(_ITSELF)
    return needs


def _closed(needs: Needs, windows: tuple[Window, ...], evidence: Evidence) -> str:
    names, now = needs[windows], evidence.now
    who = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    what = ", ".join(f"{window.name} ({window.spec})" for window in windows or _own(evidence))
    if short := None if names == [_ITSELF] else _closes_too_soon(windows, evidence):
        closes, opens = map(utc_text, short)
        return f"{who}: {what} closes {closes}, and this takes up to {evidence.takes:.0f} s; next {opens}"
    openings = [(at, window) for window in windows if (at := window.opens(now)) is not None]
    if not openings:
        return f"{who}: {what} is closed and does not open in the next {HORIZON_DAYS} days"
    at, first = min(openings, key=lambda opening: opening[0])
    local = "" if first.timezone == "UTC" else f" ({local_text(at, first.timezone)})"
    return f"{who}: closed now; {what} next opens {utc_text(at)}{local}"
