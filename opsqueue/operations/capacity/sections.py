"""The capacity planning as a document: tables, and a chart of each course with its fan, threshold and score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from opsqueue.model.amount import amount
from opsqueue.model.kind import Metric, Seen
from opsqueue.model.report import Band, Cell, Chart, Grid, Line, Mark, Section
from opsqueue.operations.capacity.advice import advice, growth_of
from opsqueue.operations.capacity.cost import cost, incidents, why_none
from opsqueue.operations.capacity.days import DAY
from opsqueue.operations.capacity.findings import said_of, sentence
from opsqueue.operations.capacity.loads import DAYS, Load, load
from opsqueue.operations.capacity.outlook import Outlook, outlooks, when
from opsqueue.operations.capacity.params import CapacityPlanningParams
from opsqueue.operations.capacity.scorecard import Scorecard, scorecards
from opsqueue.operations.capacity.what_if import outcomes

_FAN = (0.5, 0.8)
_NEVER = 366
_SOON = (30, 90)
_METHODS = {
    "drift": (
        "drift: the mean change of a day, from the last value on; the range holds the pace of all days and that of "
        "the last 28, and the noise that adds up"
    ),
    "level": (
        "level: the middle of the last two weeks with the usual difference of the weekday, and a trend as far as it "
        "is more than chance"
    ),
}


def report(params: CapacityPlanningParams, seen: Seen) -> tuple[Section, ...]:
    """All of one host."""
    every = outlooks(params, seen)
    cards = [card for one in every for card in scorecards(one, seen)]
    return (
        _summary(params, every),
        *(_course(params, seen, one) for one in every if one.found),
        *_what_ifs(params, seen, every),
        *_loads(params, seen),
        _spare(params, seen),
        *_directories(params, seen),
        _scores(params, cards),
    )


def _summary(params: CapacityPlanningParams, every: Sequence[Outlook]) -> Section:
    rows = tuple(
        (
            one.called,
            one.said(one.last) if one.course.values else None,
            one.said(one.threshold),
            one.said(one.threshold - one.last) if one.course.values else None,
            one.pace() or None,
            one.pattern or None,
            when(one, params.interval),
        )
        for one in every
    )
    columns = ("what", "now", "threshold", "headroom", "growth", "course", "threshold reached")
    text = (
        f"Highest value of each day (95th percentile for CPU) of up to {params.history_days} days. A range is always "
        "given: nobody can know the day."
    )
    return Section(title="Outlook", text=(text,), grids=(Grid(columns=columns, rows=rows),))


def _course(params: CapacityPlanningParams, seen: Seen, one: Outlook) -> Section:
    lines = [sentence(params, one)[0].upper() + sentence(params, one)[1:] + "."]
    if one.found:
        lines.append(f"Method: {_METHODS[one.found.model]}. {_fit(one)}")
    if one.comes and (todo := advice(params, one, seen)):
        lines.append(f"What helps, in this order: {todo}")
    return Section(title=one.called, text=tuple(lines), charts=(_chart(params, one),))


def _fit(one: Outlook) -> str:
    told = one.evidence()
    noise = f"A day scatters by {told['noise_per_day']:.3g}"
    return (
        f"{noise}, and a straight line explains {100 * told['r2']:.0f} % (R²)."
        if told["r2"] is not None
        else f"{noise}."
    )


def _chart(params: CapacityPlanningParams, one: Outlook) -> Chart:
    past = Line(
        label="measured",
        points=tuple((day * DAY, v) for day, v in zip(one.course.days, one.course.values, strict=True)),
    )
    ahead = range(params.horizon_days + 1)
    found, end = one.found, one.course.days[-1]
    if found is None:
        return Chart(title=one.called, unit=one.course.unit, lines=(past,))
    likely = Line(label="likely", dashed=True, points=tuple(((end + day) * DAY, found.at(day).likely) for day in ahead))
    bands = tuple(
        Band(
            label=f"{share * 100:.0f} % range",
            points=tuple(((end + day) * DAY, at.low, at.high) for day in ahead for at in [found.at(day, share)]),
        )
        for share in sorted({*_FAN, params.interval}, reverse=True)
    )
    title = f"{one.called}: {one.course.length} days, and {params.horizon_days} ahead"
    mark = Mark(label="threshold", value=one.threshold)
    return Chart(title=title, unit=one.course.unit, lines=(past, likely), bands=bands, marks=(mark,))


def _what_ifs(params: CapacityPlanningParams, seen: Seen, every: Sequence[Outlook]) -> Iterator[Section]:
    rows = tuple((one.what_if.name, one.called, one.why or said_of(one)) for one in outcomes(params, seen, every))
    if rows:
        yield Section(title="What if", grids=(Grid(columns=("if", "what", "then"), rows=rows),))


def _loads(params: CapacityPlanningParams, seen: Seen) -> Iterator[Section]:
    names = ("cpu_usage", "memory_usage")
    known = [one for name in names if (one := load(seen, name, params.percentile, params.cost_percentile))]
    if not known:
        return
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            one.name,
            *(amount(value, "percent") for value in (one.steady, one.percentile, one.cost, one.peak)),
            one.days,
            one.busiest,
        )
        for one in known
    )
    ranks = (f"P{params.percentile:g}", f"P{params.cost_percentile:g}")
    columns = ("use", "steady (median)", *ranks, "peak", "days", "busiest hour")
    text = ("Means of five minutes. What is used in bursts is judged by its percentiles, never by its mean.",)
    yield Section(title="Use", text=text, grids=(Grid(columns=columns, rows=rows), *map(_heat, known)))


def _heat(one: Load) -> Grid:
    """The usual value of each hour, a row for each day of the week where two weeks are known."""
    days = DAYS if len(one.hours) > len(DAYS) * 4 else ("every day",)
    cells = ["" if value is None else f"{value:.0f}" for value in one.hours]
    rows = [(day, *cells[24 * place : 24 * place + 24]) for place, day in enumerate(days)]
    monday = days.index("Monday") if "Monday" in days else 0
    rows = rows[monday:] + rows[:monday]
    return Grid(columns=(f"{one.name} %, UTC", *(f"{hour:02}" for hour in range(24))), rows=tuple(rows))


def _spare(params: CapacityPlanningParams, seen: Seen) -> Section:
    title = "What is spare"
    if not params.cost_advice:
        return Section(title=title, text=("Not asked for.",))
    if why := why_none(params, seen):
        return Section(title=title, text=(f"No advice: {why}.",))
    found = [f"{one.message[0].upper()}{one.message[1:]}. {one.advice}" for one in cost(params, seen)]
    unusual = incidents(seen)
    seldom = (f"In these weeks: {unusual}.",) if unusual else ()
    return Section(title=title, text=(*(found or ["Nothing: the host has about the size that it needs."]), *seldom))


def _directories(params: CapacityPlanningParams, seen: Seen) -> Iterator[Section]:
    daily = seen.series.get("days", {})
    rows: list[tuple[Cell, ...]] = []
    for path in params.directories:
        points = daily.get(f"directory_size:{path}", ())
        growth = growth_of(points)
        now = seen.metrics.get(f"directory_size:{path}")
        rows.append((path, amount(now.value, "bytes") if now else None, amount(growth, "bytes/day"), len(points)))
    if rows:
        columns = ("directory", "now", "growth", "days measured")
        yield Section(title="Directories", grids=(Grid(columns=columns, rows=tuple(rows)),))


def _scores(params: CapacityPlanningParams, cards: Sequence[Scorecard]) -> Section:
    title = "How earlier forecasts came out"
    if not any(card.came for card in cards):
        return Section(title=title, text=("None of an earlier run has come due yet.",))
    rows = tuple(
        (card.name, card.ahead, len(card.came), card.error, card.plain_error, card.coverage, card.left_out)
        for card in cards
    )
    columns = ("metric", "days ahead", "forecasts", "mean error", "error of no change", "% in the range", "left out")
    text = (
        f"The range was meant to hold {100 * params.interval:.0f} %. Left out: the volume was resized meanwhile, or "
        "nothing is known of the day."
    )
    charts = tuple(_came(card) for card in cards if len(card.came) > 1)
    return Section(title=title, text=(text,), grids=(Grid(columns=columns, rows=rows),), charts=charts)


def _came(card: Scorecard) -> Chart:
    return Chart(
        title=f"{card.name}: forecast {card.ahead} days before, and what came",
        unit="percent" if "usage" in card.name else "",
        lines=(
            Line(label="what came", points=tuple((one.about * DAY, one.value) for one in card.came)),
            Line(label="forecast", dashed=True, points=tuple((one.about * DAY, one.likely) for one in card.came)),
        ),
        bands=(Band(label="range", points=tuple((one.about * DAY, one.low, one.high) for one in card.came)),),
    )


# -- all hosts ------------------------------------------------------------------------------------------------


def overview(metrics: Mapping[str, Mapping[str, Metric]]) -> tuple[Section, ...]:
    """How many hosts run out of something within 30 and 90 days, and which are the next."""
    if len(metrics) < 2:  # noqa: PLR2004 - one host is no fleet
        return ()
    earliest = {host: _next(named, "days_to_threshold_earliest:") for host, named in metrics.items()}
    likely = {host: _next(named, "days_to_threshold:") for host, named in metrics.items()}
    lines = tuple(
        f"{_within(likely, days)} of {len(metrics)} hosts reach a threshold within {days} days if it goes on as is "
        f"likely, {_within(earliest, days)} at the earliest."
        for days in _SOON
    )
    rows = sorted((host for host in metrics if earliest[host][0] < _NEVER), key=lambda host: earliest[host])
    columns = ("host", "what comes first", "days at the earliest", "days, likely")
    grid = Grid(columns=columns, rows=tuple(_row(host, earliest[host], metrics[host]) for host in rows))
    return (Section(title="All hosts", text=lines, grids=(grid,) if rows else ()),)


def _next(named: Mapping[str, Metric], prefix: str) -> tuple[float, str]:
    days = [
        (one.value, name.removeprefix(prefix))
        for name, one in named.items()
        if name.startswith(prefix) and one.value is not None
    ]
    return min(days, default=(float(_NEVER), ""))


def _within(found: Mapping[str, tuple[float, str]], days: int) -> int:
    return sum(first <= days for first, _name in found.values())


def _row(host: str, first: tuple[float, str], named: Mapping[str, Metric]) -> tuple[Cell, ...]:
    likely = named.get(f"days_to_threshold:{first[1]}")
    return (host, first[1], int(first[0]), likely.value if likely else None)
