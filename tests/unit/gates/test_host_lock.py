from __future__ import annotations

import pytest

from opsqueue.gates import host_lock
from opsqueue.model.verdict import Hold, Pass

NOW = 1_772_971_200.0

ROWS = [
    ("no locks", {}, Pass, "nobody else", None),
    ("another host is locked", {"locks": {"web-2": "op-9"}}, Pass, "nobody else", None),
    ("one host is locked", {"locks": {"db-1": "op-9"}}, Hold, "operation op-9 is changing db-1", NOW + 30),
    ("both by one", {"locks": {"db-1": "op-9", "web-1": "op-9"}}, Hold, "op-9 is changing web-1, db-1", NOW + 30),
    (
        "each by another",
        {"locks": {"db-1": "op-8", "web-1": "op-9"}},
        Hold,
        "operation op-9 is changing web-1; operation op-8 is changing db-1",
        NOW + 30,
    ),
    ("looking", {"operation": {"looking": True}, "locks": {"db-1": "op-9"}}, Pass, "changes nothing", None),
]


@pytest.mark.parametrize(("change", "wanted", "why", "until"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_host_lock(evidence, change, wanted, why, until):
    verdict = host_lock(evidence(**change))
    assert isinstance(verdict, wanted)
    assert why in verdict.why
    assert getattr(verdict, "until", None) == until
