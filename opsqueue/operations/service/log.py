"""The restart log on the host, and the refusal of one restart too many."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from opsqueue.facts.service_history import STATE_DIR
from opsqueue.facts.services import Unit
from opsqueue.model.fact import why_unknown
from opsqueue.model.plan import Command, Step
from opsqueue.operations.service.params import ServiceRestartParams

_ROW = (
    "set -eu; umask 077; dir=$1 name=$2 target=$3 what=$4 verb=$5; shift 5\n"
    + STATE_DIR
    + r"""
mkdir -p -- "$dir" 2>/dev/null || :
case $(ls -ldLn -- "$dir" 2>/dev/null) in
  d????-??-*) [ -O "$dir" ] ;;
  *) false ;;
esac || { echo "$dir is no directory of ours alone; give another state_dir, or restart_log=false" >&2; exit 1; }
# sudo keeps no mark: it stands in the environment of what called us.
who=${OPSQUEUE_MARK:-}; up=$$
while [ -z "$who" ] && [ "${up:-0}" -gt 1 ]; do
  who=$(tr '\0' '\n' 2>/dev/null <"/proc/$up/environ" | sed -n 's/^OPSQUEUE_MARK=//p')
  up=$(sed 's/^.*) //' "/proc/$up/stat" 2>/dev/null | cut -d ' ' -f 2)
done
now=$(date +%s) took=-
if [ "$what" = answered ]; then
  took=$(awk -F '\t' -v name="$name" -v now="$(cut -d ' ' -f 1 /proc/uptime)" \
    '$4 == name && $6 == "begins" { t = now - $2 } END { printf "%.2f", t }' "$dir/log")
fi
life=$("$@" 2>&1 | tr -s '\n\t ' ' ' | cut -c 1-200) || :
printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' \
  "$now" "$(cut -d ' ' -f 1 /proc/uptime)" "${who:--}" "$name" "$target" "$what" "$verb" "$took" "$life" >>"$dir/log"
tail -n 1 "$dir/log"
"""
)
"""Appends one line: when (UNIX seconds), uptime, operation/host, name, unit, what, verb, seconds since it began, life.

Arguments: directory, name, unit, what (begins, answered), verb, then the command that tells which life it is.
"""


def noted(
    params: ServiceRestartParams, unit: Unit, verb: str, steps: tuple[Step, ...], *, answered: bool = True
) -> tuple[Step, ...]:
    """The steps with a line in the log before the first, and (`answered`) one after the last."""
    if not params.restart_log or not steps:
        return steps
    end = (_row(params, unit, "answered", verb),) if answered else ()
    return (_row(params, unit, "begins", verb), *steps, *end)


def _row(params: ServiceRestartParams, unit: Unit, what: str, verb: str) -> Step:
    name = params.service_name.removesuffix(".service")
    words = (params.state_dir, name, unit.target, what, verb, *_life(params, unit))
    command = Command(argv=("sh", "-c", _ROW, "opsqueue-log", *words), sudo=params.sudo, timeout=30)
    # Nothing is stopped without a line. But a full disk must not keep down what is led back, nor spoil what went well.
    codes = (0,) if what == "begins" and verb != "rollback" else (0, 1, 2)
    return Step(title=f"write to the restart log: {verb} of {unit.target} {what}", command=command, ok_codes=codes)


def _life(params: ServiceRestartParams, unit: Unit) -> tuple[str, ...]:
    """The command whose answer tells one life of the service from the next."""
    target = unit.target
    config = ("-c", params.supervisor_config) if params.supervisor_config else ()
    asked: Mapping[str, tuple[str, ...]] = {
        "systemd": (*("systemctl", "show", "--value", "-p", "InvocationID"), *("-p", "NRestarts", "--", target)),
        "supervisor": ("supervisorctl", *config, "status", target),
        "docker": ("docker", "inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.RestartCount}}", target),
        "runit": ("sv", "status", target),
        "s6": ("s6-svstat", target),
        "sysv": ("service", target, "status"),
    }
    return asked[unit.manager]


def storm(params: ServiceRestartParams, verb: str, answer: Any) -> str:
    """Why it may not be started once more by now; empty when it may."""
    if not params.storm_limit or verb == "reload" or answer is None or why_unknown(answer):
        return ""
    # systemd's own list holds ours as well: the longer of both is right, not their sum.
    times = max(answer["ours"], answer["systemd"], key=len)
    if len(times) < params.storm_limit:
        return ""
    again = datetime.fromtimestamp(times[-params.storm_limit] + params.storm_window_seconds + 1, UTC)
    often = f"{params.service_name} was started {_times(len(times))} in the last {params.storm_window_seconds} s"
    return f"{often}, and the limit is {params.storm_limit}; it may be again at {again:%Y-%m-%dT%H:%M:%SZ}; see why it \
is restarted so often, or lift it with storm_limit=0"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
