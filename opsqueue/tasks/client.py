"""Send messages: requests to the intake, nudges to the queue of an operation's priority."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

from celery import Celery, chain
from celery.exceptions import CeleryError
from celery.exceptions import TimeoutError as NoResult
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from opsqueue.errors import BrokerUnreachable
from opsqueue.model.deployment import DeploymentEvent
from opsqueue.model.names import WORKED, Stage
from opsqueue.model.record import Operation, Shard
from opsqueue.model.request import Request
from opsqueue.settings import Settings
from opsqueue.tasks.app import make_app, queue_named
from opsqueue.tasks.broker import connect
from opsqueue.telemetry import counted

_AWAY = (OSError, KombuError, RedisError, CeleryError)
_ASK_AGAIN = 5.0
"""Seconds without a receipt after which a request is sent again, as the same message: it may have been lost with the
Redis or the worker that had it, and one that comes twice is the same operation."""


class Sender:
    """The one place from which messages go."""

    def __init__(self, settings: Settings, app: Celery | None = None) -> None:
        self.settings = settings
        self.app = app or make_app(settings)

    def submit(self, request: Request, timeout: float) -> Mapping[str, Any] | None:
        """Ask for an operation through the intake; the receipt, or None when none came in `timeout` seconds.

        Raises BrokerUnreachable.
        """
        data = request.model_dump(mode="json", exclude_unset=True) | {"operation_id": str(request.operation_id)}
        return self._asked("opsqueue.submit", data, str(request.operation_id), request.name, timeout)

    def deployment_event(self, event: DeploymentEvent, timeout: float) -> Mapping[str, Any] | None:
        """Tell of a deployment through the intake; the receipt as of `submit`. Raises BrokerUnreachable."""
        data = event.model_dump(mode="json", exclude_unset=True) | {"event_id": str(event.event_id)}
        return self._asked("opsqueue.deployment_event", data, str(event.event_id), event.service, timeout)

    def _asked(
        self, task: str, data: Mapping[str, Any], name: str, title: str, timeout: float
    ) -> Mapping[str, Any] | None:
        self._reach()
        task_id, until = str(uuid4()), time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            try:
                receipt = _receipt(self._request(task, data, name, title, task_id), min(left, _ASK_AGAIN))
            except (*_AWAY, RuntimeError) as error:  # a RuntimeError is how Celery says that Redis went away meanwhile
                raise unreachable(error) from error
            if receipt is not None:
                return receipt
        return None

    def _reach(self) -> None:
        # Asked first, because Redis' own words say more than Celery's, which are that its retries are used up.
        try:
            with connect(self.settings) as client:
                client.ping()
        except _AWAY as error:
            raise unreachable(error) from error

    def _request(self, task: str, data: Mapping[str, Any], name: str, title: str, task_id: str) -> Any:
        return self.app.send_task(
            task,
            args=[data],
            queue="intake",
            task_id=task_id,
            ignore_result=False,
            argsrepr=f"({name!r},)",  # parameters are nobody's business in Flower
            kwargsrepr="{}",
            shadow=f"{task} {title}",
        )

    def dispatch(self, operation: Operation) -> None:
        """Send the chain of the stages that are left; BrokerUnreachable when Redis does not take it."""
        if operation.stage is Stage.CLOSED:
            return
        left = WORKED[WORKED.index(operation.stage) :]
        stages = chain(*(self._signature(operation, stage) for stage in left))
        try:
            stages.apply_async()
        except (*_AWAY, RuntimeError) as error:
            raise unreachable(error) from error

    def dispatch_shard(self, operation: Operation, shard: Shard) -> None:
        """Tell a worker of its shard; BrokerUnreachable when Redis does not take it."""
        hosts = counted(len(shard.hosts), "host")
        try:
            self.app.send_task(
                "opsqueue.execute_shard",
                args=(operation.id, shard.number),
                queue=queue_named(shard.queue),
                shadow=f"opsqueue.execute_shard {operation.name} ({operation.type} on {hosts})",
                argsrepr=f"({operation.id!r}, {shard.number})",
                kwargsrepr="{}",
                ignore_result=True,
                time_limit=3 * operation.timeout + 300,
            )
        except (*_AWAY, RuntimeError) as error:
            raise unreachable(error) from error

    def _signature(self, operation: Operation, stage: Stage) -> Any:
        hosts = f"{len(operation.systems)} system{'s' if len(operation.systems) != 1 else ''}"
        return self.app.signature(
            f"opsqueue.{stage}",
            args=(operation.id,),
            immutable=True,
            options={
                "queue": operation.priority.value,
                # What people read in Flower; the message itself carries the id and nothing else.
                "shadow": f"opsqueue.{stage} {operation.name} ({operation.type} on {hosts})",
                "argsrepr": f"({operation.id!r},)",
                "kwargsrepr": "{}",
                # The record is the result; without this word Celery subscribes to one for every nudge.
                "ignore_result": True,
                # The work bounds itself; this ends a process that hangs all the same: run, rollback, and once more.
                "time_limit": 3 * operation.timeout + 300,
            },
        )


def _receipt(result: Any, timeout: float) -> Mapping[str, Any] | None:
    """What came within `timeout` seconds, None when nothing did."""
    try:
        receipt: Mapping[str, Any] = result.get(timeout=timeout, disable_sync_subtasks=False)
    except NoResult:
        return None
    else:
        return receipt
    finally:
        with suppress(*_AWAY, RuntimeError):
            result.backend.remove_pending_result(result)
        result.backend = None  # or it would ask Redis once more when it is collected, and complain when that is away


def unreachable(error: Exception) -> BrokerUnreachable:
    """The error for people, from whatever the broker's libraries raised."""
    return BrokerUnreachable(
        f"the broker (Redis) cannot be reached: {type(error).__name__}: {str(error).rstrip('.')}. "
        "Look at broker_url with `opsqueue config show`; `opsqueue doctor` says what is missing."
    )
