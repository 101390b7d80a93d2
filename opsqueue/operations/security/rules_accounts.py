"""Rules about accounts, their passwords, and what new ones are made like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from opsqueue.model.names import Severity
from opsqueue.operations.security.rule import Answer, NotKnown, Problem, Rule

INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL
_WEAK = ("DES", "MD5", "NT")
_FAIR = ("SHA-256",)
_LONGEST_DAYS, _WARN_DAYS = 365, 7
_OTHERS = 0o027
"""What at least is taken from others."""


def _named(key: str, text: str, fine: tuple[str, ...] = ()) -> Callable[[Answer], Iterator[Problem]]:
    def judge(answer: Answer) -> Iterator[Problem]:
        for name in answer[key]:
            if name not in fine:
                yield Problem(subject=name, message=text.format(name))

    return judge


def _empty(answer: Answer) -> Iterator[Problem]:
    for name in answer["kinds"].get("empty", ()):
        yield Problem(subject=name, message=f"{name} has an empty password")


def _weak_hash(answer: Answer) -> Iterator[Problem]:
    for kind in (*_WEAK, *_FAIR):
        severity = INFO if kind in _FAIR else None
        for name in answer["kinds"].get(kind, ()):
            text = f"the password of {name} is kept as a {kind} hash, which is quickly tried"
            yield Problem(subject=name, message=text, evidence={"kind": kind}, severity=severity)


def _nis(answer: Answer) -> Iterator[Problem]:
    if answer["nis"]:
        yield Problem(subject="/etc/passwd", message="/etc/passwd takes over accounts of NIS (a line with + or -)")


def _method(answer: Answer) -> Iterator[Problem]:
    method = answer["defs"].get("ENCRYPT_METHOD") or "DES"
    if method.upper() not in {"YESCRYPT", "SHA512"}:
        yield Problem(subject="ENCRYPT_METHOD", message=f"new passwords are kept as {method} hashes")


def _days(key: str, good: Callable[[int], bool], text: str) -> Callable[[Answer], Iterator[Problem]]:
    def judge(answer: Answer) -> Iterator[Problem]:
        value: Any = answer["defs"].get(key)
        if value is not None and not value.lstrip("-").isdigit():
            raise NotKnown(f"{key} in /etc/login.defs is no number")
        if value is None or not good(int(value)):
            yield Problem(subject=key, message=text.format(value or "not set"))

    return judge


def _umask(answer: Answer) -> Iterator[Problem]:
    value = answer["defs"].get("UMASK") or "022"
    if int(value, 8) & _OTHERS != _OTHERS:
        yield Problem(subject="UMASK", message=f"new files are readable by everybody (UMASK {value})")


def _nullok(answer: Answer) -> Iterator[Problem]:
    for path in answer["nullok"]:
        yield Problem(subject=path, message=f"{path} lets accounts in whose password is empty (nullok)")


_ACCOUNTS, _PASSWORDS, _LOGINS = "settings.accounts", "settings.passwords", "settings.logins"

ACCOUNTS = (
    Rule(code="uid_zero", title="root alone has uid 0", part=_ACCOUNTS, severity=CRITICAL,
         judge=_named("uid_zero", "{} has uid 0: it is root under another name", ("root",)),
         advice="Find out who made it and why; then `userdel` it, or give it a uid of its own.",
         cis=("5.4.2.1",), lynis=("AUTH-9204",)),
    Rule(code="gid_zero", title="root alone is in group 0", part=_ACCOUNTS, severity=WARNING,
         judge=_named("gid_zero", "{} has root's group as its own", ("root", "sync", "shutdown", "halt", "operator")),
         advice="Give it a group of its own with `usermod -g`.", cis=("5.4.2.2",)),
    Rule(code="group_zero", title="group root alone has gid 0", part=_ACCOUNTS, severity=WARNING,
         judge=_named("groups_zero", "the group {} has gid 0", ("root",)),
         advice="Give it a gid of its own with `groupmod -g`.", cis=("5.4.2.3",)),
    Rule(code="password_empty", title="no account has an empty password", part=_PASSWORDS, severity=CRITICAL,
         judge=_empty, advice="Lock it with `passwd -l`, or set a password.", cis=("7.2.2",), lynis=("AUTH-9283",)),
    Rule(code="password_weak_hash", title="passwords are kept as strong hashes", part=_PASSWORDS, severity=WARNING,
         judge=_weak_hash, advice="Set the password anew with `passwd`, or lock it.",
         cis=("5.4.1.4",), lynis=("AUTH-9229",)),
    Rule(code="password_endless", title="passwords end within a year", part=_PASSWORDS, severity=INFO,
         judge=_named("endless", "the password of {} never has to be changed"), advice="Run `chage -M 365` for it.",
         cis=("5.4.1.1",), lynis=("AUTH-9286",)),
    Rule(code="password_unshadowed", title="hashes lie in /etc/shadow", part=_ACCOUNTS, severity=CRITICAL,
         judge=_named("unshadowed", "the password hash of {} lies in /etc/passwd, which everybody can read"),
         advice="Run `pwconv`, and change that password.", cis=("7.2.1",), lynis=("AUTH-9228",)),
    Rule(code="account_group_missing", title="the group of each account exists", part=_ACCOUNTS, severity=WARNING,
         judge=_named("no_group", "the group of {} does not exist: whoever makes it gets its files"),
         advice="Make the group, or change it with `usermod -g`.", cis=("7.2.3",)),
    Rule(code="shadow_group_member", title="nobody is in the group shadow", part=_ACCOUNTS, severity=CRITICAL,
         judge=_named("shadow_members", "{} may read all password hashes (group shadow)"),
         advice="Run `gpasswd -d NAME shadow`, or give the account another first group.", cis=("7.2.4",)),
    Rule(code="uid_twice", title="each uid stands once", part=_ACCOUNTS, severity=WARNING,
         judge=_named("same_uid", "several accounts have uid {}"), advice="Give each its own with `usermod -u`.",
         cis=("7.2.5",)),
    Rule(code="gid_twice", title="each gid stands once", part=_ACCOUNTS, severity=WARNING,
         judge=_named("same_gid", "several groups have gid {}"), advice="Give each its own with `groupmod -g`.",
         cis=("7.2.6",), lynis=("AUTH-9222",)),
    Rule(code="account_twice", title="each account stands once", part=_ACCOUNTS, severity=WARNING,
         judge=_named("same_name", "{} stands more than once in /etc/passwd"), advice="Mend it with `vipw`.",
         cis=("7.2.7",), lynis=("AUTH-9208",)),
    Rule(code="group_twice", title="each group stands once", part=_ACCOUNTS, severity=WARNING,
         judge=_named("same_group", "{} stands more than once in /etc/group"), advice="Mend it with `vigr`.",
         cis=("7.2.8",), lynis=("AUTH-9226",)),
    Rule(code="system_account_shell", title="accounts of services do not log in", part=_ACCOUNTS, severity=INFO,
         judge=_named("system_shells", "{} is an account of a service, and has a shell"),
         advice="Run `usermod -s /usr/sbin/nologin` for it, if its service allows it.", cis=("5.4.2.7",)),
    Rule(code="nis_accounts", title="no accounts of NIS", part=_ACCOUNTS, severity=WARNING, judge=_nis,
         advice="Take the line out, unless NIS is meant to be used.", lynis=("AUTH-9242",)),
    Rule(code="password_hashing", title="new passwords get strong hashes", part=_LOGINS, severity=WARNING,
         judge=_method, advice="Set ENCRYPT_METHOD YESCRYPT in /etc/login.defs.", cis=("5.4.1.4",),
         lynis=("AUTH-9229",)),
    Rule(code="password_age", title="new passwords end within a year", part=_LOGINS, severity=INFO,
         judge=_days("PASS_MAX_DAYS", lambda days: 0 < days <= _LONGEST_DAYS, "PASS_MAX_DAYS is {}"),
         advice="Set PASS_MAX_DAYS 365 in /etc/login.defs.", cis=("5.4.1.1",), lynis=("AUTH-9286",)),
    Rule(code="password_warning", title="people hear a week before", part=_LOGINS, severity=INFO,
         judge=_days("PASS_WARN_AGE", lambda days: days >= _WARN_DAYS, "PASS_WARN_AGE is {}"),
         advice="Set PASS_WARN_AGE 7 in /etc/login.defs.", cis=("5.4.1.3",)),
    Rule(code="umask_open", title="new files are not for everybody", part=_LOGINS, severity=INFO, judge=_umask,
         advice="Set UMASK 027 in /etc/login.defs.", cis=("5.4.3.3",), lynis=("AUTH-9328",)),
    Rule(code="pam_nullok", title="PAM lets no empty password in", part=_LOGINS, severity=INFO, judge=_nullok,
         advice="Take nullok out with `pam-auth-update` or an editor.", cis=("5.3.3.4.1",)),
)  # fmt: skip
