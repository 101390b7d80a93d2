"""The JSON of Ansible's dynamic inventories and of `ansible-inventory --list`: what of it means something to us.

What we cannot do and what matters is refused by name; all other variables are Ansible's own business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any

from pydantic import ValidationError

from opsqueue.connectors.inventory.place import Place, refuse_secrets
from opsqueue.errors import InvalidConfig
from opsqueue.model.in_words import kind_of
from opsqueue.model.inventory import flattened
from opsqueue.model.misspelt import nearest
from opsqueue.model.request import explain
from opsqueue.settings_parts import HostSettings

_META = "_meta"
_NOT_OURS = frozenset({"all", "ungrouped"})
"""Groups that Ansible always has."""
_MEANS = {
    "ansible_ssh_host": "address",
    "ansible_host": "address",
    "ansible_ssh_port": "port",
    "ansible_port": "port",
    "ansible_ssh_user": "user",
    "ansible_user": "user",
    "ansible_private_key_file": "key_file",
    "ansible_ssh_private_key_file": "key_file",
}
"""A later one goes before an earlier one."""
_CONNECTIONS = {"ssh": "ssh", "smart": "ssh", "paramiko": "ssh", "paramiko_ssh": "ssh", "local": "local"}
_LOG_IN = "log in with a key (ansible_ssh_private_key_file)"
_SUDO = "let the user run what it needs with `sudo -n`, which asks for no password"
_PHRASE = "set ssh.key_passphrase in the configuration, by reference"
_REFUSED = {
    **dict.fromkeys(("ansible_password", "ansible_ssh_pass", "ansible_ssh_password"), _LOG_IN),
    **dict.fromkeys(("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass", "ansible_su_pass"), _SUDO),
    **dict.fromkeys(("ansible_private_key_passphrase", "ansible_ssh_private_key_passphrase"), _PHRASE),
}
_ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args")
_PROXY = re.compile(r"proxyjump|proxycommand|(?:^|\s)-J", re.IGNORECASE)
_OURS = "opsqueue_"


@dataclass(slots=True)
class _Group:
    hosts: list[str]
    children: list[str] = field(default_factory=list)
    vars: Mapping[str, Any] = field(default_factory=dict)


def ansible_form(data: Mapping[str, Any], where: str, ask: Callable[[Iterable[str]], Mapping[str, Any]]) -> Place:
    """Hosts and groups of an Ansible inventory; `ask` gives the variables of hosts where there is no `_meta`."""
    groups = {name: _group(name, value, where) for name, value in data.items() if name != _META}
    if _META in data:
        variables = _object(_object(data[_META], f"{where}: _meta").get("hostvars", {}), f"{where}: _meta.hostvars")
    else:
        variables = ask(dict.fromkeys(name for group in groups.values() for name in group.hosts))
    names = dict.fromkeys([*variables, *(name for group in groups.values() for name in group.hosts)])
    ours = {name: _members(group, groups) for name, group in groups.items() if name not in _NOT_OURS}
    inherited = _inherited(names, groups, where)
    hosts = {
        name: _host(where, name, {**inherited.get(name, {}), **_object(variables.get(name, {}), where)})
        for name in names
    }
    return Place(where=where, hosts=hosts, groups=ours)


def _group(name: str, value: Any, where: str) -> _Group:
    what = f"{where}: group {name[:80]}"
    if isinstance(value, list):
        return _Group(hosts=_texts(value, what))
    found = _object(value, what)
    return _Group(
        hosts=_texts(found.get("hosts") or [], f"{what}.hosts"),
        children=_texts(found.get("children") or [], f"{what}.children"),
        vars=_object(found.get("vars") or {}, f"{what}.vars"),
    )


def _members(group: _Group, groups: Mapping[str, _Group]) -> tuple[str, ...]:
    # Groups in which nobody is are left out of the list, though their holders name them.
    children = (f"group:{name}" for name in group.children if name in groups and name not in _NOT_OURS)
    return tuple(dict.fromkeys([*group.hosts, *children]))


def _inherited(names: Iterable[str], groups: Mapping[str, _Group], where: str) -> dict[str, dict[str, Any]]:
    """The variables that each host has from its groups, the nearest group last, as Ansible orders them."""
    telling = {name for name, group in groups.items() if any(_matters(variable) for variable in group.vars)}
    if not telling:
        return {}
    try:
        within = flattened(names, {name: _within(group, groups) for name, group in groups.items()})
    except InvalidConfig as error:
        raise InvalidConfig(f"{where}: {error.message}") from None
    depth = _depths(groups)
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for group in sorted(telling, key=lambda name: (depth[name], _priority(groups[name]), name)):
        for host in found if group == "all" else within[group]:
            found[host].update(groups[group].vars)
    return found


def _within(group: _Group, groups: Mapping[str, _Group]) -> tuple[str, ...]:
    return (*group.hosts, *(f"group:{name}" for name in group.children if name in groups))


def _depths(groups: Mapping[str, _Group]) -> dict[str, int]:
    above: dict[str, list[str]] = {name: [] for name in groups}
    for name, group in groups.items():
        for child in group.children:
            above.setdefault(child, []).append(name)
    found: dict[str, int] = {}
    for name in TopologicalSorter(above).static_order():
        found[name] = 0 if name == "all" else 1 + max((found[one] for one in above[name]), default=0)
    return found


def _priority(group: _Group) -> int:
    found = group.vars.get("ansible_group_priority", 1)
    return int(found) if re.fullmatch(r"-?[0-9]{1,9}", str(found)) else 1


def _matters(variable: str) -> bool:
    known = variable in _MEANS or variable in _REFUSED or variable in _ARGUMENTS
    return known or variable == "ansible_connection" or variable.startswith(_OURS)


def _host(where: str, host: str, variables: Mapping[str, Any]) -> HostSettings:
    """The settings of one host; InvalidConfig names the variable that cannot be honoured."""
    what = f"{where}: host {host[:80]}"
    known = {name: value for name, value in variables.items() if _matters(name) and _said(name, value)}
    for name, value in known.items():
        if name in _REFUSED:
            raise InvalidConfig(f"{what} has {name}, which opsqueue does not use: {_REFUSED[name]}, and take it out")
        if _template(value):
            raise InvalidConfig(f"{what}: {name} is a template, which only Ansible can fill in: write its value")
    given = dict(_given(what, known))
    over_ssh = given.get("connector", "ssh") == "ssh"
    if given.get("gateway") == host or not over_ssh:
        given["gateway"] = ""  # said for all, and so for the gateway itself
    if (proxy := _proxy(known)) and "gateway" not in given:
        raise InvalidConfig(
            f"{what}: {proxy} goes through another machine, which opsqueue does not read from there: "
            "set opsqueue_gateway to the name of that host (or to an empty text)"
        )
    refuse_secrets({"parameters": given.get("parameters", {})}, what)
    try:
        return HostSettings.model_validate(given)
    except ValidationError as error:
        raise InvalidConfig(explain(error, what, HostSettings)) from None


def _said(name: str, value: Any) -> bool:
    """Whether a value says something; an empty text does so only where it is meant for us."""
    return value is not None and (value != "" or name.startswith(_OURS))


def _given(what: str, known: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys of our own that variables stand for; the last of several counts."""
    for name, key in _MEANS.items():
        if name in known:
            yield key, known[name]
    if "ansible_connection" in known and f"{_OURS}connector" not in known:
        yield "connector", _connector(what, known["ansible_connection"])
    for name, value in known.items():
        if name.startswith(_OURS):
            yield _ours(what, name, value)


def _connector(what: str, value: Any) -> str:
    word = str(value).removeprefix("ansible.builtin.").removeprefix("ansible.legacy.")
    if word not in _CONNECTIONS:
        raise InvalidConfig(
            f"{what} has ansible_connection {str(value)[:80]!r}; opsqueue reaches hosts by ssh or local, or by a "
            "worker of their own: set opsqueue_connector, or take the host out"
        )
    return _CONNECTIONS[word]


def _ours(what: str, name: str, value: Any) -> tuple[str, Any]:
    key = name.removeprefix(_OURS)
    if key not in HostSettings.model_fields:
        near = nearest(name, [_OURS + field for field in HostSettings.model_fields])
        raise InvalidConfig(f"{what}: there is no variable {name[:80]}{near}")
    if key == "tags" and isinstance(value, str):
        return key, value.replace(",", " ").split()
    if key == "windows" and isinstance(value, str):
        return key, [value]
    return key, value


def _template(value: Any) -> bool:
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _proxy(known: Mapping[str, Any]) -> str:
    """The variable that leads through another machine; empty when none does."""
    return next((name for name in _ARGUMENTS if _PROXY.search(str(known.get(name, "")))), "")


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidConfig(f"{what}: wanted an object, found {kind_of(value)}")
    return value


def _texts(value: Any, what: str) -> list[str]:
    if not isinstance(value, list | Mapping) or not all(isinstance(one, str) for one in value):
        raise InvalidConfig(f"{what}: wanted a list of names, found {kind_of(value)}")
    return list(value)
