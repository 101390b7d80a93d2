"""What is wanted of a text, said in words where it is none, or its pattern does not match."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

_NO_MATCH = "string_pattern_mismatch"
_NO_TEXT = "string_type"
_KINDS = frozenset({_NO_MATCH, _NO_TEXT})


def in_words(wanted: str) -> WrapValidator:
    """For the end of an `Annotated`: `input should be {wanted}` instead of a pattern that nobody can read.

    Of what is no text its kind is said. Around a union it is said once, and not for each of its members. The schema
    keeps the pattern.
    """

    def check(value: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(value)
        except ValidationError as error:
            said = error.errors(include_input=False, include_context=False, include_url=False)
            if not any(item["type"] in _KINDS for item in said):
                raise
            texts_only = all(item["type"] == _NO_TEXT for item in said)
            found = "" if isinstance(value, str) else _found(value, texts_only=texts_only)
            what = {"wanted": wanted, "found": found}
            raise PydanticCustomError(_NO_MATCH, "Input should be {wanted}{found}", what) from None

    return WrapValidator(check)


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def _found(value: Any, *, texts_only: bool) -> str:
    return f"{'; wanted a text' if texts_only else ''}, found {kind_of(value)}"
