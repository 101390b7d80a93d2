"""Ask for operations from Python; `opsqueue.awaitable` has the same to await."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict

from opsqueue.client_reading import Reading
from opsqueue.embedded.redis import running
from opsqueue.embedded.users import using
from opsqueue.errors import (
    BrokerUnreachable,
    Conflict,
    DatabaseUnreachable,
    InvalidRequest,
    NotFound,
    OpsqueueError,
    StillWaiting,
)
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.deployment import parse_event
from opsqueue.model.names import Stage, TargetState
from opsqueue.model.record import Operation
from opsqueue.model.request import OperationConfig, Request, parse_request
from opsqueue.pipeline import alert_rules, control
from opsqueue.pipeline.preview import preview
from opsqueue.pipeline.submit import checked
from opsqueue.pipeline.views import settled, whole
from opsqueue.pipeline.world import World
from opsqueue.settings import Settings, load
from opsqueue.store import operations, targets

_RECEIPT_WITHIN = 20.0
_START_WITHIN = 30.0
_LOOK_EVERY = 0.1


class VerificationCoordinator(Protocol):
    """Somebody who must say PASSED before anything is changed; named in the setting `verification`."""

    async def coordinate_verification(self, kind: str, context: dict[str, Any]) -> dict[str, Any]:
        """Judge the plan in `context`; the answer holds `overall_status`, PASSED or anything else."""
        ...


class OperationResult(BaseModel):
    """How an operation stands; the keys of the JSON of one operation as attributes."""

    model_config = ConfigDict(frozen=True, extra="allow")

    operation_id: str
    name: str
    type: str
    status: str
    outcome: str | None
    metrics: dict[str, Any]
    """By host: `{name: {"value", "unit"}}`."""
    health_score: float | None
    findings: list[dict[str, Any]]
    targets: list[dict[str, Any]]


class Operations(Reading):
    """The synchronous form. Errors are those of `opsqueue.errors`; each carries an exit status and a code."""

    def __init__(self, settings: Settings | None = None, *, config_path: str | Path | None = None) -> None:
        self.config_path = str(config_path) if config_path else None
        self.settings = settings or load(self.config_path)

    @cached_property
    def _sender(self) -> Any:
        # Celery costs a quarter of a second to import, and most commands send nothing.
        from opsqueue.tasks.client import Sender  # noqa: PLC0415

        return Sender(self.settings)

    @cached_property
    def _world(self) -> World:
        # The connectors and the catalogue of types cost as much again; those who only wait need neither.
        from opsqueue.pipeline.assemble import assemble  # noqa: PLC0415

        return assemble(self.settings, dispatch=self._nudge, worker=f"client-{socket.gethostname()}-{os.getpid()}")

    def _nudge(self, operation: Operation) -> None:
        if self.settings.broker_url is not None or running(self.settings.state_dir / "redis"):
            self._sender.dispatch(operation)

    def execute_operation(self, config: OperationConfig | Mapping[str, Any]) -> OperationResult:
        """Submit, and wait until it is decided and people were told."""
        with self.running_system():
            return OperationResult(**self.wait(self.submit(config)))

    def plan(self, config: OperationConfig | Mapping[str, Any]) -> dict[str, Any]:
        """What it would do now: hosts, exact commands, verdicts, digest. Sends nothing, records nothing."""
        self._need_record()
        return preview(self._world, _request(config))

    def submit(
        self, config: OperationConfig | Mapping[str, Any], *, operation_id: str | UUID | None = None, reason: str = ""
    ) -> str:
        """Ask for an operation through the intake and return its id; the same id again is the same operation.

        Raises InvalidRequest, NotFound, Conflict as the intake says, BrokerUnreachable, and StillWaiting when no
        worker answered: the request is on its way then, and is taken when one does.
        """
        request = _request(config, operation_id, reason)
        with self.running_system():
            receipt = self._sender.submit(request, _RECEIPT_WITHIN)
        if receipt is None:
            raise _not_taken("request", request.operation_id)
        if not receipt["accepted"]:
            raise self._refusal(request, receipt["error"])
        return str(receipt["operation_id"])

    def deployment_event(self, **event: Any) -> dict[str, Any]:
        """Tell of a deployment, with the fields of `DeploymentEvent`; how it stands, as `deployment` tells it.

        The same `event_id` again is the same deployment. Raises as `submit` does.
        """
        told = parse_event({"requested_by": actor(), **event})
        with self.running_system():
            receipt = self._sender.deployment_event(told, _RECEIPT_WITHIN)
        if receipt is None:
            raise _not_taken("event", told.event_id)
        if not receipt["accepted"]:
            raise _error(receipt["error"])
        return {key: value for key, value in receipt.items() if key != "accepted"}

    def _refusal(self, request: Request, error: Mapping[str, Any]) -> OpsqueueError:
        """The error of the intake; where we would have accepted the request, what the workers have to do with it."""
        refused = _error(error)
        if not isinstance(refused, InvalidRequest | NotFound):
            return refused
        try:
            checked(self._world, request)
        except OpsqueueError:
            return refused
        return type(refused)(
            f"the running worker refuses it: {refused.message} The configuration here accepts it: the worker has "
            "another one, or read it at its start. Start the worker (`opsqueue up`) again with this one.",
            **refused.details,
        )

    def wait(
        self,
        operation_id: str,
        timeout: float | None = None,
        on_change: Callable[[dict[str, Any]], None] | None = None,
        on_progress: Callable[[Mapping[TargetState, int]], None] | None = None,
    ) -> dict[str, Any]:
        """The JSON of the operation once it has ended (or was decided, and every delivery was tried).

        `on_change` is called with the JSON each time something happened, `on_progress` with the number of hosts in
        each state while they are worked on. Raises StillWaiting after `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        seen: tuple[Any, ...] | None = None
        with using(self.settings.state_dir):
            while True:
                mark = self._mark(operation_id)
                if mark != seen and settled(data := self._told(operation_id, on_change)):
                    return data
                seen = mark
                if on_progress and mark[0] is Stage.EXECUTE:
                    on_progress(self._counts(operation_id))
                if end is not None and time.monotonic() > end:
                    raise StillWaiting(
                        f"operation {operation_id} still waits; it goes on, as long as a worker runs (`opsqueue up`): "
                        f"`opsqueue why {operation_id[:8]}`"
                    )
                time.sleep(_LOOK_EVERY)

    def _told(self, operation_id: str, on_change: Callable[[dict[str, Any]], None] | None) -> dict[str, Any]:
        data = whole(self._store, operation_id, time.time())
        if on_change:
            on_change(data)
        return data

    def _counts(self, operation_id: str) -> Mapping[TargetState, int]:
        with self._store.read() as connection:
            return targets.counts(connection, operation_id)

    def _mark(self, operation_id: str) -> tuple[Any, ...]:
        with self._store.read() as connection:
            one = operations.get(connection, operation_id)
        return one.stage, one.token, one.holder, one.hold, one.outcome, one.attempts

    def cancel(self, operation_id: str, *, reason: str = "") -> None:
        """Stop an operation: nothing that is not begun is begun. Conflict when it has ended."""
        with self.running_system():  # somebody must look, and see it
            control.cancel(self._world, operation_id, actor=actor(), reason=reason)

    def retry(self, operation_id: str, *, reason: str = "") -> None:
        """Let an operation that waits for a person look again. Conflict when it has ended."""
        with self.running_system():
            control.retry(self._world, operation_id, actor=actor(), reason=reason)

    def failed_hosts(self, operation_id: str) -> tuple[str, ...]:
        """The hosts on which it did not succeed; Conflict while it goes on, and when it succeeded everywhere."""
        with self._store.read() as connection:
            old = operations.get(connection, operation_id)
            return control.failed_hosts(old, targets.of(connection, operation_id))

    def retry_failed(self, operation_id: str, *, reason: str = "") -> tuple[str, tuple[str, ...]]:
        """Ask for the same operation on the hosts on which it did not succeed; its id, and the hosts.

        Asked twice it is one operation. Raises Conflict while the first goes on, and when it succeeded everywhere.
        """
        hosts = self.failed_hosts(operation_id)
        with self._store.read() as connection:
            old = operations.get(connection, operation_id)
        told = f"retry of {operation_id}" + (f": {reason}" if reason else "")
        again = str(uuid5(UUID(operation_id), "retry --failed"))
        return self.submit(control.once_more(old, hosts), operation_id=again, reason=told), hosts

    def add_custom_alert_rule(self, rule_name: str, condition: Any, action: Any = "notify", **more: Any) -> str:
        """Keep an alert rule (docs/alerts.md) from the next reading on; its name. InvalidRequest, Conflict."""
        return self.keep_alert_rule(alert_rules.parse_rule(rule_name, condition, action, **more)).name

    def keep_alert_rule(self, rule: AlertRule, *, update: bool = False) -> AlertRule:
        """Keep a rule as it stands; with `update` in place of one that was added before."""
        self._need_record()
        return alert_rules.add_rule(self._world, rule, by=actor(), update=update)

    def _need_record(self) -> None:
        if self.settings.database_url is None and not (self.settings.state_dir / "opsqueue.db").exists():
            from opsqueue.store.upgrade import upgrade  # noqa: PLC0415  # Alembic costs 0.1 s, once in a lifetime

            upgrade(self._store)

    @contextmanager
    def running_system(self) -> Iterator[None]:
        """A system that takes requests while the block runs: the running one, or the embedded one, started here."""
        if self.settings.broker_url is not None:
            yield
            return
        with using(self.settings.state_dir):
            if not running(self.settings.state_dir / "redis"):
                with self._store.begin():  # a record that cannot be written is told here, not by a system that dies
                    pass
                self._start_embedded()
            yield

    def _start_embedded(self) -> None:
        log = self.settings.log_dir / "embedded.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        config = ("--config", str(Path(self.config_path).resolve())) if self.config_path else ()
        argv = [sys.executable, "-m", "opsqueue.tasks.transient", *config]
        with log.open("ab") as output:
            # A session of its own: it outlives this process, so that an interrupted wait does not end the operation.
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        end = time.monotonic() + _START_WITHIN
        while not running(self.settings.state_dir / "redis"):
            # 0: somebody else was quicker to start it, and it is about to answer.
            if process.poll() not in {None, 0} or time.monotonic() > end:
                raise BrokerUnreachable(f"the embedded system did not start; {log} says why")
            time.sleep(0.05)


def actor() -> str:
    """Who asks, as the operating system knows them: `user@host`."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _request(
    config: OperationConfig | Mapping[str, Any], operation_id: str | UUID | None = None, reason: str = ""
) -> Request:
    data = config.model_dump(mode="json", exclude_unset=True) if isinstance(config, OperationConfig) else dict(config)
    extra = {"operation_id": str(operation_id)} if operation_id else {}
    told = {"reason": reason} if reason else {}
    return parse_request({"requested_by": actor(), **data, **extra, **told})


def _not_taken(what: str, its_id: UUID) -> StillWaiting:
    return StillWaiting(
        f"no worker took the {what} within {_RECEIPT_WITHIN:g} s; it waits in the intake as {its_id}. "
        "Start one with `opsqueue worker`, and look with `opsqueue doctor`."
    )


def _error(error: Mapping[str, Any]) -> OpsqueueError:
    kinds = (InvalidRequest, NotFound, Conflict, DatabaseUnreachable)
    kind = next((kind for kind in kinds if kind.code == error["code"]), OpsqueueError)
    return kind(error["message"], **error.get("details", {}))
