"""What one place says of hosts and groups, and our own form of writing it down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opsqueue.errors import InvalidConfig, InvalidRequest
from opsqueue.model.host import group_name, host_name
from opsqueue.model.request import explain
from opsqueue.secrets import literal_secrets
from opsqueue.settings_parts import HostSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Hosts and groups as they stand in one place."""

    where: str
    """As people would look for it: a path, or `the configuration`."""
    hosts: Mapping[str, HostSettings] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """A member is a host or a group; `group:NAME` is a group in any case."""

    def __post_init__(self) -> None:
        try:
            for name in self.hosts:
                host_name(name)
            for name in self.groups:
                group_name(name)
        except InvalidRequest as error:
            raise InvalidConfig(f"{self.where}: {error.message}") from None


class _Own(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    hosts: Mapping[str, HostSettings] = Field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)


def own_form(data: Mapping[str, Any], where: str) -> Place:
    """`hosts` and `groups` as the configuration has them; InvalidConfig names what is wrong, and where."""
    refuse_secrets(data, where)
    try:
        found = _Own.model_validate(data)
    except ValidationError as error:
        raise InvalidConfig(explain(error, where, _Own)) from None
    return Place(where=where, hosts=found.hosts, groups=found.groups)


def refuse_secrets(data: Mapping[str, Any], where: str) -> None:
    """InvalidConfig when a secret stands there in plain text."""
    if found := literal_secrets(data):
        raise InvalidConfig(
            f"{where}: {found[0]} holds a secret in plain text. Write a reference instead: "
            '{"$secret": "file:/path"}, {"$secret": "env:NAME"} or {"$secret": "systemd:NAME"}.'
        )
