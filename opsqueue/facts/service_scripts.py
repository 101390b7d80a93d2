"""The sh texts that read the state of a service, one function for each service manager.

Every `state_…` function prints `key=value` lines: `target` (the name for the manager's own commands), `phase`,
`identity` (another after each start), `pid`, `detail` and what else the manager knows. The phases are `up`,
`unhealthy` (runs, but says itself that it is not well, or runs in part), `starting` (on its way, also
between two crashes), `failed`, `stopped`, `absent` (the manager does not know the name) and `error` (the
manager could not be asked). The phase is told on the host because the wait after a restart happens there.
"""

from __future__ import annotations

TRUSTED = r"""
# Whether nobody but root and ourselves can put another file at path $1: what lies there is run, with our rights.
trusted() {
  for at in "$1" "$(readlink -f -- "$1")"; do
    while [ -n "$at" ]; do
      set -- $(ls -ldLn -- "$at" 2>/dev/null)
      case ${3:-none} in 0 | "$(id -u)") ;; *) return 1 ;; esac
      case $1 in d???????wt*) ;; ????????w*) return 1 ;; esac
      [ "$at" = / ] && break
      at=${at%/*}; at=${at:-/}
    done
  done
}
"""
"""Tells whether a path can be changed by nobody but root and ourselves."""

LOOSE = (
    TRUSTED
    + r"""
loose() (
  unset IFS
  there=$1; until [ -e "$there" ] || [ -L "$there" ]; do there=${there%/*}; there=${there:-/}; done
  case $2/$(ls -ldL -- "$there") in /d???????w*) printf '%s\n' "$there"; return ;; esac
  trusted "$there" || printf '%s\n' "$there"
)
"""
)
"""Prints where others could lead us elsewhere than to $1; a directory for everybody is none where $2 is `made`: there
we make the last name in a way that refuses a link."""

_COMMON = (
    TRUSTED
    + r"""
say() { printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr '\n' ' ' | cut -c 1-400)"; }
field() { printf '%s\n' "$2" | sed -n "s/^$1=//p" | head -n 1; }
clock() { cut -d . -f 1 /proc/uptime; }
started() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }
missing() { say phase absent; say detail "$1"; }
unasked() { say phase error; say detail "$1"; }
# Whether this very command runs below process $1: then a restart could end the connection it came by.
ours() {
  up=$$
  while [ "${up:-0}" -gt 1 ]; do
    [ "$up" = "$1" ] && { say carries_us yes; return; }
    up=$(sed 's/^.*) //' "/proc/$up/stat" 2>/dev/null | cut -d ' ' -f 2)
  done
}
"""
)

_SYSTEMD = r"""
state_systemd() {
  [ -d /run/systemd/system ] || { missing 'this host was not booted with systemd'; return; }
  shown=$(systemctl show --no-pager -p \
Id,Names,Type,LoadState,ActiveState,SubState,Result,UnitFileState,InvocationID,MainPID,NRestarts,ExecMainStatus,\
NeedDaemonReload,CanReload,RefuseManualStart,RefuseManualStop,Job,RestartUSec,MemoryCurrent,TasksCurrent,After,\
StateChangeTimestampMonotonic,ActiveEnterTimestampMonotonic,ActiveExitTimestampMonotonic,\
RequiredBy,BoundBy,ConsistsOf -- "$name" 2>&1) || { unasked "$shown"; return; }
  load=$(field LoadState "$shown"); unit=$(field Id "$shown"); job=$(field Job "$shown"); job=${job#0}
  [ "$load" = not-found ] && { missing 'systemd has no such unit'; return; }
  case $(field ActiveState "$shown")/$(field SubState "$shown")/$job in
    active/*/) phase=up ;;
    failed/failed/) phase=failed ;;
    inactive/dead/) phase=stopped ;;
    *) phase=starting ;;
  esac
  say target "$unit"; say phase "$phase"; say identity "$(field InvocationID "$shown")"
  say pid "$(field MainPID "$shown")"; say restarts "$(field NRestarts "$shown")"
  say detail "$(field ActiveState "$shown") ($(field SubState "$shown")), result $(field Result "$shown"), \
exit status $(field ExecMainStatus "$shown")"
  printf '%s\n' "$shown" | grep -vE '^(RequiredBy|BoundBy|ConsistsOf)='
  say system "$(systemctl is-system-running 2>/dev/null)"
  ours "$(field MainPID "$shown")"
  todo="$(field RequiredBy "$shown") $(field BoundBy "$shown") $(field ConsistsOf "$shown")"; seen=" $unit "; left=50
  while [ -n "$(printf %s "$todo" | tr -d ' ')" ] && [ $left -gt 0 ]; do
    set -f; set -- $todo; set +f; other=$1; shift; todo=$*; left=$((left - 1))
    case "$seen" in *" $other "*) continue ;; esac
    seen="$seen$other "
    case $other in *.service) ;; *) continue ;; esac
    more=$(systemctl show --no-pager -p ActiveState,InvocationID,RequiredBy,BoundBy,ConsistsOf -- "$other")
    printf 'dependant=%s %s %s\n' "$other" "$(field ActiveState "$more")" "$(field InvocationID "$more")"
    todo="$todo $(field RequiredBy "$more") $(field BoundBy "$more") $(field ConsistsOf "$more")"
  done
}
log_systemd() {
  run=$(field identity "$1")
  [ -n "$run" ] || return 0
  journalctl -q --no-pager -o cat -n "$lines" "_SYSTEMD_INVOCATION_ID=$run" + "INVOCATION_ID=$run" 2>/dev/null
}
dirty_systemd() {
  [ -n "$old" ] || return 0
  words=$(journalctl -q --no-pager -o cat -n 200 "INVOCATION_ID=$old" 2>/dev/null)
  case $words in *'signal SIGKILL'*) say killed yes ;; esac
  case $words in *'remains running after'* | *'left-over process'*) say leftovers yes ;; esac
}
"""

_SUPERVISOR = r"""
ctl() { if [ -n "$conf" ]; then timeout 10 supervisorctl -c "$conf" "$@"; else timeout 10 supervisorctl "$@"; fi; }
state_supervisor() {
  command -v supervisorctl >/dev/null || { missing 'supervisorctl is not installed'; return; }
  [ "$name" = all ] && { missing 'for supervisor `all` is every program at once'; return; }
  [ -z "$conf" ] || trusted "$conf" || { unasked "$conf is missing, or others than root and us can change it"; return; }
  shown=$(ctl status "$name" 2>&1 </dev/null); target=$name
  case $shown in *'(no such process)'* | *'(no such group)'*)
    target="$name:*"; shown=$(ctl status "$target" 2>&1 </dev/null) ;;
  esac
  case $shown in
    *'(no such process)'* | *'(no such group)'*) missing 'supervisor has no such program'; return ;;
    *'no such file'* | *'refused connection'*) missing "supervisord does not run: $shown"; return ;;
  esac
  run=''; all=''; phase=''
  while read -r program word rest; do
    case $word in
      RUNNING) one=up; pid=${rest#pid }; pid=${pid%%,*}; run="$run${run:+,}$pid:$(started "$pid")" ;;
      STARTING | BACKOFF | STOPPING) one=starting ;;
      EXITED | FATAL | UNKNOWN) one=failed ;;
      STOPPED) one=stopped ;;
      *) unasked "$shown"; return ;;
    esac
    all="$all $one "
  done <<ROWS
$shown
ROWS
  case $all in
    *failed*) phase=failed ;; *starting*) phase=starting ;; *up*stopped* | *stopped*up*) phase=unhealthy ;;
    *up*) phase=up ;; *) phase=stopped ;;
  esac
  say target "$target"; say phase "$phase"; say identity "$run"; say detail "$(printf %s "$shown" | tr -s " ")"
  for pair in $(printf %s "$run" | tr , ' '); do ours "${pair%%:*}"; done
}
log_supervisor() {
  for channel in stdout stderr; do ctl tail -4000 "$(field target "$1")" "$channel" 2>/dev/null </dev/null; done |
    grep -v ': ERROR (no log file)$' | tail -n "$lines"
}
dirty_supervisor() {
  words=$(ctl maintail -8000 2>/dev/null </dev/null)
  for pair in $(printf %s "$old" | tr , ' '); do
    case $words in *"(${pair%%:*}) with SIGKILL"*) say killed yes ;; esac
  done
}
"""

_DOCKER = r"""
state_docker() {
  command -v docker >/dev/null || { missing 'docker is not installed'; return; }
  # Asking a socket would start a daemon that sleeps behind it, and looking must change nothing.
  [ -n "$only" ] || pgrep -x dockerd >/dev/null || { missing 'the docker daemon does not run'; return; }
  shown=$(timeout 10 docker inspect --type container --format 'id={{.Id}}
status={{.State.Status}}
health={{with index .State "Health"}}{{.Status}}{{else}}none{{end}}
pid={{.State.Pid}}
exit={{.State.ExitCode}}
oom={{.State.OOMKilled}}
started={{.State.StartedAt}}
finished={{.State.FinishedAt}}
restarts={{.RestartCount}}' "$name" 2>&1)
  case $shown in
    *'status='*) ;;
    *[Nn]'o such'*) missing 'docker has no such container'; return ;;
    *'Cannot connect to the Docker daemon'* | *'docker.sock: no such file'*)
      missing 'the docker daemon does not run'; return ;;
    *) unasked "$shown"; return ;;
  esac
  case $(field status "$shown")/$(field health "$shown")/$(field oom "$shown")/$(field exit "$shown") in
    running/none/* | running/healthy/*) phase=up ;;
    running/unhealthy/* | paused/*) phase=unhealthy ;;
    running/* | restarting/* | removing/*) phase=starting ;;
    created/* | exited/*/false/0 | exited/*/false/137 | exited/*/false/143) phase=stopped ;;
    *) phase=failed ;;
  esac
  say target "$name"; say phase "$phase"; say identity "$(field id "$shown" | cut -c 1-12)@$(field started "$shown")"
  say detail "$(field status "$shown"), health $(field health "$shown"), exit code $(field exit "$shown")"
  printf '%s\n' "$shown"
  ours "$(field pid "$shown")"
}
log_docker() { timeout 10 docker logs --tail "$lines" "$name" 2>&1 </dev/null; }
dirty_docker() { :; }
"""

_RUNIT = r"""
place() {
  for where in "$dir" "/etc/service/$name" "/service/$name" "/var/service/$name" \
    "/run/runit/service/$name" "/run/service/$name"; do
    [ -n "$where" ] && [ -e "$where/$1" ] && return 0
    [ -n "$where" ] && [ "$where" = "$dir" ] && return 1
  done
  return 1
}
state_runit() {
  command -v sv >/dev/null || { missing 'sv is not installed'; return; }
  [ -z "$dir" ] || trusted "$dir" || { unasked "$dir is missing, or others than root and us can change it"; return; }
  place supervise/stat || { missing 'no supervised service directory of that name'; return; }
  shown=$(sv status "$where" 2>&1); first=${shown%%;*}; pid=''
  case $first in
    *'runsv not running'* | *'unable to open supervise'*) missing "$shown"; return ;;
    'run: '*'want down'*) phase=starting ;;
    'run: '*) phase=up; pid=${first##*(pid }; pid=${pid%%)*} ;;
    'finish: '* | 'down: '*'want up'*) phase=starting ;;
    'down: '*) phase=stopped ;;
    *) unasked "$shown"; return ;;
  esac
  if [ $phase = up ] && [ -x "$where/check" ] && trusted "$where/check"; then
    sv -w 1 check "$where" >/dev/null 2>&1 || phase=unhealthy
  fi
  say target "$where"; say phase "$phase"; say pid "$pid"; say detail "$(printf %s "$shown" | tr -s " ")"
  if [ -n "$pid" ]; then say identity "$pid:$(started "$pid")"; ours "$pid"; fi
}
log_runit() { :; }
dirty_runit() { :; }
"""

_S6 = r"""
state_s6() {
  command -v s6-svstat >/dev/null || { missing 's6-svstat is not installed'; return; }
  [ -z "$dir" ] || trusted "$dir" || { unasked "$dir is missing, or others than root and us can change it"; return; }
  { place event && [ -e "$where/supervise/status" ]; } || {
    missing 'no supervised service directory of that name'; return
  }
  shown=$(s6-svstat -o up,wantedup,pid,ready,exitcode "$where" 2>&1) || { missing "$shown"; return; }
  set -- $shown
  [ -e "$where/notification-fd" ] && notifies=yes || notifies=no
  case $1/$2/$notifies/$4 in
    true/true/yes/false | true/false/* | false/true/*) phase=starting ;;
    true/*) phase=up ;;
    false/*) phase=stopped ;;
    *) unasked "$shown"; return ;;
  esac
  say target "$where"; say phase "$phase"; say notifies "$notifies"
  say detail "up $1, wanted up $2, pid $3, ready $4, exit code $5"
  if [ "$1" = true ]; then say pid "$3"; say identity "$3:$(started "$3")"; ours "$3"; fi
}
log_s6() { :; }
dirty_s6() { :; }
"""

_SYSV = r"""
script=/etc/init.d/$name
alive() {
  told=$(sed -nE 's/^(# *pidfile: *|PIDFILE=)"?(\/[A-Za-z0-9@:._\/-]+)"?.*$/\2/p' "$script" | head -n 1)
  for file in "$pidfile" "$told" "/run/$name.pid" "/var/run/$name.pid" /run/*/"$name.pid"; do
    [ -n "$file" ] && [ -s "$file" ] || continue
    stale=yes; read -r pid rest <"$file"
    [ -n "$pid" ] && [ -d "/proc/$pid" ] && return
  done
  # Only processes of this host: a container's have another name space.
  pid=$(pgrep -o -x --ns $$ --nslist pid -- "$(printf %.15s "$name")" 2>/dev/null)
}
state_sysv() {
  if [ -z "$only" ] && [ -d /run/systemd/system ]; then missing 'systemd looks after the init scripts'; return; fi
  [ -x "$script" ] || { missing "there is no $script"; return; }
  timeout 10 service "$name" status >/dev/null 2>&1 </dev/null; code=$?
  pid=''; stale=''; alive
  case $code/${pid:+pid}/$stale in
    0/*) phase=up ;;
    1//yes) phase=failed ;;
    1/* | 3/*) phase=stopped ;;
    */pid/*) phase=up ;;
    *) phase=stopped ;;
  esac
  say target "$name"; say phase "$phase"; say detail "status exits $code, process ${pid:-not found}"
  grep -Eq '(^|[|[:space:]])reload[|)]' "$script" && say CanReload yes
  [ $phase = up ] || return 0
  say pid "$pid"
  if [ -n "$pid" ]; then say identity "$pid:$(started "$pid")"; ours "$pid"; fi
}
log_sysv() { :; }
dirty_sysv() { :; }
"""

BY_MANAGER = {
    "systemd": _COMMON + _SYSTEMD,
    "supervisor": _COMMON + _SUPERVISOR,
    "docker": _COMMON + _DOCKER,
    "runit": _COMMON + _RUNIT,
    "s6": _COMMON + _RUNIT[: _RUNIT.index("state_runit")] + _S6,
    "sysv": _COMMON + _SYSV,
}
"""The same for one manager alone."""

STATES = _COMMON + _SYSTEMD + _SUPERVISOR + _DOCKER + _RUNIT + _S6 + _SYSV
"""Reads $name, $conf (supervisor), $dir (runit, s6), $pidfile and $only (sysv); SETTLE also $old and $lines."""
