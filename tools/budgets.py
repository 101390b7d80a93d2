"""The budgets of the house: 40 lines a function, 300 a module unless its docstring says why, depth 3."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MOST_LINES, MOST_MODULE, DEEPEST = 40, 300, 3
_WHY = "because"
_NESTS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith, ast.Match)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def depth(node: ast.AST, level: int = 0) -> int:
    found = level
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        # `elif` is written as an if inside an else, and reads as one level.
        chained = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deeper = isinstance(child, _NESTS) and not chained
        found = max(found, depth(child, level + deeper))
    return found


def complaints(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    lines = text.count("\n")
    if lines > MOST_MODULE and _WHY not in (ast.get_docstring(tree) or ""):
        yield f"{path}: {lines} lines; split it, or say in its docstring why it is longer ({_WHY} …)"
    if ast.get_docstring(tree) is None:
        yield f"{path}: no docstring"
    for function in functions(tree):
        length = (function.end_lineno or 0) - function.lineno + 1
        if length > MOST_LINES:
            yield f"{path}:{function.lineno} {function.name}: {length} lines"
        if depth(function) > DEEPEST:
            yield f"{path}:{function.lineno} {function.name}: nested {depth(function)} deep"


def main() -> int:
    files = [path for path in sorted(Path("opsqueue").rglob("*.py")) if "versions" not in path.parts]
    found = [line for path in files for line in complaints(path)]
    print("\n".join(found) if found else f"budgets hold: {len(files)} modules")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
