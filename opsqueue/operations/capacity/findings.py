"""What somebody should hear of: what fills up, what cannot be told, how good the forecasts were, what is spare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opsqueue.model.kind import Finding, Seen
from opsqueue.model.names import Severity
from opsqueue.operations.capacity.advice import advice
from opsqueue.operations.capacity.cost import cost
from opsqueue.operations.capacity.outlook import Outlook, span, when
from opsqueue.operations.capacity.params import CapacityPlanningParams
from opsqueue.operations.capacity.scorecard import Scorecard
from opsqueue.operations.capacity.what_if import Outcome

_URGENT = 7
"""Days within which it is critical, if it goes on as is likely."""
_TRUSTED = 20
"""Points by which the coverage may miss what was meant before somebody hears of it."""
_JUDGED = 10
"""Forecasts that must have come due before they are judged."""


def of_outlooks(params: CapacityPlanningParams, seen: Seen, every: Sequence[Outlook]) -> Iterator[Finding]:
    """What reaches its threshold within the horizon, the soonest first; and once, what cannot be told."""
    soon = sorted((one for one in every if one.found), key=_soonest)
    for one in soon:
        severity = _severity(params, one)
        if severity:
            yield Finding(
                severity=severity,
                code="capacity_reached" if one.reached else "capacity_runs_out",
                message=f"{one.called}: {sentence(params, one)}",
                evidence={**one.evidence(), **_days(one)},
                advice=advice(params, one, seen),
            )
    yield from _untold(every)


def _soonest(one: Outlook) -> float:
    days = one.crossing.earliest if one.crossing else None
    return float("inf") if days is None else days


def _severity(params: CapacityPlanningParams, one: Outlook) -> Severity | None:
    if one.reached:
        return Severity.WARNING
    if not one.dated or one.crossing is None or one.crossing.earliest is None:
        return None
    if one.crossing.likely is not None and one.crossing.likely <= _URGENT:
        return Severity.CRITICAL
    if one.crossing.earliest <= params.lead_days:
        return Severity.WARNING
    likely = one.crossing.likely
    return Severity.INFO if likely is not None and likely <= params.horizon_days else None


def _days(one: Outlook) -> dict[str, int | None]:
    days = one.crossing
    return {"earliest": days.earliest, "likely": days.likely, "latest": days.latest} if days else {}


def sentence(params: CapacityPlanningParams, one: Outlook) -> str:
    """When, how full now, how fast, and from which history."""
    if one.found is None:
        return when(one)
    about = [f"now {one.said(one.last)}"]
    if pace := one.pace():
        about.append(f"{'shrinks' if one.found.growth < 0 else 'grows'} {pace.removeprefix('-')} ({one.pattern})")
    missing = f", {one.course.missing} missing" if one.course.missing else ""
    about.append(f"{one.found.model} over {one.course.length} days{missing}")
    about += one.course.notes
    return f"{when(one, params.interval)}; {'; '.join(about)}"


def _untold(every: Sequence[Outlook]) -> Iterator[Finding]:
    untold = [one for one in every if one.found is None]
    if not untold:
        return
    groups: dict[str, list[str]] = {}
    for one in untold:
        groups.setdefault(one.why, []).append(one.called)
    said = "; ".join(f"{', '.join(names)}: {why}" for why, names in groups.items())
    yield Finding(
        severity=Severity.INFO,
        code="insufficient_history",
        message=f"no forecast yet for {said}",
        evidence={"metrics": [one.name for one in untold]},
        advice="Let `system_monitoring` run on this host at least once a day; nothing is guessed until then.",
    )


def of_scores(params: CapacityPlanningParams, cards: Sequence[Scorecard]) -> Iterator[Finding]:
    """Forecasts that held less often than they were meant to."""
    wanted = 100 * params.interval
    for card in cards:
        if len(card.came) >= _JUDGED and card.coverage is not None and card.coverage < wanted - _TRUSTED:
            yield Finding(
                severity=Severity.INFO,
                code="forecast_missed",
                message=(
                    f"{card.name}: only {card.coverage:.0f} % of {len(card.came)} forecasts of {card.ahead} days ahead "
                    f"held, {wanted:.0f} % were meant to; the mean error was {card.error:.3g}"
                ),
                evidence={"coverage": card.coverage, "error": card.error, "forecasts": len(card.came)},
                advice="Plan with more room than the range says: this series changes its pace.",
            )


def of_what_ifs(found: Sequence[Outcome]) -> Iterator[Finding]:
    """What each change that was asked about would make of it."""
    for one in found:
        said = f"cannot be said: {one.why}" if one.why else said_of(one)
        yield Finding(
            severity=Severity.INFO,
            code="what_if",
            message=f"what if {one.what_if.name}: {one.called}: {said}",
            evidence={"what_if": one.what_if.model_dump(exclude_defaults=True)},
        )


def said_of(one: Outcome) -> str:
    """From when to when."""
    if one.before is None or one.after is None or one.level is None:
        return "no forecast"
    return f"{one.level:.1f} % at once, threshold {span(one.after)}; without it {span(one.before)}"


def of_cost(params: CapacityPlanningParams, seen: Seen) -> Iterator[Finding]:
    """What is spare."""
    yield from cost(params, seen)
