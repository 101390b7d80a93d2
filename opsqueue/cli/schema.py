"""The parameters of an operation type as a list: names, types, defaults, limits, meanings with their units."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from opsqueue.model.misspelt import models_in

_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
    "pattern": "matching {}",
}


def fields(params: type[BaseModel]) -> list[dict[str, Any]]:
    """Every parameter: `{name, type, required, default, limits, meaning}`; inner ones as `outer.inner`."""
    schema = params.model_json_schema()
    return list(_fields(params, schema, schema.get("$defs", {}), ""))


def literal(value: Any) -> str:
    """A default as JSON, as one would write it after --parameters."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _fields(
    params: type[BaseModel], schema: Mapping[str, Any], defs: Mapping[str, Any], prefix: str
) -> Iterator[dict[str, Any]]:
    meanings = _meanings(params)
    for name, given in schema.get("properties", {}).items():
        yield {
            "name": f"{prefix}{name}",
            "type": _type(given, defs),
            "required": name in schema.get("required", ()),
            "default": given.get("default"),
            "limits": ", ".join(_limits(given)),
            "meaning": meanings.get(name, given.get("description", "")),
        }
        for model in models_in(params.model_fields[name].annotation) if name in params.model_fields else ():
            yield from _fields(model, defs.get(model.__name__, {}), defs, f"{prefix}{name}.")


def _meanings(params: type[BaseModel]) -> dict[str, str]:
    """The docstring under each field; of the base classes too. Empty where the source is not there."""
    found: dict[str, str] = {}
    for base in reversed(params.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError, SyntaxError):
            continue
        lines = body.body if isinstance(body, ast.ClassDef) else []
        for field, below in pairwise(lines):
            text = _docstring(below)
            if text and isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                found[field.target.id] = " ".join(text.split())
    return found


def _docstring(node: ast.stmt) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return ""


def _type(given: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    if "$ref" in given:
        name = given["$ref"].rpartition("/")[2]
        return _type(defs[name], {}) if defs.get(name, {}).get("type") != "object" else f"object ({name})"
    if "const" in given:
        return literal(given["const"])
    if "enum" in given:
        return " | ".join(literal(value) for value in given["enum"])
    if several := given.get("anyOf") or given.get("oneOf"):
        return " | ".join(dict.fromkeys(_type(one, defs) for one in several))
    if given.get("type") == "array":
        return f"list of {_type(given.get('items', {}), defs)}"
    return str(given.get("type", "anything"))


def _limits(given: Mapping[str, Any]) -> Iterator[str]:
    for one in (given, *given.get("anyOf", ())):
        yield from (text.format(one[key]) for key, text in _LIMITS.items() if key in one)
