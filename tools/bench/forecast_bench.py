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
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import NormalDist, fmean, median

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

    def error(self, ahead: int) -> float:
        """The mean over the series."""
        return fmean(self.errors[ahead])

    def coverage(self, ahead: int, interval: float) -> float:
        """Percent of the windows whose day lay in the range."""
        return 100 * fmean(self.inside[ahead, interval])


def judge_groups(every_series: Iterable[Made], every: int = EVERY) -> dict[str, dict[str, Score]]:
    """The scores of the methods by group; cut at each `every`-th day."""
    scores: dict[str, dict[str, Score]] = {}
    for series in every_series:
        judge(series, scores.setdefault(series.group, {name: Score() for name in METHODS}), every)
    return scores


def judge(series: Made, score: dict[str, Score], every: int = EVERY) -> None:
    """Add what the methods said of one series."""
    points = [
        Point.raw((series.first + day) * DAY, value) for day, value in enumerate(series.values) if value is not None
    ]
    errors: dict[tuple[str, int], list[float]] = defaultdict(list)
    plain: dict[int, list[float]] = defaultdict(list)
    for origin in range(HISTORY, len(series.values) - max(AHEAD), every):
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


def table(scores: dict[str, dict[str, Score]]) -> None:
    """Print every group."""
    heads = [f"error {days} d" for days in AHEAD]
    heads += [f"{100 * one:.0f} % {days} d" for one in RANGES for days in AHEAD]
    print(f"{'':22}{'':15}" + "".join(f"{head:>11}" for head in (*heads, "full, %", "never, %")))
    for group, score in scores.items():
        for name, found in score.items():
            cells = [f"{found.error(days):.2f}" for days in AHEAD]
            cells += [f"{found.coverage(days, one):.0f}" for one in RANGES for days in AHEAD]
            cells += [f"{median(found.full):.0f}", f"{100 * found.never / len(found.full):.0f}"] if found.full else []
            print(f"{group:22}{name:15}" + "".join(f"{cell:>11}" for cell in cells))
        found = score["opsqueue"]
        print(f"{'':22}{len(found.errors[AHEAD[0]])} series, {len(found.inside[AHEAD[0], RANGES[0]])} windows")


def main() -> None:
    """All groups; `--each`: every series, and every kind of made ones, by itself."""
    series = [*real(), *made()]
    if "--each" in sys.argv:
        series = [replace(one, group=one.name.rstrip("0123456789 ")) for one in series]
    print(f"The forecast of capacity_planning, from {HISTORY} days, beside a straight line (least squares)")
    table(judge_groups(series))


if __name__ == "__main__":
    main()
