"""A health check that is made on the host itself, so that a step can wait for it."""

from __future__ import annotations

from typing import Any

from opsqueue.model.fact import Fact, Script
from opsqueue.model.plan import Result

PROBE = r"""
try() {
  case $1 in
    http)
      code=$(curl -gsS -o /dev/null -m 5 -w '%{http_code}' -- "$2" 2>&1)
      [ "$code" = "$3" ] || { why="$2 answers $code, wanted $3"; return 1; } ;;
    tcp)
      said=$(timeout 5 bash -c ': <"/dev/tcp/$1/$2"' bash "$2" "$3" 2>&1) || { why="$2:$3: $said"; return 1; } ;;
    command)
      shift; said=$(timeout 30 "$@" 2>&1 </dev/null); code=$?
      [ $code = 0 ] || { why="$1 ended with $code: $(printf %s "$said" | tail -n 3 | cut -c 1-300)"; return 1; } ;;
  esac
}
# probe SECONDS TIMES KIND…: until it went well so many times in a row.
probe() {
  until=$(($(cut -d . -f 1 /proc/uptime) + $1)); times=$2; shift 2; row=0
  while :; do
    if try "$@"; then row=$((row + 1)); else row=0; fi
    [ $row -ge "$times" ] && return 0
    [ "$(cut -d . -f 1 /proc/uptime)" -ge "$until" ] && return 1
    sleep 1
  done
}
"""
"""`probe` leaves the number of successes in a row in $row, and the last reason against it in $why."""

_ASK = f"""{PROBE}
delay=$1; shift; sleep "$delay"
if probe "$@"; then echo ok; else echo "no $row $why" | tr '\\n' ' '; fi
"""


def on_host(argv: tuple[str, ...], *, delay: int, patience: int, times: int, sudo: bool) -> Fact:
    """Fact `health` of a command: whether it ended with 0 `times` times in a row within `patience` seconds."""
    args = (str(delay), str(patience), str(times), "command", *argv)
    ask = Script(text=_ASK, args=args, sudo=sudo, timeout=delay + patience + 60)

    def parse(result: Result) -> dict[str, Any]:
        word, _, rest = result.stdout.strip().partition(" ")
        if word not in {"ok", "no"}:
            raise ValueError(result.output[-300:] or f"the script ended with {result.exit_code}")
        row, _, why = rest.partition(" ")
        return {"ok": word == "ok", "in_a_row": times if word == "ok" else int(row), "detail": why}

    return Fact(name="health", ask=ask, parse=parse)
