"""The shapes of what the programs of a security scan answer."""

from __future__ import annotations

import re

from opsqueue.facts.shape import Each, Maybe, Part

_MODE = re.compile(r"[0-7]{4}")
_FILE = {"path": str, "mode": _MODE, "owner": str, "group": str}
_REACHED = {**_FILE, "reached": bool}
_PACKED = {**_FILE, "package": str, "chosen": bool}

FILES = {
    "suid": Part([{**_PACKED, "setuid": bool}]),
    "capable": Part([_PACKED]),
    "world_writable": [_REACHED],
    "no_sticky": [_REACHED],
    "unowned": [_FILE],
    "private_keys": [_FILE],
    "authorized": [{
        **_FILE, "user": str, "keys": int, "loose": bool, "weak": [str], "system": bool, "login": bool,
        "why": str,
    }],
    "homes": [{**_FILE, "user": str, "there": bool, "own": bool, "dots": [str]}],
    "accounts": {"sources": [str], "unlisted": int, "looked": [str]},
    "files": Each(Maybe(_FILE)),
    "walked": {
        "files": int, "cut": str, "left_out": Each(int), "unreadable": int, "skipped": [{"path": str, "why": str}],
        "root": bool,
    },
}  # fmt: skip
_SOCKET = {"protocol": str, "address": str, "everywhere": bool, "port": int, "program": str, "given": bool}
_NAMES = (
    "uid_zero", "gid_zero", "groups_zero", "same_uid", "same_gid", "same_name", "same_group", "unshadowed", "no_group",
    "shadow_members", "system_shells",
)  # fmt: skip
_SSHD = Each(str)

SETTINGS = {
    "system": Part({"id": str, "version": str, "name": str, "kernel": str, "root": bool}),
    "kernel": Part(Each(Part(Maybe(str)))),
    "mounts": Part(Each([str])),
    "updates": Part({"lists": str, "unattended": str, "installed": bool, "unauthenticated": bool, "untrusted": [str]}),
    "reboot": Part({"marked": bool, "packages": [str], "kernel": str}),
    "packages": Part({"installed": [str]}),
    "sshd": Part({"root": _SSHD, "nobody": _SSHD}),
    "sudo": Part({
        "valid": Maybe(bool),
        "loose": [str],
        "nopasswd": [{"who": str, "all": bool, "programs": [str], "file": str}],
        "defaults": [str],
    }),
    "accounts": Part({**{name: [str] for name in _NAMES}, "nis": bool}),
    "passwords": Part({"kinds": Each([str]), "endless": [str]}),
    "logins": Part({"defs": Each(Maybe(str)), "nullok": [str]}),
    "listening": Part({"sockets": [_SOCKET], "left_out": int, "passing": int}),
    "apparmor": Part({"enabled": bool}),
    "preloaded": Part({"preload": bool}),
}  # fmt: skip

_MATCH = {
    "ecosystem": str, "package": str, "binaries": [str], "where": str, "installed": str, "fixed": str, "id": str,
    "aliases": [str], "vectors": [str], "word": str, "summary": str, "source": str,
}  # fmt: skip
_SKIPPED = {"name": str, "where": str, "why": str}

ADVISORIES = {
    "packages": Part(int),
    "apt": Part({
        "updates": [{"source": str, "binaries": [str], "installed": str, "fixed": str}],
        "age_days": float,
        "expired": bool,
        "lists": int,
    }),
    "python": Part({"packages": int, "skipped": [_SKIPPED]}),
    "advisories": Part({
        "files": [{"path": str, "format": str, "advisories": int, "age_days": float}],
        "matches": [_MATCH],
        "covered": [str],
        "others": [str],
        "cut": str,
        "odd": [str],
    }),
    "pip_audit": Part({"matches": [_MATCH], "skipped": [_SKIPPED], "audited": int}),
}  # fmt: skip
EXPLOITED = {"exploited": Part({"path": str, "holes": int, "named": [str], "age_days": float})}
"""Further, when a catalogue of exploited holes was given."""
