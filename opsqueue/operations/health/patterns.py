r"""Regular expressions that never take long: all ways through them are walked side by side, none twice.

Python's own engine tries one way after the other, and for some patterns and bodies that takes for ever, with the
whole worker standing still. There is no back reference and no look-around here, so nothing needs that.

The grammar::

    pattern := ["(?i)"] branch ("|" branch)*
    branch  := (atom ("*" | "+" | "?" | "{m}" | "{m,}" | "{m,n}")?)*
    atom    := character | "." | "[…]" | "(" pattern ")" | "(?:" pattern ")" | "^" | "$" | "\" and the character itself
               | "\d" | "\w" | "\s" | "\D" | "\W" | "\S" | "\n" | "\r" | "\t"

`^` and `$` stand for the beginning and the end of a line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

_MOST_STATES = 500
_MOST_TEXT = 65_536
"""Characters that are looked at."""
_MOST_REPEATS = 100
_MOST_KEPT = 4000
_DEEPEST = 20
_COUNT = re.compile(r"\{(\d{1,3})(,(\d{0,3}))?\}")
_RANGE_PARTS = 3

Test = Callable[[str], bool]
_CLASSES: dict[str, Test] = {
    "d": str.isdigit,
    "w": lambda c: c.isalnum() or c == "_",
    "s": str.isspace,
    "D": lambda c: not c.isdigit(),
    "W": lambda c: not (c.isalnum() or c == "_"),
    "S": lambda c: not c.isspace(),
}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of a pattern: one character, a place in a line, parts in a row, choices, or something repeated."""

    kind: str
    test: Test | None = None
    parts: tuple[_Node, ...] = ()
    least: int = 1
    most: int | None = 1


@dataclass(slots=True)
class _State:
    """Where a way stands: it waits for a character, for a place in a line, or goes on in two ways."""

    kind: str
    test: Test | None = None
    to: int = -1
    other: int = -1


class _Parser:
    def __init__(self, text: str) -> None:
        self._fold = text.startswith("(?i)")
        self._text, self._at, self._depth = text, 4 if self._fold else 0, 0

    def whole(self) -> _Node:
        found = self._choices()
        if self._at < len(self._text):
            raise ValueError("a bracket is closed that was not opened")
        return found

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, what: str) -> bool:
        found = self._text.startswith(what, self._at)
        self._at += len(what) if found else 0
        return found

    def _choices(self) -> _Node:
        parts = [self._row()]
        while self._take("|"):
            parts.append(self._row())
        return parts[0] if len(parts) == 1 else _Node("choice", parts=tuple(parts))

    def _row(self) -> _Node:
        parts: list[_Node] = []
        while self._next() not in {"", "|", ")"}:
            parts.append(self._repeated(self._atom()))
        return _Node("row", parts=tuple(parts))

    def _repeated(self, node: _Node) -> _Node:
        limits = self._limits()
        if limits is None:
            return node
        least, most = limits
        if node.kind in {"bol", "eol"} or max(least, most or 0) > _MOST_REPEATS or (most is not None and most < least):
            raise ValueError(f"nothing is repeated in this way, or more than {_MOST_REPEATS} times")
        self._take("?")  # how much of it is found makes no difference here
        return _Node("repeat", parts=(node,), least=least, most=most)

    def _limits(self) -> tuple[int, int | None] | None:
        for sign, limits in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return limits
        count = _COUNT.match(self._text, self._at)
        if count is None:
            return None
        self._at = count.end()
        least = int(count[1])
        return least, (least if count[2] is None else int(count[3]) if count[3] else None)

    def _atom(self) -> _Node:
        if self._take("("):
            return self._group()
        if self._take("["):
            return _Node("char", self._set())
        character = self._text[self._at]
        self._at += 1
        if character in "*+?":
            raise ValueError(f"{character} repeats nothing")
        if character in "^$":
            return _Node("bol" if character == "^" else "eol")
        if character == ".":
            return _Node("char", lambda c: c != "\n")
        return _Node("char", self._escaped() if character == "\\" else self._literal(character))

    def _group(self) -> _Node:
        if self._next() == "?" and not self._take("?:"):
            raise ValueError("there are no groups with (? but (?: and, at the beginning, (?i)")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f"brackets are at most {_DEEPEST} deep")
        found = self._choices()
        self._depth -= 1
        if not self._take(")"):
            raise ValueError("a bracket is not closed")
        return found

    def _literal(self, character: str) -> Test:
        return character.lower().__eq__ if self._fold else character.__eq__

    def _escaped(self) -> Test:
        character = self._next()
        self._at += 1
        if character in _CLASSES:
            return _CLASSES[character]
        if character in _CONTROLS:
            return self._literal(_CONTROLS[character])
        if not character or character.isalnum():
            raise ValueError(f"\\{character} means nothing here")
        return self._literal(character)

    def _set(self) -> Test:
        negated, tests = self._take("^"), []
        first = True
        while first or self._next() != "]":
            if not self._next():
                raise ValueError("a [ is not closed")
            tests.append(self._member())
            first = False
        self._at += 1
        return partial(_in_set, tuple(tests), negated, self._fold)

    def _member(self) -> Test:
        if self._take("\\"):
            character = self._next()
            if character in _CLASSES or character in _CONTROLS:
                return self._escaped()
        part = self._text[self._at : self._at + _RANGE_PARTS]
        if len(part) == _RANGE_PARTS and part[1] == "-" and part[2] not in "]\\":
            self._at += _RANGE_PARTS
            if part[0] > part[2]:
                raise ValueError(f"[{part}] is no range")
            return partial(_between, part[0], part[2])
        self._at += 1
        return part[:1].__eq__


def _in_set(tests: tuple[Test, ...], negated: bool, fold: bool, character: str) -> bool:
    either = (character, character.upper()) if fold else (character,)
    return any(test(one) for test in tests for one in either) is not negated


def _between(low: str, high: str, character: str) -> bool:
    return low <= character <= high


class Pattern:
    """A regular expression that was understood; ValueError says what was not."""

    def __init__(self, text: str) -> None:
        self._states: list[_State] = []
        self._folds = text.startswith("(?i)")
        end = self._state("end")
        self._start = self._compiled(_Parser(text).whole(), end)

    def found_in(self, text: str) -> bool:
        """Whether it stands anywhere in the text, of which the first 65,536 characters are looked at."""
        text = text[:_MOST_TEXT]
        text = text.lower() if self._folds else text
        walk, here = _Walk(self._states), frozenset[int]()
        before = "\n"
        for number in range(len(text) + 1):
            character = text[number : number + 1] or "\n"
            there = walk.on(here | {self._start}, before == "\n", character)
            if there is None:
                return True
            here, before = there, character
        return False

    def _state(self, kind: str, test: Test | None = None, to: int = -1, other: int = -1) -> int:
        if len(self._states) >= _MOST_STATES:
            raise ValueError(f"it is too long: with all repeats at most {_MOST_STATES} characters and choices")
        self._states.append(_State(kind, test, to, other))
        return len(self._states) - 1

    def _compiled(self, node: _Node, then: int) -> int:
        """The state in which a way through this part begins that goes on with `then`."""
        if node.kind == "row":
            for part in reversed(node.parts):
                then = self._compiled(part, then)
            return then
        if node.kind == "choice":
            ways = [self._compiled(part, then) for part in node.parts]
            first = ways[0]
            for way in ways[1:]:
                first = self._state("split", to=first, other=way)
            return first
        return self._repeat(node, then) if node.kind == "repeat" else self._state(node.kind, node.test, then)

    def _repeat(self, node: _Node, then: int) -> int:
        [part] = node.parts
        if node.most is None:
            again = self._state("split", other=then)
            self._states[again].to = self._compiled(part, again)
            then = again
        else:
            out = then
            for _ in range(node.most - node.least):
                then = self._state("split", to=self._compiled(part, then), other=out)
        for _ in range(node.least):
            then = self._compiled(part, then)
        return then


class _Walk:
    """One text, walked by all ways at once; what was found for a set of ways and a character is kept."""

    def __init__(self, states: list[_State]) -> None:
        self._states = states
        self._kept: dict[tuple[frozenset[int], bool, str], frozenset[int] | None] = {}

    def on(self, ways: frozenset[int], line_begins: bool, character: str) -> frozenset[int] | None:
        """Where the ways stand after this character; None: one of them has come to the end."""
        key = (ways, line_begins, character)
        if key not in self._kept:
            if len(self._kept) > _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = self._walked(ways, line_begins, character)
        return self._kept[key]

    def _walked(self, ways: frozenset[int], line_begins: bool, character: str) -> frozenset[int] | None:
        left, seen, found = list(ways), set(ways), set()
        while left:
            state = self._states[left.pop()]
            if state.kind == "end":
                return None
            if state.kind == "char":
                if state.test is not None and state.test(character):
                    found.add(state.to)
                continue
            fresh = set(_free(state, line_begins, character == "\n")) - seen
            seen |= fresh
            left += fresh
        return frozenset(found)


def _free(state: _State, line_begins: bool, line_ends: bool) -> tuple[int, ...]:
    """Where a way goes on without taking a character."""
    if state.kind == "split":
        return state.to, state.other
    stands = line_begins if state.kind == "bol" else line_ends
    return (state.to,) if stands else ()
