"""What came of one attempt to tell somebody, and when to try again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

MOST_ATTEMPTS = 8
"""After so many failed attempts a delivery is given up and goes down the fallback channel (about 2.5 hours)."""

LONGEST_TRY = 15.0
"""Seconds after which a try that got no answer is ended, about."""

_BACKOFF = (5, 15, 60, 300, 900, 3600)
_JITTER = 0.2
_TRY_AGAIN = frozenset({408, 425, 429})
_LONGEST_WAIT = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The answer of the next hop; `accepted` means that it took the message, not that anybody read it."""

    status: Literal["accepted", "failed", "dead"]
    """failed: trying again can help; dead: it cannot, somebody has to change something."""
    error: str = ""
    """What went wrong, on one line and without any secret of the channel's address."""
    permanent: bool = False
    wait: float = 0.0
    """Seconds that the receiver asked us to wait before the next attempt; 0 when it said nothing."""
    note: str = ""
    """What is missing in what was sent, and why; empty: nothing."""


ACCEPTED = Receipt(status="accepted")


def refused(error: str, *, permanent: bool = False, wait: float = 0.0) -> Receipt:
    """The receipt of an attempt that did not succeed."""
    return Receipt(
        status="dead" if permanent else "failed",
        error=error,
        permanent=permanent,
        wait=min(max(wait, 0.0), _LONGEST_WAIT),
    )


def final_http(code: int) -> bool:
    """Whether an HTTP status says that the same request will fail again: 3xx, and 4xx but 408, 425, 429."""
    return 300 <= code < 500 and code not in _TRY_AGAIN  # noqa: PLR2004 - the classes of HTTP


def final_smtp(code: int) -> bool:
    """Whether an SMTP reply says that the same mail will be refused again: 5xx."""
    return 500 <= code < 600  # noqa: PLR2004 - the class of SMTP


def retry_after(attempts: int, event_id: str = "") -> float:
    """Seconds until the next attempt after so many failed ones: 5, 15, 60, 300, 900, then 3600, give or take 20 %.

    The share given or taken follows from the event and the attempt alone, so that many events that failed
    together do not come back together, and the same event always comes back at the same time.
    """
    base = _BACKOFF[min(max(attempts, 1), len(_BACKOFF)) - 1]
    seed = hashlib.sha256(f"{event_id}:{attempts}".encode(errors="surrogatepass")).digest()
    share = int.from_bytes(seed[:4]) / 0xFFFFFFFF
    return base * (1 - _JITTER + 2 * _JITTER * share)
