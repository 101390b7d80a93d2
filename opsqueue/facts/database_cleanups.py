"""The journal of one cleanup on its host: every batch before it was sent and after it was done, and how it ended."""

from __future__ import annotations

from typing import Any

from opsqueue.facts.databases import sections
from opsqueue.model.fact import Fact, Script
from opsqueue.model.plan import Result

_READ = r"""
echo @journal
if [ -f "$1/journal" ]; then
  awk '$1 == "begin" { begun = $2 } $1 == "done" { done = $2; rows += $3 } $1 == "end" { how = "ended" }
    $1 == "stop" { how = "stopped"; sub(/^stop /, ""); why = $0 }
    END { printf "%s\t%d\t%d\t%d\t%s\n", how ? how : "begun", begun, done, rows, why }' "$1/journal"
else printf 'absent\t0\t0\t0\t\n'; fi
echo @archive
for one in "$1"/*.rows; do [ -f "$one" ] && printf '%s\t%s\n' "${one##*/}" "$(stat -c %s -- "$one")"; done
echo @end
"""


def cleaned(place: str, *, sudo: bool) -> Fact:
    """Fact `cleanup`: `state` is absent, begun, stopped or ended; `rows` went in whole batches that were answered."""
    return Fact(name="cleanup", ask=Script(text=_READ, args=(place,), sudo=sudo, timeout=60), parse=_parse)


def _parse(result: Result) -> dict[str, Any]:
    parts = sections(result)
    state, begun, done, rows, why = parts["journal"][0]
    sizes = [int(row[1]) for row in parts.get("archive", ())]
    return {
        "state": state,
        "begun": int(begun),
        "done": int(done),
        "rows": int(rows),
        "why": why,
        "archives": len(sizes),
        "archived_bytes": sum(sizes),
    }
