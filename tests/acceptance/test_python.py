"""The Python example of the mission, to the letter, as a program of its own; mail and web servers are real ones."""

from __future__ import annotations

import json
import sys

import pytest
from listeners import hook
from mailkit import mail_server
from place import SIX, stages

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("python")]

EXAMPLE = """\
import asyncio
import json


async def main():
    from opsqueue import OperationsMCP, OperationConfig, OperationType, OperationPriority

    operations_mcp = OperationsMCP()
    config = OperationConfig(
        name="system-health-check", type=OperationType.HEALTH_CHECK, priority=OperationPriority.NORMAL,
        description="regular health check", target_systems=["web-server-1", "api-server-1"],
        parameters={}, timeout=300, notification_channels=["email", "slack"],
    )
    result = await operations_mcp.execute_operation(config)
    result.status, result.metrics
    print(json.dumps([result.status, result.metrics, result.operation_id]))


asyncio.run(main())
"""
SYNCHRONOUS = """\
import json
import sys
from opsqueue.client import Operations
from opsqueue.errors import Conflict, InvalidRequest, NotFound

operations = Operations()
ask = {"name": "look", "type": "health_check", "target_systems": ["api-server-1"]}
with operations.running_system():
    first = operations.submit(ask, reason="story")
    assert operations.submit(ask, operation_id=first) == first
    data = operations.wait(first, timeout=30)
    for other, error in (({"name": "other"}, Conflict), ):
        try:
            operations.submit({**ask, **other}, operation_id=first)
        except error:
            pass
        else:
            raise AssertionError(f"{other} was taken")
    for other, error in (({"type": "no_such"}, NotFound), ({"target_systems": []}, InvalidRequest)):
        try:
            operations.submit({**ask, **other})
        except error:
            pass
        else:
            raise AssertionError(f"{other} was taken")
assert operations.get(first) == data
print(json.dumps([data, operations.history(type="health_check")]))
"""


def test_the_example(make_place):
    """Each channel hears of it once."""
    with mail_server() as mailbox, hook() as web:
        place = make_place(
            notification_channels={"email": "admin@company.com", "slack": "#ops-alerts"},
            notification_urls={
                "email": f"mailto://127.0.0.1:{mailbox.port}?from=ops@company.com&to={{to}}",
                "slack": f"json://127.0.0.1:{web.server_address[1]}/slack",
            },
        )
        script = place.directory / "example.py"
        script.write_text(EXAMPLE)
        done = place.run(sys.executable, str(script), cwd=place.directory)
        assert done.code == 0, done.err
        status, metrics, operation_id = done.json
        assert status == "succeeded"
        assert set(metrics) == {"web-server-1", "api-server-1"}
        assert all(set(metric) == {"value", "unit"} for named in metrics.values() for metric in named.values())
        place.ended_by_itself()
        told = [
            (note["channel"], note["status"], note["attempts"]) for note in place.show(operation_id)["notifications"]
        ]
        assert told == [("email", "accepted", 1), ("slack", "accepted", 1)]
        ((recipient, message),) = mailbox.handler.got
        ((path, posted),) = web.got
    assert recipient == "admin@company.com"
    assert "system-health-check" in message["Subject"]
    assert "succeeded" in message["Subject"]
    assert path == "/slack"
    assert "system-health-check" in json.dumps(posted)


def test_the_synchronous_form(place):
    script = place.directory / "synchronous.py"
    script.write_text(SYNCHRONOUS)
    done = place.run(sys.executable, str(script), cwd=place.directory)
    assert done.code == 0, done.err
    data, (ended,) = done.json
    assert (stages(data), data["reason"]) == (SIX, "story")
    assert ended["operation_id"] == data["operation_id"]
