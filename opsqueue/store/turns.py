"""Who adds samples and who summarises or forgets them take turns.

Else a sample whose transaction ends while its step is being summarised would be seen by neither: the one who summarises
cannot read it yet, and the one who adds cannot see yet that the step is done. SQLite has one writer at a time anyway.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

_LOCK = 0x6F707373  # "opss"


def together(tx: Connection) -> None:
    """Until the end of the transaction nobody is `alone`; any number may be in it together."""
    if tx.dialect.name == "postgresql":
        tx.execute(text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": _LOCK})


def alone(tx: Connection) -> None:
    """Until the end of the transaction nobody else adds, summarises or forgets samples."""
    if tx.dialect.name == "postgresql":
        tx.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
