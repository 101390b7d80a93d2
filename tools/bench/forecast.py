"""Judge the forecast of capacity_planning on days that came: its error and its range, beside a straight line.

Each series is cut at many days; what each method says of 7, 30 and 90 days later is compared with what was there.
The error is divided by that of "it stays as it is" (1 is no better than that). `full` asks in how many days the level
was reached that was really reached after 30 days: the error of the days in percent, and how often "never" was said.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist, fmean

sys.path.insert(0, str(Path(__file__).parent))

from capacity_series import Made, made, real

from opsqueue.model.sample import Point
from opsqueue.operations.capacity.days import DAY, Course, course
from opsqueue.operations.capacity.forecast import FARTHEST, forecast

HISTORY, EVERY, AHEAD, FULL = 90, 13, (7, 30, 90), 30
RANGES = (0.5, 0.8)

Says = Callable[[int, float], tuple[float, float, float]]
"""(days ahead, interval) -> low, likely, high."""


def ours(known: Course, model: str) -> Says:
    found = forecast(known, model, math.inf)  # type: ignore[arg-type]

    def says(ahead: int, interval: float) -> tuple[float, float, float]:
        at = found.at(ahead, interval)
        return at.low, at.likely, at.high

    return says


def straight_line(known: Course, _model: str) -> Says:
    """Least squares through all days, with its own prediction interval."""
    days, values, count = known.days, known.values, len(known.days)
    middle, mean = fmean(days), fmean(values)
    width = sum((day - middle) ** 2 for day in days)
    slope = sum((day - middle) * (value - mean) for day, value in zip(days, values, strict=True)) / width
    rest = sum((value - mean - slope * (day - middle)) ** 2 for day, value in zip(days, values, strict=True))
    noise = math.sqrt(rest / max(1, count - 2))

    def says(ahead: int, interval: float) -> tuple[float, float, float]:
        day = days[-1] + ahead - middle
        likely = mean + slope * day
        spread = NormalDist().inv_cdf((1 + interval) / 2) * noise * math.sqrt(1 + 1 / count + day * day / width)
        return likely - spread, likely, likely + spread

    return says


METHODS: dict[str, Callable[[Course, str], Says]] = {"opsqueue": ours, "straight line": straight_line}


@dataclass
class Score:
    """What was counted of one method on one group of series."""

    errors: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By days ahead: the error of each series, as a share of that of no change."""
    inside: dict[tuple[int, float], list[bool]] = field(default_factory=lambda: defaultdict(list))
    full: list[float] = field(default_factory=list)
    never: int = 0


def judge(series: Made, score: dict[str, Score]) -> None:
    """Add what the methods said of one series."""
    points = [
        Point.raw((series.first + day) * DAY, value) for day, value in enumerate(series.values) if value is not None
    ]
    errors: dict[tuple[str, int], list[float]] = defaultdict(list)
    plain: dict[int, list[float]] = defaultdict(list)
    for origin in range(HISTORY, len(series.values) - max(AHEAD), EVERY):
        begin, end = (series.first + origin - HISTORY) * DAY, (series.first + origin) * DAY
        known = course(series.name, [point for point in points if begin <= point.at < end], end)
        if len(known.days) < 28:
            continue
        for name, method in METHODS.items():
            says = method(known, series.model)
            for ahead in AHEAD:
                _compare(
                    series,
                    known,
                    says,
                    ahead,
                    errors[name, ahead],
                    plain[ahead] if name == "opsqueue" else [],
                    score[name],
                )
            if series.model == "drift":
                _full(series, known, says, score[name])
    for (name, ahead), found in errors.items():
        score[name].errors[ahead].append(fmean(found) / max(fmean(plain[ahead]), 1e-9))


def _real(series: Made, known: Course, ahead: int) -> float | None:
    return series.values[known.days[-1] + ahead - series.first]


def _compare(
    series: Made, known: Course, says: Says, ahead: int, errors: list[float], plain: list[float], score: Score
) -> None:
    came = _real(series, known, ahead)
    if came is None:
        return
    errors.append(abs(says(ahead, 0.8)[1] - came))
    plain.append(abs(known.values[-1] - came))
    for interval in RANGES:
        low, _likely, high = says(ahead, interval)
        score.inside[ahead, interval].append(low - 1e-9 <= came <= high + 1e-9)


def _full(series: Made, known: Course, says: Says, score: Score) -> None:
    came = _real(series, known, FULL)
    if came is None or came <= max(known.values) or not _stays(series, known, came):
        return
    on = next(day for day in range(1, FULL + 1) if (value := _real(series, known, day)) is not None and value >= came)
    said = next((day for day in range(FARTHEST + 1) if says(day, 0.8)[1] >= came), None)
    if said is None:
        score.never += 1
    score.full.append(100.0 * abs((FARTHEST if said is None else said) - on) / on)


def _stays(series: Made, known: Course, level: float) -> bool:
    """Whether it was full then, and no peak of a sawtooth."""
    later = [_real(series, known, day) for day in range(FULL, FULL + 8)]
    return all(value is None or value >= level * 0.98 for value in later)


def table(groups: Iterable[tuple[str, list[Made]]]) -> None:
    """Print every group."""
    print(f"{'':16}{'':15}" + "".join(f"{f'error {days} d':>12}" for days in AHEAD), end="")
    print(
        "".join(f"{f'{100 * one:.0f} % {days} d':>11}" for one in RANGES for days in AHEAD)
        + f"{'full %':>8}{'never':>7}"
    )
    for group, series in groups:
        score = {name: Score() for name in METHODS}
        for one in series:
            judge(one, score)
        for name, found in score.items():
            errors = "".join(f"{fmean(found.errors[days]):12.2f}" for days in AHEAD)
            inside = "".join(f"{100 * fmean(found.inside[days, one]):11.0f}" for one in RANGES for days in AHEAD)
            full = (
                f"{sorted(found.full)[len(found.full) // 2]:8.0f}{100 * found.never / len(found.full):6.0f}%"
                if found.full
                else ""
            )
            print(f"{group:16}{name:15}{errors}{inside}{full}")
        windows = len(score["opsqueue"].inside[AHEAD[0], RANGES[0]])
        print(f"{'':16}{len(series)} series, {windows} windows of {HISTORY} days")


def main() -> None:
    grouped: dict[str, list[Made]] = defaultdict(list)
    for one in (*real(), *made()):
        grouped[one.group].append(one)
    if "--each" in sys.argv:
        grouped = defaultdict(list)
        for one in (*real(), *made()):
            grouped[one.name if one.group.startswith("real") else one.name.rpartition(" ")[0]].append(one)
    table(grouped.items())


if __name__ == "__main__":
    main()
