from __future__ import annotations

import pytest

from opsqueue.gates import concurrency
from opsqueue.model.verdict import Hold, Pass

NOW = 1_772_971_200.0

ROWS = [
    ("no limits", {"running": {"all": 99}}, Pass, "a slot is free", None),
    ("one below", {"limits": {"all": 5}, "running": {"all": 4}}, Pass, "a slot is free", None),
    ("full", {"limits": {"all": 5}, "running": {"all": 5}}, Hold, "pool all: 5 running, at most 5 at once", NOW + 30),
    ("over", {"limits": {"all": 5}, "running": {"all": 7}}, Hold, "7 running", NOW + 30),
    ("nothing runs", {"limits": {"all": 1}}, Pass, "a slot is free", None),
    ("a limit of none", {"limits": {"all": 0}}, Hold, "0 running, at most 0", NOW + 30),
    (
        "the type is full",
        {"limits": {"all": 5, "service_restart": 1}, "running": {"all": 1, "service_restart": 1}},
        Hold,
        "pool service_restart: 1 running, at most 1 at once",
        NOW + 30,
    ),
    (
        "another type is full",
        {"limits": {"all": 5, "security_scan": 1}, "running": {"all": 1, "security_scan": 1}},
        Pass,
        "a slot is free",
        None,
    ),
    (
        "both are full",
        {"limits": {"all": 2, "service_restart": 1}, "running": {"all": 2, "service_restart": 1}},
        Hold,
        "pool all: 2 running, at most 2 at once; pool service_restart",
        NOW + 30,
    ),
    (
        "looking",
        {"operation": {"looking": True}, "limits": {"all": 1}, "running": {"all": 1}},
        Hold,
        "pool all",
        NOW + 30,
    ),
]


@pytest.mark.parametrize(("change", "wanted", "why", "until"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_concurrency(evidence, change, wanted, why, until):
    verdict = concurrency(evidence(**change))
    assert isinstance(verdict, wanted)
    assert why in verdict.why
    assert getattr(verdict, "until", None) == until
