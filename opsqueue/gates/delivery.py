"""The exit: an operation closes when its changes are verified and people have been told."""

from __future__ import annotations

from opsqueue.gates.evidence import Evidence
from opsqueue.model.instant import utc_text
from opsqueue.model.names import Outcome, TargetState
from opsqueue.model.record import BUSY, Delivery, Target
from opsqueue.model.verdict import Hold, Pass, Verdict

_AGAIN = 30.0
"""Seconds until deliveries that were never written down, or wait for a summary, are looked for again."""
_DONE = frozenset({"accepted", "acknowledged", "suppressed"})
_TRYING = frozenset({"queued", "failed"})
_NOT_KNOWN = frozenset({TargetState.UNKNOWN, TargetState.APPLYING, TargetState.ROLLING_BACK})


def delivery(evidence: Evidence) -> Verdict:
    """Hold without an outcome, a verification newer than each change, and a receipt per channel or of its fallback.

    While a message is still being tried it is looked at again then, whatever else needs a person.
    """
    operation = evidence.operation
    reasons = [] if operation.outcome else ["it has no outcome yet: a person must look"]
    reasons += [reason for target in evidence.targets if (reason := _open_change(target))]
    if operation.outcome is Outcome.UNKNOWN:
        reasons.append(f"its outcome is unknown: look, then `opsqueue cancel {operation.id} --reason …` closes it")
    reasons += [_open_message(each, operation.id) for each in evidence.deliveries if _is_open(each, evidence)]
    times = [each.next_at for each in evidence.deliveries if each.status in _TRYING]
    times += [max(each.next_at, evidence.now + _AGAIN) for each in evidence.deliveries if each.status == "summary"]
    if not evidence.deliveries:
        reasons.append("nobody was told: no message of this operation is recorded")
        times.append(evidence.now + _AGAIN)
    if reasons:
        return Hold("; ".join(reasons), min(times, default=None))
    return Pass("verified, and everybody was told")


def _open_change(target: Target) -> str:
    """What is not settled about this host; empty when all is."""
    if target.state in _NOT_KNOWN:
        return f"{target.host}: its state is {target.state}: a person must look"
    changed, verified = target.changed_at, target.verified_at
    if changed is None or (verified is not None and verified >= changed):
        return ""
    seen = "never" if verified is None else f"last at {utc_text(verified)}"
    return f"{target.host}: changed at {utc_text(changed)}, verified {seen}: a person must look"


def _is_open(each: Delivery, evidence: Evidence) -> bool:
    """Whether it is still to be told of, itself: what went down to another channel is that one's matter."""
    return each.status not in _DONE and not _went_down(each, evidence.deliveries, frozenset())


def _went_down(each: Delivery, outbox: tuple[Delivery, ...], seen: frozenset[str]) -> bool:
    if each.status != "dead" or not each.fallback or each.channel in seen:
        return False
    hop = [other for other in outbox if other.channel.partition("#")[0] == each.fallback]
    return any(other.status != "dead" or _went_down(other, outbox, seen | {each.channel}) for other in hop)


def _open_message(each: Delivery, operation_id: str) -> str:
    error = each.error or "no error known"
    if each.status == "dead":
        return (
            f"{each.channel} was given up after {each.attempts} attempts: {error}. `opsqueue retry {operation_id}` "
            f"sends it again, `opsqueue cancel {operation_id}` acknowledges that it stays unsent"
        )
    if each.status == "summary":
        return f"{each.channel}: {each.note}"
    if each.status in _TRYING and each.note and not each.attempts:
        return f"{each.channel} waits: {each.note}, next at {utc_text(each.next_at)}"
    if each.status in _TRYING:
        tried = f"{each.attempts} attempts, {error}" if each.attempts else "not tried yet"
        waits = each.note[each.note.index(BUSY) :] if BUSY in each.note else ""
        return f"{each.channel} is {each.status} ({tried}){waits and f'; {waits}'}, next at {utc_text(each.next_at)}"
    return f"{each.channel} is {each.status!r}, which is no receipt: a person must look"
