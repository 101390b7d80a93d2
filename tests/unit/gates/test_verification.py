from __future__ import annotations

import pytest

from opsqueue.gates import verification
from opsqueue.gates.evidence import CoordinatorAnswer
from opsqueue.model.verdict import Deny, Hold, Pass

NOW = 1_772_971_200.0


def said(status="PASSED", *, coordinator="built-in", digest="d1", reached=True, why=""):
    return CoordinatorAnswer(coordinator=coordinator, status=status, digest=digest, reached=reached, why=why)


ROWS = [
    ("one passed", {"coordinators": (said(),)}, Pass, "PASSED by built-in", None),
    ("all passed", {"coordinators": (said(), said(coordinator="siem"))}, Pass, "built-in, siem", None),
    ("none answered", {}, Hold, "no verification coordinator has answered", NOW + 30),
    (
        "not reached",
        {"coordinators": (said(), said("", coordinator="siem", reached=False, why="timed out"))},
        Hold,
        "siem was not reached: timed out",
        NOW + 30,
    ),
    (
        "not reached though PASSED stands there",
        {"coordinators": (said(reached=False),)},
        Hold,
        "no reason known",
        NOW + 30,
    ),
    ("refused", {"coordinators": (said("FAILED", why="disk full"),)}, Deny, "built-in said FAILED: disk full", None),
    ("lower case is no PASSED", {"coordinators": (said("passed"),)}, Deny, "said passed", None),
    ("no status at all", {"coordinators": (said(""),)}, Deny, "said nothing", None),
    (
        "one refused, one not reached",
        {"coordinators": (said("FAILED"), said(coordinator="siem", reached=False))},
        Deny,
        "said FAILED",
        None,
    ),
    (
        "another plan",
        {"coordinators": (said(digest="d0"),)},
        Hold,
        "another plan (d0) than the present one (d1)",
        NOW + 30,
    ),
    ("no digest", {"coordinators": (said(digest=None),)}, Hold, "no digest", NOW + 30),
    (
        "nothing planned is nothing verified",
        {"operation": {"digest": None}, "coordinators": (said(digest=None),)},
        Hold,
        "another plan",
        NOW + 30,
    ),
    ("looking is verified too", {"operation": {"looking": True}}, Hold, "no verification", NOW + 30),
]


@pytest.mark.parametrize(("change", "wanted", "why", "until"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_verification(evidence, change, wanted, why, until):
    verdict = verification(evidence(**change))
    assert isinstance(verdict, wanted)
    assert why in verdict.why
    assert getattr(verdict, "until", None) == until
