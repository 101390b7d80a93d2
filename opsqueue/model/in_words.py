"""What is wanted of a text, said in words where it is none, or its pattern does not match."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

_NO_MATCH = "string_pattern_mismatch"
_KINDS = frozenset({_NO_MATCH, "string_type"})


def in_words(wanted: str) -> WrapValidator:
    """For the end of an `Annotated`: `input should be {wanted}` instead of a pattern that nobody can read.

    Around a union it is said once, and not for each of its members. The schema keeps the pattern.
    """

    def check(value: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(value)
        except ValidationError as error:
            said = error.errors(include_input=False, include_context=False, include_url=False)
            if not any(item["type"] in _KINDS for item in said):
                raise
            raise PydanticCustomError(_NO_MATCH, "Input should be {wanted}", {"wanted": wanted}) from None

    return WrapValidator(check)
