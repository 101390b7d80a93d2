"""The sh texts that do the work, each for one sort of step; paths are their arguments and never stand in them.

All of them act on plain names in a directory that was entered and is still the one that was meant, under a lock on
that directory which ends with the process. No name that is there is ever written over: a new one is given with
link(2), which refuses. What is not finished has a name of its own, `.NAME.opsqueue`, and is forgotten.
"""

from __future__ import annotations

from opsqueue.facts.log_scripts import GENERATION

_HEAD = r"""set -eu
die() { echo "$*" >&2; exit 1; }
t= g= n=
trap 'exit 143' HUP INT TERM
enter() {
  d=${1%/*} n=${1##*/} t= g=
  cd -P -- "$d" && [ "$(pwd -P)" = "$d" ] || die "$d is another directory now"
  exec 9<. && flock -w 5 9 || die "$d: another rotation is at work there"
}
plain() { [ -f "$1" ] && [ ! -L "$1" ] && [ "$(stat -c %h -- "$1")" = 1 ] || die "$d/$1 is no file, or has links"; }
kin() { [ "$(stat -c '%a %u %g' -- "$1")" = "$(stat -c '%a %u %g' -- "$2")" ] || die "$2: owner or mode are lost"; }
"""

_NAMED = r"""named() {
  i=0
  until g=$n-$(date -u +%Y%m%dT%H%M%SZ); ln -T -- "$1" "$g" 2>/dev/null; do
    i=$((i + 1)); [ "$i" -lt 5 ] || { g=; die "$d/$n: no name is free"; }; sleep 1
  done
}
"""

ROTATE = (
    f"""{_HEAD}{_NAMED}"""
    r"""trap '[ -z "$t" ] || rm -f -- "$t"; [ -z "$g" ] || [ ! "$g" -ef "$n" ] || rm -f -- "$g"' EXIT
for f; do
  enter "$f"; plain "$n"
  t=.$n.opsqueue; rm -f -- "$t"
  cp --attributes-only --preserve=all -- "$n" "$t"; kin "$n" "$t"; touch -- "$t"
  named "$n"
  sync .
  mv -T -- "$t" "$n"
  echo "$f is $d/$g now"; t= g=
done
sync .
"""
)
"""The new file is complete before it takes the place of the old one in one rename(2): the name is never missing."""

COPY = (
    f"""{_HEAD}{_NAMED}"""
    r"""how=$1; shift
trap '[ -z "$t" ] || rm -f -- "$t"' EXIT
for f; do
  enter "$f"; plain "$n"
  t=.$n.opsqueue; rm -f -- "$t"
  size=$(stat -c %s -- "$n") block=$(stat -f -c %S .)
  keep=$size
  if [ "$how" = exact ]; then
    head -c $((2 * block)) /dev/zero >"$t"
    fallocate --collapse-range --offset 0 --length "$block" -- "$t"; rm -f -- "$t"
    keep=$(((size - 1) / block * block))
  fi
  [ "$keep" -gt 0 ] || { t=; continue; }
  (umask 077; set -C; head -c "$keep" <"$n" >"$t")
  [ "$(stat -c %s -- "$t")" = "$keep" ] && cmp -s -n "$keep" -- "$n" "$t" || die "$f changed while it was copied"
  cp --attributes-only --preserve=all -- "$n" "$t"; kin "$n" "$t"
  sync -- "$t"
  p=.$n.opsqueue-$keep-$size
  mv -T -- "$t" "$p"; t=
  sync .
  if [ "$how" = exact ]; then fallocate --collapse-range --offset 0 --length "$keep" -- "$n"
  else tail -c +$((keep + 1)) <"$n" >>"$p"; truncate -c -s 0 -- "$n"; fi
  named "$p"; rm -f -- "$p"
  echo "$f gave $keep bytes to $d/$g"; g=
done
sync .
"""
)
"""`exact`: what was copied is cut from the front of the log in one call, and what is appended meanwhile stays."""

SIGNAL = r"""set -eu
die() { echo "$2 $1" >&2; exit 1; }
[ -f "$2" ] && [ ! -L "$2" ] || die 'is no file' "$2"
exec 3<"$2"
read -r p <&3 || [ "$p" ]
case $p in '' | *[!0-9]*) die 'holds no number of a process' "$2" ;; esac
case $(stat -L -c %u /dev/fd/3) in 0 | "$(id -u)") exec kill -s "$1" -- "$p" ;; esac
exec runuser -u "$(stat -L -c %U /dev/fd/3)" -- sh -c 'kill -s "$1" -- "$2"' sh "$1" "$p"
"""
"""With the rights of who owns the file: he may have written there the number of somebody else's process."""

WAIT = r"""set -u
end=$(($(date +%s) + $1)); shift
all=$(for f; do
  for g in "$f"-GENERATION "${f%/*}/.${f##*/}.opsqueue.aside"; do
    [ ! -f "$g" ] || [ "$g" -ef "$f" ] || stat -c %d:%i -- "$g"
  done
done)
while :; do
  held=$(find -L /proc/[0-9]*/fd -maxdepth 1 -type f -printf '%D:%i %p\n' 2>/dev/null | while read -r i fd; do
    case "
$all
" in *"
$i
"*) p=${fd%/fd/*}
      case $(sed -n 's/^flags:[[:space:]]*//p' "$p/fdinfo/${fd##*/}" 2>/dev/null) in
        *[123567]) echo "process ${p#/proc/} ($(cat "$p/comm" 2>/dev/null))" ;;
      esac ;;
    esac
  done | sort -u | tr '\n' ' ')
  [ "$held" ] || exit 0
  [ "$(date +%s)" -lt "$end" ] || { echo "a renamed log is still written by $held" >&2; exit 1; }
  sleep 0.3
done
""".replace("GENERATION", GENERATION)

STORE = (
    f"""{_HEAD}"""
    r"""codec=$1 level=$2 end=$3 store=$4; shift 4
pack() { if [ "$codec" = none ]; then cat; else "$codec" -q -c "-$level"; fi; }
same() {
  if [ "$codec" = none ]; then cmp -s -- "$1" "$2"
  else "$codec" -q -t <"$1" && "$codec" -q -d -c <"$1" | cmp -s -- - "$2"; fi
}
trap '[ -z "$t" ] || rm -f -- "$t"' EXIT
for f; do
  enter "$f"
  to=.; [ -z "$store" ] || to=$store/$(printf %s "${d#/}" | tr / :)
  case $n in *-GENERATION) all=$n ;; *) all=$n-GENERATION ;; esac
  for g in $all; do
    [ -f "$g" ] && [ ! -L "$g" ] && [ "$(stat -c %h -- "$g")" = 1 ] || continue
    last=$to/$g$end
    if [ ! -e "$last" ] && [ ! -L "$last" ]; then
      t=$to/.$g.opsqueue; rm -f -- "$t"
      (umask 077; set -C; pack <"$g" >"$t") || die "$d/$g could not be stored as $last"
      same "$t" "$g" || die "$last would not be what $d/$g is"
      cp --attributes-only --preserve=all -- "$g" "$t"; kin "$g" "$t"
      sync -- "$t"
      ln -T -- "$t" "$last"; rm -f -- "$t"; t=
      sync "$to"
    fi
    same "$last" "$g" || die "$last is there and is something else than $d/$g"
    rm -f -- "$g"
    echo "$d/$g is $last"
  done
done
""".replace("GENERATION", GENERATION)
)

REMOVE = (
    f"""{_HEAD}"""
    r"""free=$1; shift
for f; do
  enter "$f"
  [ -f "$n" ] && [ ! -L "$n" ] || continue
  if [ "$free" ]; then
    set -- $(stat -f -c '%a %b' .)
    [ $(($1 * 100)) -lt $(($2 * free)) ] || continue
  fi
  rm -f -- "$n"
  echo "removed $f"
done
"""
)

BACK = (
    f"""{_HEAD}"""
    r"""while [ $# -gt 0 ]; do
  enter "$1"; g=${2##*/}
  if [ "$g" -ef "$n" ]; then rm -f -- "$g"
  else
    t=.$n.opsqueue; rm -f -- "$t" "$t.aside"
    [ ! -e "$n" ] || ln -T -- "$n" "$t.aside"
    ln -T -- "$g" "$t"; mv -T -- "$t" "$n"; rm -f -- "$g"
  fi
  sync .
  shift 2
done
"""
)
"""The old file gets its name back; what took its place is put aside, in case somebody wrote to it meanwhile."""

TIDY = (
    f"""{_HEAD}{_NAMED}"""
    r"""store=$1; shift
# Killed between the new name and the end of the old one: both are the same file, which is not named once more.
named_already() { for g in "$n"-*Z; do [ ! "$g" -ef "$1" ] || return 0; done; return 1; }
for f; do
  enter "$f"
  a=.$n.opsqueue.aside
  if [ -s "$a" ] && [ ! "$a" -ef "$n" ] && ! named_already "$a"; then named "$a"; fi
  rm -f -- "$a" ".$n.opsqueue" ".$n"-*.opsqueue
  [ -z "$store" ] || rm -f -- "$store/$(printf %s "${d#/}" | tr / :)/.$n"-*.opsqueue
  for p in ".$n.opsqueue-"*; do
    [ -f "$p" ] || continue
    size=${p##*-} keep=${p%-*} keep=${keep##*-}
    if named_already "$p"; then rm -f -- "$p"
    elif [ "$(stat -c %s -- "$n")" -lt "$size" ] || ! cmp -s -n "$keep" -- "$n" "$p"; then named "$p"; rm -f -- "$p"
    elif [ "$(grep -acFx -e "$(tail -n 2 -- "$p" | head -n 1)" -- "$p")" = 1 ]; then rm -f -- "$p"
    else die "$d/$p may be a copy of what $f still holds: compare them and remove it"; fi
  done
done
"""
)
"""A copy that is not known to be cut from its log: another beginning says that it was. The same beginning says that it
was not, unless the log repeats itself; a last line that stands there once says that it does not."""
