"""Advice is written before anybody knows the operation's id: `ID` in one of its commands stands for it."""

from __future__ import annotations

import re

_PLACE = re.compile(r"(`opsqueue (?:cancel|retry|rollback|show|why|status|logs)) ID\b|(`opsqueue logs)(?=`)")
_SHORT = 8
"""Characters of an id that people type; commands take the beginning of one."""


def with_id(advice: str, operation_id: str) -> str:
    """The advice with commands that can be copied."""
    return _PLACE.sub(lambda found: f"{found[1] or found[2]} {operation_id[:_SHORT]}", advice)
