"""Which references to secrets in the configuration lead to nothing, as far as this process can see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from opsqueue.model.host import Host
from opsqueue.secrets import SecretRef
from opsqueue.settings import Settings

_SAID_ELSEWHERE = {"notification_urls", "hosts"}
"""Channels say why they lead to nobody; hosts are those of the whole inventory."""
_OTHERS = ("env:", "systemd:")
_ELSEWHERE = "; the environment of the workers is what counts"

Named = tuple[str, SecretRef]


def references(settings: Settings, hosts: Iterable[Host]) -> list[Named]:
    """Every reference that is read on this machine, with the setting that holds it."""
    found = [one for key, value in settings if key not in _SAID_ELSEWHERE for one in _inside(value, key)]
    here = (host for host in hosts if host.connector != "worker")  # such a host reads its own
    return found + [one for host in here for one in _inside(host.parameters, f"hosts.{host.name}.parameters")]


def unreadable(named: Iterable[Named]) -> list[str]:
    """Why the secrets that are asked for cannot be read; never what one of them is."""
    return [f"{where}: {why}{_whose(ref)}" for where, ref in named if (why := ref.problem())]


def _whose(ref: SecretRef) -> str:
    return _ELSEWHERE if ref.ref.startswith(_OTHERS) else ""


def _inside(value: Any, where: str) -> Iterator[Named]:
    if isinstance(value, SecretRef):
        yield where, value
    elif isinstance(value, Mapping) and set(value) == {"$secret"}:
        yield from _reference(value, where)
    elif isinstance(value, Mapping | BaseModel):
        pairs = value.items() if isinstance(value, Mapping) else value
        yield from (one for key, child in pairs for one in _inside(child, f"{where}.{key}"))
    elif isinstance(value, list | tuple):
        yield from (one for number, child in enumerate(value) for one in _inside(child, f"{where}[{number}]"))


def _reference(value: Mapping[str, Any], where: str) -> Iterator[Named]:
    try:
        yield where, SecretRef.model_validate(dict(value))
    except ValidationError:
        return  # parameters that are no good are refused by whoever reads them
