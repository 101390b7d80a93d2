"""No more operations at once than the limits allow."""

from __future__ import annotations

from opsqueue.gates.evidence import Evidence
from opsqueue.model.verdict import Hold, Pass, Verdict

_AGAIN = 30.0
"""Seconds until a full pool is looked at again; an operation that ends frees its slot sooner."""


def concurrency(evidence: Evidence) -> Verdict:
    """Hold while a pool of this operation (`all`, its type) is full; looking needs a slot as well."""
    full = [
        f"pool {pool}: {evidence.running.get(pool, 0)} running, at most {limit} at once"
        for pool in dict.fromkeys(("all", evidence.operation.type))
        if (limit := evidence.limits.get(pool)) is not None and evidence.running.get(pool, 0) >= limit
    ]
    if full:
        return Hold("; ".join(full), evidence.now + _AGAIN)
    return Pass("a slot is free")
