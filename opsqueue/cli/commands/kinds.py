"""The catalogue of operation types, and the parameters of each."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from opsqueue.cli import schema
from opsqueue.cli.output import Out
from opsqueue.cli.parsing import Parser
from opsqueue.cli.text import safe
from opsqueue.errors import NotFound
from opsqueue.model.kind import OperationKind, only_reads
from opsqueue.model.names import TYPE_ALIASES, Risk
from opsqueue.operations import catalogue
from opsqueue.pipeline.world import no_kind

_DEPENDS = "by parameters"


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one type, with its parameters")
    parser.ends((0, 2, 10), "opsqueue types", "opsqueue types service_restart")


def run(given: Namespace) -> int:
    """List them, or show one."""
    out, kinds = Out.of(given), catalogue()
    if given.name is None:
        listed = [_brief(kinds[name]) for name in sorted(kinds)]
        out.listing("types", listed, ("TYPE", "SORT", "RISK", "SUMMARY"), lambda one: tuple(one.values()))
        return 0
    name = TYPE_ALIASES.get(given.name, given.name)
    if name not in kinds:
        raise NotFound(no_kind(name, kinds), known=sorted(kinds))
    _one(out, kinds[name])
    return 0


def _brief(kind: OperationKind) -> dict[str, Any]:
    return {"name": kind.name, "sort": kind.sort.value, "risk": least_risk(kind), "summary": kind.summary}


def least_risk(kind: OperationKind) -> str:
    """The risk with no parameter given; parameters may only raise it."""
    if kind.looking:
        return Risk.READ_ONLY.value
    try:
        least = kind.risk(kind.params.model_construct())
    except AttributeError:  # it depends on a parameter without a default
        return _DEPENDS
    # A type that changes hosts is not one that only reads because its parameters can make it do so.
    return _DEPENDS if least is Risk.READ_ONLY else least.value


def _one(out: Out, kind: OperationKind) -> None:
    fields = schema.fields(kind.params)
    if out.json:
        out.entry({**_brief(kind), "parameters": fields})
        return
    out.line(f"{kind.name}: {safe(kind.summary)}")
    least = least_risk(kind)
    one_risk = least == _DEPENDS or kind.risk is only_reads
    out.line(f"sort {kind.sort.value}, risk {least if one_risk else f'{least} at least'}")
    if fields:
        out.title("parameters")
    for field in fields:
        _field(out, field)


def _field(out: Out, field: Mapping[str, Any]) -> None:
    default = "must be given" if field["required"] else f"default {safe(schema.literal(field['default']))}"
    limits = f", {safe(field['limits'])}" if field["limits"] else ""
    out.line(f"  {field['name']}: {safe(field['type'])}, {default}{limits}")
    if field["meaning"]:
        out.line(f"      {safe(field['meaning'])}")
