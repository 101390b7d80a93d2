"""Commands as data: what would be sent to a host, and the digest that names exactly that."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One program with its arguments; never a shell string."""

    argv: tuple[str, ...]
    sudo: bool = False
    """As root: as it is when the connector is root, else through `sudo -n`."""
    stdin: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Environment name to reference (`file:…`, `env:…`, `systemd:…`): the connector reads it at the last moment."""
    timeout: int = 60
    """Seconds; then the whole process group is ended."""

    def __str__(self) -> str:
        # As root it is sent like this; for another user the connector puts its way to root before it.
        env = [f"{name}={shlex.quote(value)}" for name, value in self.env.items()]
        secrets = [f"{name}=<{reference}>" for name, reference in self.secrets.items()]
        line = " ".join((*env, *secrets, shlex.join(self.argv)))
        return f"{line} <<< {shlex.quote(self.stdin)}" if self.stdin else line


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command answered. `exit_code` is `None` when it was ended by its time limit or never known."""

    exit_code: int | None
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    timed_out: bool = False
    truncated: bool = False

    @property
    def output(self) -> str:
        """stdout, then stderr, as a person reads them."""
        return "\n".join(part.rstrip("\n") for part in (self.stdout, self.stderr) if part.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of a plan, with a title for people and the exit codes that mean success."""

    title: str
    command: Command
    ok_codes: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The exact steps for one target, in order; `note` sums them up, or says why there are none."""

    steps: tuple[Step, ...] = ()
    note: str = ""

    def __bool__(self) -> bool:
        return bool(self.steps)

    def as_json(self) -> dict[str, Any]:
        """A JSON object from which `Plan.from_json` makes the same plan."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """The plan that `as_json` wrote."""
        return cls(steps=tuple(_step(step) for step in data["steps"]), note=data["note"])


NOTHING = Plan()


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value; floats other than finite ones are refused."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def plan_digest(operation_type: str, parameters: Mapping[str, Any], plans: Iterable[tuple[str, Plan]]) -> str:
    """The name of exactly these steps on exactly these hosts; notes and titles do not count."""
    hosts = {host: [_essence(step) for step in plan.steps] for host, plan in plans}
    return digest_of({"type": operation_type, "parameters": parameters, "hosts": hosts})


def _essence(step: Step) -> dict[str, Any]:
    command = asdict(step.command)
    if not step.command.secrets:
        del command["secrets"]  # the digests of plans without secrets are those of before there were any
    return {"command": command, "ok_codes": list(step.ok_codes)}


def _step(data: Mapping[str, Any]) -> Step:
    command = data["command"]
    return Step(
        title=data["title"],
        command=Command(**{**command, "argv": tuple(command["argv"])}),
        ok_codes=tuple(data["ok_codes"]),
    )
