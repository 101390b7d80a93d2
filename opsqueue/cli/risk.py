"""What an operation could take away, told before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsqueue.errors import InvalidRequest, NotFound
from opsqueue.model.names import Risk
from opsqueue.model.record import Operation
from opsqueue.model.request import parse_request
from opsqueue.pipeline.assemble import assemble
from opsqueue.pipeline.submit import checked, params_for
from opsqueue.settings import Settings

_ORDER = list(Risk)


def risk_of(settings: Settings, request: Mapping[str, Any]) -> Risk:
    """The greatest risk on any host; what is destructive is asked about, so the unknown counts as reversible.

    Raises InvalidRequest and NotFound as the workers would, when they have this same configuration: on one machine.
    """
    world = assemble(settings, dispatch=_nobody, worker="cli")
    try:
        kind, hosts = checked(world, parse_request(request))
        return max(
            (kind.risk(params_for(kind, request.get("parameters", {}), host)) for host in hosts), key=_ORDER.index
        )
    except (InvalidRequest, NotFound):
        if settings.broker_url is None:
            raise
        return Risk.REVERSIBLE  # the workers may know hosts and types that this machine does not: they decide
    finally:
        world.store.close()


def _nobody(_operation: Operation) -> None:
    """Nothing is sent while we only look."""
