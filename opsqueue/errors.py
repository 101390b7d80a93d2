"""Every error that opsqueue raises on purpose.

::

    OpsqueueError                    1   a fault of ours
    ├── InvalidRequest               2   the request cannot be understood or honoured
    │   ├── InvalidConfig            2   the configuration cannot
    │   └── ConfirmationNeeded       2   destructive, no terminal, no --yes
    ├── Denied                       4   a gate, or a rule, says no
    ├── StillWaiting                 5   the wait ended before the operation did
    ├── Conflict                     9   same id for another request; stale digest; wrong state
    ├── NotFound                    10   no such operation, host, type, window, freeze, message
    ├── BrokerUnreachable           11   Redis does not answer
    ├── DatabaseUnreachable         12   the database does not answer or cannot be written
    ├── HostUnreachable              3   a target cannot be reached (tried again)
    ├── HostNotTrusted               3   a target shows no key, or another key, than the pinned one
    ├── CommandNotSent               3   a command could not be started on the host
    ├── ConditionFailed              1   the condition of an alert rule has no answer for these values
    └── LeaseLost                    1   somebody else has the operation; write nothing more

The class owns the exit status and the code word of a receipt; the message says what was wanted, what was
found and what to do next.
"""

from __future__ import annotations

from typing import Any, ClassVar


class OpsqueueError(Exception):
    """Something went wrong inside opsqueue."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "internal"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def as_json(self) -> dict[str, Any]:
        """`{"code", "message", "details"}`, the form of a receipt and of the last line on stderr."""
        return {"code": self.code, "message": self.message, "details": self.details}


class InvalidRequest(OpsqueueError):
    """The request cannot be understood or honoured; nothing was recorded."""

    exit_code = 2
    code = "invalid_request"


class InvalidConfig(InvalidRequest):
    """The configuration cannot be understood or honoured."""

    code = "invalid_config"


class ConfirmationNeeded(InvalidRequest):
    """A destructive command without a terminal needs `--yes`."""

    code = "confirmation_needed"


class Denied(OpsqueueError):
    """A rule says no."""

    exit_code = 4
    code = "denied"


class StillWaiting(OpsqueueError):
    """The wait ended before the operation did; the operation goes on."""

    exit_code = 5
    code = "still_waiting"


class Conflict(OpsqueueError):
    """The thing exists in another form or state than the request supposes."""

    exit_code = 9
    code = "conflict"


class NotFound(OpsqueueError):
    """There is no such operation, host, type, window, freeze or message."""

    exit_code = 10
    code = "not_found"


class BrokerUnreachable(OpsqueueError):
    """Redis does not answer."""

    exit_code = 11
    code = "broker_unreachable"


class DatabaseUnreachable(OpsqueueError):
    """The database does not answer, or cannot be written."""

    exit_code = 12
    code = "database_unreachable"


class HostUnreachable(OpsqueueError):
    """A target cannot be reached; it is tried again."""

    exit_code = 3
    code = "host_unreachable"


class HostNotTrusted(OpsqueueError):
    """No key of the host is pinned, or it shows another one: nothing was sent, and a person must look."""

    exit_code = 3
    code = "host_not_trusted"


class CommandNotSent(OpsqueueError):
    """A command could not be started on the host, so it certainly did nothing."""

    exit_code = 3
    code = "command_not_sent"


class SentTooLate(CommandNotSent):
    """It took so long until a command could be sent that it must be asked first whether it still may."""


class ConditionFailed(OpsqueueError):
    """The condition of an alert rule has no answer for these values; the rule's health is `error`."""

    code = "condition_failed"


class NumbersMissing(ConditionFailed):
    """The condition of an alert rule names numbers that are not there: there is no data, and the rule is well."""


class LeaseLost(OpsqueueError):
    """Somebody else has the operation now: write nothing, send nothing more."""

    code = "lease_lost"
