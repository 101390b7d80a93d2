"""What a program on a host may answer: a host that was taken over can say anything, and must harm nobody but itself."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 4096
"""Characters of one text."""
MOST = 20_000
"""Members of one list or object."""


@dataclass(frozen=True, slots=True)
class Each:
    """An object with any keys, and members of one shape."""

    of: Any


@dataclass(frozen=True, slots=True)
class Maybe:
    """The shape, or null."""

    of: Any


@dataclass(frozen=True, slots=True)
class Part:
    """The shape, or `{"unknown": why}`, or `{"absent": why}`."""

    of: Any


def shaped(value: Any, shape: Any, where: str = "the answer") -> Any:
    """The value as far as its shape knows it; ValueError where it is another.

    A shape is a type, a pattern that a text matches wholly, `{key: shape}`, `[shape]`, Each, Maybe or Part.
    """
    if isinstance(shape, Maybe):
        return None if value is None else shaped(value, shape.of, where)
    if isinstance(shape, Part):
        reason = _reason(value, where)
        return shaped(value, shape.of, where) if reason is None else reason
    if isinstance(shape, Each):
        members = _sized(value, dict, where)
        return {shaped(key, str, where): shaped(one, shape.of, f"{where}.{key:.40}") for key, one in members.items()}
    if isinstance(shape, Mapping):
        members = _sized(value, dict, where)
        return {key: shaped(_member(members, key, where), one, f"{where}.{key}") for key, one in shape.items()}
    if isinstance(shape, list):
        return [shaped(one, shape[0], where) for one in _sized(value, list, where)]
    return _plain(value, shape, where)


def _member(value: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in value:
        raise ValueError(f"{where} has no {key}")
    return value[key]


def _reason(value: Any, where: str) -> dict[str, str] | None:
    if not isinstance(value, dict) or set(value) not in ({"unknown"}, {"absent"}):
        return None
    return {key: str(_plain(one, str, where)) for key, one in value.items()}


def _sized(value: Any, kind: type[dict[str, Any]] | type[list[Any]], where: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{where} is no {'object' if kind is dict else 'list'}")  # noqa: TRY004 - it is an answer
    if len(value) > MOST:
        raise ValueError(f"{where} has more than {MOST} members")
    return value


def _plain(value: Any, shape: Any, where: str) -> Any:
    if isinstance(shape, re.Pattern):
        if isinstance(value, str) and shape.fullmatch(value):
            return value
        raise ValueError(f"{where} is in no form that is known")
    if shape is float and type(value) is int:
        return value
    if type(value) is not shape or (shape is float and not math.isfinite(value)):
        raise ValueError(f"{where} is no {shape.__name__}")
    if shape is str and (len(value) > LONGEST or "\0" in value):
        raise ValueError(f"{where} is no text that can be kept")
    if shape is str:
        value.encode()  # half a character is a UnicodeEncodeError, which is a ValueError
    return value
