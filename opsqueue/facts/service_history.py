"""What was done to a service before: how often it was started lately, and the files that a restart would change."""

from __future__ import annotations

from typing import Any

from opsqueue.facts.service_scripts import TRUSTED
from opsqueue.model.fact import Fact, Script
from opsqueue.model.plan import Result

STATE_DIR = r"""
if [ -z "$dir" ]; then
  dir=${HOME:-/nowhere}/.local/state/opsqueue-restarts
  [ "$(id -u)" != 0 ] || dir=/var/lib/opsqueue-restarts
fi
"""
"""Reads $dir, and gives it its usual value when it is empty."""

_STARTS = (
    "name=$1 window=$2 dir=$3\n"
    + STATE_DIR
    + r"""
now=$(date +%s); since=$((now - window))
echo "now=$now"
[ -r "$dir/log" ] && tail -n 5000 "$dir/log" |
  awk -F '\t' -v name="$name" -v since=$since '$1 >= since && $4 == name && $6 == "begins" { print "ours=" $1 }'
if [ -d /run/systemd/system ]; then  # the id is that of `started`; a start by systemd itself counts as well
  timeout 10 journalctl -q --no-pager -o short-unix -u "$name" --since "@$since" \
    MESSAGE_ID=39f53479d3a045ac8e11786248231fbf 2>/dev/null | tail -n 1000 | sed -n 's/^\([0-9]*\)[. ].*/systemd=\1/p'
fi
exit 0
"""
)

_FILES = (
    TRUSTED
    + r"""
for path; do
  left=''; [ ! -e "${path%/*}/.${path##*/}.opsqueue" ] || left=' left'
  if [ -d "${path%/*}/" ] && ! trusted "${path%/*}/"; then echo 'loose'
  elif [ -L "$path" ]; then echo "link $(readlink -f -- "$path")"
  elif [ -f "$path" ]; then
    sum=$(sha256sum <"$path") || exit 1
    echo "file ${sum%% *} $(stat -c '%a %U %G %Y' -- "$path")$left"
  elif [ -e "$path" ]; then echo 'odd'
  elif [ -d "${path%/*}/" ]; then echo "absent$left"
  else echo 'nowhere'; fi
done
"""
)

_FILE = ("sha256", "mode", "owner", "group", "mtime")


def starts(name: str, window: int, state_dir: str, *, sudo: bool) -> Fact:
    """Fact `starts`: when it was started within the last `window` seconds, in UNIX seconds, by whom it is known."""
    ask = Script(text=_STARTS, args=(name.removesuffix(".service"), str(window), state_dir), sudo=sudo)
    return Fact(name="starts", ask=ask, parse=_parse_starts)


def _parse_starts(result: Result) -> dict[str, Any]:
    pairs = [line.partition("=") for line in result.stdout.splitlines() if "=" in line]
    told = {who: sorted(int(at) for key, _, at in pairs if key == who) for who in ("now", "ours", "systemd")}
    if not told["now"]:  # not even the script began, for want of sudo perhaps
        raise ValueError(result.output[-300:] or f"the script ended with {result.exit_code}")
    return {**told, "now": told["now"][0]}


def files(paths: tuple[str, ...], *, sudo: bool) -> Fact:
    """Fact `files`: what lies at each path: its kind, SHA-256 and attributes; `left`: something was begun beside it."""

    def parse(result: Result) -> dict[str, Any]:
        lines = result.stdout.splitlines()
        if len(lines) != len(paths) or result.exit_code != 0:
            raise ValueError(result.output[-300:] or f"the script ended with {result.exit_code}")
        return {path: _file(line) for path, line in zip(paths, lines, strict=True)}

    return Fact(name="files", ask=Script(text=_FILES, args=paths, sudo=sudo), parse=parse)


def _file(line: str) -> dict[str, str]:
    kind, *rest = line.split(" ")
    left = {"left": "yes"} if kind != "link" and rest[-1:] == ["left"] else {}
    rest = rest[:-1] if left else rest
    if kind == "file":
        return {"kind": kind, **dict(zip(_FILE, rest, strict=True)), **left}
    return {"kind": kind, "target": " ".join(rest), **left}
