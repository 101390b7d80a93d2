"""Nothing is changed where a freeze lies, whoever asks."""

from __future__ import annotations

from opsqueue.gates.evidence import Evidence
from opsqueue.model.instant import utc_text
from opsqueue.model.names import TYPE_ALIASES
from opsqueue.model.record import Freeze
from opsqueue.model.verdict import Hold, Pass, Verdict


def freeze(evidence: Evidence) -> Verdict:
    """Hold while a freeze in force covers one of the hosts, their groups or tags, or the type; looking is free."""
    if evidence.operation.looking:
        return Pass("it changes nothing")
    names = _names(evidence)
    found = [each for each in evidence.freezes if _in_force(each, evidence.now) and names & set(each.scope)]
    if not found:
        return Pass("no freeze covers it")
    ends = [each.ends_at for each in found if each.ends_at is not None]
    until = max(ends) if len(ends) == len(found) else None
    return Hold("; ".join(_reason(each, names) for each in found), until)


def _names(evidence: Evidence) -> set[str]:
    """Every word by which a freeze may mean this operation."""
    kind = evidence.operation.type
    names = {"all", kind, *evidence.operation.systems}
    names |= {alias for alias, name in TYPE_ALIASES.items() if name == kind}
    for host in evidence.hosts:
        names |= {host.name, *host.groups, *host.tags}
        names |= {*(f"group:{group}" for group in host.groups), *(f"tag:{tag}" for tag in host.tags)}
    return names


def _in_force(each: Freeze, now: float) -> bool:
    ended = each.ends_at is not None and each.ends_at <= now
    # One that began when it was made stays in force though the clock is set back.
    begun = each.starts_at <= max(now, each.created_at)
    return each.lifted_at is None and begun and not ended


def _reason(each: Freeze, names: set[str]) -> str:
    end = "somebody lifts it" if each.ends_at is None else utc_text(each.ends_at)
    what = ", ".join(word for word in each.scope if word in names)
    return f"freeze {each.id} by {each.created_by} covers {what} until {end}: {each.reason}"
