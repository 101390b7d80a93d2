"""The rule about who listens on all addresses of a host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from opsqueue.model.names import Severity
from opsqueue.operations.security.rule import Answer, NotKnown, Problem, Rule

INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL
_NAMED, _TOLD = 5, 20
"""Ports that the sentence and the evidence name."""
_SOMEBODY = "a program"

_OPEN: Mapping[int, tuple[str, Severity]] = {
    21: ("FTP", WARNING), 23: ("telnet", CRITICAL), 69: ("TFTP", WARNING), 111: ("rpcbind", WARNING),
    161: ("SNMP", WARNING), 389: ("LDAP", WARNING), 445: ("SMB", WARNING), 512: ("rexec", CRITICAL),
    513: ("rlogin", CRITICAL), 514: ("rsh", CRITICAL), 873: ("rsync", WARNING), 2049: ("NFS", WARNING),
    2375: ("Docker without TLS", CRITICAL), 2379: ("etcd", WARNING), 3306: ("MySQL", WARNING),
    5432: ("PostgreSQL", WARNING), 5900: ("VNC", WARNING), 6379: ("Redis", CRITICAL), 9200: ("Elasticsearch", WARNING),
    10250: ("kubelet", WARNING), 11211: ("memcached", CRITICAL), 27017: ("MongoDB", WARNING),
}  # fmt: skip


def _listening(allowed: Sequence[int], answer: Answer) -> Iterable[Problem]:
    open_ones = [one for one in answer["sockets"] if one["everywhere"] and one["port"] not in allowed]
    own = [_open(one) for one in open_ones if not one["given"]]
    given: dict[str, list[Answer]] = {}
    for one in open_ones:
        if one["given"]:
            given.setdefault(one["program"], []).append(one)
    found = [*own, *(_given(program, those) for program, those in given.items())]
    if not found and (why := cut_sockets(answer)):
        raise NotKnown(why)
    return {one.subject: one for one in reversed(found)}.values()


def cut_sockets(answer: Answer) -> str:
    """Why not all sockets on all addresses are told; empty when they are: these come first."""
    if not answer["left_out"] or not all(one["everywhere"] for one in answer["sockets"]):
        return ""
    return f"{answer['left_out']} more sockets than the {len(answer['sockets'])} that are told"


def _open(one: Answer) -> Problem:
    subject = f"{one['protocol']}/{one['port']}"
    what, severity = _OPEN.get(one["port"], ("", INFO))
    name = f" ({what})" if what else ""
    text = f"{one['program'] or _SOMEBODY} listens on {subject}{name} of all addresses"
    told = {key: one[key] for key in ("protocol", "address", "everywhere", "port", "program")}
    return Problem(subject=subject, message=text, evidence=told, severity=severity)


def _given(program: str, sockets: Sequence[Answer]) -> Problem:
    """The kernel gives a program other ports at each start, so that a port is no name for what was found."""
    ports = sorted({one["port"] for one in sockets})
    named = ", ".join(map(str, ports[:_NAMED])) + (f" and {len(ports) - _NAMED} more" if len(ports) > _NAMED else "")
    who = program or _SOMEBODY
    return Problem(
        subject=f"udp/given {who}",
        message=f"{who} takes UDP on all addresses, on ports that the kernel gives out: {named}",
        evidence={"protocol": "udp", "program": program, "ports": ports[:_TOLD], "number": len(ports)},
        severity=INFO,
        advice="Bind it to an address of the inside, name a port of a service in allowed_ports, or accept it.",
    )


def listening(allowed: Sequence[int]) -> Rule:
    """The rule about ports that are open on all addresses, but for the allowed ones."""
    return Rule(
        code="listening_everywhere",
        title="only what is meant for everybody listens on all addresses",
        part="settings.listening",
        severity=WARNING,
        judge=partial(_listening, allowed),
        advice="Bind it to an address of the inside, or name the port in allowed_ports.",
        cis=("2.1.22",),
        lynis=("NETW-3012",),
    )
