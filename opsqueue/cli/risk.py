"""What an operation could take away, told before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsqueue.errors import InvalidRequest, NotFound
from opsqueue.model.names import Risk
from opsqueue.model.record import Operation
from opsqueue.model.request import parse_request
from opsqueue.pipeline.assemble import assemble
from opsqueue.pipeline.doubts import doubts
from opsqueue.pipeline.submit import checked, params_for
from opsqueue.settings import Settings

_ORDER = list(Risk)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What can be told of a request beforehand."""

    risk: Risk
    """The greatest on any host; what is destructive is asked about, so the unknown counts as reversible."""
    doubts: Sequence[str] = ()
    """What it says without effect."""


def outlook(settings: Settings, request: Mapping[str, Any]) -> Outlook:
    """What would come of it.

    Raises InvalidRequest and NotFound as the workers would, when they have this same configuration: on one machine.
    """
    world = assemble(settings, dispatch=_nobody, worker="cli")
    try:
        asked = parse_request(request)
        kind, hosts = checked(world, asked)
        risks = (kind.risk(params_for(kind, asked.parameters, host)) for host in hosts)
        return Outlook(max(risks, key=_ORDER.index), doubts(kind, len(hosts), asked))
    except (InvalidRequest, NotFound):
        if settings.broker_url is None:
            raise
        return Outlook(Risk.REVERSIBLE)  # the workers may know hosts and types that this machine does not: they decide
    finally:
        world.store.close()


def risk_of(settings: Settings, request: Mapping[str, Any]) -> Risk:
    """The greatest risk on any host; raises what `outlook` does."""
    return outlook(settings, request).risk


def _nobody(_operation: Operation) -> None:
    """Nothing is sent while we only look."""
