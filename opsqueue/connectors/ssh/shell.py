"""A host as commands and facts see it: the same promises as those of `LocalShell`, kept over SSH.

Facts go to the shell that waits on the host, all in one text; each command has a channel of its own. Everything that
changes nothing is sent again when a connection turns out to be dead; a command never is.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from opsqueue.connectors.asking import ANSWER_MOST, Part, ask_probes, ask_scripts, has_probes, side_by_side
from opsqueue.connectors.confidential import concealed, revealed
from opsqueue.connectors.local import GRACE_S, MARK, ended_by_timeout, wrapped
from opsqueue.connectors.procfs import reading_of, reading_script, reading_text
from opsqueue.connectors.reading import with_way
from opsqueue.connectors.script import answers, scripts
from opsqueue.connectors.shell import still_wanted
from opsqueue.connectors.ssh import remote
from opsqueue.connectors.ssh.link import Answer, Cut, Link
from opsqueue.connectors.ssh.oneoff import Lost, OneOff
from opsqueue.connectors.ssh.way import Way
from opsqueue.errors import CommandNotSent, HostNotTrusted, HostUnreachable, InvalidConfig, SentTooLate
from opsqueue.model.fact import Fact, Reading, unknown
from opsqueue.model.plan import Command, Result

_AGAIN_S = 1.0
_LATER_S = 2.0
"""How much later than the host's own time limit ours is."""


class Sent(NamedTuple):
    """When a text was to be sent, was sent on a connection that stood, and its answer was here, by time.time."""

    wanted: float
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class SshShell:
    """The way to one host; `output_most` is the number of bytes kept of each stream of a command."""

    way: Way
    output_most: int = 256 << 10

    def greet(self) -> None:
        """Open the connection; raises HostNotTrusted and HostUnreachable."""
        self.way.do(lambda _link: None)

    def run(self, command: Command, mark: str = "", *, not_after: float = math.inf) -> Result:
        """Run one command to its end or its time limit; raises CommandNotSent or HostUnreachable if it did not start.

        When the connection is lost in the middle, it is waited for until it has ended there, and the exit code is
        None: the command is never sent again.
        """
        began = time.monotonic()
        try:
            private = revealed(command.secrets)
            env = dict(command.env) | ({MARK: mark} if mark else {}) | private
            if problem := remote.why_not(command.argv, env, command.stdin):
                raise CommandNotSent(self._not_sent(command, problem))
            result = self.way.do(partial(self._run, command, env, not_after))
        except (InvalidConfig, HostNotTrusted) as error:
            raise CommandNotSent(self._not_sent(command, error.message)) from error
        except Lost as lost:
            note = self._followed(mark, began + command.timeout + 2 * GRACE_S)
            result = replace(lost.result, stderr=f"{lost.result.stderr}\n{note}".lstrip("\n"))
        return ended_by_timeout(concealed(result, private.values()), command.timeout)

    def ask(self, facts: Sequence[Fact]) -> Mapping[str, Any]:
        """The parsed answers by name: readings and scripts in one text on the host, probes from here beside it."""
        sent: list[Sent] = []
        found: dict[str, Any] = {}
        asked = [_as_script(fact, sent, found) for fact in facts]
        parts: list[Part] = []
        if len(scripts(asked)) == 1 and any(isinstance(fact.ask, Reading) for fact in facts):
            parts.append(partial(self._read, sent))
        elif scripts(asked):
            parts.append(partial(ask_scripts, run=partial(self._run_text, sent)))
        if has_probes(asked):
            parts.append(ask_probes)
        return answers(asked, found | (side_by_side(asked, *parts) if parts else {}))

    def busy(self, mark: str) -> bool:
        """Whether a command that was started with this mark still runs there.

        Raises HostUnreachable when that cannot be found out.
        """
        if not mark:
            return False
        fact = remote.marked(mark)
        found = self.ask([fact])[fact.name]
        if not isinstance(found, Result) or found.stdout.strip() not in {"busy", "quiet"}:
            raise HostUnreachable(f"{self._name} does not say whether a command of before still runs there: {found}")
        return found.stdout.strip() == "busy"

    def close(self) -> None:
        """Nothing: the connection is kept for whoever comes next, and closed when nobody does."""

    @property
    def _name(self) -> str:
        return f"{self.way.host.name} ({self.way.host.where})"

    def _not_sent(self, command: Command, why: str) -> str:
        return f"`{command.argv[0]}` was not sent to {self._name}: {why}"

    def _run(self, command: Command, env: Mapping[str, str], not_after: float, link: Link) -> Result:
        who = link.known()
        # Where the host cannot end it at its limit, we do.
        late_s = command.timeout + (2 * GRACE_S + _LATER_S if who.timeout else 0)
        one = OneOff(
            link=link,
            argv=wrapped(command, root=who.user_id == 0, timeout=who.timeout, later=0),
            env=env,
            seconds=command.timeout,
            late_s=late_s,
            stdin=remote.as_bytes(command.stdin),
            still_wanted=partial(still_wanted, command, not_after),
            most=self.output_most,
        )
        try:
            return one.run()
        except SentTooLate:
            raise
        except CommandNotSent as error:
            raise CommandNotSent(self._not_sent(command, error.message)) from None

    def _followed(self, mark: str, until: float) -> str:
        """Wait until a command that we lost sight of has ended, and say what is known of it."""
        lost = f"the connection to {self._name} was lost in the middle of the command"
        try:
            while self.busy(mark) and time.monotonic() < until:
                time.sleep(_AGAIN_S)
            still = not mark or self.busy(mark)
        except (HostUnreachable, HostNotTrusted) as error:
            return f"{lost}; whether it still runs there is not known: {error.message}"
        if still:
            return f"{lost}; it may still run there"
        return f"{lost}; it has ended there, but how is not known"

    def _read(self, sent: list[Sent], facts: Sequence[Fact]) -> dict[str, Any]:
        """A reading that nothing else is asked beside: it needs no sh and no `timeout` of its own on the host."""
        ((fact, script),) = scripts(facts)
        text = reading_text(script)
        answer = self._told(sent, lambda link: link.tell(text, script.timeout, ANSWER_MOST, plain=True))
        took = sent[-1].ended - sent[-1].began
        code = 0 if answer.whole else None
        result = Result(exit_code=code, stdout=answer.out, stderr=answer.err, seconds=took, timed_out=answer.late)
        return {fact.name: result}

    def _run_text(self, sent: list[Sent], text: str, private: Mapping[str, str], seconds: float) -> Result:
        given = "".join(f"{name}={shlex.quote(value)}\n" for name, value in private.items())
        answer = self._told(sent, lambda link: link.tell(given + text, seconds, ANSWER_MOST))
        return Result(exit_code=0, stdout=answer.out, stderr=answer.err)

    def _told(self, sent: list[Sent], tell: Callable[[Link], Answer]) -> Answer:
        wanted = time.time()

        def timed(link: Link) -> Answer:
            began = time.time()
            try:
                return tell(link)
            finally:
                sent.append(Sent(wanted, began, time.time()))

        try:
            return self.way.do(timed)
        except Cut:
            pass
        try:
            return self.way.do(timed)
        except Cut as again:  # it is one of the scripts that ends it: the others' answers stand
            return again.answer


def _as_script(fact: Fact, sent: Sequence[Sent], found: dict[str, Any]) -> Fact:
    """The fact with a script instead of a reading; one with wrong options is unknown at once."""
    if not isinstance(fact.ask, Reading):
        return fact
    options = fact.ask.options
    try:
        script = replace(reading_script(options), timeout=fact.ask.timeout)
    except (TypeError, ValueError) as error:
        found[fact.name] = unknown(f"{error}")
        return fact
    return Fact(name=fact.name, ask=script, parse=lambda result: fact.parse(_reading(result, options, sent)))


def _reading(result: Result, options: Mapping[str, Any], sent: Sequence[Sent]) -> dict[str, Any]:
    if not sent:
        return reading_of(result, options)
    when = sent[-1]
    found = reading_of(result, options, between=(when.began, when.ended))
    return with_way(found, options, connect_s=when.began - when.wanted, reading_s=when.ended - when.began)
