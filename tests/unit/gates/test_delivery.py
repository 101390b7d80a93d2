from __future__ import annotations

import pytest

from opsqueue.gates import delivery
from opsqueue.model.names import Outcome, TargetState
from opsqueue.model.record import Delivery, Target
from opsqueue.model.verdict import Hold, Pass

NOW = 1_772_971_200.0
DONE = {"outcome": Outcome.SUCCEEDED}


def told(status="accepted", channel="email", **fields):
    return Delivery(operation_id="op-1", event="finished", channel=channel, status=status, **fields)


def target(state=TargetState.SUCCEEDED, **fields):
    return Target(operation_id="op-1", host="web-1", state=state, **fields)


VERIFIED = target(changed_at=NOW - 9, verified_at=NOW - 8)

ROWS = [
    ("told and verified", {"targets": (VERIFIED,), "deliveries": (told(),)}, Pass, "everybody was told", None),
    ("a person knows", {"deliveries": (told("acknowledged"),)}, Pass, "everybody was told", None),
    ("nothing was changed", {"targets": (target(),), "deliveries": (told(),)}, Pass, "", None),
    (
        "denied before anything began",
        {"operation": {"outcome": Outcome.DENIED}, "targets": (target(TargetState.PENDING),), "deliveries": (told(),)},
        Pass,
        "",
        None,
    ),
    (
        "verified in the second of the change",
        {"targets": (target(changed_at=NOW, verified_at=NOW),), "deliveries": (told(),)},
        Pass,
        "",
        None,
    ),
    ("no outcome", {"operation": {}, "deliveries": (told(),)}, Hold, "no outcome yet", None),
    (
        "never verified",
        {"targets": (target(changed_at=NOW - 9),), "deliveries": (told(),)},
        Hold,
        "web-1: changed at 2026-03-08T11:59:51Z, verified never",
        None,
    ),
    (
        "verified before the change",
        {"targets": (target(changed_at=NOW - 9, verified_at=NOW - 10),), "deliveries": (told(),)},
        Hold,
        "verified last at 2026-03-08T11:59:50Z",
        None,
    ),
    (
        "failed and rolled back, but not looked at again",
        {"targets": (VERIFIED, target(TargetState.FAILED, changed_at=NOW)), "deliveries": (told(),)},
        Hold,
        "verified never",
        None,
    ),
    (
        "unknown",
        {"targets": (target(TargetState.UNKNOWN, changed_at=NOW - 9, verified_at=NOW),), "deliveries": (told(),)},
        Hold,
        "web-1: its state is unknown: a person must look",
        None,
    ),
    (
        "found in the middle of a change",
        {"targets": (target(TargetState.APPLYING),), "deliveries": (told(),)},
        Hold,
        "its state is applying",
        None,
    ),
    (
        "found in the middle of a rollback",
        {"targets": (target(TargetState.ROLLING_BACK),), "deliveries": (told(),)},
        Hold,
        "its state is rolling_back",
        None,
    ),
    ("nobody told", {}, Hold, "no message of this operation is recorded", NOW + 30),
    ("queued", {"deliveries": (told("queued", next_at=NOW + 5),)}, Hold, "email is queued (not tried yet)", NOW + 5),
    (
        "failed",
        {"deliveries": (told("failed", next_at=NOW + 60, attempts=2, error="connection refused"),)},
        Hold,
        "email is failed (2 attempts, connection refused), next at 2026-03-08T12:01:00Z",
        NOW + 60,
    ),
    (
        "two on their way: the sooner",
        {
            "deliveries": (
                told("failed", next_at=NOW + 60),
                told("queued", "slack", next_at=NOW + 5),
                told(channel="log"),
            )
        },
        Hold,
        "slack is queued",
        NOW + 5,
    ),
    (
        "dead",
        {"deliveries": (told(), told("dead", "slack", attempts=6, error="HTTP 404"))},
        Hold,
        "slack was given up after 6 attempts: HTTP 404. `opsqueue retry op-1` sends it again, `opsqueue cancel op-1`",
        None,
    ),
    (
        "one dead does not stop the other",
        {"deliveries": (told("dead", "slack"), told("queued", next_at=NOW + 5))},
        Hold,
        "slack was given up",
        NOW + 5,
    ),
    (
        "unknown does not stop the message that says so",
        {"targets": (target(TargetState.UNKNOWN),), "deliveries": (told("queued", next_at=NOW + 5),)},
        Hold,
        "a person must look; email is queued",
        NOW + 5,
    ),
    ("a word that is no receipt", {"deliveries": (told("sent"),)}, Hold, "'sent', which is no receipt", None),
    ("the same was told just before", {"deliveries": (told("suppressed"),)}, Pass, "everybody was told", None),
    (
        "given up, and its fallback was told",
        {"deliveries": (told("dead", "slack", fallback="email"), told(channel="email#a@b.co"))},
        Pass,
        "everybody was told",
        None,
    ),
    (
        "given up, and its fallback is still being tried",
        {"deliveries": (told("dead", "slack", fallback="email"), told("queued", next_at=NOW + 5))},
        Hold,
        "email is queued (not tried yet), next at",
        NOW + 5,
    ),
    (
        "down two channels, and the last was told",
        {
            "deliveries": (
                told("dead", "slack", fallback="email"),
                told("dead", fallback="sms"),
                told(channel="sms"),
            )
        },
        Pass,
        "everybody was told",
        None,
    ),
    (
        "given up, and so was its fallback",
        {"deliveries": (told("dead", "slack", fallback="email", error="HTTP 404"), told("dead", error="SMTP 550"))},
        Hold,
        "slack was given up after 0 attempts: HTTP 404",
        None,
    ),
    (
        "a circle of fallbacks, all given up",
        {"deliveries": (told("dead", "slack", fallback="email"), told("dead", fallback="slack"))},
        Hold,
        "email was given up",
        None,
    ),
    (
        "in quiet hours",
        {"deliveries": (told("queued", next_at=NOW + 5, note="quiet hours until 07:00"),)},
        Hold,
        "email waits: quiet hours until 07:00, next at 2026-03-08T12:00:05Z",
        NOW + 5,
    ),
    (
        "in a summary: looked at again soon, never at once",
        {"deliveries": (told("summary", next_at=NOW - 5, note="told in one summary at 12:05"),)},
        Hold,
        "email: told in one summary at 12:05",
        NOW + 30,
    ),
    ("looking tells people too", {"operation": {**DONE, "looking": True}}, Hold, "nobody was told", NOW + 30),
]


@pytest.mark.parametrize(("change", "wanted", "why", "until"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_delivery(evidence, change, wanted, why, until):
    verdict = delivery(evidence(**{"operation": DONE, **change}))
    assert isinstance(verdict, wanted)
    assert why in verdict.why
    assert getattr(verdict, "until", None) == until
