"""How a service stands: who manages it, whether it runs, and which of its lives this is (the identity)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from opsqueue.facts.service_watch import LOOK, PREFLIGHT, SETTLE
from opsqueue.model.fact import Fact, Script
from opsqueue.model.plan import Result

MANAGERS = ("systemd", "supervisor", "docker", "runit", "s6", "sysv")
"""All that are known, in the order in which they are asked."""

_NOT_FOUND = {"absent", "error"}
_NO_CHECK, _NO_PROGRAM = 90, 91
_LONGEST_LOOK_S = 60
_KEPT = {
    "Names", "Type", "LoadState", "ActiveState", "SubState", "Result", "UnitFileState", "ExecMainStatus",
    "NeedDaemonReload", "CanReload", "RefuseManualStart", "RefuseManualStop", "Job", "MemoryCurrent", "TasksCurrent",
    "StateChangeTimestampMonotonic", "ActiveEnterTimestampMonotonic", "ActiveExitTimestampMonotonic", "system",
    "After", "health", "oom", "started", "finished", "notifies",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """How a service is called, and where a manager is told to look for it (empty: where it always does)."""

    name: str
    supervisor_config: str = ""
    service_dir: str = ""
    pid_file: str = ""
    sudo: bool = True

    @property
    def args(self) -> tuple[str, ...]:
        """The first four arguments of the scripts."""
        return (self.name, self.supervisor_config, self.service_dir, self.pid_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One reading of a service by its manager."""

    manager: str
    target: str = ""
    """The name for the manager's own commands: `nginx.service`, `web:*`, `/etc/service/web`."""
    phase: str = "absent"
    """up, unhealthy, starting, failed, stopped, absent or error."""
    identity: str = ""
    """Another after each start: the InvocationID, or process id and start time; empty when nothing runs."""
    pid: int | None = None
    restarts: int | None = None
    """How often the manager itself has started it anew."""
    detail: str = ""
    carries_us: bool = False
    """Whether the worker, or the connection to this host, runs below its process."""
    props: Mapping[str, str] = field(default_factory=dict)
    dependants: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Units that are restarted along with it: their state and their identity."""

    @property
    def running(self) -> bool:
        """Whether there is something that a restart would end."""
        return self.phase in {"up", "unhealthy", "starting"}

    @property
    def done(self) -> bool:
        """Whether it is a unit that does its work once and ends, and its last run went well."""
        once = self.props.get("Type") == "oneshot" and self.props.get("Result") == "success"
        return once and self.phase == "stopped"

    def as_json(self) -> dict[str, Any]:
        """The form kept in the record; `Unit.of` reads it."""
        return {
            "manager": self.manager, "target": self.target, "phase": self.phase, "identity": self.identity,
            "pid": self.pid, "restarts": self.restarts, "detail": self.detail, "carries_us": self.carries_us,
            "props": dict(self.props), "dependants": {name: list(state) for name, state in self.dependants.items()},
        }  # fmt: skip

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Unit:
        """The reading in a parsed answer."""
        dependants = {name: (str(state[0]), str(state[1])) for name, state in answer.get("dependants", {}).items()}
        return cls(**{**answer, "dependants": dependants})


def service(where: Whereabouts, manager: str) -> Fact:
    """Fact `service`: which managers know the name and how it stands; `manager` is one of them, or `auto`."""
    managers = MANAGERS if manager == "auto" else (manager,)
    ask = Script(text=LOOK, args=(*where.args, *managers), sudo=where.sudo, timeout=_LONGEST_LOOK_S)
    return Fact(name="service", ask=ask, parse=_parse_service)


def settled(
    where: Whereabouts, before: Unit, *, start_timeout: int, settle: int, change: int = 0, lines: int = 50
) -> Fact:
    """Fact `settled`: waits until the service is up, watches it, and tells how it stood first and last.

    `change` is how many seconds another identity may take to appear; `lines` is how much of the log is kept
    when it does not stay up. Takes up to `start_timeout` and `settle` seconds and a little more.
    """
    limits = (str(start_timeout), str(settle), before.identity, str(change), str(lines))
    ask = Script(
        text=SETTLE,
        args=(*where.args, before.manager, *limits),
        sudo=where.sudo,
        timeout=start_timeout + 2 * settle + change + _LONGEST_LOOK_S,
    )
    return Fact(name="settled", ask=ask, parse=_parse_settled)


def preflight(where: Whereabouts) -> Fact:
    """Fact `preflight`: what the service's own program says to its configuration; `ok` is null when none is known."""
    ask = Script(text=PREFLIGHT, args=(where.name.removesuffix(".service"),), sudo=where.sudo)
    return Fact(name="preflight", ask=ask, parse=_parse_preflight)


def _parse_service(result: Result) -> dict[str, Any]:
    units = [_unit(name, lines) for name, lines in _sections(_whole(result))]
    if not units:
        raise ValueError(f"no service manager answered: {result.output[-300:]}")
    found = [unit for unit in units if unit.phase not in _NOT_FOUND]
    return {
        "found": [unit.manager for unit in found],
        "evidence": {unit.manager: f"{unit.phase}: {unit.detail}" for unit in units},
        "unreadable": [unit.manager for unit in units if unit.phase == "error"],
        "unit": found[0].as_json() if len(found) == 1 else None,
    }


def _parse_settled(result: Result) -> dict[str, Any]:
    sections = dict(_sections(_whole(result)))
    told = _pairs(sections["settled"])
    return {
        "first": _unit("", sections["first"]).as_json(),
        "last": _unit("", sections["last"]).as_json(),
        "waited": int(told["waited"]),
        "samples": int(told["samples"]),
        "changes": int(told["changes"]),
        "killed": "killed" in told,
        "leftovers": "leftovers" in told,
        "log": [line[2:] for line in sections.get("log", ()) if line.startswith("| ")],
    }


def _parse_preflight(result: Result) -> dict[str, Any]:
    if result.exit_code in {_NO_CHECK, _NO_PROGRAM}:
        return {"ok": None, "said": "" if result.exit_code == _NO_CHECK else "its program was not found"}
    command, _, said = _whole(result).partition("\n")
    return {"ok": result.exit_code == 0, "command": command, "said": "" if result.exit_code == 0 else said.strip()}


def _whole(result: Result) -> str:
    """The output, if the script came to its end."""
    if result.exit_code is None or result.truncated:
        raise ValueError(f"the host gave no whole answer within the time limit: {result.output[-300:]}")
    if not result.stdout:
        raise ValueError(result.output[-300:] or f"the script ended with {result.exit_code} and said nothing")
    return result.stdout


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """The lines below each line `@name`."""
    for part in re.split(r"^@", text, flags=re.MULTILINE)[1:]:
        name, *lines = part.split("\n")
        yield name, lines


def _pairs(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key: value for key, _, value in pairs}


def _unit(manager: str, lines: list[str]) -> Unit:
    told = _pairs(lines)
    return Unit(
        manager=manager,
        target=told.get("target", ""),
        phase=told["phase"],
        identity=told.get("identity", ""),
        pid=_number(told.get("pid")) or None,
        restarts=_number(told.get("restarts")),
        detail=told.get("detail", ""),
        carries_us="carries_us" in told,
        props={key: value for key, value in told.items() if key in _KEPT},
        dependants=dict(_dependants(lines)),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _dependants(lines: list[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    for line in lines:
        if line.startswith("dependant="):
            name, state, identity, *_ = [*line.removeprefix("dependant=").split(" "), "", ""]
            yield name, (state, identity)
