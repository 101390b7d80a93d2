"""Daily series to judge a forecast by: real growth from growth.csv, and made courses of a host's volumes and loads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

DAYS = 400
_FIRST = 20_000
_GROWTH = Path(__file__).with_name("growth.csv")


@dataclass(frozen=True, slots=True)
class Made:
    """One series: a value for each day, None in a gap."""

    name: str
    group: str
    values: tuple[float | None, ...]
    model: str = "drift"
    first: int = _FIRST


def real() -> Iterator[Made]:
    """Bytes ever stored in public git repositories; see git_growth.py."""
    for line in _GROWTH.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, first, *values = line.split(",")
            yield Made(name, "real growth", tuple(map(float, values)), first=int(first))


def made(copies: int = 8) -> Iterator[Made]:
    """Every kind of course several times, each copy with a seed of its own."""
    for name, (course, model) in _KINDS.items():
        for copy in range(copies):
            rng = Random(f"{name} {copy}")
            values = tuple(course(rng))
            group = "made volumes" if model == "drift" else "made loads"
            yield Made(f"{name} {copy}", group, _with_gaps(rng, values), model)


def _with_gaps(rng: Random, values: tuple[float, ...]) -> tuple[float | None, ...]:
    """Two times the measuring stood still for some days."""
    gone = {day for _ in range(2) for begin in [rng.randrange(DAYS)] for day in range(begin, begin + rng.randint(1, 5))}
    return tuple(None if day in gone else value for day, value in enumerate(values))


def _held(value: float) -> float:
    return min(100.0, max(0.0, value))


def _steady(rng: Random) -> Iterator[float]:
    level, pace = rng.uniform(5, 30), rng.uniform(0.02, 0.15)
    for _ in range(DAYS):
        level += max(0.0, rng.gauss(pace, pace * 2))
        yield _held(level)


def _changing(rng: Random) -> Iterator[float]:
    """The pace is another one every two months or so."""
    level, pace = rng.uniform(5, 30), rng.uniform(0.02, 0.1)
    for _ in range(DAYS):
        pace = rng.uniform(0.0, 0.2) if rng.random() < 1 / 60 else pace
        level += rng.gauss(pace, 0.1)
        yield _held(level)


def _bursts(rng: Random) -> Iterator[float]:
    """Nothing for days, then much at once: releases, imports."""
    level, size = rng.uniform(5, 20), rng.uniform(1, 4)
    for _ in range(DAYS):
        level += rng.expovariate(1 / size) if rng.random() < 1 / 25 else 0.01
        yield _held(level)


def _rotated(rng: Random) -> Iterator[float]:
    """Logs: they grow through the week, and are rotated away at its end."""
    base, pace, week = rng.uniform(20, 50), rng.uniform(1, 3), 7
    for day in range(DAYS):
        yield _held(base + pace * (day % week) + 0.02 * day + rng.gauss(0, 0.4))


def _cleaned(rng: Random) -> Iterator[float]:
    """It grows until somebody cleans up."""
    level, pace, floor = rng.uniform(20, 50), rng.uniform(0.1, 0.4), rng.uniform(15, 40)
    for _ in range(DAYS):
        level += rng.gauss(pace, pace)
        level = floor if level > 80 else level
        yield _held(level)


def _load(rng: Random) -> Iterator[float]:
    """A working week, some growth, noise, and a busy day now and then."""
    base, pace, week = rng.uniform(15, 40), rng.uniform(-0.02, 0.08), rng.uniform(5, 20)
    for day in range(DAYS):
        busy = rng.uniform(10, 40) if rng.random() < 0.03 else 0.0
        yield _held(base + pace * day + (week if day % 7 < 5 else 0.0) + rng.gauss(0, 3) + busy)


def _memory(rng: Random) -> Iterator[float]:
    """A level that jumps with each release, and what leaks until the next restart."""
    level, leak, since = rng.uniform(30, 60), rng.uniform(0.0, 0.6), 0
    for _ in range(DAYS):
        if rng.random() < 1 / 30:
            level, since = level + rng.gauss(0.5, 3), 0
        since += 1
        yield _held(level + leak * since + rng.gauss(0, 1))


_KINDS: dict[str, tuple[Callable[[Random], Iterator[float]], str]] = {
    "steady": (_steady, "drift"),
    "changing pace": (_changing, "drift"),
    "bursts": (_bursts, "drift"),
    "weekly rotation": (_rotated, "drift"),
    "cleaned by hand": (_cleaned, "drift"),
    "load of a week": (_load, "level"),
    "memory": (_memory, "level"),
}
