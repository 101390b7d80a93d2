from __future__ import annotations

import pytest

from opsqueue.gates import AT_EXIT, BEFORE_EXECUTE, ask, combined
from opsqueue.model.verdict import Deny, Hold, Pass

ROWS = [
    ("nothing asked", (), Pass("")),
    ("all pass", (Pass("a"), Pass(), Pass("b")), Pass("a; b")),
    ("one holds", (Pass("a"), Hold("h", 5.0)), Hold("h", 5.0)),
    ("the latest", (Hold("h", 5.0), Hold("i", 9.0), Hold("j", 7.0)), Hold("h; i; j", 9.0)),
    ("one needs a person", (Hold("h", 5.0), Hold("i")), Hold("h; i", None)),
    ("denied", (Hold("h"), Deny("d"), Pass("a")), Deny("d")),
    ("denied twice", (Deny("d"), Hold("h", 5.0), Deny("e")), Deny("d; e")),
]


@pytest.mark.parametrize(("verdicts", "wanted"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_combined(verdicts, wanted):
    assert combined(tuple((f"gate-{place}", verdict) for place, verdict in enumerate(verdicts))) == wanted


def test_the_order_in_which_people_read():
    assert [name for name, _ in BEFORE_EXECUTE] == [
        "verification",
        "freeze",
        "maintenance_window",
        "concurrency",
        "host_lock",
    ]
    assert [name for name, _ in AT_EXIT] == ["delivery"]
    assert all(gate.__name__ == name for name, gate in BEFORE_EXECUTE + AT_EXIT)


def test_every_gate_is_asked_though_the_first_one_denies(evidence):
    asked = []

    def saying(verdict):
        def gate(_):
            asked.append(verdict.word)
            return verdict

        return gate

    gates = (("a", saying(Deny("d"))), ("b", saying(Hold("h"))), ("c", saying(Pass())))
    assert ask(gates, evidence()) == (("a", Deny("d")), ("b", Hold("h")), ("c", Pass()))
    assert asked == ["deny", "hold", "pass"]


def test_all_reasons_at_once(evidence):
    said = ask(BEFORE_EXECUTE, evidence(limits={"all": 1}, running={"all": 1}, locks={"db-1": "op-9"}))
    assert [verdict.word for _, verdict in said] == ["hold", "pass", "pass", "hold", "hold"]
    together = combined(said)
    assert "no verification" in together.why
    assert "pool all" in together.why
    assert "op-9" in together.why
