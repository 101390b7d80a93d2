"""Whether we may, now: one gate per file, each a function from evidence to a verdict.

The order of the catalogue is the order in which people read the reasons; all are asked each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opsqueue.gates.concurrency import concurrency
from opsqueue.gates.delivery import delivery
from opsqueue.gates.evidence import Evidence
from opsqueue.gates.freeze import freeze
from opsqueue.gates.host_lock import host_lock
from opsqueue.gates.maintenance_window import maintenance_window
from opsqueue.gates.verification import verification
from opsqueue.model.verdict import Deny, Hold, Pass, Verdict

Gate = Callable[[Evidence], Verdict]
Catalogue = tuple[tuple[str, Gate], ...]
Verdicts = tuple[tuple[str, Verdict], ...]
"""What each gate said, by its name, in the order of the catalogue."""

BEFORE_EXECUTE: Catalogue = (
    ("verification", verification),
    ("freeze", freeze),
    ("maintenance_window", maintenance_window),
    ("concurrency", concurrency),
    ("host_lock", host_lock),
)
AT_EXIT: Catalogue = (("delivery", delivery),)


def ask(gates: Catalogue, evidence: Evidence) -> Verdicts:
    """What every gate says; all are asked, so that a person sees every reason at once."""
    return tuple((name, gate(evidence)) for name, gate in gates)


def combined(verdicts: Iterable[tuple[str, Verdict]]) -> Verdict:
    """Any denial wins, then any hold, until the last of them can go on; None if one needs a person."""
    said = [verdict for _, verdict in verdicts]
    denials = [verdict for verdict in said if isinstance(verdict, Deny)]
    if denials:
        return Deny("; ".join(denial.why for denial in denials))
    holds = [verdict for verdict in said if isinstance(verdict, Hold)]
    if not holds:
        return Pass("; ".join(verdict.why for verdict in said if verdict.why))
    known = [hold.until for hold in holds if hold.until is not None]
    return Hold("; ".join(hold.why for hold in holds), max(known) if len(known) == len(holds) else None)
