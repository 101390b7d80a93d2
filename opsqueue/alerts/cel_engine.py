"""The only place that knows cel-python, with its meter; imported where a rule has a condition text, nowhere else."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

import celpy
from celpy import celtypes
from celpy.celparser import CELParseError
from celpy.evaluation import Evaluator, celstr
from lark import Token

from opsqueue.alerts.cel_meter import Meter, TooMuch
from opsqueue.errors import ConditionFailed, InvalidRequest

_ENVIRONMENT = celpy.Environment()
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_INNER = re.compile(r"""CELEvalError\(\*\((\\*["'])(.+?)\1, <class""")
_MOST_SAID = 200
_TYPES = ("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint")
"""Names that CEL has itself."""


def parse(text: str) -> Any:
    """The tree of a condition, in which every number is a double; InvalidRequest says where it is wrong."""
    try:
        tree = _ENVIRONMENT.compile(text)
        for node in tree.iter_subtrees():
            node.children = [_double(child) for child in node.children]
    except CELParseError as error:
        where = f" at line {error.line}, column {error.column}" if error.line else ""
        raise InvalidRequest(f"the condition is no CEL{where}: {text[:80]!r}. Write it as in: cpu_usage > 80") from None
    except (RecursionError, ValueError, OverflowError) as error:
        raise InvalidRequest(f"the condition cannot be read: {error}") from None
    return tree


def _double(child: Any) -> Any:
    if isinstance(child, Token) and child.type in {"INT_LIT", "UINT_LIT"}:
        return Token("FLOAT_LIT", str(float(int(child.rstrip("uU"), 0))))
    return child


_PAIR = re.compile(r"'(\S+)' not supported between instances of \\*'(\w+)\\*' and \\*'(\w+)\\*'")
_KINDS = {
    "float": "a number",
    "DoubleType": "a number",
    "IntType": "a number",
    "StringType": "a text",
    "BoolType": "true or false",
    "ListType": "a list",
    "MapType": "a map",
}
"""What the library calls the kinds of values, and people do not."""


class Program:
    """A condition that can be evaluated any number of times."""

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        self.names = _metrics_in(tree)
        """The metrics that it names."""
        self.asks_all = _asks_all(tree)
        """Whether it goes through `metrics`, or looks into it by a name that is reckoned."""
        self._runner = _ENVIRONMENT.program(tree, functions={"size": _size})

    def holds(self, metrics: Mapping[str, float], labels: Mapping[str, str], meter: Meter) -> bool:
        """Whether it holds, with what the meter allows; ConditionFailed when that cannot be told."""
        context = _context(metrics, labels)
        for value in context.values():
            meter.given(value)
        try:
            activation = self._runner.new_activation()
            activation.functions = ChainMap(meter.functions(), activation.functions)
            found = _Metered(self._tree, activation, meter).evaluate(context)
        except TooMuch:
            found = None
        except Exception as error:  # noqa: BLE001  # the library lets through what Python raises, such as OverflowError
            meter.check()
            raise ConditionFailed(_said(error)) from None
        meter.check()
        if not isinstance(found, celtypes.BoolType):
            raise ConditionFailed(f"a condition is true or false; this one is {_kind(type(found).__name__)}")
        return bool(found)


def _metrics_in(tree: Any) -> frozenset[str]:
    """`cpu_usage`, `metrics["disk_usage:/"]` and `metrics.swap_usage`; what a macro calls its own is none."""
    found, own = set[str](), {"metrics", "labels", "host", *map(str, _TYPES)}
    for node in tree.iter_subtrees():
        if node.data in {"ident", "dot_ident"}:
            found.add(str(node.children[0]))
        elif node.data == "member_dot_arg" and len(node.children) > 2:  # noqa: PLR2004  # what it is of, its name, arguments
            own.add(_word(node.children[2].children[0], "ident"))
        elif node.data == "member_dot" and _word(node.children[0], "ident") == "metrics":
            found.add(str(node.children[1]))
        elif node.data == "member_index" and _word(node.children[0], "ident") == "metrics":
            found.add(_word(node.children[1], "literal"))
    return frozenset(found - own - {""})


def _asks_all(tree: Any) -> bool:
    nodes = list(tree.iter_subtrees())
    members = [node for node in nodes if node.data in {"member_dot", "member_index"}]
    of_metrics = [node for node in members if _word(node.children[0], "ident") == "metrics"]
    named = [node for node in of_metrics if node.data == "member_dot" or _word(node.children[1], "literal")]
    mentioned = [node for node in nodes if node.data == "ident" and str(node.children[0]) == "metrics"]
    return len(mentioned) > len(named)


def _word(node: Any, kind: str) -> str:
    """The one word that a part of a condition is, down to where it stands; empty: it is no such word."""
    while len(node.children) == 1 and not isinstance(node.children[0], Token):
        node = node.children[0]
    if node.data != kind:
        return ""
    return str(celstr(node.children[0]) if node.children[0].type == "STRING_LIT" else node.children[0])


class _Metered(Evaluator):
    """Counts every node it visits, those of macros too, and what they make; once too much, all further ends at once."""

    def __init__(self, ast: Any, activation: Any, meter: Meter) -> None:
        super().__init__(ast, activation)
        self._meter = meter

    def sub_evaluator(self, ast: Any) -> _Metered:
        return _Metered(ast, self.activation, self._meter)

    def _visit_tree(self, tree: Any) -> Any:
        self._meter.tick()
        made = super()._visit_tree(tree)
        self._meter.made(made)
        return made


def _context(metrics: Mapping[str, float], labels: Mapping[str, str]) -> dict[str, Any]:
    numbers = {name: celtypes.DoubleType(value) for name, value in metrics.items()}
    return {
        **{name: number for name, number in numbers.items() if _NAME.fullmatch(name)},
        "metrics": celtypes.MapType({celtypes.StringType(name): number for name, number in numbers.items()}),
        "labels": celtypes.MapType({celtypes.StringType(n): celtypes.StringType(v) for n, v in labels.items()}),
        "host": celtypes.StringType(labels.get("host", "")),
    }


def _size(value: Any) -> Any:
    return celtypes.DoubleType(len(value))


def _kind(name: str) -> str:
    return _KINDS.get(name, name)


def _said(error: Exception) -> str:
    """The first words of the library's message, which may hold a whole environment."""
    if pair := _PAIR.search(str(error.args)):
        return f"{pair[1]} does not go between {_kind(pair[2])} and {_kind(pair[3])}"
    said = str(error.args[0] if error.args else error).split(" (in activation", 1)[0]
    args = error.args[2] if len(error.args) > 2 else ()  # noqa: PLR2004  # (text, class, what it is about)
    about = f": {', '.join(map(str, args))}" if args else ""
    # Where both sides of `&&` fail it wraps their errors, and the first reason is within.
    if inner := next((one for _, one in _INNER.findall(about) if not one.startswith("found no matching")), ""):
        return inner.replace("\\", "")[:_MOST_SAID]
    return f"{said[:_MOST_SAID]}{about[:_MOST_SAID]}"
