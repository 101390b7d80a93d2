"""What was learnt of one host at one moment, as the rules are asked about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from opsqueue.model.host import Host
from opsqueue.model.kind import Finding, Metric


def _yes() -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was learnt of one host at one moment."""

    host: Host
    at: float
    type: str = ""
    """The type of the operation that looked; only the same type can say that its finding is gone."""
    scope: str = ""
    """A name for what the operation was asked for; what looked for something else cannot say that it is gone."""
    looked: bool = True
    """Whether the host was looked at to the end; else nothing is known to be gone."""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    up_means: str = ""
    """What its `up` means, where that is not that the host was reached: its alerts are others."""
    every: float = 0.0
    """How often such readings come by the schedule, seconds; 0: by none."""
    reached: Callable[[], bool] = _yes
    """Whether whoever looked was on the host itself; a check over the network is not."""
    lately: Callable[[], Mapping[str, float]] = dict
    """What others measured of the host before, and that still counts; read only when a condition asks for it."""


def fits(wanted: str, name: str) -> bool:
    """Whether a name is the one that a rule wants; `*` at its end takes all that begin so."""
    return name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted
