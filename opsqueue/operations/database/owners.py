"""Whose functions a superuser of PostgreSQL would run: refused, unless their owners are trusted."""

from __future__ import annotations

from collections.abc import Iterator

from opsqueue.operations.database.hand import Hand

_MOST = 5
_DOES = {"backup": "to prove this backup", "cleanup": "to delete these rows"}
_WAYS = (
    "whoever owns them could become superuser; give user, a role that is no superuser, give the functions to a "
    "superuser who has read them (alter function … owner to), or say trust_owners"
)


def about_owners(hand: Hand) -> Iterator[str]:
    """The functions that would run with our rights, their owners, and the ways out."""
    names = {one.name for one in hand.server.databases}
    rows = [row[1:] for row in hand.server.detail if row[0] == "others" and len(row) > 4 and row[1] in names]  # noqa: PLR2004
    does = _DOES.get(hand.params.maintenance_type, "")
    if hand.params.trust_owners or not does or hand.server.engine != "postgresql":
        return
    for database, problem in ((row[0], row[1]) for row in rows if not row[2]):
        yield f"whose functions would run in {database} could not be looked at: {problem}"
    if found := [_told(*row[:4]) for row in rows if row[2]]:
        more = f", and {len(found) - _MOST} more" if len(found) > _MOST else ""
        told = "; ".join(found[:_MOST])
        yield f"{does} as a superuser runs what others wrote, with all rights: {told}{more}; {_WAYS}"


def _told(database: str, place: str, function: str, owner: str) -> str:
    return f"{function} of {owner} (by {place}, in {database})"
