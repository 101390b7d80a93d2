"""What stands between two services of one operation: the first is up, settled and healthy, or the rest is not begun."""

from __future__ import annotations

from urllib.parse import urlsplit

from opsqueue.facts.service_probe import PROBE
from opsqueue.facts.service_scripts import BY_MANAGER
from opsqueue.facts.services import Unit
from opsqueue.model.plan import Command, Step
from opsqueue.operations.service.params import HealthCheck, ServiceRestartParams

_MARGIN_S = 60

_WAIT = r"""
look() { now=$("state_$only"); phase=$(field phase "$now"); identity=$(field identity "$now"); }
die() { echo "$name $*: $(field phase "$now"), $(field detail "$now")" >&2; exit 1; }
begun=$(clock); down=0
while look; [ "$phase" != up ]; do
  [ "$(field Type "$now")/$(field Result "$now")/$phase" != oneshot/success/stopped ] || exit 0
  case $phase in starting | unhealthy) down=0 ;; *) down=$((down + 1)) ;; esac
  [ $down -lt 3 ] && [ $(($(clock) - begun)) -lt "$limit" ] || die "is not up after $(($(clock) - begun)) s"
  sleep 1
done
first=$identity/$(field restarts "$now"); i=0
while [ $i -lt "$settle" ]; do
  sleep 1; look; i=$((i + 1))
  [ "$phase/$identity/$(field restarts "$now")" = "up/$first" ] || die 'did not stay up'
done
echo "$name: up as $identity, the same for $settle s"
[ $# -eq 0 ] || { probe "$@" && echo "healthy $row times in a row"; } || die "is not healthy ($why)"
"""


def gate(params: ServiceRestartParams, unit: Unit) -> Step:
    """Wait on the host until it is up, watch it settle, and try its health check there."""
    patience = round(params.health_check.timeout_seconds) if params.health_check else 0
    head = "name=$1 conf=$2 dir=$3 pidfile=$4 only=$5 limit=$6 settle=$7; shift 7; lines=0 old=''\n"
    text = f"{head}{BY_MANAGER[unit.manager]}{PROBE if params.health_check else ''}{_WAIT}"
    limits = (str(params.start_timeout_seconds), str(params.settle_seconds))
    words = (*params.where.args, unit.manager, *limits, *_probe(params.health_check))
    timeout = params.start_timeout_seconds + 2 * params.settle_seconds + patience + _MARGIN_S
    command = Command(argv=("sh", "-c", text, "opsqueue-gate", *words), sudo=params.sudo, timeout=timeout)
    return Step(title=f"see that {unit.target} is up before the next is begun", command=command)


def _probe(check: HealthCheck | None) -> tuple[str, ...]:
    if check is None:
        return ()
    often = (str(round(check.timeout_seconds)), str(check.success_threshold))
    if check.command:
        return (*often, "command", *check.command)
    if check.http:
        return (*often, "http", urlsplit(check.http).geturl(), str(check.expect_status))
    host, _, port = check.tcp.rpartition(":")
    return (*often, "tcp", host.strip("[]"), port)
