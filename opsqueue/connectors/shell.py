"""What every connector offers: run a command, answer a set of facts in one round trip."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from opsqueue.errors import SentTooLate
from opsqueue.model.fact import Fact
from opsqueue.model.plan import Command, Result


def still_wanted(command: Command, not_after: float) -> None:
    """Raise SentTooLate when it was to be sent earlier than now: others may have decided without it meanwhile."""
    if (late := time.monotonic() - not_after) > 0:
        raise SentTooLate(f"`{command.argv[0]}` was not sent: it was to be sent {late:.1f} s ago at the latest")


class Shell(Protocol):
    """A way to one host, opened when it is first needed."""

    def greet(self) -> None:
        """Open the way, ask nothing.

        Raises HostNotTrusted when its key is not the pinned one, HostUnreachable when it does not answer.
        """
        ...

    def run(self, command: Command, mark: str = "", *, not_after: float = math.inf) -> Result:
        """Run one command to its end or its time limit, which ends the whole process group.

        `mark` is put into the command's environment as OPSQUEUE_MARK, so that `busy` can find it. By
        time.monotonic, `not_after` is when it is not sent any more, but SentTooLate raised. Raises HostUnreachable
        or CommandNotSent when the command certainly did not start; one that cannot be found is a result with exit
        code 127.
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
