"""The signature of a webhook: who has the key can tell that a body is ours, and of now."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

SIGNATURE = "X-Opsqueue-Signature"
TIMESTAMP = "X-Opsqueue-Timestamp"


def signed(key: str, body: bytes, now: float) -> Mapping[str, str]:
    """The two headers: UNIX seconds, and `sha256=` with the HMAC of these, a point and the body in hexadecimal."""
    timestamp = f"{now:.0f}"
    digest = hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {TIMESTAMP: timestamp, SIGNATURE: f"sha256={digest}"}
