"""What every connector offers: run a command, answer a set of facts in one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from opsqueue.model.fact import Fact
from opsqueue.model.plan import Command, Result


class Shell(Protocol):
    """A way to one host, opened when it is first needed."""

    def greet(self) -> None:
        """Open the way, ask nothing.

        Raises HostNotTrusted when its key is not the pinned one, HostUnreachable when it does not answer.
        """
        ...

    def run(self, command: Command, mark: str = "") -> Result:
        """Run one command to its end or its time limit, which ends the whole process group.

        `mark` is put into the command's environment as OPSQUEUE_MARK, so that `busy` can find it. Raises
        HostUnreachable or CommandNotSent when the command certainly did not start; a command that cannot be
        found is a result with exit code 127.
        """
        ...

    def ask(self, facts: Sequence[Fact]) -> Mapping[str, Any]:
        """The parsed answers by name, in one round trip; one that fails is `{"unknown": reason}`.

        Raises HostUnreachable when the host gives no answer at all, HostNotTrusted as `greet` does.
        """
        ...

    def busy(self, mark: str) -> bool:
        """Whether a command that was started with this mark still runs on the host."""
        ...

    def close(self) -> None:
        """Let go of what is held open."""
        ...
