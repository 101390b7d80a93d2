"""What would be, if: the same forecast from another level, at another pace, in another room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opsqueue.model.kind import Seen
from opsqueue.operations.capacity.forecast import Crossing, Forecast, Range, crossing
from opsqueue.operations.capacity.outlook import Outlook, found_in
from opsqueue.operations.capacity.params import CapacityPlanningParams, WhatIf

GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a change would make of one resource."""

    what_if: WhatIf
    called: str
    before: Crossing | None = None
    after: Crossing | None = None
    level: float | None = None
    """Percent, at once after the change."""
    why: str = ""
    """Why it cannot be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """Of one outlook: bytes more, bytes more room, and by what its growth is multiplied."""

    data: float = 0.0
    room: float = 0.0
    growth: float = 1.0


def outcomes(params: CapacityPlanningParams, seen: Seen, every: Sequence[Outlook]) -> tuple[Outcome, ...]:
    """Each change, and what it makes of each resource that it touches."""
    return tuple(outcome for one in params.what_if for outcome in _outcomes(params, seen, one, every))


def _outcomes(params: CapacityPlanningParams, seen: Seen, one: WhatIf, every: Sequence[Outlook]) -> Iterator[Outcome]:
    if one.mount is None:
        for outlook in every:
            if outlook.resource in {"cpu", "memory"}:
                yield _loaded(params, one, outlook)
        return
    by_mount = {outlook.place: outlook for outlook in every if outlook.resource == "disk"}
    source = by_mount.get(one.mount)
    if (why := _why_not(source, one.mount)) or source is None:
        yield Outcome(what_if=one, called=f"disk {one.mount}", why=why)
        return
    freed, note = _freed(one, seen)
    if note:
        yield Outcome(what_if=one, called=source.called, why=note)
        return
    yield from _moved(params, one, source, by_mount, freed)


def _why_not(outlook: Outlook | None, mount: str) -> str:
    if outlook is None:
        return f"{mount} is no mount that is looked at"
    if outlook.found is None or not outlook.total:
        return outlook.why or "its size is not known"
    return ""


def _freed(one: WhatIf, seen: Seen) -> tuple[float, str]:
    """Bytes that another retention frees, or why that is not known."""
    if one.retention is None:
        return 0.0, ""
    sizes: Mapping[str, Any] = found_in(seen).get("directories", {})
    held = sizes.get(one.retention.directory)
    if not isinstance(held, int | float):
        return 0.0, f"the size of {one.retention.directory} is not known"
    return held * (1 - one.retention.to_days / one.retention.from_days), ""


def _moved(
    params: CapacityPlanningParams, one: WhatIf, source: Outlook, by_mount: Mapping[str, Outlook], freed: float
) -> Iterator[Outcome]:
    used = source.last / 100 * (source.total or 0.0)
    goes = 0.0 if one.move_to is None else used if one.move_gib is None else min(used, one.move_gib * GIB)
    share = goes / used if used else 0.0
    data = one.add_gib * GIB - goes - freed
    change = _Change(data=data, room=one.expand_gib * GIB, growth=one.growth * (1 - share))
    yield _changed(params, one, source, change)
    if one.move_to is None:
        return
    goal = by_mount.get(one.move_to)
    if (why := _why_not(goal, one.move_to)) or goal is None:
        yield Outcome(what_if=one, called=f"disk {one.move_to}", why=why)
        return
    yield _changed(params, one, goal, _Change(data=goes), source, share * one.growth)


def _changed(
    params: CapacityPlanningParams,
    one: WhatIf,
    outlook: Outlook,
    change: _Change,
    source: Outlook | None = None,
    share: float = 0.0,
) -> Outcome:
    found, total = outlook.found, outlook.total or 0.0
    room = total + change.room
    if found is None or room <= 0:
        return Outcome(what_if=one, called=outlook.called, why="no room would be left at all")
    level = 100.0 * (outlook.last / 100 * total + change.data) / room
    reaches = [(found, change.growth * total / room)]
    if source and source.found:
        reaches.append((source.found, share * (source.total or 0.0) / room))
    after = _other(found, min(100.0, max(0.0, level)), reaches)
    return _outcome(params, one, outlook, after)


def _loaded(params: CapacityPlanningParams, one: WhatIf, outlook: Outlook) -> Outcome:
    if outlook.found is None:
        return Outcome(what_if=one, called=outlook.called, why=outlook.why)
    more = 1 + one.load_pct / 100
    after = _other(outlook.found, min(100.0, outlook.found.last * more), [(outlook.found, more * one.growth)])
    return _outcome(params, one, outlook, after)


def _outcome(params: CapacityPlanningParams, one: WhatIf, outlook: Outlook, after: Forecast) -> Outcome:
    when = crossing(after, outlook.threshold, params.interval, outlook.course.age)
    return Outcome(what_if=one, called=outlook.called, before=outlook.crossing, after=when, level=after.last)


def _other(found: Forecast, last: float, reaches: Sequence[tuple[Forecast, float]]) -> Forecast:
    """The forecast from another level, each change from today's as many times as large as said."""

    def reach(ahead: int, z: float) -> Range:
        parts = [(one.reach(ahead, z), one.last, times) for one, times in reaches]
        low, likely, high = (
            last + sum((getattr(at, name) - start) * times for at, start, times in parts)
            for name in ("low", "likely", "high")
        )
        return Range(low=low, likely=likely, high=high)

    growth = sum(one.growth * times for one, times in reaches)
    return replace(found, last=last, growth=growth, reach=reach)
