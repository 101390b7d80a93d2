"""The tasks: each only calls the pipeline, which decides."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, TypeVar
from uuid import UUID, uuid5

from celery import Celery, Task

from opsqueue.beat_schedule import build
from opsqueue.connectors.inventory.directory import Directory
from opsqueue.errors import BrokerUnreachable, DatabaseUnreachable, OpsqueueError
from opsqueue.model.deployment import parse_event
from opsqueue.model.names import WORKED, Stage
from opsqueue.model.record import Operation, Shard
from opsqueue.model.request import parse_request
from opsqueue.pipeline import deployments, schedule
from opsqueue.pipeline.advance import advance
from opsqueue.pipeline.assemble import assemble, known_hosts
from opsqueue.pipeline.shard import run_shard
from opsqueue.pipeline.submit import submit as take_in
from opsqueue.pipeline.upkeep import upkeep as keep_house
from opsqueue.pipeline.world import World
from opsqueue.settings import Settings
from opsqueue.tasks.client import Sender

Answer = TypeVar("Answer")
_log = logging.getLogger("opsqueue.tasks")
_MOST_SHARDS = 1_000_000
_MESSAGES = UUID("2f0c6f9e-64a5-4f0c-9a57-7c1d1f6a6e53")


class Hands:
    """What the tasks of one process work with; made at the first task, so that no connection crosses a fork."""

    def __init__(self, settings: Settings, app: Celery, name: str, host: str = "", seat: str = "") -> None:
        self.settings = settings
        self.app = app
        self.name = name
        self.host = host
        """The host whose own worker this is; empty: nobody's."""
        self.seat = seat
        """As whom it holds the lease of that host."""

    @cached_property
    def directory(self) -> Directory:
        """The inventory; a worker reads it before it forks."""
        return known_hosts(self.settings)

    @cached_property
    def world(self) -> World:
        """This process's world."""
        sender = Sender(self.settings, self.app)
        return assemble(
            self.settings,
            dispatch=partial(nudge, sender),
            dispatch_shard=partial(nudge_shard, sender),
            worker=f"{self.name}:{os.getpid()}",
            own_host=self.host,
            directory=self.directory,
            seat=self.seat,
        )

    @property
    def go_on(self) -> bool:
        """Whether the next stages are worked in this process: five times the speed, but one task for Flower."""
        return self.settings.worker.in_process and not self.app.conf.worker_send_task_events


def nudge(sender: Sender, operation: Operation) -> None:
    """Send a nudge; when the broker is away the reconciler sends it again, so that is no failure."""
    try:
        sender.dispatch(operation)
    except BrokerUnreachable as error:
        _log.warning("a nudge was not sent: %s", error.message, extra={"operation_id": operation.id})


def nudge_shard(sender: Sender, operation: Operation, shard: Shard) -> None:
    """Send a nudge for a shard; when the broker is away it is sent again when the operation is looked at."""
    try:
        sender.dispatch_shard(operation, shard)
    except BrokerUnreachable as error:
        _log.warning("a nudge for a shard was not sent: %s", error.message, extra={"operation_id": operation.id})


def register(app: Celery, hands: Hands) -> None:
    """Put every task on the application."""

    def submit(task: Task, request: Any = None, *_rest: Any, **_more: Any) -> Mapping[str, Any]:
        return _submit(hands, request, str(task.request.id))

    def deployment_event(task: Task, event: Any = None, *_rest: Any, **_more: Any) -> Mapping[str, Any]:
        return _deployment(hands, event, str(task.request.id))

    def tick(name: Any = None, *_rest: Any, **_more: Any) -> None:
        _tick(hands, str(name))

    def execute_shard(operation_id: Any = None, number: Any = None, *_rest: Any, **_more: Any) -> None:
        _shard(hands, operation_id, number)

    def upkeep(*_rest: Any, **_more: Any) -> None:
        _upkeep(hands)

    # Until it is in the record, the message is all there is of a request: acknowledged only then, and one whose worker
    # died is taken by another. It may well come twice: that is the same operation.
    late = {"acks_late": True, "reject_on_worker_lost": True}
    app.task(submit, name="opsqueue.submit", bind=True, ignore_result=False, typing=False, **late)
    app.task(deployment_event, name="opsqueue.deployment_event", bind=True, ignore_result=False, typing=False, **late)
    app.task(tick, name="opsqueue.tick", typing=False)
    app.task(upkeep, name="opsqueue.upkeep", typing=False)
    app.task(execute_shard, name="opsqueue.execute_shard", typing=False)
    for stage in WORKED:
        app.task(_worker_of(hands, stage), name=f"opsqueue.{stage}", bind=True, typing=False)


def _worker_of(hands: Hands, stage: Stage) -> Callable[..., None]:
    def work(task: Task, operation_id: Any = None, *_rest: Any, **_more: Any) -> None:
        _stage(hands, stage, task, operation_id)

    return work


def _submit(hands: Hands, asked: Any, message_id: str) -> Mapping[str, Any]:
    """The receipt: `{"operation_id", "accepted": true}` or `{"accepted": false, "error": {…}}`; never raises."""
    try:
        request = parse_request(asked)
        if "operation_id" not in request.model_fields_set:  # a message that comes twice is one request all the same
            request = request.model_copy(update={"operation_id": _as_uuid(message_id)})
        operation = take_in(hands.world, request)
    except OpsqueueError as error:
        _log.warning("a request was refused: %s", error.message)
        return {"accepted": False, "error": error.as_json()}
    return {"operation_id": operation.id, "accepted": True}


def _deployment(hands: Hands, told: Any, message_id: str) -> Mapping[str, Any]:
    """The receipt, as of a request, with `event_id` and the state of the deployment; never raises."""
    try:
        event = parse_event(told)
        if "event_id" not in event.model_fields_set:
            event = event.model_copy(update={"event_id": _as_uuid(message_id)})
        found = deployments.take_in(hands.world, event)
    except OpsqueueError as error:
        _log.warning("a deployment event was refused: %s", error.message)
        return {"accepted": False, "error": error.as_json()}
    return {"accepted": True, **deployments.as_json(found)}


def _as_uuid(message_id: str) -> UUID:
    try:
        return UUID(message_id)
    except ValueError:  # a foreign producer's messages may be numbered as it likes
        return uuid5(_MESSAGES, message_id)


def _stage(hands: Hands, stage: Stage, task: Task, operation_id: Any) -> None:
    if not isinstance(operation_id, str):
        _log.warning("a nudge for %s without an operation's id was dropped", stage)
        task.request.chain = None
        return
    moved = _said(lambda: advance(hands.world, operation_id, stage, go_on=hands.go_on))
    if moved is not stage.next or hands.go_on:
        task.request.chain = None  # held, over, not ours, or done already: nobody needs the rest of the chain


def _shard(hands: Hands, operation_id: Any, number: Any) -> None:
    if not isinstance(operation_id, str) or not isinstance(number, int) or not 0 <= number < _MOST_SHARDS:
        _log.warning("a nudge for a shard without an operation's id and the shard's number was dropped")
        return
    _said(lambda: run_shard(hands.world, operation_id, number))


def _tick(hands: Hands, name: str) -> None:
    entry = build(hands.settings, hands.world.kinds).get(name)
    if entry is None:
        _log.warning("there is no schedule %r any more", name)
        return
    _said(lambda: schedule.tick(hands.world, entry))


def _upkeep(hands: Hands) -> None:
    entries = build(hands.settings, hands.world.kinds)
    _said(lambda: schedule.tick_all(hands.world, entries.values()))
    _said(lambda: keep_house(hands.world))


def _said(work: Callable[[], Answer]) -> Answer | None:
    """The answer; an error that people can act on is one line in the log, and the record finds the work again."""
    try:
        return work()
    except DatabaseUnreachable as error:
        _log.error("ERROR: %s", error.message)
    except OpsqueueError as error:
        _log.error("FAILED: %s", error.message)
    return None
