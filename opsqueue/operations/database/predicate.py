"""The predicate of a cleanup: read as one expression of a small language, and written anew for the engine.

What is sent is never the text that was given. There is no subquery, no statement, no comment, no backslash and no
function but those below, so nothing can be said here but which rows of the one table are meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?![\w.]))|(?P<name>[A-Za-z_]\w*)|(?P<quoted>\"(?:[^\"]|\"\")+\"|`[^`]+`)"
    r"|(?P<text>'(?:[^']|'')*')|(?P<sign><>|!=|<=|>=|[=<>(),+*/%-]))"
)
_FUNCTIONS = frozenset(
    (
        *("now", "date", "datetime", "julianday", "unixepoch", "strftime", "unix_timestamp", "from_unixtime"),
        *("to_timestamp", "date_trunc", "date_part", "timestampdiff", "curdate", "utc_timestamp"),
        *("lower", "upper", "trim", "length", "char_length", "octet_length", "substr", "substring"),
        *("coalesce", "nullif", "abs", "mod"),
    )
)
_PLAIN = frozenset(("current_timestamp", "current_date", "null", "true", "false"))
_UNITS = frozenset(("second", "minute", "hour", "day", "week", "month", "year"))
_TYPES = frozenset(
    (
        *("date", "datetime", "timestamp", "timestamptz", "text", "char"),
        *("integer", "bigint", "numeric", "real", "signed", "unsigned"),
    )
)
_KEYWORDS = frozenset(("and", "or", "not", "in", "between", "like", "is", "as", "cast", "interval"))
_STATEMENTS = frozenset(("select", "exists", "case", "union"))
_COMPARED = frozenset(("=", "<>", "!=", "<", "<=", ">", ">="))
_MATH = frozenset(("+", "-", "*", "/", "%"))
_DEEPEST = 30
MARK = "opsqueue_size"
"""Stands in what is sent to MySQL and SQLite for the size of a batch."""
_CONTROL = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """The words of the expression, each with its sort: `column`, `text` or `word`."""

    words: tuple[tuple[str, str], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that it names, once."""
        return tuple(dict.fromkeys(word for sort, word in self.words if sort == "column"))

    def sql(self, quote: str) -> str:
        """The expression, with names in this quote: a backtick (SQLite, MySQL) or a double one (PostgreSQL)."""
        said = [quoted(word, quote) if sort == "column" else word for sort, word in self.words]
        return " ".join(said)


def quoted(name: str, quote: str) -> str:
    """A name that can be nothing else."""
    return quote + name.replace(quote, quote * 2) + quote


def parse(text: str) -> Predicate:
    """The predicate that is written there; ValueError with the reason when it is none, or names no column."""
    found = Predicate(words=_Reader(_tokens(text)).whole())
    if not found.columns:
        raise ValueError("the predicate names no column, so it would mean every row or none")
    return found


def _tokens(text: str) -> list[tuple[str, str]]:
    if any(ord(letter) < _CONTROL and letter not in "\t\n" for letter in text) or "\\" in text:
        raise ValueError("a predicate holds no backslash and no control character")
    if MARK in text:
        raise ValueError(f"a predicate does not hold {MARK}, where the size of a batch is put in")
    if "--" in text or "/*" in text:
        raise ValueError("a predicate holds no comment, and neither -- nor /* in a text")
    found, at, text = [], 0, text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ValueError(f"this is no part of one expression: {text[at : at + 30]!r}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    if any(one[0] == two[0] == "text" for one, two in pairwise(found)):
        raise ValueError("two texts stand side by side")
    return found


class _Reader:
    """A descent through the grammar; what was read is kept as words."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0
        self._said: list[tuple[str, str]] = []

    def whole(self) -> tuple[tuple[str, str], ...]:
        self._either()
        if self._at < len(self._tokens):
            raise ValueError(f"the expression ends before {self._tokens[self._at][1]!r}; only one is taken")
        return tuple(self._said)

    @property
    def _sort(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    @property
    def _next(self) -> str:
        """The next word in lower case; empty at the end, and for a quoted name or a text."""
        sort, word = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        return word.lower() if sort in {"name", "sign"} else ""

    def _take(self, sort: str = "word") -> None:
        word = self._next if sort == "word" and self._sort == "name" else self._tokens[self._at][1]
        self._said.append((sort, word))
        self._at += 1

    def _may(self, *words: str) -> bool:
        if self._next in words:
            self._take()
            return True
        return False

    def _must(self, word: str) -> None:
        if not self._may(word):
            there = self._tokens[self._at][1] if self._at < len(self._tokens) else "its end"
            raise ValueError(f"{word!r} is missing before {there!r}")

    def _either(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f"the expression is nested more than {_DEEPEST} deep")
        self._both()
        while self._may("or", "and"):
            self._both()
        self._depth -= 1

    def _both(self) -> None:
        while self._may("not"):
            pass
        self._sum()
        if self._may(*_COMPARED):
            self._sum()
        elif self._may("is"):
            self._may("not")
            self._must("null")
        else:
            self._among()

    def _among(self) -> None:
        negated = self._may("not")
        if self._may("between"):
            self._sum()
            self._must("and")
            self._sum()
        elif self._may("like"):
            self._sum()
        elif self._may("in"):
            self._list()
        elif negated:
            raise ValueError("after not comes between, like or in")

    def _list(self) -> None:
        self._must("(")
        self._sum()
        while self._may(","):
            self._sum()
        self._must(")")

    def _sum(self) -> None:
        self._one()
        while self._may(*_MATH):
            self._one()

    def _one(self) -> None:
        self._may("-", "+")
        if self._sort in {"number", "text"}:
            self._take("text")
        elif self._sort == "quoted":
            self._column()
        elif self._may("("):
            self._either()
            self._must(")")
        elif self._may("cast"):
            self._cast()
        elif self._may("interval"):
            self._interval()
        elif self._sort == "name":
            self._named()
        else:
            there = self._tokens[self._at][1] if self._at < len(self._tokens) else "its end"
            raise ValueError(f"a column, a value or a function is missing before {there!r}")

    def _called(self) -> None:
        """A function and its bracket stay together, as MySQL wants them."""
        self._said.append(("word", f"{self._next}("))
        self._at += 2
        if self._may(")"):
            return
        self._sum()
        while self._may(","):
            self._sum()
        self._must(")")

    def _cast(self) -> None:
        if self._next != "(":
            raise ValueError("cast is written as cast(column as type)")
        self._said[-1] = ("word", "cast(")
        self._at += 1
        self._sum()
        self._must("as")
        if self._next not in _TYPES:
            raise ValueError(f"cast goes to one of {', '.join(sorted(_TYPES))}")
        self._take()
        self._must(")")

    def _interval(self) -> None:
        if self._sort == "text":
            self._take("text")
            self._may(*_UNITS)
            return
        if self._sort != "number":
            raise ValueError("interval is written as interval '90 days' (PostgreSQL) or interval 90 day (MySQL)")
        self._take("text")
        if not self._may(*_UNITS):
            raise ValueError(f"after interval and its number comes one of {', '.join(sorted(_UNITS))}")

    def _column(self) -> None:
        word = self._tokens[self._at][1]
        self._at += 1
        mark = word[0]
        self._said.append(("column", word[1:-1].replace(mark * 2, mark)))

    def _named(self) -> None:
        after = self._tokens[self._at + 1][1] if self._at + 1 < len(self._tokens) else ""
        if after == "(":
            if self._next not in _FUNCTIONS:
                raise ValueError(f"{self._next} is no function that is known here: {', '.join(sorted(_FUNCTIONS))}")
            self._called()
        elif self._next in _PLAIN:
            self._take()
        elif self._next in _KEYWORDS | _STATEMENTS:
            raise ValueError(f"{self._next!r} cannot stand here: one expression over the columns of the table is taken")
        else:
            self._take("column")
