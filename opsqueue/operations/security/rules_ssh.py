"""Rules about sshd and sudo, judged by what is in effect: `sshd -T` for whoever comes from outside, all sudoers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from opsqueue.model.names import Severity
from opsqueue.operations.security.rule import Answer, NotKnown, Problem, Rule

INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL
_WEAK_CIPHERS = re.compile(r"3des|-cbc|arcfour|blowfish|cast128|rijndael")
_WEAK_MACS = re.compile(r"md5|ripemd|sha1-96|umac-64")
_WEAK_KEX = re.compile(r"group1-sha1|group14-sha1|group-exchange-sha1")
_MINUTE = 60
_FOR = {"root": "for root", "nobody": "for other accounts"}


def _at_most(number: int) -> Callable[[str], bool]:
    return lambda value: value.isdigit() and 0 < int(value) <= number


def _without(weak: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda value: not weak.search(value)


def _startups(value: str) -> bool:
    numbers = value.split(":")
    return all(one.isdigit() and int(one) <= most for one, most in zip(numbers, (10, 30, 60), strict=False))


def _judged(option: str, good: Callable[[str], bool], worse: Severity | None, answer: Answer) -> Iterator[Problem]:
    for who, said in _FOR.items():
        value = answer[who].get(option.lower())
        if value is None:
            raise NotKnown(f"sshd -T does not name {option}")
        if not good(value):
            short = value if len(value) < _MINUTE else "too wide a list"
            told = {"setting": option, "value": value}
            severity = worse if value == "yes" else None
            yield Problem(subject=option, message=f"{option} is {short} {said}", evidence=told, severity=severity)
            return


def _ssh(
    code: str, title: str, option: str, good: Callable[[str], bool], severity: Severity, cis: str, advice: str,
    worse: Severity | None = None,
) -> Rule:  # fmt: skip
    return Rule(
        code=code,
        title=title,
        part="settings.sshd",
        severity=severity,
        judge=lambda answer: _judged(option, good, worse, answer),
        advice=f"{advice} Then try `sshd -t`, and reload it.",
        cis=(cis,) if cis else (),
        lynis=("SSH-7408",) if code not in {"ssh_access", "ssh_banner", "ssh_startups"} else (),
    )


def _is(*words: str) -> Callable[[str], bool]:
    return lambda value: value.lower() in words


def _access(answer: Answer) -> Iterator[Problem]:
    names = ("allowusers", "allowgroups", "denyusers", "denygroups")
    if not any(answer["nobody"].get(name) for name in names):
        yield Problem(subject="AllowUsers", message="nobody says who may log in: every account with a shell may")


SSHD_OPTIONS = (
    "permitrootlogin", "passwordauthentication", "permitemptypasswords", "x11forwarding", "maxauthtries",
    "logingracetime", "ignorerhosts", "hostbasedauthentication", "permituserenvironment", "usepam",
    "clientaliveinterval", "clientalivecountmax", "loglevel", "ciphers", "macs", "kexalgorithms", "maxsessions",
    "maxstartups", "allowusers", "allowgroups", "denyusers", "denygroups", "banner", "gssapiauthentication",
    "disableforwarding", "strictmodes",
)  # fmt: skip
"""What is read of the effective settings."""

SSH = (
    _ssh("ssh_root_login", "root does not log in over SSH", "PermitRootLogin", _is("no"), INFO, "5.1.20",
         "Let people log in as themselves and use sudo; set PermitRootLogin no, or at least prohibit-password.",
         CRITICAL),
    _ssh("ssh_empty_passwords", "no login with an empty password", "PermitEmptyPasswords", _is("no"), CRITICAL,
         "5.1.19", "Set PermitEmptyPasswords no."),
    _ssh("ssh_password_login", "logins need a key", "PasswordAuthentication", _is("no"), INFO, "",
         "Enrol keys, then set PasswordAuthentication no."),
    _ssh("ssh_x11_forwarding", "no windows through SSH", "X11Forwarding", _is("no"), INFO, "",
         "Set X11Forwarding no."),
    _ssh("ssh_forwarding", "nothing is forwarded through SSH", "DisableForwarding", _is("yes"), INFO, "5.1.8",
         "Set DisableForwarding yes where nobody needs tunnels."),
    _ssh("ssh_auth_tries", "few tries per connection", "MaxAuthTries", _at_most(4), INFO, "5.1.16",
         "Set MaxAuthTries 4."),
    _ssh("ssh_grace_time", "a login takes a minute at most", "LoginGraceTime", _at_most(_MINUTE), INFO, "5.1.13",
         "Set LoginGraceTime 60."),
    _ssh("ssh_rhosts", "files of rsh are ignored", "IgnoreRhosts", _is("yes"), WARNING, "5.1.11",
         "Set IgnoreRhosts yes."),
    _ssh("ssh_hostbased", "no host vouches for its users", "HostbasedAuthentication", _is("no"), WARNING, "5.1.10",
         "Set HostbasedAuthentication no."),
    _ssh("ssh_user_environment", "users bring no environment", "PermitUserEnvironment", _is("no"), WARNING, "5.1.21",
         "Set PermitUserEnvironment no."),
    _ssh("ssh_pam", "PAM is asked", "UsePAM", _is("yes"), WARNING, "5.1.22", "Set UsePAM yes."),
    _ssh("ssh_idle", "dead connections end", "ClientAliveInterval", lambda value: value != "0", INFO, "5.1.7",
         "Set ClientAliveInterval 15 and ClientAliveCountMax 3."),
    _ssh("ssh_log_level", "logins are logged", "LogLevel", _is("info", "verbose"), WARNING, "5.1.14",
         "Set LogLevel INFO or VERBOSE."),
    _ssh("ssh_ciphers", "no weak ciphers", "Ciphers", _without(_WEAK_CIPHERS), WARNING, "5.1.6",
         "Leave Ciphers out, or name only those with -ctr, -gcm or chacha20."),
    _ssh("ssh_macs", "no weak checksums", "MACs", _without(_WEAK_MACS), INFO, "5.1.15",
         "Name only hmac-sha2 and umac-128 in MACs."),
    _ssh("ssh_kex", "no weak exchange of keys", "KexAlgorithms", _without(_WEAK_KEX), WARNING, "5.1.12",
         "Leave KexAlgorithms out, or name none with sha1."),
    _ssh("ssh_sessions", "few sessions per connection", "MaxSessions", _at_most(10), INFO, "5.1.17",
         "Set MaxSessions 10."),
    _ssh("ssh_startups", "few logins at a time", "MaxStartups", _startups, INFO, "5.1.18",
         "Set MaxStartups 10:30:60."),
    _ssh("ssh_gssapi", "no logins by Kerberos where nobody uses it", "GSSAPIAuthentication", _is("no"), INFO, "5.1.9",
         "Set GSSAPIAuthentication no."),
    _ssh("ssh_banner", "a warning before the login", "Banner", lambda value: value != "none", INFO, "5.1.5",
         "Set Banner /etc/issue.net."),
    _ssh("ssh_strict_modes", "files of keys that others can write are refused", "StrictModes", _is("yes"), WARNING, "",
         "Set StrictModes yes."),
    Rule(code="ssh_access", title="it is said who may log in", part="settings.sshd", severity=INFO, judge=_access,
         advice="Set AllowGroups or AllowUsers in sshd_config.", cis=("5.1.4",)),
)  # fmt: skip


# -- sudo ---------------------------------------------------------------------------------------------------


def _nopasswd(answer: Answer, *, whole: bool) -> Iterator[Problem]:
    for rule in answer["nopasswd"]:
        # Each program by itself: who accepts one has not accepted what is added later.
        for what in (
            (["everything"] if whole else rule["programs"] or ["some programs"]) if rule["all"] == whole else ()
        ):
            yield Problem(
                subject=rule["who"] if whole else f"{rule['who']} {what}",
                message=f"{rule['who']} may run {what} as root without a password",
                evidence={"file": rule["file"], "programs": rule["programs"]},
            )


def _no_authentication(answer: Answer) -> Iterator[Problem]:
    for text in answer["defaults"]:
        if text.endswith("!authenticate"):
            yield Problem(subject=text, message=f"sudo asks for no password: Defaults{text.removeprefix(' ')}")


def _default(name: str, why: str) -> Callable[[Answer], Iterable[Problem]]:
    def judge(answer: Answer) -> Iterator[Problem]:
        if name not in answer["defaults"]:
            yield Problem(subject=name, message=why)

    return judge


def _timeout(answer: Answer) -> Iterator[Problem]:
    for text in answer["defaults"]:
        found = re.search(r"timestamp_timeout=(-?[\d.]+)", text)
        if found and not 0 <= float(found[1]) <= 15:  # noqa: PLR2004 - minutes
            yield Problem(subject="timestamp_timeout", message=f"sudo remembers a password for {found[1]} minutes")


def _loose(answer: Answer) -> Iterator[Problem]:
    for path in answer["loose"]:
        yield Problem(subject=path, message=f"{path} can be changed by others than root")


def _invalid(answer: Answer) -> Iterator[Problem]:
    if answer["valid"] is None:
        raise NotKnown("visudo is not installed")
    if not answer["valid"]:
        yield Problem(subject="sudoers", message="sudo does not understand its own files: see `visudo -c`")


def _sudo(code: str, title: str, severity: Severity, judge: Callable[[Answer], Iterable[Problem]], advice: str, *,
          cis: tuple[str, ...] = (), lynis: tuple[str, ...] = ()) -> Rule:  # fmt: skip
    return Rule(
        code=code, title=title, part="settings.sudo", severity=severity, judge=judge, advice=advice, cis=cis,
        lynis=lynis,
    )  # fmt: skip


SUDO = (
    _sudo("sudo_nopasswd_all", "nobody becomes root without a password", CRITICAL,
          lambda answer: _nopasswd(answer, whole=True), "Name the programs that need it, or take NOPASSWD away.",
          cis=("5.2.4",)),
    _sudo("sudo_nopasswd", "no program runs as root without a password", INFO,
          lambda answer: _nopasswd(answer, whole=False), "Accept it with a reason where a service needs it.",
          cis=("5.2.4",)),
    _sudo("sudo_no_authentication", "sudo asks for a password", CRITICAL, _no_authentication,
          "Take !authenticate out of the Defaults.", cis=("5.2.5",)),
    _sudo("sudo_pty", "programs run on a terminal of their own", INFO,
          _default("use_pty", "programs under sudo can type into the caller's terminal"), "Add `Defaults use_pty`.",
          cis=("5.2.2",)),
    _sudo("sudo_log", "sudo keeps a log of its own", INFO, _default("logfile", "sudo has no log file of its own"),
          'Add `Defaults logfile="/var/log/sudo.log"`.', cis=("5.2.3",)),
    _sudo("sudo_timeout", "sudo soon asks again", WARNING, _timeout, "Set timestamp_timeout to 15 at most.",
          cis=("5.2.6",)),
    _sudo("sudo_file_writable", "only root changes the files of sudo", CRITICAL, _loose,
          "Run `chown root:root` and `chmod 0440` on it.", lynis=("AUTH-9252",)),
    _sudo("sudo_invalid", "sudo understands its files", WARNING, _invalid, "Mend them with `visudo`.",
          lynis=("AUTH-9250",)),
)  # fmt: skip
