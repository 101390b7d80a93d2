"""What several hosts have to say in the same words is said once, for all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

_HOST = "\x00"
"""Stands for the name of the host in a text that is compared."""
_SUBJECT = re.compile(rf"{_HOST} (?:\(([^()\s]+:[0-9]+)\) )?")
"""The host, and its address, at the beginning of a sentence about it."""
_ADDRESS = re.compile(rf"(?<={_HOST}) \([^()\s]+:[0-9]+\)")
_SHOWN = re.compile(r"(?<=it shows )[a-z0-9@.-]+ SHA256:[A-Za-z0-9+/]{43}")
"""The key of a host that is not trusted yet; `hosts trust` shows it again, to be compared."""
_TAKES_ALL = re.compile(rf"(`opsqueue hosts (?:trust|check|list) ){_HOST}")
"""Commands that take several hosts."""
_NAMED = 3
_MOST = 20
"""Names in one command."""


@dataclass(frozen=True, slots=True)
class Alike:
    """One text and the hosts that it is about."""

    hosts: tuple[str, ...]
    text: str
    """Without the host at its beginning."""
    subject: bool = False
    """Whether the text goes on a sentence that the host begins, such as `refused the connection`."""
    where: str = ""
    """`address:port` of a single host, if the text had it."""

    @property
    def line(self) -> str:
        """The whole: `web-1 (10.0.0.1:22) refused …`, `web-1 … web-5 (5 hosts): refused …`."""
        place = f" ({self.where})" if self.where else ""
        between = " " if self.subject and len(self.hosts) == 1 else ": "
        return f"{who(self.hosts)}{place}{between}{self.text}" if any(self.hosts) else self.text

    @property
    def beside(self) -> str:
        """The text where the host itself stands beside it, as in a table."""
        return f"{self.where} {self.text}" if self.where else self.text.removeprefix("is ")


def alike(
    items: Iterable[T], said: Callable[[T], tuple[str, str]], apart: Callable[[T], Hashable] = lambda _item: None
) -> list[tuple[T, Alike]]:
    """The first of all items whose hosts say the same, and what; `said` gives host and text of an item.

    The host's own name, address and key make no difference; what `apart` gives does.
    """
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault((apart(item), essence(*said(item))), []).append(item)
    return [(group[0], _told([said(item) for item in group])) for group in groups.values()]


def told(pairs: Iterable[tuple[str, str]], most: int = 5) -> str:
    """Hosts and what they say, in one line: of different texts at most so many."""
    found = [one.line for _, one in alike(pairs, lambda pair: pair)]
    more = f"; and {len(found) - most} more" if len(found) > most else ""
    return "; ".join(found[:most]) + more


def who(hosts: Sequence[str]) -> str:
    """`web-1, web-2` for a few hosts, `web-1 … web-5 (5 hosts)` for more."""
    if len(hosts) <= _NAMED:
        return ", ".join(hosts)
    return f"{hosts[0]} … {hosts[-1]} ({len(hosts)} hosts)"


def names(hosts: Sequence[str]) -> str:
    """The names for a command, as far as they are not too many."""
    return " ".join(hosts[:_MOST]) + (" …" if len(hosts) > _MOST else "")


def for_all(hosts: Sequence[str], text: str) -> str:
    """A text of the first of these hosts, as it is for all of them: commands name each, where they can."""
    if len(hosts) == 1:
        return text
    return _TAKES_ALL.sub(rf"\g<1>{names(hosts)}", essence(hosts[0], text)).replace(_HOST, "HOST")


def essence(host: str, text: str) -> str:
    """The text with one sign in place of the host, and without what only it can have."""
    marked = _marked(host, text)
    return _SHOWN.sub("a key of its own", _ADDRESS.sub("", marked))


def _marked(host: str, text: str) -> str:
    while host and text.startswith(f"{host}: "):
        text = text.removeprefix(f"{host}: ")
    # Not within a longer name: web-1 is neither in web-10 nor in web-1.example.
    own = re.compile(rf"(?<![\w.-]){re.escape(host)}(?![\w-]|\.\w)")
    return own.sub(_HOST, text) if host else text


def _told(said: Sequence[tuple[str, str]]) -> Alike:
    hosts = tuple(dict.fromkeys(host for host, _ in said))
    host, text = said[0]
    marked = _marked(host, text)
    begins = _SUBJECT.match(marked)
    rest = marked[begins.end() :] if begins else marked
    if len(hosts) > 1:
        return Alike(hosts, for_all(hosts, rest).removeprefix("is "))
    return Alike(hosts, rest.replace(_HOST, host), bool(begins), (begins[1] or "") if begins else "")
