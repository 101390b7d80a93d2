"""The report of an integrity check: what each program that looked answered."""

from __future__ import annotations

from typing import Any

from opsqueue.facts.databases import sections
from opsqueue.model.fact import Fact, Script
from opsqueue.model.plan import Result

_READ = r"""
echo @report
if [ -d "$1" ]; then printf '%s\n' "$(stat -c '%i %z' -- "$1/done" 2>/dev/null || echo begun)"; else echo absent; fi
if [ -d "$1" ] && cd -- "$1"; then
  for one in *.report; do
    [ -f "$one" ] || continue
    printf '@check %s\n' "${one%.report}"
    head -c 20000 -- "$one" | sed 's/^/| /'
    echo
  done
fi
echo @end
"""


def report(place: str, *, sudo: bool, timeout: int) -> Fact:
    """Fact `report`: `run` is another after each check (`begun`, `absent`), `checks` the answer of each program."""
    return Fact(name="report", ask=Script(text=_READ, args=(place,), sudo=sudo, timeout=timeout), parse=_parse)


def _parse(result: Result) -> dict[str, Any]:
    parts = sections(result)
    named = {name.removeprefix("check "): rows for name, rows in parts.items() if name.startswith("check ")}
    return {"run": parts["report"][0][0], "checks": {name: _check(rows) for name, rows in named.items()}}


def _check(rows: list[tuple[str, ...]]) -> dict[str, Any]:
    lines = [line for row in rows if (line := "\t".join(row).removeprefix("| ").rstrip())]
    first = lines[0].removeprefix("exit ") if lines else ""
    return {"exit_code": int(first) if first.isdigit() else None, "lines": lines[1:201]}
