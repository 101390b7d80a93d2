"""One condition on one label, as Alertmanager writes it: `host="web-1"`, `host!=`, `host=~"web-.*"`, `host!~`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

MatchOp = Literal["=", "!=", "=~", "!~"]
_TEXT = re.compile(r"\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\"\s,{}]*))\s*")
_MOST = 500


@dataclass(frozen=True, slots=True)
class Matcher:
    """Whether a label is, or looks like, this; a label that is missing is the empty text."""

    label: str
    op: MatchOp
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels pass; a pattern must fit the whole value."""
        found = labels.get(self.label, "")
        if self.op in {"=", "!="}:
            return (found == self.value) is (self.op == "=")
        return bool(_pattern(self.value).fullmatch(found)) is (self.op == "=~")

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{self.label}{self.op}"{escaped}"'


def parse_matchers(given: Any) -> tuple[Matcher, ...]:
    """Matchers from texts such as `host=~"web-.*"`, or from Matchers; ValueError says what is wrong."""
    if isinstance(given, str):
        given = (given,)
    if not isinstance(given, list | tuple):
        raise ValueError('matchers are a list of texts such as severity="critical"')  # noqa: TRY004 - pydantic wants ValueError
    return tuple(one if isinstance(one, Matcher) else parse_matcher(one) for one in given)


def parse_matcher(text: Any) -> Matcher:
    """The matcher in a text; ValueError says what is wrong."""
    found = _TEXT.fullmatch(text) if isinstance(text, str) and len(text) <= _MOST else None
    if found is None:
        raise ValueError(f'a matcher is LABEL, one of = != =~ !~, and "VALUE"; found {str(text)[:80]!r}')
    value = found[4] if found[3] is None else re.sub(r"\\(.)", r"\1", found[3]) if "~" not in found[2] else found[3]
    if found[2] in {"=~", "!~"}:
        _pattern(value)
    return Matcher(found[1], found[2], value)  # type: ignore[arg-type]  # the pattern lets no other operator through


def all_match(matchers: tuple[Matcher, ...], labels: Mapping[str, str]) -> bool:
    """Whether every one holds."""
    return all(one.matches(labels) for one in matchers)


@cache
def _pattern(text: str) -> Any:
    """RE2: it takes time in proportion to the text, whatever the pattern is."""
    import re2  # noqa: PLC0415  # only where a pattern is used, because commands must start fast

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        said = error.args[0] if error.args else error
        reason = said.decode() if isinstance(said, bytes) else str(said)
        raise ValueError(f"{text[:80]!r} is no regular expression of RE2: {reason}") from None
