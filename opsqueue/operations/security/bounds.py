"""How much of what was found is told: the worst, so that the row of an operation stays small; the rest is counted.

All findings of an operation are one row of the record, and servers of SQL refuse rows of more than 16 MB as they come.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace

from opsqueue.model.kind import Finding
from opsqueue.model.names import Severity

WORST_FIRST = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)
MOST = 500
"""Findings of one host that are told."""
MOST_OF_CODE = 25
"""Findings of one code that come before the others of it."""
MOST_REMEMBERED = 5000
"""Fingerprints of one host that are kept of what is not told."""
OF_OPERATION = 12 << 20
"""Bytes of all findings of an operation; its hosts share it."""
OF_HOST, LEAST_OF_HOST = 1 << 20, 4 << 10
"""Bytes of the findings of one host, at most and however many hosts there are."""
_OF_ONE = 8 << 10
"""Bytes of one finding, from which on it is told without its details."""
_OF_TEXT = 1000
_OF_PRINT = 20
"""Bytes of a fingerprint in the row."""
_FOR_PRINTS = 4
"""The part of a host's share that is for fingerprints."""
_KEPT = (
    "fingerprint", "status", "since", "subject", "part", "was", "severity", "accepted_by", "reason", "until",
    "known",
)  # fmt: skip


def told(rows: Sequence[Finding], hosts: int) -> Iterator[Finding]:
    """The worst ones, the worst first, and one finding about the rest; `hosts` is how many share the row."""
    share = max(LEAST_OF_HOST, min(OF_HOST, OF_OPERATION // max(1, hosts)))
    ordered = _by_turns(rows)
    worst = list(_that_fit(map(_light, ordered[:MOST]), share - share // _FOR_PRINTS))
    yield from sorted(worst, key=lambda one: (WORST_FIRST.index(one.severity), one.code))  # stable: then as they came
    if ordered[len(worst) :]:
        yield _rest(ordered[len(worst) :], min(MOST_REMEMBERED, share // _FOR_PRINTS // _OF_PRINT))


def _by_turns(rows: Sequence[Finding]) -> list[Finding]:
    """Of each code some come first: files that anybody can make must not hide an account of root."""
    numbers: Counter[str] = Counter()
    first: list[Finding] = []
    rest: list[Finding] = []
    for one in rows:
        (first if numbers[one.code] < MOST_OF_CODE else rest).append(one)
        numbers[one.code] += 1
    return [*first, *rest]


def _that_fit(rows: Iterable[Finding], room: int) -> Iterator[Finding]:
    for number, one in enumerate(rows):
        room -= _size(one)
        if room < 0 < number:  # the worst of all is told, whatever room there is
            return
        yield one


def _size(one: Finding) -> int:
    return len(json.dumps(asdict(one)))


def _light(one: Finding) -> Finding:
    """As it is, or without what makes it too large."""
    if _size(one) <= _OF_ONE:
        return one
    evidence = {key: one.evidence[key] for key in _KEPT if key in one.evidence}
    return replace(one, message=f"{one.message[:_OF_TEXT]}...", evidence={**evidence, "details": "too many to be kept"})


def _rest(left: Sequence[Finding], most: int) -> Finding:
    """What is not told: how much it is, and by what the next scan knows it."""
    there = [one for one in left if one.evidence["status"] != "fixed"]
    evidence = {
        "number": len(left),
        "fingerprints": [one.evidence["fingerprint"] for one in there[:most]],
        "codes": sorted({one.code for one in there[most:]}),
    }
    return Finding(
        severity=min((one.severity for one in left), key=WORST_FIRST.index),
        code="findings_left_out",
        message=f"{len(left)} more were found than are told",
        evidence=evidence,
        advice="Mend those that are told, or ask for fewer checks or fewer hosts at a time.",
    )
