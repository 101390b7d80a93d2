"""How long Celery lets a process work on a stage: longer than anything in it may last by its own limits."""

from __future__ import annotations

from celery import Celery

from opsqueue.model.names import OperationPriority
from opsqueue.model.record import Operation
from opsqueue.notify.receipt import LONGEST_TRY
from opsqueue.settings import Settings
from opsqueue.tasks.client import Sender


def test_no_process_is_ended_while_a_message_may_still_be_answered(tmp_path):
    app = Celery(broker="memory://", set_as_current=False)
    shortest = Operation(id="o", name="n", type="t", priority=OperationPriority.NORMAL, systems=("h",), timeout=1)
    Sender(Settings(state_dir=tmp_path), app).dispatch(shortest)
    with app.connection_for_read() as connection, connection.SimpleQueue("normal") as queue:
        message = queue.get(timeout=10)
        message.ack()
    hard, soft = message.headers["timelimit"]
    later = [stage["options"]["time_limit"] for stage in message.payload[2]["chain"]]
    assert (soft, len(later)) == (None, 5)
    assert min(hard, *later) > 10 * LONGEST_TRY
