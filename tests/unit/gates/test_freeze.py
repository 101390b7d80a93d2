from __future__ import annotations

import pytest

from opsqueue.gates import freeze
from opsqueue.model.host import Host
from opsqueue.model.record import Freeze
from opsqueue.model.verdict import Hold, Pass

NOW = 1_772_971_200.0


def frozen(*scope, starts=NOW - 60, ends=NOW + 3600, lifted=None, name="f1"):
    return Freeze(
        id=name,
        scope=scope,
        reason="end of year",
        starts_at=starts,
        ends_at=ends,
        created_by="ann",
        created_at=NOW - 90,
        lifted_at=lifted,
    )


TAGGED = (Host(name="web-1", tags=("pci",)), Host(name="web-2"))
ROWS = [
    ("none", (), {}, Pass, "no freeze covers it", None),
    (
        "all",
        (frozen("all"),),
        {},
        Hold,
        "freeze f1 by ann covers all until 2026-03-08T13:00:00Z: end of year",
        NOW + 3600,
    ),
    ("a host", (frozen("db-1"),), {}, Hold, "covers db-1", NOW + 3600),
    ("a group of one host", (frozen("eu"),), {}, Hold, "covers eu", NOW + 3600),
    ("a group by its long name", (frozen("group:eu"),), {}, Hold, "covers group:eu", NOW + 3600),
    ("a tag of one host", (frozen("pci"),), {"hosts": TAGGED}, Hold, "covers pci", NOW + 3600),
    ("a tag by its long name", (frozen("tag:pci"),), {"hosts": TAGGED}, Hold, "covers tag:pci", NOW + 3600),
    ("a group is no tag", (frozen("tag:eu"),), {}, Pass, "no freeze", None),
    (
        "what is left out",
        (frozen("db"),),
        {"operation": {"systems": ("all", "!db")}, "hosts": TAGGED},
        Pass,
        "no",
        None,
    ),
    ("the type", (frozen("service_restart"),), {}, Hold, "covers service_restart", NOW + 3600),
    (
        "the type by its other name",
        (frozen("backup"),),
        {"operation": {"type": "backup_operation"}},
        Hold,
        "covers backup",
        NOW + 3600,
    ),
    ("only what matches is named", (frozen("mail", "web-1"),), {}, Hold, "covers web-1 until", NOW + 3600),
    ("as asked for, hosts not resolved", (frozen("db"),), {"hosts": ()}, Hold, "covers db", NOW + 3600),
    ("another host", (frozen("web-2", "mail"),), {}, Pass, "no freeze", None),
    ("part of a name", (frozen("web-11"),), {}, Pass, "no freeze", None),
    ("begins this second", (frozen("all", starts=NOW),), {}, Hold, "f1", NOW + 3600),
    ("begins in a second", (frozen("all", starts=NOW + 1),), {}, Pass, "no freeze", None),
    ("ends in a second", (frozen("all", ends=NOW + 1),), {}, Hold, "f1", NOW + 1),
    ("ended this second", (frozen("all", ends=NOW),), {}, Pass, "no freeze", None),
    ("lifted", (frozen("all", lifted=NOW - 1),), {}, Pass, "no freeze", None),
    ("open end", (frozen("all", ends=None),), {}, Hold, "until somebody lifts it", None),
    (
        "two: the later end",
        (frozen("all"), frozen("web-1", ends=NOW + 9, name="f2")),
        {},
        Hold,
        "freeze f2 by ann",
        NOW + 3600,
    ),
    ("two: one open end", (frozen("all"), frozen("web-1", ends=None, name="f2")), {}, Hold, "f1", None),
    ("looking", (frozen("all"),), {"operation": {"looking": True}}, Pass, "changes nothing", None),
]


@pytest.mark.parametrize(
    ("freezes", "change", "wanted", "why", "until"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_freeze(evidence, freezes, change, wanted, why, until):
    verdict = freeze(evidence(freezes=freezes, **change))
    assert isinstance(verdict, wanted)
    assert why in verdict.why
    assert getattr(verdict, "until", None) == until
