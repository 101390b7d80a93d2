"""What the history of alerts says: how many, how soon somebody looked, how long they lasted, which rules make noise."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from opsqueue.model.alert import Kind, Transition
from opsqueue.model.sample import DAY

_NOISIEST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """How long something took: few numbers say little, so how many there are stands beside. Seconds."""

    count: int = 0
    mean: float | None = None
    median: float | None = None
    p90: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """The figures of a span of time."""

    fired: int = 0
    open: int = 0
    """Incidents that had not ended; they are in no mean."""
    by_rule: Mapping[str, int] = field(default_factory=dict)
    by_host: Mapping[str, int] = field(default_factory=dict)
    by_severity: Mapping[str, int] = field(default_factory=dict)
    by_day: Mapping[str, tuple[tuple[float, int], ...]] = field(default_factory=dict)
    """By severity: the beginning of each day (UTC) from the first to the last on which something fired, and how many
    did."""
    mtta: Duration = Duration()
    """From firing to the first acknowledgement."""
    mttr: Duration = Duration()
    """From firing to its end."""
    flaps: int = 0
    silenced_percent: float | None = None
    """None: nothing fired."""
    remediated_percent: float | None = None
    noisiest: tuple[tuple[str, int], ...] = ()
    never_acted_on: tuple[str, ...] = ()
    """Rules that fired and ended, and never was one acknowledged or mended: nobody may need them."""
    never_fired: tuple[str, ...] = ()


def reckon(lines: Iterable[Transition], rules: Iterable[str] = ()) -> Statistics:
    """The figures of these lines of history, in any order."""
    ordered = sorted(lines, key=lambda line: (line.at, line.id))
    of: dict[str, dict[Kind, Transition]] = {}
    for line in ordered:
        if line.incident:
            of.setdefault(line.incident, {}).setdefault(line.kind, line)
    fired = {name: kinds for name, kinds in of.items() if Kind.FIRING in kinds}
    starts = [kinds[Kind.FIRING] for kinds in fired.values()]
    by_rule = Counter(line.rule for line in starts)
    return Statistics(
        fired=len(fired),
        open=sum(not _ended(kinds) for kinds in fired.values()),
        by_rule=dict(by_rule.most_common()),
        by_host=dict(Counter(line.host for line in starts if line.host).most_common()),
        by_severity=dict(Counter(line.severity.value for line in starts)),
        by_day=_by_day(starts),
        mtta=_took(fired.values(), (Kind.ACKNOWLEDGED,)),
        mttr=_took(fired.values(), (Kind.RESOLVED,)),
        flaps=sum(line.kind is Kind.FLAPPING for line in ordered),
        silenced_percent=_share(fired, Kind.SILENCED),
        remediated_percent=_share(fired, Kind.REMEDIATED),
        noisiest=tuple(by_rule.most_common(_NOISIEST)),
        never_acted_on=_never_acted_on(fired),
        never_fired=tuple(sorted(set(rules) - set(by_rule))),
    )


def _by_day(starts: Sequence[Transition]) -> dict[str, tuple[tuple[float, int], ...]]:
    days = Counter((line.severity.value, int(line.at // DAY)) for line in starts)
    numbers = [day for _severity, day in days]
    every = range(min(numbers), max(numbers) + 1) if numbers else ()
    severities = sorted({severity for severity, _day in days})
    return {severity: tuple((float(day * DAY), days[severity, day]) for day in every) for severity in severities}


def _ended(kinds: Mapping[Kind, Transition]) -> bool:
    return Kind.RESOLVED in kinds


def _took(incidents: Iterable[Mapping[Kind, Transition]], ends: Sequence[Kind]) -> Duration:
    found = sorted(
        max(0.0, kinds[one].at - kinds[Kind.FIRING].at) for kinds in incidents for one in ends if one in kinds
    )
    if not found:
        return Duration()
    rank = -(-len(found) * 9 // 10) - 1
    return Duration(count=len(found), mean=statistics.fmean(found), median=statistics.median(found), p90=found[rank])


def _share(fired: Mapping[str, Mapping[Kind, Transition]], kind: Kind) -> float | None:
    return 100.0 * sum(kind in kinds for kinds in fired.values()) / len(fired) if fired else None


def _never_acted_on(fired: Mapping[str, Mapping[Kind, Transition]]) -> tuple[str, ...]:
    acted = {
        kinds[Kind.FIRING].rule
        for kinds in fired.values()
        if {Kind.ACKNOWLEDGED, Kind.REMEDIATED, Kind.REMEDIATION} & set(kinds)
    }
    ended = {kinds[Kind.FIRING].rule for kinds in fired.values() if _ended(kinds)}
    return tuple(sorted(ended - acted))
