"""The first half of the real run: hosts, exact commands, verdicts, digest; nothing is sent or recorded."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import dropwhile
from typing import Any

from opsqueue.model.fact import Fact, Probe, Reading, Record
from opsqueue.model.kind import OperationKind
from opsqueue.model.names import TargetState
from opsqueue.model.plan import plan_digest
from opsqueue.model.record import Operation
from opsqueue.model.request import Request
from opsqueue.pipeline.coordinators import ask_all
from opsqueue.pipeline.doubts import doubts
from opsqueue.pipeline.evidence import recorded
from opsqueue.pipeline.foresight import foreseen
from opsqueue.pipeline.submit import checked, fresh, params_for
from opsqueue.pipeline.verify import Surveyed, survey
from opsqueue.pipeline.window import asked
from opsqueue.pipeline.world import World
from opsqueue.store.engine import Connection
from opsqueue.telemetry import iso


def preview(world: World, request: Request) -> dict[str, Any]:
    """What `request` would do now. Raises InvalidRequest and NotFound as submitting it would."""
    kind, hosts = checked(world, request)
    operation = fresh(world, request, kind)
    surveys = survey(world, operation, kind, hosts, {})
    targets = tuple(one.target for one in surveys)
    digest = plan_digest(operation.type, operation.parameters, [(t.host, t.plan) for t in targets])
    answers = ask_all(world, operation, digest, targets)
    operation = replace(operation, digest=digest, coordinators=tuple(asdict(answer) for answer in answers))
    with world.store.read() as connection:
        verdicts = recorded(asked(connection, world, operation, targets)[0])
        looks = {
            one.target.host: _look(world, connection, operation, kind, one) if operation.looking else _NO_LOOK
            for one in surveys
        }
    risk = max((kind.risk(params_for(kind, request.parameters, host)) for host in hosts), key=_RISKS.index)
    return {
        "name": operation.name,
        "type": operation.type,
        "priority": operation.priority.value,
        "parameters": dict(operation.parameters),
        "risk": risk.value,
        "digest": digest,
        "targets": [_target(one) | looks[one.target.host] for one in surveys],
        "rollout": {} if operation.looking else dict(operation.rollout),
        "doubts": doubts(kind, len(hosts), request),
        "verdicts": [{**verdict, "until": iso(verdict["until"])} for verdict in verdicts],
    }


_RISKS = ["read_only", "reversible", "destructive"]


_NO_LOOK: dict[str, Any] = {"asks": []}


def _look(
    world: World, connection: Connection, operation: Operation, kind: OperationKind, survey: Surveyed
) -> dict[str, Any]:
    """What an operation that looks would ask of, or for, this host; and what it would send and keep."""
    host = world.inventory[survey.target.host]
    facts = kind.facts(params_for(kind, operation.parameters, host))
    asks = {"asks": [_in_words(fact) for fact in facts]}
    return asks if kind.desk else asks | foreseen(connection, operation.type, host, facts, world.now())


def _in_words(fact: Fact) -> str:
    """Its name, what is asked, how long that may take, and who asks."""
    name, ask = fact.name.removeprefix("check:"), fact.ask
    if isinstance(ask, Probe):
        return f"{name}: {_probe(ask)}, from the worker"
    if isinstance(ask, Record):
        return f"{name}: {fact.about or ask.what}, from the record"
    if isinstance(ask, Reading):
        what = ", ".join(map(str, ask.options.get("subjects", ()))) or "its metrics"
    else:
        # Of a script's arguments without how long, how much of its answer, and programs that are sent as text.
        words = [word for word in dropwhile(str.isdigit, ask.args) if "\n" not in word]
        what = fact.about or " ".join(words) or "a script"
    return f"{name}: {what}, {ask.timeout:g} s, on the host"


def _probe(ask: Probe) -> str:
    options = ask.options
    where = options.get("url") or ":".join(str(options[key]) for key in ("host", "port") if key in options)
    user = [f"as {options['user']}"] if options.get("user") else []
    server = [f"at {options['resolver']}"] if options.get("resolver") else []
    told = [f"with {option} <{reference}>" for option, reference in ask.secrets.items()]
    tries = 1 + int(options.get("retries", 0))
    limit = f"{options.get('attempt_timeout', ask.timeout):g} s"
    what = " ".join([ask.kind, str(where or options.get("name", "")), *user, *server, *told])
    return f"{what}, {limit}" if tries == 1 else f"{what}, at most {tries} times {limit}"


def _target(survey: Surveyed) -> dict[str, Any]:
    target = survey.target
    return {
        "host": target.host,
        "reachable": target.state is not TargetState.UNREACHABLE,
        "problems": list(target.problems or survey.objections),
        "note": target.plan.note,
        "steps": [
            {"title": step.title, "command": str(step.command), "timeout": step.command.timeout}
            for step in target.plan.steps
        ],
    }
