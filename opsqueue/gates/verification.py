"""Every verification coordinator must have let exactly this plan pass."""

from __future__ import annotations

from opsqueue.gates.evidence import CoordinatorAnswer, Evidence
from opsqueue.model.verdict import Deny, Hold, Pass, Verdict

_AGAIN = 30.0
"""Seconds until a coordinator that did not answer is asked again."""


def verification(evidence: Evidence) -> Verdict:
    """Deny if one said anything but PASSED; hold while an answer for the present digest is missing."""
    answers, digest = evidence.coordinators, evidence.operation.digest
    refused = [answer for answer in answers if answer.reached and answer.status != "PASSED"]
    if refused:
        return Deny("; ".join(_refusal(answer) for answer in refused))
    missing = [f"{each.coordinator} was not reached: {each.why or 'no reason known'}" for each in _unreached(answers)]
    missing += [
        f"{each.coordinator} passed another plan ({_short(each.digest)}) than the present one ({_short(digest)})"
        for each in answers
        if each.reached and (digest is None or each.digest != digest)
    ]
    if not answers:
        missing = ["no verification coordinator has answered yet, and at least one must say PASSED"]
    if missing:
        return Hold("; ".join(missing), evidence.now + _AGAIN)
    return Pass(f"PASSED by {', '.join(answer.coordinator for answer in answers)}")


def _unreached(answers: tuple[CoordinatorAnswer, ...]) -> list[CoordinatorAnswer]:
    return [answer for answer in answers if not answer.reached]


def _refusal(answer: CoordinatorAnswer) -> str:
    return f"{answer.coordinator} said {answer.status or 'nothing'}: {answer.why or 'no reason given'}"


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "no digest"
