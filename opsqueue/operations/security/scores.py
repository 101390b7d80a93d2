"""How bad a vulnerability is: the score of its CVSS vectors, of whichever version, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cvss import CVSS2, CVSS3, CVSS4
from cvss.exceptions import CVSSError

from opsqueue.model.names import Severity

_LONGEST = 400
"""Characters; every metric of version 4 takes half of them."""
_CRITICAL, _MEDIUM = 9.0, 4.0
_WORDS = {
    "critical": Severity.CRITICAL,
    **dict.fromkeys(("low", "unimportant", "negligible", "minor"), Severity.INFO),
}


def base_score(vector: str) -> float | None:
    """0 to 10 in tenths; None for what is no whole vector of CVSS 2, 3 or 4."""
    try:
        return float(_kind(vector)(vector[:_LONGEST]).base_score)
    except CVSSError:
        return None


def highest(vectors: Iterable[str]) -> float | None:
    """The highest score among several vectors; one of version 2 counts only where there is no newer one."""
    scores = [(_kind(one) is not CVSS2, score) for one in vectors if (score := base_score(one)) is not None]
    return max(scores, default=(False, None))[1]


def severity(score: float | None, word: str) -> Severity:
    """By the score; by the word of the one who published it where there is no score."""
    if score is None:
        return _WORDS.get(word.lower(), Severity.WARNING)
    if score >= _CRITICAL:
        return Severity.CRITICAL
    return Severity.WARNING if score >= _MEDIUM else Severity.INFO


def _kind(vector: str) -> Any:
    if vector.startswith("CVSS:4"):
        return CVSS4
    return CVSS3 if vector.startswith("CVSS:3") else CVSS2
