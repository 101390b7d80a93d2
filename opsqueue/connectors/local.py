"""This machine as a target: child processes for commands and scripts, psutil for system metrics.

A command that needs root runs as `sudo -n timeout -k 5 N COMMAND`, because only root may end what root started;
rules in sudoers name that form. Around every command stands a `timeout` that is a little longer than our own
limit: it ends the command even when the worker itself was killed.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from opsqueue.connectors.asking import ANSWER_MOST, ask_probes, ask_scripts, side_by_side
from opsqueue.connectors.confidential import concealed, revealed
from opsqueue.connectors.deadline import all_within
from opsqueue.connectors.process import run_process
from opsqueue.connectors.reading import with_way
from opsqueue.connectors.script import answers
from opsqueue.connectors.shell import still_wanted
from opsqueue.connectors.system import read_system
from opsqueue.errors import CommandNotSent, InvalidConfig
from opsqueue.model.fact import Fact, Probe, Reading, Script, unknown
from opsqueue.model.plan import Command, Result

MARK = "OPSQUEUE_MARK"
"""The environment variable by which a command is found again."""
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
GRACE_S = 5
"""Seconds between the polite signal and the other one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalShell:
    """The way to this machine; `output_most` is the number of bytes kept of each stream of a command."""

    output_most: int = 256 << 10

    def greet(self) -> None:
        """This machine is always there."""

    def run(self, command: Command, mark: str = "", *, not_after: float = math.inf) -> Result:
        """Run one command to its end or its time limit; raises CommandNotSent when it did not start."""
        root, timeout = os.geteuid() == 0, shutil.which("timeout")
        through_sudo = command.sudo and not root
        private = _revealed(command)
        env = _environment() | dict(command.env) | ({MARK: mark} if mark else {}) | private
        half = self.output_most // 2
        still_wanted(command, not_after)
        try:
            result = run_process(
                wrapped(command, root=root, timeout=timeout),
                env=env,
                stdin=command.stdin.encode(),
                limit_s=command.timeout + (2 * GRACE_S if through_sudo else 0),
                head_most=half,
                tail_most=half,
            )
        except FileNotFoundError as error:
            return Result(exit_code=127, stderr=f"{command.argv[0]}: command not found ({error})")
        except (OSError, ValueError) as error:
            raise CommandNotSent(f"`{command.argv[0]}` could not be started on this machine: {error}") from error
        result = concealed(result, private.values())
        return ended_by_timeout(result, command.timeout) if through_sudo else result

    def ask(self, facts: Sequence[Fact]) -> Mapping[str, Any]:
        """The parsed answers by name: all scripts in one sh, readings and probes beside it."""
        ways = (Script, partial(ask_scripts, run=_run_text)), (Reading, _ask_readings), (Probe, ask_probes)
        parts = [part for kind, part in ways if any(isinstance(fact.ask, kind) for fact in facts)]
        return answers(facts, side_by_side(facts, *parts))

    def busy(self, mark: str) -> bool:
        """Whether a command that was started with this mark still runs; zombies do not count."""
        return bool(mark) and any(_has_mark(process, mark) for process in psutil.process_iter())

    def close(self) -> None:
        """Nothing is held open."""


def wrapped(command: Command, *, root: bool, timeout: str | None, later: int = 2) -> tuple[str, ...]:
    """The arguments that are really run: with sudo where it is needed, and time limits that need no worker.

    `later`: seconds after the command's own limit at which `timeout` ends it, where no sudo stands between.
    """
    if command.sudo and not root:
        names = ",".join((*command.env, *command.secrets))
        keep = (f"--preserve-env={names}",) if names else ()
        inner = (*_limit("timeout" if timeout else None, command.timeout), *command.argv)
        return (*_limit(timeout, command.timeout + 4 * GRACE_S), "sudo", "-n", *keep, *inner)
    # A little later than our own limit, which ends the whole group and not only the one child.
    return (*_limit(timeout, command.timeout + later), *command.argv)


def _limit(timeout: str | None, seconds: int) -> tuple[str, ...]:
    return (timeout, "-k", str(GRACE_S), str(seconds)) if timeout else ()


def ended_by_timeout(result: Result, limit: int) -> Result:
    """The result, told as late when its exit code is one of those of `timeout` (busybox has 143) at its limit."""
    if result.exit_code in {124, 137, 143} and result.seconds >= limit:
        return replace(result, exit_code=None, timed_out=True)
    return result


def _revealed(command: Command) -> dict[str, str]:
    try:
        return revealed(command.secrets)
    except InvalidConfig as error:
        raise CommandNotSent(f"`{command.argv[0]}` was not started: {error.message}") from error


def _environment() -> dict[str, str]:
    """A small clean base: what is in the worker's own environment (URLs, passwords) is no command's business."""
    path = os.environ.get("PATH", "").split(os.pathsep)
    everywhere = dict.fromkeys([*filter(None, path), *_SBIN])
    return {"PATH": os.pathsep.join(everywhere), "HOME": str(Path("~").expanduser()), "LANG": "C", "LC_ALL": "C"}


def _run_text(text: str, private: Mapping[str, str], seconds: float) -> Result:
    return run_process(
        ("/bin/sh", "-s"),
        env=_environment() | dict(private),
        stdin=text.encode(),
        limit_s=seconds,
        head_most=ANSWER_MOST,
        tail_most=0,
    )


def _ask_readings(facts: Sequence[Fact]) -> dict[str, Any]:
    found = {}
    for fact in facts:
        if isinstance(fact.ask, Reading):
            options = fact.ask.options
            # /proc of a process that is stuck in the kernel can hang as well as a mount can.
            call = {fact.name: partial(read_system, options)}
            began = time.monotonic()
            value = all_within(fact.ask.timeout, call)[fact.name]
            if isinstance(value, Exception):
                found[fact.name] = unknown(f"{value}")
            else:
                found[fact.name] = with_way(value, options, connect_s=0.0, reading_s=time.monotonic() - began)
    return found


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):  # it ended meanwhile, is a zombie, or is not ours to look into
        return False
