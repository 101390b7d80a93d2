"""What a security scan asks of a host: advisories, settings, files, lynis, and what changed of the packages.

Each is one question with its own time limit, so that one that takes too long costs no other. What a part of an answer
is about and is not on the host is `{"absent": why}`; what could not be answered is `{"unknown": why}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from opsqueue.facts import security_shapes as shapes
from opsqueue.facts.on_host import program
from opsqueue.facts.shape import shaped
from opsqueue.model.fact import Fact, Script, unknown
from opsqueue.model.plan import Result

NO_PYTHON, NOTHING_THERE = 97, 98
MOST_CHANGED = 1000
_HEAD = 4
"""Lines before the files."""

# Behind everything else that the host does; a walk over all files is nobody's hurry.
_RUN = f"""\
command -v python3 >/dev/null || {{ echo 'there is no python3 on the host' >&2; exit {NO_PYTHON}; }}
program=$1; shift
set -- nice -n 19 python3 -I -c "$program" "$@"
if command -v ionice >/dev/null && ionice -c 3 true 2>/dev/null; then set -- ionice -c 3 "$@"; fi
exec "$@"
"""

_BEHIND = """\
behind() {
  if command -v ionice >/dev/null && ionice -c 3 true 2>/dev/null; then ionice -c 3 nice -n 19 "$@"
  else nice -n 19 "$@"; fi
}
"""

_LYNIS = f"""\
{_BEHIND}\
command -v lynis >/dev/null || exit {NOTHING_THERE}
dir=$(mktemp -d) || exit 1
trap 'rm -rf -- "$dir"' EXIT
trap 'exit 1' TERM INT HUP
behind lynis audit system --quick --cronjob --no-colors \\
  --logfile "$dir/log" --report-file "$dir/report" >/dev/null 2>"$dir/said" </dev/null
printf 'code=%s\\n' "$?"
keys='lynis_version|hardening_index|tests_executed|tests_skipped|finish|warning\\[]|suggestion\\[]'
grep -E "^($keys)=" "$dir/report"
[ -s "$dir/report" ] || tail -n 3 "$dir/said" >&2
echo end
"""

_INTEGRITY = f"""\
{_BEHIND}\
command -v dpkg >/dev/null || exit {NOTHING_THERE}
dir=$(mktemp -d) || exit 1
trap 'rm -rf -- "$dir"' EXIT
trap 'exit 1' TERM INT HUP
behind dpkg --verify >"$dir/out" 2>"$dir/said" </dev/null
printf 'code=%s\n' "$?"
printf 'missing=%s\n' "$(grep -c '^missing' "$dir/out")"
printf 'said=%s\n' "$(tail -n 1 "$dir/said" | cut -c 1-300)"
# The third letter is the checksum; `c` marks what an administrator is meant to change.
grep -E '^..5' "$dir/out" | grep -vE '^..5[^ ]* +c ' >"$dir/changed"
printf 'number=%s\n' "$(wc -l <"$dir/changed")"
head -n {MOST_CHANGED} "$dir/changed"
echo end
"""


def advisories(options: Mapping[str, Any], *, sudo: bool, seconds: int) -> Fact:
    """Fact `advisories`: which installed packages the data that lie on the host know as vulnerable."""
    given = {**options, "seconds": seconds}
    shape = {**shapes.ADVISORIES, **(shapes.EXPLOITED if "exploited" in options else {})}
    return _on_host("advisories", given, shape, sudo=sudo, seconds=seconds)


def settings(options: Mapping[str, Any], *, sudo: bool, seconds: int) -> Fact:
    """Fact `settings`: sshd, sudo, the kernel, accounts, who listens, updates; each part by itself."""
    return _on_host("settings", options, shapes.SETTINGS, sudo=sudo, seconds=seconds)


def files(options: Mapping[str, Any], *, sudo: bool, seconds: int) -> Fact:
    """Fact `files`: modes and owners of all files; ends by itself when its time is up."""
    given = {**options, "seconds": seconds}
    return _on_host("files", given, shapes.FILES, sudo=sudo, seconds=seconds)


def lynis(*, sudo: bool, seconds: int) -> Fact:
    """Fact `lynis`: `{"version", "index", "tests", "warnings", "suggestions"}`; its report is not kept on the host."""
    return Fact(name="lynis", ask=Script(text=_LYNIS, sudo=sudo, timeout=seconds), parse=_lynis)


def integrity(*, sudo: bool, seconds: int) -> Fact:
    """Fact `integrity`: `{"changed", "number", "missing", "said"}`: files of packages that were changed."""
    return Fact(name="integrity", ask=Script(text=_INTEGRITY, sudo=sudo, timeout=seconds), parse=_integrity)


def _on_host(name: str, options: Mapping[str, Any], shape: Any, *, sudo: bool, seconds: int) -> Fact:
    # A little later than the program's own limit, at which it answers with what it has.
    args = (program(f"{name}_host"), json.dumps(options, sort_keys=True))
    ask = Script(text=_RUN, args=args, sudo=sudo, timeout=seconds + 30)
    return Fact(name=name, ask=ask, parse=partial(_object, shape))


def _object(shape: Any, result: Result) -> Any:
    if result.exit_code != 0 or not result.stdout.strip():
        return unknown(_why(result))
    try:
        return shaped(json.loads(result.stdout), shape)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _why(result: Result) -> str:
    if result.timed_out:
        return "it did not end within its time limit"
    lines = result.output.strip().splitlines()
    return lines[-1][-300:] if lines else f"it ended with {result.exit_code} and said nothing"


def _lynis(result: Result) -> Any:
    if result.exit_code == NOTHING_THERE:
        return {"absent": "lynis is not installed"}
    lines = result.stdout.splitlines()
    pairs = [line.partition("=")[::2] for line in lines]
    words = dict(pairs)
    if not lines or lines[-1] != "end" or not words.get("hardening_index", "").isdigit() or "finish" not in words:
        return unknown(f"lynis did not come to its end: {_why(result)}")
    return {
        "version": words.get("lynis_version", ""),
        "index": int(words["hardening_index"]),
        "tests": len([one for one in words.get("tests_executed", "").split("|") if one]),
        "skipped": len([one for one in words.get("tests_skipped", "").split("|") if one]),
        "warnings": _said(pairs, "warning[]"),
        "suggestions": _said(pairs, "suggestion[]"),
    }


def _said(pairs: list[Any], kind: str) -> list[dict[str, str]]:
    """`TEST-ID|text|details|solution|`, as its report has it."""
    rows = [value.split("|") for name, value in pairs if name == kind]
    return [{"test": row[0], "text": row[1][:300] if len(row) > 1 else ""} for row in rows]


def _integrity(result: Result) -> Any:
    if result.exit_code == NOTHING_THERE:
        return {"absent": "there is no dpkg on the host"}
    lines = result.stdout.splitlines()
    words = dict(line.split("=", 1) for line in lines[:_HEAD] if "=" in line)
    if result.exit_code != 0 or not lines or lines[-1] != "end" or set(words) != {"code", "missing", "said", "number"}:
        return unknown(_why(result))
    if words["code"] not in ("0", "1"):  # some versions end with 1 when files are changed
        return unknown(f"dpkg --verify ended with {words['code']}: {words['said'] or 'it said nothing'}")
    found = [re.match(r"^..5\S*\s+(/.*)$", line) for line in lines[_HEAD:-1][:MOST_CHANGED]]
    return {
        "changed": sorted(one[1] for one in found if one),
        "number": int(words["number"]),
        "missing": int(words["missing"]),
        "said": words["said"],
    }
