"""The commands of each service manager, as steps."""

from __future__ import annotations

from collections.abc import Mapping

from opsqueue.facts.services import Unit
from opsqueue.model.plan import Command, Step
from opsqueue.operations.service.params import ServiceRestartParams

_MARGIN_S = 15
_DETACHED_AFTER_S = 2

_S6_WAIT = {"restart": "-wr", "start": "-wu", "stop": "-wd"}
_S6_DO = {"restart": "-r", "start": "-u", "stop": "-d", "reload": "-h"}
# force-…: a process that ignores TERM is killed at the time limit, as the other managers do it.
_SV = {"restart": "force-restart", "stop": "force-stop", "start": "start", "reload": "hup"}


def steps(params: ServiceRestartParams, unit: Unit, verb: str) -> tuple[Step, ...]:
    """The steps for `verb`: restart, reload, start, stop or stop_start."""
    if verb == "stop_start":
        return (*steps(params, unit, "stop"), *steps(params, unit, "start"))
    # sv ends with 1 when it had to kill, or when the service's own check is slow: the facts afterwards decide.
    ok_codes = (0, 1) if unit.manager == "runit" else (0,)
    argv = _argv(params, unit, verb)
    return (_step(params, f"{verb} {unit.target} ({unit.manager})", argv, ok_codes),)


def reset_failed(params: ServiceRestartParams, unit: Unit) -> tuple[Step, ...]:
    """Forget failures, so that a start limit does not stand in the way; systemd only."""
    if unit.manager != "systemd":
        return ()
    argv = ("systemctl", "reset-failed", "--", unit.target)
    return (_step(params, f"forget the failures of {unit.target}", argv),)


def start_units(params: ServiceRestartParams, units: tuple[str, ...]) -> tuple[Step, ...]:
    """Start other units of systemd."""
    return tuple(_step(params, f"start {unit}", ("systemctl", "start", "--", unit)) for unit in units)


def daemon_reload(params: ServiceRestartParams) -> tuple[Step, ...]:
    """Let systemd read its unit files."""
    return (_step(params, "read the unit files again", ("systemctl", "daemon-reload")),)


def detached(params: ServiceRestartParams, unit: Unit) -> tuple[Step, ...]:
    """A restart that systemd does in a moment by itself, so that it ends even when it cuts our connection."""
    argv = ("systemctl", "restart", "--", unit.target)
    later = ("systemd-run", f"--on-active={_DETACHED_AFTER_S}", "--collect", "--quiet", "--", *argv)
    return (_step(params, f"restart {unit.target} in {_DETACHED_AFTER_S} s, on its own", later),)


def _step(params: ServiceRestartParams, title: str, argv: tuple[str, ...], ok_codes: tuple[int, ...] = (0,)) -> Step:
    timeout = params.stop_timeout_seconds + params.start_timeout_seconds + _MARGIN_S
    return Step(title=title, command=Command(argv=argv, sudo=params.sudo, timeout=timeout), ok_codes=ok_codes)


def _argv(params: ServiceRestartParams, unit: Unit, verb: str) -> tuple[str, ...]:
    target, stop_s = unit.target, str(params.stop_timeout_seconds)
    by_manager: Mapping[str, tuple[str, ...]] = {
        "systemd": ("systemctl", verb, "--", target),
        "supervisor": (
            "supervisorctl",
            *(("-c", params.supervisor_config) if params.supervisor_config else ()),
            *(("signal", "HUP") if verb == "reload" else (verb,)),
            target,
        ),
        "docker": _docker(verb, stop_s, target),
        "runit": ("sv", "-w", stop_s, _SV[verb], target),
        "s6": _s6(params, unit, verb),
        "sysv": ("service", target, verb),
    }
    return by_manager[unit.manager]


def _docker(verb: str, stop_s: str, target: str) -> tuple[str, ...]:
    if verb == "reload":
        return ("docker", "kill", "--signal", "HUP", target)
    return ("docker", verb, *(() if verb == "start" else ("-t", stop_s)), target)


def _s6(params: ServiceRestartParams, unit: Unit, verb: str) -> tuple[str, ...]:
    if verb == "reload":
        return ("s6-svc", _S6_DO[verb], unit.target)
    wait = _S6_WAIT[verb]
    if unit.props.get("notifies") == "yes" and verb != "stop":
        wait = wait.upper().replace("-W", "-w")  # -wR, -wU: until it says itself that it is ready
    limit_ms = (params.stop_timeout_seconds + params.start_timeout_seconds) * 1000
    return ("s6-svc", wait, "-T", str(limit_ms), _S6_DO[verb], unit.target)
