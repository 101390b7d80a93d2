"""What a request says without effect: it can be honoured, but its sender may have meant something else."""

from __future__ import annotations

from opsqueue.model.kind import OperationKind
from opsqueue.model.request import Request
from opsqueue.telemetry import counted


def doubts(kind: OperationKind, hosts: int, request: Request) -> list[str]:
    """Sentences for the sender, where the request is for so many hosts."""
    own = request.rollout
    said = sorted(name for name in own.model_fields_set if name != "types") if own else []
    if said and kind.looking:
        words = ", ".join(said)
        return [f"{words}: without effect, because {kind.name} changes nothing and asks all hosts at once"]
    if own and own.canary >= max(hosts, 1):
        return [f"canary {own.canary}: that is all of {counted(hosts, 'host')}, so no host is spared if it fails"]
    return []
