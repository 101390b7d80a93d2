"""Conditions on an answer, in the form that Gatus made known: `[STATUS] == 200`, `[BODY].status == "UP"`.

The whole grammar::

    condition := value ("==" | "!=" | "<" | "<=" | ">" | ">=") value
    value     := "[" PLACE "]" path | number unit? | "text" | bare text | len(value) | has(value)
               | pat(glob) | re(pattern) | any(value, value, …)    (pat, re and any: only beside == and !=)
    path      := ("." key | "[" index "]")*                (only after BODY and HEADERS)
    unit      := ms | s | m | h | d

Times are milliseconds. There is no eval, and no pattern that could take for ever: see `patterns.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from opsqueue.operations.health.patterns import Pattern

_CONDITION = re.compile(r"(?P<left>(?:\"[^\"]*\"|[^\"<>=!])+?)\s*(?P<sign>==|!=|<=|>=|<|>)\s*(?P<right>.+)", re.DOTALL)
_PLACE = re.compile(r"\[(?P<place>[A-Z_]+)\](?P<path>(?:\.[^.\[\]\s()]+|\[\d{1,6}\])*)")
_STEP = re.compile(r"\.([^.\[\]\s()]+)|\[(\d{1,6})\]")
_NUMBER = re.compile(r"(-?\d{1,15}(?:\.\d{1,9})?)\s*(ms|s|m|h|d)?")
_CALL = re.compile(r"(len|has|pat|re|any)\((.*)\)", re.DOTALL)
_UNITS = {"ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6, "d": 8.64e7}
_TIMES = {"RESPONSE_TIME", "CERTIFICATE_EXPIRATION"}
_MATCHERS = {"pat", "re", "any"}
_LOOKED_UP = {"place", "len", "has"}
_LONGEST_SHOWN = 80
_LONGEST = 500

Kind = Literal["place", "literal", "len", "has", "pat", "re", "any"]


class _Missing:
    """A place that the answer does not have."""


_MISSING = _Missing()


def _expiration(answer: Mapping[str, Any]) -> Any:
    certificate = answer.get("certificate") or answer
    days = certificate.get("days_left")
    return _MISSING if days is None else days * _UNITS["d"]


_PLACES: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "STATUS": lambda answer: answer.get("status", _MISSING),
    "RESPONSE_TIME": lambda answer: answer.get("phases", {}).get("total", _MISSING),
    "BODY": lambda answer: answer.get("body", answer.get("answers", answer.get("banner", _MISSING))),
    "HEADERS": lambda answer: answer.get("headers", _MISSING),
    "CERTIFICATE_EXPIRATION": _expiration,
    "DNS_RCODE": lambda answer: answer.get("rcode", _MISSING),
    "CONNECTED": lambda answer: bool(answer.get("ok")),
    "IP": lambda answer: answer.get("address", _MISSING),
}

PLACES = tuple(_PLACES)


@dataclass(frozen=True, slots=True)
class Value:
    """One side of a condition, as it was written and as it was read."""

    text: str
    kind: Kind
    content: Any = None
    """The literal, the glob, the pattern, the place with its path, or the values inside the brackets."""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison."""

    text: str
    left: Value
    sign: str
    right: Value

    def places(self) -> frozenset[str]:
        """The places that it looks at."""
        return frozenset(_places(self.left) + _places(self.right))


def parse(text: str) -> Condition:
    """The condition in a text; ValueError says what is wrong with it."""
    found = _CONDITION.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if found is None:
        raise ValueError(
            f"a condition is such as `[STATUS] == 200`, at most {_LONGEST} characters; found {text[:80]!r}"
        )
    condition = Condition(text.strip(), _value(found["left"]), found["sign"], _value(found["right"]))
    _check(condition)
    return condition


def failing(condition: Condition, answer: Mapping[str, Any]) -> str | None:
    """`None` when the condition holds; else itself and the actual values, `[STATUS] == 200, found 500`."""
    left, right = _resolve(condition.left, answer), _resolve(condition.right, answer)
    if _holds(condition, left, right):
        return None
    sides = ((condition.left, left), (condition.right, right))
    found = [_shown(value, content) for value, content in sides if value.kind in _LOOKED_UP]
    return f"{condition.text}, found {' and '.join(found)}"


def _value(text: str) -> Value:
    text = text.strip()
    call = _CALL.fullmatch(text)
    if call:
        return _call(text, call[1], call[2])
    place = _PLACE.fullmatch(text)
    if place:
        return Value(text, "place", (place["place"], _steps(place["path"])))
    if text.startswith("["):
        raise ValueError(f"{text[:80]!r} is no place; there are {', '.join(f'[{name}]' for name in PLACES)}")
    number = _NUMBER.fullmatch(text)
    if number:
        return Value(text, "literal", float(number[1]) * _UNITS.get(number[2] or "", 1.0), number[2] or "")
    if len(text) > 1 and text[0] == text[-1] == '"':
        return Value(text, "literal", text[1:-1])
    return Value(text, "literal", {"true": True, "false": False, "null": None}.get(text, text))


def _call(text: str, name: str, inside: str) -> Value:
    if name == "pat":
        return Value(text, "pat", inside.strip().strip('"'))
    if name == "re":
        return Value(text, "re", _pattern(inside.strip()))
    parts = inside.split(",") if name == "any" else [inside]
    return Value(
        text, "any" if name == "any" else ("len" if name == "len" else "has"), tuple(_value(part) for part in parts)
    )


def _pattern(text: str) -> Pattern:
    inside = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    try:
        return Pattern(inside)
    except ValueError as error:
        raise ValueError(f"re({text[:80]}): {error}") from None


def _steps(path: str) -> tuple[str | int, ...]:
    return tuple(int(index) if index else key for key, index in _STEP.findall(path))


def _places(value: Value) -> list[str]:
    if value.kind == "place":
        return [value.content[0]]
    inside = value.content if value.kind in {"len", "has", "any"} else ()
    return [place for one in inside for place in _places(one)]


def _check(condition: Condition) -> None:
    found = condition.places()
    strange = sorted(found - set(PLACES))
    if strange:
        raise ValueError(f"[{strange[0]}] is no place; there are {', '.join(f'[{name}]' for name in PLACES)}")
    if not found:
        raise ValueError(f"{condition.text!r} looks at nothing; a condition names a place such as [STATUS]")
    for value in (condition.left, condition.right):
        _check_value(value, condition, found)


def _check_value(value: Value, condition: Condition, found: frozenset[str]) -> None:
    if value.kind == "any" and any(one.kind not in {"literal", "pat", "re"} for one in value.content):
        raise ValueError(f"{value.text} holds plain values, pat(…) and re(…) only")
    if value.kind in _MATCHERS and condition.sign not in {"==", "!="}:
        raise ValueError(f"{value.text} goes with == and != only")
    if value.kind == "place" and value.content[1] and value.content[0] not in {"BODY", "HEADERS"}:
        raise ValueError(f"[{value.content[0]}] has no parts; only [BODY] and [HEADERS] have")
    if value.kind == "place" and value.content[0] == "HEADERS" and not value.content[1]:
        raise ValueError("[HEADERS] wants a name, such as [HEADERS].content-type")
    if value.unit and not found & _TIMES:
        raise ValueError(f"{value.text} is a time; times go with {' and '.join(sorted(_TIMES))}")
    if value.kind == "literal" and "CERTIFICATE_EXPIRATION" in found and not value.unit:
        raise ValueError(f"[CERTIFICATE_EXPIRATION] wants a time with its unit, such as 48h; found {value.text!r}")


def _resolve(value: Value, answer: Mapping[str, Any]) -> Any:
    if value.kind == "place":
        place, steps = value.content
        return _walk(_PLACES[place](answer), place, steps)
    if value.kind == "len":
        inside = _resolve(value.content[0], answer)
        return len(inside) if isinstance(inside, str | list | tuple | Mapping) else _MISSING
    if value.kind == "has":
        return _resolve(value.content[0], answer) is not _MISSING
    return value.content


def _walk(found: Any, place: str, steps: tuple[str | int, ...]) -> Any:
    if place == "BODY" and steps and isinstance(found, str):
        found = _json(found)
    for step in steps:
        if isinstance(step, int):
            found = found[step] if isinstance(found, list | tuple) and step < len(found) else _MISSING
        else:
            key = step.lower() if place == "HEADERS" else step
            found = found.get(key, _MISSING) if isinstance(found, Mapping) else _MISSING
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _MISSING


def _holds(condition: Condition, left: Any, right: Any) -> bool:
    if left is _MISSING or right is _MISSING:
        return False
    if condition.sign in {"==", "!="}:
        return _same(condition, left, right) is (condition.sign == "==")
    one, two = _number(left), _number(right)
    if one is None or two is None:
        return False
    return {"<": one < two, "<=": one <= two, ">": one > two, ">=": one >= two}[condition.sign]


def _same(condition: Condition, left: Any, right: Any) -> bool:
    if condition.left.kind in _MATCHERS:
        return _matches(condition.left, right)
    if condition.right.kind in _MATCHERS:
        return _matches(condition.right, left)
    return _equal(left, right)


def _matches(wanted: Value, found: Any) -> bool:
    if wanted.kind == "any":
        return any(_matches(one, found) for one in wanted.content)
    if wanted.kind == "pat":
        return fnmatchcase(_text(found), wanted.content)
    if wanted.kind == "re":
        return bool(wanted.content.found_in(_text(found)))
    return _equal(wanted.content, found)


def _equal(one: Any, two: Any) -> bool:
    if isinstance(one, bool) or isinstance(two, bool) or one is None or two is None:
        return one is two or _text(one) == _text(two)
    first, second = _number(one), _number(two)
    if first is not None and second is not None:
        return first == second
    return _text(one) == _text(two)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shown(value: Value, content: Any) -> str:
    if content is _MISSING:
        return "nothing there"
    place = next(iter(_places(value)), "")
    text = _duration(content) if place in _TIMES and value.kind == "place" else _text(content)
    return text[:_LONGEST_SHOWN] + "…" if len(text) > _LONGEST_SHOWN else text


def _duration(milliseconds: Any) -> str:
    for unit in ("d", "h", "m", "s"):
        if abs(milliseconds) >= 2 * _UNITS[unit]:
            return f"{milliseconds / _UNITS[unit]:.1f}{unit}"
    return f"{milliseconds:.0f}ms"
