"""The sh texts that look at a host for `performance_tuning`: settings, who sets them, what is busy; nothing changes.

Each prints rows of words with tabs between, and `end` last.
"""

from __future__ import annotations

from opsqueue.facts.service_scripts import LOOSE

# A file of the kernel as one line; of a choice such as `[none] mq-deadline` what is chosen.
NOW = r"""
now() (
  value=$(cat -- "$1" 2>/dev/null) || exit 1
  unset IFS
  set -f
  set -- $value
  case "$*" in *\[*\]*) value=${*#*\[}; set -- "${value%%\]*}" ;; esac
  printf '%s\n' "$*"
)
"""

LOOK = (
    NOW
    + LOOSE
    + r"""
knobs=$1; files=$2; keys=$3; dirs=$4; place=$5; room=$6; units=$7; properties=$8
tab=$(printf '\t')
IFS='
'
row() { line=$1; shift; for word; do line="$line$tab$word"; done; printf '%s\n' "$line"; }
knob() {
  if [ ! -e "$1" ]; then row knob "$1" absent '' ''; return; fi
  may=; [ ! -w "$1" ] || may=yes
  row knob "$1" there "$may" "$(now "$1")"
}
file() {
  dir=yes; [ -d "${1%/*}" ] || dir=
  if [ -L "$1" ]; then row file "$1" link '' "$dir" ''
  elif [ -f "$1" ]; then
    if [ "$(stat -c %s -- "$1")" -gt 65536 ]; then row file "$1" large '' "$dir" ''; return; fi
    row file "$1" there "$(stat -c %a -- "$1")" "$dir" "$(base64 <"$1" | tr -d '\n')"
  elif [ -e "$1" ]; then row file "$1" odd '' "$dir" ''
  else row file "$1" absent '' "$dir" ''; fi
}
row user "$(id -u)"
for one in sysbench fio base64 setsid timeout systemctl; do command -v "$one" >/dev/null 2>&1 && row tool "$one"; done
[ ! -d /run/systemd/system ] || row tool systemd
for one in /proc/[0-9]*/comm; do
  case $(cat "$one" 2>/dev/null) in tuned) row daemon tuned "${one%/comm}" ;; esac
done
sed -n 's/^MemTotal: *\([0-9]*\) kB/memory\t\1/p' /proc/meminfo
sed -n 's/^some .*avg60=\([0-9.]*\) .*/busy\t\1/p' /proc/pressure/cpu 2>/dev/null
for one in $knobs; do knob "$one"; done
for one in $files; do file "$one"; done
for at in $dirs; do
  for one in "$at"/*.conf; do
    [ -f "$one" ] && real=$(readlink -f -- "$one") || continue
    awk -v keys="$keys" -v at="$at" -v name="${one##*/}" -v real="$real" '
      BEGIN { n = split(keys, list, "\n"); for (i = 1; i <= n; i++) ours[list[i]] = 1 }
      /^[[:space:]]*[#;]/ || !/=/ { next }
      { key = $0; sub(/=.*/, "", key); value = $0; sub(/^[^=]*=/, "", value)
        gsub(/^[[:space:]-]+|[[:space:]]+$/, "", key)
        gsub(/^[[:space:]]+|[[:space:]]+$/, "", value); gsub(/[[:space:]]+/, " ", value); gsub("/", ".", key)
        if (key in ours) printf "owner\t%s\t%s\t%s\t%s\t%s\n", at, name, key, value, real }' "$one"
  done
done
for one in $units; do
  systemctl show -p LoadState -p MemoryCurrent -p TasksCurrent $properties -- "$one" 2>/dev/null |
    while IFS= read -r line; do row unit "$one" "${line%%=*}" "${line#*=}"; done
done
[ -z "$place" ] || row loose place "$(loose "$place" '')"
if [ "$room" ]; then
  row loose room "$(loose "$room" made)"
  stat -f --printf 'room\t%S\t%a\n' -- "$room" 2>/dev/null
fi
if [ "$place" ]; then
  guard=none
  for one in confirmed fired; do [ ! -e "$place/$one" ] || guard=$one; done
  for one in "$place"/armed-*; do [ ! -e "$one" ] || guard=armed; done
  row guard "$guard"
  if [ -f "$place/undo" ]; then
    while IFS= read -r word; do row undo "$word"; done <"$place/undo"
    kind=; while IFS= read -r word; do
      case $kind in knob) knob "$word" ;; file | gone) file "$word" ;; esac
      kind=$word
    done <"$place/undo"
  fi
  [ ! -f "$place/report" ] || cat "$place/report"
  [ ! -f "$place/scratch" ] || row scratch
fi
echo end
"""
)

USE = r"""
each() {
  echo "@at $(cut -d ' ' -f 1 /proc/uptime)"
  for one in cpu memory io; do
    sed "s/^/psi $one /" "/proc/pressure/$one" 2>/dev/null
  done
  grep -E '^(cpu |ctxt|btime|procs_running|procs_blocked)' /proc/stat
  grep -E '^(pgmajfault|pswpin|pswpout|oom_kill|compact_stall|thp_fault_fallback) ' /proc/vmstat | sed 's/^/vm /'
  grep -E '^(MemTotal|MemAvailable|SwapTotal|SwapFree):' /proc/meminfo
  for one in /sys/block/*; do
    case ${one##*/} in ram* | loop* | zram*) continue ;; esac
    echo "disk ${one##*/} $(cat "$one/stat")"
  done 2>/dev/null
  grep -E '^Tcp: [0-9]' /proc/net/snmp | sed 's/^Tcp:/tcp/'
  awk '/^TcpExt:/ {
    if (n++) { for (i = 2; i <= NF; i++) if (h[i] ~ /^(ListenOverflows|ListenDrops)$/) print "tcpext", h[i], $i }
    else for (i = 2; i <= NF; i++) h[i] = $i }' /proc/net/netstat 2>/dev/null
  sed -n 's/^ *\([^ :]*\): */net \1 /p' /proc/net/dev | grep -v '^net lo '
  echo "files $(cat /proc/sys/fs/file-nr)"
  at=/proc/sys/net/netfilter/nf_conntrack
  echo "tracked $(cat "${at}_count" "${at}_max" 2>/dev/null | tr '\n' ' ')"
  echo "ports $(sed -n 's/^TCP: inuse \([0-9]*\).* tw \([0-9]*\).*/\1 \2/p' /proc/net/sockstat)" \
    "$(cat /proc/sys/net/ipv4/ip_local_port_range)"
  for root in /sys/fs/cgroup /sys/fs/cgroup/cpu; do
    find -L "$root" -maxdepth 3 -name cpu.stat 2>/dev/null
  done | sort -u | head -n 300 | while IFS= read -r one; do
    awk -v at="${one%/cpu.stat}" '$1 == "nr_periods" { n = $2 } $1 == "nr_throttled" { t = $2 }
      END { if (t > 0) print "throttled", n, t, at }' "$one" 2>/dev/null
  done
  cat /proc/[0-9]*/stat 2>/dev/null | awk '{
    head = index($0, "("); tail = match($0, /\) [A-Za-z] /)
    if (!tail) next
    name = substr($0, head + 1, tail - head - 1); gsub(/[^A-Za-z0-9._:\/-]/, "?", name)
    n = split(substr($0, tail + 2), f, " "); print "task", $1, name, f[12] + f[13], f[22] }'
}
echo "cpus $(grep -c '^cpu[0-9]' /proc/stat) $(getconf CLK_TCK 2>/dev/null || echo 100)" \
  "$(getconf PAGESIZE 2>/dev/null || echo 4096)"
for one in /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory.max; do
  [ ! -f "$one" ] || echo "limit ${one##*/} $(cat "$one")"
done
each
sleep "$1"
each
echo end
"""
