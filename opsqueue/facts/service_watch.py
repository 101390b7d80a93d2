"""The sh texts that are sent: look at a service, watch it settle, let it check its configuration."""

from __future__ import annotations

from opsqueue.facts.service_scripts import STATES

LOOK = (
    """name=$1 conf=$2 dir=$3 pidfile=$4; shift 4
only=''; [ $# -eq 1 ] && only=$1
"""
    + STATES
    + r"""
for kind; do printf '@%s\n' "$kind"; "state_$kind"; done
"""
)
"""Arguments: name, supervisor configuration, service directory, pid file, then the managers to ask."""

SETTLE = (
    """name=$1 conf=$2 dir=$3 pidfile=$4 kind=$5 limit=$6 settle=$7 old=$8 change=$9; shift 9; lines=$1; only=$kind
"""
    + STATES
    + r"""
look() { now=$("state_$kind"); phase=$(field phase "$now"); identity=$(field identity "$now"); }
leftovers() {
  for pair in $(printf %s "$old" | tr , ' '); do
    cat /proc/[0-9]*/stat 2>/dev/null | sed 's/^.*) //' | grep -Eq "^[^Z] [0-9]+ ${pair%%:*} " && say leftovers yes
  done
}
begun=$(clock); down=0
while :; do
  look; waited=$(($(clock) - begun))
  case $phase in
    up) [ "$identity" != "$old" ] || [ "$waited" -ge "$change" ] && break ;;
    starting | unhealthy) down=0 ;;
    *) down=$((down + 1)); [ $down -ge 3 ] && [ "$waited" -ge "$change" ] && break ;;
  esac
  [ "$waited" -ge "$limit" ] && break
  sleep 1
done
printf '@first\n%s\n' "$now"
first=$identity; count=$(field restarts "$now"); samples=0; changes=0
while [ "$(field phase "$now")" = up ] || [ $changes -gt 0 ]; do
  [ $samples -ge "$settle" ] && break
  sleep 1; look; samples=$((samples + 1))
  [ "$phase/$identity/$(field restarts "$now")" = "up/$first/$count" ] || changes=$((changes + 1))
done
printf '@last\n%s\n@settled\n' "$now"
say waited "$waited"; say samples "$samples"; say changes "$changes"
if [ "$first" != "$old" ]; then "dirty_$kind"; case $kind in systemd | docker) ;; *) leftovers ;; esac; fi
if [ "$lines" -gt 0 ] && { [ "$phase" != up ] || [ $changes -gt 0 ]; }; then
  printf '@log\n'; "log_$kind" "$now" | tr -d '\r' | cut -c 1-400 | sed 's/^/| /'
fi
"""
)
"""Waits for the service to be up, then watches it each second, and prints the first and the last state.

Arguments: name, supervisor configuration, service directory, pid file, manager, seconds to wait for `up`,
seconds to watch, the identity before, seconds to wait for another identity, lines of the log.
"""

PREFLIGHT = r"""
case $1 in
  nginx) set -- nginx -t ;;
  apache2 | httpd) set -- apachectl configtest ;;
  ssh | sshd) set -- sshd -t ;;
  haproxy) set -- haproxy -c -q -f /etc/haproxy/haproxy.cfg ;;
  named | bind9) set -- named-checkconf ;;
  unbound) set -- unbound-checkconf ;;
  postfix) set -- postfix check ;;
  rsyslog) set -- rsyslogd -N1 ;;
  php*-fpm) set -- "php-fpm${1#php}"; set -- "${1%-fpm}" -t ;;
  sudo) set -- visudo -c ;;
  *) exit 90 ;;
esac
command -v "$1" >/dev/null || exit 91
said=$(timeout 15 "$@" 2>&1 </dev/null); code=$?
printf '%s\n' "$*"
printf '%s\n' "$said" | tail -n 20 | cut -c 1-400
exit $code
"""
"""Checks the configuration of a known service with its own program.

Argument: the name. Exit 90: no check is known; 91: the program is not here; else its own, 0 is good.
"""
