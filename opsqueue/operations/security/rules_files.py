"""Rules about files: what runs as root, what everybody can write, what everybody can read, whose it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from functools import partial
from typing import Any

from opsqueue.model.names import Severity
from opsqueue.operations.security.rule import Answer, NotApplicable, NotKnown, Problem, Rule

INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL
_SHELLS = re.compile(
    r"^(ba|da|z|k|tc|c|fi)?sh$|^(python|perl|ruby|lua|php|node|gawk|mawk|awk)[\d.]*$|"
    r"^(vim?|nano|less|more|man|env|find|cp|mv|dd|tar|rsync|tee|nmap|gdb|strace|busybox|cat|sed|ed|chmod|chown)$"
)
_KNOWN = frozenset(
    {
        "chage", "chfn", "chsh", "crontab", "dotlockfile", "expiry", "fusermount", "fusermount3", "gpasswd",
        "mount", "newgidmap", "newgrp", "newuidmap", "ntfs-3g", "passwd", "pkexec", "polkit-agent-helper-1",
        "ping", "ping6", "sg", "ssh-agent", "ssh-keysign", "su", "sudo", "sudoedit", "umount", "unix_chkpwd",
        "wall", "write", "write.ul", "at", "bsd-write", "dbus-daemon-launch-helper", "exim4", "lockspool",
        "mlocate", "plocate", "locate", "postdrop", "postqueue", "pppd", "procmail", "lockfile",
        "snap-confine", "traceroute6.iputils", "mtr-packet", "utempter", "Xorg.wrap", "mount.cifs",
        "mount.nfs", "mount.ecryptfs_private", "sendmail", "vmware-user-suid-wrapper", "chrome-sandbox",
        "bwrap", "doas", "ssh-pkcs11-helper", "ksu", "staprun", "dumpcap", "screen", "tmux", "utmp",
        "camel-lock-helper-1.2", "arping", "clockdiff", "lxc-user-nic", "lxc-query-lxc-user-nic",
        "spice-client-glib-usb-acl-helper",
    }
)  # fmt: skip
"""Programs that Debian's packages bring with the bit set."""
_ROOTS = re.compile(r"^/(etc|boot|root|usr|bin|sbin|lib\w*|var/spool/cron|opt)(/|$)")
"""What root runs or believes lies there."""
_SECRET = re.compile(r"shadow|_key$|opasswd")


def _name(entry: Answer) -> str:
    return str(entry["path"]).rpartition("/")[2]


def _told(entry: Answer) -> dict[str, Any]:
    return {key: entry[key] for key in ("mode", "owner", "group", "package") if entry.get(key)}


def _suid(entries: Iterable[Answer], kind: str) -> Iterator[Problem]:
    for entry in entries:
        if _kind(entry) == kind:
            who = entry["owner"] if entry["setuid"] else f"group {entry['group']}"
            yield Problem(subject=entry["path"], message=f"{entry['path']} {_SAID[kind]} {who}", evidence=_told(entry))


def _kind(entry: Answer) -> str:
    if _SHELLS.match(_name(entry)):
        return "shell"
    if not entry["package"] and not entry["chosen"]:
        return "foreign"
    return "" if _name(entry) in _KNOWN or entry["chosen"] else "unfamiliar"


_SAID = {
    "shell": "runs whatever it is told as",
    "foreign": "is of no package, and runs as",
    "unfamiliar": "is of a package, is seldom made so, and runs as",
}


def _capable(entries: Iterable[Answer]) -> Iterator[Problem]:
    for entry in entries:
        if not entry["package"] and not entry["chosen"]:
            text = f"{entry['path']} is of no package, and has powers of root (file capabilities)"
            yield Problem(subject=entry["path"], message=text, evidence=_told(entry))


def _writable(entries: Iterable[Answer], what: str) -> Iterator[Problem]:
    for entry in entries:
        path, severity = entry["path"], None
        if _ROOTS.match(path):
            severity = CRITICAL
        if not entry["reached"]:
            severity = INFO
        yield Problem(
            subject=path, message=f"{path} {what}", evidence={**_told(entry), "reached": entry["reached"]},
            severity=severity,
        )  # fmt: skip


def _each(entries: Iterable[Answer], text: str) -> Iterator[Problem]:
    for entry in entries:
        yield Problem(subject=entry["path"], message=text.format(entry["path"]), evidence=_told(entry))


def _read(judge: Callable[[Iterable[Answer]], Iterator[Problem]], entries: Sequence[Answer]) -> Iterable[Problem]:
    """What is found in files of keys; where nothing is, one that could not be read is not passed."""
    problems = tuple(judge(entries))
    unread = [entry["why"] for entry in entries if entry["why"]]
    if unread and not problems:
        raise NotKnown(unread[0])
    return problems


def _authorized_loose(entries: Iterable[Answer]) -> Iterator[Problem]:
    for entry in entries:
        if entry["loose"]:
            text = f"others can change who may log in as {entry['user']} ({entry['path']} or what it lies in)"
            yield Problem(subject=entry["path"], message=text, evidence={**_told(entry), "user": entry["user"]})


def _authorized_weak(entries: Iterable[Answer]) -> Iterator[Problem]:
    for entry in entries:
        for kind in entry["weak"]:
            text = f"{entry['user']} can be logged in to with a weak key ({kind})"
            yield Problem(subject=entry["path"], message=text, evidence={"user": entry["user"], "kind": kind})


def _authorized_system(entries: Iterable[Answer]) -> Iterator[Problem]:
    for entry in entries:
        if entry["system"] and entry["keys"]:
            text = f"{entry['user']} is an account of a service, and {entry['keys']} keys may log in to it"
            severity = None if entry["login"] else INFO
            told = {"user": entry["user"], "keys": entry["keys"], "login": entry["login"]}
            yield Problem(subject=entry["path"], message=text, evidence=told, severity=severity)


def _homes(entries: Iterable[Answer]) -> Iterator[Problem]:
    for entry in entries:
        who, path = entry["user"], entry["path"]
        if not entry["there"]:
            yield Problem(subject=path, message=f"the home directory of {who} does not exist ({path})")
        elif not entry["own"]:
            yield Problem(subject=path, message=f"the home directory of {who} is {entry['owner']}'s ({path})")
        elif int(entry["mode"], 8) & 0o022:
            severity = WARNING
            text = f"others can write into the home directory of {who} ({path})"
            yield Problem(subject=path, message=text, evidence=_told(entry), severity=severity)
        elif int(entry["mode"], 8) & 0o007:
            yield Problem(
                subject=path, message=f"everybody can look into the home directory of {who} ({path})",
                evidence=_told(entry),
            )  # fmt: skip


def _dots(entries: Iterable[Answer]) -> Iterator[Problem]:
    for entry in entries:
        for name in entry.get("dots", ()):
            text = f"{name} of {entry['user']} lets others in, or can be read by them"
            yield Problem(subject=f"{entry['path']}/{name}", message=text, evidence={"user": entry["user"]})


def _modes(pattern: str, most: int, groups: Sequence[str], answer: Answer) -> Iterator[Problem]:
    entries = [entry for path, entry in answer.items() if entry is not None and fnmatch(path, pattern)]
    if not entries:
        raise NotApplicable(f"there is no {pattern}")
    for entry in entries:
        path, mode = entry["path"], int(entry["mode"], 8)
        if mode & ~most or entry["owner"] != "root" or entry["group"] not in {"root", *groups}:
            is_now = f"{entry['mode']} {entry['owner']}:{entry['group']}"
            text = f"{path} is {is_now}; wanted is {most:04o} or less, of root"
            severity = CRITICAL if mode & 0o002 or (mode & 0o004 and _SECRET.search(path)) else None
            yield Problem(subject=path, message=text, evidence=_told(entry), severity=severity)


_SENSITIVE: Sequence[tuple[str, str, int, tuple[str, ...]]] = (
    ("7.1.1", "/etc/passwd", 0o644, ()),
    ("7.1.2", "/etc/passwd-", 0o644, ()),
    ("7.1.3", "/etc/group", 0o644, ()),
    ("7.1.4", "/etc/group-", 0o644, ()),
    ("7.1.5", "/etc/shadow", 0o640, ("shadow",)),
    ("7.1.6", "/etc/shadow-", 0o640, ("shadow",)),
    ("7.1.7", "/etc/gshadow", 0o640, ("shadow",)),
    ("7.1.8", "/etc/gshadow-", 0o640, ("shadow",)),
    ("7.1.9", "/etc/shells", 0o644, ()),
    ("7.1.10", "/etc/security/opasswd", 0o600, ()),
    ("5.1.1", "/etc/ssh/sshd_config", 0o600, ()),
    ("5.1.2", "/etc/ssh/ssh_host_*_key", 0o640, ("ssh_keys", "_ssh")),
    ("5.1.3", "/etc/ssh/ssh_host_*_key.pub", 0o644, ()),
    ("1.4.2", "/boot/grub/grub.cfg", 0o600, ()),
    ("2.4.1.2", "/etc/crontab", 0o600, ()),
    ("2.4.1.3", "/etc/cron.hourly", 0o700, ()),
    ("2.4.1.4", "/etc/cron.daily", 0o700, ()),
    ("2.4.1.5", "/etc/cron.weekly", 0o700, ()),
    ("2.4.1.6", "/etc/cron.monthly", 0o700, ()),
    ("2.4.1.7", "/etc/cron.d", 0o700, ()),
    ("1.6.4", "/etc/motd", 0o644, ()),
    ("1.6.5", "/etc/issue", 0o644, ()),
    ("1.6.6", "/etc/issue.net", 0o644, ()),
)
SENSITIVE_FILES = tuple(pattern for _number, pattern, _most, _groups in _SENSITIVE)
"""What the rules want to know the modes of."""

SENSITIVE = tuple(
    Rule(
        code="file_open", title=f"{pattern} is root's, and {most:04o} or less", part="files.files", severity=INFO,
        judge=partial(_modes, pattern, most, groups), advice=f"Run `chmod {most:04o}` and `chown root` on it.",
        cis=(number,), lynis=("FILE-7524",),
    )
    for number, pattern, most, groups in _SENSITIVE
)  # fmt: skip

FILES = (
    Rule(code="suid_shell", title="no shell or interpreter runs as somebody else", part="files.suid",
         severity=CRITICAL, judge=partial(_suid, kind="shell"), cis=("7.1.13",),
         advice="Run `chmod u-s,g-s` on it, and find out who set the bit."),
    Rule(code="suid_foreign", title="what runs as somebody else is of a package", part="files.suid",
         severity=CRITICAL, judge=partial(_suid, kind="foreign"), cis=("7.1.13",),
         advice="Find out who made it; run `chmod u-s,g-s`, or note it with `dpkg-statoverride --add`."),
    Rule(code="suid_unfamiliar", title="what runs as somebody else is known to do so", part="files.suid",
         severity=INFO, judge=partial(_suid, kind="unfamiliar"), cis=("7.1.13",),
         advice="Look whether its package sets the bit; if nobody needs it, take it away with dpkg-statoverride."),
    Rule(code="file_capability", title="powers of root are given to files of packages only", part="files.capable",
         severity=WARNING, judge=_capable, advice="See `getcap` for which; `setcap -r` takes them away."),
    Rule(code="world_writable", title="no file can be written by everybody", part="files.world_writable",
         severity=WARNING, judge=partial(_writable, what="can be written by everybody"), cis=("7.1.11",),
         advice="Run `chmod o-w` on it."),
    Rule(code="no_sticky", title="where everybody may write nobody removes the files of others",
         part="files.no_sticky", severity=WARNING,
         judge=partial(_writable, what="lets everybody remove everybody's files (no sticky bit)"), cis=("7.1.11",),
         lynis=("FILE-6362",), advice="Run `chmod +t` or `chmod o-w` on it."),
    Rule(code="unowned", title="every file is somebody's", part="files.unowned", severity=WARNING,
         judge=partial(_each, text="{} is nobody's: whoever gets its uid or gid next gets it too"), cis=("7.1.12",),
         advice="Give it to somebody with `chown`, or remove it."),
    Rule(code="private_key_readable", title="private keys can be read by their owners only",
         part="files.private_keys", severity=CRITICAL,
         judge=partial(_each, text="{} is a private key that others can read"),
         advice="Make a new key, for this one may have been read; keep it with mode 0600."),
    Rule(code="authorized_keys_loose", title="nobody else says who may log in", part="files.authorized",
         severity=CRITICAL, judge=_authorized_loose,
         advice="Run `chmod go-w` on the file, its directory and the home."),
    Rule(code="authorized_keys_weak", title="no weak key may log in", part="files.authorized", severity=WARNING,
         judge=partial(_read, _authorized_weak), advice="Replace it with an ed25519 key."),
    Rule(code="authorized_keys_system", title="nobody logs in as a service", part="files.authorized",
         severity=WARNING, judge=partial(_read, _authorized_system),
         advice="Find out who put it there: it is a well-known back door; remove it, or accept it with a reason."),
    Rule(code="home_open", title="homes are their owners'", part="files.homes", severity=INFO, judge=_homes,
         cis=("7.2.9",), lynis=("HOME-9304", "HOME-9306"), advice="Run `chown` and `chmod 0750` on it."),
    Rule(code="home_file_open", title="no file in a home lets others in", part="files.homes", severity=WARNING,
         judge=_dots, cis=("7.2.10",), advice="Remove it, or `chmod 0600` where it holds a password."),
)  # fmt: skip
