"""How long a service is watched after its restart: long enough to see again the crash that systemd saw."""

from __future__ import annotations

import pytest

from opsqueue.facts.services import Unit
from opsqueue.operations.service_restart import OPERATION

UNIT = Unit(manager="systemd", target="web.service", phase="up", identity="a1", pid=812)


@pytest.mark.parametrize(
    ("restarts", "starts", "watched"),
    [
        (0, [100, 130, 160], 5),  # somebody restarted it; it never crashed
        (2, [10, 100, 130, 150], 32),  # it lived 30 s, then 20; what was before is not of this row
        (1, [148, 150], 5),
        (1, [100, 300], 5),  # so long nobody waits
        (3, [], 5),  # longer ago than the journal was asked for
        (None, [100, 130], 5),
    ],
)
def test_as_long_as_it_lived_before_it_crashed(restarts, starts, watched):
    params = OPERATION.params.model_validate({"service_name": "web", "health_check": {"tcp": "127.0.0.1:80"}})
    unit = UNIT.as_json() | {"restarts": restarts}
    told = {"now": 200, "ours": [], "systemd": starts}
    before = {"service": {"found": ["systemd"], "evidence": {}, "unreadable": [], "unit": unit}, "starts": told}
    settled, health = OPERATION.facts_after(params, before)
    assert settled.ask.args[6] == str(watched)
    assert health.ask.options["delay"] == watched
    assert settled.ask.timeout > watched
    given_up = {"found": ["systemd"], "evidence": {}, "unreadable": [], "unit": unit | {"phase": "failed"}}
    (settled, _health) = OPERATION.facts_after(params, {**before, "service": given_up})
    assert settled.ask.args[6] == str(22 if watched > 5 else 5)  # one fewer was started than was counted
    plain = OPERATION.plan(params, {**before, "starts": {**told, "systemd": []}})
    assert OPERATION.plan(params, before) == plain  # what was approved stays what is sent
