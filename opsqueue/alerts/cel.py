"""Condition texts in CEL, with limits that hold: length, depth, macros within macros, steps and room of an evaluation.

cel-python has no cost limit of its own. Here every visit of a node is counted, in macros too, and the size of each
value that is made, so that an evaluation ends after so much work on any machine; it takes no signal and no thread.
Numbers are doubles, those in the text too, because cel-python compares no integer with a double.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from opsqueue.errors import ConditionFailed, InvalidRequest, NumbersMissing
from opsqueue.model.alert_rule import MOST_CONDITION

if TYPE_CHECKING:
    from opsqueue.alerts.cel_engine import Program

MOST_DEPTH = 50
MOST_STEPS = 50_000
"""Visits of nodes in one evaluation: about 200 ms."""
MOST_ROOM = 500_000
"""Characters of texts, and members of lists and maps, that one evaluation makes or compares."""
_MACROS = frozenset({"map", "filter", "all", "exists", "exists_one"})
_REFUSED = frozenset({"reduce", "min"})
"""Macros that are none of CEL, and whose cost nothing bounds."""
_TRIED = (0.0, 1e6)
_HOPELESS = ("overload", "does not go between", "is true or false", "undeclared reference")
"""Words about the text itself; another failure may be for want of a label or a number."""
_MOST_SAID = 200
_MOST_BACKSLASHES = 8
"""The grammar of texts goes back once for each, and twice as often for each more."""


def check(text: str) -> None:
    """InvalidRequest when the text is no condition, could cost too much, or can have no answer for any numbers."""
    names = compiled(text).names
    failures = []
    for value in _TRIED:
        try:
            holds(text, metrics=dict.fromkeys((*names, "any"), value), labels={})
        except ConditionFailed as error:
            failures.append(str(error))
    if len(failures) == len(_TRIED) and any(word in failures[0] for word in _HOPELESS):
        raise InvalidRequest(f"this condition can have no answer: {failures[0]}")


def holds(text: str, *, metrics: Mapping[str, float], labels: Mapping[str, str]) -> bool:
    """Whether the condition holds; ConditionFailed when that cannot be told, NumbersMissing when for want of numbers.

    Each metric is also a name of its own where its name is one, as in `cpu_usage > 80`.
    """
    try:
        program = compiled(text)
    except InvalidRequest as error:
        raise ConditionFailed(error.message) from None
    from opsqueue.alerts.cel_meter import Meter  # noqa: PLC0415  # it comes with the library, which was loaded now

    meter = Meter(MOST_STEPS, MOST_ROOM)
    try:
        return program.holds(metrics, labels, meter)
    except ConditionFailed:
        # Asked only now: `a > 1 || b > 1` has an answer without b where a is above.
        if absent := sorted(program.names - set(metrics)):
            raise NumbersMissing(f"there is no number called {', '.join(absent)[:_MOST_SAID]}") from None
        raise


def wants_more(text: str, numbers: Collection[str]) -> bool:
    """Whether the condition asks for some of these numbers and for others too; what is no condition asks for none."""
    try:
        program = compiled(text)
    except InvalidRequest:
        return False
    return program.asks_all or (not program.names.isdisjoint(numbers) and not program.names.issubset(numbers))


def names(text: str) -> frozenset[str]:
    """The metrics that a condition names; InvalidRequest when it is none."""
    return compiled(text).names


@cache
def compiled(text: str) -> Program:
    """The condition, ready to be evaluated; InvalidRequest says what is wrong with it."""
    if len(text) > MOST_CONDITION:
        raise InvalidRequest(f"a condition has at most {MOST_CONDITION} characters; found {len(text)}")
    if text.count("\\") > _MOST_BACKSLASHES:
        raise InvalidRequest(f"a condition has at most {_MOST_BACKSLASHES} backslashes; found {text.count(chr(92))}")
    from opsqueue.alerts import cel_engine  # noqa: PLC0415  # 80 ms that only rules with such a text need

    tree = cel_engine.parse(text)
    _check_depth(tree)
    _check_macros(tree, within="")
    return cel_engine.Program(tree)


def _children(tree: Any) -> list[Any]:
    return [child for child in tree.children if hasattr(child, "data")]


def _check_depth(tree: Any) -> None:
    """Nodes that stand alone in their parent are how the grammar is written, and no depth; brackets are."""
    level = [tree]
    for _ in range(MOST_DEPTH):
        level = [deeper for node in level for deeper in _next_level(node)]
        if not level:
            return
    raise InvalidRequest(f"a condition is at most {MOST_DEPTH} levels deep")


def _next_level(node: Any) -> Iterator[Any]:
    for child in _children(node):
        while len(_children(child)) == 1 and child.data != "paren_expr":
            child = _children(child)[0]  # noqa: PLW2901  # down to where it branches
        yield child


def _check_macros(tree: Any, within: str) -> None:
    waiting = [(tree, within)]
    while waiting:
        node, outer = waiting.pop()
        name = str(node.children[1]) if node.data == "member_dot_arg" else ""
        if name in _REFUSED:
            raise InvalidRequest(f"{name}() is no macro of CEL, and not allowed in a condition")
        if name in _MACROS and outer:
            raise InvalidRequest(f"{name}() within {outer}(): a condition has no macro within a macro")
        body = name if name in _MACROS else outer
        first = next(iter(node.children), None)  # `!`, `-`, `[]` and `{}` have none
        waiting += [(child, outer if name in _MACROS and child is first else body) for child in _children(node)]
