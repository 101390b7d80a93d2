"""The sh text that reads the metrics of a host from /proc and /sys.

It runs in dash, busybox ash and bash. It needs `grep`, and `sleep`, `stat`, `date`, `timeout` and `getent`
only for what they are used for. Forks are what it costs: one grep reads many files, and `read` the small ones.

Every line that it prints begins with a label: a path, which grep puts before each line of that file, or a word with
an `@`. No content of a file, no name of a process and no path of a mount can get to the beginning of a line, so
nothing on the host can make up a section of its own.
"""

from __future__ import annotations

import re

from opsqueue.connectors.mounts import REMOTE

# First what stands, then the samples, then what may hang: file systems, and last the names of users, which may come
# from a server. What was printed before something hung is not lost; `@ok` says that all before it is whole.

_START = r"""
subjects=$1 gap=$2 patience=$3 include=$4 exclude=$5 types=$6 top=$7 more=$8
nl='
'
has() {
    for word; do
        case $subjects in *" $word "*) return 0 ;; esac
    done
    return 1
}
say() {
    printf '%s\n' "$1"
}
mark() {
    up=
    IFS=' ' read -r up rest </proc/uptime
    echo "@$1:$up"
}
cd /proc || exit
if has clock; then
    mark clock
    date +@time:%s.%N
fi
set --
if has network; then set -- /proc/net/dev; fi
if has io; then
    set -- "$@" /proc/diskstats
    printf '@disk:%s\n' /sys/block/*/device
fi
again=$*
if has memory swap host cgroup; then set -- "$@" /proc/meminfo; fi
if has load; then set -- "$@" /proc/loadavg; fi
if has load host; then set -- "$@" /sys/devices/system/cpu/online; fi
if has host || { has load && ! [ -e /sys/devices/system/cpu/online ]; }; then set -- "$@" /proc/stat; fi
if has host; then
    set -- "$@" /proc/sys/kernel/hostname /proc/sys/kernel/osrelease
    if [ -e /etc/os-release ]; then set -- "$@" /etc/os-release; else set -- "$@" /usr/lib/os-release; fi
    if [ -e /proc/sys/kernel/arch ]; then set -- "$@" /proc/sys/kernel/arch; else echo "@machine:$(uname -m)"; fi
fi
if has pressure; then set -- "$@" /proc/pressure/cpu /proc/pressure/memory /proc/pressure/io; fi
if has fd; then set -- "$@" /proc/sys/fs/file-nr; fi
if has disk; then set -- "$@" /proc/filesystems /proc/self/mounts; fi
"""

# From the group of this process up to the root, as `connectors.cgroup` does; of memory.stat and cpu.stat, which are
# long, one line. What a group has used of the CPU is read in each sample, where it has a limit.
_GROUPS = r"""
limited=
groups() {
    while IFS=: read -r number names path; do
        for kind in memory cpu ''; do
            case ",$names," in ",$kind," | *",$kind,"*) climb ;; esac
        done
    done
}
climb() {
    base=/sys/fs/cgroup${kind:+/$kind}
    folder=$base${path%/}
    case $kind in
    memory) limits=memory.limit_in_bytes used=memory.usage_in_bytes ;;
    cpu) limits='cpu.cfs_quota_us cpu.cfs_period_us' used= ;;
    *) limits='memory.max cpu.max' used=memory.current ;;
    esac
    while :; do
        for limit in $limits; do small "$folder/$limit" && bound "$limit"; done
        if [ "$used" ] && [ -e "$folder/$used" ]; then
            small "$folder/$used"
            used=
            idle "$folder/memory.stat"
        fi
        case $folder in "$base"/*) folder=${folder%/*} ;; *) break ;; esac
    done
}
small() {
    [ -e "$1" ] && read -r line <"$1" && say "$1:$line"
}
bound() {
    case $1:$line in
    cpu.max:[0-9]* | cpu.cfs_quota_us:[1-9]*) limited=$limited$folder$nl ;;
    esac
}
spent() {
    [ "$limited" ] || return 0
    IFS=$nl
    set -f
    for folder in $limited; do
        small "$folder/cpuacct.usage"
        [ -e "$folder/cpu.stat" ] && used "$folder/cpu.stat"
    done
    set +f
    unset IFS
}
used() {
    while IFS=' ' read -r key value; do
        case $key in usage_usec) say "$1:$key $value"; return ;; esac
    done <"$1"
}
idle() {
    while read -r key value; do
        case $key in
        inactive_file) say "$1:$key $value"; [ "$kind" ] || return ;;
        total_inactive_file) say "$1:$key $value"; return ;;
        esac
    done <"$1"
}
if has cgroup cpu && [ -r /proc/self/cgroup ]; then
    while read -r line; do say "/proc/self/cgroup:$line"; done </proc/self/cgroup
    groups </proc/self/cgroup
fi
"""

# A name in /proc/PID/stat may hold a newline, so these lines need their path as well; thirty words hold both CPU times
# even when the name is nothing but blanks. The line of interrupts is left out: it is long where there are many CPUs.
_SAMPLES = r"""
sample() {
    mark "$1"
    if has cpu; then
        read -r line </proc/stat && say "@cpu:$line"
        spent
    fi
}
tasks() {
    set -- [0-9]*
    echo "@tasks:$#"
    grep -s '' [0-9]*/stat /dev/null | cut -d' ' -f1-30
}
once_more() {
    sleep "$gap" 2>/dev/null || sleep 1
    sample "$1"
    if [ "$again" ]; then grep -s '' $again /dev/null; fi
    echo @ok:
}
sample first
found=
if [ $# -gt 0 ]; then
    found=$(grep -sv '^intr [0-9]' "$@" /dev/null)
    say "$found"
    echo @ok:
fi
if [ "$gap" != 0 ]; then
    if has processes && [ "$top" != 0 ]; then tasks; fi
    while [ "$more" -gt 0 ]; do
        more=$((more - 1))
        once_more between
    done
    once_more second
fi
owners=
if has processes; then
    tasks
    if [ "$top" != 0 ]; then
        owners=$(grep -sE '^(Uid|VmRSS):' [0-9]*/status /dev/null)
        say "$owners"
    fi
    echo @ok:
fi
IFS=$nl
set -f
"""

# What may hang is asked in the background, and its answers come through a pipe that is read only for so long: what
# hangs holds nothing else, so that the connection can end. Where there is no such mount, one `stat` asks for all. The
# patterns here only keep from touching what is not wanted; the answer is filtered again.
_MOUNTS = r"""
chosen() {
    if [ "$include" ]; then
        for pattern in $include; do
            case $dir in $pattern) return 0 ;; esac
        done
        return 1
    fi
    for pattern in $exclude; do
        case $dir in $pattern) return 1 ;; esac
    done
    [ "$dir" != / ] || return 0
    case $types in *" $type "*) return 1 ;; esac
    case $type in
    @REMOTE@) return 0 ;;
    autofs | fuse | fuse.* | proc | sysfs | cgroup | cgroup2 | devpts | mqueue | nsfs | *debugfs | *tracefs) return 1 ;;
    esac
}
hangs() {
    for parent in $waits; do
        case $dir in "$parent" | "$parent"/*) return 0 ;; esac
    done
    return 1
}
entry() {
    rest=${line#* }
    raw=${rest%% *}
    rest=${rest#* }
    type=${rest%% *}
    path "$raw"
}
path() {
    case $1 in
    *\\*)
        dir=$(printf %b. "$1")
        dir=${dir%.}
        ;;
    *) dir=$1 ;;
    esac
}
later() {
    path "$2"
    said=$(timeout -k 1 "$patience" stat -f -c '%S %b %f %a %c %d' "$dir" 2>&1)
    printf '@later:%s %s\n' "$1" "${said%%"$nl"*}"
}
mounts() {
    number=0 waits= queue= root=
    for line in $found; do
        case $line in @WAITS@) entry; waits=$waits$dir$nl ;; esac
    done
    for line in $found; do
        case $line in /proc/self/mounts:*) ;; *) continue ;; esac
        number=$((number + 1))
        case $line in *:/dev/root\ * | *:rootfs\ *) root=yes ;; esac
        entry
        chosen || continue
        if hangs || [ "$dir" != "$raw" ]; then queue="$queue$number $raw$nl"; else set -- "$@" "$dir"; fi
    done
    if [ "$root" ]; then grep -s '' /proc/self/mountinfo /proc/partitions; fi
    if [ $# -gt 0 ]; then
        stat -f -c '@stat:%S %b %f %a %c %d %n' "$@" || df -Pk "$@" | while read -r line; do say "@df:$line"; done
    fi
    if [ "$queue" ]; then
        for line in $queue; do later "${line%% *}" "${line#* }" & done 2>/dev/null | timeout "$((patience + 2))" cat
    fi
}
if has disk; then mounts; fi
"""

_USERS = r"""
users() {
    uids=$nl
    for line in $owners; do
        case $line in *:Uid:*) ;; *) continue ;; esac
        uid=${line##*:Uid:?}
        uid=${uid%%[!0-9]*}
        case $uids in *"$nl$uid$nl"*) ;; *) uids=$uids$uid$nl ;; esac
    done
    if command -v getent >/dev/null; then named=$(getent passwd $uids); else named=$(grep -s '' /etc/passwd); fi
    for line in $named; do
        name=${line%%:*}
        line=${line#*:*:}
        uid=${line%%:*}
        case $uids in *"$nl$uid$nl"*) say "@user:$uid $name" ;; esac
    done
}
if [ "$owners" ]; then users; fi
mark end
exit 0
"""


def _lean(text: str) -> str:
    """Without the indentation that only we need."""
    return re.sub(r"^ +", "", text, flags=re.MULTILINE).strip()


_PARTS = (_START, _GROUPS, _SAMPLES, _MOUNTS, _USERS)

_SLOW = (*(f"{fstype} " for fstype in (*REMOTE, "autofs")), "fuse")
_WAITS = " | ".join(f'/proc/self/mounts:*" {fstype}"*' for fstype in _SLOW)
"""Lines of file systems that somebody else has to answer for."""

READING = _lean("\n".join(_PARTS).replace("@REMOTE@", " | ".join(REMOTE)).replace("@WAITS@", _WAITS))
"""Its arguments: `script.reading_script` makes them."""
