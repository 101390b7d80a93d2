"""The name of an alert: its labels and nothing else, so that another value or message is the same alert."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from uuid import UUID, uuid5

_SPACE = UUID("5b0f5a2e-51a5-4a52-9d0c-616c65727473")


def fingerprint(labels: Mapping[str, str]) -> str:
    """32 hex digits; the order of the labels makes no difference, an empty label is as none."""
    present = sorted((name, value) for name, value in labels.items() if value)
    text = json.dumps(present, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:32]


def incident_id(name: str, fired_at: float) -> str:
    """The id of one firing of an alert: the same, whoever works it out."""
    return str(uuid5(_SPACE, f"incident {name}@{fired_at!r}"))


def operation_id(incident: str, attempt: int) -> str:
    """The id of the operation that a try to mend asks for: a crash cannot ask twice."""
    return str(uuid5(_SPACE, f"attempt {attempt} of {incident}"))


def silence_id(text: str) -> str:
    """The id of a silence with this content."""
    return str(uuid5(_SPACE, f"silence {text}"))
