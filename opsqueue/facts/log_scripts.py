"""The sh text that looks at log files: what is there, who has it open, what lies beside it; it changes nothing.

It prints rows of words with tabs between, and `end` last. Names with other characters than those of `SAFE` are told
and left alone: they can stand in no row, and no command of ours ever holds one.
"""

from __future__ import annotations

GENERATION = "[0-9]" * 8 + "T" + "[0-9]" * 6 + "Z"
"""What stands behind `NAME-` in the name of a rotated log: a moment in UTC, so no change of the clock repeats it."""

_COMMON = r"""
paths=$1; exclude=$2; roots=$3; archive=$4; pid_file=$5; config=$6; groups=$7; wide=$8
tab=$(printf '\t')
IFS='
'
row() { line=$1; shift; for word; do line="$line$tab$word"; done; printf '%s\n' "$line"; }
"""

# Whom to be in directory $1 for a file of $2: root where nobody else can put a name there, else who owns it. Whoever
# can rename a directory above it could send us anywhere.
_ACTOR = r"""
actor() (
  at=$1; file_owner=$2; who=root; IFS=' '
  while :; do
    set -- $(stat -c '%A %U %G' -- "$at") none none none
    trusted=
    for group in root $groups; do [ "$3" != "$group" ] || trusted=yes; done
    case $1 in
      ????????w[!t]) echo "! everybody may write to $at"; return ;;
      ????????wt) [ "$at" != "$dir" ] || { echo "! everybody may write to $at"; return; } ;;
      ?????w????)
        if [ "$trusted" ]; then :
        elif [ "$at" != "$dir" ] && [ "${1%[tT]}" != "$1" ]; then :
        elif [ "$at" = "$dir" ] && [ "$2$file_owner" != rootroot ]; then [ "$2" != root ] || who=$file_owner
        else echo "! the group $3 may write to $at"; return; fi ;;
    esac
    case $2 in
      root | "$who") ;;
      *) [ "$who" = root ] || { echo "! $at belongs to $2, and what lies below it to $who"; return; }; who=$2 ;;
    esac
    [ "$at" != / ] || break
    at=${at%/*}; at=${at:-/}
  done
  echo "$who"
)
"""

_FILES = r"""
generations() {
  for one in "$1/$2"-*; do
    moment=${one#"$1/$2"-}
    case $moment in
      GENERATION | GENERATION.gz | GENERATION.zst | GENERATION.xz) [ -f "$one" ] && [ ! -L "$one" ] || continue ;;
      *) continue ;;
    esac
    stat --printf "generation\t$path\t$one\t%d:%i\t%s\t%h\t%Y\n" -- "$one"
  done
  for one in "$1/.$2.opsqueue"* "$1/.$2"-*.opsqueue; do [ ! -e "$one" ] || row begun "$path" "$one"; done
}
directory() {
  case "$seen" in *"|$1|"*) return ;; esac
  seen="$seen|$1|"
  stat -f --printf "directory\t$1\t%T\t%S\t%a\t%b\t%d\t%c\n" -- "$1"
}
# Where the directory of $1 really is; nothing unless that is where it seems to be, below one of the roots.
really() {
  real=$(cd -P -- "${1%/*}" 2>/dev/null && pwd -P) || return 1
  for root in $roots; do
    case $1 in "$root"/*) ;; *) continue ;; esac
    inner=${1%/*}; [ "$real" != "$(cd -P -- "$root" && pwd -P)${inner#"$root"}" ] || { echo "$real"; return; }
  done
  return 1
}
each() {
  case $1 in *[!A-Za-z0-9@%+=:,._/-]*)
    row left_out "$(printf %s "$1" | tr -c 'A-Za-z0-9@%+=:,._/-' '?')" odd_name; return ;;
  esac
  case $1 in *-GENERATION | *.gz | *.zst | *.xz | *.bz2 | *.lz4) return ;; esac
  for word in $exclude; do case $1 in $word) return ;; esac; done
  dir=$(really "$1") || { [ ! -e "${1%/*}" ] && row left_out "$1" absent || row left_out "$1" link; return; }
  path=$dir/${1##*/}
  case "$had" in *"|$path|"*) return ;; esac
  had="$had|$path|"
  if [ -L "$path" ]; then row left_out "$path" link; return; fi
  if [ -e "$path" ] && [ ! -f "$path" ]; then row left_out "$path" no_file; return; fi
  if [ -e "$path" ]; then
    stat --printf "log\t$path\t%d:%i\t%s\t%h\t%U\t%G\t%a\t" -- "$path"
    actor "$dir" "$(stat -c %U -- "$path")"
  else
    row log "$path" '' 0 0 '' '' '' root
  fi
  directory "$dir"
  generations "$dir" "${path##*/}"
  [ -z "$archive" ] || generations "$archive/$(printf %s "${dir#/}" | tr / :)" "${path##*/}"
}
had=; seen=
found() {
  for one in $paths; do
    if [ ! -e "$one" ] && [ ! -L "$one" ]; then
      case $one in *[*?[]*) row left_out "$one" no_match; continue ;; esac
    fi
    each "$one"
  done
}
"""

# Every open regular file of the host once, compared with what was found.
_OPEN = r"""
opened() {
  { printf '%s\n' "$rows"; echo @; find -L /proc/[0-9]*/fd -maxdepth 1 -type f -printf '%D:%i\t%p\n' 2>/dev/null; } |
    awk -F "$tab" '$1 == "@" { seen = 1 } !seen && $1 == "log" { ours[$3] = 1 }
      !seen && $1 == "generation" { ours[$4] = 1 } seen && ($1 in ours) { print $1 "\t" $2 }' |
    while IFS=$tab read -r inode fd; do
      process=${fd%/fd/*}
      flags=$(sed -n 's/^flags:[[:space:]]*//p' "$process/fdinfo/${fd##*/}" 2>/dev/null)
      name=$(tr -c 'A-Za-z0-9._-' '?' <"$process/comm" 2>/dev/null)
      row open "$inode" "${process#/proc/}" "${name%\?}" "$flags"
    done
}
deleted() {
  find /proc/[0-9]*/fd -maxdepth 1 -type l -lname '/* (deleted)' -printf '%p\t%l\n' 2>/dev/null |
    while IFS=$tab read -r fd path; do
      for root in $roots; do
        case $path in "$root"/*) ;; *) continue ;; esac
        # A log that got its name back is called deleted too, by the name that it was opened with: links tell.
        size=$(stat -L -c '%h %s' -- "$fd" 2>/dev/null) && [ "${size%% *}" = 0 ] && [ "${size#* }" -gt 0 ] || continue
        size=${size#* }
        process=${fd%/fd/*}
        row deleted "${process#/proc/}" "$(tr -c 'A-Za-z0-9._-' '?' <"$process/comm" 2>/dev/null)" "$size" \
          "$(stat -L -c %d:%i -- "$fd" 2>/dev/null)" "$(printf %s "$path" | tr -c 'A-Za-z0-9@%+=:,._/ ()-' '?')"
      done
    done | sort -u -t "$tab" -k 5,5 | head -n 20
}
big() {
  for root in $roots; do
    timeout 10 find "$root" -xdev -type f -size +100M -printf 'big\t%s\t%p\n' 2>/dev/null
  done | grep -v '[^A-Za-z0-9@%+=:,._/[:space:]-]' | sort -t "$tab" -rn -k 2,2 | head -n 20
}
"""

_MAIN = r"""
row now "$(date -u +%Y%m%dT%H%M%SZ)" "$(date +%s)" "$(id -un)"
for one in flock fallocate gzip zstd xz runuser cmp; do command -v "$one" >/dev/null 2>&1 && row tool "$one"; done
cp --attributes-only --version >/dev/null 2>&1 && find / -maxdepth 0 -printf '' 2>/dev/null && row tool coreutils
if [ "$archive" ]; then
  dir=$archive; until [ -e "$dir" ] || [ -L "$dir" ]; do dir=${dir%/*}; dir=${dir:-/}; done
  row archive "$dir" "$(cd -P -- "$dir" 2>/dev/null && pwd -P)" "$(actor "$dir" root)"
fi
rows=$(found)
[ -z "$rows" ] || printf '%s\n' "$rows"
opened
if [ "$pid_file" ]; then
  pid=; [ ! -f "$pid_file" ] || pid=$(head -c 20 -- "$pid_file" 2>/dev/null | tr -d '[:space:]')
  case $pid in '' | *[!0-9]*) ;; *) [ ! -e "/proc/$pid/comm" ] || row reopens "$pid" "$(cat "/proc/$pid/comm")" ;; esac
fi
if [ "$wide" ]; then
  if [ "$config" ] && [ -f "$config" ] && command -v logrotate >/dev/null 2>&1; then
    logrotate --debug --state /dev/null "$config" 2>&1 | sed -n "s/^considering log /managed$tab/p"
  fi
  deleted
  big
fi
echo end
"""

LOOK = (_COMMON + _ACTOR + _FILES + _OPEN + _MAIN).replace("GENERATION", GENERATION)

JOURNAL = r"""
command -v journalctl >/dev/null 2>&1 || { echo 'absent'; exit; }
said=$(journalctl ${1:+"--directory=$1"} --disk-usage 2>&1) || { printf 'problem\t%s\n' "$said" | tr '\n' ' '; exit; }
journals() { find "${given:-/var/log/journal}" "${given:-/run/log/journal}" -type f "$@" 2>/dev/null | sort -u; }
given=$1; at=$given
for one in /run/log/journal /var/log/journal; do [ "$given" ] || [ ! -d "$one" ] || at=$one; done
printf 'usage\t%s\n' "$(journals -name '*.journal*' -printf '%p\t%b\n' |
  awk -F '\t' '{ sum += $2 * 512 } END { print sum + 0 }')"
printf 'files\t%s\n' "$(journals -name '*.journal*' | wc -l)"
printf 'archived\t%s\n' "$(journals -name '*@*.journal*' | wc -l)"
printf 'old\t%s\n' "$(journals -name '*@*.journal*' -mtime "+$2" | wc -l)"
stat -f --printf 'room\t%S\t%a\t%b\n' -- "$at" 2>/dev/null
"""
