"""What is measured of each check: its state, its times by phase, and the numbers that its answer holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opsqueue.model.kind import Metric
from opsqueue.operations.health.score import Judged
from opsqueue.operations.health.tell import NUMBERS, answer_of

_PLAIN = (
    ("restarts", "restarts", "count"),
    ("oldest_s", "process_age", "s"),
    ("stuck", "process_stuck", "count"),
    ("ttl", "dns_ttl", "s"),
    ("lag_s", "replication_lag", "s"),
    ("connections_percent", "connections_percent", "percent"),
    ("oldest_transaction_s", "oldest_transaction", "s"),
    ("memory_percent", "memory_percent", "percent"),
)
"""Key of an answer, metric, unit."""


def numbers_of(judged: Sequence[Judged]) -> Iterator[Metric]:
    """Of the whole host where one number says it, then of each check."""
    times = [took for one in judged if (took := _took(one)) is not None]
    if times:
        yield Metric(name="response_time", value=max(times), unit="ms")
    days = [left for one in judged if (left := _days_left(one)) is not None]
    if days:
        yield Metric(name="cert_days_left", value=min(days), unit="days")
    for one in judged:
        yield from _of_check(one)


def _of_check(one: Judged) -> Iterator[Metric]:
    name, answer = one.check.name, answer_of(one)
    yield Metric(name=f"state:{name}", value=NUMBERS.get(one.state), unit="state")
    yield from _times(one)
    days = _days_left(one)
    if days is not None:
        yield Metric(name=f"cert_days_left:{name}", value=days, unit="days")
    for key, metric, unit in _PLAIN:
        if answer.get(key) is not None:
            yield Metric(name=f"{metric}:{name}", value=answer[key], unit=unit)
    for label, data in answer.get("perfdata", {}).items():
        yield Metric(name=f"perfdata:{name}:{label}", value=data["value"], unit=data["unit"] or "count")


def _times(one: Judged) -> Iterator[Metric]:
    name, answer = one.check.name, answer_of(one)
    if "phases" not in answer:
        return
    yield Metric(name=f"response_time:{name}", value=_took(one), unit="ms")
    yield Metric(name=f"attempts:{name}", value=answer.get("attempts", 1), unit="count")
    for phase, took in answer["phases"].items():
        if phase != "total" and answer.get("ok"):
            yield Metric(name=f"phase:{name}:{phase}", value=took, unit="ms")


def _took(one: Judged) -> float | None:
    """Of the attempt that was answered; what failed has no time."""
    answer = answer_of(one)
    return answer.get("phases", {}).get("total") if answer.get("ok") else None


def _days_left(one: Judged) -> float | None:
    answer = answer_of(one)
    return (answer.get("certificate") or answer).get("days_left")
