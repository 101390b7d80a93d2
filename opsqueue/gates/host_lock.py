"""One operation at a time changes a host."""

from __future__ import annotations

from opsqueue.gates.evidence import Evidence
from opsqueue.model.verdict import Hold, Pass, Verdict

_AGAIN = 30.0
"""Seconds until a locked host is looked at again."""


def host_lock(evidence: Evidence) -> Verdict:
    """Hold while another operation has one of the hosts; looking disturbs nobody."""
    if evidence.operation.looking:
        return Pass("it changes nothing")
    held: dict[str, list[str]] = {}
    for host in evidence.hosts:
        if host.name in evidence.locks:
            held.setdefault(evidence.locks[host.name], []).append(host.name)
    if held:
        reasons = (f"operation {holder} is changing {', '.join(names)}" for holder, names in held.items())
        return Hold("; ".join(reasons), evidence.now + _AGAIN)
    return Pass("nobody else is changing these hosts")
