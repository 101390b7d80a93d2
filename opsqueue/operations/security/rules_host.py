"""Rules about the kernel, mounts, updates and packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from opsqueue.model.fact import why_unknown
from opsqueue.model.names import Severity
from opsqueue.operations.security.rule import Answer, NotApplicable, NotKnown, Problem, Rule

INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL


# -- the kernel ---------------------------------------------------------------------------------------------


def _values(wanted: Mapping[str, Sequence[str]], why: str, answer: Answer) -> Iterator[Problem]:
    known = {key: answer.get(key) for key in wanted}
    for key, value in known.items():
        if (reason := why_unknown(value)) is not None:
            raise NotKnown(f"{key}: {reason}")
    if all(value is None for value in known.values()):
        raise NotApplicable("the kernel has no such setting")
    for key, value in known.items():
        if value is not None and value not in wanted[key]:
            told = {"value": value, "wanted": list(wanted[key])}
            yield Problem(subject=key, message=f"{key} is {value}: {why}", evidence=told)


class _Setting(NamedTuple):
    """Values of the kernel that belong together, what should be so by them, and what it means when they are others."""

    code: str
    good: str
    why: str
    keys: Sequence[str]
    wanted: Sequence[str]
    cis: str = ""
    severity: Severity = INFO


def _kernel(row: _Setting) -> Rule:
    each = dict.fromkeys(row.keys, row.wanted)
    lines = ", ".join(f"{key} = {row.wanted[0]}" for key in each)
    return Rule(
        code=row.code,
        title=row.good,
        part="settings.kernel",
        severity=row.severity,
        judge=partial(_values, each, row.why),
        advice=f"Set {lines} in /etc/sysctl.d, for instance with the type performance_tuning.",
        cis=(row.cis,) if row.cis else (),
        lynis=("KRNL-6000",),
    )


def _both(version: str, name: str) -> tuple[str, str]:
    return f"net.{version}.conf.all.{name}", f"net.{version}.conf.default.{name}"


_OFF = ("0",)
_SETTINGS = (
    _Setting("aslr_off", "programs lie at addresses that nobody can guess",
            "programs lie at addresses that can be guessed", ["kernel.randomize_va_space"], ["2"], cis="1.5.1",
            severity=CRITICAL),
    _Setting("ptrace_open", "programs may not look into any other of the same user",
            "programs may look into others of the same user", ["kernel.yama.ptrace_scope"], ["1", "2", "3"],
            cis="1.5.2"),
    _Setting("suid_dumps", "programs that run as root leave no core dumps",
            "programs that run as root leave core dumps", ["fs.suid_dumpable"], _OFF, cis="1.5.3", severity=WARNING),
    _Setting("ip_forwarding", "the host passes no packets on",
            "the host passes packets on", ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"], _OFF, cis="3.3.1",
            severity=WARNING),
    _Setting("send_redirects", "the host tells nobody where to send packets",
            "the host tells others where to send packets", _both("ipv4", "send_redirects"), _OFF, cis="3.3.2"),
    _Setting("bogus_icmp", "broken answers do not fill the log",
            "broken answers fill the log", ["net.ipv4.icmp_ignore_bogus_error_responses"], ["1"], cis="3.3.3"),
    _Setting("broadcast_icmp", "the host does not answer pings to everybody",
            "the host answers pings to everybody", ["net.ipv4.icmp_echo_ignore_broadcasts"], ["1"], cis="3.3.4",
            severity=WARNING),
    _Setting("accept_redirects", "nobody else tells the host where to send packets",
            "others may tell the host where to send packets",
            [*_both("ipv4", "accept_redirects"), *_both("ipv6", "accept_redirects")], _OFF, cis="3.3.5",
            severity=WARNING),
    _Setting("secure_redirects", "not even its gateways tell the host where to send packets",
            "gateways may tell the host where to send packets", _both("ipv4", "secure_redirects"), _OFF, cis="3.3.6"),
    _Setting("rp_filter", "packets with a forged sender are dropped",
            "packets with a forged sender are taken", _both("ipv4", "rp_filter"), ["1", "2"], cis="3.3.7"),
    _Setting("source_route", "senders do not choose the way of packets",
            "senders may choose the way of packets",
            [*_both("ipv4", "accept_source_route"), *_both("ipv6", "accept_source_route")], _OFF, cis="3.3.8",
            severity=WARNING),
    _Setting("log_martians", "packets with impossible addresses are logged",
            "packets with impossible addresses are not logged", _both("ipv4", "log_martians"), ["1"], cis="3.3.9"),
    _Setting("syncookies", "half-open connections cannot fill the host",
            "half-open connections can fill the host", ["net.ipv4.tcp_syncookies"], ["1"], cis="3.3.10",
            severity=WARNING),
    _Setting("accept_ra", "nobody else says what the host's IPv6 network is",
            "others may say what the host's IPv6 network is", _both("ipv6", "accept_ra"), _OFF, cis="3.3.11"),
    _Setting("protected_links", "links in /tmp cannot be turned against root",
            "links in /tmp can be turned against root", ["fs.protected_hardlinks", "fs.protected_symlinks"], ["1"],
            severity=WARNING),
    _Setting("kernel_addresses", "addresses of the kernel cannot be read",
            "addresses of the kernel can be read", ["kernel.kptr_restrict"], ["1", "2"]),
    _Setting("kernel_log", "only root reads the log of the kernel",
            "everybody can read the log of the kernel", ["kernel.dmesg_restrict"], ["1"]),
    _Setting("unprivileged_bpf", "only root loads programs into the kernel",
            "everybody may load programs into the kernel", ["kernel.unprivileged_bpf_disabled"], ["1", "2"],
            severity=WARNING),
)  # fmt: skip
KERNEL = tuple(map(_kernel, _SETTINGS))
KERNEL_KEYS = tuple(sorted({key for row in _SETTINGS for key in row.keys}))
"""What the rules ask of the kernel."""


# -- mounts -------------------------------------------------------------------------------------------------


def _option(place: str, option: str, answer: Answer) -> Iterator[Problem]:
    if place not in answer:
        raise NotApplicable(f"{place} is no file system of its own")
    if option not in answer[place]:
        yield Problem(subject=f"{place} {option}", message=f"{place} is mounted without {option}")


def _separate(place: str, answer: Answer) -> Iterator[Problem]:
    if place not in answer:
        yield Problem(subject=place, message=f"{place} is no file system of its own")


_MOUNTS = {
    "/tmp": ("1.1.2.1.", ("nodev", "nosuid", "noexec")),  # noqa: S108 - nothing is made there
    "/dev/shm": ("1.1.2.2.", ("nodev", "nosuid", "noexec")),  # noqa: S108
    "/home": ("1.1.2.3.", ("nodev", "nosuid")),
    "/var": ("1.1.2.4.", ("nodev", "nosuid")),
    "/var/tmp": ("1.1.2.5.", ("nodev", "nosuid", "noexec")),  # noqa: S108
    "/var/log": ("1.1.2.6.", ("nodev", "nosuid", "noexec")),
}


def _mounts() -> Iterator[Rule]:
    for place, (number, options) in _MOUNTS.items():
        if place in {"/tmp", "/dev/shm"}:  # noqa: S108
            yield Rule(
                code="mount_missing", title=f"{place} is a file system of its own", part="settings.mounts",
                severity=INFO, judge=partial(_separate, place), advice=f"Mount a tmpfs on {place}.",
                cis=(f"{number}1",), lynis=("FILE-6310",),
            )  # fmt: skip
        for place_in, option in enumerate(options, start=2):
            yield Rule(
                code="mount_option", title=f"{place} is mounted {option}", part="settings.mounts", severity=INFO,
                judge=partial(_option, place, option), advice=f"Add {option} to the options of {place} in /etc/fstab.",
                cis=(f"{number}{place_in}",), lynis=("FILE-6374",),
            )  # fmt: skip


MOUNTS = tuple(_mounts())


# -- packages and updates -----------------------------------------------------------------------------------

_NOT_WANTED: Mapping[str, tuple[str, Severity, Sequence[str]]] = {
    "2.1.1": ("mounts what users name", INFO, ("autofs",)),
    "2.1.2": ("tells everybody in the network what there is", INFO, ("avahi-daemon",)),
    "2.1.6": ("takes passwords unencrypted", INFO, ("vsftpd", "proftpd-basic", "proftpd-core", "ftpd", "pure-ftpd")),
    "2.1.10": ("gives accounts away unencrypted", WARNING, ("nis", "ypserv")),
    "2.1.12": ("is needed by old NFS only", INFO, ("rpcbind",)),
    "2.1.15": ("answers with passwords unencrypted in its old versions", INFO, ("snmpd",)),
    "2.1.16": ("gives files to everybody", WARNING, ("tftpd-hpa", "atftpd", "tftpd")),
    "2.1.19": ("starts servers for everybody who asks", WARNING, ("xinetd", "openbsd-inetd", "inetutils-inetd")),
    "2.2.2": ("sends everything unencrypted", WARNING, ("rsh-client", "rsh-redone-client")),
    "2.2.3": ("sends everything unencrypted", INFO, ("talk", "inetutils-talk")),
    "2.2.4": ("sends everything unencrypted", INFO, ("telnet", "inetutils-telnet")),
    "": ("takes passwords unencrypted", CRITICAL,
         ("telnetd", "inetutils-telnetd", "telnetd-ssl", "rsh-server", "rsh-redone-server")),
}  # fmt: skip
PACKAGES = tuple(sorted({name for _why, _severity, names in _NOT_WANTED.values() for name in names}))
"""What is looked for among the installed packages."""


def _installed(names: Sequence[str], why: str, answer: Answer) -> Iterator[Problem]:
    for name in answer["installed"]:
        if name in names:
            yield Problem(subject=name, message=f"{name} is installed: it {why}")


UNWANTED = tuple(
    Rule(
        code="package_insecure", title=f"none of these is installed: {', '.join(names)}", part="settings.packages",
        severity=severity, judge=partial(_installed, names, why),
        advice="Remove it, or accept it with a reason where it is needed.", cis=(number,) if number else (),
        lynis=("INSE-8322",) if not number else (),
    )
    for number, (why, severity, names) in _NOT_WANTED.items()
)  # fmt: skip


def _automatic(answer: Answer) -> Iterator[Problem]:
    on = answer["installed"] and answer["lists"] not in {"", "0"} and answer["unattended"] not in {"", "0"}
    if not on:
        yield Problem(
            subject="unattended-upgrades",
            message="security updates do not come by themselves",
            evidence={key: answer[key] for key in ("installed", "lists", "unattended")},
        )


def _unsigned(answer: Answer) -> Iterator[Problem]:
    for path in answer["untrusted"]:
        yield Problem(subject=path, message=f"packages of {path} are installed without a signature")
    if answer["unauthenticated"]:
        yield Problem(subject="APT::Get::AllowUnauthenticated", message="apt installs packages without a signature")


def _reboot(answer: Answer) -> Iterator[Problem]:
    if answer["kernel"]:
        yield Problem(
            subject="kernel",
            message="a newer kernel is installed than the one that runs",
            evidence={"installed": answer["kernel"]},
        )
    if answer["marked"]:
        told = {"packages": answer["packages"]}
        yield Problem(subject="reboot", message="updates wait for the host to be started anew", evidence=told)


def _preload(answer: Answer) -> Iterator[Problem]:
    if answer["preload"]:
        yield Problem(subject="/etc/ld.so.preload", message="/etc/ld.so.preload puts a library before every program")


def _apparmor(answer: Answer) -> Iterator[Problem]:
    if not answer["enabled"]:
        yield Problem(subject="apparmor", message="AppArmor is off")


def _waiting(answer: Answer) -> Iterator[Problem]:
    for update in answer["updates"]:
        names = " ".join(update["binaries"][:_NAMED])
        yield Problem(
            subject=update["source"],
            message=f"a security update of {update['source']} waits: {update['installed']} -> {update['fixed']}",
            evidence=dict(update),
            advice=f"Run `apt-get install --only-upgrade {names}` on the host.",
        )


_NAMED = 5
UPDATES = (
    Rule(code="security_update_pending", title="no security update waits", part="advisories.apt", severity=WARNING,
         judge=_waiting, cis=("1.2.2.1",), lynis=("PKGS-7392",), advice="Run `apt-get dist-upgrade` on the host."),
    Rule(code="updates_by_hand", title="security updates come by themselves", part="settings.updates", severity=INFO,
         judge=_automatic, lynis=("PKGS-7420",),
         advice="Install unattended-upgrades, and set APT::Periodic::Update-Package-Lists and Unattended-Upgrade."),
    Rule(code="updates_unsigned", title="every package is signed", part="settings.updates", severity=CRITICAL,
         judge=_unsigned, cis=("1.2.1.2",), advice="Take trusted=yes away, and name the key with signed-by."),
    Rule(code="reboot_pending", title="no update waits for a reboot", part="settings.reboot", severity=WARNING,
         judge=_reboot, lynis=("KRNL-5830",), advice="Start the host anew in its next maintenance window."),
    Rule(code="library_preloaded", title="no library is put before every program", part="settings.preloaded",
         severity=WARNING, judge=_preload, advice="Find out who wrote it: root kits do; some tools of memory do too."),
    Rule(code="apparmor_off", title="AppArmor is on", part="settings.apparmor", severity=WARNING, judge=_apparmor,
         cis=("1.3.1.1",), lynis=("MACF-6208",), advice="Start the kernel with apparmor=1 security=apparmor."),
)  # fmt: skip
