"""The name that was meant where a word is not known, or a field, found by walking the model that refused it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel

_LONGEST = 80
"""Letters of a word that are compared: a longer one is near to nothing."""


def meant(model: type[BaseModel] | None, where: Sequence[str | int]) -> str:
    """`; did you mean …?` for the unknown field at the end of a pydantic location; empty when nothing is near."""
    if model is None or not where:
        return ""
    known = [name for one in _inside(model, where[:-1]) for name in _names(one)]
    return nearest(str(where[-1]), known)


def nearest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """`; did you mean …?` where a known word is near, else nothing; a higher `cutoff` asks for more likeness."""
    folded = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word[:_LONGEST].casefold(), list(folded), n=1, cutoff=cutoff)
    return f"; did you mean {folded[found[0]]!r}?" if found else ""


def _inside(model: type[BaseModel], way: Sequence[str | int]) -> list[type[BaseModel]]:
    """The models that may stand at the end of the way; an index and the word that chose one of several are passed."""
    found = [model]
    for part in way:
        tagged = [one for one in found if _tag(one, part)]
        fields = [one.model_fields[part] for one in found if isinstance(part, str) and part in one.model_fields]
        if len(tagged) == 1 and len(found) > 1:
            found = tagged
        elif fields:
            found = [inner for field in fields for inner in models_in(field.annotation)]
    return found


def _tag(model: type[BaseModel], part: str | int) -> bool:
    """Whether a union knows this model by that word: the default or the literal of one of its fields."""
    return any(part == field.default or part in get_args(field.annotation) for field in model.model_fields.values())


def _names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model that an annotation names, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)
