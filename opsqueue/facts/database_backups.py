"""One numbered backup of a database on its host: whole or not, its sums, and what its scratch restore counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsqueue.facts.databases import sections
from opsqueue.model.fact import Fact, Script
from opsqueue.model.plan import Result

_READ = r"""
tab=$(printf '\t')
for at in "$1" "$1.partial"; do [ -d "$at" ] && break; at=; done
echo @state
case $at in '') echo absent ;; *.partial) echo partial ;; *) echo complete ;; esac
if [ "$at" ] && cd -- "$at"; then
  echo @files
  for one in *; do [ -f "$one" ] && printf '%s\t%s\n' "$one" "$(stat -c %s -- "$one")"; done
  echo @sums
  if [ ! -f SHA256SUMS ]; then echo none
  elif said=$(sha256sum --strict -c SHA256SUMS 2>&1); then echo good
  else printf 'bad\t%s\n' "$(printf '%s' "$said" | grep -v ': OK$' | head -n 1)"; fi
  for kind in source later restored; do
    echo "@$kind"
    for one in *."$kind"; do [ -f "$one" ] && grep -E '^(table|keys) ' -- "$one" | head -n 2000; done
  done
fi
echo @end
"""


def backup(place: str, *, sudo: bool, timeout: int) -> Fact:
    """Fact `backup`: the numbered directory `place`, or what was begun of it."""
    return Fact(name="backup", ask=Script(text=_READ, args=(place,), sudo=sudo, timeout=timeout), parse=_parse)


def _parse(result: Result) -> dict[str, Any]:
    parts = sections(result)
    sums = parts.get("sums", [("none",)])[0]
    counts = {kind: _counts(parts.get(kind, [])) for kind in ("source", "later", "restored")}
    return {
        "state": parts["state"][0][0],
        "files": {row[0]: int(row[1]) for row in parts.get("files", ())},
        "sums": sums[0],
        "sums_problem": sums[1] if len(sums) > 1 else "",
        **counts,
    }


def _counts(rows: list[tuple[str, ...]]) -> Mapping[str, list[str]]:
    """By the name of a table, or of a numbered database of Redis: its rows, and the checksum or the keys that end."""
    # A name may hold a tab; what is counted stands at the end of the row.
    whole = [row for row in rows if len(row) > 2 and row[-2].isdigit()]  # noqa: PLR2004
    return {" ".join(row[:-2]).partition(" ")[2]: [*row[-2:]] for row in whole}
