"""A worker that is stopped (SIGSTOP) after it wrote down that it sends a command, and before it does: CONFIG, ID."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace

from opsqueue.connectors.local import LocalShell
from opsqueue.connectors.ssh import remote
from opsqueue.connectors.ssh.link import Link
from opsqueue.model.fact import Fact, Script
from opsqueue.model.kind import OperationKind, Params
from opsqueue.model.names import Risk, Sort, Stage
from opsqueue.model.plan import Command, Plan, Step
from opsqueue.pipeline.advance import advance
from opsqueue.pipeline.assemble import assemble
from opsqueue.settings import load
from opsqueue.store import operations


class Tallied(Params):
    """One line more in a file."""

    tally: str


def _step(params: Tallied) -> Plan:
    argv = ("sh", "-c", 'echo sent >>"$1"', "sh", params.tally)
    return Plan(steps=(Step(title="tally", command=Command(argv=argv)),))


TALLIED = OperationKind(
    name="tallied",
    summary="Write a line into a file of the host",
    sort=Sort.CHANGING,
    params=Tallied,
    facts=lambda params: (
        Fact(name="lines", ask=Script(text='wc -l <"$1"', args=(params.tally,)), parse=lambda result: result.stdout),
    ),
    plan=lambda params, _facts: _step(params),
    verify=lambda _params, before, after: () if before["lines"] != after["lines"] else ("there is no line more",),
    rollback=lambda _params, _before, _after: Plan(),
    restored=lambda _params, _before, _after: (),
    risk=lambda _params: Risk.REVERSIBLE,
)


def world_of(config, worker):
    """The real world of this configuration, with the one type."""
    world = assemble(load(str(config)), dispatch=lambda _operation: None, worker=worker)
    return replace(world, kinds={"tallied": TALLIED})


def drive(world, operation_id, seconds=90.0):
    """Work what is due until the operation is closed; whether it is."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with world.store.read() as connection:
            operation = operations.get(connection, operation_id)
        if operation.stage is Stage.CLOSED:
            return True
        if operation.due_at is None or operation.due_at > world.now():
            time.sleep(0.05)
            continue
        advance(world, operation_id, operation.stage)
    return False


def _stop() -> None:
    if not _STOPPED:
        _STOPPED.append(True)
        os.kill(os.getpid(), signal.SIGSTOP)


_STOPPED: list[bool] = []


def _stop_before_sending() -> None:
    run, opened = LocalShell.run, Link.open

    def run_later(self, command, mark="", **more):
        _stop()
        return run(self, command, mark, **more)

    def open_and_stop(self, command):
        stream = opened(self, command)
        if command != remote.WAITING:
            _stop()
        return stream

    LocalShell.run, Link.open = run_later, open_and_stop


if __name__ == "__main__":
    _stop_before_sending()
    raise SystemExit(0 if drive(world_of(sys.argv[1], "stopped"), sys.argv[2]) else 1)
