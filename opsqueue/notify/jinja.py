"""Templates of messages: Jinja2 in its sandbox, over plain data, with a bound on all that one can cost.

The only module that imports it. What a template may use is listed, and the rest is refused before it runs: it calls
nothing, reads nothing, and loops over what it was given, so often at most. Each value that grows is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, nodes
from jinja2.filters import FILTERS as USUAL
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

from opsqueue.model.misspelt import nearest

MOST_RESULT = 20_000
"""Characters that come of a template, and of each value in it; members of a list."""
MOST_ROUNDS = 20_000
"""Rounds of all loops of one template together."""
_MOST_SECONDS = 3.0
_MOST_NUMBER = 1e15
_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Assign, nodes.Name, nodes.Const,
    nodes.List, nodes.Tuple, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Keyword,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr, nodes.Concat,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos,
)  # fmt: skip
_FILTERS = frozenset({
    "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "int", "items", "last",
    "length", "lower", "map", "reject", "rejectattr", "reverse", "select", "selectattr", "sort", "title", "trim",
    "truncate", "unique", "upper", "wordcount",
})  # fmt: skip
FILTERS = _FILTERS | {"join", "replace", "round"}
"""What templates may use."""
_ASK_FIRST = frozenset({"d", "default", "defined", "undefined"})
_EACH = "each of"
"""Of our own, under a name that is no filter's."""
_LOOPS = frozenset({"map", "reject", "rejectattr", "select", "selectattr"})
"""Filters that do something with each."""


class Wrong(Exception):
    """A template cannot be used; its text says why, for people."""


def rendered(source: str, given: Mapping[str, Any], *, html: bool = False) -> str:
    """What comes of a template; Wrong. `html`: it is HTML, and every value in it is escaped."""
    environment = _Environment(autoescape=html)
    try:
        template = environment.from_string(_looked_through(environment, source))
        return _gathered(template.generate(dict(given)))
    except Exception as error:  # noqa: BLE001 - whatever a template does, its message is sent
        raise Wrong(_why(error)) from None


def problem(source: str) -> str:
    """Why this can be no template; empty where it can. What only its values show is not known before."""
    environment = _Environment()
    try:
        environment.from_string(_looked_through(environment, source))
    except Exception as error:  # noqa: BLE001 - the compiler's own limits have many types
        return _why(error)
    return ""


def strangers(source: str, known: Collection[str]) -> str:
    """Which name of a good template nothing will ever be; empty where there is none, or it asks first whether it is."""
    tree = _Environment().parse(source)
    named = list(tree.find_all(nodes.Name))
    good = {*known, "loop", *(one.name for one in named if one.ctx != "load"), *_asked_for(tree)}
    for one in named:
        if one.name not in good:
            near = nearest(one.name, known) or f"; there are: {', '.join(sorted(known))}"
            return f"line {one.lineno}: there is no {one.name[:40]!r}{near}"
    return ""


def _asked_for(tree: nodes.Template) -> set[str]:
    """The names with `| default(…)` or `is defined`."""
    asks = [one for one in tree.find_all((nodes.Filter, nodes.Test)) if one.name in _ASK_FIRST]
    return {one.node.name for one in asks if isinstance(one.node, nodes.Name)}


class _Environment(ImmutableSandboxedEnvironment):
    """Has data, the listed filters and the usual tests; nothing can be called, and no attribute of Python is seen."""

    intercepted_binops = frozenset({"+", "*", "%"})

    def __init__(self, *, autoescape: bool = False) -> None:
        super().__init__(
            autoescape=autoescape,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=_printed,
        )
        self.globals.clear()
        own: dict[str, Callable[..., Any]] = {"join": _joined, "replace": _replaced, "round": _rounded}
        usual = {name: USUAL[name] for name in _FILTERS}
        self.filters = {**usual, **own, _EACH: _Rounds().each}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Of the loop what Jinja tells of it, of all else a member."""
        return super().getattr(obj, attribute) if isinstance(obj, LoopContext) else self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """A member of a mapping, list or text."""
        if isinstance(obj, Undefined):
            str(obj)
        if isinstance(obj, Mapping) or (isinstance(obj, list | tuple | str) and isinstance(argument, int)):
            try:
                return obj[argument]
            except (LookupError, TypeError):
                pass
        return self.undefined(obj=obj, name=argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Numbers are reckoned with, texts and lists only added."""
        numbers = all(isinstance(one, int | float) for one in (left, right))
        if operator != "+" and not numbers:
            raise Wrong(f"{operator} is for numbers only")
        return _sized(super().call_binop(context, operator, left, right))


class _Rounds:
    """Counts the rounds of all loops of one template."""

    def __init__(self) -> None:
        self._left, self._until = MOST_ROUNDS, time.monotonic() + _MOST_SECONDS

    def each(self, some: Iterable[Any] | None) -> Iterator[Any]:
        """The same, until it was too much."""
        if isinstance(some, Undefined):
            str(some)  # raises, and says what is missing
        return self._counted(() if some is None else some)

    def _counted(self, some: Iterable[Any]) -> Iterator[Any]:
        for one in some:
            self._left -= 1
            if self._left < 0:
                raise Wrong(f"its loops have more than {MOST_ROUNDS} rounds")
            if time.monotonic() > self._until:
                raise Wrong(f"it took more than {_MOST_SECONDS:g} s")
            yield one


def _looked_through(environment: _Environment, source: str) -> nodes.Template:
    """The template as it is run; Wrong where it uses what is not listed."""
    tree = environment.parse(source)
    for node in tree.find_all(nodes.Node):
        _allowed(node)
    for loop in tree.find_all(nodes.For):
        loop.iter = _through(environment, _EACH, loop.iter)
    for one in tree.find_all(nodes.Filter):
        if one.name in _LOOPS:
            one.node = _through(environment, _EACH, one.node)
    for text in tree.find_all(nodes.Concat):
        parts = nodes.List(text.nodes, lineno=text.lineno, environment=environment)
        text.nodes = [_through(environment, "join", parts)]  # which measures the whole before it is made
    return tree


def _through(environment: _Environment, name: str, of: Any) -> nodes.Filter:
    return nodes.Filter(of, name, [], [], None, None, lineno=of.lineno, environment=environment)


def _allowed(node: nodes.Node) -> None:
    what = ""
    if not isinstance(node, _NODES):
        what = _WORDS.get(type(node).__name__, type(node).__name__.lower())
    elif isinstance(node, nodes.Filter) and node.name not in FILTERS:
        what = f"the filter {str(node.name)[:40]!r} (there are: {', '.join(sorted(FILTERS))})"
    elif isinstance(node, nodes.For) and node.recursive:
        what = "a recursive loop"
    elif isinstance(node, nodes.List | nodes.Tuple) and not all(map(_plain, node.items)):
        what = "a list of anything but texts and numbers"
    if what:
        raise Wrong(f"line {node.lineno}: a template may not use {what}")


_WORDS = {
    "Call": "a call, such as range(…) or x.lower(): there are filters, as in x | lower",
    "Macro": "a macro",
    "Include": "include",
    "Import": "import",
    "FromImport": "import",
    "Extends": "extends",
    "Block": "a block",
    "Pow": "**",
    "Dict": "a dictionary",
}


def _plain(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) or (isinstance(node, nodes.Name) and node.ctx == "store")


def _gathered(pieces: Iterable[str]) -> str:
    found, length = [], 0
    for piece in pieces:
        length += len(piece)
        if length > MOST_RESULT:
            raise Wrong(f"it gives more than {MOST_RESULT} characters")
        found.append(piece)
    return "".join(found)


def _printed(value: Any) -> Any:
    """Texts and numbers; StrictUndefined says itself that it is none."""
    if isinstance(value, Undefined):
        str(value)
    if value is not None and not isinstance(value, str | int | float):
        raise Wrong(f"a {'mapping' if isinstance(value, Mapping) else 'list'} cannot be printed: use a loop, or join")
    return "" if value is None else value


def _sized(value: Any) -> Any:
    if isinstance(value, int | float) and abs(value) > _MOST_NUMBER:
        raise Wrong("a number becomes too large")
    if isinstance(value, str | list | tuple):
        _bounded(len(value))
    return value


def _bounded(length: int) -> None:
    if length > MOST_RESULT:
        raise Wrong(f"a value has more than {MOST_RESULT} characters or members")


def _joined(some: Iterable[Any], between: str = "", attribute: str | None = None) -> str:
    found = [_printed(one if attribute is None else one[attribute]) for one in some]
    _bounded(sum(len(str(one)) for one in found) + len(found) * len(str(between)))
    if any(isinstance(one, Markup) for one in (between, *found)):
        safe: str = escape(between).join(found)
        return safe
    return str(between).join(map(str, found))


def _replaced(text: Any, old: str, new: str) -> str:
    whole: str = text if isinstance(text, str) else str(_printed(text))
    _bounded(len(whole) + whole.count(old) * len(new))
    return whole.replace(old, new)


def _rounded(number: float, digits: int = 0) -> float:
    return round(float(number), max(-9, min(9, int(digits))))


def _why(error: Exception) -> str:
    if isinstance(error, TemplateSyntaxError):
        return f"line {error.lineno}: {error.message}"
    if isinstance(error, Wrong):
        return str(error)
    line = _line(error)
    return f"line {line}: {error}" if line else f"{type(error).__name__}: {error}"


def _line(error: Exception) -> int:
    """Where in the template it happened; 0: not known."""
    found, at = 0, error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename in {"<template>", "<unknown>"}:
            found = at.tb_lineno
        at = at.tb_next
    return found
