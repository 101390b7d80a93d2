"""The desk of the record: a Shell for types whose questions and commands go to the record, and to no host.

It answers `Record` questions about one host, and understands exactly the commands that `alert_management` plans: words
of the command line, done in the name of whoever asked for the operation. What a command changes is written in the
transaction in which the lease is renewed: a worker that lost it changes nothing, and the same command twice is one.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from opsqueue.alerts.escalation import acknowledge, resolve
from opsqueue.alerts.state import Step
from opsqueue.connectors.shell import Shell, still_wanted
from opsqueue.errors import Conflict, InvalidRequest, NotFound
from opsqueue.model.alert import Alert
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.fact import Fact, Record, read, unknown
from opsqueue.model.host import Host
from opsqueue.model.kind import OperationKind
from opsqueue.model.plan import Command, Result
from opsqueue.model.record import Operation
from opsqueue.pipeline.alert_people import back, change_one, end_silence, silence_of
from opsqueue.pipeline.alert_rules import configured, wrong_with
from opsqueue.pipeline.desk_answers import Look, answer, silence_name
from opsqueue.pipeline.lease import Lease
from opsqueue.pipeline.world import World
from opsqueue.store import alert_parts, alerts
from opsqueue.store.engine import Connection

_WRONG = 2
"""The exit code of a command that is none of those below."""
_SECONDS = re.compile(r"([1-9]\d{0,7})s")


def shell_to(world: World, operation: Operation, kind: OperationKind, host: Host, lease: Lease | None = None) -> Shell:
    """The way to one host of an operation; for types with a desk to the record, which only a `lease` may change."""
    return Desk(world, operation, host, lease) if kind.desk else world.connect(host)


@dataclass(frozen=True, slots=True)
class Desk:
    """A Shell that no host is behind."""

    world: World
    operation: Operation
    host: Host
    lease: Lease | None = None

    def greet(self) -> None:
        """There is nobody who could be away."""

    def ask(self, facts: Sequence[Fact]) -> Mapping[str, Any]:
        """The answers of the record, all as of one moment."""
        now = self.world.now()
        with self.world.store.read() as connection:
            look = Look(self.world, connection, self.operation, self.host, now)
            return {fact.name: _answered(look, fact) for fact in facts}

    def run(self, command: Command, mark: str = "", *, not_after: float = math.inf) -> Result:  # noqa: ARG002  # a Shell
        """Do one of the known commands; any other is refused."""
        still_wanted(command, not_after)
        began = time.monotonic()
        if self.lease is None:
            return Result(exit_code=_WRONG, stderr="this desk only answers questions")
        with self.world.store.begin() as tx:
            self.lease.renew(tx)
            try:
                done = Result(exit_code=0, stdout=self._do(tx, command.argv))
            except (InvalidRequest, NotFound, Conflict) as error:  # raised before anything is written
                done = Result(exit_code=error.exit_code, stderr=error.message)
        return replace(done, seconds=time.monotonic() - began)

    def busy(self, mark: str) -> bool:  # noqa: ARG002  # a Shell
        """What was not written in time is not written at all."""
        return False

    def close(self) -> None:
        """Nothing is held open."""

    def _do(self, tx: Connection, argv: tuple[str, ...]) -> str:
        match argv:
            case ("opsqueue", "alerts", "ack", incident, "--end"):
                done = self._each(tx, incident, self._taken_back)
            case ("opsqueue", "alerts", "ack", incident, "--for", lasting, "--comment", comment):
                done = self._each(tx, incident, partial(self._known, seconds=_seconds(lasting), comment=comment))
            case ("opsqueue", "alerts", "resolve", incident, "--comment", comment):
                done = self._each(tx, incident, partial(self._over, comment=comment))
            case ("opsqueue", "alerts", "silence", "--end", name):
                done = self._heard_again(tx, name)
            case ("opsqueue", "alerts", "silence", *matchers, "--for", lasting, "--comment", comment):
                done = self._quiet(tx, matchers, _seconds(lasting), comment)
            case ("opsqueue", "alerts", "add", name, "--set", fields, *update) if update in ([], ["--update"]):
                done = self._rule(tx, name, fields, new=not update)
            case ("opsqueue", "alerts", "remove", name):
                done = self._removed(tx, name)
            case _:
                raise InvalidRequest(f"the desk has no such command: {' '.join(argv[:3])[:80]}")
        return done

    def _each(self, tx: Connection, incident: str, how: Callable[[Alert], Step]) -> str:
        """Change the alert of this incident; one that is over, or another incident by now, is left alone."""
        found = [one for one in alerts.of_incidents(tx, [incident]) if one.host == self.host.name]
        if not found or not found[0].firing:
            return "it is over already"
        change_one(tx, incident, how)
        return "done"

    def _known(self, found: Alert, *, seconds: int, comment: str) -> Step:
        now, by = self.world.now(), self.operation.requested_by
        if not found.firing or (found.acked(now) and found.acked_by == by):
            return Step(found)
        after, line = acknowledge(found, by=by, now=now, seconds=seconds, comment=comment)
        return Step(after, (line,))

    def _taken_back(self, found: Alert) -> Step:
        now, by = self.world.now(), self.operation.requested_by
        if not found.acked(now) or found.acked_by != by:
            return Step(found)
        return back(found, by=by, now=now, comment="led back")

    def _over(self, found: Alert, *, comment: str) -> Step:
        if not found.firing:
            return Step(found)
        return resolve(found, by=self.operation.requested_by, now=self.world.now(), reason=comment)

    def _quiet(self, tx: Connection, matchers: Sequence[str], seconds: int, comment: str) -> str:
        now, by = self.world.now(), self.operation.requested_by
        made = silence_of(matchers, now=now, seconds=seconds, by=by, comment=comment)
        if matchers[0] != host_matcher(self.host.name):
            raise InvalidRequest(f"a silence of {self.host.name} begins with {host_matcher(self.host.name)}")
        mine = replace(made, id=silence_name(self.operation, self.host))
        return f"{mine.id} {'stands' if alert_parts.add_silence(tx, mine) else 'was made before'}"

    def _heard_again(self, tx: Connection, name: str) -> str:
        found = alert_parts.get_silence(tx, name)
        if found.id != silence_name(self.operation, self.host):
            raise InvalidRequest(f"{name[:80]} is no silence of this operation")
        now = self.world.now()
        if found.state(now) != "expired":
            end_silence(tx, found, now)
        return f"{found.id} is over"

    def _rule(self, tx: Connection, name: str, fields: str, *, new: bool) -> str:
        rule = AlertRule.model_validate({**json.loads(fields), "name": name})
        settings = self.world.settings
        if wrong := [*wrong_with(rule, settings, self.world.kinds), *filter(None, [configured(settings, name)])]:
            raise InvalidRequest("; ".join(wrong))
        alert_parts.put_rule(tx, rule, by=self.operation.requested_by, now=self.world.now(), new=new)
        return f"{name} counts from the next reading on"

    @staticmethod
    def _removed(tx: Connection, name: str) -> str:
        if name in {rule.name for rule in alert_parts.custom_rules(tx)}:
            alert_parts.delete_rule(tx, name)
        return f"{name} is removed; its alerts end"


def host_matcher(name: str) -> str:
    """What fits the alerts of one host."""
    return f'host="{name}"'


def _answered(look: Look, fact: Fact) -> Any:
    if not isinstance(fact.ask, Record):
        return unknown("the desk has answers about the record only")
    try:
        return read(fact, answer(look, fact.ask))
    except (InvalidRequest, NotFound) as error:
        return unknown(error.message)


def _seconds(text: str) -> int:
    found = _SECONDS.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"the desk takes a duration in seconds, such as 3600s; found {text[:40]!r}")
    return int(found[1])
