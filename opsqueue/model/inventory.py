"""All hosts by name, their groups and tags, and which of them a selector stands for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from opsqueue.errors import InvalidConfig, InvalidRequest, NotFound
from opsqueue.model.host import Host
from opsqueue.model.misspelt import nearest

_GLOB = re.compile(r"[*?\[]")
_NAMED = re.compile(r"[A-Za-z0-9]")
_LISTS = "`opsqueue hosts list` lists them."
_NAMED_MOST = 5
_SHOWN = 50
"""Known words that an error hands back."""


@dataclass(frozen=True, eq=False)
class Inventory(Mapping[str, Host]):
    """Hosts by name in a stable order; read as a mapping it is the hosts."""

    hosts: Mapping[str, Host] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Every host of a group, also those of the groups in it."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where each host was read, as people would look for it."""

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.hosts)

    def __len__(self) -> int:
        return len(self.hosts)

    @cached_property
    def tags(self) -> Mapping[str, tuple[str, ...]]:
        """The hosts of each tag."""
        found: dict[str, list[str]] = {}
        for host in self.hosts.values():
            for tag in host.tags:
                found.setdefault(tag, []).append(host.name)
        return {tag: tuple(names) for tag, names in found.items()}

    @cached_property
    def ambiguous(self) -> Mapping[str, str]:
        """The hosts that are called like a group or a tag, and which of the two; a selector means the host."""
        known = (("tag", self.tags), ("group", self.groups))
        return {name: what for name in self.hosts for what, named in known if name in named}

    def whereabouts(self, host: Host) -> str:
        """Which machine it is, as far as the inventory says: how it is reached, where, and through which gateways."""
        if host.connector != "ssh":
            return host.connector
        through, seen = "", {host.name}
        gateway = self.hosts.get(host.gateway)
        while gateway is not None and gateway.name not in seen:
            through += f" through {gateway.where}"
            seen.add(gateway.name)
            gateway = self.hosts.get(gateway.gateway)
        return f"ssh {host.where}{through}"

    def _same(self) -> Iterator[list[str]]:
        """Names of what is one machine, by its place."""
        found: dict[str, list[str]] = {}
        for host in self.hosts.values():
            if host.connector == "ssh":
                found.setdefault(self.whereabouts(host), []).append(host.name)
        return (names for names in found.values() if len(names) > 1)

    def doubts(self) -> list[str]:
        """What may be meant otherwise, in words."""
        same = [
            f"{' and '.join(names[:_NAMED_MOST])} are one machine ({self.hosts[names[0]].where}), and changes of it "
            f"under two names are not kept apart: give it one name"
            for names in self._same()
        ]
        return same + [
            f"{name} is a host and a {what}, and `{name}` means the host alone: give one of them another name, "
            f"or say `{what}:{name}`"
            for name, what in self.ambiguous.items()
        ]

    def select(self, systems: Sequence[str]) -> tuple[Host, ...]:
        """The hosts that selectors stand for, each once, in the order of the inventory.

        A selector is a host, a group, a tag (looked up in this order), `group:NAME`, `tag:NAME`, a pattern of host
        names such as `web-*`, or `all`. With `!` or `not:` before it, it is taken away from the whole; only such ones
        mean all but these. NotFound for a word that stands for nothing known, InvalidRequest when no host is left.
        """
        wanted = [word for word in systems if _spared(word) is None]
        chosen = {name for word in wanted for name in self.names(word)} if wanted else set(self.hosts)
        spared = {name for word in systems if (what := _spared(word)) is not None for name in self.names(what)}
        found = tuple(self.hosts[name] for name in self.hosts if name in chosen and name not in spared)
        if not found or not systems:
            what = ", ".join(systems)[:200] or "nothing"
            why = self._why_nobody(wanted, chosen)
            raise InvalidRequest(f"{what} stands for no host at all: {why}; `opsqueue hosts list` shows them")
        return found

    def _why_nobody(self, wanted: Sequence[str], chosen: Collection[str]) -> str:
        if not self.hosts:
            return "the inventory is empty"
        if chosen:
            return "nothing is left when all that `!` names is taken away"
        return "the group is empty" if len(wanted) == 1 else "these groups are empty" if wanted else "name some"

    def names(self, word: str) -> Iterable[str]:
        """The names of the hosts that one selector without `!` stands for; NotFound tells the nearest known word."""
        kind, _, name = word.partition(":")
        if word == "all":
            return self.hosts
        if kind == "group" and name:
            return _found(self.groups, name, "group", self.tags, "tag")
        if kind == "tag" and name:
            return _found(self.tags, name, "tag", self.groups, "group")
        if word in self.hosts:
            return (word,)
        for known in (self.groups, self.tags):
            if word in known:
                return known[word]
        if _GLOB.search(word) and _NAMED.search(word):
            return self._matched(word)
        raise _unknown(word, "host, group or tag", [*self.hosts, *self.groups, *self.tags])

    def _matched(self, pattern: str) -> list[str]:
        found = [name for name in self.hosts if fnmatchcase(name, pattern)]
        if not found:
            raise NotFound(f"no host has a name like {pattern[:80]!r}; {_LISTS}")
        return found


def _spared(word: str) -> str | None:
    """What a selector takes away; None when it adds."""
    return next((word.removeprefix(sign) for sign in ("!", "not:") if word.startswith(sign)), None)


Named = Mapping[str, tuple[str, ...]]


def _found(known: Named, name: str, what: str, others: Named, other: str) -> tuple[str, ...]:
    if name in known:
        return known[name]
    if name in others:
        raise NotFound(f"there is no {what} {name[:80]!r}; it is a {other}: write {other}:{name}. {_LISTS}")
    raise _unknown(name, what, known)


def _unknown(word: str, what: str, known: Iterable[str]) -> NotFound:
    here = list(known)
    if "," in word:
        apart = " ".join(filter(None, (part.strip() for part in word.split(","))))
        return NotFound(
            f"there is no {what} {word[:80]!r}; separate several by spaces: {apart[:80]}. {_LISTS}", known=here[:_SHOWN]
        )
    near = nearest(word, here)
    return NotFound(f"there is no {what} {word[:80]!r}{near or '.'} {_LISTS}", known=here[:_SHOWN])


def flattened(hosts: Iterable[str], groups: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Every host of each group, where a member is a host, else a group; `group:NAME` is a group in any case.

    Raises InvalidConfig for a member that is neither, and for groups that hold each other in a circle.
    """
    known = dict.fromkeys(hosts)
    below = {group: [_below(group, member, known, groups) for member in members] for group, members in groups.items()}
    flat: dict[str, dict[str, None]] = {}
    for group in _from_below({group: [name for name, inner in of if inner] for group, of in below.items()}):
        flat[group] = {}
        for name, inner in below[group]:
            flat[group].update(flat[name] if inner else {name: None})
    return {group: tuple(name for name in flat[group]) for group in groups}


def _below(group: str, member: str, hosts: Mapping[str, None], groups: Mapping[str, Sequence[str]]) -> tuple[str, bool]:
    """The name of a member, and whether it is a group."""
    if member in hosts:
        return member, False
    name = member.removeprefix("group:")
    if name in groups:
        return name, True
    near = nearest(name, [*hosts, *groups])
    raise InvalidConfig(f"groups.{group} names {name[:80]!r}, which is no host and no group of the inventory{near}")


def _from_below(inner: Mapping[str, Sequence[str]]) -> list[str]:
    """The groups, each after those that it holds."""
    try:
        return list(TopologicalSorter(inner).static_order())
    except CycleError as error:
        circle = " holds ".join(reversed(error.args[1]))
        raise InvalidConfig(f"groups hold each other in a circle: {circle}. Take one of them out") from None


def ways(hosts: Mapping[str, Host], usual: Collection[str] = ()) -> None:
    """Raise InvalidConfig for a gateway that is not in the inventory, not reached over SSH, or needs itself.

    `usual`: the hosts that have theirs from `ssh.gateway`.
    """
    good: set[str] = set()
    for host in hosts.values():
        way: dict[str, None] = {}
        name = host.name
        while name not in good:
            if name in way:
                circle = " through ".join([*way, name])
                raise InvalidConfig(f"gateways go in a circle: {circle}. Set `gateway` to an empty text on one of them")
            way[name] = None
            name = _gateway(hosts, hosts[name], " (it is that of `ssh.gateway`)" if name in usual else "")
            if not name:
                break
        good.update(way)


def _gateway(hosts: Mapping[str, Host], host: Host, said: str) -> str:
    name = host.gateway
    if name and name not in hosts:
        near = nearest(name, hosts)
        raise InvalidConfig(
            f"the gateway of {host.name}{said} is {name[:80]!r}, which is no host of the inventory{near}"
        )
    if name and hosts[name].connector != "ssh":
        raise InvalidConfig(f"the gateway of {host.name}{said} is {name}, which is not reached over SSH itself")
    return name
