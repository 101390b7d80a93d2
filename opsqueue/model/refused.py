"""What pydantic refuses, in words: where, what was wanted, and of what kind it was; nothing of how it looks inside."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from opsqueue.model.in_words import kind_of
from opsqueue.model.misspelt import meant, nearest

Loc = tuple[str | int, ...]

NO_SUCH_NAME = "there is nothing of this name"
_LABEL = re.compile(
    r"(function-\w+|literal|tuple|list|dict|union|tagged-union|nullable|lax-or-strict|json-or-python|is-instance)\[.*\]"
    r"|str|int|float|bool|SecretRef",
    re.DOTALL,
)
"""What pydantic puts into the way to a value that may be of several kinds: the kind that it tried."""
_KINDS = {
    "string_type": "a text",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type", "frozen_set_type"), "a list"),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type"), "an object"),
    "path_type": "a path",
    "uuid_type": "a UUID",
}
"""What was wanted where it is of another kind, by pydantic's type of error."""
_LIMITS = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal"})
_COUNT = re.compile(r"\w+ should have at (least|most) (\d+) items? after validation, not (\w+)")
_SHOULD = "input should be "


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One thing that is wrong."""

    loc: Loc
    """Where, as the keys and numbers that lead there."""
    wrong: str
    """What was wanted."""
    found: str = ""
    """Its kind, or a number that is not whole or beyond its limits; of texts, which may be secrets, only the word
    that chooses one of several objects."""
    kind: bool = False
    """Whether it is of another kind than the wanted one."""

    @property
    def told(self) -> str:
        """Both, in words."""
        return f"{self.wrong}, found {self.found}" if self.found else self.wrong


def refused(error: ValidationError, model: type[BaseModel] | None = None) -> list[Refused]:
    """All that is wrong, each once; with the field of `model` that was meant."""
    items = error.errors(include_url=False)
    found = [_refused(item, model) for item in items if not _follows(item, items)]
    while any(_label(one.loc) for one in found):
        found = list(_chosen(found))
    return list(_joined(found))


def _follows(item: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> bool:
    """Whether it only counts what is left of a list without those of it that are wrong themselves."""
    loc = item["loc"]
    return item["type"] == "too_short" and any(
        one["loc"][: len(loc)] == loc and len(one["loc"]) > len(loc) for one in items
    )


def _label(loc: Loc) -> int:
    """The place of the first label; 0: none, for the first part is always a name."""
    return next((at for at, part in enumerate(loc) if at and isinstance(part, str) and _LABEL.fullmatch(part)), 0)


def _chosen(found: Sequence[Refused]) -> Iterator[Refused]:
    """Without the first label of each, and without the kinds that were not meant where another one was."""
    meant_here = {one.loc[:at] for one in found if (at := _label(one.loc)) and not _other_kind(one, at)}
    for one in found:
        at = _label(one.loc)
        if not at:
            yield one
        elif one.loc[:at] not in meant_here or not _other_kind(one, at):
            yield replace(one, loc=(*one.loc[:at], *one.loc[at + 1 :]))


def _other_kind(one: Refused, at: int) -> bool:
    return one.kind and all(_LABEL.fullmatch(str(part)) for part in one.loc[at:])


def _joined(found: Iterable[Refused]) -> Iterator[Refused]:
    """Several kinds of which any would do are one thing that is wrong."""
    kinds: dict[Loc, list[Refused]] = {}
    for one in found:
        kinds.setdefault(one.loc, []).append(one)
    for some in kinds.values():
        if all(one.kind for one in some):
            wanted = dict.fromkeys(one.wrong.removeprefix(_SHOULD) for one in some)
            yield replace(some[0], wrong=f"{_SHOULD}{' or '.join(wanted)}")
        else:
            yield from some


def _refused(item: Mapping[str, Any], model: type[BaseModel] | None) -> Refused:
    kind, loc, value, context = item["type"], item["loc"], item["input"], item.get("ctx", {})
    if kind in _KINDS:
        found = _number(value) if isinstance(value, float) else kind_of(value)  # 1.5 is a number too, but not whole
        return Refused(loc=loc, wrong=f"{_SHOULD}{_KINDS[kind]}", found=found, kind=True)
    if kind in {"literal_error", "enum"}:
        return _no_such_word(loc, str(context["expected"]), value)
    if kind.startswith("union_tag"):
        key = str(context["discriminator"]).strip("'")
        inside = (*loc, key)
        if kind == "union_tag_not_found":
            return Refused(loc=inside, wrong="must be given")
        return _no_such_kind(inside, str(context["expected_tags"]), str(context["tag"]))
    number = kind in _LIMITS and isinstance(value, int | float)
    return Refused(loc=loc, wrong=_wrong(item, model), found=_number(value) if number else "")


def _number(value: float) -> str:
    try:
        return str(value)[:40]
    except ValueError:  # of an integer with thousands of digits Python makes no text
        return kind_of(value)


def _no_such_word(loc: Loc, expected: str, value: Any) -> Refused:
    words = {"False": "false", "True": "true", "None": "null"}
    known = re.findall(r"'([^']*)'", expected)
    near = nearest(value, known) if isinstance(value, str) else ""
    found = "" if isinstance(value, str) else kind_of(value)
    return Refused(loc=loc, wrong=f"{_SHOULD}{words.get(expected, expected)}{near}", found=found, kind=not known)


def _no_such_kind(loc: Loc, expected: str, kind: str) -> Refused:
    known = re.findall(r"'([^']*)'", expected)
    every = " or ".join(filter(None, expected.rpartition(", ")[::2]))
    return Refused(loc=loc, wrong=f"{_SHOULD}{every}", found=f"{kind[:40]!r}{nearest(kind, known)}")


def _wrong(item: Mapping[str, Any], model: type[BaseModel] | None) -> str:
    if item["type"] == "extra_forbidden":
        return NO_SUCH_NAME + meant(model, item["loc"])
    if item["type"] == "missing":
        return "must be given"
    said = _COUNT.sub(r"wanted at \1 \2 of them, found \3", str(item["msg"]).removeprefix("Value error, "))
    return said if said[1:2].isupper() else f"{said[:1].lower()}{said[1:]}"
