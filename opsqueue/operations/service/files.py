"""Configuration files that come with a restart: put in place in one rename, and taken back in one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from opsqueue.facts.service_history import STATE_DIR, files
from opsqueue.facts.service_scripts import TRUSTED
from opsqueue.model.fact import Fact, Facts, why_unknown
from opsqueue.model.plan import Command, Step
from opsqueue.operations.service.params import ConfigFile, ServiceRestartParams

_TIMEOUT_S = 60
_ATTRIBUTES = ("mode", "owner", "group")

_HEAD = (
    "set -eu; umask 077; dir=$1 path=$2 want=$3\n"
    + STATE_DIR
    + TRUSTED
    + r"""
die() { echo "$path: $*" >&2; exit 1; }
sum() { [ ! -e "$1" ] && echo absent || sha256sum <"$1" | cut -c 1-64; }
in=${path%/*}; new=$in/.${path##*/}.opsqueue
[ ! -L "$path" ] || die 'it is a link; name the file that it leads to'
[ ! -e "$path" ] || [ -f "$path" ] || die 'it is no file'
trusted "$in" || die 'others than root and us can change its directory'
mkdir -p -- "$dir/files"; trusted "$dir/files" || die "others than root and us can change $dir"
key=$dir/files/$(printf %s "$path" | sha256sum | cut -c 1-16)
trap 'rm -f -- "$new"' EXIT; trap 'exit 143' HUP INT TERM
rm -f -- "$new"
"""
)

_PUT = (
    _HEAD
    + r"""mode=$4 owner=$5 group=$6
cat >"$new"
[ "$(sum "$new")" = "$want" ] || die 'the new text did not arrive as it was sent'
was=$(sum "$path")
if [ "$was" = absent ]; then chmod 0644 "$new"
else
  if [ "$was" != "$want" ]; then
    cp -a -- "$path" "$key.new"; sync "$key.new"; mv -fT -- "$key.new" "$key-$was"
    ls -t -- "$key"-* | tail -n +21 | while read -r old; do rm -f -- "$old"; done
  fi
  cp --attributes-only --preserve=all -- "$path" "$new"; touch -- "$new"
fi
[ -z "$owner" ] || chown -- "$owner" "$new"
[ -z "$group" ] || chgrp -- "$group" "$new"
[ -z "$mode" ] || chmod "$mode" "$new"
sync "$new"; mv -fT -- "$new" "$path"; sync "$in"
echo "$path: $was became $want"
"""
)
"""Arguments: state directory, path, SHA-256 of the new text, mode, owner, group; the new text comes on stdin.

The old file is kept under its own SHA-256 in the state directory: beside it, `*` in a configuration would read it.
"""

_BACK = (
    _HEAD
    + r"""old=$4; is=$(sum "$path")
[ "$is" != "$old" ] || { echo "$path: as it was"; exit 0; }
[ "$is" = "$want" ] || die "somebody else changed it meanwhile; left as it is, the old one is $key-$old"
if [ "$old" = absent ]; then rm -f -- "$path"
else
  [ "$(sum "$key-$old")" = "$old" ] || die "the old one is not in $key-$old"
  cp -a -- "$key-$old" "$new"; sync "$new"; mv -fT -- "$new" "$path"
fi
sync "$in"
"""
)
"""Arguments: state directory, path, SHA-256 of the new text, that of the old one or `absent`."""


def asked(params: ServiceRestartParams) -> tuple[Fact, ...]:
    """What lies there now."""
    paths = tuple(file.path for file in params.config_files)
    return (files(paths, sudo=params.sudo),) if paths else ()


def objections(params: ServiceRestartParams, before: Facts) -> Iterator[str]:
    """Why a file cannot be put in place."""
    answer = before.get("files")
    if not params.config_files:
        return
    if answer is None or why_unknown(answer):
        yield f"config_files could not be looked at: {why_unknown(answer) if answer else 'nobody was asked'}"
        return
    told = {
        "link": "{path} is a link to {target}; name that",
        "loose": "others than root and us can change the directory of {path}",
        "odd": "{path} is no file",
        "nowhere": "{path}: there is no such directory",
    }
    for path, found in answer.items():
        if text := told.get(found["kind"]):
            yield text.format(path=path, target=found.get("target", ""))


def put(params: ServiceRestartParams) -> tuple[Step, ...]:
    """Put each in place; once more does nothing, so a second try is the same plan."""
    return tuple(_put(params, file) for file in params.config_files)


def _put(params: ServiceRestartParams, file: ConfigFile) -> Step:
    words = (params.state_dir, file.path, _sum(file), file.mode, file.owner, file.group)
    argv = ("sh", "-c", _PUT, "opsqueue-put", *words)
    command = Command(argv=argv, stdin=file.content, sudo=params.sudo, timeout=_TIMEOUT_S)
    return Step(title=f"put {file.path} in place", command=command)


def _sum(file: ConfigFile) -> str:
    return hashlib.sha256(file.content.encode()).hexdigest()


def back(params: ServiceRestartParams, before: Facts, now: Facts) -> tuple[Step, ...]:
    """Take back those that are ours now and were something else before, and what was begun of them."""
    pairs = [(file, *_pair(file, before, now)) for file in params.config_files]
    ours = [
        (file, was, found.get("sha256") == _sum(file) and _differs(was, found), found) for file, was, found in pairs
    ]
    return tuple(_back(params, file, was) for file, was, changed, found in ours if changed or "left" in found)


def _pair(file: ConfigFile, before: Facts, now: Facts) -> tuple[Mapping[str, str], Mapping[str, str]]:
    was, found = _of(before, file.path), _of(now, file.path)
    return was, found


def _of(facts: Facts, path: str) -> Mapping[str, str]:
    answer = facts.get("files")
    return {} if not answer or why_unknown(answer) else dict(answer.get(path, {}))


def _differs(was: Mapping[str, str], found: Mapping[str, str]) -> bool:
    return bool(was) and was.get("sha256") != found.get("sha256")


def _back(params: ServiceRestartParams, file: ConfigFile, was: Mapping[str, str]) -> Step:
    words = (params.state_dir, file.path, _sum(file), was.get("sha256", "absent"))
    argv = ("sh", "-c", _BACK, "opsqueue-back", *words)
    return Step(title=f"take {file.path} back", command=Command(argv=argv, sudo=params.sudo, timeout=_TIMEOUT_S))


def problems(params: ServiceRestartParams, after: Facts) -> Iterator[str]:
    """Why the files are not what was wanted."""
    for file in params.config_files:
        found = _of(after, file.path)
        if not found:
            yield f"whether {file.path} is in place is not known: {why_unknown(after.get('files')) or 'nobody asked'}"
        elif found.get("sha256") != _sum(file):
            yield f"{file.path} is not what was to be put there"
        else:
            wanted = {"mode": file.mode.lstrip("0"), "owner": file.owner, "group": file.group}
            yield from (
                f"{file.path} has {name} {found[name]}, wanted {value}"
                for name, value in wanted.items()
                if value and found[name] != value
            )


def restored(params: ServiceRestartParams, before: Facts, after: Facts) -> Iterator[str]:
    """Why the files are not what they were: text, mode, owner, group, time."""
    for file in params.config_files:
        was, found = _pair(file, before, after)
        if not found or was != found:
            differ = ", ".join(sorted(name for name in {*was, *found} if was.get(name) != found.get(name)))
            where = "look at it, and at the old ones in the state_dir (files/)"
            yield f"{file.path} is not what it was ({differ or 'it could not be read'}); {where}"
