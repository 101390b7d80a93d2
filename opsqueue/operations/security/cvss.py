"""The base score of a CVSS 3 vector, as https://www.first.org/cvss/v3.1/specification-document reckons it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from opsqueue.model.names import Severity

_WEIGHTS = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
_RIGHTS = {"U": {"N": 0.85, "L": 0.62, "H": 0.27}, "C": {"N": 0.85, "L": 0.68, "H": 0.5}}
_CRITICAL, _MEDIUM = 9.0, 4.0
_WORDS = {
    "critical": Severity.CRITICAL,
    **dict.fromkeys(("low", "unimportant", "negligible", "minor"), Severity.INFO),
}


def base_score(vector: str) -> float | None:
    """0 to 10 in tenths; None for what is no whole CVSS 3 vector."""
    if not re.match(r"CVSS:3\.[01]/", vector):
        return None
    parts = dict(word.split(":", 1) for word in vector.split("/")[1:] if ":" in word)
    try:
        weight = {name: values[parts[name]] for name, values in _WEIGHTS.items()}
        rights = _RIGHTS[parts["S"]][parts["PR"]]
    except KeyError:
        return None
    wider = parts["S"] == "C"
    loss = 1 - (1 - weight["C"]) * (1 - weight["I"]) * (1 - weight["A"])
    impact = 7.52 * (loss - 0.029) - 3.25 * (loss - 0.02) ** 15 if wider else 6.42 * loss
    if impact <= 0:
        return 0.0
    ease = 8.22 * weight["AV"] * weight["AC"] * rights * weight["UI"]
    return _up(min((1.08 if wider else 1.0) * (impact + ease), 10.0))


def _up(number: float) -> float:
    """Up to the next tenth; in whole numbers, so that no last digit of a float decides."""
    whole = round(number * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (math.floor(whole / 10_000) + 1) / 10


def highest(vectors: Iterable[str]) -> float | None:
    """The highest score among several vectors."""
    return max((score for vector in vectors if (score := base_score(vector)) is not None), default=None)


def severity(score: float | None, word: str) -> Severity:
    """By the score; by the word of the one who published it where there is no score."""
    if score is None:
        return _WORDS.get(word.lower(), Severity.WARNING)
    if score >= _CRITICAL:
        return Severity.CRITICAL
    return Severity.WARNING if score >= _MEDIUM else Severity.INFO
