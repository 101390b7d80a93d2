"""Availability: up time by measured time, as seen, and without planned maintenance.

Between two looks a host is as the first of them saw it, for at most `stale` seconds: after that nobody knows. What
nobody knows is neither up nor down, and planned maintenance is taken out of what is divided by, never counted as up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from opsqueue.kpi.spans import clipped, total, union, without
from opsqueue.model.observed import Seen, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Seconds of one host, or of many."""

    up: float = 0.0
    down: float = 0.0
    up_unplanned: float = 0.0
    """Up time outside planned maintenance."""
    down_unplanned: float = 0.0
    whole: float = 0.0
    """All the time that was to be measured."""
    looks: int = 0

    @property
    def raw(self) -> float | None:
        """Percent; None when nothing was measured."""
        return _percent(self.up, self.up + self.down)

    @property
    def without_planned(self) -> float | None:
        """Percent of the time outside planned maintenance; None when nothing was measured there."""
        return _percent(self.up_unplanned, self.up_unplanned + self.down_unplanned)

    @property
    def unknown(self) -> float | None:
        """Percent of the whole time in which nobody knew."""
        return _percent(self.whole - self.up - self.down, self.whole)


def _percent(part: float, whole: float) -> float | None:
    return 100 * part / whole if whole > 0 else None


def of_host(seen: Seen, planned: Iterable[Span], since: float, until: float, stale: float) -> Availability:
    """The availability of one host between two instants."""
    found = _summed(*states(seen, since, until, stale), union(planned), since, until)
    return replace(found, looks=sum(since <= at < until for at, _up in seen))


def _summed(up: list[Span], down: list[Span], holes: list[Span], since: float, until: float) -> Availability:
    up, down = clipped(up, since, until), clipped(down, since, until)
    return Availability(
        up=total(up),
        down=total(down),
        up_unplanned=total(without(up, holes)),
        down_unplanned=total(without(down, holes)),
        whole=until - since,
    )


def of_parts(
    seen: Mapping[str, Seen], planned: Mapping[str, Sequence[Span]], parts: Sequence[Span], stale: float
) -> list[Availability]:
    """The availability of all hosts together in each part of a time, whose parts are in order."""
    if not parts:
        return []
    known = [
        (*states(looks, parts[0][0], parts[-1][1], stale), union(planned.get(host, ()))) for host, looks in seen.items()
    ]
    return [together(_summed(up, down, clipped(holes, *part), *part) for up, down, holes in known) for part in parts]


def of_all(
    seen: Mapping[str, Seen], planned: Mapping[str, Sequence[Span]], since: float, until: float, stale: float
) -> dict[str, Availability]:
    """The availability of each host."""
    return {host: of_host(looks, planned.get(host, ()), since, until, stale) for host, looks in seen.items()}


def together(hosts: Iterable[Availability]) -> Availability:
    """Of all hosts as one, each second of each host counting alike: no mean of percentages."""
    found = list(hosts)
    fields = Availability.__dataclass_fields__
    return Availability(**{name: sum(getattr(one, name) for one in found) for name in fields})


def states(seen: Seen, since: float, until: float, stale: float) -> tuple[list[Span], list[Span]]:
    """When a host was up, and when it was down; when it was neither, nobody knows."""
    found: dict[bool, list[Span]] = {True: [], False: []}
    looks = _each_once(seen)
    for (at, up), after in zip_longest(looks, looks[1:]):
        found[up].append((at, min(at + stale, after[0]) if after else at + stale))
    return union(clipped(found[True], since, until)), union(clipped(found[False], since, until))


def worst_of(looks: Iterable[Seen], stale: float) -> Seen:
    """Looks of several kinds as one: up where the last look of each kind, not yet stale, says so."""
    last: dict[int, tuple[float, bool]] = {}
    found: list[tuple[float, bool]] = []
    for at, up, kind in sorted((at, up, kind) for kind, seen in enumerate(looks) for at, up in seen):
        last[kind] = (at, up)
        found.append((at, all(well for seen_at, well in last.values() if at - seen_at < stale)))
    return tuple(found)


def _each_once(seen: Seen) -> list[tuple[float, bool]]:
    """In order, one look for each instant: where two saw it otherwise at the same one, it was down."""
    found = sorted(seen, key=_order)
    return [look for look, after in zip_longest(found, found[1:]) if not after or look[0] != after[0]]


def _order(look: tuple[float, bool]) -> tuple[float, bool]:
    return look[0], not look[1]
