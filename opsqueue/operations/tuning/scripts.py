"""The sh texts that tune: set and read back, write files, measure in turn, keep a guard, lead back.

What is done is a list of words: `knob PATH VALUE`, `file PATH MODE BASE64`, `gone PATH`, `rmdir PATH`, `reload`.
The same words, with the old values, are the way back; the guard has them on the host before anything is set.
"""

from __future__ import annotations

from opsqueue.facts.tuning_scripts import NOW

# `apply` ends at the first that fails; `undo` goes on, and tells in the end.
DO = (
    NOW
    + r"""
said() { printf '%s\n' "$*" >&2; }
put() {
  (printf '%s\n' "$2" >"$1") 2>/dev/null || { said "$1 does not take $2; it is $(now "$1")"; return 1; }
  found=$(now "$1")
  [ "$found" = "$2" ] || { said "$1 was set to $2 and is $found"; return 1; }
}
store() {
  mkdir -p -- "${1%/*}" || return 1
  if [ -f "$1" ] && printf %s "$3" | base64 -d | cmp -s - "$1"; then
    [ "$(stat -c %a -- "$1")" = "$2" ] || chmod -- "$2" "$1"; return
  fi
  new=$1.opsqueue-$$
  if printf %s "$3" | base64 -d >"$new" && chmod -- "$2" "$new" && { sync -- "$new" || sync; } &&
    mv -f -T -- "$new" "$1" && { sync -- "${1%/*}" || sync; }; then return; fi
  rm -f -- "$new"; said "$1 could not be written"; return 1
}
all() {
  how=$1; shift; bad=0
  while [ $# -gt 0 ]; do
    word=$1
    case $word in
      knob) put "$2" "$3" || bad=1; shift 3 ;;
      file) rm -f -- "$2".opsqueue-*; store "$2" "$3" "$4" || bad=1; shift 4 ;;
      gone) rm -f -- "$2" "$2".opsqueue-* || bad=1; shift 2 ;;
      rmdir) rmdir -- "$2" 2>/dev/null || :; shift 2 ;;
      reload) systemctl daemon-reload || bad=1; shift ;;
      *) said "what is $word?"; return 1 ;;
    esac
    [ "$bad" = 0 ] || [ "$how" = undo ] || return 1
  done
  return "$bad"
}
mine() {
  mkdir -p -- "$place" && [ ! -L "$place" ] && [ -O "$place" ] && chmod 700 -- "$place" && return
  said "$place is not a directory of ours"; return 1
}
# What a benchmark was measured on: its name was written down before it was made, and nobody else could guess it.
clear() {
  [ -O "$place" ] && [ -f "$place/scratch" ] || return 0
  IFS= read -r left_over <"$place/scratch"
  case ${left_over##*/.opsqueue-} in '' | *[!0-9a-f]*) ;; *) rm -rf -- "$left_over" ;; esac
  rm -f -- "$place/scratch"
}
"""
)

GUARD = (
    DO
    + r"""
place=$1; token=$2; left=$3
while [ "$left" -gt 0 ] && [ -e "$place/$token" ]; do sleep 1; left=$((left - 1)); done
mv -- "$place/$token" "$place/fired" 2>/dev/null || exit 0
clear
set --
while IFS= read -r word; do set -- "$@" "$word"; done <"$place/undo"
all undo "$@"
"""
)

# The way back is on the disk, and somebody is there to take it, before anything is set. The mark of our commands is
# taken from the guard: it is not a command that still runs.
ARM = (
    DO
    + r"""
guard=$1; place=$2; seconds=$3; shift 3
umask 077
mine || exit 1
rm -f -- "$place"/armed-* "$place/confirmed" "$place/fired" "$place/report"
for word; do printf '%s\n' "$word"; done >"$place/undo.new" && printf '%s' "$guard" >"$place/guard.new" &&
  mv -f -- "$place/undo.new" "$place/undo" && mv -f -- "$place/guard.new" "$place/guard" || exit
token=armed-$(date +%s)-$$
: >"$place/$token" || exit
sync
unset OPSQUEUE_MARK
if [ -d /run/systemd/system ] && [ "$(readlink /proc/self/ns/net)" = "$(readlink /proc/1/ns/net)" ] &&
  systemd-run --quiet --collect --unit="opsqueue-$token" \
    sh "$place/guard" "$place" "$token" "$seconds" 2>/dev/null; then
  exit 0
fi
setsid sh "$place/guard" "$place" "$token" "$seconds" </dev/null >/dev/null 2>&1 &
"""
)

APPLY = (
    DO
    + r"""
place=$1; shift
set -- apply "$@"
for one in "$place"/armed-*; do
  [ -e "$one" ] || { said "the guard led back already"; exit 1; }
done
all "$@"
"""
)

# A fired guard wins: then this fails, and everything is led back once more.
CONFIRM = r"""
for one in "$1"/armed-*; do
  mv -- "$one" "$1/confirmed" || { echo "the guard led back already" >&2; exit 1; }
done
sync
"""

UNDO = (
    DO
    + r"""
place=$1; shift
clear
for one in "$place"/armed-*; do [ ! -e "$one" ] || mv -- "$one" "$place/undone" || :; done
rm -f -- "$place/confirmed" "$place/undone" "$place/undo"
all undo "$@"
"""
)

CLEAR = (
    DO
    + r"""
place=$1
clear
"""
)

# $1 place, $2 pairs, $3 old and $4 new values as lines `PATH<tab>VALUE` (both empty: nothing is compared),
# $5 benchmarks as lines `NAME<tab>TOOL<tab>SECONDS<tab>COMMAND`, $6 where fio measures (empty: no fio). There, a
# directory of a name that nobody can guess is made, ours alone; it is held open, so whoever may rename it later
# leads nothing of ours elsewhere.
MEASURE = (
    DO
    + r"""
place=$1; pairs=$2; old=$3; new=$4; benchmarks=$5; room=$6
tab=$(printf '\t')
trap 'exit 143' TERM INT HUP
umask 077
mine || exit 1
clear
rm -f -- "$place/report" "$place/report.new"
if [ "$room" ]; then
  trap clear EXIT
  scratch=$room/.opsqueue-$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
  printf '%s\n' "$scratch" >"$place/scratch" && mkdir -m 0700 -- "$scratch" && exec 8<"$scratch" || exit
  [ "$(stat -L -c '%u %a' /proc/self/fd/8)" = "$(id -u) 700" ] || { said "$scratch is not ours alone"; exit 1; }
fi
low=
command -v ionice >/dev/null 2>&1 && low="ionice -c 2 -n 7"
into() {
  [ "$old$new" ] || return 0
  if [ "$1" = new ]; then lines=$new
    for one in "$place"/armed-*; do [ -e "$one" ] || { said "the guard led back already"; exit 1; }; done
  else lines=$old; fi
  while IFS=$tab read -r path value; do
    [ -z "$path" ] || put "$path" "$value" || exit 1
  done <<END
$lines
END
}
number() {
  case $1 in
    sysbench_cpu) awk '/events per second:/ { v = $4 } /95th percentile:/ { p = $3 } END { print v "\t" p }' ;;
    sysbench_memory) awk '/MiB\/sec\)/ { v = $4; sub(/\(/, "", v) } /95th percentile:/ { p = $3 }
      END { print v "\t" p }' ;;
    sysbench_threads) awk '/total number of events:/ { n = $5 } /total time:/ { t = $3; sub(/s/, "", t) }
      /95th percentile:/ { p = $3 } END { if (t > 0) v = n / t; print v "\t" p }' ;;
    fio_*) awk -F ';' '$1 == 3 { v = $8 + $49; for (i = 1; i <= NF; i++) if ($i ~ /^95\.0+%=/ && !p) {
      split($i, a, "="); if (a[2] > 0) p = a[2] / 1000 } } END { print v "\t" p }' ;;
    command) awk 'NF { v = $NF } END { print v "\t" }' ;;
  esac
}
measure() {
  into "$1"
  while IFS=$tab read -r name tool seconds line; do
    [ "$name" ] || continue
    out=$(case $tool in fio_*) cd -P /proc/self/fd/8 || exit ;; esac
      exec 8<&-; eval "$low timeout -k 5 $seconds $line" 2>&1 </dev/null) || { said "$name failed: $out"; exit 1; }
    found=$(printf '%s\n' "$out" | number "$tool")
    case ${found%%"$tab"*} in '' | *[!0-9.eE+-]*) said "$name gave no number: $out"; exit 1 ;; esac
    [ "$2" = 0 ] || printf 'sample\t%s\t%s\t%s\t%s\n' "$name" "$1" "$2" "$found" >>"$place/report.new"
  done <<END
$benchmarks
END
}
measure old 0
[ -z "$old$new" ] || measure new 0
round=1
while [ "$round" -le "$pairs" ]; do
  if [ -z "$old$new" ]; then measure old "$round"
  elif [ $((round % 2)) = 1 ]; then measure old "$round"; measure new "$round"
  else measure new "$round"; measure old "$round"; fi
  round=$((round + 1))
done
into new
mv -f -- "$place/report.new" "$place/report"
"""
)
