"""What an evaluation of a condition has left: visits of nodes, and room for the values that it makes and compares.

Steps alone bound no memory: `n + n` is one step whatever n is, and a chain of them doubles a text with each. So the
size of a value is counted when it is made, with all that is in it, and again when it is compared or searched.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from celpy.evaluation import CELFunction, base_functions

from opsqueue.errors import ConditionFailed

_MOST_WORD = 100
"""Characters of a text that is made a number or a time."""
_READING = ("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "contains", "matches", "startsWith", "endsWith")
_MAKING = ("string", "bytes", "list", "map")
_PARSING = ("timestamp", "duration", "int", "uint", "double", "bool")


class TooMuch(Exception):  # named for what happened
    """It would cost more than it may."""


class Meter:
    """The steps and the room (characters of texts, members of lists and maps) of one evaluation."""

    def __init__(self, steps: int, room: int) -> None:
        self._most = steps, room
        self._steps, self._room = steps, room
        # The values are held, so that no other one can get the id of one that is gone; their sizes are bounded.
        self._sizes: dict[int, tuple[Any, int]] = {}

    def tick(self) -> None:
        """One step more; TooMuch when it is one too many, and ever after."""
        self._steps -= 1
        if self._steps < 0 or self._room < 0:
            raise TooMuch

    def check(self) -> None:
        """ConditionFailed when it was too much, whoever swallowed that meanwhile."""
        steps, room = self._most
        if self._steps < 0:
            raise ConditionFailed(f"the condition took more than {steps} steps: make it simpler")
        if self._room < 0:
            what = "characters of texts and members of lists"
            raise ConditionFailed(f"the condition made or compared more than {room} {what}: make it simpler")

    def given(self, value: Any) -> None:
        """A value that was there before, and costs nothing."""
        room = self._room
        self.made(value)
        self._room = room

    def made(self, value: Any) -> None:
        """A value that may be new; TooMuch when there is no room for it."""
        if isinstance(value, str | bytes | list | dict) and id(value) not in self._sizes:
            self._charge(self._size(value))

    def functions(self) -> dict[str, CELFunction]:
        """The functions of CEL that cost as much as what they are given, each with its price."""
        priced = {name: self._priced(base_functions[name]) for name in (*_READING, *_MAKING)}
        parsing = {name: _short(base_functions[name]) for name in _PARSING}
        # Python multiplies a text, and `%` fills one in: neither is CEL.
        numbers = {"_*_": _of_numbers(operator.mul), "_%_": _of_numbers(operator.mod)}
        return {**priced, **parsing, **numbers, "_+_": self._priced(operator.add), "_in_": self._member}

    def _priced(self, function: Callable[..., Any]) -> CELFunction:
        def priced(*given: Any) -> Any:
            self._charge(sum(map(self._size, given)))
            return function(*given)

        return priced

    def _member(self, one: Any, of: Any) -> Any:
        self._charge(self._size(one) + (0 if isinstance(of, Mapping) else self._size(of)))
        return base_functions["_in_"](one, of)

    def _charge(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise TooMuch

    def _size(self, value: Any) -> int:
        """With all that is in it, each time that it is in it."""
        if id(value) in self._sizes:
            return self._sizes[id(value)][1]
        if isinstance(value, str | bytes):
            size = 1 + len(value)
        elif isinstance(value, dict):
            size = 1 + sum(self._size(key) + self._size(one) for key, one in value.items())
        elif isinstance(value, list):
            size = 1 + sum(map(self._size, value))
        else:
            return 1
        self._sizes[id(value)] = value, size
        return size


def _of_numbers(function: Callable[[Any, Any], Any]) -> CELFunction:
    def checked(one: Any, two: Any) -> Any:
        if any(isinstance(value, str | bytes | list | dict) for value in (one, two)):
            raise TypeError("it is for numbers")
        return function(one, two)

    return checked


def _short(function: Callable[..., Any]) -> CELFunction:
    def checked(*given: Any) -> Any:
        if any(isinstance(value, str | bytes) and len(value) > _MOST_WORD for value in given):
            raise ValueError(f"it has more than {_MOST_WORD} characters")
        return function(*given)

    return checked
