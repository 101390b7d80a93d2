"""Facts for health checks that are asked on the host: services, disks and commands.

Each is one script without side effects of its own; a command check runs what its owner wrote. They know nothing of
each other, so that several may run at once (`beside`).
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from opsqueue.model.fact import Fact, Script, unknown
from opsqueue.model.plan import Result

OUTPUT_MOST = 8192
"""Bytes of a command's output that are kept."""

_SERVICE = r"""
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null; then
  echo manager=systemd
  exec systemctl show -p Type,LoadState,ActiveState,SubState,Result,NRestarts,ExecMainStatus -- "$1"
fi
if command -v supervisorctl >/dev/null; then
  line=$(supervisorctl status "$1" 2>/dev/null | head -n 1)
  case $line in
    "$1: "* | *'(no such process)'*) ;;
    "$1 "*) printf 'manager=supervisor\nline=%s\n' "$line"; exit 0 ;;
  esac
fi
if command -v sv >/dev/null; then
  for dir in /etc/service /service /var/service; do
    [ -d "$dir/$1" ] && { printf 'manager=runit\nline=%s\n' "$(sv status "$dir/$1" 2>&1)"; exit 0; }
  done
fi
name=${1%.service}
if [ -x "/etc/init.d/$name" ]; then
  if command -v service >/dev/null; then set -- service "$name" status; else set -- "/etc/init.d/$name" status; fi
  "$@" >/dev/null 2>&1
  printf 'manager=sysv\ncode=%s\n' "$?"; exit 0
fi
echo manager=none
"""

_DISK = r"""
printf '@blocks\n'; df -P -k -- "$1" || exit 3
printf '@inodes\n'; df -P -i -- "$1" 2>/dev/null
printf '@mounts\n'; cut -d ' ' -f 2,4 /proc/self/mounts 2>/dev/null
[ "$2" ] || exit 0
printf '@written\n'
work=$(mktemp -d "$1/.opsqueue-write-test.XXXXXX" 2>&1) || { echo "no: $work"; exit 0; }
trap 'rm -f probe; cd / && rmdir -- "$work"' EXIT; trap 'exit 1' HUP INT TERM
cd -- "$work" && [ -O . ] || { trap - EXIT; echo "no: somebody else took the directory away"; exit 0; }
said=$(echo opsqueue | dd of=probe conv=fsync 2>&1) && [ "$(cat probe)" = opsqueue ] && said=
[ "$said" ] && printf 'no: %s\n' "$said" || echo ok
exit 0
"""
# In a directory of our own, entered before anything is written: nobody can lead the file elsewhere by a link.

_COMMAND = r"""
limit=$1; most=$2; shift 2
exec 3>&1
code=$( { { if [ "$limit" ] && command -v timeout >/dev/null; then timeout -k 1 "$limit" "$@"; else "$@"; fi \
  </dev/null 2>&1 3>&- 4>&-; echo "$?" >&4; } | { head -c "$most" >&3; cat >/dev/null; }; } 4>&1 )
exit "${code:-3}"
"""
# What is beyond the limit is read and dropped: a command that is cut off would end by SIGPIPE, not as it meant to.

_RUNNING = {"RUNNING", "STARTING"}
# A label begins where none went on before, and gives nothing back: what is no label is read once.
_PERFDATA = re.compile(r"(?:'([^']++)'|(?<![^\s='|])([^\s='|]++))=([^\s;]*+)")
_PERFDATUM = re.compile(r"((?>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?))(?![\d.,])([A-Za-z%]*)")
_PERFDATA_MOST = 32
_PERFDATUM_MOST = 80
_DF_MOST = 16_384
"""Characters of a line of df: two paths, and numbers."""
_DF_NUMBER, _DF_PERCENT = re.compile(r"-|-?\d{1,20}"), re.compile(r"-|\d{1,20}%")
_NOT_KNOWN = "U"
"""What a plugin says instead of a number that it does not know."""
_TIMED_OUT = 124
_SYSV_STATES = {0: "running", 1: "dead", 2: "dead", 3: "stopped"}


def service_fact(name: str, unit: str, *, seconds: int, beside: int = 1) -> Fact:
    """`{"manager", "known", "active", "detail", "result", "restarts"}`; restarts only where systemd counts them."""
    ask = Script(text=_SERVICE, args=(unit,), timeout=seconds, beside=beside)
    return Fact(name=name, ask=ask, parse=_service, about=f"service {unit}")


def disk_fact(name: str, path: str, *, seconds: int, write_test: bool = False, beside: int = 1) -> Fact:
    """`{"mount", "device", "size", "free", "percent", "inode_percent", "read_only", "written"}`, bytes and percent.

    Percent is used / (used + available), as df counts; `None` where the file system has no such number. `written` is
    `ok` or what went wrong; `None` when nothing was to be written.
    """
    ask = Script(text=_DISK, args=(path, "write" if write_test else ""), timeout=seconds, beside=beside)
    return Fact(name=name, ask=ask, parse=_disk, about=f"disk {path}{', a file written' if write_test else ''}")


def command_fact(name: str, argv: Sequence[str], *, seconds: int, beside: int = 1) -> Fact:
    """`{"exit_code", "output", "perfdata"}` of one program; no shell reads its arguments.

    `perfdata_left_out` stands beside them where some of that is no finite number.
    """
    # The script's own limit is a little later, so that the answer says which command took too long.
    ask = Script(text=_COMMAND, args=(str(seconds), str(OUTPUT_MOST), *argv), timeout=seconds + 3, beside=beside)
    return Fact(name=name, ask=ask, parse=_command, about=shlex.join(argv))


def _service(raw: Result) -> dict[str, Any]:
    found = _pairs(raw.stdout.splitlines())
    manager = found.get("manager")
    if manager is None:
        return unknown(ending(raw))
    if manager == "none":
        return unknown("the host was not booted with systemd, and neither supervisor, runit nor SysV know the service")
    return {"manager": manager, **_READERS[manager](found, raw)}


def _pairs(lines: Iterable[str]) -> dict[str, str]:
    return {key: value for key, separator, value in (line.partition("=") for line in lines) if separator}


def _systemd(found: Mapping[str, str], raw: Result) -> dict[str, Any]:
    if "ActiveState" not in found:
        return unknown(f"systemctl did not answer: {ending(raw)}")
    active, sub, result = found["ActiveState"], found.get("SubState", ""), found.get("Result", "")
    restarts = found.get("NRestarts", "")
    return {
        "known": found.get("LoadState") not in {"not-found", "bad-setting"},
        # A oneshot that ended well is at rest, not down; `exited` counts as active for systemd itself.
        "active": active in {"active", "reloading"},
        "ended_well": found.get("Type") == "oneshot" and (active, result) == ("inactive", "success"),
        "detail": f"{found.get('LoadState', '?')}, {active} ({sub}), result {result or '?'}",
        "result": result,
        "exit_status": int(found.get("ExecMainStatus") or 0),
        "restarts": int(restarts) if restarts.isdigit() else None,
    }


def _supervisor(found: Mapping[str, str], _raw: Result) -> dict[str, Any]:
    words = found["line"].split()
    state = words[1] if len(words) > 1 else ""
    return _plain(active=state in _RUNNING, detail=" ".join(words[1:]))


def _runit(found: Mapping[str, str], _raw: Result) -> dict[str, Any]:
    line = found.get("line", "")
    if line.startswith(("fail:", "warning:")):
        return unknown(f"runit does not answer: {line}")
    return _plain(active=line.startswith("run:"), detail=line)


def _sysv(found: Mapping[str, str], _raw: Result) -> dict[str, Any]:
    code = int(found["code"])
    if code not in _SYSV_STATES:
        return unknown(f"the init script's `status` exited with {code}, which says nothing")
    return _plain(active=code == 0, detail=f"{_SYSV_STATES[code]} (status exits {code})")


def _plain(*, active: bool, detail: str) -> dict[str, Any]:
    return {"known": True, "active": active, "ended_well": False, "detail": detail, "result": "", "restarts": None}


_READERS = {"systemd": _systemd, "supervisor": _supervisor, "runit": _runit, "sysv": _sysv}


def _disk(raw: Result) -> dict[str, Any]:
    if raw.exit_code != 0:
        return unknown(raw.stderr.strip()[:300] or ending(raw))
    parts = re.split(r"^@(\w+)$", raw.stdout, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=False))
    device, total, used, free, mount = _df(sections["blocks"])
    inodes = _df(sections.get("inodes", ""))
    return {
        "mount": mount,
        "device": device,
        "size": _scaled(total),
        "free": _scaled(free),
        "percent": _percent(used, free),
        "inode_percent": _percent(inodes[2], inodes[3]),
        "read_only": _read_only(sections.get("mounts", ""), mount),
        "written": " ".join(sections["written"].split())[:300] if "written" in sections else None,
    }


def _df(section: str) -> tuple[str, int | None, int | None, int | None, str]:
    """Device, total, used, available and mount of the last line; names may hold blanks, numbers may be a dash."""
    line = (section.strip().splitlines() or [""])[-1]
    # Words and not one pattern for all: what a host sends may be all blanks, and long.
    words = list(re.finditer(r"\S+", line)) if len(line) <= _DF_MOST else []
    for at in range(1, len(words) - 4):
        total, used, free, percent, mount = (word[0] for word in words[at : at + 5])
        if all(map(_DF_NUMBER.fullmatch, (total, used, free))) and _DF_PERCENT.fullmatch(percent) and mount[0] == "/":
            one, two, three = (None if text == "-" else int(text) for text in (total, used, free))
            return line[: words[at - 1].end()], one, two, three, line[words[at + 4].start() :]
    return "", None, None, None, ""


def _scaled(kilobytes: int | None) -> int | None:
    return None if kilobytes is None else kilobytes * 1024


def _percent(used: int | None, free: int | None) -> float | None:
    if used is None or free is None or used + max(free, 0) <= 0:
        return None
    return round(100 * used / (used + max(free, 0)), 2)


def _read_only(mounts: str, mount: str) -> bool | None:
    """From the last mount at that place, which hides the earlier ones; `None` where the host does not tell."""
    found = None
    for line in mounts.splitlines():
        place, _, options = line.partition(" ")
        if re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), place) == mount:
            found = "ro" in options.split(",")
    return found


def _command(raw: Result) -> dict[str, Any]:
    if raw.timed_out or raw.exit_code is None or raw.exit_code == _TIMED_OUT:
        return unknown("the command did not end within its time limit")
    if raw.exit_code in {126, 127}:
        return unknown(f"the command cannot be run: {raw.output[:300] or 'not found'}")
    kept = raw.stdout[:OUTPUT_MOST]
    output, _, _ = kept.partition("|")
    return {
        "exit_code": raw.exit_code,
        "output": kept.rstrip("\n"),
        "summary": (output.strip().splitlines() or [""])[0][:300],
        **_perfdata(kept),
    }


def _perfdata(stdout: str) -> dict[str, Any]:
    """`| label=value[unit];…` of the first line, as monitoring plugins write it; apart, what is no finite number."""
    _, _, tail = (stdout.splitlines() or [""])[0].partition("|")
    found: dict[str, dict[str, Any]] = {}
    strange = []
    for item in islice(_PERFDATA.finditer(tail), _PERFDATA_MOST):
        number = _PERFDATUM.match(item[3])
        if number and math.isfinite(float(number[1])):
            found[item[1] or item[2]] = {"value": float(number[1]), "unit": number[2]}
        elif item[3] != _NOT_KNOWN:
            strange.append(item[0][:_PERFDATUM_MOST])
    return {"perfdata": found} | ({"perfdata_left_out": strange} if strange else {})


def ending(raw: Result) -> str:
    """How a script ended that gave no answer, in words."""
    if raw.timed_out:
        return "the host gave no answer within the time limit"
    return raw.output[:300] or f"the script ended with {raw.exit_code} and said nothing"
